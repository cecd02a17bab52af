//! `[roles]` and `[approval]`: groups of operators, and who has to agree before a plan may start.

use std::collections::{BTreeMap, BTreeSet};

use longshore_common::{ids::OperatorName, strict::Table, text::visible, time::Span};

use super::words::names;
use crate::{
    access::Role,
    approval::{RoleRule, Rule},
};

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

/// Who is named somewhere: people, those in groups of the file among them, and roles of operators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    pub names: BTreeSet<OperatorName>,
    pub roles: BTreeSet<Role>,
}

/// `ann`, `role:sre` of `[roles]`, and `role:approver` of operators; what is unknown is noted. A group of the file goes
/// before a role of operators of the same name.
pub(super) fn named(table: &Table<'_>, section: &str, key: &str, roles: &Roles) -> Named {
    let texts: Vec<String> = table.list(key);
    let mut found = Named::default();
    for text in texts {
        match text.strip_prefix(ROLE) {
            Some(role) => match (roles.get(role), role.parse::<Role>()) {
                (Some(members), _) => found.names.extend(members.iter().cloned()),
                (None, Ok(held)) => drop(found.roles.insert(held)),
                (None, Err(_)) => no_role(table, section, key, role),
            },
            None => match text.parse() {
                Ok(name) => drop(found.names.insert(name)),
                Err(error) => {
                    let error: longshore_common::code::Coded = error;
                    table.problem_at(key, format!("{section}.{key}: {}", error.message));
                }
            },
        }
    }
    found
}

/// Where only people can be meant.
pub(super) fn operators(
    table: &Table<'_>,
    section: &str,
    key: &str,
    roles: &Roles,
) -> BTreeSet<OperatorName> {
    let Named { names, roles: held } = named(table, section, key, roles);
    for role in held {
        no_role(table, section, key, role.as_str());
    }
    names
}

fn no_role(table: &Table<'_>, section: &str, key: &str, role: &str) {
    let known: Vec<&str> = Role::ALL.into_iter().map(Role::as_str).collect();
    let (shown, known) = (visible(role), known.join(", "));
    table.problem_at(
        key,
        format!("{section}.{key}: there is no role \"{shown}\" in [roles], and operators have {known}"),
    );
}

pub(super) fn approval(root: &Table<'_>, roles: &Roles) -> Rule {
    let table = root.table("approval");
    if !table.is_present() {
        return Rule::default();
    }
    let Named { names: by, roles: held } = named(&table, "approval", "by", roles);
    let by_roles = held.into_iter().map(|role| (role.to_string(), BTreeSet::new())).collect();
    let of_roles = of_roles(&table, roles);
    let least = of_roles.values().map(|role| role.count).sum::<u32>().max(1);
    let count = table.or("count", least);
    let expires = table.or("expires", EXPIRES);
    let rule = Rule { count, by, by_roles, roles: of_roles, expires: Some(expires), ..Rule::default() };
    check(&table, &rule);
    rule
}

/// `roles = { sre = 1 }`.
fn of_roles(table: &Table<'_>, roles: &Roles) -> BTreeMap<String, RoleRule> {
    let wanted = table.table("roles");
    let mut found = BTreeMap::new();
    for name in wanted.keys() {
        let count: u32 = wanted.or(&name, 1);
        let rule = match (roles.get(&name), name.parse::<Role>()) {
            (Some(members), _) => RoleRule { count, members: members.clone(), held: false },
            (None, Ok(_)) => RoleRule { count, members: BTreeSet::new(), held: true },
            (None, Err(_)) => {
                no_role(&wanted, "approval.roles", &name, &name);
                continue;
            }
        };
        found.insert(name, rule);
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
    for (name, role) in rule.roles.iter().filter(|(_, role)| !role.held) {
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
    // How many have a role of operators is known when it is asked.
    let open = !rule.by_roles.is_empty() || rule.roles.values().any(|role| role.held);
    if !open && !asked.is_empty() && (rule.count as usize) > asked.len() {
        let (count, asked) = (rule.count, asked.len());
        table
            .problem_at("count", format!("approval.count: {count} approvals, and only {asked} may give one"));
    }
    if rule.expires == Some(Span::secs(0)) {
        table.problem_at("expires", "approval.expires: must be longer than nothing");
    }
}
