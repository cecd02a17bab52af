//! How long a step may take. The host has finer deadlines inside; these hold when everything else fails.

use std::time::Duration;

use longshore_common::{
    code::Code,
    report::{Blame, Failure},
    slot::Slot,
    time::Span,
    traffic::Side,
};

use super::Limits;
use crate::plan::{Needs, Seen, Step};

/// Longest that connections to a side may take to end; environments say less.
const DRAIN: Duration = Duration::from_secs(3600);
/// For ending process trees and the like, on top of what the manifest says.
const GRACE: Duration = Duration::from_secs(30);

pub(super) fn deadline(step: &Step, seen: &Seen, limits: &Limits) -> Duration {
    let needs = |slot: &Slot| seen.slots.get(slot).cloned().unwrap_or_default();
    let running = seen.running.as_ref().map(|running| needs(&running.slot)).unwrap_or_default();
    // What is there has its drain, and its own time to stop.
    let emptied = |side: Side| {
        let there = seen.sides.on(side).map(|there| needs(&there.slot)).unwrap_or_default();
        seen.sides.drain.0 + there.start.0
    };
    match step {
        Step::Check(_) | Step::Fetch(_) => limits.fetch_deadline,
        Step::Hook { point, slot } => needs(slot).hooks.get(point).copied().unwrap_or_default().0 + GRACE,
        Step::Start(slot) => needs(slot).start.0.max(running.start.0) + limits.step_deadline,
        Step::Stop => running.start.0 + limits.step_deadline,
        Step::StartSide { slot, side } => 2 * needs(slot).start.0 + emptied(*side) + limits.step_deadline,
        Step::StopSide(side) => running.start.0 + emptied(*side) + limits.step_deadline,
        Step::Shift { .. } => limits.step_deadline,
        Step::Direct(_) => DRAIN + limits.step_deadline,
        Step::Probe { slot, .. } | Step::Rehearse { slot, .. } => {
            let Needs { probe: Span(longest), .. } = needs(slot);
            longest + GRACE
        }
        Step::Render(_) | Step::Seal(_) | Step::Point(_) | Step::Unpoint => limits.step_deadline,
        Step::Admit { .. } => limits.step_deadline,
        Step::Prune(_) | Step::Remove => limits.step_deadline,
    }
}

pub(super) fn overdue(step: &Step, deadline: Duration) -> Failure {
    let (code, blame) = match step {
        Step::Check(_) | Step::Fetch(_) | Step::Admit { .. } => (Code::C01, Blame::Environment),
        Step::Hook { .. } => (Code::H01, Blame::Version),
        Step::Start(_) | Step::StartSide { .. } => (Code::U01, Blame::Version),
        Step::Shift { .. } | Step::Direct(_) => (Code::L01, Blame::Environment),
        Step::StopSide(_) => (Code::X01, Blame::Environment),
        Step::Probe { .. } | Step::Rehearse { .. } => (Code::B01, Blame::Version),
        Step::Render(_) | Step::Seal(_) | Step::Point(_) | Step::Unpoint => (Code::X01, Blame::Environment),
        Step::Stop | Step::Prune(_) | Step::Remove => (Code::X01, Blame::Environment),
    };
    Failure::new(code, step.name(), blame, format!("{step} did not end within {}", Span(whole_ms(deadline))))
}

fn whole_ms(duration: Duration) -> Duration {
    Duration::from_millis(duration.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Running;

    /// Whoever looks is told how long it may take as the environment says, and not as the longest may.
    #[test]
    fn a_side_has_its_drain_to_stop() {
        let limits = Limits::default();
        let mut seen = Seen::default();
        let stop = Step::StopSide(Side::Blue);
        assert_eq!(deadline(&stop, &seen, &limits), limits.step_deadline, "nobody directs anything there");
        seen.sides.drain = Span::secs(3);
        assert_eq!(deadline(&stop, &seen, &limits), limits.step_deadline + Duration::from_secs(3));

        let slot: Slot = "1.0-01020304".parse().unwrap();
        seen.sides.blue = Some(Running { slot: slot.clone(), up: true, main: String::new() });
        seen.slots.insert(slot, Needs { start: Span::secs(40), ..Needs::default() });
        assert_eq!(deadline(&stop, &seen, &limits), limits.step_deadline + Duration::from_secs(43));
    }
}
