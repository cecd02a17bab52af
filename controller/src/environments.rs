//! Environments as the store keeps them: the file that was applied, read anew each time.

pub mod approve;
pub mod freeze;
pub mod lock;
pub mod passage;
pub mod reach;
pub mod remove;
pub mod shared;
pub mod unknown;
pub mod unmatched;

use std::collections::BTreeMap;

use longshore_common::{
    code::{Code, Coded},
    ids::{EnvName, OperatorName},
    time::Millis,
};
use serde::{Deserialize, Serialize};

use crate::{
    config::{Environment, Tell},
    fleet::Host,
    gate::Check,
    notify::outbox,
    promotion::{self, Place},
    store::{Key, Prefix, Revision, SharedStore, Txn, record},
    trouble::Trouble,
};

/// Bytes of an environment's file; it has to fit a record.
pub const FILE_BYTES: usize = 12 * 1024;

/// Under `envs/<env>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    pub file: String,
    pub file_name: String,
    pub applied_ms: Millis,
    pub applied_by: String,
}

impl Applied {
    /// It was valid when it was applied; a later version of ours may think otherwise.
    pub fn read(&self) -> Result<Environment, Coded> {
        Environment::parse_kept(&self.file_name, &self.file).map_err(Coded::from)
    }
}

/// The environment and the revision that wrote it.
pub async fn load(store: &SharedStore, env: &EnvName) -> Result<(Environment, Revision), Trouble> {
    let (applied, revision) = get(store, env).await?;
    Ok((applied.read()?, revision))
}

pub async fn get(store: &SharedStore, env: &EnvName) -> Result<(Applied, Revision), Trouble> {
    find(store, env).await?.ok_or_else(|| {
        let message = format!("no environment {env}. See: longshore env list; make it: longshore env apply");
        Trouble::refused(Code::N01, message)
    })
}

/// `None`: there is no such environment.
pub async fn find(store: &SharedStore, env: &EnvName) -> Result<Option<(Applied, Revision)>, Trouble> {
    let Some(entry) = store.get(&Key::env(env)).await? else { return Ok(None) };
    Ok(Some((record::decode_entry(&entry)?, entry.revision)))
}

pub async fn list(store: &SharedStore) -> Result<Vec<Applied>, Trouble> {
    let listing = store.list(&Prefix::envs()).await?;
    listing.entries.iter().map(|entry| record::decode_entry(entry).map_err(Trouble::from)).collect()
}

/// Makes the environment what the file says. Whether that changed anything. Rollouts under way keep the strategy that
/// they began with. Nobody is told by what the controller does not have.
pub async fn apply(
    store: &SharedStore,
    tell: &Tell,
    file_name: &str,
    file: &str,
    by: &OperatorName,
    now: Millis,
) -> Result<(Environment, bool), Trouble> {
    apply_where(store, tell, file_name, file, by, now, |_| true).await
}

/// The same, where what the controller has of the environment is still what the caller looked at.
pub async fn apply_where(
    store: &SharedStore,
    tell: &Tell,
    file_name: &str,
    file: &str,
    by: &OperatorName,
    now: Millis,
    is_what_was_seen: impl FnOnce(Option<Revision>) -> bool,
) -> Result<(Environment, bool), Trouble> {
    if file.len() > FILE_BYTES {
        let message = format!("the file has {} bytes; an environment has at most {FILE_BYTES}", file.len());
        return Err(Trouble::refused(Code::A04, message));
    }
    let file_name: String = file_name.chars().take(256).collect();
    let environment = Environment::parse(&file_name, file).map_err(Coded::from)?;
    check(store, tell, &environment, now).await?;
    let key = Key::env(&environment.name);
    let entry = store.get(&key).await?;
    if !is_what_was_seen(entry.as_ref().map(|entry| entry.revision)) {
        let env = &environment.name;
        let message = format!(
            "environment {env} was applied or removed by somebody else at this moment; nothing was changed by this. See: \
             longshore env show {env}; then give the command again"
        );
        return Err(Trouble::refused(Code::R01, message));
    }
    if let Some(entry) = &entry
        && record::decode_entry::<Applied>(entry)?.file == file
    {
        return Ok((environment, false));
    }
    let applied = Applied { file: file.to_owned(), file_name, applied_ms: now, applied_by: by.to_string() };
    let txn = Txn::new()
        .as_read(key.clone(), entry.map(|entry| entry.revision))
        .put(key.clone(), record::encode(&key, &applied)?);
    store.commit(txn).await?;
    tracing::info!(env = %environment.name, %by, "environment applied");
    Ok((environment, true))
}

/// What only the controller can tell of a file, by the other environments, its own file and the time of day: what it comes
/// after has to be there and not come after it, people have to be told by what there is, and some day it has to open.
async fn check(
    store: &SharedStore,
    tell: &Tell,
    environment: &Environment,
    now: Millis,
) -> Result<(), Trouble> {
    let others: Vec<Environment> =
        list(store).await?.iter().filter_map(|applied| applied.read().ok()).collect();
    let places = others.iter().filter(|other| other.name != environment.name).chain([environment]);
    let places: BTreeMap<&EnvName, Place<'_>> = places.map(|env| (&env.name, env.place())).collect();
    let absent =
        environment.promotion.after.iter().filter(|demand| !places.contains_key(&demand.env)).count();
    let mut problems: Vec<String> = promotion::problems(&environment.name, &places)
        .into_iter()
        .map(|problem| format!("promotion.after: {problem}"))
        .collect();
    problems.extend(outbox::problems(&environment.stakeholders));
    problems.extend(tell.lacking(&environment.stakeholders));
    problems.extend(slips(environment, now));
    if problems.is_empty() {
        return Ok(());
    }
    // A file with nothing wrong but that it came before another is sound.
    let code = if problems.len() == absent { Code::N01 } else { Code::M01 };
    Err(Trouble::refused(code, problems.join("\n")))
}

/// Whether the host gets what the file says for hosts, secrets included: those of the environment do, and whoever runs its
/// tests outside of it.
pub fn gives_settings_to(environment: &Environment, host: &Host) -> bool {
    let runs = |check: &Check| matches!(check, Check::Test(run) if run.on == host.name);
    host.belongs(&environment.selector) || environment.gates.iter().any(|declared| runs(&declared.check))
}

/// What nobody can mean by a calendar: that it closes the environment for good, or that its freezes clash.
pub fn slips(environment: &Environment, now: Millis) -> Vec<String> {
    environment.calendar.slips(now).into_iter().map(|slip| format!("calendar: {slip}")).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{store::MemoryStore, testing};

    /// What somebody was let do was judged by what was applied then.
    #[tokio::test]
    async fn a_file_is_not_applied_over_one_that_nobody_looked_at() {
        let store: SharedStore = Arc::new(MemoryStore::new());
        let (tell, ann): (Tell, OperatorName) = (testing::tell(), "ann".parse().unwrap());
        let file = |selector: &str| format!("[environment]\nname = \"prod\"\nselector = \"{selector}\"\n");
        let (one, two) = (file("env=prod"), file("*"));
        apply(&store, &tell, "prod.toml", &one, &ann, 0).await.unwrap();
        let (_, seen) = get(&store, &"prod".parse().unwrap()).await.unwrap();
        apply(&store, &tell, "prod.toml", &two, &ann, 1).await.unwrap();
        let as_seen = |revision: Option<Revision>| revision == Some(seen);
        let late = apply_where(&store, &tell, "prod.toml", &one, &ann, 2, as_seen).await.unwrap_err().coded();
        assert!(late.code == Code::R01 && late.message.contains("longshore env show prod"), "{late}");
        assert_eq!(get(&store, &"prod".parse().unwrap()).await.unwrap().0.file, two);
    }
}
