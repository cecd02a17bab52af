//! How apps stand on hosts, kept from reports and from what hosts say when they connect.

use longshore_common::{
    assignment::Intent,
    ids::{AppName, EnvName, HostId},
    report::Report,
    slot::Slot,
    time::Millis,
};

use super::records::{self, Given, HostApp};
use crate::{
    fleet::words::{APPS_MAX, AppSeen},
    rollout::Target,
    store::{Key, Prefix, Revision, SharedStore, Txn, key::Name, record},
    trouble::Trouble,
};

/// New attempts when two writers meet.
const ATTEMPTS: u32 = 8;

/// What is known of the app on the host, and the revision that wrote it.
pub async fn known(
    store: &SharedStore,
    host: &HostId,
    app: &AppName,
) -> Result<(Option<HostApp>, Option<Revision>), Trouble> {
    Ok(records::get(store, &Key::state(host, app)).await?.unzip())
}

/// How the apps of a host stood by its last reports: all that is known of one that is away.
pub async fn last_said(store: &SharedStore, host: &HostId) -> Result<Vec<AppSeen>, Trouble> {
    let entries = store.list(&Prefix::states_of(host)).await?.entries;
    let mut apps = vec![];
    for entry in entries {
        let state: HostApp = record::decode_entry(&entry)?;
        if let Ok(Name::State(_, app)) = entry.key.name() {
            apps.push(state.as_seen(app));
        }
    }
    Ok(apps)
}

/// What the report's generation asked the host to run, and for which environment, if the assignment still says so. No
/// environment where it goes back to what another one gave it.
pub async fn assigned(
    store: &SharedStore,
    host: &HostId,
    report: &Report,
) -> Result<Option<(Target, Option<EnvName>)>, Trouble> {
    let found = records::get::<Given>(store, &Key::assignment(host, &report.app)).await?;
    let Some((given, _)) = found else { return Ok(None) };
    let assignment = &given.assignment;
    // A report of an earlier generation may still be about the very slot that is assigned now.
    let same = assignment.generation == report.generation || report.live.as_ref() == Some(&assignment.slot());
    let runs =
        !matches!(assignment.intent, Intent::Remove | Intent::Direct) && assignment.release == report.release;
    let env = (!given.foreign).then(|| assignment.env.clone());
    Ok((same && runs).then(|| (given.target(), env)))
}

/// The host balances others, and the app is none of its own.
pub async fn directs(store: &SharedStore, host: &HostId, app: &AppName) -> Result<bool, Trouble> {
    let found = records::get::<Given>(store, &Key::assignment(host, app)).await?;
    Ok(found.is_some_and(|(given, _)| given.assignment.intent == Intent::Direct))
}

/// Keeps a report that no active rollout is about.
pub async fn keep(store: &SharedStore, host: &HostId, report: &Report, now: Millis) -> Result<(), Trouble> {
    if directs(store, host, &report.app).await? {
        return Ok(());
    }
    if known(store, host, &report.app).await?.0.is_none()
        && store.list(&Prefix::states_of(host)).await?.entries.len() >= APPS_MAX
    {
        tracing::warn!(%host, app = %report.app, "not kept: the host has told of {APPS_MAX} apps already");
        return Ok(());
    }
    let assigned = assigned(store, host, report).await?;
    change(store, host, &report.app, |known| HostApp::after(known, report, assigned.clone(), now)).await
}

/// What is live on a host may have changed without us: somebody there reverted it. Only slots that were healthy there
/// count as known.
pub async fn keep_seen(store: &SharedStore, host: &HostId, seen: &AppSeen) -> Result<(), Trouble> {
    change(store, host, &seen.app, |known| {
        let mut known = known?;
        let live: Option<Slot> = seen.current_slot.parse().ok();
        let news = seen.generation == known.generation && live != known.live;
        known.live = live;
        news.then_some(known)
    })
    .await
}

/// Reads, edits and writes; again when somebody else was quicker. `None` from `edit` leaves it as it is.
async fn change(
    store: &SharedStore,
    host: &HostId,
    app: &AppName,
    edit: impl Fn(Option<HostApp>) -> Option<HostApp>,
) -> Result<(), Trouble> {
    let key = Key::state(host, app);
    for attempt in 0.. {
        let (known, read) = known(store, host, app).await?;
        let Some(state) = edit(known) else { return Ok(()) };
        let txn = Txn::new().as_read(key.clone(), read).put(key.clone(), record::encode(&key, &state)?);
        match store.commit(txn).await.map_err(Trouble::from) {
            Ok(_) => return Ok(()),
            Err(trouble) if trouble.is_conflict() && attempt < ATTEMPTS => {}
            Err(trouble) => return Err(trouble),
        }
    }
    unreachable!("the last attempt returns")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use longshore_common::{digest::ReleaseDigest, ids::Generation, report::Outcome};

    use super::*;
    use crate::store::MemoryStore;

    /// A rogue host that reports of apps without end does not fill the store, and what was known stays up to date.
    #[tokio::test]
    async fn of_so_many_apps_of_a_host_reports_are_kept() {
        let store: SharedStore = Arc::new(MemoryStore::new());
        let host = HostId(uuid::Uuid::from_u128(7));
        let report = |number: usize, round| Report {
            app: format!("app-{number}").parse().unwrap(),
            rollout: "0193f3a0-0000-7000-8000-000000000001".parse().unwrap(),
            generation: Generation::new(1, round),
            release: ReleaseDigest::of(b"manifest"),
            time_ms: 0,
            outcome: Outcome::Staged,
            live: None,
            by: None,
        };
        for number in 0..APPS_MAX + 5 {
            keep(&store, &host, &report(number, 1), 0).await.unwrap();
        }
        assert_eq!(last_said(&store, &host).await.unwrap().len(), APPS_MAX);
        keep(&store, &host, &report(0, 2), 0).await.unwrap();
        let first = known(&store, &host, &report(0, 2).app).await.unwrap().0.unwrap();
        assert_eq!(first.generation, Generation::new(1, 2));
    }
}
