//! The plan that a rollout is started by: it may do nothing else.

use std::collections::BTreeMap;

use longshore_common::{
    code::{Code, Coded},
    ids::HostId,
};

use super::records::Overridden;
use crate::{
    fleet::host::DRAINED_BY,
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
                // One that was drained since it was planned is left out for what the plan says all the same. By whom and
                // why it was drained then does not matter.
                let of_drain =
                    why.strip_prefix(plan::LEFT_OUT).is_some_and(|why| why.starts_with(DRAINED_BY));
                member.left_drained &= of_drain;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plan::{plan, tests::setup::world},
        rollout::tests::setup::member,
    };

    /// What a plan has against a host stands though it is drained by now: it does not get the release by itself later.
    #[test]
    fn a_host_misses_a_release_only_where_its_drain_is_what_the_plan_says() {
        let drained =
            Member { excluded: Some("drained by bob: memory".to_owned()), ..member("a:drained", 1) };
        let misses = |why: &str| {
            let excluded = [(drained.id, why.to_owned())].into();
            let ticket = Ticket { plan: plan(&world("a b")), overrides: vec![], excluded };
            let mut members = [drained.clone()];
            ticket.mark(&mut members);
            members[0].left_drained
        };
        assert!(misses("left out: drained by bob: memory"));
        assert!(misses("left out: drained by ann: disk"), "it was drained anew meanwhile");
        assert!(!misses("left out: this host waits for an operator to let it in"));
        assert!(!misses("disk: 3 MB are free, 40 MB needed"));
    }
}
