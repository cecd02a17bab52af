//! The plan that a rollout is started by: it may do nothing else.

use std::collections::BTreeMap;

use longshore_common::{
    code::{Code, Coded},
    ids::HostId,
};

use super::records::Overridden;
use crate::{
    plan::{self, Plan},
    rollout::{Member, Rollout},
};

#[derive(Clone, Debug)]
pub struct Ticket {
    pub plan: Plan,
    /// Of its preconditions, those that it is started in spite of.
    pub overrides: Vec<Overridden>,
    /// Hosts that keep what they have, each with why.
    pub excluded: BTreeMap<HostId, String>,
}

impl Ticket {
    /// What only the plan knows of them: who keeps what it has, and where what runs has no sides.
    pub(super) fn mark(&self, members: &mut [Member]) {
        let replaced = self.plan.traffic.as_ref().map_or(&[][..], |traffic| &traffic.replaced);
        for member in members {
            member.replaces = replaced.contains(&member.name);
            if let Some(why) = self.excluded.get(&member.id) {
                member.excluded = Some(why.clone());
            }
        }
    }

    /// Its release takes the place of what runs on each host, with all of the traffic.
    pub(super) fn replaces(&self) -> bool {
        self.plan.traffic.as_ref().is_some_and(|traffic| traffic.replaces)
    }

    /// Between planning and this moment hosts may have come, gone or been moved.
    pub(super) fn check(&self, rollout: &Rollout) -> Result<(), Coded> {
        let strays = plan::strays(&self.plan, rollout);
        if strays.is_empty() {
            return Ok(());
        }
        let message = format!(
            "the world moved while plan {} was started. Nothing was changed: {}. \
             Plan again: longshore plan {}@{} --to {}",
            self.plan.digest.short(),
            strays.join("; "),
            self.plan.app,
            self.plan.to.version,
            self.plan.env
        );
        Err(Coded::new(Code::R03, message))
    }
}
