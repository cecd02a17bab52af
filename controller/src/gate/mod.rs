//! How gates come to their verdicts: looking, asking, counting, within a deadline, and with evidence.
//!
//! What a verdict leads to is decided in `crate::rollout`; when a gate is looked at as well. `check` says what a gate
//! looks at, `scene` what it may know, `own` what it may not, `desk` keeps one task for each that is due, `runners` knows
//! whose turn it is on hosts that run tests; one file per kind, and `stats` (pure).
//! Whatever answers is not to be believed: replies are bounded in size and time, and what is shown of them is cut and
//! made safe.

mod app;
pub mod check;
mod desk;
mod http;
mod metrics;
mod own;
mod probe;
pub mod prometheus;
mod runners;
mod scene;
pub mod stats;
mod test_run;
#[cfg(test)]
mod tests;
mod webhook;

pub use check::{Check, Checks, Declaration};
pub use desk::{Concluded, Desk, Said, Seen};
pub use own::OwnFiles;
pub use runners::Runners;
pub use scene::{Conclusion, Scene};

/// Looks until there is a verdict or the scene's time is over; then it says what it knows.
pub async fn look(check: &Check, scene: &Scene) -> Conclusion {
    match check {
        Check::Probe(matrix) => probe::look(matrix, scene).await,
        Check::Test(run) => test_run::look(run, scene).await,
        Check::Metrics(metrics) => metrics::look(metrics, scene).await,
        Check::App(limits) => app::look(limits, scene).await,
        // Operators answer to the engine; nobody has to look.
        Check::Approval(_) => std::future::pending().await,
        Check::Webhook(webhook) => webhook::look(webhook, scene).await,
        Check::Http(endpoint) => http::look(endpoint, scene).await,
    }
}
