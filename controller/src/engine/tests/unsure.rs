//! A store that keeps a write and cannot say so, or does not answer for a moment.

use std::sync::Mutex;

use super::*;
use crate::{
    rollout::Promote,
    store::{CommitError, Entry, Listing, Prefix, Revision, Store, StoreFuture, Unavailable, Watch, Write},
};

struct Unsure {
    inner: Arc<MemoryStore>,
    /// Of the next commit that writes this nobody learns that it landed.
    about: Mutex<Option<Key>>,
    /// The next look at this finds the store away.
    away_at: Mutex<Option<Key>>,
}

impl Store for Unsure {
    fn get<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Result<Option<Entry>, Unavailable>> {
        if self.away_at.lock().unwrap().take_if(|at| *at == *key).is_some() {
            return Box::pin(async { Err(Unavailable("the disk does not answer".into())) });
        }
        self.inner.get(key)
    }

    fn list<'a>(&'a self, prefix: &'a Prefix) -> StoreFuture<'a, Result<Listing, Unavailable>> {
        self.inner.list(prefix)
    }

    fn commit(&self, txn: Txn) -> StoreFuture<'_, Result<Revision, CommitError>> {
        let writes = |about: &mut Key| {
            txn.writes.iter().any(|write| matches!(write, Write::Put(key, _) if *key == *about))
        };
        let unsure = self.about.lock().unwrap().take_if(writes).is_some();
        Box::pin(async move {
            let revision = self.inner.commit(txn).await?;
            if unsure { Err(CommitError::Unknown("the disk does not answer".into())) } else { Ok(revision) }
        })
    }

    fn watch<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Revision,
    ) -> StoreFuture<'a, Result<Watch, Unavailable>> {
        self.inner.watch(prefix, after)
    }
}

/// What landed is not decided a second time: an operator's word counts once, and is answered as what it was.
#[tokio::test]
async fn an_act_counts_once_though_nobody_knows_whether_it_was_kept() {
    let agents = fleet_of(2, &[]);
    let memory = world(&agents).await;
    let unsure = Arc::new(Unsure { inner: memory, about: Mutex::default(), away_at: Mutex::default() });
    let store: SharedStore = unsure.clone();
    let (file, by) =
        (format!("{FILE}promotion = \"every-wave\"\nstage_ahead = 0\n"), "alice".parse().unwrap());
    environments::apply(&store, &testing::tell(), "production.toml", &file, &by, 1).await.unwrap();
    let controller = Controller::start(store.clone()).await;
    controller.connect(&agents);
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    gates::waits_for(&controller, id, HoldKind::Promotion).await;
    *unsure.about.lock().unwrap() = Some(Key::rollout(&id));
    let promote = Promote { by: "alice".into(), reason: String::new(), full: false };
    controller.engine.steer(id, Event::Promote(promote)).await.unwrap();
    assert!(unsure.about.lock().unwrap().is_none(), "it was not sure of anything");
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    everywhere(&agents, "1.0");
}

/// What cannot be decided because the store does not answer is decided a moment later, where it is: nobody who waits for it is
/// sent away.
#[tokio::test]
async fn a_store_that_is_away_for_a_moment_sends_nobody_away() {
    let agents = fleet_of(2, &[]);
    let memory = world(&agents).await;
    let unsure = Arc::new(Unsure { inner: memory, about: Mutex::default(), away_at: Mutex::default() });
    let store: SharedStore = unsure.clone();
    let (file, by) =
        (format!("{FILE}promotion = \"every-wave\"\nstage_ahead = 0\n"), "alice".parse().unwrap());
    environments::apply(&store, &testing::tell(), "production.toml", &file, &by, 1).await.unwrap();
    let controller = Controller::start(store.clone()).await;
    controller.connect(&agents);
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    gates::waits_for(&controller, id, HoldKind::Promotion).await;
    // With every step it is looked whether the release was withdrawn.
    let release = Key::release(&"shop".parse().unwrap(), &"1.0".parse().unwrap());
    *unsure.away_at.lock().unwrap() = Some(release);
    let promote = Promote { by: "alice".into(), reason: String::new(), full: false };
    controller.engine.steer(id, Event::Promote(promote)).await.unwrap();
    assert!(unsure.away_at.lock().unwrap().is_none(), "it was never away");
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    everywhere(&agents, "1.0");
}
