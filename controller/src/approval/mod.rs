//! Who has to agree before a plan may start. Pure: a rule, what people said, and a moment in; how it stands out.
//!
//! Approvals are about one plan, named by its digest: another plan, however alike, has none. They expire, and whoever
//! made the plan is not asked. Whoever starts it is none of those who approve it. One who denies stops the plan until they say otherwise.
//!
//! A rule names people, groups of the environment's file, or roles of operators. Who that is at a moment is said by
//! [`People`]; whoever may not approve there at all does not count, even when the rule names them.

mod standing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use longshore_common::{
    ids::OperatorName,
    time::{Millis, Span},
};
use serde::{Deserialize, Serialize};

pub use standing::{Lacking, Refusal, Standing, admit, counts, standing, standing_for};

/// What an environment asks for. The default asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// How many have to approve; 0: nobody.
    pub count: u32,
    /// Who may. With no one and no role named here: everybody who may approve at all.
    pub by: BTreeSet<OperatorName>,
    /// Whoever has one of these roles of operators may as well. Who that is comes with [`Rule::among`].
    pub by_roles: BTreeMap<String, BTreeSet<OperatorName>>,
    /// At least so many of these, among the others.
    pub roles: BTreeMap<String, RoleRule>,
    /// How long an approval is good for.
    pub expires: Option<Span>,
    /// Those who may approve at all; `None`: nobody has looked.
    pub approvers: Option<BTreeSet<OperatorName>>,
    /// Since when somebody of that name is an operator: what was said before is another's, who was removed.
    pub since: BTreeMap<OperatorName, Millis>,
}

/// How many approvals of a role's members are needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleRule {
    pub count: u32,
    /// Of a group of the file never fewer than are asked for.
    pub members: BTreeSet<OperatorName>,
    /// It is a role of operators: its members come with [`Rule::among`].
    pub held: bool,
}

/// Who there is to be asked, by the roles that operators have at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct People {
    /// Those who may approve the app in the environment.
    pub approvers: BTreeSet<OperatorName>,
    /// Those who have a role there, by role.
    pub holding: BTreeMap<String, BTreeSet<OperatorName>>,
    /// Since when each of them is an operator.
    pub since: BTreeMap<OperatorName, Millis>,
}

/// What somebody said of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    pub by: OperatorName,
    pub at: Millis,
    pub answer: Answer,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    Approved,
    Denied,
}

impl Rule {
    pub fn asks_nobody(&self) -> bool {
        self.count == 0 && self.roles.is_empty()
    }

    /// The rule with these people in it.
    pub fn among(&self, people: &People) -> Rule {
        let holding = |role: &String| people.holding.get(role).cloned().unwrap_or_default();
        let (approvers, since) = (Some(people.approvers.clone()), people.since.clone());
        let mut rule = Rule { approvers, since, ..self.clone() };
        for (role, members) in &mut rule.by_roles {
            *members = holding(role);
        }
        for (role, asked) in rule.roles.iter_mut().filter(|(_, asked)| asked.held) {
            asked.members = holding(role);
        }
        rule
    }

    /// Whether this operator's word counts at all, the author's apart.
    pub fn knows(&self, who: &OperatorName) -> bool {
        let in_role = self.roles.values().any(|role| role.members.contains(who))
            || self.by_roles.values().any(|members| members.contains(who));
        let named = in_role || self.by.contains(who) || self.names_nobody();
        named && self.may_approve(who)
    }

    /// It was said by who has that name now.
    pub fn is_theirs(&self, said: &Approval) -> bool {
        self.since.get(&said.by).is_none_or(|since| *since <= said.at)
    }

    fn names_nobody(&self) -> bool {
        self.by.is_empty() && self.by_roles.is_empty() && self.roles.is_empty()
    }

    fn may_approve(&self, who: &OperatorName) -> bool {
        self.approvers.as_ref().is_none_or(|approvers| approvers.contains(who))
    }
}
