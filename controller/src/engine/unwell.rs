//! What rollouts found out about a host after its switch: the host's own verdict is of that moment.

use std::collections::{BTreeMap, HashMap};

use longshore_common::{
    ids::{AppName, HostId, RolloutId},
    time::Millis,
};

use super::records::{self, Given};
use crate::{
    fleet::words::AppSeen,
    rollout::{Ask, HostProgress, HostState},
    store::{Key, Prefix, SharedStore, key::Name, record},
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
    for seen in apps {
        let key = Key::assignment(host, &seen.app);
        let Some((given, _)) = records::get::<Given>(store, &key).await? else { continue };
        let Some(rollout) = judged_by(seen, &given) else { continue };
        let key = Key::rollout_host(&rollout, host);
        let Some((progress, _)) = records::get::<HostProgress>(store, &key).await? else { continue };
        found.extend(found_later(seen, rollout, progress));
    }
    Ok(found)
}

/// The same of many hosts, with a listing for each rollout instead of reads for each host. Whoever is well is not in it.
pub async fn found_among(
    store: &SharedStore,
    hosts: &HashMap<HostId, Vec<AppSeen>>,
) -> Result<HashMap<HostId, Vec<FoundUnwell>>, Trouble> {
    let mut judged = BTreeMap::<RolloutId, HashMap<HostId, &AppSeen>>::new();
    for entry in store.list(&Prefix::assignments()).await?.entries {
        let Name::Assignment(host, app) = entry.key.name()? else { continue };
        let apps = hosts.get(&host).map(Vec::as_slice).unwrap_or_default();
        let Some(seen) = apps.iter().find(|seen| seen.app == app) else { continue };
        let given: Given = record::decode_entry(&entry)?;
        if let Some(rollout) = judged_by(seen, &given) {
            judged.entry(rollout).or_default().insert(host, seen);
        }
    }
    let mut found = HashMap::<HostId, Vec<FoundUnwell>>::new();
    for (rollout, apps) in judged {
        for entry in store.list(&Prefix::rollout_hosts(&rollout)).await?.entries {
            let Name::RolloutHost(_, host) = entry.key.name()? else { continue };
            let Some(seen) = apps.get(&host) else { continue };
            let progress: HostProgress = record::decode_entry(&entry)?;
            if let Some(one) = found_later(seen, rollout, progress) {
                found.entry(host).or_default().push(one);
            }
        }
    }
    Ok(found)
}

/// The rollout that asked for what the host found healthy itself.
fn judged_by(seen: &AppSeen, Given { assignment, .. }: &Given) -> Option<RolloutId> {
    (seen.verdict == "healthy" && assignment.generation == seen.generation).then_some(assignment.rollout)
}

/// The host was healthy by its own word; that it is sick can only have been found out later.
fn found_later(seen: &AppSeen, rollout: RolloutId, progress: HostProgress) -> Option<FoundUnwell> {
    let later = progress.sick && progress.state == HostState::Failed && progress.ask == Some(Ask::Run);
    let last = progress.failure.filter(|_| later)?;
    let why = format!("{} {}", last.failure.code, last.failure.message);
    Some(FoundUnwell { app: seen.app.clone(), rollout, why, at_ms: last.at })
}
