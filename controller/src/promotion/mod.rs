//! Where a release has to have proved itself before it may come here. Pure: what an environment demands, and what
//! others have seen of the release, in; what is lacking out.
//!
//! Environments stand in an order: development, test, staging, production. A demand looks back along it, never ahead,
//! and never in a circle.

mod cycle;
mod proof;
#[cfg(test)]
mod tests;

use longshore_common::{ids::EnvName, time::Span};
use serde::{Deserialize, Serialize};

pub use cycle::{Place, problems};
pub use proof::{Run, Unproved, unproved};

/// Where an environment stands on the way to production.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    Development,
    Test,
    Staging,
    Production,
}

impl Order {
    pub const ALL: [Order; 4] = [Order::Development, Order::Test, Order::Staging, Order::Production];

    pub fn as_str(self) -> &'static str {
        match self {
            Order::Development => "development",
            Order::Test => "test",
            Order::Staging => "staging",
            Order::Production => "production",
        }
    }
}

/// An environment in which the same release has to have succeeded before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    pub env: EnvName,
    /// How long it has to have been live there.
    pub lived: Span,
    /// Gates that have to have passed there.
    pub gates: Vec<String>,
}
