//! What an outcome carries.

use longshore_common::report::{Failure, Outcome};

use crate::state::fit;

/// The failure that an outcome carries.
pub(crate) fn failure_of(outcome: &Outcome) -> Option<&Failure> {
    match outcome {
        Outcome::Failed { failure } | Outcome::Inconsistent { failure } | Outcome::Refused { failure } => {
            Some(failure)
        }
        Outcome::Reverted { failure, .. } => Some(failure),
        Outcome::Staged | Outcome::Healthy | Outcome::Unchanged | Outcome::Removed => None,
    }
}

/// Small enough to be kept.
pub(super) fn fitted(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Failed { failure } => Outcome::Failed { failure: fit(failure) },
        Outcome::Reverted { failure, to_slot, to_version } => {
            Outcome::Reverted { failure: fit(failure), to_slot, to_version }
        }
        Outcome::Inconsistent { failure } => Outcome::Inconsistent { failure: fit(failure) },
        Outcome::Refused { failure } => Outcome::Refused { failure: fit(failure) },
        Outcome::Staged | Outcome::Healthy | Outcome::Unchanged | Outcome::Removed => outcome,
    }
}
