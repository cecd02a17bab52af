//! Gates through the engine: looked at, kept, begun again after a restart, answered by operators.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use longshore_common::ids::RolloutId;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{Controller, FILE, PATIENCE, PATIENT, StartRequest, request, world};
use crate::{
    approval::Answer,
    config::Config,
    environments,
    gate::OwnFiles,
    notify::{Kind, outbox},
    rollout::{Event, HoldKind, Outcome, Phase, RunState, Verdict},
    store::SharedStore,
    testing::{self, HandAgent},
    trouble::Trouble,
};

/// Answers every caller so; counts them.
async fn server(status: &'static str) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream
                .write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nhi").as_bytes())
                .await;
        }
    });
    (port, asked)
}

pub(super) async fn gated(store: &SharedStore, gates: &str) {
    let (file, by) = (format!("{FILE}{gates}"), "alice".parse().unwrap());
    environments::apply(store, &testing::tell(), "production.toml", &file, &by, 1).await.unwrap();
}

fn http_gate(port: u16, more: &str) -> String {
    format!(
        "[[gate]]\nname = \"ready\"\nkind = \"http\"\nafter = \"canary\"\nurl = \"http://127.0.0.1:{port}/\"\n\
         every = \"200ms\"\nfail_status = [500]\n{more}"
    )
}

pub(super) async fn waits_for(controller: &Controller, id: RolloutId, kind: HoldKind) {
    for _ in 0..PATIENCE.as_millis() / 5 {
        let view = controller.engine.view(&id).await.unwrap();
        if view.holds.iter().any(|hold| hold.kind == kind) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never {}", kind.as_str());
}

#[tokio::test]
async fn a_gate_lets_on_or_takes_back_and_leaves_its_evidence() {
    let agents = [HandAgent::new("a", &[]), HandAgent::new("b", &[])];
    let memory = world(&agents).await;
    let store: SharedStore = memory.clone();
    let controller = Controller::start(store.clone()).await;
    controller.connect(&agents);
    let (good, _) = server("200 OK").await;
    gated(&store, &http_gate(good, "")).await;
    let first = controller.engine.start(request(Some("1.0"))).await.unwrap();
    assert_eq!(controller.done(first).await, Outcome::Succeeded);
    let (bad, _) = server("500 Broken").await;
    gated(&store, &http_gate(bad, "")).await;
    let second = controller.engine.start(request(Some("1.1"))).await.unwrap();
    assert_eq!(controller.done(second).await, Outcome::RolledBack);
    assert_eq!(agents[0].runs("shop").as_deref(), Some("1.0"));
    for (id, verdict) in [(first, Verdict::Pass), (second, Verdict::Fail)] {
        let view = controller.engine.view(&id).await.unwrap();
        let [result] = &view.gates[..] else { panic!("{:?}", view.gates) };
        let RunState::Concluded { verdict: was, .. } = &result.settled.run.state else { panic!() };
        assert_eq!((*was, result.evidence.as_slice()), (verdict, &["hi".to_owned()][..]));
    }
}

/// What has its verdict keeps it; what has none is begun again by the next controller.
#[tokio::test]
async fn a_restart_looks_again_only_at_what_has_no_verdict() {
    let agents = [HandAgent::new("a", &[]), HandAgent::new("b", &[])];
    let memory = world(&agents).await;
    let store: SharedStore = memory.clone();
    let (good, asked_good) = server("200 OK").await;
    let (slow, asked_slow) = server("503 Later").await;
    let waiting = http_gate(slow, "deadline = \"10m\"\n").replace("ready", "waiting");
    gated(&store, &format!("{}{waiting}", http_gate(good, ""))).await;
    let first = Controller::start(store.clone()).await;
    first.connect(&agents);
    let id = first.engine.start(request(Some("1.0"))).await.unwrap();
    waits_for(&first, id, HoldKind::Gate).await;
    while first.engine.view(&id).await.unwrap().gates.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    first.stop.cancel();
    first.engine.stopped().await;
    first.fleet.stopped().await;
    let (before, slow_before) = (asked_good.load(Ordering::SeqCst), asked_slow.load(Ordering::SeqCst));
    let second = Controller::start(store).await;
    second.connect(&agents);
    while asked_slow.load(Ordering::SeqCst) == slow_before {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(asked_good.load(Ordering::SeqCst), before);
    let refused = second.engine.steer(id, promote()).await.unwrap_err();
    assert!(refused.to_string().contains("nobody past gate waiting"), "{refused}");
    second.engine.steer(id, Event::Abort { by: "alice".into() }).await.unwrap();
    assert_eq!(second.done(id).await, Outcome::Aborted);
}

fn promote() -> Event {
    Event::Promote(crate::rollout::Promote { by: "alice".into(), reason: "hurry".into(), full: false })
}

/// It waits all the same, and takes answers when the rollout goes on.
#[tokio::test]
async fn a_gate_of_a_paused_rollout_says_to_resume_it_first() {
    let agents = [HandAgent::new("a", &[]), HandAgent::new("b", &[])];
    let memory = world(&agents).await;
    let store: SharedStore = memory.clone();
    let controller = Controller::start(store.clone()).await;
    controller.connect(&agents);
    gated(&store, "[[gate]]\nname = \"go\"\nkind = \"approval\"\nafter = \"canary\"\n").await;
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    waits_for(&controller, id, HoldKind::Gate).await;
    controller.engine.steer(id, Event::Pause { by: "alice".into() }).await.unwrap();
    let bob = "bob".parse().unwrap();
    let told = controller.engine.answer_gate(id, "go", &bob, Answer::Approved, "fine".into()).await;
    let told = told.unwrap_err().to_string();
    let first = format!("Resume it first: longshore rollout resume {id}");
    assert!(
        told.contains("gate go takes no answers while the rollout is paused") && told.contains(&first),
        "{told}"
    );
    controller.engine.steer(id, Event::Abort { by: "alice".into() }).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::Aborted);
}

#[tokio::test]
async fn operators_open_a_gate_but_not_whoever_started_it() {
    let agents = [HandAgent::new("a", &[]), HandAgent::new("b", &[])];
    let memory = world(&agents).await;
    let store: SharedStore = memory.clone();
    let controller = Controller::start(store.clone()).await;
    controller.connect(&agents);
    let gate = "[[gate]]\nname = \"go\"\nkind = \"approval\"\nafter = \"canary\"\ncount = 2\n";
    gated(&store, gate).await;
    let answer = async |id: RolloutId, by: &str, answer: Answer| -> Result<(), Trouble> {
        controller.engine.answer_gate(id, "go", &by.parse().unwrap(), answer, "because".into()).await
    };
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    waits_for(&controller, id, HoldKind::Gate).await;
    let own = answer(id, "alice", Answer::Approved).await.unwrap_err();
    assert!(own.to_string().contains("does not open its gates"), "{own}");
    let explained = async || {
        let holds = controller.engine.view(&id).await.unwrap().holds;
        holds.into_iter().find(|hold| hold.kind == HoldKind::Gate).unwrap().what
    };
    let what = explained().await;
    assert!(
        what.ends_with("has no verdict yet: lacks 2 more; asked are: any approver but whoever started it"),
        "{what}"
    );
    answer(id, "bob", Answer::Approved).await.unwrap();
    answer(id, "bob", Answer::Approved).await.unwrap();
    waits_for(&controller, id, HoldKind::Gate).await;
    let what = explained().await;
    assert!(what.contains("has no verdict yet: bob approved, lacks 1 more; asked are: "), "{what}");
    answer(id, "carl", Answer::Approved).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    let over = answer(id, "dora", Answer::Approved).await.unwrap_err();
    assert!(over.to_string().contains("waits for an approval"), "{over}");
    let id = controller.engine.start(request(Some("1.1"))).await.unwrap();
    waits_for(&controller, id, HoldKind::Gate).await;
    answer(id, "bob", Answer::Denied).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::RolledBack);
    let view = controller.engine.view(&id).await.unwrap();
    assert!(view.rollout.phase().wave().is_none() && view.gates.len() == 1);
}

/// Scenario 45: what was live before has been through every gate: going back to it passes none, and nobody has to say
/// so. To a release that was never live there, all of them are passed.
#[tokio::test]
async fn a_rollback_to_what_was_live_passes_no_gate_again() {
    let agents = [HandAgent::new("a", &[]), HandAgent::new("b", &[])];
    let store: SharedStore = world(&agents).await;
    let controller = Controller::start(store.clone()).await;
    controller.connect(&agents);
    for version in ["1.0", "1.1"] {
        let id = controller.engine.start(request(Some(version))).await.unwrap();
        assert_eq!(controller.done(id).await, Outcome::Succeeded);
    }
    let (port, asked) = server("500 No").await;
    gated(&store, &http_gate(port, "")).await;

    let back = controller.engine.start(request(None)).await.unwrap();
    assert_eq!(controller.done(back).await, Outcome::Succeeded);
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    agents.iter().for_each(|agent| assert_eq!(agent.runs("shop").as_deref(), Some("1.0")));

    let never_live = StartRequest { rollback: true, ..request(Some("1.2")) };
    let id = controller.engine.start(never_live).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::RolledBack, "its gate fails");
    assert!(asked.load(Ordering::SeqCst) > 0);
}

/// Also an environment from before anybody looked at which files its gates name.
#[tokio::test]
async fn a_gate_uses_no_file_of_the_controllers_own() {
    let agents = [HandAgent::new("a", &[]), HandAgent::new("b", &[])];
    let memory = world(&agents).await;
    let store: SharedStore = memory.clone();
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("online.key");
    longshore_common::durable::write_atomic(&key, b"secret\n", 0o600).unwrap();
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let own = OwnFiles::of(&Config::new(folder.path().into(), any, any, vec!["127.0.0.1".into()]));
    let controller = Controller::start_owning(store.clone(), Duration::ZERO, PATIENT, own).await;
    controller.connect(&agents);
    let first = controller.engine.start(request(Some("1.0"))).await.unwrap();
    assert_eq!(controller.done(first).await, Outcome::Succeeded);

    let (port, asked) = server("200 OK").await;
    let gate = format!(
        "[[gate]]\nname = \"board\"\nkind = \"webhook\"\nafter = \"canary\"\nurl = \"http://127.0.0.1:{port}/\"\n\
         secret_file = {:?}\non_no_data = \"rollback\"\n",
        key.display().to_string()
    );
    gated(&store, &gate).await;
    let second = controller.engine.start(request(Some("1.1"))).await.unwrap();
    assert_eq!(controller.done(second).await, Outcome::RolledBack);
    assert_eq!(asked.load(Ordering::SeqCst), 0, "nothing was sent");
}

/// Whoever may open a gate is told when it begins to wait, and not again with every step or restart.
#[tokio::test]
async fn a_gate_that_waits_for_people_tells_them_once() {
    let agents = [HandAgent::new("a", &[]), HandAgent::new("b", &[])];
    let memory = world(&agents).await;
    let store: SharedStore = memory.clone();
    let gate = "[[stakeholders.tell]]\nname = \"mail\"\nemail = [\"bob@example.org\"]\non = [\"approval-needed\"]\n\
                [[gate]]\nname = \"go\"\nkind = \"approval\"\nafter = \"canary\"\ncount = 2\nby = [\"bob\", \"carl\"]\n";
    gated(&store, gate).await;
    let first = Controller::start(store.clone()).await;
    first.connect(&agents);
    let id = first.engine.start(request(Some("1.0"))).await.unwrap();
    waits_for(&first, id, HoldKind::Gate).await;
    first
        .engine
        .answer_gate(id, "go", &"bob".parse().unwrap(), Answer::Approved, String::new())
        .await
        .unwrap();
    first.stop.cancel();
    first.engine.stopped().await;
    first.fleet.stopped().await;
    let second = Controller::start(store.clone()).await;
    second.connect(&agents);
    waits_for(&second, id, HoldKind::Gate).await;
    second
        .engine
        .answer_gate(id, "go", &"carl".parse().unwrap(), Answer::Approved, String::new())
        .await
        .unwrap();
    assert_eq!(second.done(id).await, Outcome::Succeeded);
    let told = outbox::list(&store).await.unwrap();
    let [(notice, _)] = &told[..] else { panic!("{told:#?}") };
    assert_eq!(notice.kind, Kind::ApprovalNeeded);
    assert_eq!(notice.subject, "shop@1.0 to production waits for approval at gate go");
    for line in [
        "\ngate: go, which wants 2 approvals by bob, carl\n".to_owned(),
        format!("\nAllow: longshore rollout open {id} go\n"),
        format!("\nDeny: longshore rollout open {id} go --deny"),
    ] {
        assert!(notice.text.contains(&line), "{line} is not in {}", notice.text);
    }
}

fn test_on(host: &str) -> String {
    format!(
        "[[gate]]\nname = \"smoke\"\nkind = \"test\"\nafter = \"canary\"\ntest = \"smoke\"\non = \"{host}\"\n"
    )
}

/// A runner host is lent the release when the rollout begins, its test is run there, and it starts nothing of it.
#[tokio::test]
async fn a_test_runs_on_a_host_of_no_environment() {
    let labelled = |name: &str, env: &str| {
        let mut agent = HandAgent::new(name, &[]);
        agent.host.labels = [("env".to_owned(), env.to_owned())].into();
        agent
    };
    let agents =
        [labelled("a", "prod"), labelled("b", "prod"), labelled("runner", "ci"), labelled("s", "stage")];
    let memory = world(&agents).await;
    let store: SharedStore = memory.clone();
    let controller = Controller::start(store.clone()).await;
    controller.connect(&agents);
    gated(&store, &test_on("runner")).await;
    for version in ["1.0", "1.1"] {
        let id = controller.engine.start(request(Some(version))).await.unwrap();
        assert_eq!(controller.done(id).await, Outcome::Succeeded);
        let view = controller.engine.view(&id).await.unwrap();
        let [result] = &view.gates[..] else { panic!("{:?}", view.gates) };
        let RunState::Concluded { verdict, .. } = &result.settled.run.state else { panic!() };
        assert_eq!(*verdict, Verdict::Pass);
        assert!(!view.rollout.hosts.contains_key(&agents[2].host.id), "it is no host of the rollout");
    }
    assert_eq!((agents[2].runs("shop"), agents[2].disk.lock().unwrap().done.len()), (None, 2));

    let staging = FILE.replace("production", "staging").replace("env=prod", "env=stage");
    environments::apply(&store, &testing::tell(), "staging.toml", &staging, &"alice".parse().unwrap(), 1)
        .await
        .unwrap();
    let there = StartRequest { env: "staging".parse().unwrap(), ..request(Some("1.0")) };
    let id = controller.engine.start(there).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    for (host, why) in
        [("s", "which runs shop for environment staging"), ("nowhere", "there is no such host")]
    {
        gated(&store, &test_on(host)).await;
        let refused = controller.engine.start(request(Some("1.2"))).await.unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
    assert_eq!(agents[3].runs("shop").as_deref(), Some("1.0"));
    let back = controller.engine.start(request(None)).await.unwrap();
    assert_eq!(controller.done(back).await, Outcome::Succeeded, "the way back needs no runner");
}

/// It says no once and for all: nobody waits for the deadline, and its own words are what the gate says.
#[tokio::test]
async fn a_runner_that_refuses_the_release_ends_its_gate_at_once() {
    let mut runner = HandAgent::new("runner", &[]);
    runner.host.labels = [("env".to_owned(), "ci".to_owned())].into();
    runner.refuses = Some("secret api_token: this host has no credential api-token".to_owned());
    let agents = [HandAgent::new("a", &[]), HandAgent::new("b", &[]), runner];
    let store: SharedStore = world(&agents).await;
    let controller = Controller::start(store.clone()).await;
    controller.connect(&agents);
    gated(&store, &format!("{}deadline = \"6h\"\non_no_data = \"rollback\"\n", test_on("runner"))).await;
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    controller.done(id).await;
    let view = controller.engine.view(&id).await.unwrap();
    let [result] = &view.gates[..] else { panic!("{:?}", view.gates) };
    let RunState::Concluded { verdict, note, .. } = &result.settled.run.state else { panic!() };
    assert_eq!(*verdict, Verdict::NoData);
    assert_eq!(
        note,
        "test smoke was not run: runner refused shop@1.0: LS-K01 secret api_token: this host has no credential api-token"
    );
    let Phase::Done(done) = view.rollout.phase() else { panic!() };
    assert!(done.reason.contains(note.as_str()), "{}", done.reason);
}

/// A balancer's assignment says where traffic goes: it would not hold the release, and the gate would wait for it in vain.
#[tokio::test]
async fn a_test_on_a_host_that_balances_the_app_is_refused() {
    let labelled = |name: &str, env: &str| {
        let mut agent = HandAgent::new(name, &[]);
        agent.host.labels = [("env".to_owned(), env.to_owned())].into();
        agent
    };
    let agents =
        [labelled("a", "prod"), labelled("b", "prod"), labelled("s", "stage"), labelled("te-lb", "lb")];
    let store: SharedStore = world(&agents).await;
    let controller = Controller::start(store.clone()).await;
    controller.connect(&agents);
    let balanced = "[traffic]\ndriver = \"haproxy\"\nbackend = \"shop\"\nbalancers = \"env=lb\"\n";
    gated(&store, &format!("{balanced}{}", test_on("te-lb"))).await;
    let refused = async |env: &str| {
        let there = StartRequest { env: env.parse().unwrap(), ..request(Some("1.0")) };
        controller.engine.start(there).await.unwrap_err().to_string()
    };
    let why = "gate smoke runs its test on te-lb, which balances shop in production and cannot run its tests: name a host that \
               does not";
    let said = refused("production").await;
    assert!(said.contains(why), "{said}");

    gated(&store, balanced).await;
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    let staging = FILE.replace("production", "staging").replace("env=prod", "env=stage") + &test_on("te-lb");
    let (tell, by) = (testing::tell(), "alice".parse().unwrap());
    environments::apply(&store, &tell, "staging.toml", &staging, &by, 1).await.unwrap();
    let said = refused("staging").await;
    let why = "which balances shop for environment production: name a host that does not";
    assert!(said.contains(why), "{said}");
    controller.stop.cancel();
}
