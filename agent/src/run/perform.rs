//! One step, under its deadline, and again where the network alone was at fault.

use std::{sync::Arc, time::Duration};

use longshore_common::{
    code::Code,
    ids::AppName,
    report::{Blame, Failure},
};
use rand::RngExt as _;

use super::{Limits, Tools, deadline::overdue};
use crate::{
    host::{Host, Sink},
    plan::{Seen, Step},
    state::fit,
};

/// Between two attempts, whatever the doubling says.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Attempts to look at the host, before that counts as a failure.
const LOOKS: u32 = 5;

pub(super) async fn perform<H: Host>(
    tools: Arc<Tools<H>>,
    app: AppName,
    step: Step,
    sink: Sink,
    deadline: Duration,
) -> Result<(), Failure> {
    let attempts = async {
        for attempt in 1.. {
            match tools.host.perform(&app, &step, &sink).await {
                Err(failure)
                    if attempt < tools.limits.fetch_attempts && is_worth_another(&step, &failure) =>
                {
                    let pause = backoff(&tools.limits, attempt);
                    let left = tools.limits.fetch_attempts - attempt;
                    sink.progress(0, 0, format!("{}; {left} more attempts", failure.message));
                    tokio::time::sleep(pause).await;
                }
                result => return result,
            }
        }
        unreachable!("attempts are counted up to a limit")
    };
    let result = tokio::time::timeout(deadline, attempts).await;
    result.unwrap_or_else(|_| Err(overdue(&step, deadline))).map_err(fit)
}

/// What is there now. A host that cannot be looked at, again and again, is a failure like any other.
pub(super) async fn look<H: Host>(tools: &Tools<H>, app: &AppName) -> Result<Seen, Failure> {
    let mut attempt = 1;
    loop {
        match tools.host.observe(app).await {
            Err(failure) if attempt < LOOKS => {
                tracing::debug!(%app, attempt, "cannot look at the host: {}", failure.message);
                tokio::time::sleep(backoff(&tools.limits, attempt)).await;
                attempt += 1;
            }
            result => return result.map_err(fit),
        }
    }
}

/// Only what changes nothing live, and only when the network failed: everything else has its first answer.
fn is_worth_another(step: &Step, failure: &Failure) -> bool {
    let gets_bytes = matches!(step, Step::Check(_) | Step::Fetch(_));
    gets_bytes && failure.blame == Blame::Environment && failure.code == Code::C01.to_string()
}

/// Doubling, from half to the whole of it by chance, so that a fleet does not come back at once.
fn backoff(limits: &Limits, attempt: u32) -> Duration {
    let doubled = limits.fetch_backoff.saturating_mul(1 << (attempt - 1).min(16)).min(BACKOFF_MAX);
    doubled.mul_f64(rand::rng().random_range(0.5..=1.0))
}
