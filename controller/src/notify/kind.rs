//! What is told of, and to whom.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Something that people want to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A plan waits for approvals, or a gate of a rollout does.
    ApprovalNeeded,
    /// Somebody approved a plan.
    Approved,
    /// Somebody denied a plan.
    Denied,
    /// A rollout was made and begins later.
    Scheduled,
    /// A rollout has begun.
    Started,
    /// A rollout waits for an operator: a pause of its own, a promotion.
    Waiting,
    /// A rollout goes back.
    RollingBack,
    Succeeded,
    RolledBack,
    Failed,
    Aborted,
    Frozen,
    Unfrozen,
    Locked,
    Unlocked,
    /// Somebody tries whether they are heard.
    Test,
}

impl Kind {
    pub const ALL: [Kind; 16] = {
        use Kind::*;
        [
            ApprovalNeeded,
            Approved,
            Denied,
            Scheduled,
            Started,
            Waiting,
            RollingBack,
            Succeeded,
            RolledBack,
            Failed,
            Aborted,
            Frozen,
            Unfrozen,
            Locked,
            Unlocked,
            Test,
        ]
    };

    /// The stable name: in files, in what webhooks get.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::ApprovalNeeded => "approval-needed",
            Kind::Approved => "approved",
            Kind::Denied => "denied",
            Kind::Scheduled => "scheduled",
            Kind::Started => "started",
            Kind::Waiting => "waiting",
            Kind::RollingBack => "rolling-back",
            Kind::Succeeded => "succeeded",
            Kind::RolledBack => "rolled-back",
            Kind::Failed => "failed",
            Kind::Aborted => "aborted",
            Kind::Frozen => "frozen",
            Kind::Unfrozen => "unfrozen",
            Kind::Locked => "locked",
            Kind::Unlocked => "unlocked",
            Kind::Test => "test",
        }
    }
}

/// Whose an environment is, and who is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stakeholders {
    pub owner: Option<String>,
    pub approvers: Vec<String>,
    /// Addresses by the names of people.
    pub contacts: BTreeMap<String, String>,
    pub tell: Vec<Teller>,
}

/// One way of telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Teller {
    /// Unique in its environment.
    pub name: String,
    /// Empty: everything.
    pub on: Vec<Kind>,
    pub address: Address,
}

/// Where it goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Address {
    /// Of a notice: one receiver.
    Email { to: Vec<String> },
    /// `secret` names the key of the signature in the controller's own configuration.
    Webhook { url: String, secret: String },
}

impl Address {
    /// One for each receiver: one that is refused is no reason for another to hear nothing.
    pub fn each(&self) -> Vec<Address> {
        match self {
            Address::Email { to } => to.iter().map(|to| Address::Email { to: vec![to.clone()] }).collect(),
            Address::Webhook { .. } => vec![self.clone()],
        }
    }
}

impl Teller {
    pub fn wants(&self, kind: Kind) -> bool {
        kind == Kind::Test || self.on.is_empty() || self.on.contains(&kind)
    }
}

impl Stakeholders {
    /// Whose address it is, of the people that have a name here.
    pub(super) fn person(&self, address: &Address) -> Option<String> {
        let Address::Email { to } = address else { return None };
        let [address] = &to[..] else { return None };
        self.contacts.iter().find(|(_, of)| *of == address).map(|(name, _)| name.clone())
    }
}
