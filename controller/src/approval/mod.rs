//! Who has to agree before a plan may start. Pure: a rule, what people said, and a moment in; how it stands out.
//!
//! Approvals are about one plan, named by its digest: another plan, however alike, has none. They expire, and whoever
//! made the plan is not asked. One who denies stops the plan until they say otherwise.

mod standing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use longshore_common::{
    ids::OperatorName,
    time::{Millis, Span},
};
use serde::{Deserialize, Serialize};

pub use standing::{Lacking, Refusal, Standing, admit, standing};

/// What an environment asks for. The default asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// How many have to approve; 0: nobody.
    pub count: u32,
    /// Who may; empty: every operator.
    pub by: BTreeSet<OperatorName>,
    /// At least so many of these, among the others. Each role has members, and never fewer than are asked for.
    pub roles: BTreeMap<String, RoleRule>,
    /// How long an approval is good for.
    pub expires: Option<Span>,
}

/// How many approvals of a role's members are needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleRule {
    pub count: u32,
    pub members: BTreeSet<OperatorName>,
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

    /// Whether this operator's word counts at all, the author's apart.
    pub fn knows(&self, who: &OperatorName) -> bool {
        let in_role = self.roles.values().any(|role| role.members.contains(who));
        in_role || self.by.contains(who) || (self.by.is_empty() && self.roles.is_empty())
    }
}
