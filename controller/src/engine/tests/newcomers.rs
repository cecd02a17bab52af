//! Scenario 94: hosts that come to be of an environment while, and after, its rollout.

use longshore_common::{ids::HostId, label::Labels};

use super::{
    Controller, FILE, PATIENCE, fleet_of,
    gates::waits_for,
    policy::{env, frozen, now},
    request, world,
};
use crate::{
    engine::records,
    environments::{self, freeze},
    fleet::Host,
    rollout::{Event, HoldKind, Outcome, Phase, Promote},
    sealed::{self, Head, NewRow},
    store::{Key, SharedStore, Txn, record},
    testing::{self, HandAgent},
};

pub(super) async fn site(more: &str, agents: &[HandAgent]) -> (SharedStore, Controller) {
    let store: SharedStore = world(agents).await;
    let (file, by) = (FILE.replacen("[rollout]\n", &format!("{more}\n"), 1), "alice".parse().unwrap());
    environments::apply(&store, &testing::tell(), "production.toml", &file, &by, 1).await.unwrap();
    let controller = Controller::start(store.clone()).await;
    controller.connect(agents);
    (store, controller)
}

async fn comes(controller: &Controller, store: &SharedStore, agent: &HandAgent) {
    agent.enrol(store).await;
    controller.connect(std::slice::from_ref(agent));
}

pub(super) async fn until(what: &str, fits: impl AsyncFn() -> bool) {
    for _ in 0..PATIENCE.as_millis() / 20 {
        if fits().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("never: {what}");
}

/// What is live is brought to it, by a rollout that touches nobody else.
#[tokio::test]
async fn a_host_that_comes_between_rollouts_is_brought_what_is_live() {
    let agents = fleet_of(3, &[]);
    let (store, controller) = site("[rollout]", &agents).await;
    let first = controller.engine.start(request(Some("1.0"))).await.unwrap();
    assert_eq!(controller.done(first).await, Outcome::Succeeded);
    let done = |agent: &HandAgent| agent.disk.lock().unwrap().done.clone();
    let before: Vec<_> = agents.iter().map(done).collect();
    let late = HandAgent::new("web-900", &[]);
    comes(&controller, &store, &late).await;
    until("web-900 runs 1.0", async || late.runs("shop").as_deref() == Some("1.0")).await;
    let brought = records::list(&store).await.unwrap().pop().unwrap();
    assert_eq!(controller.done(brought.header.id).await, Outcome::Succeeded);
    assert!(brought.newcomers && brought.started_by == "longshore", "{brought:?}");
    assert_eq!(brought.reason, "came to production since 1.0 is live: web-900");
    assert_eq!(agents.iter().map(done).collect::<Vec<_>>(), before, "nobody else was asked anything");
    let view = controller.engine.view(&brought.header.id).await.unwrap();
    let Phase::Done(over) = view.rollout.phase() else { panic!("it is done") };
    assert!(over.reason.starts_with("1 host runs 1.0; 3 excluded: "), "{}", over.reason);
    controller.stop.cancel();
}

/// A rollout under way takes it in, as a wave of its own after the others.
#[tokio::test]
async fn a_host_that_comes_during_a_rollout_is_taken_in() {
    let agents = fleet_of(3, &[]);
    let (store, controller) = site("[rollout]\nwatch = \"1h\"", &agents).await;
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    waits_for(&controller, id, HoldKind::Watching).await;
    let late = HandAgent::new("web-900", &[]);
    comes(&controller, &store, &late).await;
    until("web-900 runs 1.0", async || late.runs("shop").as_deref() == Some("1.0")).await;
    waits_for(&controller, id, HoldKind::Watching).await;
    let view = controller.engine.view(&id).await.unwrap();
    let joined: Vec<(&str, u32)> =
        view.rollout.newcomers().iter().map(|(_, host)| (host.name.as_str(), host.wave)).collect();
    assert_eq!((joined, view.rollout.header.waves), (vec![("web-900", 2)], 3));
    let promote = Promote { by: "alice".into(), reason: "seen".into(), full: false };
    controller.engine.steer(id, Event::Promote(promote)).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    assert_eq!(records::list(&store).await.unwrap().len(), 1, "there is nobody left to bring anything to");
    controller.stop.cancel();
}

/// An admin takes a host out of the environment by its labels: the rollout lets go of it, and it keeps what it runs.
#[tokio::test]
async fn a_host_that_leaves_the_environment_leaves_the_rollout() {
    let agents = fleet_of(3, &[]);
    let (_store, controller) = site("[rollout]\nwatch = \"1h\"", &agents).await;
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    waits_for(&controller, id, HoldKind::Watching).await;
    let elsewhere: Labels = [("env".to_owned(), "dev".to_owned())].into();
    controller.fleet.label("web-002", &elsewhere, &[]).await.unwrap();
    let gone = agents[2].host.id;
    until("web-002 has left", async || {
        let view = controller.engine.view(&id).await.unwrap();
        view.rollout.hosts[&gone].as_str() == "left"
    })
    .await;
    controller.engine.steer(id, Event::Abort { by: "alice".into() }).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::Aborted);
    let runs: Vec<bool> = agents.iter().map(|agent| agent.runs("shop").as_deref() == Some("1.0")).collect();
    assert_eq!(runs, [false, false, true]);
    controller.stop.cancel();
}

/// A selector that matches nobody is a slip, or the end of the environment: the rollout keeps its hosts.
#[tokio::test]
async fn a_selector_that_leaves_nobody_takes_nobody_out() {
    let agents = fleet_of(2, &[]);
    let (store, controller) = site("[rollout]\nwatch = \"1h\"", &agents).await;
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    waits_for(&controller, id, HoldKind::Watching).await;
    let (file, by) = (FILE.replace("env=prod", "env=retired"), "alice".parse().unwrap());
    environments::apply(&store, &testing::tell(), "production.toml", &file, &by, 2).await.unwrap();
    controller.engine.let_go().await.unwrap();
    controller.engine.steer(id, Event::Tick).await.unwrap(); // heard after what was said before
    let view = controller.engine.view(&id).await.unwrap();
    assert!(view.rollout.hosts.values().all(|host| host.as_str() == "healthy"));
    assert!(!view.rollout.phase().is_done());
    controller.stop.cancel();
}

fn with_key(name: &str) -> HandAgent {
    let mut agent = HandAgent::new(name, &[]);
    agent.host.recipient = format!("age1{}", agent.host.id.0.simple());
    agent
}

/// What is sealed for these hosts, each with the key by which it is opened, is the secret of the file from now on.
async fn seal(store: &SharedStore, file: &str, hosts: impl IntoIterator<Item = (HostId, String)>) {
    let (env, by) = ("production".parse().unwrap(), "alice".parse().unwrap());
    let text = b"age-encryption.org/v1\n".to_vec();
    let rows = hosts.into_iter().map(|(host, recipient)| NewRow { host, recipient, text: text.clone() });
    let head = Head { name: "db".into(), env, hosts: 0, at_ms: 1, by: "alice".into(), unnamed: None };
    let digest = sealed::keep(store, head, rows.collect()).await.unwrap().hex();
    let file = format!("{file}[secrets]\ndb = {{ sealed = \"{digest}\" }}\n");
    environments::apply(store, &testing::tell(), "production.toml", &file, &by, 2).await.unwrap();
}

/// One that a rollout under way cannot take in for its settings is looked at again when that is over, says what is in the
/// way, and is brought what is live as soon as nothing is.
#[tokio::test]
async fn a_newcomer_that_was_left_out_for_its_settings_is_tried_again() {
    let (agents, late, other) = ([with_key("web-000")], with_key("web-900"), with_key("web-901"));
    let (store, controller) = site("[rollout]", &agents).await;
    let sealed_for = [(&agents[0], &agents[0]), (&late, &other)];
    let file = FILE.replacen("[rollout]\n", "[rollout]\nwatch = \"1h\"\n", 1);
    let keys = sealed_for.map(|(agent, keyed)| (agent.host.id, keyed.host.recipient.clone()));
    seal(&store, &file, keys).await;
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    waits_for(&controller, id, HoldKind::Watching).await;
    comes(&controller, &store, &late).await;
    let joined = async || {
        let view = controller.engine.view(&id).await.unwrap();
        view.rollout.hosts.contains_key(&late.host.id)
    };
    until("it is left out", joined).await;
    let promote = Promote { by: "alice".into(), reason: "seen".into(), full: false };
    controller.engine.steer(id, Event::Promote(promote)).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    until("it is looked at again", async || controller.engine.unbrought().await.unwrap().len() == 1).await;
    let left = controller.engine.unbrought().await.unwrap().pop().unwrap();
    assert!(left.why.starts_with("LS-K01 secret db cannot be opened"), "{}", left.why);
    assert_eq!((left.name.as_str(), late.runs("shop")), ("web-900", None));

    let key = Key::host(&late.host.id);
    let (mut host, _) = records::get::<Host>(&store, &key).await.unwrap().unwrap();
    host.recipient.clone_from(&other.host.recipient);
    store.commit(Txn::new().put(key.clone(), record::encode(&key, &host).unwrap())).await.unwrap();
    until("web-900 runs 1.0", async || late.runs("shop").as_deref() == Some("1.0")).await;
    controller.stop.cancel();
}

/// One that cannot open a sealed secret waits, says why wherever somebody looks, and keeps no other newcomer waiting.
#[tokio::test]
async fn a_newcomer_that_lacks_a_sealed_secret_says_so_and_holds_up_nobody() {
    let agents = [with_key("web-000"), with_key("web-001")];
    let (lacking, sealed_for) = (with_key("web-900"), with_key("web-901"));
    let (store, controller) = site("[rollout]", &agents).await;
    let keyed = agents.iter().chain([&sealed_for]).map(|agent| (agent.host.id, agent.host.recipient.clone()));
    seal(&store, FILE, keyed).await;
    let first = controller.engine.start(request(Some("1.0"))).await.unwrap();
    assert_eq!(controller.done(first).await, Outcome::Succeeded);
    comes(&controller, &store, &lacking).await;
    until("it is found to lack it", async || !controller.engine.unbrought().await.unwrap().is_empty()).await;
    comes(&controller, &store, &sealed_for).await;
    until("web-901 runs 1.0", async || sealed_for.runs("shop").as_deref() == Some("1.0")).await;
    until("web-901 is done", async || controller.engine.active_count() == 0).await;
    until("it is looked at again", async || controller.engine.unbrought().await.unwrap().len() == 1).await;
    let left = controller.engine.unbrought().await.unwrap().pop().unwrap();
    assert_eq!((left.name.as_str(), left.app.as_str(), lacking.runs("shop")), ("web-900", "shop", None));
    assert!(left.why.starts_with("LS-K01 secret db cannot be opened"), "{}", left.why);
    assert!(left.why.ends_with("longshore rollout start shop@1.0 --to production"), "{}", left.why);
    controller.stop.cancel();
}

/// Closed by hand and lifted, or closed until a moment that comes: either way it is brought what is live at once, and nobody is
/// told any more that it waits.
#[tokio::test]
async fn a_newcomer_waits_for_a_freeze_and_no_longer() {
    /// Less than the time after which newcomers that are left are looked at anyway.
    const AT_ONCE: std::time::Duration = std::time::Duration::from_secs(45);
    let agents = fleet_of(1, &[]);
    let (store, controller) = site("[rollout]", &agents).await;
    let first = controller.engine.start(request(Some("1.0"))).await.unwrap();
    assert_eq!(controller.done(first).await, Outcome::Succeeded);
    let by_hand = "frozen by eve: stock-taking (until somebody ends it)";
    let whys = async || {
        let left = controller.engine.unbrought().await.unwrap();
        left.into_iter().map(|left| left.why).collect::<Vec<_>>()
    };
    for (name, lifted) in [("web-900", true), ("web-901", false)] {
        let until_ms = (!lifted).then(|| now() + 5_000);
        freeze::freeze(&store, &env(), frozen(until_ms), now()).await.unwrap();
        let late = HandAgent::new(name, &[]);
        comes(&controller, &store, &late).await;
        if lifted {
            until("it waits", async || whys().await == [by_hand]).await;
            freeze::unfreeze(&store, &env(), now()).await.unwrap();
            assert_eq!(whys().await, Vec::<String>::new(), "it is open, and nobody looked since");
        }
        let brought = until("it runs 1.0", async || late.runs("shop").as_deref() == Some("1.0"));
        tokio::time::timeout(AT_ONCE, brought).await.expect("it is not left until the next look");
        until("it is done", async || controller.engine.active_count() == 0).await;
    }
    controller.stop.cancel();
}

/// What did not work there is not tried again by itself; nor is anything where the environment says to wait.
#[tokio::test]
async fn a_newcomer_is_tried_once_and_only_where_the_environment_follows() {
    let agents = fleet_of(2, &[]);
    let (store, controller) = site("[rollout]", &agents).await;
    let first = controller.engine.start(request(Some("1.0"))).await.unwrap();
    assert_eq!(controller.done(first).await, Outcome::Succeeded);
    let bad = HandAgent::new("web-900", &["1.0"]);
    comes(&controller, &store, &bad).await;
    until("it is tried", async || records::list(&store).await.unwrap().len() == 2).await;
    let tried = records::list(&store).await.unwrap().pop().unwrap();
    assert_eq!(controller.done(tried.header.id).await, Outcome::RolledBack);
    assert!(!controller.engine.look_for_newcomers().await.unwrap());
    assert_eq!(records::list(&store).await.unwrap().len(), 2);
    assert_eq!(super::live(&store).await.as_deref(), Some("1.0"));

    let file = FILE.replacen("[rollout]", "newcomers = \"wait\"\n[rollout]", 1);
    environments::apply(&store, &testing::tell(), "production.toml", &file, &"alice".parse().unwrap(), 2)
        .await
        .unwrap();
    let late = HandAgent::new("web-901", &[]);
    comes(&controller, &store, &late).await;
    until("it is here", async || controller.fleet.presence().connected(&late.host.id).is_some()).await;
    assert!(!controller.engine.look_for_newcomers().await.unwrap());
    assert_eq!((records::list(&store).await.unwrap().len(), late.runs("shop")), (2, None));
    controller.stop.cancel();
}
