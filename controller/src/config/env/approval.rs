//! `[roles]` and `[approval]`: groups of operators, and who has to agree before a plan may start.

use std::collections::{BTreeMap, BTreeSet};

use longshore_common::{ids::OperatorName, strict::Table, text::visible, time::Span};

use super::words::names;
use crate::approval::{RoleRule, Rule};

/// Approvals that may be asked for, and members that a role may have.
const MOST: usize = 64;
/// Written before the name of a role where operators are named.
const ROLE: &str = "role:";
const EXPIRES: Span = Span::secs(24 * 3600);

/// Operators by role.
pub type Roles = BTreeMap<String, BTreeSet<OperatorName>>;

pub(super) fn roles(root: &Table<'_>) -> Roles {
    let mut roles = Roles::new();
    let table = root.table("roles");
    for key in table.keys() {
        let members: BTreeSet<OperatorName> = names(&table, "roles", &key).into_iter().collect();
        if members.len() > MOST {
            table.problem_at(&key, format!("roles.{}: at most {MOST} members", visible(&key)));
        }
        roles.insert(key, members);
    }
    roles
}

/// `role:sre` and `ann` as operators; what is unknown is noted.
pub(super) fn operators(
    table: &Table<'_>,
    section: &str,
    key: &str,
    roles: &Roles,
) -> BTreeSet<OperatorName> {
    let texts: Vec<String> = table.list(key);
    let mut found = BTreeSet::new();
    for text in texts {
        match text.strip_prefix(ROLE) {
            Some(role) => match roles.get(role) {
                Some(members) => found.extend(members.iter().cloned()),
                None => no_role(table, section, key, role),
            },
            None => match text.parse() {
                Ok(name) => drop(found.insert(name)),
                Err(error) => {
                    let error: longshore_common::code::Coded = error;
                    table.problem_at(key, format!("{section}.{key}: {}", error.message));
                }
            },
        }
    }
    found
}

fn no_role(table: &Table<'_>, section: &str, key: &str, role: &str) {
    let shown = visible(role);
    table.problem_at(key, format!("{section}.{key}: there is no role \"{shown}\" in [roles]"));
}

pub(super) fn approval(root: &Table<'_>, roles: &Roles) -> Rule {
    let table = root.table("approval");
    if !table.is_present() {
        return Rule::default();
    }
    let by = operators(&table, "approval", "by", roles);
    let of_roles = of_roles(&table, roles);
    let least = of_roles.values().map(|role| role.count).sum::<u32>().max(1);
    let count = table.or("count", least);
    let expires = table.or("expires", EXPIRES);
    let rule = Rule { count, by, roles: of_roles, expires: Some(expires) };
    check(&table, &rule);
    rule
}

/// `roles = { sre = 1 }`.
fn of_roles(table: &Table<'_>, roles: &Roles) -> BTreeMap<String, RoleRule> {
    let wanted = table.table("roles");
    let mut found = BTreeMap::new();
    for name in wanted.keys() {
        let count: u32 = wanted.or(&name, 1);
        match roles.get(&name) {
            Some(members) => drop(found.insert(name, RoleRule { count, members: members.clone() })),
            None => no_role(&wanted, "approval", &name.clone(), &name),
        }
    }
    found
}

/// Rules that nobody could ever meet. Whoever makes a plan does not count, so one more has to be there than is asked.
fn check(table: &Table<'_>, rule: &Rule) {
    if rule.count as usize > MOST {
        table.problem_at("count", format!("approval.count: at most {MOST}"));
    }
    if rule.count == 0 {
        table.problem_at(
            "count",
            "approval.count: must be at least 1; leave [approval] out where nobody is asked",
        );
    }
    for (name, role) in &rule.roles {
        let (members, count) = (role.members.len(), role.count);
        if count as usize > members {
            table.problem_at(
                "roles",
                format!("approval.roles.{name}: {count} of {members} members can never be met"),
            );
        }
    }
    let mut asked = rule.by.clone();
    asked.extend(rule.roles.values().flat_map(|role| role.members.iter().cloned()));
    if !asked.is_empty() && (rule.count as usize) > asked.len() {
        let (count, asked) = (rule.count, asked.len());
        table
            .problem_at("count", format!("approval.count: {count} approvals, and only {asked} may give one"));
    }
    if rule.expires == Some(Span::secs(0)) {
        table.problem_at("expires", "approval.expires: must be longer than nothing");
    }
}
