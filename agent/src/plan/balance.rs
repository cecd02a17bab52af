//! Directing the traffic of other hosts, as their balancer. Nothing of an app runs here: there is one step, which is
//! the whole of what was asked and may be done again at any time.
//!
//! Between assignments what was asked last is said again whenever the balancer shows something else: HAProxy forgets
//! weights when it is started again, and one that was away gets its directions when it is back.

use longshore_common::{assignment::Assignment, report::Outcome, traffic::Directions};

use serde::{Deserialize, Serialize};

use super::{
    model::{Seen, Step},
    next::Next,
    record::{Attempt, Failed, Pass, Record},
};

/// What a balancer of this host was told last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    pub told: Directions,
    /// It shows exactly this now.
    pub shown: bool,
}

pub(super) fn direct(assignment: &Assignment, failed: Option<&Failed>, attempt: &Attempt) -> Next {
    match (failed, &assignment.directions) {
        (Some(failed), _) => Next::Conclude(Outcome::Failed { failure: failed.failure.clone() }),
        (None, Some(directions)) if !attempt.has(Pass::Directed) => {
            Next::Do(Step::Direct(directions.clone()))
        }
        (None, _) => Next::Conclude(Outcome::Healthy),
    }
}

pub(super) fn tidy(record: &Record, attempt: &Attempt, seen: &Seen) -> Option<Step> {
    let directions = record.accepted.as_ref()?.directions.as_ref()?;
    let shown = seen.balance.as_ref().is_some_and(|balance| balance.shown && balance.told == *directions);
    (!shown && !attempt.has(Pass::TidyFailed)).then(|| Step::Direct(directions.clone()))
}
