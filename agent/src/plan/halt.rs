//! A host that is drained: its apps stop and stay stopped, over a boot of the machine too, until an operator lifts it.
//! Then what was live before comes back.

use longshore_common::{time::Millis, traffic::Side};
use serde::{Deserialize, Serialize};

use super::{
    model::{HookPoint, Seen, Step},
    next::{Next, way_to},
    record::{Attempt, Pass, Record},
};

/// An operator's word that this host's apps stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    pub by: String,
    pub reason: String,
    /// By the controller's clock, as all of it but the last.
    pub since_ms: Millis,
    /// What is under way may end until then.
    pub stop_ms: Millis,
    /// The same by this host's clock.
    pub here_ms: Millis,
}

/// What an app is to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Halt {
    /// Stop when nothing is under way.
    Soon,
    /// Stop, whatever is under way.
    Now,
    /// It was lifted: what was live comes back.
    Lifted,
}

impl Record {
    /// Everything that is done now is for standing still.
    pub(super) fn is_halting(&self) -> bool {
        match self.halt {
            Some(Halt::Now) => true,
            Some(Halt::Soon) => !self.is_busy(),
            Some(Halt::Lifted) | None => false,
        }
    }
}

/// None: nothing of it keeps the app from going on.
pub(super) fn halt(record: &Record, attempt: &Attempt, seen: &Seen) -> Option<Next> {
    if record.is_halting() {
        return Some(stop(attempt, seen).map_or(Next::Idle, Next::Do));
    }
    (record.halt == Some(Halt::Lifted) && !record.is_busy()).then(|| wake(record, attempt, seen))
}

fn stop(attempt: &Attempt, seen: &Seen) -> Option<Step> {
    if attempt.has(Pass::TidyFailed) {
        return None;
    }
    let hook = |slot: &longshore_common::slot::Slot| {
        let has = seen.slots.get(slot).is_some_and(|needs| needs.hooks.contains_key(&HookPoint::BeforeStop));
        (has && !attempt.has(Pass::Hook(HookPoint::BeforeStop)))
            .then(|| Step::Hook { point: HookPoint::BeforeStop, slot: slot.clone() })
    };
    for side in Side::BOTH {
        if let Some(running) = seen.sides.on(side) {
            return Some(hook(&running.slot).filter(|_| running.up).unwrap_or(Step::StopSide(side)));
        }
    }
    let running = seen.running.as_ref()?;
    Some(hook(&running.slot).filter(|_| running.up).unwrap_or(Step::Stop))
}

fn wake(record: &Record, attempt: &Attempt, seen: &Seen) -> Next {
    if attempt.has(Pass::TidyFailed) {
        return Next::Idle; // at the next look again
    }
    let live = seen.current.as_ref().filter(|slot| record.good.last() == Some(slot));
    let stopped =
        live.filter(|slot| seen.has_sides(slot) || !seen.is_run(slot) || attempt.has(Pass::Started));
    stopped
        .and_then(|slot| way_to(record, slot, attempt, seen))
        .map_or_else(|| Next::Keep(Box::new(Record { halt: None, ..record.clone() })), Next::Do)
}
