//! What rollouts found out about a host after its switch: the host's own verdict is of that moment.

use longshore_common::{
    ids::{AppName, HostId, RolloutId},
    time::Millis,
};

use super::records::{self, Given};
use crate::{
    fleet::words::AppSeen,
    rollout::{Ask, HostProgress, HostState},
    store::{Key, SharedStore},
    trouble::Trouble,
};

/// An app that its rollout looked at again and found unwell. Nobody says when it is well again: after its end a
/// rollout looks at nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundUnwell {
    pub app: AppName,
    pub rollout: RolloutId,
    pub why: String,
    pub at_ms: Millis,
}

/// Those of a host's apps that were found unwell since what they run now was assigned.
pub async fn found(
    store: &SharedStore,
    host: &HostId,
    apps: &[AppSeen],
) -> Result<Vec<FoundUnwell>, Trouble> {
    let mut found = vec![];
    for seen in apps.iter().filter(|seen| seen.verdict == "healthy") {
        let key = Key::assignment(host, &seen.app);
        let Some((Given { assignment, .. }, _)) = records::get::<Given>(store, &key).await? else { continue };
        if assignment.generation != seen.generation {
            continue;
        }
        let rollout = assignment.rollout;
        let key = Key::rollout_host(&rollout, host);
        let Some((progress, _)) = records::get::<HostProgress>(store, &key).await? else { continue };
        // The host was healthy by its own word; that it is sick can only have been found out later.
        let later = progress.sick && progress.state == HostState::Failed && progress.ask == Some(Ask::Run);
        if let (true, Some(last)) = (later, progress.failure) {
            let why = format!("{} {}", last.failure.code, last.failure.message);
            found.push(FoundUnwell { app: seen.app.clone(), rollout, why, at_ms: last.at });
        }
    }
    Ok(found)
}
