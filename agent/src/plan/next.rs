//! The decision: one step, or the end.

use longshore_common::{
    assignment::{Assignment, Intent},
    code::Code,
    report::{Blame, Failure, Outcome, StepName},
    slot::Slot,
    traffic::Side,
};

use super::{
    balance, beside,
    halt::halt,
    model::{HookPoint, Manner, Seen, Step, Wanted},
    record::{Attempt, Failed, Order, Pass, Past, Record, Stale, both, ordered},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    Do(Step),
    /// The assignment (or the local order) has ended.
    Conclude(Outcome),
    /// This is to be remembered before anything else.
    Keep(Box<Record>),
    /// Nothing to do until something changes.
    Idle,
}

pub fn next(record: &Record, attempt: &Attempt, seen: &Seen) -> Next {
    let Some(assignment) = &record.accepted else { return Next::Idle };
    if let Some(next) = halt(record, attempt, seen) {
        return next;
    }
    if let Some(order) = &record.order {
        return on_order(record, order, attempt, seen);
    }
    if assignment.intent == Intent::Direct {
        return match record.concluded {
            Some(_) => balance::tidy(record, attempt, seen).map_or(Next::Idle, Next::Do),
            None => balance::direct(assignment, record.failed.as_ref(), attempt),
        };
    }
    if let Some(concluded) = &record.concluded {
        return tidy(record, assignment, &concluded.outcome, attempt, seen);
    }
    let beside = assignment.intent == Intent::Run && seen.has_sides(&assignment.slot());
    match &record.failed {
        Some(failed) if beside => return beside::on_failure(record, assignment, failed, attempt, seen),
        Some(failed) => return on_failure(record, assignment, failed, attempt, seen),
        None => {}
    }
    let wanted = Wanted::from(assignment);
    if let Some(step) = admit(record, assignment, attempt, seen) {
        return Next::Do(step);
    }
    match assignment.intent {
        Intent::Stage => make_slot(&wanted, attempt, seen)
            .map_or_else(|| when_staged(record, &wanted.slot, attempt, seen), Next::Do),
        Intent::Run if beside => beside::make_live(record, assignment, attempt, seen),
        Intent::Run => make_slot(&wanted, attempt, seen)
            .map_or_else(|| make_live(record, &wanted.slot, attempt, seen), Next::Do),
        Intent::Remove | Intent::Direct => remove(attempt, seen),
    }
}

/// Before anything runs from a slot that an earlier attempt left here: what was signed when it was made may not be now.
/// What was live and good here may always be live again, and what is live already stays.
fn admit(record: &Record, assignment: &Assignment, attempt: &Attempt, seen: &Seen) -> Option<Step> {
    let target = assignment.slot();
    let lies_here = assignment.intent == Intent::Run && seen.is_sealed(&target);
    let known = record.past_of(&target) == Past::Good || seen.current.as_ref() == Some(&target);
    let asked = attempt.has(Pass::Checked) || attempt.has(Pass::Admitted);
    (lies_here && !known && !asked).then(|| Step::Admit {
        wanted: Wanted::from(assignment),
        stale: record.local.as_ref().map_or(Stale::Refused, |local| local.stale),
    })
}

/// What is missing until the slot is sealed.
fn make_slot(wanted: &Wanted, attempt: &Attempt, seen: &Seen) -> Option<Step> {
    let wanted = || wanted.clone();
    if seen.is_sealed(&wanted().slot) {
        None
    } else if !attempt.has(Pass::Checked) {
        Some(Step::Check(wanted()))
    } else if !attempt.has(Pass::Fetched) {
        Some(Step::Fetch(wanted()))
    } else if !attempt.has(Pass::Rendered) {
        Some(Step::Render(wanted()))
    } else {
        Some(Step::Seal(wanted()))
    }
}

/// What is live and healthy already needs no switch, and nobody has to wait for one.
fn when_staged(record: &Record, target: &Slot, attempt: &Attempt, seen: &Seen) -> Next {
    let live = seen.current.as_ref() == Some(target) && seen.is_run(target) && record.is_settled_on(target);
    if !live || attempt.has(Pass::GlancedUnhealthy) {
        Next::Conclude(Outcome::Staged)
    } else if attempt.has(Pass::GlancedHealthy) {
        Next::Conclude(Outcome::Unchanged)
    } else {
        Next::Do(Step::Probe { slot: target.clone(), manner: Manner::Glance })
    }
}

/// From a sealed slot to a healthy release.
fn make_live(record: &Record, target: &Slot, attempt: &Attempt, seen: &Seen) -> Next {
    let hook = |point, slot: &Slot| {
        let has = seen.slots.get(slot).is_some_and(|needs| needs.hooks.contains_key(&point));
        let due = has && !attempt.has(Pass::Hook(point));
        due.then(|| Next::Do(Step::Hook { point, slot: slot.clone() }))
    };
    if seen.current.as_ref() != Some(target) {
        let stops = seen.running.as_ref().filter(|running| running.up && running.slot != *target);
        return hook(HookPoint::BeforeSwitch, target)
            .or_else(|| stops.and_then(|old| hook(HookPoint::BeforeStop, &old.slot)))
            .unwrap_or_else(|| Next::Do(Step::Point(target.clone())));
    }
    let settled = record.is_settled_on(target);
    if seen.is_run(target) && settled && !attempt.has(Pass::Started) {
        if attempt.has(Pass::GlancedHealthy) {
            return Next::Conclude(Outcome::Unchanged);
        }
        if !attempt.has(Pass::GlancedUnhealthy) {
            return Next::Do(Step::Probe { slot: target.clone(), manner: Manner::Glance });
        }
        return Next::Do(restart(target, seen));
    }
    let runs = seen.slots.get(target).is_some_and(|needs| needs.runs);
    // It comes before the start: where the target runs already, it was done before a crash.
    let before_start = !seen.is_run(target) || !runs || attempt.has(Pass::Pointed);
    if let Some(due) = hook(HookPoint::AfterSwitch, target).filter(|_| before_start && !settled) {
        return due;
    }
    if !seen.is_run(target) {
        return Next::Do(restart(target, seen));
    }
    if !attempt.has(Pass::Settled) {
        return Next::Do(Step::Probe { slot: target.clone(), manner: Manner::Settle });
    }
    hook(HookPoint::AfterHealthy, target).unwrap_or(Next::Conclude(Outcome::Healthy))
}

/// Make what runs be what the slot asks for.
fn restart(slot: &Slot, seen: &Seen) -> Step {
    let runs = seen.slots.get(slot).is_some_and(|needs| needs.runs);
    if runs { Step::Start(slot.clone()) } else { Step::Stop }
}

fn on_failure(
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
    let unmet = [Code::Q01, Code::K01, Code::P02].iter().any(|code| failed.failure.code == code.to_string());
    if unmet && !failed.touched {
        return Next::Conclude(Outcome::Refused { failure: failure() });
    }
    if assignment.intent != Intent::Run || !failed.touched {
        return Next::Conclude(Outcome::Failed { failure: failure() });
    }
    if let Some(back) = record.fallback(&assignment.slot(), seen) {
        return way_to(record, &back, attempt, seen)
            .map_or_else(|| Next::Conclude(reverted_to(&back, failure())), Next::Do);
    }
    if !record.good.iter().any(|slot| seen.is_sealed(slot)) {
        if seen.running.is_some() {
            return Next::Do(Step::Stop);
        }
        if seen.current.is_some() {
            return Next::Do(Step::Unpoint);
        }
    }
    Next::Conclude(Outcome::Failed { failure: failure() })
}

pub(super) fn way_to(record: &Record, back: &Slot, attempt: &Attempt, seen: &Seen) -> Option<Step> {
    if seen.has_sides(back) {
        beside::go_back(record, back, attempt, seen)
    } else {
        go_back(back, attempt, seen)
    }
}

/// What is missing until this good slot is live and healthy again. No hooks, no network.
fn go_back(back: &Slot, attempt: &Attempt, seen: &Seen) -> Option<Step> {
    if seen.current.as_ref() != Some(back) {
        Some(Step::Point(back.clone()))
    } else if !seen.is_run(back) {
        Some(restart(back, seen))
    } else if !attempt.has(Pass::Settled) {
        Some(Step::Probe { slot: back.clone(), manner: Manner::Settle })
    } else {
        None
    }
}

pub(super) fn reverted_to(slot: &Slot, failure: Failure) -> Outcome {
    let to_version = slot.version().parse().expect("a slot begins with a version");
    Outcome::Reverted { failure, to_slot: slot.clone(), to_version }
}

fn on_order(record: &Record, order: &Order, attempt: &Attempt, seen: &Seen) -> Next {
    if let Some(failed) = &record.failed {
        return Next::Conclude(Outcome::Inconsistent { failure: both(&ordered(order), &failed.failure) });
    }
    if !seen.is_sealed(&order.to) {
        let gone = Failure::new(
            Code::N01,
            StepName::Revert,
            Blame::Environment,
            format!("slot {} is not on this host any more; nothing was changed", order.to),
        );
        return Next::Conclude(Outcome::Failed { failure: gone });
    }
    way_to(record, &order.to, attempt, seen)
        .map_or_else(|| Next::Conclude(reverted_to(&order.to, ordered(order))), Next::Do)
}

fn remove(attempt: &Attempt, seen: &Seen) -> Next {
    if let Some(side) = Side::BOTH.into_iter().find(|side| seen.sides.on(*side).is_some()) {
        return Next::Do(Step::StopSide(side));
    }
    if let Some(running) = &seen.running {
        let has = seen.slots.get(&running.slot).is_some_and(|n| n.hooks.contains_key(&HookPoint::BeforeStop));
        if running.up && has && !attempt.has(Pass::Hook(HookPoint::BeforeStop)) {
            return Next::Do(Step::Hook { point: HookPoint::BeforeStop, slot: running.slot.clone() });
        }
        return Next::Do(Step::Stop);
    }
    if attempt.has(Pass::Removed) { Next::Conclude(Outcome::Removed) } else { Next::Do(Step::Remove) }
}

/// After a success: whatever is neither live nor worth going back to may go.
fn tidy(record: &Record, assignment: &Assignment, outcome: &Outcome, attempt: &Attempt, seen: &Seen) -> Next {
    if let Some(step) = beside::tidy(record, attempt, seen) {
        return Next::Do(step);
    }
    // A host that only ever unpacks, since tests run there, would fill up else.
    let only_stages = record.good.is_empty() && seen.current.is_none() && seen.running.is_none();
    match outcome {
        Outcome::Healthy | Outcome::Unchanged => {}
        Outcome::Staged if only_stages => {}
        Outcome::Staged | Outcome::Failed { .. } | Outcome::Reverted { .. } | Outcome::Removed => {
            return Next::Idle;
        }
        Outcome::Inconsistent { .. } | Outcome::Refused { .. } => return Next::Idle,
    }
    let target = assignment.slot();
    let surplus: Vec<Slot> = seen
        .slots
        .keys()
        .filter(|slot| **slot != target && !record.good.contains(slot))
        .filter(|slot| seen.current.as_ref() != Some(slot))
        .filter(|slot| seen.running.as_ref().is_none_or(|running| running.slot != **slot))
        .filter(|slot| seen.sides.home_of(slot).is_none())
        .cloned()
        .collect();
    if surplus.is_empty() || attempt.has(Pass::PruneFailed) {
        Next::Idle
    } else {
        Next::Do(Step::Prune(surplus))
    }
}
