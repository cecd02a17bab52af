//! Taking an environment away: what nobody uses any more. Its hosts go on running what they run.

use longshore_common::{
    code::Code,
    ids::{AppName, EnvName},
};

use super::{get, list};
use crate::{
    engine::{
        records::{self, SEQUENCE},
        turn,
    },
    fleet::{Host, host},
    store::{Key, Prefix, SharedStore, Txn, key::Name},
    trouble::Trouble,
};

/// Hosts and environments named in a refusal; the rest are counted.
const NAMED: usize = 5;

/// Refused while hosts belong to it, a rollout moves something in it, or another environment demands that a release has
/// proved itself there.
pub async fn remove(store: &SharedStore, env: &EnvName) -> Result<(), Trouble> {
    let (applied, revision) = get(store, env).await?;
    // Whoever starts a rollout counts it: one that starts meanwhile is in the way.
    let counter = Key::counter(SEQUENCE);
    let counted = records::get::<u64>(store, &counter).await?.map(|(_, counted)| counted);
    // One that a later version of ours cannot read any more selects nobody.
    if let Ok(environment) = applied.read() {
        let hosts = host::list(store).await?;
        let of_it: Vec<&Host> = hosts.iter().filter(|host| host.fits(&environment.selector)).collect();
        if !of_it.is_empty() {
            let names = some_of(of_it.iter().map(|host| host.name.as_str()));
            let message = format!(
                "environment {env} has hosts: {names}. Nothing was changed. Give them to another environment first, or to \
                 none: longshore host label HOST, or apply its file with a selector that matches nobody"
            );
            return Err(Trouble::refused(Code::R01, message));
        }
    }
    let active = records::locks(store).await?.into_iter().find(|(of, ..)| of == env);
    if let Some((_, app, lock)) = active {
        let rollout = lock.rollout.short();
        let message = format!(
            "rollout {rollout} moves {app} in environment {env}. Nothing was changed. Wait for it: longshore rollout \
             watch {rollout}"
        );
        return Err(Trouble::refused(Code::R02, message));
    }
    if let Some(record) = turn::scheduled(store).await?.iter().find(|record| record.header.env == *env) {
        let (rollout, app) = (record.header.id.short(), &record.header.app);
        let message = format!(
            "rollout {rollout} of {app} is to begin in environment {env} later. Nothing was changed. Call it off: longshore \
             rollout abort {rollout}"
        );
        return Err(Trouble::refused(Code::R02, message));
    }
    let others = list(store).await?.into_iter().filter_map(|applied| applied.read().ok());
    let demanding: Vec<String> = others
        .filter(|other| other.name != *env && other.promotion.after.iter().any(|demand| demand.env == *env))
        .map(|other| other.name.to_string())
        .collect();
    if !demanding.is_empty() {
        let names = some_of(demanding.iter().map(String::as_str));
        let message = format!(
            "environment {names} demands that releases have proved themselves in {env} ([[promotion.after]]). Nothing was \
             changed. Take that out of its file first"
        );
        return Err(Trouble::refused(Code::R01, message));
    }
    let key = Key::env(env);
    let mut txn = Txn::new().unchanged(key.clone(), revision).as_read(counter, counted).delete(key);
    for key in left_behind(store, env).await? {
        txn = txn.delete(key);
    }
    store.commit(txn).await?;
    tracing::info!(%env, "environment removed");
    Ok(())
}

/// What is kept of it besides its file, but for the history: what was live, a freeze, locks.
async fn left_behind(store: &SharedStore, env: &EnvName) -> Result<Vec<Key>, Trouble> {
    let mut keys = vec![Key::freeze(env)];
    for entry in store.list(&Prefix::live_in(env)).await?.entries {
        if let Name::Live(_, app) = entry.key.name()? {
            keys.push(Key::live(env, &app));
        }
    }
    let locked = |entry: &crate::store::Entry| match entry.key.name() {
        Ok(Name::Lock(of, app)) => (of == *env).then_some(app),
        Ok(_) | Err(_) => None,
    };
    let locks: Vec<Option<AppName>> =
        store.list(&Prefix::locks()).await?.entries.iter().filter_map(locked).collect();
    keys.extend(locks.into_iter().map(|app| Key::lock(env, app.as_ref())));
    Ok(keys)
}

fn some_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let more = match names.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ") + &more
}
