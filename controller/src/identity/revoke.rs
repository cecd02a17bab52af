//! What cuts the connections of those who count no more: hosts that were removed, paused, or have other keys by now;
//! operators who were removed or locked.
//!
//! Every call is checked at the door anyway. This is for what is under way: a transfer, a log that is followed. Records
//! are followed, so that it does not matter who changed them.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use longshore_common::{
    chain::Chain,
    ids::{HostId, OperatorName},
    time::Clock,
    tls::{Connections, Identity},
};
use tokio_util::sync::CancellationToken;

use super::Door;
use crate::{
    access,
    fleet::{Host, host},
    store::{Listing, Prefix, Revision, SharedStore, WatchEvent, key::Name, record},
    trouble::Trouble,
};

/// What a session has to say its last word in.
const LAST_WORD: Duration = Duration::from_millis(400);
/// Before the records are looked at again after the store failed.
const PAUSE: Duration = Duration::from_millis(500);

/// What is on record already.
#[derive(Default)]
struct Told {
    paused: HashSet<HostId>,
    breaks: HashMap<HostId, HashSet<String>>,
    /// The records as they were at the start are old news.
    started: bool,
}

impl Told {
    fn know(&mut self, listing: &Listing) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        for host in listing.entries.iter().filter_map(|entry| record::decode_entry::<Host>(entry).ok()) {
            if host.barred.is_some() {
                self.paused.insert(host.id);
            }
            let trust = host.seen.and_then(|seen| seen.facts.trust);
            self.breaks
                .insert(host.id, trust.map(|trust| trust.breaks.into_iter().collect()).unwrap_or_default());
        }
    }
}

/// Follows the records of hosts and operators.
#[derive(Clone)]
pub struct Revoker {
    pub store: SharedStore,
    pub clock: Arc<dyn Clock>,
    pub connections: Connections,
    pub door: Door,
}

impl Revoker {
    /// Until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let hosts = self.clone().follow(Prefix::hosts(), stop.clone());
        let users = self.follow(Prefix::users(), stop);
        tokio::join!(hosts, users);
    }

    async fn follow(self, prefix: Prefix, stop: CancellationToken) {
        let mut told = Told::default();
        loop {
            let followed = tokio::select! {
                () = stop.cancelled() => return,
                followed = self.follow_until_gap(&prefix, &mut told) => followed,
            };
            if let Err(trouble) = followed {
                tracing::error!(trouble = %Chain(&trouble), "cannot follow who counts no more");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        }
    }

    /// Looks at everybody who is connected, then at every change, until changes were missed.
    async fn follow_until_gap(&self, prefix: &Prefix, told: &mut Told) -> Result<(), Trouble> {
        let listing = self.store.list(prefix).await?;
        told.know(&listing);
        let mut after: Revision = listing.revision;
        for identity in self.connections.identities() {
            self.look(&identity, told).await?;
        }
        let mut watch = self.store.watch(prefix, after).await?;
        while let Some(WatchEvent::Changes(changes)) = watch.next().await {
            for change in &changes.changes {
                match change.key().name() {
                    Ok(Name::Host(id)) => self.look(&Identity::Host(id), told).await?,
                    Ok(Name::User(name)) => self.look(&Identity::Operator(name), told).await?,
                    Ok(_) | Err(_) => {}
                }
            }
            after = changes.revision;
        }
        tracing::debug!(revision = after.0, "records changed unseen; looking at everybody");
        Ok(())
    }

    async fn look(&self, identity: &Identity, told: &mut Told) -> Result<(), Trouble> {
        if let Identity::Host(id) = identity {
            self.record_news(id, told).await?;
        }
        self.cut_unless_counting(identity).await
    }

    /// For when it is no record that has changed, but whose word counts: a root was retired.
    pub async fn look_at_everybody(&self) -> Result<(), Trouble> {
        for identity in self.connections.identities() {
            self.cut_unless_counting(&identity).await?;
        }
        Ok(())
    }

    async fn cut_unless_counting(&self, identity: &Identity) -> Result<(), Trouble> {
        let counting = self.keys_of(identity).await?;
        if self.connections.keys(identity).iter().all(|key| counting.contains(key)) {
            return Ok(());
        }
        let (revoker, identity) = (self.clone(), identity.clone());
        tokio::spawn(async move {
            tokio::time::sleep(LAST_WORD).await;
            // Whoever was let in meanwhile, or has come with a newer key, stays.
            let counting = revoker.keys_of(&identity).await.unwrap_or(counting);
            let cut = revoker.connections.cut(&identity, |key| counting.contains(key));
            if cut > 0 {
                tracing::info!(%identity, connections = cut, "cut");
            }
        });
        Ok(())
    }

    /// The keys with which somebody is served now.
    pub(super) async fn keys_of(&self, identity: &Identity) -> Result<Vec<[u8; 32]>, Trouble> {
        match identity {
            Identity::Host(id) => {
                let known = host::get(&self.store, id).await?;
                let served = known.map(|(host, _)| host).filter(|host| host.barred.is_none());
                let keys = served.into_iter().flat_map(|host| host.keys);
                Ok(keys.filter(|key| self.door.believes(&key.ca)).map(|key| key.spki).collect())
            }
            Identity::Operator(name) => self.keys_of_operator(name).await,
            Identity::Controller => Ok(vec![]),
        }
    }

    async fn record_news(&self, id: &HostId, told: &mut Told) -> Result<(), Trouble> {
        match host::get(&self.store, id).await? {
            Some((host, _)) => self.record(&host, told).await,
            None => {
                told.paused.remove(id);
                told.breaks.remove(id);
                Ok(())
            }
        }
    }

    /// What became of a host without any operator's call goes on record: that it was paused, that somebody broke the
    /// glass on it.
    async fn record(&self, host: &Host, told: &mut Told) -> Result<(), Trouble> {
        let actor = format!("host {}", host.name);
        match host.barred.as_ref().filter(|barred| barred.kind == host::BarredKind::Cloned) {
            Some(barred) if !told.paused.contains(&host.id) => {
                self.door.note(&actor, "paused as a possible copy", &barred.reason).await?;
                told.paused.insert(host.id);
            }
            Some(_) => {}
            None => drop(told.paused.remove(&host.id)),
        }
        let breaks = host.seen.as_ref().and_then(|seen| seen.facts.trust.as_ref()).map(|trust| &trust.breaks);
        let known = told.breaks.entry(host.id).or_default();
        for broken in breaks.into_iter().flatten() {
            if !known.contains(broken) {
                self.door.note(&actor, "glass broken", broken).await?;
                known.insert(broken.clone());
            }
        }
        Ok(())
    }

    async fn keys_of_operator(&self, name: &OperatorName) -> Result<Vec<[u8; 32]>, Trouble> {
        let now = self.clock.now_ms();
        let known = access::get(&self.store, name).await?;
        let Some((user, _)) = known else { return Ok(vec![]) };
        let keys = user.keys.iter().filter(|known| self.door.believes(&known.ca)).map(|known| known.key);
        Ok(keys.filter(|key| user.admit(key, now).is_ok()).collect())
    }
}
