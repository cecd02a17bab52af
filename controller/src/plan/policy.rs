//! What an environment says of its plans.

use longshore_common::time::Span;
use serde::{Deserialize, Serialize};

use super::Check;

/// What a host means that is not what the release requires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unfit {
    /// A precondition fails: nothing starts.
    #[default]
    Refuse,
    /// It keeps what it has, and the others are moved.
    Skip,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanPolicy {
    /// A host that has not answered by then is unknown.
    pub deadline: Span,
    /// How far a host's clock may be off.
    pub clock: Span,
    pub unfit: Unfit,
    /// Preconditions that an operator may start in spite of, with a reason.
    pub overrides: Vec<Check>,
}

/// Longest that hosts may take to answer: somebody waits for the plan.
pub const DEADLINE_MAX: Span = Span::secs(60);

impl Default for PlanPolicy {
    fn default() -> Self {
        Self { deadline: Span::secs(5), clock: Span::secs(30), unfit: Unfit::Refuse, overrides: vec![] }
    }
}
