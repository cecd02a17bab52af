//! What the core is told and what it asks for.

use std::{collections::BTreeMap, fmt};

use longshore_common::{
    assignment::Assignment,
    digest::ReleaseDigest,
    ids::Version,
    manifest::{Driver, Hook, Manifest, Port},
    report::StepName,
    settings::Settings,
    slot::Slot,
    time::Span,
    traffic::{Directions, Side, Traffic},
};
use serde::{Deserialize, Serialize};

use super::{balance::Balance, record::Stale, sides::Sides};

/// What a slot is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Follows from the other three.
    pub slot: Slot,
    pub version: Version,
    pub release: ReleaseDigest,
    pub settings: Settings,
}

impl From<&Assignment> for Wanted {
    fn from(assignment: &Assignment) -> Self {
        Self {
            slot: assignment.slot(),
            version: assignment.version.clone(),
            release: assignment.release,
            settings: assignment.settings.clone(),
        }
    }
}

/// The fixed points of a deployment at which a release may run a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookPoint {
    BeforeSwitch,
    BeforeStop,
    AfterSwitch,
    AfterHealthy,
}

impl HookPoint {
    /// As in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            HookPoint::BeforeSwitch => "before_switch",
            HookPoint::BeforeStop => "before_stop",
            HookPoint::AfterSwitch => "after_switch",
            HookPoint::AfterHealthy => "after_healthy",
        }
    }

    pub fn of(self, manifest: &Manifest) -> Option<&Hook> {
        match self {
            HookPoint::BeforeSwitch => manifest.hooks.before_switch.as_ref(),
            HookPoint::BeforeStop => manifest.hooks.before_stop.as_ref(),
            HookPoint::AfterSwitch => manifest.hooks.after_switch.as_ref(),
            HookPoint::AfterHealthy => manifest.hooks.after_healthy.as_ref(),
        }
    }

    pub const ALL: [HookPoint; 4] =
        [HookPoint::BeforeSwitch, HookPoint::BeforeStop, HookPoint::AfterSwitch, HookPoint::AfterHealthy];
}

impl fmt::Display for HookPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How long a probe looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Until every probe was healthy for its `healthy_for`, or one passed its deadline.
    Settle,
    /// One attempt of each: is what was healthy before still so?
    Glance,
}

/// One thing to do. Each is idempotent: done twice, or done again after it was cut short, the host ends the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Get the manifest and hold it against this host: arch, disk, memory, commands, user.
    Check(Wanted),
    /// Get what no slot here holds, verify it, lay out the staging tree.
    Fetch(Wanted),
    /// Render the config templates into the staging tree.
    Render(Wanted),
    /// Make the staging tree a slot: synced, sealed, named.
    Seal(Wanted),
    /// Hold a sealed slot that was never found healthy here against what is signed and allowed by now.
    Admit {
        wanted: Wanted,
        stale: Stale,
    },
    Hook {
        point: HookPoint,
        slot: Slot,
    },
    /// Make `current` name this sealed slot, in one durable rename.
    Point(Slot),
    /// Take `current` away; only where nothing was ever good.
    Unpoint,
    /// (Re)start the app from this slot, whatever ran before.
    Start(Slot),
    /// Stop the app so that it stays stopped over a boot of the machine.
    Stop,
    Probe {
        slot: Slot,
        manner: Manner,
    },
    /// (Re)start this slot on a side that has no traffic, whatever ran there before.
    StartSide {
        slot: Slot,
        side: Side,
    },
    /// Probe a slot on its side. `live`: `current` names it.
    Rehearse {
        slot: Slot,
        manner: Manner,
        live: bool,
    },
    /// Give a side, on which this slot was found healthy, its share of new connections, and the other side the rest.
    Shift {
        slot: Slot,
        side: Side,
        traffic: Traffic,
    },
    /// Stop a side that has no traffic, when its last connections have ended or their time is over.
    StopSide(Side),
    /// Give every host behind the balancer of this one its weight; done when connections to those that get no more have
    /// ended or had their time.
    Direct(Directions),
    /// Remove these slots; never one that is live or needed for going back.
    Prune(Vec<Slot>),
    /// Remove everything of the app, which does not run any more.
    Remove,
}

impl Step {
    pub fn name(&self) -> StepName {
        match self {
            Step::Check(_) | Step::Admit { .. } => StepName::Check,
            Step::Fetch(_) => StepName::Fetch,
            Step::Render(_) => StepName::Render,
            Step::Seal(_) => StepName::Stage,
            Step::Hook { .. } => StepName::Hook,
            Step::Point(_) | Step::Unpoint => StepName::Switch,
            Step::Start(_) => StepName::Start,
            Step::Stop => StepName::Stop,
            Step::StartSide { .. } => StepName::Start,
            Step::Shift { .. } | Step::Direct(_) => StepName::Traffic,
            Step::StopSide(_) => StepName::Stop,
            Step::Probe { .. } | Step::Rehearse { .. } => StepName::Probe,
            Step::Prune(_) => StepName::Prune,
            Step::Remove => StepName::Remove,
        }
    }

    /// May be dropped half way for a newer assignment: it changes nothing live and starts nothing.
    pub fn is_interruptible(&self) -> bool {
        match self {
            Step::Check(_) | Step::Fetch(_) | Step::Admit { .. } => true,
            Step::Probe { .. } | Step::Rehearse { .. } => true,
            // The next directions are whole again, however far these came.
            Step::Direct(_) => true,
            Step::Render(_) | Step::Seal(_) | Step::Hook { .. } | Step::Point(_) | Step::Unpoint => false,
            Step::Start(_) | Step::Stop | Step::Prune(_) | Step::Remove => false,
            Step::StartSide { .. } | Step::Shift { .. } | Step::StopSide(_) => false,
        }
    }

    /// Mostly it waits for connections to end, and costs the host next to nothing.
    pub fn waits(&self) -> bool {
        match self {
            Step::StopSide(_) | Step::Direct(_) => true,
            Step::Check(_) | Step::Fetch(_) | Step::Render(_) | Step::Seal(_) | Step::Admit { .. } => false,
            Step::Hook { .. } | Step::Point(_) | Step::Unpoint | Step::Start(_) | Step::Stop => false,
            Step::Probe { .. } | Step::Rehearse { .. } | Step::StartSide { .. } | Step::Shift { .. } => false,
            Step::Prune(_) | Step::Remove => false,
        }
    }

    /// What there is to see once it was done well, where that is known without a look: it looks only, or changes one thing
    /// that was seen before.
    pub fn leaves(&self, seen: &Seen) -> Option<Seen> {
        match self {
            Step::Point(slot) => Some(Seen { current: Some(slot.clone()), ..seen.clone() }),
            Step::Admit { .. } | Step::Probe { .. } | Step::Rehearse { .. } => Some(seen.clone()),
            Step::Check(_) | Step::Fetch(_) | Step::Render(_) | Step::Seal(_) | Step::Hook { .. } => None,
            Step::Unpoint | Step::Start(_) | Step::Stop | Step::Prune(_) | Step::Remove => None,
            Step::StartSide { .. } | Step::Shift { .. } | Step::StopSide(_) | Step::Direct(_) => None,
        }
    }

    /// Comes at or after the moment from which the live release is touched.
    pub(super) fn touches_live(&self) -> bool {
        match self {
            Step::Check(_) | Step::Fetch(_) | Step::Render(_) | Step::Seal(_) | Step::Prune(_) => false,
            Step::Admit { .. } => false,
            Step::Hook { point, .. } => matches!(point, HookPoint::AfterSwitch | HookPoint::AfterHealthy),
            Step::Point(_) | Step::Unpoint | Step::Start(_) | Step::Stop => true,
            Step::Probe { .. } | Step::Remove => true,
            Step::Rehearse { live, .. } => *live,
            Step::StartSide { .. } | Step::Shift { .. } | Step::StopSide(_) | Step::Direct(_) => false,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Check(wanted) => write!(f, "check {}", wanted.slot),
            Step::Fetch(wanted) => write!(f, "fetch {}", wanted.slot),
            Step::Render(wanted) => write!(f, "render {}", wanted.slot),
            Step::Seal(wanted) => write!(f, "seal {}", wanted.slot),
            Step::Admit { wanted, .. } => write!(f, "admit {}", wanted.slot),
            Step::Hook { point, slot } => write!(f, "hook {point} of {slot}"),
            Step::Point(slot) => write!(f, "point current at {slot}"),
            Step::Unpoint => f.write_str("take current away"),
            Step::Start(slot) => write!(f, "start {slot}"),
            Step::Stop => f.write_str("stop"),
            Step::Probe { slot, manner: Manner::Settle } => write!(f, "probe {slot}"),
            Step::Probe { slot, manner: Manner::Glance } => write!(f, "glance at {slot}"),
            Step::StartSide { slot, side } => write!(f, "start {slot} on {side}"),
            Step::Rehearse { slot, manner: Manner::Settle, .. } => write!(f, "try {slot}"),
            Step::Rehearse { slot, manner: Manner::Glance, .. } => write!(f, "glance at {slot}"),
            Step::Shift { slot, side, traffic } => {
                write!(f, "shift {}% of traffic to {slot} on {side}", traffic.share)
            }
            Step::StopSide(side) => write!(f, "stop {side}"),
            Step::Direct(directions) => {
                let Directions { backend, servers, .. } = directions;
                let idle = servers.iter().filter(|server| server.weight == 0).count();
                write!(f, "direct {backend}: {} servers, {idle} of them without traffic", servers.len())
            }
            Step::Prune(slots) => {
                f.write_str("prune")?;
                slots.iter().try_for_each(|slot| write!(f, " {slot}"))
            }
            Step::Remove => f.write_str("remove"),
        }
    }
}

/// What a sealed slot asks of a deployment; read from its manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// What the slot was made from; None only where there is no manifest, as in the host's twin.
    pub release: Option<ReleaseDigest>,
    /// There is a process to keep running; false for static content.
    pub runs: bool,
    /// It runs beside what ran before, on a side of its own.
    pub sides: bool,
    /// The hooks it has, with their timeouts.
    pub hooks: BTreeMap<HookPoint, Span>,
    /// How long a start may take, the stop of the old process included.
    pub start: Span,
    /// How long until every probe has come to a verdict.
    pub probe: Span,
    /// It has these to itself while it runs.
    pub ports: Vec<Port>,
}

impl Needs {
    pub fn of(manifest: &Manifest) -> Self {
        let hooks = HookPoint::ALL
            .into_iter()
            .filter_map(|point| point.of(manifest).map(|hook| (point, hook.timeout)))
            .collect();
        let probe = manifest.probes.iter().map(|p| p.deadline.0 + p.timeout.0).max().unwrap_or_default();
        Self {
            release: Some(manifest.digest()),
            runs: manifest.service.driver != Driver::None,
            sides: manifest.service.sides.is_some(),
            hooks,
            start: Span(manifest.service.start_timeout.0 + manifest.service.stop.grace.0),
            probe: Span(probe),
            ports: manifest.ports().filter_map(Port::parse).collect(),
        }
    }
}

/// What the service manager runs, or tries to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The slot that the unit (or the shim) was last told to run.
    pub slot: Slot,
    /// It is up now.
    pub up: bool,
    /// For people: the unit's name, or the process id.
    pub main: String,
}

/// What the host shows of one app, looked at afresh before every step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Complete and verified.
    pub slots: BTreeMap<Slot, Needs>,
    /// What `current` names.
    pub current: Option<Slot>,
    /// None when nothing is set up to run, but for what runs on sides.
    pub running: Option<Running>,
    pub sides: Sides,
    /// None: the host balances no others for this app.
    pub balance: Option<Balance>,
}

impl Seen {
    pub fn is_sealed(&self, slot: &Slot) -> bool {
        self.slots.contains_key(slot)
    }

    /// `current` names it and what it needs to run does run.
    pub fn is_live(&self, slot: &Slot) -> bool {
        self.current.as_ref() == Some(slot) && self.is_run(slot)
    }

    /// The process that serves: of an app with sides the one of what is live.
    pub fn main(&self) -> Option<&str> {
        let beside = self.current.as_ref().and_then(|slot| self.sides.on(self.sides.home_of(slot)?));
        self.running.as_ref().or(beside).map(|running| running.main.as_str())
    }

    /// What runs is what this slot asks for.
    pub fn is_run(&self, slot: &Slot) -> bool {
        if self.has_sides(slot) {
            return Side::BOTH.into_iter().any(|side| self.sides.is_up(side, slot));
        }
        let runs = self.slots.get(slot).is_some_and(|needs| needs.runs);
        match &self.running {
            Some(running) => runs && running.up && running.slot == *slot,
            None => !runs,
        }
    }
}
