//! Moving an app that runs beside itself: the new release is tried on the idle side, then traffic moves, and the old
//! side stays warm for a while.
//!
//! Forward: hook `before_switch`; start on the idle side; probe there; shift traffic; point `current`; hooks
//! `after_switch` and `after_healthy`; conclude healthy. Until traffic has moved nothing live was touched, so a failure
//! stops the new side and that is all. At every instant traffic goes to a side that was found healthy: nothing is
//! started on a side that has traffic, nothing is stopped that has any, and on the way back the old side is proved
//! before traffic returns to it. A side that is still warm is proved by a glance, which makes the way back instant.
//!
//! While whoever directs traffic cannot be asked, nothing is begun and nothing is stopped.

use longshore_common::{
    assignment::Assignment,
    report::Outcome,
    slot::Slot,
    traffic::{Side, SideSeen, Traffic},
};

use super::{
    model::{HookPoint, Manner, Running, Seen, Step},
    next::{Next, reverted_to},
    record::{Attempt, Failed, Pass, Record, both},
    sides::{Shown, Split, own_sockets},
};

pub(super) fn traffic_of(record: &Record) -> Traffic {
    record.accepted.as_ref().and_then(|assignment| assignment.traffic.clone()).unwrap_or_else(own_sockets)
}

/// From a sealed slot to a healthy release that has its share of the traffic.
pub(super) fn make_live(record: &Record, assignment: &Assignment, attempt: &Attempt, seen: &Seen) -> Next {
    let target = assignment.slot();
    let traffic = traffic_of(record);
    let (sides, settled) = (&seen.sides, record.is_settled_on(&target));
    let is_current = seen.current.as_ref() == Some(&target);
    if let Some(step) = ask_first(record, &traffic, attempt, seen) {
        return Next::Do(step);
    }
    let hook = |point| due_hook(point, &target, attempt, seen);
    let Some(home) = sides.home_of(&target).filter(|side| sides.is_up(*side, &target)) else {
        if !is_current && let Some(due) = hook(HookPoint::BeforeSwitch) {
            return Next::Do(due);
        }
        return Next::Do(start(&target, &traffic, seen));
    };
    let split = Split::of(&traffic, home, traffic.share);
    let nothing_done =
        !attempt.has(Pass::Started) && !attempt.has(Pass::Shifted) && !attempt.has(Pass::Pointed);
    if is_current && settled && nothing_done && sides.shows(&split) && attempt.has(Pass::GlancedHealthy) {
        return Next::Conclude(Outcome::Unchanged);
    }
    if let Some(step) = prove(record, &target, is_current, attempt) {
        return Next::Do(step);
    }
    if !sides.shows(&split) {
        return Next::Do(Step::Shift { slot: target, side: home, traffic });
    }
    if !is_current {
        return Next::Do(Step::Point(target));
    }
    if settled {
        return Next::Conclude(Outcome::Healthy);
    }
    hook(HookPoint::AfterSwitch)
        .or_else(|| hook(HookPoint::AfterHealthy))
        .map_or(Next::Conclude(Outcome::Healthy), Next::Do)
}

/// When it cannot be told where traffic goes, it is said again where it was last; nothing else is done before that.
fn ask_first(record: &Record, traffic: &Traffic, attempt: &Attempt, seen: &Seen) -> Option<Step> {
    let unknown = seen.sides.traffic == Shown::Unknown && !attempt.has(Pass::Shifted);
    unknown.then(|| restate(record, traffic, seen)).flatten()
}

/// Traffic as it was settled last.
fn restate(record: &Record, traffic: &Traffic, seen: &Seen) -> Option<Step> {
    let current = seen.current.as_ref().filter(|slot| record.good.last() == Some(slot))?;
    let side = seen.sides.home_of(current).filter(|side| seen.sides.is_up(*side, current))?;
    let traffic = Traffic { share: record.share?, ..traffic.clone() };
    Some(Step::Shift { slot: current.clone(), side, traffic })
}

/// Starts it where it was, or on the idle side, which has no traffic by then. What is still warm there is stopped first, for
/// its connections may take long to end.
fn start(slot: &Slot, traffic: &Traffic, seen: &Seen) -> Step {
    let sides = &seen.sides;
    let side = sides.home_of(slot).unwrap_or_else(|| sides.idle(seen.current.as_ref()));
    if let Some(other) = sides.on(side.other())
        && other.up
        && sides.share(side) != Some(0)
    {
        let traffic = Traffic { share: 100, ..traffic.clone() };
        return Step::Shift { slot: other.slot.clone(), side: side.other(), traffic };
    }
    let warm = sides.on(side).is_some_and(|left| left.up && left.slot != *slot);
    if warm && sides.share(side) == Some(0) {
        return Step::StopSide(side);
    }
    Step::StartSide { slot: slot.clone(), side }
}

/// What was healthy here before and still runs needs a glance and not another trial.
fn prove(record: &Record, slot: &Slot, live: bool, attempt: &Attempt) -> Option<Step> {
    if attempt.has(Pass::Settled) || attempt.has(Pass::GlancedHealthy) {
        return None;
    }
    let known = record.good.contains(slot) && !attempt.has(Pass::Started);
    let manner = if known && !attempt.has(Pass::GlancedUnhealthy) { Manner::Glance } else { Manner::Settle };
    Some(Step::Rehearse { slot: slot.clone(), manner, live })
}

pub(super) fn on_failure(
    record: &Record,
    assignment: &Assignment,
    failed: &Failed,
    attempt: &Attempt,
    seen: &Seen,
) -> Next {
    let failure = || failed.failure.clone();
    if let Some(way_back) = &failed.way_back {
        return Next::Conclude(Outcome::Inconsistent { failure: both(&failed.failure, way_back) });
    }
    let target = assignment.slot();
    let home = seen.sides.home_of(&target);
    let has_traffic = home.is_some_and(|side| seen.sides.share(side).is_some_and(|share| share > 0));
    let moved = failed.touched || seen.current.as_ref() == Some(&target) || has_traffic;
    if !moved || record.is_settled_on(&target) {
        // It had no traffic, or it is what was good all the time.
        let stop = home.filter(|side| !record.good.contains(&target) && seen.sides.share(*side) == Some(0));
        return stop.map_or_else(
            || Next::Conclude(Outcome::Failed { failure: failure() }),
            |side| Next::Do(Step::StopSide(side)),
        );
    }
    match record.fallback(&target, seen) {
        Some(back) => go_back(record, &back, attempt, seen)
            .or_else(|| leave(&target, seen))
            .map_or_else(|| Next::Conclude(reverted_to(&back, failure())), Next::Do),
        // Nothing was ever good, so nothing is left live.
        None if !record.good.iter().any(|slot| seen.is_sealed(slot)) => {
            if let Some(side) = home {
                return Next::Do(Step::StopSide(side));
            }
            match seen.current {
                Some(_) => Next::Do(Step::Unpoint),
                None => Next::Conclude(Outcome::Failed { failure: failure() }),
            }
        }
        None => Next::Conclude(Outcome::Failed { failure: failure() }),
    }
}

/// The side of a release that was left behind, once it has no traffic.
fn leave(slot: &Slot, seen: &Seen) -> Option<Step> {
    let side = seen.sides.home_of(slot)?;
    (seen.sides.share(side) == Some(0)).then_some(Step::StopSide(side))
}

/// What is missing until this good release has all the traffic again; whatever has it keeps it until then.
pub(super) fn go_back(record: &Record, back: &Slot, attempt: &Attempt, seen: &Seen) -> Option<Step> {
    let traffic = Traffic { share: 100, ..traffic_of(record) };
    let Some(home) = seen.sides.home_of(back).filter(|side| seen.sides.is_up(*side, back)) else {
        return Some(start(back, &traffic, seen));
    };
    if let Some(step) = prove(record, back, true, attempt) {
        return Some(step);
    }
    if !seen.sides.shows(&Split::of(&traffic, home, 100)) {
        return Some(Step::Shift { slot: back.clone(), side: home, traffic });
    }
    (seen.current.as_ref() != Some(back)).then(|| Step::Point(back.clone()))
}

/// Between assignments: traffic is kept as it was settled, and a side that nobody needs any more is stopped.
pub(super) fn tidy(record: &Record, attempt: &Attempt, seen: &Seen) -> Option<Step> {
    if seen.sides.is_empty() || attempt.has(Pass::TidyFailed) {
        return None;
    }
    let (current, traffic) = (seen.current.as_ref()?, traffic_of(record));
    if record.good.last() != Some(current) {
        return None; // what is live was not judged: hands off
    }
    let Some(home) = seen.sides.home_of(current) else {
        let beside = Side::BOTH.into_iter().find(|side| seen.sides.on(*side).is_some())?;
        return (!seen.has_sides(current) && seen.is_run(current)).then_some(Step::StopSide(beside));
    };
    if !seen.sides.is_up(home, current) {
        return None; // its service manager starts it again
    }
    if !seen.sides.shows(&Split::of(&traffic, home, record.share.unwrap_or(100))) {
        return restate(record, &traffic, seen);
    }
    if seen.running.is_some() {
        return Some(Step::Stop); // from before it had sides
    }
    let other = home.other();
    let left = seen.sides.on(other).filter(|_| seen.sides.share(other) == Some(0))?;
    if is_warm(record, left, seen) {
        return None;
    }
    let hook = due_hook(HookPoint::BeforeStop, &left.slot, attempt, seen).filter(|_| left.up);
    Some(hook.unwrap_or(Step::StopSide(other)))
}

/// Of a side without traffic: it stays, as an instant way back.
fn is_warm(record: &Record, left: &Running, seen: &Seen) -> bool {
    record.good.contains(&left.slot) && !seen.sides.warm_over
}

/// Both sides, for those who look.
pub fn sides_seen(record: &Record, seen: &Seen) -> Vec<SideSeen> {
    let of = |side: Side| {
        let running = seen.sides.on(side)?;
        let share = seen.sides.share(side);
        let waits = share == Some(0) && seen.sides.share(side.other()) == Some(100);
        let warm = waits && is_warm(record, running, seen);
        Some(SideSeen {
            side,
            slot: running.slot.clone(),
            up: running.up,
            share,
            main: running.main.clone(),
            warm_until_ms: warm.then_some(seen.sides.warm_until_ms),
        })
    };
    Side::BOTH.into_iter().filter_map(of).collect()
}

fn due_hook(point: HookPoint, slot: &Slot, attempt: &Attempt, seen: &Seen) -> Option<Step> {
    let has = seen.slots.get(slot).is_some_and(|needs| needs.hooks.contains_key(&point));
    (has && !attempt.has(Pass::Hook(point))).then(|| Step::Hook { point, slot: slot.clone() })
}
