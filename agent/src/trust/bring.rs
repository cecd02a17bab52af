//! Asks the controller for the signed documents of the fleet and of apps, and has the gate verify them: before a
//! release is fetched, and every hour, so that a freeze or a revocation is known here and age means something.

use std::time::Duration;

use longshore_common::{
    code::{Code, Coded},
    ids::AppName,
    trust::{FLEET, Offer},
};
use rand::RngExt as _;

use super::Gate;
use crate::{host::fetch::FetchError, offline::Trusting, supply::Source};

/// Between two times that everything is brought up to date, unasked; each host waits a part of it more, by chance.
const EVERY: Duration = Duration::from_secs(3600);
/// Before a failed attempt is repeated.
const AGAIN: Duration = Duration::from_secs(300);
/// After a connection has come, so that a fleet that comes back does not ask all at once.
const SPREAD: Duration = Duration::from_secs(20);

/// Never ends: everything that was verified here is brought up to date again and again. `None`: nothing is.
pub async fn keep_current(trusting: Option<Trusting>) {
    let Some(Trusting { gate, supply, .. }) = trusting else { return std::future::pending().await };
    let mut pause = SPREAD.mul_f64(rand::rng().random_range(0.0..1.0));
    loop {
        tokio::time::sleep(pause).await;
        let Ok(source) = supply.open().await else { return std::future::pending().await };
        pause = match bring_all(&gate, &source).await {
            Ok(()) => EVERY.mul_f64(rand::rng().random_range(0.9..1.1)),
            Err(error) => {
                tracing::warn!("signed documents were not brought up to date: {error}");
                AGAIN
            }
        };
    }
}

/// The fleet's documents, and those of every app of which some were verified here. What one app has against it does
/// not keep the others from theirs.
pub async fn bring_all(gate: &Gate, source: &Source) -> Result<(), FetchError> {
    if apart(gate, |gate| gate.pinned()).await?.is_none() {
        return Ok(());
    }
    bring_one(gate, source, FLEET).await?;
    let repositories = apart(gate, |gate| gate.repositories()).await?;
    for (app, _) in repositories.into_iter().filter(|(app, _)| app != FLEET) {
        match bring_one(gate, source, &app).await {
            Err(error) if error.is_retryable() => return Err(error),
            Err(error) => tracing::debug!(app, "its documents are not brought up to date: {error}"),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// Nothing is asked where nothing is pinned.
pub async fn bring(gate: &Gate, source: &Source, app: &AppName) -> Result<(), FetchError> {
    if apart(gate, |gate| gate.pinned()).await?.is_none() {
        return Ok(());
    }
    bring_one(gate, source, FLEET).await?;
    bring_one(gate, source, app.as_str()).await
}

async fn bring_one(gate: &Gate, source: &Source, app: &str) -> Result<(), FetchError> {
    let name = app.to_owned();
    let roots_after = apart(gate, move |gate| gate.root_version(&name)).await?;
    let offer = Offer::from(source.trust(app, roots_after).await?);
    let name = app.to_owned();
    apart(gate, move |gate| gate.take(&name, &offer)).await
}

/// Off the threads that must not block.
async fn apart<T: Send + 'static>(
    gate: &Gate,
    work: impl FnOnce(&Gate) -> Result<T, Coded> + Send + 'static,
) -> Result<T, FetchError> {
    let gate = gate.clone();
    let done = tokio::task::spawn_blocking(move || work(&gate)).await;
    let done = done.unwrap_or_else(|died| Err(Coded::new(Code::X01, format!("verification ended: {died}"))));
    done.map_err(FetchError::Host)
}
