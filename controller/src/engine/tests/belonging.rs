//! Hosts behind a load balancer that leave their environment by their labels, or come back to it.

use std::time::Duration;

use longshore_common::{ids::HostId, label::Labels};

use super::{
    Controller, FILE,
    balanced::{BALANCED, fleet, host, site, told, until},
    gates::waits_for,
    request,
};
use crate::{
    engine::{StartRequest, records},
    environments,
    fleet::{Drained, Host},
    rollout::{Event, HoldKind, Outcome, Promote},
    store::{Key, SharedStore, Txn},
    testing::{self, HandAgent},
};

const GONE: &str = "its labels are not those of production: balancers send it nothing from now on";

impl Controller {
    async fn labels(&self, name: &str, env: &str) {
        let before = self.writes_label(name, "env", env).await;
        self.engine.labels_changed(before).await;
    }

    /// The host as it was before; nobody is told.
    async fn writes_label(&self, name: &str, key: &str, value: &str) -> Host {
        let before = crate::fleet::host::find(&self.engine.inner.store, name).await.unwrap();
        let set = Labels::from([(key.to_owned(), value.to_owned())]);
        self.fleet.label(name, &set, &[]).await.unwrap();
        before
    }

    async fn drains(&self, id: HostId) {
        let drained =
            Drained { by: "alice".into(), reason: "disk".into(), since_ms: 7, stop_ms: None, waits: false };
        self.engine.drain(id, drained).await.unwrap();
    }

    async fn note(&self, store: &SharedStore, id: HostId) -> Option<String> {
        let mut notes = self.engine.traffic_notes(&host(store, id).await).await.unwrap();
        notes.pop().map(|note| note.note)
    }

    async fn rolls_out(&self, version: &str, env: &str) {
        let request = StartRequest { env: env.parse().unwrap(), ..request(Some(version)) };
        let id = self.engine.start(request).await.unwrap();
        assert_eq!(self.done(id).await, Outcome::Succeeded);
    }
}

/// 1.0 is live in production, and there is a staging without hosts.
async fn running(agents: &[HandAgent]) -> (SharedStore, Controller) {
    let (_memory, store, controller) = site(BALANCED, agents).await;
    let file = FILE.replace("\"production\"", "\"staging\"").replace("env=prod", "env=stg");
    let by = "alice".parse().unwrap();
    environments::apply(&store, &testing::tell(), "staging.toml", &file, &by, 1).await.unwrap();
    controller.rolls_out("1.0", "production").await;
    (store, controller)
}

/// It gets nothing from then on, and its connections when it is back, without a rollout.
#[tokio::test]
async fn a_host_that_is_labelled_out_between_rollouts_gets_nothing_until_it_is_back() {
    let agents = fleet();
    let (store, controller) = running(&agents).await;
    let a = agents[0].host.id;
    assert_eq!(controller.note(&store, a).await, None);
    controller.labels("a", "stg").await;
    assert_eq!(controller.note(&store, a).await.as_deref(), Some(GONE));
    until(async || told(&agents[4]) == "a=0 b=100 c=100 d=100").await;
    controller.labels("a", "prod").await;
    until(async || told(&agents[4]) == "a=100 b=100 c=100 d=100").await;
    until(async || host(&store, a).await.rejoining.is_none()).await;
    assert_eq!(controller.note(&store, a).await, None);
    assert_eq!(records::list(&store).await.unwrap().len(), 1, "nothing was rolled out for it");
    controller.stop.cancel();
}

/// A selector that leaves nobody who serves is a slip, or the end of the environment.
#[tokio::test]
async fn the_last_host_of_an_environment_keeps_its_traffic() {
    let agents = fleet();
    let agents = [agents[0].clone(), agents[4].clone()];
    let (store, controller) = running(&agents).await;
    controller.labels("a", "stg").await;
    controller.engine.follow_labels(None).await.unwrap();
    let kept = "its labels are not those of production; balancers send it what they did until the next rollout there, for \
                nobody else serves";
    assert_eq!(controller.note(&store, agents[0].host.id).await.as_deref(), Some(kept));
    assert_eq!(told(&agents[1]), "a=100");
    controller.stop.cancel();
}

/// Its rack has nothing to do with a slip in the file.
#[tokio::test]
async fn a_label_that_is_not_why_a_host_left_takes_no_traffic() {
    let agents = fleet();
    let (store, controller) = running(&agents).await;
    let file = format!("{}{BALANCED}", FILE.replace("env=prod", "env=prod,group=blue"));
    let by = "alice".parse().unwrap();
    environments::apply(&store, &testing::tell(), "production.toml", &file, &by, 2).await.unwrap();
    let before = controller.writes_label("c", "rack", "7").await;
    controller.engine.labels_changed(before).await;
    let kept = "its labels are not those of production; balancers send it what they did until the next rollout there";
    assert_eq!(controller.note(&store, agents[2].host.id).await.as_deref(), Some(kept));
    assert_eq!(told(&agents[4]), "a=100 b=100 c=100 d=100");
    controller.stop.cancel();
}

/// Nor does whoever labels a host wait for ever, and what was begun goes on.
#[tokio::test]
async fn a_rollout_that_does_not_answer_does_not_keep_whoever_labels_a_host() {
    let agents = fleet();
    let (store, first) = running(&agents).await;
    first.stop.cancel();
    first.engine.stopped().await;
    first.fleet.stopped().await;
    let controller = Controller::start(store.clone()).await;
    let id = records::list(&store).await.unwrap().pop().unwrap().header.id;
    let mute = controller.engine.enlist(id).expect("what is over has no task");
    let a = agents[0].host.id;
    let benched = async || controller.engine.view(&id).await.unwrap().rollout.hosts[&a].benched;
    let before = controller.writes_label("a", "env", "stg").await;
    controller.engine.follow_within(Duration::from_millis(50), before).await;
    assert!(!benched().await, "nobody answers");
    drop(mute);
    until(benched).await;
    controller.stop.cancel();
}

/// A record of what balancers were told is damaged, which is no matter of those who come to another environment.
#[tokio::test]
async fn newcomers_do_not_wait_for_what_balancers_were_told() {
    let agents = fleet();
    let (store, controller) = running(&agents).await;
    let id = records::list(&store).await.unwrap().pop().unwrap().header.id;
    controller.labels("a", "stg").await;
    controller.rolls_out("1.1", "staging").await;
    let of_d = Key::rollout_host(&id, &agents[3].host.id);
    store.commit(Txn::new().put(of_d, "damaged".into())).await.unwrap();
    controller.engine.follow_labels(None).await.expect_err("it cannot be read");
    controller.labels("b", "stg").await;
    until(async || agents[1].runs("shop").as_deref() == Some("1.1")).await;
    controller.stop.cancel();
}

/// What an operator takes back goes by today's labels.
#[tokio::test]
async fn a_drained_host_that_was_labelled_out_gets_nothing_when_it_is_taken_back() {
    let agents = fleet();
    let (store, controller) = running(&agents).await;
    let a = agents[0].host.id;
    controller.drains(a).await;
    until(async || told(&agents[4]) == "a=0 b=100 c=100 d=100").await;
    controller.labels("a", "stg").await;
    let (undrained, changed) = controller.engine.undrain(a, "alice").await.unwrap();
    assert_eq!((undrained.rejoining, changed), (None, true), "nobody is to send it anything");
    controller.engine.put_back(&a).await.unwrap();
    controller.engine.follow_labels(None).await.unwrap();
    assert_eq!(told(&agents[4]), "a=0 b=100 c=100 d=100");
    assert_eq!(controller.note(&store, a).await.as_deref(), Some(GONE));
    controller.labels("a", "prod").await;
    until(async || told(&agents[4]) == "a=100 b=100 c=100 d=100").await;
    controller.stop.cancel();
}

/// It is brought what is live, though it was of the rollout that made it so, and gets its traffic then and not before.
#[tokio::test]
async fn a_host_that_is_back_with_another_environments_release_is_brought_what_is_live_first() {
    let agents = fleet();
    let (store, controller) = running(&agents).await;
    let a = agents[0].host.id;
    controller.labels("a", "stg").await;
    until(async || told(&agents[4]) == "a=0 b=100 c=100 d=100").await;
    controller.rolls_out("1.1", "staging").await;
    assert_eq!(agents[0].runs("shop").as_deref(), Some("1.1"));
    controller.drains(a).await;
    controller.labels("a", "prod").await;
    let why = "it runs what staging gave it: balancers send it nothing before it is brought what is live in production";
    assert_eq!(controller.note(&store, a).await.as_deref(), Some(why));
    controller.engine.undrain(a, "alice").await.unwrap();
    until(async || {
        let told = told(&agents[4]);
        let runs = agents[0].runs("shop");
        assert!(!told.contains("a=100") || runs.as_deref() == Some("1.0"), "{told} with {runs:?}");
        told == "a=100 b=100 c=100 d=100"
    })
    .await;
    let brought = records::list(&store).await.unwrap().pop().unwrap();
    assert_eq!(brought.reason, "came to production since 1.0 is live: a");
    controller.stop.cancel();
}

/// It missed a release while it was of no environment: it is brought that, and gets its traffic then and not before.
#[tokio::test]
async fn a_host_that_is_back_with_an_older_release_is_brought_what_is_live_first() {
    let agents = fleet();
    let (store, controller) = running(&agents).await;
    controller.labels("a", "spare").await;
    until(async || told(&agents[4]) == "a=0 b=100 c=100 d=100").await;
    controller.rolls_out("1.1", "production").await;
    assert_eq!(
        (told(&agents[4]).as_str(), agents[0].runs("shop").as_deref()),
        ("b=100 c=100 d=100", Some("1.0"))
    );
    controller.labels("a", "prod").await;
    until(async || {
        let told = told(&agents[4]);
        let runs = agents[0].runs("shop");
        assert!(!told.contains("a=100") || runs.as_deref() == Some("1.1"), "{told} with {runs:?}");
        told == "a=100 b=100 c=100 d=100"
    })
    .await;
    let brought = records::list(&store).await.unwrap().pop().unwrap();
    assert_eq!(brought.reason, "came to production since 1.1 is live: a");
    controller.stop.cancel();
}

/// It has what is live, and balancers had no word of it since: a rollout that changes nothing gives it its traffic.
#[tokio::test]
async fn a_host_that_is_back_with_what_is_live_has_its_traffic_also_where_others_came_meanwhile() {
    let agents = fleet();
    let (_store, controller) = running(&agents).await;
    controller.labels("a", "spare").await;
    until(async || told(&agents[4]) == "a=0 b=100 c=100 d=100").await;
    controller.labels("b", "spare").await;
    controller.rolls_out("1.1", "production").await;
    assert_eq!(told(&agents[4]), "c=100 d=100");
    controller.rolls_out("1.0", "production").await;
    controller.labels("a", "prod").await;
    until(async || told(&agents[4]) == "a=100 c=100 d=100").await;
    assert_eq!(agents[0].runs("shop").as_deref(), Some("1.0"));
    controller.labels("b", "prod").await;
    until(async || told(&agents[4]) == "a=100 b=100 c=100 d=100").await;
    controller.stop.cancel();
}

/// One that cannot be changed yet stays without traffic, however many rollouts bring what is live to others.
#[tokio::test]
async fn a_host_that_is_back_and_held_gets_nothing_by_rollouts_for_others() {
    let agents = fleet();
    let (store, controller) = running(&agents).await;
    let a = agents[0].host.id;
    for name in ["a", "b", "c"] {
        controller.labels(name, "spare").await;
    }
    controller.rolls_out("1.1", "production").await;
    assert_eq!(told(&agents[4]), "d=100");
    controller.drains(a).await;
    controller.labels("a", "prod").await;
    for (name, shown) in [("b", "a=0 b=100 d=100"), ("c", "a=0 b=100 c=100 d=100")] {
        controller.labels(name, "prod").await;
        until(async || {
            assert!(!told(&agents[4]).contains("a=100"), "{}", told(&agents[4]));
            told(&agents[4]) == shown
        })
        .await;
    }
    controller.engine.undrain(a, "alice").await.unwrap();
    until(async || {
        let told = told(&agents[4]);
        assert!(!told.contains("a=100") || agents[0].runs("shop").as_deref() == Some("1.1"), "{told}");
        told == "a=100 b=100 c=100 d=100"
    })
    .await;
    assert_eq!(host(&store, a).await.drained, None);
    controller.stop.cancel();
}

/// It left the rollout under way, healthy on what is live since, and is back when that is over.
#[tokio::test]
async fn a_host_that_left_a_rollout_and_is_back_gets_its_connections() {
    let agents = fleet();
    let (_memory, store, controller) = site(&format!("watch = \"1h\"\n{BALANCED}"), &agents).await;
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    waits_for(&controller, id, HoldKind::Watching).await;
    controller.labels("d", "stg").await;
    until(async || told(&agents[4]) == "a=100 b=100 c=100 d=0").await;
    let promote = Promote { by: "alice".into(), reason: "seen".into(), full: false };
    controller.engine.steer(id, Event::Promote(promote)).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    controller.labels("d", "prod").await;
    until(async || told(&agents[4]) == "a=100 b=100 c=100 d=100").await;
    let view = controller.engine.view(&id).await.unwrap();
    assert_eq!(view.rollout.hosts[&agents[3].host.id].as_str(), "left", "as it stood at the end");
    assert_eq!(records::list(&store).await.unwrap().len(), 1, "nothing was rolled out for it");
    controller.stop.cancel();
}
