//! Where a rollout is. Data that only makes sense in one phase lives in that phase's variant.

use std::fmt;

use longshore_common::time::Millis;
use serde::{Deserialize, Serialize};

use super::gate::GateStop;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "phase")]
pub enum Phase {
    /// Made, not started.
    Ready,
    Staging(Staging),
    Switching(Switching),
    Baking(Baking),
    Gating(Gating),
    Awaiting(Awaiting),
    Watching(Watching),
    RollingBack(RollingBack),
    Paused(Paused),
    Done(Done),
}

/// The hosts of a wave fetch and unpack; nothing that runs is touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staging {
    /// From 0.
    pub wave: u32,
    pub since: Millis,
    pub deadline: Millis,
}

/// The hosts of a wave switch, a few at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switching {
    pub wave: u32,
    pub since: Millis,
    /// Moved only by a newly healthy host.
    pub deadline: Millis,
}

/// A wave is healthy and is watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baking {
    pub wave: u32,
    /// Percent of the traffic that it is watched with, where traffic is shared out: each share is watched by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<u8>,
    /// Moved on by every pause, as its end is: between them lies the time in which it is watched.
    pub since: Millis,
    pub until: Millis,
}

/// Gates are looked at: those of the header's round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gating {
    /// The one that they come after, or the first, which they come before.
    pub wave: u32,
    /// Nothing has been touched yet.
    #[serde(default)]
    pub before: bool,
    /// An operator went past a gate of it, which says "go on" as well.
    #[serde(default)]
    pub promoted: bool,
    pub since: Millis,
}

/// Every wave is done, and what breaks still takes the release back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watching {
    /// The last.
    pub wave: u32,
    /// Moved on by every pause, as its end is.
    pub since: Millis,
    pub until: Millis,
}

/// A wave is good and an operator has to say so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Awaiting {
    pub wave: u32,
    /// Percent of the traffic with which it is good, where traffic is shared out: each share is promoted by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<u8>,
    pub since: Millis,
}

/// Every host that was touched goes back to what it ran before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollingBack {
    pub cause: Cause,
    /// The wave that was under way.
    pub wave: u32,
    pub since: Millis,
    /// Moved only by a host that is newly back, or that could not be asked before it came.
    pub deadline: Millis,
}

/// Nothing new is begun; what is under way on hosts ends there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    pub inside: Inside,
    pub why: Why,
    pub since: Millis,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    pub outcome: Outcome,
    /// One sentence.
    pub reason: String,
    pub at: Millis,
    /// No host took part any more: whatever it came to, nobody has seen it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nobody: bool,
}

/// What a pause interrupts and a resume goes on with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "phase")]
pub enum Inside {
    Staging(Staging),
    Switching(Switching),
    Baking(Baking),
    Gating(Gating),
    Awaiting(Awaiting),
    Watching(Watching),
    RollingBack(RollingBack),
}

/// A failure budget that was passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    pub failed: u32,
    pub allowed: u32,
    pub group: Group,
}

/// Whose budget it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    All,
    Wave,
    /// Hosts of the wave failed and none is healthy: no budget covers that (but see `Spec::wave_budget`).
    WholeWave,
}

/// Why a rollout is paused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "why")]
pub enum Why {
    Operator {
        by: String,
    },
    /// Failures of the version spent the budget, and the strategy says to ask.
    VersionFailures(Spent),
    /// Failures of hosts or their surroundings spent the budget: no verdict on the release.
    EnvironmentFailures(Spent),
    /// The deadline came and nothing was under way: hosts are unknown or held, or take every slot.
    NoProgress,
    /// A gate did not pass, and the environment says to ask.
    Gate(GateStop),
    /// The release was withdrawn by somebody, with a reason. It is never resumed.
    Withdrawn {
        by: String,
    },
}

/// Why a rollout rolls back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "cause")]
pub enum Cause {
    VersionFailures(Spent),
    /// A host ran the new release and did not come to healthy before the progress deadline.
    Deadline,
    /// A gate failed.
    Gate(GateStop),
    Operator {
        by: String,
    },
    Abort {
        by: String,
    },
}

/// How a rollout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Succeeded,
    /// Every host had the release already.
    NothingToDo,
    /// It did not come to its end, and hosts may differ.
    Failed,
    /// Every host that was touched is back, but for unknown ones, which the reason names.
    RolledBack,
    /// An operator or a newer rollout ended it.
    Aborted,
}

impl Phase {
    pub const NAMES: [&'static str; 10] = [
        "ready",
        "staging",
        "switching",
        "baking",
        "gating",
        "awaiting-promotion",
        "watching",
        "rolling-back",
        "paused",
        "done",
    ];

    /// The stable name: in the API, in `docs/rollout-states.md`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Phase::Ready => "ready",
            Phase::Staging(_) => "staging",
            Phase::Switching(_) => "switching",
            Phase::Baking(_) => "baking",
            Phase::Gating(_) => "gating",
            Phase::Awaiting(_) => "awaiting-promotion",
            Phase::Watching(_) => "watching",
            Phase::RollingBack(_) => "rolling-back",
            Phase::Paused(_) => "paused",
            Phase::Done(_) => "done",
        }
    }

    /// Hosts of a wave switch, or did so when it was paused.
    pub(super) fn is_switching(&self) -> bool {
        match self {
            Phase::Switching(_) => true,
            Phase::Paused(paused) => matches!(paused.inside, Inside::Switching(_)),
            _ => false,
        }
    }

    /// What there is to do if the release is withdrawn now: one that goes back, is over, has not begun or stands for that
    /// already goes on as it does.
    pub fn heeds_withdrawal(&self) -> bool {
        match self {
            Phase::Ready | Phase::RollingBack(_) | Phase::Done(_) => false,
            Phase::Paused(Paused { inside: Inside::RollingBack(_), .. })
            | Phase::Paused(Paused { why: Why::Withdrawn { .. }, .. }) => false,
            Phase::Staging(_)
            | Phase::Switching(_)
            | Phase::Baking(_)
            | Phase::Gating(_)
            | Phase::Awaiting(_)
            | Phase::Watching(_)
            | Phase::Paused(_) => true,
        }
    }

    /// Nothing is ever assigned in it again.
    pub fn is_done(&self) -> bool {
        matches!(self, Phase::Done(_))
    }

    /// The wave that is under way, from 0.
    pub fn wave(&self) -> Option<u32> {
        match self {
            Phase::Ready | Phase::Done(_) => None,
            Phase::Staging(staging) => Some(staging.wave),
            Phase::Switching(switching) => Some(switching.wave),
            Phase::Baking(baking) => Some(baking.wave),
            Phase::Gating(gating) => Some(gating.wave),
            Phase::Awaiting(awaiting) => Some(awaiting.wave),
            Phase::Watching(watching) => Some(watching.wave),
            Phase::RollingBack(back) => Some(back.wave),
            Phase::Paused(paused) => Phase::from(paused.inside.clone()).wave(),
        }
    }

    /// When the phase itself ends by time alone; gates have deadlines of their own: see `next_deadline`.
    pub fn deadline(&self) -> Option<Millis> {
        match self {
            Phase::Staging(staging) => Some(staging.deadline),
            Phase::Switching(switching) => Some(switching.deadline),
            Phase::Baking(baking) => Some(baking.until),
            Phase::Watching(watching) => Some(watching.until),
            Phase::RollingBack(back) => Some(back.deadline),
            Phase::Ready | Phase::Gating(_) | Phase::Awaiting(_) | Phase::Paused(_) | Phase::Done(_) => None,
        }
    }
}

impl From<Inside> for Phase {
    fn from(inside: Inside) -> Phase {
        match inside {
            Inside::Staging(staging) => Phase::Staging(staging),
            Inside::Switching(switching) => Phase::Switching(switching),
            Inside::Baking(baking) => Phase::Baking(baking),
            Inside::Gating(gating) => Phase::Gating(gating),
            Inside::Awaiting(awaiting) => Phase::Awaiting(awaiting),
            Inside::Watching(watching) => Phase::Watching(watching),
            Inside::RollingBack(back) => Phase::RollingBack(back),
        }
    }
}

impl Outcome {
    /// The stable name: `Rollout.outcome` in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Succeeded => "succeeded",
            Outcome::NothingToDo => "nothing-to-do",
            Outcome::Failed => "failed",
            Outcome::RolledBack => "rolled-back",
            Outcome::Aborted => "aborted",
        }
    }
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spent { failed, allowed, group } = self;
        let hosts = if *failed == 1 { "host" } else { "hosts" };
        match group {
            Group::All => write!(f, "{failed} {hosts} failed, {allowed} allowed overall"),
            Group::Wave => write!(f, "{failed} {hosts} failed in the wave, {allowed} allowed"),
            Group::WholeWave => write!(f, "{failed} {hosts} failed in the wave and none of it is healthy"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::VersionFailures(spent) => write!(f, "{spent}"),
            Cause::Deadline => f.write_str("not healthy before the progress deadline"),
            Cause::Gate(stop) => write!(f, "{stop}"),
            Cause::Operator { by } => write!(f, "rolled back by {by}"),
            Cause::Abort { by } => write!(f, "aborted by {by}"),
        }
    }
}

impl Cause {
    /// Somebody aborts what goes back already: who did so first, and why, stays.
    pub(super) fn or_abort(self, by: String) -> Self {
        match self {
            Cause::Abort { .. } => self,
            Cause::VersionFailures(_) | Cause::Deadline | Cause::Gate(_) | Cause::Operator { .. } => {
                Cause::Abort { by }
            }
        }
    }
}
