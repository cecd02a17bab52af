//! The hosts and their live sessions.
//!
//! `host` is what the store remembers of a host, `words` what agents say, `session` the one task per connected
//! agent, `presence` who is connected and who has fallen silent, `told` what of their words goes on record, `ask`
//! questions with a deadline. What happens in sessions comes out as `FleetEvent`s, one bounded channel for all; the engine is at its other end.
//!
//! Nothing here decides what a host should run: sessions push whatever assignment the store holds.

mod ask;
pub mod host;
mod presence;
mod seen;
mod session;
mod told;
pub mod words;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use longshore_common::{
    chain::Chain,
    code::{Code, Coded},
    ids::{AppName, Generation, HostId, HostName},
    label::Labels,
    report::Report,
    time::{Clock, Millis},
};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    audit::{Audit, Checkpoint},
    store::{Change, Key, Prefix, SharedStore, Txn, WatchEvent, key::Name, record},
    trouble::Trouble,
};

pub use ask::{ASKED_AT_ONCE, Asked};
use host::BarredKind;
pub use host::{BoundKey, Drained, Host, Rejoining};
pub use presence::{Connected, Presence};
pub use session::Inbound;
use words::{AppSeen, HostHold, LiveLine};

/// Events that wait for the engine. Sessions wait when it is full, and with them their agents: nothing is lost.
pub const EVENT_QUEUE: usize = 256;
/// Live lines that a watcher may be behind before it loses some. A rollout over hundreds of hosts sends a few
/// hundred a second.
pub const LIVE_QUEUE: usize = 2048;
/// Before the watch of host records is taken up again after the store failed it.
const WATCH_PAUSE: Duration = Duration::from_millis(500);

/// How often an agent speaks and when it counts as silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    pub every: Duration,
    /// Missed ones after which a host is unknown; at least 1.
    pub missed: u32,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { every: Duration::from_secs(10), missed: 3 }
    }
}

impl Heartbeat {
    /// A host that has said nothing for this long is unknown. Half a beat more than the missed ones, so that one
    /// that comes just after its time is not one too few.
    pub fn silence(&self) -> Duration {
        self.every * self.missed + self.every / 2
    }
}

/// What the engine should know of.
#[derive(Debug)]
pub enum FleetEvent {
    /// A result; `done` is answered once it is committed, and then the agent may forget it.
    Report { host: HostId, report: Box<Report>, done: oneshot::Sender<Result<(), Trouble>> },
    /// Nothing heard for as long as `Heartbeat::silence`.
    Silent(HostId),
    /// Connected, with how its apps stand.
    Back { host: HostId, apps: Vec<AppSeen> },
    /// The host's own admin holds it, or no longer.
    Hold(HostId, Option<HostHold>),
    /// The host has accepted a generation that this store never gave: it was restored from an older copy.
    Ahead { host: HostId, app: AppName, generation: Generation },
    /// The record is gone; the host is no longer one of ours.
    Removed(HostId),
}

/// Everything that sessions share. Cheap to clone.
#[derive(Clone)]
pub struct Fleet {
    inner: Arc<Inner>,
}

struct Inner {
    store: SharedStore,
    clock: Arc<dyn Clock>,
    heartbeat: Heartbeat,
    presence: Presence,
    events: mpsc::Sender<FleetEvent>,
    live: broadcast::Sender<LiveLine>,
    /// The audit log's last, which every agent is told.
    checkpoints: watch::Sender<Option<Checkpoint>>,
    /// The root that signs, while hosts with certificates of an older one are to renew.
    signs: watch::Sender<Option<String>>,
    /// Where what admins do on hosts by themselves is recorded.
    audit: OnceLock<Audit>,
    allowances: told::Allowances,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Fleet {
    /// The fleet and the receiving end of its events. Every known host counts as just heard, so that a restart of
    /// the controller gives all of them the time to come back.
    pub async fn start(
        store: SharedStore,
        clock: Arc<dyn Clock>,
        heartbeat: Heartbeat,
        stop: CancellationToken,
    ) -> Result<(Fleet, mpsc::Receiver<FleetEvent>), Trouble> {
        let (events, receiver) = mpsc::channel(EVENT_QUEUE);
        let listing = store.list(&Prefix::hosts()).await?;
        let presence = Presence::default();
        for entry in &listing.entries {
            let host: Host = record::decode_entry(entry)?;
            presence.expect(host.id);
        }
        let fleet = Fleet {
            inner: Arc::new(Inner {
                store,
                clock,
                heartbeat,
                presence,
                events,
                live: broadcast::channel(LIVE_QUEUE).0,
                checkpoints: watch::Sender::new(None),
                signs: watch::Sender::new(None),
                audit: OnceLock::new(),
                allowances: Default::default(),
                stop,
                tasks: TaskTracker::new(),
            }),
        };
        fleet.inner.tasks.spawn(fleet.clone().notice_silence());
        fleet.inner.tasks.spawn(fleet.clone().follow_records(listing.revision));
        Ok((fleet, receiver))
    }

    /// From now on, what admins do on hosts by themselves is recorded there.
    pub fn record_in(&self, audit: Audit) {
        drop(self.inner.audit.set(audit)); // once, at the start
    }

    pub fn presence(&self) -> &Presence {
        &self.inner.presence
    }

    /// A host that has said nothing for this long is unknown.
    pub fn silence(&self) -> Duration {
        self.inner.heartbeat.silence()
    }

    pub fn store(&self) -> &SharedStore {
        &self.inner.store
    }

    /// Every agent is told of it: those that are connected now, the others when they come.
    pub fn tell_checkpoint(&self, checkpoint: Checkpoint) {
        self.inner.checkpoints.send_replace(Some(checkpoint));
    }

    /// From now on hosts whose certificate is not of this root renew it; `None`: in their own time.
    pub fn renew_towards(&self, signs: Option<String>) {
        self.inner.signs.send_if_modified(|known| std::mem::replace(known, signs.clone()) != signs);
    }

    /// Everything live from now on.
    pub fn watch_live(&self) -> broadcast::Receiver<LiveLine> {
        self.inner.live.subscribe()
    }

    /// Cancelled when the fleet stops: whoever only watches ends then.
    pub fn stopping(&self) -> CancellationToken {
        self.inner.stop.clone()
    }

    /// Ends every session and returns when their tasks have ended.
    pub async fn stopped(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// Sets and removes labels of a host; its agent is told.
    pub async fn label(&self, text: &str, set: &Labels, unset: &[String]) -> Result<Host, Trouble> {
        let id = host::find(&self.inner.store, text).await?.id;
        for (key, value) in set {
            longshore_common::label::check_label(key, value)?;
        }
        self.change(id, |host| {
            host.labels.retain(|key, _| !unset.contains(key));
            host.labels.extend(set.clone());
            if host.labels.len() > longshore_common::label::LABELS_MAX {
                let most = longshore_common::label::LABELS_MAX;
                return Err(Coded::new(Code::V01, format!("a host has at most {most} labels")));
            }
            Ok(())
        })
        .await
    }

    /// Keeps new work from a host from now on and lets its apps stop. Whether anything was changed by it: a host that is
    /// drained may be drained anew when its apps are to stop, or sooner.
    pub async fn drain(&self, text: &str, drained: Drained) -> Result<(Host, bool), Trouble> {
        let found = host::find(&self.inner.store, text).await?;
        let wanted = drained.stop_ms;
        let is_so = |now: &Drained| wanted.is_none() || now.stop_ms.is_some_and(|now| wanted >= Some(now));
        if found.drained.as_ref().is_some_and(is_so) {
            return Ok((found, false));
        }
        let changed = self.change(found.id, |host| {
            (host.drained, host.rejoining) = (Some(drained.clone()), None);
            Ok(())
        });
        Ok((changed.await?, true))
    }

    /// Lets a host take work again. Whether anything was changed by it.
    pub async fn undrain(&self, text: &str, rejoining: Option<Rejoining>) -> Result<(Host, bool), Trouble> {
        let found = host::find(&self.inner.store, text).await?;
        if found.drained.is_none() {
            return Ok((found, false));
        }
        let changed = self.change(found.id, |host| {
            (host.drained, host.rejoining) = (None, rejoining.clone());
            Ok(())
        });
        Ok((changed.await?, true))
    }

    /// What becomes of the wait for a host's apps: another one, none, or a drain. Of a host that waits otherwise than it
    /// was seen: nothing.
    pub async fn end_rejoining(
        &self,
        seen: &Host,
        rejoining: Option<Rejoining>,
        drained: Option<Drained>,
    ) -> Result<(), Trouble> {
        let changed = self.change(seen.id, |host| {
            if (&host.drained, &host.rejoining) == (&seen.drained, &seen.rejoining) {
                (host.drained, host.rejoining) = (drained.clone(), rejoining.clone());
            }
            Ok(())
        });
        changed.await.map(drop)
    }

    /// Nothing is sent to the drained host any more: its apps may stop. Of another drain than this, or none: nothing.
    pub async fn let_stop(&self, id: HostId, since_ms: Millis) -> Result<(), Trouble> {
        let fits = |drained: &Drained| drained.since_ms == since_ms && drained.waits;
        let found = host::get(&self.inner.store, &id).await?;
        if !found.is_some_and(|(host, _)| host.drained.as_ref().is_some_and(fits)) {
            return Ok(());
        }
        let changed = self.change(id, |host| {
            if let Some(drained) = host.drained.as_mut().filter(|drained| fits(drained)) {
                drained.waits = false;
            }
            Ok(())
        });
        changed.await.map(drop)
    }

    /// Lets a host in that waits for it or was paused. `key` is the beginning of the fingerprint that the host itself
    /// shows. Whether anything was changed by it.
    pub async fn admit(&self, text: &str, key: &str) -> Result<(Host, bool), Trouble> {
        let found = host::find(&self.inner.store, text).await?;
        let key = key.trim().to_ascii_lowercase();
        if found.barred.is_none() {
            shows(&found, &key)?;
            return Ok((found, false));
        }
        let changed = self.change(found.id, |host| {
            shows(host, &key)?; // of the very record that lets it in: a moment ago it may have had another
            // After a pause nobody can say who else holds the key, nor how far its count had come.
            host.renew = host.barred.as_ref().is_some_and(|barred| barred.kind == BarredKind::Cloned);
            if host.renew {
                host.started = None;
            }
            host.barred = None;
            Ok(())
        });
        Ok((changed.await?, true))
    }

    /// Takes the host out of the fleet: from now on it is refused, and its session ends.
    pub async fn remove(&self, text: &str) -> Result<(), Trouble> {
        let store = &self.inner.store;
        let found = host::find(store, text).await?;
        let of_host = [Prefix::assignments_of(&found.id), Prefix::states_of(&found.id)];
        store.commit(Txn::new().delete(Key::host(&found.id))).await?;
        self.forget(found.id).await;
        // What is left lies below an id that is never used again; a crash in between costs only the space.
        for prefix in of_host {
            for chunk in store.list(&prefix).await?.entries.chunks(crate::store::TXN_OPS_MAX) {
                let txn = chunk.iter().fold(Txn::new(), |txn, entry| txn.delete(entry.key.clone()));
                store.commit(txn).await?;
            }
        }
        Ok(())
    }

    async fn change(
        &self,
        id: HostId,
        edit: impl Fn(&mut Host) -> Result<(), Coded>,
    ) -> Result<Host, Trouble> {
        host::change(&self.inner.store, id, edit).await
    }

    /// Says which hosts have fallen silent, once each. Only hosts without a session are looked at.
    async fn notice_silence(self) {
        let mut tick = tokio::time::interval(self.inner.heartbeat.every / 4);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.inner.stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            for host in self.inner.presence.fallen_silent(self.silence()) {
                tracing::warn!(%host, "silent: its state is unknown from now on");
                self.tell(FleetEvent::Silent(host)).await;
            }
        }
    }

    /// Ends the session of a host whose record goes away, and passes changed labels on. Works for changes that
    /// another controller makes as well.
    async fn follow_records(self, mut after: crate::store::Revision) {
        loop {
            let watch = self.inner.store.watch(&Prefix::hosts(), after).await;
            let Ok(mut watch) = watch else {
                tokio::select! {
                    () = self.inner.stop.cancelled() => return,
                    () = tokio::time::sleep(WATCH_PAUSE) => continue,
                }
            };
            loop {
                let event = tokio::select! {
                    () = self.inner.stop.cancelled() => return,
                    event = watch.next() => event,
                };
                match event {
                    Some(WatchEvent::Changes(changes)) => {
                        for change in &changes.changes {
                            self.record_changed(change).await;
                        }
                        after = changes.revision;
                    }
                    Some(WatchEvent::Gap) | None => break,
                }
            }
            match self.recheck_sessions().await {
                Ok(revision) => after = revision,
                Err(trouble) => {
                    let trouble = Chain(&trouble).to_string();
                    tracing::error!(trouble, "cannot list the hosts");
                    tokio::time::sleep(WATCH_PAUSE).await;
                }
            }
        }
    }

    async fn record_changed(&self, change: &Change) {
        match (change.key().name(), change) {
            (Ok(Name::Host(id)), Change::Deleted(_)) => self.forget(id).await,
            (Ok(Name::Host(id)), Change::Put(entry)) => match record::decode_entry::<Host>(entry) {
                Ok(host) => match host.let_in() {
                    Ok(()) => self.inner.presence.tell_of(host),
                    Err(why) => self.inner.presence.cut(&id, why),
                },
                Err(error) => tracing::error!(%id, %error, "a host's record cannot be read"),
            },
            _ => {}
        }
    }

    /// After missed changes: every session whose host is no longer there ends.
    async fn recheck_sessions(&self) -> Result<crate::store::Revision, Trouble> {
        let listing = self.inner.store.list(&Prefix::hosts()).await?;
        for id in self.inner.presence.known() {
            if listing.entries.binary_search_by(|entry| entry.key.cmp(&Key::host(&id))).is_err() {
                self.forget(id).await;
            }
        }
        Ok(listing.revision)
    }

    async fn forget(&self, id: HostId) {
        if self.inner.presence.forget(&id, host::gone(&id)) {
            self.tell(FleetEvent::Removed(id)).await;
        }
    }

    /// The engine lives as long as the fleet does; when it is gone the daemon is stopping.
    async fn tell(&self, event: FleetEvent) {
        if self.inner.events.send(event).await.is_err() {
            tracing::debug!("no engine to tell: stopping");
        }
    }

    fn say(&self, host: HostId, name: &HostName, what: words::Live) {
        // Nobody watching is not an error.
        drop(self.inner.live.send(LiveLine { host, name: name.clone(), what }));
    }
}

/// Refuses a host whose key is not the one that was compared.
fn shows(host: &Host, key: &str) -> Result<(), Coded> {
    let held = host.fingerprint();
    if held.starts_with(key) {
        return Ok(());
    }
    let message = format!(
        "the key of host {} is {held}, not {}: another machine enrolled under its name. Nothing was changed",
        host.name,
        longshore_common::text::visible(key)
    );
    Err(Coded::new(Code::E03, message))
}
