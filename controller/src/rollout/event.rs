//! What can happen to a rollout, and what `step` answers.

use std::{collections::BTreeSet, error, fmt};

use longshore_common::{
    assignment::Assignment,
    code::{Code, Coded},
    ids::{Generation, HostId, RolloutId},
    report,
};

use super::{
    closed::Closed,
    gate::{GateWord, Settled},
    model::Rollout,
    pace::Pace,
    settings::Snapshots,
    waves::Member,
};

/// Everything that moves a rollout. Events about hosts that are not of it change nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Start,
    /// A host's verdict on an assignment. Of another than its present generation: changes nothing.
    Report {
        host: HostId,
        generation: Generation,
        outcome: report::Outcome,
    },
    /// Three heartbeats missed.
    Silent(HostId),
    Back(HostId),
    /// Somebody on the host holds it, with this reason, or lets it go.
    HoldChanged {
        host: HostId,
        hold: Option<String>,
    },
    /// Time passed. Deadlines are looked at with every event; this one has no other meaning.
    Tick,
    Pause {
        by: String,
    },
    Resume,
    /// What is said of a run of a gate. Of one that has a verdict already, or of no present round: changes nothing.
    Gate {
        number: u32,
        word: GateWord,
    },
    /// End the present bake or watch, let the wave that awaits it go on, go past gates that allow it.
    Promote(Promote),
    /// Put every touched host back; the outcome is `aborted`.
    Abort {
        by: String,
    },
    /// Put every touched host back; the outcome is `rolled-back`.
    Rollback {
        by: String,
    },
    /// Go on at another pace.
    Pace(Pace),
    /// Let failed hosts try again; empty: all of them.
    Retry(BTreeSet<HostId>),
    /// Touch these hosts no more.
    Exclude(BTreeSet<HostId>),
    /// A newer rollout takes the hosts over: end at once, put nothing back.
    Supersede(RolloutId),
    /// The host is of the environment from now on. Of one that takes part already: changes nothing,
    /// unless the rollout has not begun, which then knows what the host is like now.
    HostJoined {
        member: Box<Member>,
        /// That the member's way back names.
        snapshots: Snapshots,
    },
    /// An operator keeps work from the host, or does no longer: balancers send it nothing meanwhile. Also when it is
    /// over, for what balancers were told last stands until the next rollout.
    HostDrained {
        host: HostId,
        drained: bool,
    },
    /// The host was removed from the fleet, or is no longer of the environment: it leaves the rollout with what it runs, and
    /// balancers send it nothing from then on. When the rollout is over only a removal is told, and only that follows.
    HostRemoved(HostId),
    /// The environment is closed from now on, or open (`None`).
    Calendar {
        closed: Option<Closed>,
    },
    /// The release was withdrawn: it comes on no further host. One that was made to begin later is told otherwise.
    Withdrawn {
        /// `ann: loses orders`
        by: String,
    },
}

/// An operator says "go on".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promote {
    pub by: String,
    /// Needed only to go past gates.
    pub reason: String,
    /// Past every gate and wait that is left, not only the present one.
    pub full: bool,
}

impl Event {
    pub const NAMES: [&'static str; 21] = [
        "start",
        "report",
        "silent",
        "back",
        "hold-changed",
        "tick",
        "gate",
        "pause",
        "resume",
        "promote",
        "abort",
        "rollback",
        "pace",
        "retry",
        "exclude",
        "supersede",
        "host-joined",
        "host-drained",
        "host-removed",
        "calendar",
        "withdrawn",
    ];

    pub fn as_str(&self) -> &'static str {
        match self {
            Event::Start => "start",
            Event::Report { .. } => "report",
            Event::Silent(_) => "silent",
            Event::Back(_) => "back",
            Event::HoldChanged { .. } => "hold-changed",
            Event::Tick => "tick",
            Event::Gate { .. } => "gate",
            Event::Pause { .. } => "pause",
            Event::Resume => "resume",
            Event::Promote(_) => "promote",
            Event::Abort { .. } => "abort",
            Event::Rollback { .. } => "rollback",
            Event::Pace(_) => "pace",
            Event::Retry(_) => "retry",
            Event::Exclude(_) => "exclude",
            Event::Supersede(_) => "supersede",
            Event::HostJoined { .. } => "host-joined",
            Event::HostDrained { .. } => "host-drained",
            Event::HostRemoved(_) => "host-removed",
            Event::Calendar { .. } => "calendar",
            Event::Withdrawn { .. } => "withdrawn",
        }
    }
}

/// What a rollout becomes, and what hosts are told then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    pub next: Rollout,
    /// Assignments that are new with this step; all that stand are `desired(&next)`.
    pub assign: Vec<Assignment>,
    /// Hosts whose record changed.
    pub changed: Vec<HostId>,
    /// Gates that came to their end with this step, in order.
    pub settled: Vec<Settled>,
}

/// The state does not allow it; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub phase: &'static str,
    pub event: &'static str,
    /// The reason and the way out.
    pub why: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} while {}: {}", self.event, self.phase, self.why)
    }
}

impl error::Error for Refused {}

impl From<Refused> for Coded {
    fn from(refused: Refused) -> Coded {
        Coded::new(Code::R01, refused.to_string())
    }
}
