//! What goes over a session, and how it comes back.

use std::{path::Path, sync::Arc, time::Duration};

use longshore_common::{
    report::{Outcome, Report},
    time::{Clock, ManualClock, SystemClock},
};
use longshore_proto::v1::{
    self as pb, answer::About as Told, from_agent::Message as Heard, question::About as Asked,
    to_agent::Message as Said,
};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    enrolling,
    fake::{Fake, PATIENCE, Visit},
};
use crate::{
    helper::{Remote, tests::hang},
    host::sim::SimHost,
    identity::{Again, Folder, Pair, enroll, recover},
    link::{Connection, Facts, Link, Parts},
    plan::{
        Hold, HoldKind,
        tests::bench::{app, run},
    },
    run::{Crew, Limits},
    state::State,
    uplink::{Uplink, UplinkSender},
};

struct Agent {
    crew: Crew<SimHost>,
    connection: watch::Receiver<Connection>,
    uplink: Uplink,
    dir: TempDir,
    _shutdown: DropGuard,
}

async fn agent(fake: &Fake, controllers: Vec<String>) -> Agent {
    agent_by(fake, controllers, Arc::new(SystemClock)).await
}

async fn agent_by(fake: &Fake, controllers: Vec<String>, clock: Arc<dyn Clock>) -> Agent {
    let dir = tempfile::tempdir().unwrap();
    let pair = enrolled(fake, dir.path()).await;
    let state = State::open(&dir.path().join("state"), clock).await.unwrap();
    let crew = Crew::new(Arc::new(SimHost::new()), state, pair.host, Limits::default());
    let (sender, uplink) = Uplink::new();
    let (link, connection) = Link::new(parts(dir.path(), controllers, crew.clone(), pair, sender));
    let shutdown = CancellationToken::new();
    tokio::spawn(link.run(shutdown.clone()));
    Agent { crew, connection, uplink, dir, _shutdown: shutdown.drop_guard() }
}

async fn enrolled(fake: &Fake, dir: &Path) -> Pair {
    enroll(&enrolling(fake, dir, Again::Refuse)).await.unwrap();
    Folder::new(dir.join("identity")).load().unwrap().unwrap()
}

fn parts<W>(dir: &Path, controllers: Vec<String>, crew: W, pair: Pair, uplink: UplinkSender) -> Parts<W> {
    Parts {
        controllers,
        labels: [("zone".to_owned(), "eu".to_owned())].into(),
        crew,
        facts: Facts { root: dir.to_owned(), driver: "process".into(), loopback: None, uplink: None },
        identity: dir.join("identity"),
        pair,
        uplink,
        recipient: String::new(),
        witness: crate::link::Witness::open(dir.join("audit-checkpoints.json")),
    }
}

async fn connected() -> (Fake, Agent, Visit) {
    let mut fake = Fake::start().await;
    let agent = agent(&fake, vec![fake.main_address.clone()]).await;
    let (visit, hello) = fake.session().await;
    assert_eq!((hello.protocol, hello.boot_counter, hello.name.as_str()), (1, 1, "web-1"));
    let facts = hello.facts.unwrap();
    assert!(facts.memory_bytes > 0 && facts.disk_total_bytes > 0 && !facts.arch.is_empty(), "{facts:?}");
    (fake, agent, visit)
}

async fn outcome_of(visit: &mut Visit) -> (u64, Outcome) {
    let (seq, report) = Report::from_message(visit.report().await).unwrap();
    (seq, report.outcome)
}

async fn acknowledged(agent: &Agent) {
    let empty = async {
        while agent.crew.state().outbox_len() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, empty).await.expect("acknowledged in time");
}

#[tokio::test]
async fn an_assignment_is_done_reported_and_acknowledged() {
    let (_fake, agent, mut visit) = connected().await;
    visit.say(Said::Assignment((&run(1, "1")).into())).await;
    let (seq, outcome) = outcome_of(&mut visit).await;
    assert_eq!(outcome, Outcome::Healthy);
    assert_eq!(agent.crew.state().outbox_len(), 1);
    visit.say(Said::Ack(pb::ReportAck { seq })).await;
    acknowledged(&agent).await;
    assert!(agent.connection.borrow().connected);
    assert!(agent.uplink.is_connected());
}

#[tokio::test]
async fn what_was_not_acknowledged_is_said_again() {
    let (mut fake, agent, mut visit) = connected().await;
    visit.say(Said::Assignment((&run(1, "1")).into())).await;
    let (first, _) = outcome_of(&mut visit).await;
    let farewell = pb::Farewell { code: "LS-C01".into(), message: "stopping".into() };
    visit.say(Said::Farewell(farewell)).await;
    drop(visit);
    let (mut visit, hello) = fake.session().await;
    assert_eq!(hello.apps[0].generation, 1);
    assert_eq!((hello.apps[0].version.as_str(), hello.apps[0].verdict.as_str()), ("1", "healthy"));
    assert_eq!(outcome_of(&mut visit).await, (first, Outcome::Healthy));
    visit.say(Said::Ack(pb::ReportAck { seq: first })).await;
    acknowledged(&agent).await;
}

#[tokio::test]
async fn heartbeats_come_as_often_as_asked() {
    let (_fake, _agent, mut visit) = connected().await;
    for _ in 0..2 {
        visit.hear_the(|heard| matches!(heard, Heard::Heartbeat(_)).then_some(())).await;
    }
}

#[tokio::test]
async fn questions_are_answered() {
    let (_fake, _agent, mut visit) = connected().await;
    visit.say(Said::Assignment((&run(1, "1")).into())).await;
    outcome_of(&mut visit).await;
    let ask = |id, about| Said::Question(pb::Question { id, about: Some(about) });

    visit.say(ask(1, Asked::Ping(pb::Nothing {}))).await;
    let pong = visit.answer().await;
    let Some(Told::Pong(pong)) = pong.about else { panic!("{pong:?}") };
    assert!(pong.apps[0].running);

    visit.say(ask(2, Asked::Facts(pb::Nothing {}))).await;
    assert!(matches!(visit.answer().await, pb::Answer { id: 2, about: Some(Told::Facts(_)) }));

    let logs = |app: &str| pb::LogsQuestion { app: app.into(), lines: 2, follow: false };
    visit.say(ask(3, Asked::Logs(logs("shop")))).await;
    let answer = visit.answer().await;
    let Some(Told::Logs(lines)) = answer.about else { panic!("{answer:?}") };
    assert_eq!(lines.lines.len(), 2);

    visit.say(ask(4, Asked::Logs(logs("other")))).await;
    let Some(Told::Error(error)) = visit.answer().await.about else { panic!("an error") };
    assert!(error.contains("LS-N01") && error.contains("shop"), "{error}");
}

#[tokio::test]
async fn a_hold_is_told_at_once_and_in_the_next_hello() {
    let (mut fake, agent, mut visit) = connected().await;
    let hold = Hold { reason: "disk".into(), by: "ann".into(), since_ms: 5, kind: HoldKind::Admin };
    agent.crew.state().set_hold(Some(hold), "ann").await.unwrap();
    let told = visit.hear_the(|heard| if let Heard::Hold(hold) = heard { Some(hold) } else { None }).await;
    assert_eq!((told.held, told.by.as_str()), (true, "ann"));
    drop(visit);
    let (_visit, hello) = fake.session().await;
    assert!(hello.hold.unwrap().held);
}

/// Root breaks the glass without the agent's help; the controller need not wait for the next session to hear it.
#[tokio::test]
async fn glass_that_is_broken_is_told_in_the_session() {
    let (_fake, agent, mut visit) = connected().await;
    agent.crew.host().break_glass("pinned root set by ann");
    let told = visit.hear_the(|heard| if let Heard::Facts(facts) = heard { facts.trust } else { None }).await;
    assert_eq!(told.breaks, ["pinned root set by ann"]);
    agent.crew.host().break_glass("recovered by bob");
    // What has not changed is not said again, so this is the next of its kind.
    let told = visit.hear_the(|heard| if let Heard::Facts(facts) = heard { facts.trust } else { None }).await;
    assert_eq!(told.breaks, ["pinned root set by ann", "recovered by bob"]);
}

#[tokio::test]
async fn steps_and_lines_are_passed_on() {
    let (_fake, agent, mut visit) = connected().await;
    let hooks = [crate::plan::HookPoint::BeforeSwitch];
    agent.crew.host().release("1", SimHost::service(hooks), []);
    visit.say(Said::Assignment((&run(1, "1")).into())).await;
    let step =
        visit.hear_the(|heard| if let Heard::Progress(told) = heard { Some(told.step) } else { None }).await;
    assert_eq!(step, "check");
    let line = visit.hear_the(|heard| if let Heard::Log(line) = heard { Some(line) } else { None }).await;
    assert_eq!(
        (line.app.as_str(), line.source.as_str(), line.generation),
        (app().as_str(), "before_switch", 1)
    );
}

/// Scenario 59.
#[tokio::test]
async fn another_address_is_tried_at_once() {
    let mut fake = Fake::start().await;
    let agent = agent(&fake, vec!["127.0.0.1:1".into(), fake.main_address.clone()]).await;
    let (mut visit, _) = fake.session().await;
    let mut connection = agent.connection.clone();
    let up = tokio::time::timeout(PATIENCE, connection.wait_for(|now| now.connected)).await.unwrap();
    assert_eq!(up.unwrap().controller, fake.main_address);
    visit.say(Said::Assignment((&run(1, "1")).into())).await;
    assert_eq!(outcome_of(&mut visit).await.1, Outcome::Healthy, "and it deploys through that one");
}

/// Scenario 60: what is under way is finished with the new one.
#[tokio::test]
async fn a_certificate_is_renewed_in_time_with_another_key() {
    let mut fake = Fake::start().await;
    fake.issue_aged(Duration::from_secs(3 * 3600)); // three quarters of its life are over
    let agent = agent(&fake, vec![fake.main_address.clone()]).await;
    let before = std::fs::read(agent.dir.path().join("identity/cert.pem")).unwrap();
    let (mut visit, _) = fake.session().await;
    visit.say(Said::Assignment((&run(1, "1")).into())).await;
    let path = agent.dir.path().join("identity/cert.pem");
    let renewed = async {
        while std::fs::read(&path).unwrap() == before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, renewed).await.expect("renewed in time");
    assert_eq!(fake.renewals(), 1);
    assert_eq!(outcome_of(&mut visit).await.1, Outcome::Healthy);
    let pair = Folder::new(agent.dir.path().join("identity")).load().unwrap().unwrap();
    assert_eq!(pair.host, super::fake::host());
}

/// A certificate that has run out is no reason to enrol again.
#[tokio::test]
async fn an_expired_certificate_is_exchanged_for_another_without_an_operator() {
    let mut fake = Fake::start().await;
    fake.issue_expired();
    let agent = agent(&fake, vec![fake.main_address.clone()]).await;
    let (_visit, hello) = fake.session().await;
    assert_eq!((fake.recoveries(), hello.name.as_str()), (1, "web-1"));
    let pair = Folder::new(agent.dir.path().join("identity")).load().unwrap().unwrap();
    assert!(pair.validity.not_after_ms > agent.crew.state().now_ms());
    // The next time it tells the count that it was given.
    let again = recover(Folder::new(agent.dir.path().join("identity")), &pair, &fake.main_address).await;
    assert!(again.is_ok(), "{again:?}");
    assert_eq!(fake.recoveries(), 2);
}

/// What rotates the CA, and locks a copy of the disk out.
/// A clock that jumps over the end of a certificate: it is renewed at once, and where that is too late, the session makes
/// room for the way back, which needs a new connection.
#[tokio::test]
async fn a_session_whose_certificate_a_clock_jump_ends_comes_back_by_itself() {
    let mut fake = Fake::start().await;
    let clock = ManualClock::at(SystemClock.now_ms());
    let controllers = vec![fake.main_address.clone()];
    let _agent = agent_by(&fake, controllers, Arc::new(clock.clone())).await;
    let (mut visit, _) = fake.session().await;
    visit.hear_the(|heard| matches!(heard, Heard::Heartbeat(_)).then_some(())).await;
    assert_eq!((fake.renewals(), fake.recoveries()), (0, 0));
    fake.issue_expired();
    clock.advance(Duration::from_secs(2 * 3600));
    let (_visit, hello) = fake.session().await;
    assert_eq!(hello.name, "web-1");
    assert_eq!((fake.renewals(), fake.recoveries()), (1, 1));
}

#[tokio::test]
async fn asked_to_renew_it_does_so_at_once_and_comes_back_with_the_new_key() {
    let (mut fake, agent, visit) = connected().await;
    let before = agent.connection.borrow().fingerprint.clone();
    let welcome = pb::Welcome { heartbeat_ms: 100, renew_within_ms: 1, ..pb::Welcome::default() };
    visit.say(Said::Welcome(welcome)).await;
    let (_visit, _) = fake.session().await;
    assert_eq!(fake.renewals(), 1);
    let mut connection = agent.connection.clone();
    let back = connection.wait_for(|now| now.connected && now.fingerprint != before);
    tokio::time::timeout(PATIENCE, back).await.expect("back in time").unwrap();
}

/// A label that was changed in `agent.toml` after enrolment does not move the host; the admin is told what does.
#[tokio::test]
async fn a_label_that_does_not_count_is_told_until_it_does() {
    let (_fake, mut agent, visit) = connected().await;
    let told = |expected: &'static [&str]| move |now: &Connection| now.labels_out_of_force == expected;
    tokio::time::timeout(PATIENCE, agent.connection.wait_for(told(&["zone=eu"]))).await.unwrap().unwrap();
    let labels = [("zone".to_owned(), "eu".to_owned())].into();
    visit.say(Said::Welcome(pb::Welcome { labels, heartbeat_ms: 100, ..pb::Welcome::default() })).await;
    tokio::time::timeout(PATIENCE, agent.connection.wait_for(told(&[]))).await.unwrap().unwrap();
}

/// Not by the drain of the welcome, which it keeps to itself, nor by an acknowledgement or a look at what is trusted.
#[tokio::test]
async fn a_helper_that_hangs_does_not_make_the_host_silent() {
    let mut fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let pair = enrolled(&fake, dir.path()).await;
    let (shutdown, (sender, uplink)) = (CancellationToken::new(), Uplink::new());
    let remote = Remote::attach(&hang(dir.path()), dir.path(), uplink, shutdown.clone()).await.unwrap();
    let (link, _connection) =
        Link::new(parts(dir.path(), vec![fake.main_address.clone()], remote, pair, sender));
    tokio::spawn(link.run(shutdown.clone()));
    let _shutdown = shutdown.drop_guard();
    let (mut visit, _) = fake.session().await;
    visit.say(Said::Ack(pb::ReportAck { seq: 7 })).await;
    for _ in 0..20 {
        visit.hear_the(|heard| matches!(heard, Heard::Heartbeat(_)).then_some(())).await;
    }
}

/// No report tells of it: the third of them has ended before the slot of the first is removed.
#[tokio::test]
async fn what_was_removed_when_all_was_done_is_told_without_a_question() {
    let (_fake, _agent, mut visit) = connected().await;
    for (generation, version) in [(1, "1"), (2, "2"), (3, "3")] {
        visit.say(Said::Assignment((&run(generation, version)).into())).await;
        assert_eq!(outcome_of(&mut visit).await.1, Outcome::Healthy);
    }
    let answer = visit.answer().await;
    let (0, Some(Told::Pong(pong))) = (answer.id, answer.about) else { panic!("nobody asked anything") };
    let slots = &pong.apps[0].slots;
    assert!(slots.len() == 2 && slots.iter().all(|slot| !slot.starts_with("1-")), "{slots:?}");
}
