//! What becomes of a host without any operator's call is on record once: that it was paused as a possible copy, that
//! somebody broke the glass on it. However often its record is written, and over restarts of the controller.

use longshore_common::{ids::HostId, tls::Connections};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    access::{TwoPersons, Waiting},
    audit::{Audit, Chained, What},
    fleet::{
        host::{Barred, Seen},
        words::{Facts, TrustFacts},
    },
    identity::{Door, revoke::Revoker},
};

/// For what follows the records to have written what it saw.
const SOON: Duration = Duration::from_secs(10);
const CANARY: &str = "canary";

struct Desk {
    world: World,
    audit: Audit,
    /// What it says is no part of any expectation: it shows that the records are followed.
    canary: HostId,
    follower: Option<(CancellationToken, JoinHandle<()>)>,
}

impl Desk {
    async fn new() -> Self {
        let world = World::new();
        let folder = world.dir.path();
        let audit = Audit::open(&folder.join("audit"), folder, Arc::new(world.clock.clone())).unwrap();
        let canary = enrol(&world, CANARY).await;
        let mut desk = Self { world, audit, canary, follower: None };
        desk.follow().await;
        desk
    }

    /// Returns once changes of records are seen.
    async fn follow(&mut self) {
        let (store, clock) = (self.world.store.clone(), Arc::new(self.world.clock.clone()));
        let door = Door::new(store.clone(), clock.clone());
        let door = door.with(Waiting::default(), self.audit.clone(), TwoPersons::default());
        let (connections, stop) = (Connections::default(), CancellationToken::new());
        let revoker = Revoker { store, clock, connections, door };
        self.follower = Some((stop.clone(), tokio::spawn(revoker.run(stop))));
        self.followed().await;
    }

    /// Returns once everything that was written before is seen.
    async fn followed(&self) {
        let canary = || self.of(|actor| actor.contains(CANARY));
        // Words of this call alone: of an earlier one, more may still be on their way.
        let (ours, mut said) = (format!(": {}-", canary().len()), 0);
        let seen = async {
            while !canary().iter().any(|line| line.contains(&ours)) {
                said += 1;
                self.says(self.canary, &[&format!("{}{said}", &ours[2..])]).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, seen).await.expect("the records are followed");
    }

    /// Another process follows the records from now on, and knows only them.
    async fn restart(&mut self) {
        let (stop, task) = self.follower.take().unwrap();
        stop.cancel();
        task.await.unwrap();
        self.follow().await;
    }

    async fn host(&self, name: &str) -> HostId {
        enrol(&self.world, name).await
    }

    async fn says(&self, host: HostId, breaks: &[&str]) {
        let breaks: Vec<String> = breaks.iter().map(|broken| (*broken).to_owned()).collect();
        let facts = Facts { trust: Some(TrustFacts { breaks, ..Default::default() }), ..Facts::default() };
        let (address, agent_version) = ("10.0.0.9".to_owned(), "1.0".to_owned());
        let seen = Seen { at_ms: START, address, agent_version, facts };
        self.change(host, |host| host.seen = Some(seen.clone())).await;
    }

    async fn pause(&self, host: HostId, kind: BarredKind, reason: &str) {
        let barred = Barred { kind, reason: reason.to_owned(), since_ms: START };
        self.change(host, |host| host.barred = Some(barred.clone())).await;
    }

    async fn change(&self, host: HostId, edit: impl Fn(&mut host::Host)) {
        let edited = host::change(&self.world.store, host, |host| {
            edit(host);
            Ok(())
        });
        edited.await.unwrap();
    }

    /// All that is on record, once the last of it is.
    async fn recorded(&self, expected: &[&str]) {
        let last = expected.last().expect("something is awaited");
        let written = async {
            while self.lines().last().is_none_or(|line| line != last) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = tokio::time::timeout(SOON, written).await;
        assert!(in_time.is_ok() && self.lines() == expected, "{:#?}", self.lines());
    }

    fn lines(&self) -> Vec<String> {
        self.of(|actor| !actor.contains(CANARY))
    }

    fn of(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let lines = self.audit.read(0, usize::MAX).unwrap().0;
        let said = lines.iter().filter_map(|line| match Chained::parse(line)?.what {
            What::Event { actor, event, target } if wanted(&actor) => {
                Some(format!("{actor}: {event}: {target}"))
            }
            _ => None,
        });
        said.collect()
    }
}

async fn enrol(world: &World, name: &str) -> HostId {
    let token = world.token(1).await;
    world.enrolment.enrol(asking(&token, &key(), name)).await.unwrap().host.id
}

#[tokio::test]
async fn broken_glass_and_paused_copies_are_recorded_once_each() {
    let mut desk = Desk::new().await;
    let (web, db) = (desk.host("web-1").await, desk.host("db-1").await);
    desk.says(web, &["root set by ann"]).await;
    let mut expected = vec!["host web-1: glass broken: root set by ann"];
    desk.recorded(&expected).await;

    // The same again, and one more; what changes beside it is no news.
    desk.says(web, &["root set by ann", "deployed stale by bob"]).await;
    desk.change(web, |host| drop(host.labels.insert("a".into(), "b".into()))).await;
    expected.push("host web-1: glass broken: deployed stale by bob");
    desk.recorded(&expected).await;

    desk.pause(web, BarredKind::Cloned, "connected twice").await;
    expected.push("host web-1: paused as a possible copy: connected twice");
    desk.recorded(&expected).await;
    desk.pause(web, BarredKind::Cloned, "connected twice, and again").await;
    // Two hosts break the same glass; one that waits for an operator is no copy.
    desk.pause(db, BarredKind::Waiting, "its token asks for a yes").await;
    desk.says(db, &["root set by ann"]).await;
    expected.push("host db-1: glass broken: root set by ann");
    desk.recorded(&expected).await;

    desk.restart().await;
    desk.change(web, |host| drop(host.labels.insert("c".into(), "d".into()))).await;
    desk.says(db, &["root set by ann", "root set by eve"]).await;
    expected.push("host db-1: glass broken: root set by eve");
    desk.recorded(&expected).await;

    // Let in by an operator, and paused once more: that is another time.
    desk.change(web, |host| host.barred = None).await;
    desk.change(db, |host| host.barred = None).await;
    desk.followed().await;
    desk.pause(web, BarredKind::Cloned, "came back by another count").await;
    expected.push("host web-1: paused as a possible copy: came back by another count");
    desk.recorded(&expected).await;
}
