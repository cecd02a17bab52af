//! The engine over a store in memory, with agents that are driven by hand and no network between.

mod ahead;
mod balanced;
mod belonging;
mod gates;
mod idle;
mod missed;
mod newcomers;
mod policy;
mod turn;
mod unsure;
mod unwell;
mod way_back;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use longshore_common::{
    digest::{IndexDigest, ReleaseDigest},
    ids::RolloutId,
    time::{Clock, Millis, Span, SystemClock},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Engine, StartRequest,
    records::{self, LiveRecord, Lock},
};
use crate::{
    access,
    bundle::Release,
    environments,
    fleet::{Fleet, Heartbeat},
    gate::OwnFiles,
    rollout::{Event, HoldKind, Outcome, Phase},
    store::{Key, MemoryStore, SharedStore, Txn, record},
    testing::{self, HandAgent, MortalStore},
};

/// Nothing here takes longer; what does is stuck.
const PATIENCE: Duration = Duration::from_secs(120);

const FILE: &str = r#"
[environment]
name = "production"
selector = "env=prod"
[rollout]
canary = 1
canary_bake = "0s"
wave = "100%"
bake = "0s"
max_unavailable = "100%"
"#;

/// Of agents that beat every 50 ms: a machine that stands still is not taken for their silence.
const PATIENT: Heartbeat = Heartbeat { every: Duration::from_millis(200), missed: 600 };

/// The machine's clock, and so much more.
#[derive(Debug)]
struct Ahead(Duration);

impl Clock for Ahead {
    fn now_ms(&self) -> Millis {
        SystemClock.now_ms() + Span(self.0).as_ms()
    }
}

/// A controller without its ports.
struct Controller {
    engine: Engine,
    fleet: Fleet,
    stop: CancellationToken,
}

impl Controller {
    async fn start(store: SharedStore) -> Self {
        Self::start_ahead(store, Duration::ZERO).await
    }

    /// One that is started that much later, as far as it knows.
    async fn start_ahead(store: SharedStore, by: Duration) -> Self {
        Self::start_with(store, by, PATIENT).await
    }

    async fn start_with(store: SharedStore, by: Duration, beat: Heartbeat) -> Self {
        Self::start_owning(store, by, beat, OwnFiles::default()).await
    }

    /// One whose gates may not use these files.
    async fn start_owning(store: SharedStore, by: Duration, beat: Heartbeat, own: OwnFiles) -> Self {
        let clock = Arc::new(Ahead(by));
        let stop = CancellationToken::new();
        let (fleet, events) = Fleet::start(store.clone(), clock.clone(), beat, stop.clone()).await.unwrap();
        let engine = Engine::start_all(store, clock, fleet.clone(), events, own, stop.clone()).await.unwrap();
        Self { engine, fleet, stop }
    }

    fn connect(&self, agents: &[HandAgent]) {
        for agent in agents {
            tokio::spawn(agent.clone().live_with(self.fleet.clone()));
        }
    }

    /// Agents that come again when they were taken for silent.
    fn connect_again_and_again(&self, agents: &[HandAgent]) {
        for agent in agents {
            let (agent, fleet, stop) = (agent.clone(), self.fleet.clone(), self.stop.clone());
            tokio::spawn(async move {
                while !stop.is_cancelled() {
                    agent.clone().live_with(fleet.clone()).await;
                }
            });
        }
    }

    async fn done(&self, id: RolloutId) -> Outcome {
        for _ in 0..PATIENCE.as_millis() / 5 {
            let view = self.engine.view(&id).await.unwrap();
            if let Phase::Done(done) = view.rollout.phase() {
                return done.outcome;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let view = self.engine.view(&id).await.unwrap();
        panic!("not done: {:#?}\n{:#?}", view.rollout, view.holds);
    }
}

async fn world(agents: &[HandAgent]) -> Arc<MemoryStore> {
    let memory = Arc::new(MemoryStore::new());
    let store: SharedStore = memory.clone();
    for agent in agents {
        agent.enrol(&store).await;
    }
    for name in ["alice", "bob", "carl", "dora"] {
        let grants = access::Grants::all();
        access::create(&store, &access::User::new(name.parse().unwrap(), grants, "test", 0)).await.unwrap();
    }
    let operator = "alice".parse().unwrap();
    environments::apply(&store, &testing::tell(), "production.toml", FILE, &operator, 0).await.unwrap();
    for version in ["1.0", "1.1", "1.2"] {
        let release = Release {
            app: "shop".parse().unwrap(),
            version: version.parse().unwrap(),
            digest: ReleaseDigest::of(version.as_bytes()),
            index: IndexDigest::of(b""),
            published_ms: 0,
            published_by: "alice".into(),
            files: 0,
            bytes: 0,
            wire_bytes: 0,
            withdrawn: None,
        };
        let key = Key::release(&release.app, &release.version);
        let value = record::encode(&key, &release).unwrap();
        store.commit(Txn::new().put(key, value)).await.unwrap();
    }
    memory
}

fn request(version: Option<&str>) -> StartRequest {
    StartRequest {
        app: "shop".parse().unwrap(),
        version: version.map(|version| version.parse().unwrap()),
        env: "production".parse().unwrap(),
        request_id: Uuid::new_v4(),
        by: "alice".parse().unwrap(),
        reason: String::new(),
        rollback: version.is_none(),
        refused: Default::default(),
        ticket: None,
        newcomers: Default::default(),
        at: String::new(),
    }
}

fn fleet_of(count: usize, bad: &[&str]) -> Vec<HandAgent> {
    (0..count).map(|n| HandAgent::new(&format!("web-{n:03}"), bad)).collect()
}

async fn live(store: &SharedStore) -> Option<String> {
    let key = Key::live(&"production".parse().unwrap(), &"shop".parse().unwrap());
    let found = records::get::<LiveRecord>(store, &key).await.unwrap();
    found.map(|(live, _)| live.target.version.to_string())
}

async fn is_locked(store: &SharedStore) -> bool {
    let key = Key::active(&"production".parse().unwrap(), &"shop".parse().unwrap());
    records::get::<Lock>(store, &key).await.unwrap().is_some()
}

fn everywhere(agents: &[HandAgent], version: &str) {
    for agent in agents {
        assert_eq!(agent.runs("shop").as_deref(), Some(version), "{}", agent.host.name);
        agent.check();
    }
}

#[tokio::test]
async fn a_good_release_goes_everywhere_a_bad_one_comes_back_and_a_rollback_goes_home() {
    let agents = fleet_of(3, &["1.2"]);
    let store: SharedStore = world(&agents).await;
    let controller = Controller::start(store.clone()).await;
    controller.connect(&agents);
    for version in ["1.0", "1.1"] {
        let id = controller.engine.start(request(Some(version))).await.unwrap();
        assert_eq!(controller.done(id).await, Outcome::Succeeded);
        everywhere(&agents, version);
    }
    let id = controller.engine.start(request(Some("1.2"))).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::RolledBack);
    everywhere(&agents, "1.1");
    assert_eq!((live(&store).await.as_deref(), is_locked(&store).await), (Some("1.1"), false));

    let id = controller.engine.start(request(None)).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    everywhere(&agents, "1.0");
    assert_eq!(live(&store).await.as_deref(), Some("1.0"));
    let refused = controller.engine.start(request(None)).await.unwrap_err();
    assert!(refused.to_string().contains("nothing was live before"), "{refused}");
}

/// It answers once when it switches and fails every look from then on; the third of them comes after the watch's own time.
#[tokio::test]
async fn a_host_that_fails_at_the_end_of_the_watch_is_found() {
    let agents = fleet_of(1, &[]);
    let store: SharedStore = world(&agents).await;
    let file = format!("{FILE}watch = \"1s\"\n");
    let by = "alice".parse().unwrap();
    environments::apply(&store, &testing::tell(), "production.toml", &file, &by, 1).await.unwrap();
    let controller = Controller::start(store.clone()).await;
    controller.connect(&agents);
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    agents[0].unwell.store(true, Ordering::SeqCst);
    let id = controller.engine.start(request(Some("1.1"))).await.unwrap();
    let looked = "1.1 is watched for 1s; that time is over, and its hosts are looked at once more";
    let mut told = false;
    for _ in 0..PATIENCE.as_millis() / 5 {
        let view = controller.engine.view(&id).await.unwrap();
        told |= view.holds.iter().any(|hold| hold.what.contains(looked));
        if view.rollout.phase().is_done() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(controller.done(id).await, Outcome::RolledBack);
    assert!(told, "it waited without a word");
    everywhere(&agents, "1.0");
}

/// Scenarios 68 and 118.
#[tokio::test]
async fn a_release_that_is_everywhere_already_is_nothing_to_do() {
    let agents = fleet_of(2, &[]);
    let store: SharedStore = world(&agents).await;
    let controller = Controller::start(store.clone()).await;
    controller.connect(&agents);
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    let again = controller.engine.start(request(Some("1.0"))).await.unwrap();
    assert_eq!(controller.done(again).await, Outcome::NothingToDo);
}

/// Scenario 98.
#[tokio::test]
async fn one_environment_one_rollout_and_one_request_one_rollout() {
    let agents = fleet_of(1, &[]);
    let store: SharedStore = world(&agents).await;
    let controller = Controller::start(store.clone()).await;
    // Nobody is connected, so it waits.
    let wanted = request(Some("1.0"));
    let id = controller.engine.start(wanted.clone()).await.unwrap();
    assert_eq!(controller.engine.start(wanted).await.unwrap(), id);
    let busy = controller.engine.start(request(Some("1.1"))).await.unwrap_err().coded();
    assert_eq!(busy.code, longshore_common::code::Code::R02);
    for part in [id.short().as_str(), "shop in production is held by", "alice", "rollout abort"] {
        assert!(busy.message.contains(part), "{part} is not in {busy}");
    }
    controller.engine.steer(id, Event::Abort { by: "alice".into() }).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::Aborted);
    assert!(!is_locked(&store).await);
    let refused = controller.engine.steer(id, Event::Resume).await.unwrap_err().coded();
    assert_eq!(refused.code, longshore_common::code::Code::R01);
}

/// More hosts than a transaction holds.
#[tokio::test]
async fn a_large_fleet_takes_several_transactions() {
    let agents = fleet_of(150, &[]);
    let store: SharedStore = world(&agents).await;
    let controller = Controller::start(store.clone()).await;
    controller.connect(&agents);
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    everywhere(&agents, "1.0");
}

/// Of whoever has no connection nobody says that it is at work.
#[tokio::test]
async fn a_host_without_a_connection_is_told_as_that() {
    let agents = fleet_of(1, &[]);
    let store: SharedStore = world(&agents).await;
    let controller = Controller::start(store.clone()).await;
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    gates::waits_for(&controller, id, HoldKind::Staging).await;
    let hold = controller.engine.view(&id).await.unwrap().holds.remove(0);
    assert_eq!(hold.what, "1 host stages and has no connection: web-000");
    assert!(hold.then.starts_with("if it stayed away (it is unknown after "), "{}", hold.then);
    controller.stop.cancel();
}

/// A host that is away when the rollout begins takes it when it is back (scenario 56).
#[tokio::test]
async fn a_host_that_was_away_takes_part_when_it_is_back() {
    let agents = fleet_of(2, &[]);
    let store: SharedStore = world(&agents).await;
    let beat = Heartbeat { missed: 3, ..PATIENT };
    let controller = Controller::start_with(store.clone(), Duration::ZERO, beat).await;
    controller.connect_again_and_again(&agents[..1]);
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    let mut waited = 0;
    while !controller.fleet.presence().is_silent(&agents[1].host.id) {
        tokio::time::sleep(Duration::from_millis(5)).await;
        waited += 1;
        assert!(waited < PATIENCE.as_millis() / 5, "it is never said to be silent");
    }
    controller.connect_again_and_again(&agents[1..]);
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    everywhere(&agents, "1.0");
}

/// Whoever was removed while no controller was there is told to nobody, and is waited for no more.
#[tokio::test]
async fn a_host_that_was_removed_meanwhile_has_left() {
    let agents = fleet_of(2, &[]);
    let store: SharedStore = world(&agents).await;
    let controller = Controller::start(store.clone()).await;
    controller.connect(&agents[..1]);
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    controller.stop.cancel();
    controller.engine.stopped().await;
    store.commit(Txn::new().delete(Key::host(&agents[1].host.id))).await.unwrap();
    let controller = Controller::start(store.clone()).await;
    controller.connect(&agents[..1]);
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    let why = turn::reason(&controller, id).await;
    assert!(why.starts_with("1 host runs 1.0; 1 left: web-001"), "{why}");
}

/// Deadlines that came while no controller was there are no verdict on hosts that could not say anything to anybody.
#[tokio::test]
async fn a_controller_that_was_away_for_longer_than_a_deadline_hears_the_hosts_first() {
    let agents = fleet_of(2, &[]);
    let store: SharedStore = world(&agents).await;
    let controller = Controller::start(store.clone()).await;
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    gates::waits_for(&controller, id, HoldKind::Staging).await;
    let controller = turn::after(controller, &store, turn::HOURS, &agents).await;
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    everywhere(&agents, "1.0");
}

/// A store that was restored from an older copy knows fewer generations than its hosts hold; numbering goes on after
/// theirs, and nothing that they did before is undone or refused.
#[tokio::test]
async fn a_restored_store_goes_on_after_the_generations_of_its_hosts() {
    let agents = fleet_of(2, &[]);
    let before: SharedStore = world(&agents).await;
    let controller = Controller::start(before).await;
    controller.connect(&agents);
    for version in ["1.0", "1.1"] {
        let id = controller.engine.start(request(Some(version))).await.unwrap();
        assert_eq!(controller.done(id).await, Outcome::Succeeded);
    }
    controller.stop.cancel();

    let restored: SharedStore = world(&agents).await;
    let controller = Controller::start(restored.clone()).await;
    controller.connect(&agents);
    let counter = Key::counter(records::SEQUENCE);
    let mut waited = 0;
    while records::get::<u64>(&restored, &counter).await.unwrap().is_none_or(|(sequence, _)| sequence < 2) {
        tokio::time::sleep(Duration::from_millis(5)).await;
        waited += 1;
        assert!(waited < PATIENCE.as_millis() / 5, "the numbering never caught up");
    }
    everywhere(&agents, "1.1");
    let id = controller.engine.start(request(Some("1.2"))).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    everywhere(&agents, "1.2");
}

/// Scenario 122: the controller dies at every commit there is, before it lands and after, and another goes on.
#[tokio::test]
async fn the_controller_may_die_at_every_commit() {
    for lands in [false, true] {
        let mut survived = false;
        let mut commit = 0;
        while !survived {
            survived = die_and_go_on(commit, lands, 3).await;
            commit += 1;
            assert!(commit < 200, "it never ends");
        }
        assert!(commit > 8, "only {commit} commits were tried");
    }
}

/// The same where one step takes several transactions.
#[tokio::test]
async fn the_controller_may_die_between_the_transactions_of_one_step() {
    for commit in 0..8 {
        die_and_go_on(commit, true, 140).await;
    }
}

/// Rolls 1.0 and then the bad 1.2 out, with a death on the way. Whether the controller outlived both.
async fn die_and_go_on(commit: usize, lands: bool, hosts: usize) -> bool {
    let agents = fleet_of(hosts, &["1.2"]);
    let memory = world(&agents).await;
    let store: SharedStore = memory.clone();
    let mortal = MortalStore::dying_at(memory, commit, lands);
    let requests = [request(Some("1.0")), request(Some("1.2"))];

    let first = Controller::start(mortal.clone()).await;
    first.connect(&agents);
    let died = mortal.died.clone();
    let survived = tokio::select! {
        () = died.notified() => false,
        () = roll_both(&first, &requests) => true,
    };
    // Gone, as a process is: what it still holds reaches nothing.
    first.stop.cancel();

    let second = Controller::start(store.clone()).await;
    second.connect(&agents);
    roll_both(&second, &requests).await;
    everywhere(&agents, "1.0");
    assert_eq!((live(&store).await.as_deref(), is_locked(&store).await), (Some("1.0"), false));
    second.stop.cancel();
    survived
}

async fn roll_both(controller: &Controller, requests: &[StartRequest; 2]) {
    for (request, outcome) in requests.iter().zip([Outcome::Succeeded, Outcome::RolledBack]) {
        let id = controller.engine.start(request.clone()).await.unwrap();
        assert_eq!(controller.done(id).await, outcome);
    }
}
