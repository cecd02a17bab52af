//! Hosts behind a load balancer, through the engine: what balancers are told, which group a release goes to, and what is
//! refused before anything is begun.

use longshore_common::{assignment::Intent, ids::HostId, traffic::Side};

use super::{
    Controller, FILE, live, request,
    turn::{HOURS, NEARLY_AN_HOUR, after, later},
    world,
};
use crate::{
    engine::records::{self, LiveRecord},
    environments,
    fleet::{Drained, Host},
    rollout::{Event, HoldKind, Outcome},
    store::{Key, MemoryStore, SharedStore, Txn},
    testing::{self, HandAgent},
};

pub(super) const BALANCED: &str =
    "[traffic]\ndriver = \"haproxy\"\nbackend = \"shop\"\nbalancers = \"env=lb\"\n";
const GROUPS: &str = "[traffic.groups]\nblue = \"group=blue\"\ngreen = \"group=green\"\nwarm = \"0s\"\n";

fn agent(name: &str, labels: &[(&str, &str)]) -> HandAgent {
    let mut agent = HandAgent::new(name, &["1.2"]);
    agent.host.labels = labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    agent
}

/// Two hosts of each group, and their balancer, which comes last.
pub(super) fn fleet() -> Vec<HandAgent> {
    let web = |name, group| agent(name, &[("env", "prod"), ("group", group)]);
    vec![
        web("a", "blue"),
        web("b", "blue"),
        web("c", "green"),
        web("d", "green"),
        agent("lb", &[("env", "lb")]),
    ]
}

pub(super) async fn site(
    traffic: &str,
    agents: &[HandAgent],
) -> (std::sync::Arc<MemoryStore>, SharedStore, Controller) {
    let memory = world(agents).await;
    let store: SharedStore = memory.clone();
    let (file, by) = (format!("{FILE}{traffic}"), "alice".parse().unwrap());
    environments::apply(&store, &testing::tell(), "production.toml", &file, &by, 1).await.unwrap();
    let controller = Controller::start(store.clone()).await;
    controller.connect(agents);
    (memory, store, controller)
}

/// `a=0 b=0 c=100 d=100`, as the balancer was told last.
pub(super) fn told(balancer: &HandAgent) -> String {
    let disk = balancer.disk.lock().unwrap();
    let assignment = &disk.accepted[&"shop".parse().unwrap()];
    assert_eq!(assignment.intent, Intent::Direct);
    let servers = assignment.directions.as_ref().unwrap().servers.iter();
    servers.map(|server| format!("{}={}", server.name, server.weight)).collect::<Vec<_>>().join(" ")
}

async fn side(store: &SharedStore) -> Option<Side> {
    let key = Key::live(&"production".parse().unwrap(), &"shop".parse().unwrap());
    records::get::<LiveRecord>(store, &key).await.unwrap().and_then(|(live, _)| live.side)
}

fn runs(agents: &[HandAgent]) -> Vec<Option<String>> {
    agents.iter().map(|agent| agent.runs("shop")).collect()
}

fn some(versions: [&str; 5]) -> Vec<Option<String>> {
    versions.map(|version| (version != "-").then(|| version.to_owned())).to_vec()
}

/// Where nothing is live there is nothing to share the traffic with, so it is not shared in steps.
#[tokio::test]
async fn the_first_release_walks_no_steps() {
    let agents = fleet();
    let steps = format!("{BALANCED}steps = [\"50%\"]\nhold = \"1h\"\n");
    let (_memory, _store, controller) = site(&steps, &agents).await;
    let first = controller.engine.start(request(Some("1.0"))).await.unwrap();
    assert_eq!(controller.done(first).await, Outcome::Succeeded);
    let next = controller.engine.start(request(Some("1.1"))).await.unwrap();
    super::gates::waits_for(&controller, next, HoldKind::Baking).await;
    assert!(told(&agents[4]).contains("=50"), "{}", told(&agents[4]));
    controller.stop.cancel();
}

#[tokio::test]
async fn releases_go_to_the_groups_in_turn_and_the_traffic_follows() {
    let agents = fleet();
    let (_memory, store, controller) = site(&format!("{BALANCED}{GROUPS}"), &agents).await;
    let first = controller.engine.start(request(Some("1.0"))).await.unwrap();
    assert_eq!(controller.done(first).await, Outcome::Succeeded);
    assert_eq!(runs(&agents), some(["1.0", "1.0", "-", "-", "-"]));
    assert_eq!((told(&agents[4]).as_str(), side(&store).await), ("a=100 b=100 c=0 d=0", Some(Side::Blue)));

    let second = controller.engine.start(request(Some("1.1"))).await.unwrap();
    assert_eq!(controller.done(second).await, Outcome::Succeeded);
    assert_eq!(runs(&agents), some(["1.0", "1.0", "1.1", "1.1", "-"]));
    assert_eq!((told(&agents[4]).as_str(), side(&store).await), ("a=0 b=0 c=100 d=100", Some(Side::Green)));

    // A bad one is tried where the traffic is not, and leaves everything as it was.
    let bad = controller.engine.start(request(Some("1.2"))).await.unwrap();
    assert_eq!(controller.done(bad).await, Outcome::RolledBack);
    assert_eq!(runs(&agents), some(["1.0", "1.0", "1.1", "1.1", "-"]));
    assert_eq!((told(&agents[4]).as_str(), side(&store).await), ("a=0 b=0 c=100 d=100", Some(Side::Green)));

    // Back: the group that has it only gets the traffic.
    let done = |agent: &HandAgent| agent.disk.lock().unwrap().done.len();
    let before = done(&agents[2]);
    let back = controller.engine.start(request(None)).await.unwrap();
    assert_eq!(controller.done(back).await, Outcome::Succeeded);
    assert_eq!((told(&agents[4]).as_str(), side(&store).await), ("a=100 b=100 c=0 d=0", Some(Side::Blue)));
    assert_eq!(live(&store).await.as_deref(), Some("1.0"));
    assert_eq!(done(&agents[2]), before, "nothing was asked of the group that lost it");
    controller.stop.cancel();
}

#[tokio::test]
async fn hosts_are_drained_one_after_the_other() {
    let agents = fleet();
    let (_memory, store, controller) = site(BALANCED, &agents).await;
    for version in ["1.0", "1.1"] {
        let id = controller.engine.start(request(Some(version))).await.unwrap();
        assert_eq!(controller.done(id).await, Outcome::Succeeded);
    }
    assert_eq!(told(&agents[4]), "a=100 b=100 c=100 d=100");
    let known = crate::engine::states::known(&store, &agents[4].host.id, &"shop".parse().unwrap()).await;
    assert!(known.unwrap().0.is_none(), "the balancer runs nothing of the app");
    controller.stop.cancel();
}

/// The controller dies while it waits for a balancer that is away; the next one waits for the same.
#[tokio::test]
async fn a_balancer_that_is_away_is_waited_for_over_a_restart() {
    let agents = fleet();
    let (_memory, store, controller) = site(BALANCED, &agents[..4]).await;
    agents[4].enrol(&store).await;
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    super::gates::waits_for(&controller, id, HoldKind::Balancer).await;
    assert_eq!(runs(&agents), some(["-", "-", "-", "-", "-"]), "nothing was touched");
    controller.stop.cancel();
    let again = Controller::start(store.clone()).await;
    again.connect(&agents);
    assert_eq!(again.done(id).await, Outcome::Succeeded);
    assert_eq!(told(&agents[4]), "a=100 b=100 c=100 d=100");
    again.stop.cancel();
}

#[tokio::test]
async fn what_cannot_be_balanced_is_refused_at_the_start() {
    let mut agents = fleet();
    agents[1].host.labels.remove("group");
    let (_memory, store, controller) = site(&format!("{BALANCED}{GROUPS}"), &agents).await;
    let apply = async |traffic: String| {
        let (file, by) = (format!("{FILE}{traffic}"), "alice".parse().unwrap());
        environments::apply(&store, &testing::tell(), "production.toml", &file, &by, 1).await.unwrap();
    };
    let refused = async || controller.engine.start(request(Some("1.0"))).await.unwrap_err().to_string();
    let why = refused().await;
    assert!(why.contains("b is in neither"), "{why}");
    apply(BALANCED.replace("env=lb", "env=nowhere")).await;
    let why = refused().await;
    assert!(why.contains("no host matches the selector \"env=nowhere\" of traffic.balancers"), "{why}");
    apply(BALANCED.replace("env=lb", "env=prod")).await;
    let why = refused().await;
    assert!(why.contains("is to balance the hosts of production and is one of them"), "{why}");
    controller.stop.cancel();
}

/// An operator who ends the rollout in the midst gets the traffic back where it was.
#[tokio::test]
async fn an_abort_leaves_the_traffic_where_it_was() {
    let agents = fleet();
    let warm = GROUPS.replace("0s", "1h");
    let (_memory, store, controller) = site(&format!("{BALANCED}{warm}"), &agents).await;
    let first = controller.engine.start(request(Some("1.0"))).await.unwrap();
    super::gates::waits_for(&controller, first, HoldKind::Watching).await;
    let promote = crate::rollout::Promote { by: "alice".into(), reason: String::new(), full: false };
    controller.engine.steer(first, Event::Promote(promote)).await.unwrap();
    assert_eq!(controller.done(first).await, Outcome::Succeeded);
    let second = controller.engine.start(request(Some("1.1"))).await.unwrap();
    super::gates::waits_for(&controller, second, HoldKind::Watching).await;
    assert_eq!(told(&agents[4]), "a=0 b=0 c=100 d=100");
    controller.engine.steer(second, Event::Abort { by: "alice".into() }).await.unwrap();
    assert_eq!(controller.done(second).await, Outcome::Aborted);
    assert_eq!((told(&agents[4]).as_str(), side(&store).await), ("a=100 b=100 c=0 d=0", Some(Side::Blue)));
    controller.stop.cancel();
}

/// Scenario 101, behind a balancer: between rollouts, too, connections go before the apps may stop, and come when the host
/// serves again.
#[tokio::test]
async fn a_drain_between_rollouts_takes_the_host_out_before_its_apps_stop() {
    let agents = fleet();
    let (_memory, store, controller) = site(BALANCED, &agents).await;
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    let a = agents[0].host.id;
    let stop_ms = Some(i64::MAX / 2);
    let drained = Drained { by: "alice".into(), reason: "disk".into(), since_ms: 7, stop_ms, waits: false };
    let (lb, _) = controller.engine.drain(agents[4].host.id, drained.clone()).await.unwrap();
    assert!(!lb.drained.unwrap().waits, "no balancer sends the balancer anything");
    controller.engine.drain(a, drained).await.unwrap();
    until(async || !host(&store, a).await.drained.unwrap().waits).await;
    assert_eq!(told(&agents[4]), "a=0 b=100 c=100 d=100", "its apps may stop, for nothing is sent there");

    // Whoever starts again takes up what was left: a host that is drained gets nothing.
    controller.stop.cancel();
    let again = Controller::start(store.clone()).await;
    again.connect(&agents);
    again.engine.undrain(a, "alice").await.unwrap();
    until(async || told(&agents[4]) == "a=100 b=100 c=100 d=100").await;
    until(async || host(&store, a).await.rejoining.is_none()).await;
    let view = again.engine.view(&id).await.unwrap();
    assert!(matches!(view.rollout.phase(), crate::rollout::Phase::Done(_)), "nothing was rolled out for it");
    again.stop.cancel();
}

/// A controller that dies before balancers have heard of a drain tells them when it is back.
#[tokio::test]
async fn a_drain_that_nobody_told_is_taken_up_at_the_start() {
    let agents = fleet();
    let (_memory, store, controller) = site(BALANCED, &agents).await;
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    let stop_ms = Some(i64::MAX / 2);
    let drained = Drained { by: "alice".into(), reason: "disk".into(), since_ms: 7, stop_ms, waits: true };
    controller.fleet.drain("b", drained).await.unwrap();
    controller.stop.cancel();
    let again = Controller::start(store.clone()).await;
    again.connect(&agents);
    until(async || told(&agents[4]) == "a=100 b=0 c=100 d=100").await;
    again.stop.cancel();
}

/// Whoever is removed gets nothing from then on, rollout or not; a controller that was not there says so when it is back.
#[tokio::test]
async fn a_host_that_is_removed_between_rollouts_gets_nothing() {
    let agents = fleet();
    let (_memory, store, controller) = site(BALANCED, &agents).await;
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    controller.fleet.remove("a").await.unwrap();
    until(async || told(&agents[4]) == "a=0 b=100 c=100 d=100").await;
    controller.stop.cancel();
    controller.engine.stopped().await;
    store.commit(Txn::new().delete(Key::host(&agents[1].host.id))).await.unwrap();
    let again = Controller::start(store.clone()).await;
    again.connect(&agents[2..]);
    until(async || told(&agents[4]) == "a=0 b=0 c=100 d=100").await;
    let view = again.engine.view(&id).await.unwrap();
    assert_eq!(view.rollout.hosts[&agents[0].host.id].as_str(), "healthy", "as it stood at the end");
    again.stop.cancel();
}

/// A rollout that waits for its time when a host is taken back is told so when it begins: the host keeps its connections.
#[tokio::test]
async fn a_host_that_was_taken_back_before_a_rollout_begins_keeps_its_connections() {
    let agents = fleet();
    let (_memory, store, controller) = site(BALANCED, &agents).await;
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    let a = agents[0].host.id;
    let drained =
        Drained { by: "alice".into(), reason: "disk".into(), since_ms: 7, stop_ms: None, waits: false };
    controller.engine.drain(a, drained).await.unwrap();
    until(async || told(&agents[4]) == "a=0 b=100 c=100 d=100").await;
    let evening = controller.engine.start(later("1.1", "+1h")).await.unwrap();
    controller.engine.undrain(a, "alice").await.unwrap();
    until(async || told(&agents[4]) == "a=100 b=100 c=100 d=100").await;
    until(async || host(&store, a).await.rejoining.is_none()).await;
    let controller = after(controller, &store, HOURS, &agents).await;
    assert_eq!(controller.done(evening).await, Outcome::Succeeded);
    until(async || told(&agents[4]) == "a=100 b=100 c=100 d=100").await;
    controller.stop.cancel();
}

/// Nobody waits for ever: a host that does not serve in time is drained again, and whoever looks is told why.
#[tokio::test]
async fn a_host_that_does_not_serve_again_is_drained_again() {
    let agents = fleet();
    let file = BALANCED.replace("[traffic]", "progress_deadline = \"1h\"\n[traffic]");
    let (_memory, store, controller) = site(&file, &agents).await;
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    let a = agents[0].host.id;
    let drained =
        Drained { by: "alice".into(), reason: "disk".into(), since_ms: 7, stop_ms: None, waits: false };
    controller.engine.drain(a, drained).await.unwrap();
    until(async || told(&agents[4]) == "a=0 b=100 c=100 d=100").await;
    let hold = async |controller: &Controller| controller.engine.view(&id).await.unwrap().holds.pop();
    let why = hold(&controller).await.unwrap();
    assert_eq!(
        (why.kind, why.what.as_str()),
        (HoldKind::Drained, "load balancers send a nothing: drained by alice: disk")
    );
    controller.stop.cancel();

    // It is not there when it is taken back.
    let again = Controller::start(store.clone()).await;
    again.connect(&agents[1..]);
    again.engine.undrain(a, "alice").await.unwrap();
    let rejoining = host(&store, a).await.rejoining.unwrap();
    assert_eq!((rejoining.by.as_str(), rejoining.until_ms - rejoining.since_ms), ("alice", 3_600_000));
    let why = hold(&again).await.unwrap();
    assert_eq!(
        (why.kind, why.until, why.then.as_str()),
        (HoldKind::Rejoining, Some(rejoining.until_ms), "it is drained again")
    );
    let again = after(again, &store, NEARLY_AN_HOUR, &agents[1..]).await;
    until(async || host(&store, a).await.drained.is_some()).await;
    let drained = host(&store, a).await.drained.unwrap();
    assert_eq!(
        (drained.by.as_str(), drained.reason.as_str()),
        ("longshore", "alice undrained it, and 1h later a does not answer")
    );
    assert_eq!(told(&agents[4]), "a=0 b=100 c=100 d=100", "it got nothing meanwhile");
    assert_eq!(hold(&again).await.unwrap().owner, "longshore");

    // That is mended.
    again.connect(&agents[..1]);
    again.engine.undrain(a, "alice").await.unwrap();
    until(async || told(&agents[4]) == "a=100 b=100 c=100 d=100").await;
    until(async || host(&store, a).await.rejoining.is_none()).await;
    assert_eq!(hold(&again).await, None);
    again.stop.cancel();
}

/// Whoever carries a word to the balancers may be overtaken by the next one; when all are through, the last one holds.
#[tokio::test]
async fn a_drain_that_is_lifted_at_once_leaves_nothing_behind() {
    let agents = fleet();
    let (_memory, store, controller) = site(BALANCED, &agents).await;
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    let (a, tasks) = (agents[0].host.id, &controller.engine.inner.tasks);
    let idle = std::cell::Cell::new(0);
    until(async || controller.engine.active_count() == 0 && idle.replace(tasks.len()) == tasks.len()).await;
    for since_ms in 1..=5 {
        let drained =
            Drained { by: "alice".into(), reason: "disk".into(), since_ms, stop_ms: None, waits: false };
        controller.engine.drain(a, drained).await.unwrap();
        controller.engine.undrain(a, "alice").await.unwrap();
    }
    until(async || tasks.len() <= idle.get()).await;
    until(async || {
        let view = controller.engine.view(&id).await.unwrap();
        !view.rollout.hosts[&a].benched && view.holds.is_empty()
    })
    .await;
    until(async || host(&store, a).await.rejoining.is_none()).await;
    until(async || told(&agents[4]) == "a=100 b=100 c=100 d=100").await;
    controller.stop.cancel();
}

pub(super) async fn host(store: &SharedStore, id: HostId) -> Host {
    crate::fleet::host::get(store, &id).await.unwrap().unwrap().0
}

pub(super) async fn until(fits: impl AsyncFn() -> bool) {
    for _ in 0..super::PATIENCE.as_millis() / 20 {
        if fits().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("it never came to be so");
}
