//! A rollout whose environment is closed: nothing new is begun until it opens.
//!
//! Windows and freezes are worked out elsewhere (`crate::calendar`); here is what they mean. Hosts that are under way
//! are never interrupted. Whether the wave that was switching when it closed still finishes, and whether hosts may go
//! back meanwhile, is said by whoever closed it.

use longshore_common::time::Millis;
use serde::{Deserialize, Serialize};

use super::{draft::Draft, host::HostProgress, model::Rollout, phase::Phase};

/// What happens to a wave that is switching when its environment closes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnderWay {
    /// Hosts that switch already finish; no further one begins.
    #[default]
    Hold,
    /// The whole wave finishes; no further one begins.
    Finish,
}

/// The environment may not be changed at present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// One sentence or more.
    pub reason: String,
    pub since: Millis,
    /// When it opens next; `None`: when somebody opens it, or nobody knows.
    pub until: Option<Millis>,
    /// Who can open it: the calendar of an environment, or whoever froze it.
    pub owner: String,
    /// What the owner types.
    pub command: String,
    #[serde(default)]
    pub under_way: UnderWay,
    /// Whether hosts may go back meanwhile.
    #[serde(default)]
    pub rollback: bool,
}

/// What a rollout may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    Everything,
    /// What belongs to the wave that is switching.
    Wave,
    Nothing,
}

impl Rollout {
    /// What may be begun on the way forward.
    pub(super) fn leave(&self) -> Leave {
        let Some(closed) = &self.header.closed else { return Leave::Everything };
        if self.header.back && closed.rollback {
            return Leave::Everything;
        }
        match (&self.header.phase, closed.under_way) {
            (Phase::Switching(_), UnderWay::Finish) if self.header.finishing => Leave::Wave,
            _ => Leave::Nothing,
        }
    }

    /// Nothing is begun on the way forward, because it is closed.
    pub(super) fn is_shut(&self) -> bool {
        self.leave() == Leave::Nothing
    }

    /// Hosts that are touched stay as they are, because it is closed.
    pub(super) fn is_shut_for_return(&self) -> bool {
        self.header.closed.as_ref().is_some_and(|closed| !closed.rollback)
    }

    /// The deadline of the phase, unless what it is for may not be begun: then nothing is late but what is under way.
    pub(super) fn deadline(&self) -> Option<Millis> {
        let deadline = self.header.phase.deadline();
        let under_way = |fits: &dyn Fn(&HostProgress) -> bool| self.hosts.values().any(|host| fits(host));
        match &self.header.phase {
            Phase::Ready => self.header.start_at,
            Phase::Staging(staging) if self.is_shut() => {
                deadline.filter(|_| under_way(&|host| host.wave == staging.wave && host.is_staging()))
            }
            Phase::Switching(switching) if self.is_shut() => {
                deadline.filter(|_| under_way(&|host| host.is_stuck_in(switching.wave)))
            }
            Phase::RollingBack(_) if self.is_shut_for_return() => {
                deadline.filter(|_| under_way(&HostProgress::is_returning))
            }
            _ => deadline,
        }
    }
}

impl Draft {
    /// It is closed, or open again. Time in which nothing could be begun is given back.
    pub fn calendar(&mut self, closed: Option<Closed>) {
        let (shut, shut_for_return) = (self.rollout.is_shut(), self.rollout.is_shut_for_return());
        let before = self.rollout.header.closed.take();
        self.rollout.header.finishing = match (&closed, &before) {
            (None, _) => false,
            (Some(_), None) => self.rollout.header.phase.is_switching(),
            (Some(_), Some(_)) => self.rollout.header.finishing,
        };
        let since = before.map(|before| before.since);
        self.rollout.header.closed =
            closed.map(|closed| Closed { since: since.unwrap_or(closed.since), ..closed });
        let (opened, opened_for_return) =
            (shut && !self.rollout.is_shut(), shut_for_return && !self.rollout.is_shut_for_return());
        match &self.rollout.header.phase {
            Phase::Staging(_) | Phase::Switching(_) if opened => self.give_time(),
            Phase::RollingBack(_) if opened_for_return => self.give_time(),
            _ => {}
        }
    }

    /// The deadline of the present phase begins anew: nobody was late, for nothing could be begun.
    pub fn give_time(&mut self) {
        let now = self.now;
        let spec = self.rollout.spec();
        let (stage, progress, back) = (spec.stage_deadline, spec.progress_deadline, spec.rollback_deadline);
        match &mut self.rollout.header.phase {
            Phase::Staging(staging) => staging.deadline = now + stage.as_ms(),
            Phase::Switching(switching) => switching.deadline = now + progress.as_ms(),
            Phase::RollingBack(rolling) => rolling.deadline = now + back.as_ms(),
            _ => {}
        }
    }
}
