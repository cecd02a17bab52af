//! Rollouts that were made to begin later: what they hold until then, and for whom they wait.

use longshore_common::code::Code;

use super::{
    policy::{env, fleet, frozen, now},
    *,
};
use crate::{
    environments::{
        freeze,
        lock::{self, Force, Locked, Scope},
    },
    rollout::HostProgress,
};

pub(super) fn later(version: &str, at: &str) -> StartRequest {
    StartRequest { at: at.to_owned(), ..request(Some(version)) }
}

/// The same controller, stopped and started again when that much time has gone by: whatever the machine was busy with
/// until then, the time of nothing has come before.
pub(super) async fn after(
    controller: Controller,
    store: &SharedStore,
    by: Duration,
    agents: &[HandAgent],
) -> Controller {
    controller.stop.cancel();
    let controller = Controller::start_ahead(store.clone(), by).await;
    controller.connect(agents);
    controller
}

pub(super) const HOURS: Duration = Duration::from_secs(2 * 3600);
/// What happens in an hour is a moment away, if it has not come already.
pub(super) const NEARLY_AN_HOUR: Duration = Duration::from_secs(3598);

pub(super) async fn reason(controller: &Controller, id: RolloutId) -> String {
    match controller.engine.view(&id).await.unwrap().rollout.phase() {
        Phase::Done(done) => done.reason.clone(),
        other => panic!("it is not over: {other:?}"),
    }
}

/// Until its time it holds nothing; and what it was planned for is not there any more then.
#[tokio::test]
async fn others_begin_and_end_before_a_rollout_that_is_to_begin_later() {
    let (agents, store, controller) = fleet(2).await;
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    let evening = controller.engine.start(later("1.1", "+1h")).await.unwrap();
    let hold = controller.holds(evening, "not-started").await;
    assert!(hold.starts_with("it was made to begin later"), "{hold}");
    assert!(!is_locked(&store).await);
    let hotfix = controller.engine.start(request(Some("1.2"))).await.unwrap();
    assert_eq!(controller.done(hotfix).await, Outcome::Succeeded);
    let controller = after(controller, &store, HOURS, &agents).await;
    assert_eq!(controller.done(evening).await, Outcome::Aborted);
    let why = reason(&controller, evening).await;
    assert!(
        why.contains("web-000 runs shop@1.2, and ran shop@1.0 when it was planned (1 more like it)"),
        "{why}"
    );
    assert!(why.contains("longshore plan shop@1.1 --to production"), "{why}");
    everywhere(&agents, "1.2");
    assert!(!is_locked(&store).await);
}

/// With two people at work the newest is not the one that is meant.
#[tokio::test]
async fn latest_steers_nothing_where_more_than_one_is_under_way() {
    let (_agents, _store, controller) = fleet(1).await;
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    let first = controller.engine.start(later("1.1", "+1h")).await.unwrap();
    assert_eq!(controller.engine.find_to_steer("latest").await.unwrap(), first);
    let second = controller.engine.start(later("1.2", "+2h")).await.unwrap();
    let refused = controller.engine.find_to_steer("latest").await.unwrap_err().coded();
    assert_eq!(refused.code, Code::V01);
    for (id, version) in [(first, "1.1"), (second, "1.2")] {
        let named = format!("{}  shop@{version} to production, by alice", id.short());
        assert!(refused.message.contains(&named), "{refused}");
        assert_eq!(controller.engine.find_to_steer(&id.to_string()).await.unwrap(), id);
    }
    assert_eq!(controller.engine.find("latest").await.unwrap(), second, "whoever only looks may");
}

/// Its time comes while another is under way: it waits in line, across a restart, and its turn comes after that one.
#[tokio::test]
async fn it_waits_in_line_and_then_begins() {
    let (agents, store, controller) = fleet(2).await;
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    let evening = controller.engine.start(later("1.1", "+1h")).await.unwrap();
    freeze::freeze(&store, &env(), frozen(None), now()).await.unwrap();
    let first = controller.engine.start(request(Some("1.2"))).await.unwrap();
    controller.holds(first, "closed").await;
    let controller = after(controller, &store, HOURS, &agents).await;
    let in_line =
        format!("it waits in line: rollout {} of shop@1.2, started by alice, is under way", first.short());
    waits_for(&controller, evening, &in_line).await;
    let controller = after(controller, &store, HOURS, &agents).await;
    waits_for(&controller, evening, &in_line).await;
    assert!(
        stale_in(&controller, evening).await.is_some(),
        "who is before it changes without a change of it"
    );
    controller.engine.steer(first, Event::Abort { by: "alice".into() }).await.unwrap();
    assert_eq!(controller.done(first).await, Outcome::Aborted);
    controller.holds(evening, "closed").await; // its turn has come
    assert_eq!(stale_in(&controller, evening).await, None);
    assert!(is_locked(&store).await);
    freeze::unfreeze(&store, &env(), now()).await.unwrap();
    assert_eq!(controller.done(evening).await, Outcome::Succeeded);
    everywhere(&agents, "1.1");
}

/// What could not be started now is not begun either, and does not wait for ever.
#[tokio::test]
async fn what_could_not_be_started_any_more_is_called_off() {
    let (agents, store, controller) = fleet(1).await;
    let evening = controller.engine.start(later("1.0", "+1h")).await.unwrap();
    store.commit(Txn::new().delete(Key::env(&env()))).await.unwrap();
    let controller = after(controller, &store, HOURS, &agents).await;
    assert_eq!(controller.done(evening).await, Outcome::Aborted);
    let why = reason(&controller, evening).await;
    assert!(why.contains("aborted by the controller: no environment production"), "{why}");
}

/// Whoever was to begin earlier begins earlier; and a lock holds both.
#[tokio::test]
async fn a_lock_and_those_before_it_keep_it_waiting() {
    let (agents, store, controller) = fleet(1).await;
    let scope = Scope { env: env(), app: None };
    let first = controller.engine.start(later("1.0", "+1h")).await.unwrap();
    let second = controller.engine.start(later("1.1", "+90m")).await.unwrap();
    let locked =
        Locked { by: "eve".parse().unwrap(), reason: "moving the database".to_owned(), since_ms: now() };
    lock::lock(&store, &scope, locked).await.unwrap();
    let controller = after(controller, &store, HOURS, &agents).await;
    for id in [first, second] {
        waits_for(&controller, id, "it waits in line: production is locked by eve: moving the database")
            .await;
    }
    lock::unlock(&store, &scope, &"eve".parse().unwrap(), Force::Own).await.unwrap();
    assert_eq!(controller.done(first).await, Outcome::Succeeded);
    assert_eq!(controller.done(second).await, Outcome::Aborted);
    let why = reason(&controller, second).await;
    assert!(why.contains("runs shop@1.0, and ran nothing of it when it was planned"), "{why}");
    everywhere(&agents, "1.0");
}

/// Who can say why another waits is whoever started the one that is before it.
#[tokio::test]
async fn the_one_before_it_is_told_with_its_owner() {
    let (_agents, _store, controller) = fleet(1).await;
    let by = "bob".parse().unwrap();
    let first = controller.engine.start(StartRequest { by, ..later("1.0", "+1h") }).await.unwrap();
    let second = controller.engine.start(later("1.1", "+90m")).await.unwrap();
    let record = controller.engine.view(&second).await.unwrap().record;
    let before = controller.engine.before(&record).await.unwrap().expect("the other begins earlier");
    assert!(before.what.contains(&first.short()), "{}", before.what);
    assert_eq!(before.owner, "bob");
}

/// A host that came since it was made is brought what is live, and is moved with the others when its time comes.
#[tokio::test]
async fn hosts_that_came_since_are_taken_in() {
    let (mut agents, store, controller) = fleet(1).await;
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    let evening = controller.engine.start(later("1.1", "+1h")).await.unwrap();
    let late = HandAgent::new("web-900", &[]);
    late.enrol(&store).await;
    controller.connect(std::slice::from_ref(&late));
    runs(&late, "1.0").await;
    unlocked(&store).await; // what brought it that is over
    agents.push(late);
    let controller = after(controller, &store, HOURS, &agents).await;
    assert_eq!(controller.done(evening).await, Outcome::Succeeded);
    for agent in &agents {
        runs(agent, "1.1").await; // by the rollout, or right after it
    }
}

/// A host that was sick when it was made is looked at again when its turn comes.
#[tokio::test]
async fn who_is_well_again_by_then_counts_as_well() {
    let (agents, store, controller) = fleet(1).await;
    let evening = controller.engine.start(later("1.0", "+1h")).await.unwrap();
    let key = Key::rollout_host(&evening, &agents[0].host.id);
    let (known, _) = records::get::<HostProgress>(&store, &key).await.unwrap().unwrap();
    let then = HostProgress { sick: true, ..known };
    store.commit(Txn::new().put(key.clone(), record::encode(&key, &then).unwrap())).await.unwrap();
    freeze::freeze(&store, &env(), frozen(None), now()).await.unwrap();
    let controller = after(controller, &store, HOURS, &agents).await;
    controller.holds(evening, "closed").await;
    let view = controller.engine.view(&evening).await.unwrap();
    assert!(!view.rollout.hosts[&agents[0].host.id].sick);
}

async fn runs(agent: &HandAgent, version: &str) {
    let until = tokio::time::Instant::now() + PATIENCE;
    while agent.runs("shop").as_deref() != Some(version) {
        assert!(tokio::time::Instant::now() < until, "it never runs {version}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn stale_in(controller: &Controller, id: RolloutId) -> Option<Duration> {
    controller.engine.view(&id).await.unwrap().stale_in
}

async fn unlocked(store: &SharedStore) {
    let until = tokio::time::Instant::now() + PATIENCE;
    while is_locked(store).await {
        assert!(tokio::time::Instant::now() < until, "it stays locked");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn waits_for(controller: &Controller, id: RolloutId, part: &str) {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        let hold = controller.holds(id, "not-started").await;
        if hold.contains(part) {
            return;
        }
        assert!(tokio::time::Instant::now() < until, "{part} is not in {hold}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
