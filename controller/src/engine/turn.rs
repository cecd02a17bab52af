//! The turn of a rollout that was made to begin later. Until its time it holds nothing, and others begin and end before it.
//! Then it takes the environment, or waits in line for whoever has it. It begins only where its hosts run what they ran
//! when it was made: what people planned and approved is the way from there.

use longshore_common::time::Millis;

use super::{
    Engine,
    records::{self, Loaded, Lock, Record, SEQUENCE},
    states,
};
use crate::{
    environments::{self, lock},
    fleet::host,
    plan::Check,
    rollout::{Event, Header, InLine, Phase, Rollout, Snapshots},
    store::{Guard, Key, SharedStore, Txn, record},
    trouble::Trouble,
};

/// How it stands with a rollout whose time has come.
pub(super) enum Turn {
    /// The environment is its own already.
    Has,
    /// The environment is its own from now on.
    Taken,
    /// Somebody was before it.
    Waits,
}

/// It was made to begin later, and has not begun.
pub(super) fn is_scheduled(header: &Header) -> bool {
    header.start_at.is_some() && matches!(header.phase, Phase::Ready)
}

pub(super) fn is_due(header: &Header, now: Millis) -> bool {
    is_scheduled(header) && header.start_at.is_some_and(|at| now >= at)
}

/// Those that are to begin later, the first to begin first.
pub async fn scheduled(store: &SharedStore) -> Result<Vec<Record>, Trouble> {
    let mut scheduled: Vec<Record> =
        records::list(store).await?.into_iter().filter(|record| is_scheduled(&record.header)).collect();
    scheduled.sort_by_key(|record| (record.header.start_at, record.header.id));
    Ok(scheduled)
}

impl Engine {
    /// Those that are to begin later, the first to begin first.
    pub async fn scheduled(&self) -> Result<Vec<Record>, Trouble> {
        scheduled(&self.inner.store).await
    }

    /// Whoever is before a rollout whose time has come.
    pub(super) async fn before(&self, record: &Record) -> Result<Option<InLine>, Trouble> {
        let store = &self.inner.store;
        let Header { env, app, id, start_at, .. } = &record.header;
        if let Some((lock, _)) = records::get::<Lock>(store, &Key::active(env, app)).await? {
            let Lock { rollout, version, started_by, .. } = lock;
            let short = rollout.short();
            return Ok((rollout != *id).then(|| InLine {
                what: format!("rollout {short} of {app}@{version}, started by {started_by}, is under way"),
                owner: started_by,
                command: format!("longshore rollout watch {short}"),
            }));
        }
        if !record.overrides.iter().any(|overridden| overridden.check == Check::Locked) {
            let locks = lock::list(store, env).await?;
            let of_app = locks.into_iter().find(|(scope, _)| scope.app.as_ref().is_none_or(|of| of == app));
            if let Some((scope, locked)) = of_app {
                return Ok(Some(InLine {
                    what: format!("{} is locked by {}: {}", scope.name(), locked.by, locked.reason),
                    owner: locked.by.to_string(),
                    command: scope.unlock(),
                }));
            }
        }
        let before = |other: &Header| {
            other.env == *env && other.app == *app && (other.start_at, other.id) < (*start_at, *id)
        };
        let earlier = self.scheduled().await?.into_iter().find(|other| before(&other.header));
        Ok(earlier.map(|Record { header: other, started_by, .. }| {
            let short = other.id.short();
            InLine {
                what: format!("rollout {short} of {app}@{} was to begin before it", other.target.version),
                owner: started_by,
                command: format!("longshore rollout explain {short}"),
            }
        }))
    }

    /// Takes the environment for it, if nobody is before it: from then on it is as one that was just started, and its
    /// generations come after those of every rollout before it.
    pub(super) async fn take_turn(&self, loaded: &Loaded) -> Result<Turn, Trouble> {
        let store = &self.inner.store;
        let Header { env, app, id, target, .. } = &loaded.rollout.header;
        let key = Key::active(env, app);
        let lock = records::get::<Lock>(store, &key).await?;
        if lock.is_some_and(|(lock, _)| lock.rollout == *id) {
            return Ok(Turn::Has);
        }
        if self.before(&loaded.record).await?.is_some() {
            return Ok(Turn::Waits);
        }
        let counter = Key::counter(SEQUENCE);
        let (sequence, counted) = records::get::<u64>(store, &counter).await?.unzip();
        let sequence = sequence.unwrap_or(0) + 1;
        let header = Header { sequence, ..loaded.rollout.header.clone() };
        let rollout = Rollout { header: header.clone(), ..loaded.rollout.clone() };
        let record = Record { header, ..loaded.record.clone() };
        let lock = Lock {
            rollout: *id,
            version: target.version.clone(),
            request_id: record.request_id.clone(),
            started_by: record.started_by.clone(),
            since_ms: self.now(),
        };
        let own = Key::rollout(id);
        let mut txn = Txn::new()
            .unchanged(own.clone(), loaded.revision)
            .absent(key.clone())
            .as_read(counter.clone(), counted)
            .put(key.clone(), record::encode(&key, &lock)?)
            .put(own.clone(), record::encode(&own, &record)?)
            .put(counter.clone(), record::encode(&counter, &sequence)?);
        for app in [None, Some(app)] {
            let lock = Key::lock(env, app);
            let overridden = store.get(&lock).await?.map(|entry| entry.revision);
            txn = txn.as_read(lock, overridden);
        }
        if !record.header.back && !record.newcomers {
            let (environment, revision) = environments::load(store, env).await?;
            txn.guards.push(Guard::Unchanged(Key::env(env), revision));
            let snapshot = rollout.snapshot().map(|snapshot| (**snapshot).clone());
            for runner in self.runners(&environment, app, snapshot.as_ref()).await? {
                let (guard, write) = runner.lent(&rollout)?;
                txn.guards.push(guard);
                txn.writes.push(write);
            }
        }
        store.commit(txn).await?;
        Ok(Turn::Taken)
    }

    /// What is other with its hosts than when it was made, for a rollout whose turn has come: who came since, who is well or
    /// sick by now, and who was drained or taken back.
    pub(super) async fn since_it_was_made(&self, rollout: &Rollout) -> Result<Vec<Event>, Trouble> {
        let hosts = host::list(&self.inner.store).await?;
        let mut events = self.untold(rollout).await?;
        events.extend(self.came_since(rollout, &hosts).await?);
        for host in hosts {
            let Some(then) = rollout.hosts.get(&host.id) else { continue };
            let Header { app, env, .. } = &rollout.header;
            let member = Box::new(self.member(host, app, env).await?);
            if member.sick != then.sick {
                events.push(Event::HostJoined { member, snapshots: Snapshots::default() });
            }
        }
        Ok(events)
    }

    /// Why what it was made for is not there any more: a host runs something else by now. The first of them by name is
    /// told, and how many others there are.
    pub(super) async fn moved(&self, rollout: &Rollout) -> Result<Option<String>, Trouble> {
        let Header { env, app, target, .. } = &rollout.header;
        let mut moved = vec![];
        for (id, host) in rollout.hosts.iter().filter(|(_, host)| !host.is_out()) {
            let (state, _) = states::known(&self.inner.store, id, app).await?;
            let runs = state.as_ref().and_then(records::HostApp::previous);
            if runs != host.previous.as_ref() {
                moved.push((&host.name, runs.cloned(), &host.previous));
            }
        }
        let Some((name, runs, previous)) = moved.iter().min_by_key(|(name, ..)| *name) else {
            return Ok(None);
        };
        let say = |target: Option<&crate::rollout::Target>| match target {
            Some(target) => format!("{app}@{}", target.version),
            None => "nothing of it".to_owned(),
        };
        let (now, then) = (say(runs.as_ref()), say(previous.as_ref()));
        let what = match now == then {
            true => format!("{name} runs {now} with other settings than when it was planned"),
            false => format!("{name} runs {now}, and ran {then} when it was planned"),
        };
        let others = match moved.len() - 1 {
            0 => String::new(),
            others => format!(" ({others} more like it)"),
        };
        let version = &target.version;
        Ok(Some(format!("{what}{others}; plan again: longshore plan {app}@{version} --to {env}")))
    }
}
