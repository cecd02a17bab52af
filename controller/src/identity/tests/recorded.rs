//! A copy that shows itself on its way back from an expired certificate is on record before anything becomes of it.

use super::*;
use crate::{
    access::{TwoPersons, Waiting},
    audit::{Audit, Chained, What},
    fleet::Host,
};

impl World {
    fn audit(&self) -> Audit {
        let folder = self.dir.path().join("audit");
        Audit::open(&folder, self.dir.path(), Arc::new(self.clock.clone())).unwrap()
    }

    fn recording_in(&mut self, audit: Audit) {
        let door = self.enrolment.door.clone();
        self.enrolment.door = door.with(Waiting::default(), audit, TwoPersons::default());
    }

    fn recorded(&self) -> Vec<String> {
        let lines = self.audit().read(0, usize::MAX).unwrap().0;
        let told = lines.iter().filter_map(|line| match Chained::parse(line)?.what {
            What::Event { actor, event, target } => Some(format!("{actor}: {event}: {target}")),
            _ => None,
        });
        told.collect()
    }

    /// A host that has been off for a month, and its key.
    async fn expired(&self) -> (Host, KeyPair) {
        let held = pair();
        let asked = AskedKey::from_csr(&csr(&held)).unwrap();
        let host = self.enrolment.enrol(asking(&self.token(1).await, &asked, "web-1")).await.unwrap().host;
        self.clock.advance(HOST_LIFETIME + 30 * DAY);
        (host, held)
    }

    async fn barred(&self, host: &Host) -> Option<BarredKind> {
        let known = host::get(&self.store, &host.id).await.unwrap().unwrap().0;
        known.barred.map(|barred| barred.kind)
    }
}

#[tokio::test]
async fn a_copy_that_comes_back_is_on_record_once() {
    let mut world = World::new();
    world.recording_in(world.audit());
    let (host, held) = world.expired().await;
    let id = host.id.to_string();
    for _ in 0..3 {
        let copy = world.enrolment.recover(recovering(&id, &held, &pair(), 7)).await;
        assert_eq!(copy.unwrap_err().coded().code, Code::E06);
    }
    assert_eq!(world.barred(&host).await, Some(BarredKind::Cloned));
    let said = format!(
        "host web-1 ({id}): paused as a possible copy: host {id} (web-1) has come back 7 times by its own count, and 0 \
         times by ours: a cloned disk?"
    );
    assert_eq!(world.recorded(), [said]);
}

/// A controller that ends in between has written down what it was about to do, and not the other way round.
#[tokio::test]
async fn a_pause_that_cannot_be_recorded_is_none() {
    let mut world = World::new();
    let (host, held) = world.expired().await;
    let id = host.id.to_string();
    world.recording_in(world.audit());
    std::fs::remove_dir_all(world.dir.path().join("audit")).unwrap();
    let copy = world.enrolment.recover(recovering(&id, &held, &pair(), 7)).await;
    assert_eq!(copy.unwrap_err().coded().code, Code::S04);
    assert_eq!(world.barred(&host).await, None);

    world.recording_in(world.audit());
    let copy = world.enrolment.recover(recovering(&id, &held, &pair(), 7)).await;
    assert_eq!(copy.unwrap_err().coded().code, Code::E06);
    assert_eq!(world.barred(&host).await, Some(BarredKind::Cloned));
    assert_eq!(world.recorded().len(), 1);
}
