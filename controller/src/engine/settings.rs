//! The settings that a rollout begins with: those that its environment declares now, or, on a way back, those of then.

use longshore_common::{
    code::{Code, Coded},
    ids::{AppName, EnvName},
};

use crate::{
    config::env::SETTINGS_BYTES,
    rollout::{Member, Snapshot, Snapshots},
    sealed,
    store::SharedStore,
    trouble::Trouble,
};

/// Says of every member which layers hold for it. Refused when a host gets too much, or a secret that was not sealed
/// for it: hosts would refuse it later, one after the other.
pub async fn settle(
    store: &SharedStore,
    env: &EnvName,
    app: &AppName,
    snapshot: Option<&Snapshot>,
    members: &mut [Member],
) -> Result<(), Trouble> {
    lay(app, env, snapshot, members)?;
    openable(store, env, snapshot, members).await
}

/// Refused when a member that takes part gets a secret that was not sealed for it.
pub async fn openable(
    store: &SharedStore,
    env: &EnvName,
    snapshot: Option<&Snapshot>,
    members: &[Member],
) -> Result<(), Trouble> {
    let Some(snapshot) = snapshot else { return Ok(()) };
    sealed::check(store, env, snapshot, members).await
}

/// Says of every member which layers hold for it. Refused when a host gets too much.
pub fn lay(
    app: &AppName,
    env: &EnvName,
    snapshot: Option<&Snapshot>,
    members: &mut [Member],
) -> Result<(), Coded> {
    let Some(snapshot) = snapshot else { return Ok(()) };
    let mut sizes: std::collections::BTreeMap<Vec<u16>, usize> = Default::default();
    for member in members.iter_mut() {
        member.layers = snapshot.holding(&member.name, &member.id, &member.labels);
        let size = || snapshot.resolve(&member.layers).bytes();
        let bytes = *sizes.entry(member.layers.clone()).or_insert_with(size);
        if bytes > SETTINGS_BYTES {
            let host = &member.name;
            let message = format!(
                "values and secrets of {app} on {host} have {bytes} bytes; at most {SETTINGS_BYTES} are sent to a host. \
                 See: longshore env show {env} --host {host} --app {app}"
            );
            return Err(Coded::new(Code::A04, message));
        }
    }
    Ok(())
}

/// Those that a rollout needs: its target's, and those of its members' ways back.
pub async fn gather(
    store: &SharedStore,
    target: Option<Snapshot>,
    members: &[Member],
) -> Result<Snapshots, Trouble> {
    let previous = members.iter().filter_map(|member| member.previous.as_ref()?.snapshot);
    let mut snapshots = super::snapshots::load_all(store, previous.collect()).await?;
    snapshots.extend(target.map(|snapshot| (snapshot.digest(), std::sync::Arc::new(snapshot))));
    Ok(snapshots)
}
