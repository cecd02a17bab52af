//! Asks the controller for the signed documents of the fleet and of an app, and has the gate verify them.

use longshore_common::{
    code::{Code, Coded},
    ids::AppName,
    trust::{FLEET, Offer},
};
use longshore_proto::v1 as pb;

use super::Gate;
use crate::{host::fetch::FetchError, supply::Source};

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
    let documents = source.trust(app, roots_after).await?;
    let pb::TrustDocuments { roots, timestamp, snapshot, targets } = documents;
    let offer = Offer {
        roots: roots.into_iter().map(Into::into).collect(),
        timestamp: timestamp.into(),
        snapshot: snapshot.into(),
        targets: targets.into(),
    };
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
