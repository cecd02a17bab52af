//! What cuts the connections of those who count no more: hosts that were removed, paused, or have other keys by now;
//! operators who were removed or locked.
//!
//! Every call is checked at the door anyway. This is for what is under way: a transfer, a log that is followed. Records
//! are followed, so that it does not matter who changed them.

use std::{sync::Arc, time::Duration};

use longshore_common::{
    chain::Chain,
    ids::OperatorName,
    time::Clock,
    tls::{Connections, Identity},
};
use tokio_util::sync::CancellationToken;

use super::Door;
use crate::{
    access,
    fleet::host,
    store::{Prefix, Revision, SharedStore, WatchEvent, key::Name},
    trouble::Trouble,
};

/// What a session has to say its last word in.
const LAST_WORD: Duration = Duration::from_millis(400);
/// Before the records are looked at again after the store failed.
const PAUSE: Duration = Duration::from_millis(500);

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
        loop {
            let followed = tokio::select! {
                () = stop.cancelled() => return,
                followed = self.follow_until_gap(&prefix) => followed,
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
    async fn follow_until_gap(&self, prefix: &Prefix) -> Result<(), Trouble> {
        let listing = self.store.list(prefix).await?;
        let mut after: Revision = listing.revision;
        for identity in self.connections.identities() {
            self.cut_unless_counting(&identity).await?;
        }
        let mut watch = self.store.watch(prefix, after).await?;
        while let Some(WatchEvent::Changes(changes)) = watch.next().await {
            for change in &changes.changes {
                match change.key().name() {
                    Ok(Name::Host(id)) => self.cut_unless_counting(&Identity::Host(id)).await?,
                    Ok(Name::User(name)) => self.cut_unless_counting(&Identity::Operator(name)).await?,
                    Ok(_) | Err(_) => {}
                }
            }
            after = changes.revision;
        }
        tracing::debug!(revision = after.0, "records changed unseen; looking at everybody");
        Ok(())
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

    async fn keys_of_operator(&self, name: &OperatorName) -> Result<Vec<[u8; 32]>, Trouble> {
        let now = self.clock.now_ms();
        let known = access::get(&self.store, name).await?;
        let Some((user, _)) = known else { return Ok(vec![]) };
        let keys = user.keys.iter().filter(|known| self.door.believes(&known.ca)).map(|known| known.key);
        Ok(keys.filter(|key| user.admit(key, now).is_ok()).collect())
    }
}
