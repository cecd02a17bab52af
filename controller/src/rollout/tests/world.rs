//! What may go wrong in a simulated fleet, and a host as it really is.

use longshore_common::{
    code::Code,
    ids::{Generation, HostId},
    report::{Blame, Failure, Outcome, StepName},
    settings::Settings,
    slot::Slot,
    time::Millis,
};

use super::setup::{target, version};

/// Chances in percent.
#[derive(Clone, Copy, Debug)]
pub(super) struct World {
    /// A host on which the new release does not come to healthy.
    pub bad: usize,
    /// A staging that finds its disk full.
    pub full: usize,
    /// A revert that fails.
    pub broken: usize,
    /// A link that breaks whenever its host reports.
    pub cut: usize,
    /// A report that is delivered again, later.
    pub doubled: usize,
    /// A step after which the controller starts anew from its records.
    pub crash: usize,
    /// A host that an operator excludes in the middle of its switch.
    pub excluded: usize,
    /// When a third of the fleet is cut off, for ten minutes.
    pub split_at: Option<Millis>,
}

impl World {
    pub fn calm() -> Self {
        Self { bad: 0, full: 0, broken: 0, cut: 0, doubled: 0, crash: 0, excluded: 0, split_at: None }
    }

    pub fn rough() -> Self {
        Self { bad: 2, full: 3, broken: 5, cut: 4, doubled: 5, crash: 5, excluded: 0, split_at: None }
    }
}

/// A host as it really is.
#[derive(Clone, Debug)]
pub(super) struct SimHost {
    pub id: HostId,
    pub live: Option<String>,
    /// In the middle of a change.
    pub busy: bool,
    pub broken: bool,
    pub linked: bool,
    /// The highest generation it acted on.
    pub accepted: Generation,
    pub outbox: Vec<(Generation, Outcome)>,
    /// The new release does not work here.
    pub bad: bool,
    /// It was unknown, and the rollout went on without it.
    pub passed_over: bool,
    pub switched: u32,
    pub went_back: u32,
}

impl SimHost {
    /// What is live and works.
    pub fn runs(&self) -> Option<&str> {
        self.live.as_deref().filter(|_| !self.broken)
    }

    /// To the new release, or back by itself.
    pub fn switch(&mut self, broken: bool) -> Outcome {
        self.switched += 1;
        if !self.bad {
            self.live = Some("2".to_owned());
            return Outcome::Healthy;
        }
        let failure = failure(Code::B01, StepName::Probe, Blame::Version);
        self.broken = broken;
        if broken {
            return Outcome::Inconsistent { failure };
        }
        let old = target("1");
        let to_slot = Slot::new(&old.version, &old.release, &Settings::default());
        Outcome::Reverted { failure, to_slot, to_version: version("1") }
    }
}

pub(super) fn failure(code: Code, step: StepName, blame: Blame) -> Failure {
    Failure::new(code, step, blame, "as the dice say")
}
