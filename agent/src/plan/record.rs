//! What the agent remembers of an app, and how that changes.

use std::collections::BTreeSet;

use longshore_common::{
    assignment::{Assignment, Intent},
    code::Code,
    ids::{Generation, RolloutId},
    report::{Blame, Failure, Outcome, StepName},
    slot::Slot,
    time::Millis,
};
use serde::{Deserialize, Serialize};

use super::{
    halt::Halt,
    model::{HookPoint, Manner, Seen, Step},
};

/// Somebody's word that this host takes no new work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub reason: String,
    /// The local user; of a drain, the operator; of a file, its path.
    pub by: String,
    pub since_ms: Millis,
    #[serde(default)]
    pub kind: HoldKind,
}

/// What holds a host, and so what lets it go again. Each stands by itself: who lets one go leaves the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HoldKind {
    /// An admin said so over the local socket.
    #[default]
    Admin,
    /// A file of the admin's, while it is there.
    File,
    /// An operator drained the host.
    Drain,
}

impl Hold {
    /// What lets the host go.
    pub fn way_out(&self) -> String {
        match self.kind {
            HoldKind::Admin => "On the host: longshore-agent unhold".to_owned(),
            HoldKind::File => format!("On the host: rm {}", self.by),
            HoldKind::Drain => "To let it go: longshore host undrain".to_owned(),
        }
    }
}

/// A revert that was asked for on the host itself. Goes before any assignment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Was sealed when the order was taken.
    pub to: Slot,
    /// What was live then.
    pub from: Option<Slot>,
    /// The local user.
    pub by: String,
}

/// What this host itself found a slot to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// Healthy while live, and not judged otherwise by a human since.
    Good,
    Untried,
}

/// What of the signed documents may have run out when something is made live that never was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stale {
    #[default]
    Refused,
    /// What only says that a list is current. Whoever on this host wants it so is told of forever after.
    Allowed,
}

/// Somebody on the host deployed what is accepted, from a bundle; the controller did not assign it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Local {
    /// The local user.
    pub by: String,
    pub since_ms: Millis,
    #[serde(default)]
    pub stale: Stale,
}

/// A rollout that later asks for another slot takes this one back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brought {
    pub rollout: RolloutId,
    pub slot: Slot,
}

/// The failure that ended the way forward.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    pub failure: Failure,
    /// The live release was touched, so there is a way back to go.
    pub touched: bool,
    /// The way back failed as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub way_back: Option<Failure>,
}

/// How a generation ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conclusion {
    pub generation: Generation,
    pub outcome: Outcome,
}

/// Slots that failed and are remembered: a word for whoever looks, which decides nothing.
const BAD_MAX: usize = 8;

/// Durable memory of one app.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The assignment of the highest generation that was taken.
    pub accepted: Option<Assignment>,
    /// Of `accepted`; set before the way back begins, so a crash cannot make the host try again.
    #[serde(default)]
    pub failed: Option<Failed>,
    /// Of `accepted`; once set, nothing is done for it any more except pruning.
    #[serde(default)]
    pub concluded: Option<Conclusion>,
    /// The highest generation that was refused, when it is above the accepted one.
    #[serde(default)]
    pub refused: Option<Conclusion>,
    /// Slots that were healthy while live, the latest last, none twice.
    #[serde(default)]
    pub good: Vec<Slot>,
    /// Slots that failed when they were tried here, the latest last; none that is good, and at most `BAD_MAX`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bad: Vec<Slot>,
    /// An earlier assignment was given up half way through its switch, so what is live was never judged.
    #[serde(default)]
    pub disturbed: bool,
    #[serde(default)]
    pub order: Option<Order>,
    /// The host is drained, or was until a moment ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halt: Option<Halt>,
    /// Percent of the traffic that what is live was given last; `None` for an app without sides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<u8>,
    /// What a rollout made live here that was not live before it; until the rollout takes it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brought: Option<Brought>,
    /// Of `accepted`. Then its generation is the highest that the controller ever named, so that whatever is new from
    /// there goes before it, and nothing old does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<Local>,
}

impl Record {
    /// Accepted or refused, whichever is higher.
    pub fn generation(&self) -> Option<Generation> {
        let accepted = self.accepted.as_ref().map(|assignment| assignment.generation);
        accepted.max(self.refused.as_ref().map(|refused| refused.generation))
    }

    /// Is there something left to do or to conclude?
    pub fn is_busy(&self) -> bool {
        self.order.is_some() || (self.accepted.is_some() && self.concluded.is_none())
    }

    pub fn past_of(&self, slot: &Slot) -> Past {
        if self.good.contains(slot) { Past::Good } else { Past::Untried }
    }

    /// This slot was found healthy the last time anything was judged, and nothing was begun since.
    pub(super) fn is_settled_on(&self, slot: &Slot) -> bool {
        !self.disturbed && self.good.last() == Some(slot)
    }

    /// Where the way back leads: the latest good slot that is still on disk. None when the target itself is the
    /// latest good one: then there is no release to go back to that was live before it.
    pub(super) fn fallback(&self, target: &Slot, seen: &Seen) -> Option<Slot> {
        if self.good.last() == Some(target) {
            return None;
        }
        let unwell = self.accepted.as_ref().and_then(|accepted| accepted.unwell.as_ref());
        let may = |slot: &Slot| slot != target && unwell != Some(slot) && seen.is_sealed(slot);
        self.good.iter().rev().find(|slot| may(slot)).cloned()
    }
}

/// What this attempt has done that the disk does not show. Begins empty for every generation, order and start of
/// the agent, and again when the way back begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    passed: BTreeSet<Pass>,
    /// It goes on with what was begun before this start of the agent, and does not know what was done until then.
    resumed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pass {
    Checked,
    Fetched,
    Rendered,
    Admitted,
    Hook(HookPoint),
    Pointed,
    Started,
    Settled,
    GlancedHealthy,
    GlancedUnhealthy,
    Removed,
    Shifted,
    Directed,
    PruneFailed,
    TidyFailed,
}

impl Attempt {
    /// Of what the agent found when it was started.
    pub fn resumed(record: &Record) -> Self {
        Self { resumed: record.is_busy(), ..Self::default() }
    }

    /// Of the next round, in which what failed in this one is tried again.
    pub fn again(&self, record: &Record) -> Self {
        Self { resumed: self.resumed && record.is_busy(), ..Self::default() }
    }

    pub(super) fn has(&self, pass: Pass) -> bool {
        self.passed.contains(&pass)
    }
}

/// Writes down how a step went. The record has to be made durable before the next step when this says that it changed.
#[must_use]
pub fn after(record: &mut Record, attempt: &mut Attempt, step: &Step, result: Result<(), Failure>) -> bool {
    match result {
        Ok(()) => {
            note(attempt, step);
            false
        }
        Err(_) if matches!(step, Step::Prune(_)) => {
            attempt.passed.insert(Pass::PruneFailed); // the deployment is not worse for it; the next one tries again
            false
        }
        // A hook keeps nobody from stopping.
        Err(_) if record.is_halting() && matches!(step, Step::Hook { .. }) => {
            note(attempt, step);
            false
        }
        Err(_) if record.is_halting() => {
            attempt.passed.insert(Pass::TidyFailed);
            false
        }
        // Between assignments nothing can fail any more; it is tried again at the next look.
        Err(_) if record.concluded.is_some() && record.order.is_none() => {
            attempt.passed.insert(Pass::TidyFailed);
            false
        }
        Err(_)
            if matches!(
                step,
                Step::Probe { manner: Manner::Glance, .. } | Step::Rehearse { manner: Manner::Glance, .. }
            ) =>
        {
            attempt.passed.insert(Pass::GlancedUnhealthy);
            false
        }
        Err(failure) => {
            let settled = record.accepted.as_ref().is_some_and(|a| record.is_settled_on(&a.slot()));
            fail(record, attempt, failure, step.touches_live() && !settled);
            true
        }
    }
}

fn note(attempt: &mut Attempt, step: &Step) {
    let pass = match step {
        Step::Check(_) => Pass::Checked,
        Step::Fetch(_) => Pass::Fetched,
        Step::Render(_) => Pass::Rendered,
        Step::Admit { .. } => Pass::Admitted,
        Step::Hook { point, .. } => Pass::Hook(*point),
        Step::Point(_) => Pass::Pointed,
        Step::Start(_) | Step::StartSide { .. } => {
            attempt.passed.remove(&Pass::Settled);
            attempt.passed.remove(&Pass::GlancedHealthy);
            Pass::Started
        }
        Step::Shift { .. } => Pass::Shifted,
        Step::Direct(_) => Pass::Directed,
        Step::Probe { manner, .. } | Step::Rehearse { manner, .. } => match manner {
            Manner::Settle => Pass::Settled,
            Manner::Glance => Pass::GlancedHealthy,
        },
        Step::Remove => Pass::Removed,
        // These show on disk, or at the service manager.
        Step::Seal(_) | Step::Unpoint | Step::Stop | Step::StopSide(_) | Step::Prune(_) => return,
    };
    attempt.passed.insert(pass);
}

/// The host could not even be looked at. Writes that down like a failed step; where it is not known whether what is live
/// was touched, as one that was.
pub fn blind(record: &mut Record, attempt: &mut Attempt, failure: Failure) {
    let begun = [Pass::Pointed, Pass::Started, Pass::Shifted].iter().any(|pass| attempt.has(*pass));
    let changes = record
        .accepted
        .as_ref()
        .is_some_and(|assignment| matches!(assignment.intent, Intent::Run | Intent::Remove));
    let touched = begun || (attempt.resumed && changes);
    fail(record, attempt, failure, touched);
}

/// How an assignment (or order) ends that failed without a look at the host, if it needs none to end.
pub fn ended_blind(record: &Record) -> Option<Outcome> {
    let failed = record.failed.as_ref()?;
    if failed.way_back.is_some() || failed.touched || record.order.is_some() {
        let failure =
            failed.way_back.as_ref().map_or_else(|| failed.failure.clone(), |way| both(&failed.failure, way));
        let final_word = failed.way_back.is_some() || record.order.is_some();
        return final_word.then_some(Outcome::Inconsistent { failure });
    }
    Some(Outcome::Failed { failure: failed.failure.clone() })
}

/// The first failure, with what happened on the way back.
pub(super) fn both(first: &Failure, way_back: &Failure) -> Failure {
    let mut failure = first.clone().with_evidence(way_back.evidence.iter().cloned());
    failure.message =
        format!("{}; then the way back failed at {}: {}", first.message, way_back.step, way_back.message);
    failure
}

fn fail(record: &mut Record, attempt: &mut Attempt, failure: Failure, touched: bool) {
    *attempt = Attempt::default();
    let touched = touched || record.disturbed;
    match &mut record.failed {
        None => record.failed = Some(Failed { failure, touched, way_back: None }),
        Some(failed) => failed.way_back = Some(failure),
    }
}

/// The record after its assignment (or the local order) has ended like this. Made durable together with the report.
#[must_use]
pub fn conclude(record: &Record, outcome: &Outcome) -> Record {
    let mut next = record.clone();
    let assignment = record.accepted.as_ref().expect("only something accepted can end");
    let order = next.order.take();
    let is_assigned = order.is_none();
    let failed = is_assigned && assignment.intent == Intent::Run && is_verdict(outcome);
    match outcome {
        // Nothing of the app runs here.
        _ if assignment.intent == Intent::Direct => {}
        Outcome::Healthy | Outcome::Unchanged => {
            next.brought = brought_by(record, assignment, outcome);
            if let Some(back) = record.brought.as_ref().filter(|brought| brought.is_taken_back_by(assignment))
            {
                next.good.retain(|slot| *slot != back.slot);
            }
            remember_good(&mut next, assignment.slot(), assignment.keep_slots);
            next.share = Some(assignment.traffic.as_ref().map_or(100, |traffic| traffic.share));
        }
        Outcome::Reverted { to_slot, .. } => {
            if let Some(Order { from: Some(from), .. }) = order {
                next.good.retain(|slot| *slot != from); // a human judged it
            }
            remember_good(&mut next, to_slot.clone(), assignment.keep_slots);
            next.share = Some(100);
        }
        Outcome::Removed => {
            next.good.clear();
            next.bad.clear();
            next.share = None;
            next.disturbed = false;
        }
        Outcome::Failed { .. } if assignment.intent == Intent::Run && record.good.is_empty() => {
            next.disturbed = false; // stopped and taken away: nothing unjudged is left
        }
        Outcome::Inconsistent { .. } => next.disturbed = true,
        Outcome::Staged | Outcome::Failed { .. } | Outcome::Refused { .. } => {}
    }
    if failed {
        remember_bad(&mut next, assignment.slot());
    }
    if let Some(unwell) = assignment.unwell.as_ref().filter(|_| is_assigned) {
        let was_good = next.good.contains(unwell);
        next.good.retain(|slot| slot != unwell);
        // It may be live still, and nothing that is live was found good then.
        next.disturbed |= was_good && !is_settled(outcome);
    }
    next.failed = None;
    next.concluded = Some(Conclusion { generation: assignment.generation, outcome: outcome.clone() });
    next
}

/// What the assignment's rollout has brought here once the assignment has ended so.
fn brought_by(record: &Record, assignment: &Assignment, outcome: &Outcome) -> Option<Brought> {
    let Assignment { rollout, .. } = assignment;
    let known = record.brought.as_ref().filter(|brought| brought.rollout == *rollout);
    match known {
        Some(brought) => (!brought.is_taken_back_by(assignment)).then(|| brought.clone()),
        None if *outcome == Outcome::Healthy && record.local.is_none() => {
            Some(Brought { rollout: *rollout, slot: assignment.slot() })
        }
        None => None,
    }
}

impl Brought {
    fn is_taken_back_by(&self, assignment: &Assignment) -> bool {
        self.rollout == assignment.rollout && self.slot != assignment.slot()
    }
}

/// What is live was found good just now.
fn is_settled(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Healthy | Outcome::Unchanged | Outcome::Reverted { .. } => true,
        Outcome::Staged
        | Outcome::Failed { .. }
        | Outcome::Inconsistent { .. }
        | Outcome::Refused { .. }
        | Outcome::Removed => false,
    }
}

/// It failed by what it is, and not by what it found here.
fn is_verdict(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Failed { failure }
        | Outcome::Inconsistent { failure }
        | Outcome::Reverted { failure, .. } => failure.blame == Blame::Version,
        Outcome::Staged
        | Outcome::Healthy
        | Outcome::Unchanged
        | Outcome::Refused { .. }
        | Outcome::Removed => false,
    }
}

fn remember_bad(record: &mut Record, slot: Slot) {
    record.bad.retain(|bad| *bad != slot);
    if !record.good.contains(&slot) {
        record.bad.push(slot);
    }
    let excess = record.bad.len().saturating_sub(BAD_MAX);
    record.bad.drain(..excess);
}

fn remember_good(record: &mut Record, slot: Slot, keep: u32) {
    record.bad.retain(|bad| *bad != slot);
    record.good.retain(|good| *good != slot);
    record.good.push(slot);
    let excess = record.good.len().saturating_sub(keep.max(2) as usize);
    record.good.drain(..excess);
    record.disturbed = false;
}

/// Why the release that was live is not any more: somebody on the host said so.
pub(super) fn ordered(order: &Order) -> Failure {
    Failure::new(
        Code::P01,
        StepName::Revert,
        Blame::Environment,
        format!("reverted on this host by {}", order.by),
    )
}
