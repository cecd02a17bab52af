//! Hosts that were away, held or drained until a rollout was over, and are back.

use tokio::task::JoinHandle;

use super::{newcomers::until, turn::later, *};
use crate::{
    config::Environment,
    environments::passage::Arrival,
    fleet::{
        Drained, host,
        words::{HostHold, ToAgent},
    },
};

type Session = JoinHandle<Option<ToAgent>>;

/// A host that an admin holds. It is one more session of the same machine.
fn held(agent: &HandAgent) -> HandAgent {
    let hold = HostHold { reason: "disk swap".into(), by: "ann".into(), since_ms: 1 };
    HandAgent { hold: Some(hold), ..agent.clone() }
}

impl Controller {
    /// One that ends when it is told to.
    fn open(&self, agent: &HandAgent) -> Session {
        tokio::spawn(agent.clone().live_with(self.fleet.clone()))
    }

    fn is_here(&self, agent: &HandAgent) -> bool {
        self.fleet.presence().connected(&agent.host.id).is_some()
    }

    /// Ends the session and begins another.
    async fn comes_anew(&self, agent: &HandAgent, before: Session) -> Session {
        self.leaves(agent, before).await;
        let session = self.open(agent);
        until("it is here", async || self.is_here(agent)).await;
        session
    }

    async fn leaves(&self, agent: &HandAgent, session: Session) {
        session.abort();
        until("it is gone", async || !self.is_here(agent)).await;
    }

    async fn rolls(&self, version: &str) -> String {
        let id = self.engine.start(request(Some(version))).await.unwrap();
        assert_eq!(self.done(id).await, Outcome::Succeeded);
        let view = self.engine.view(&id).await.unwrap();
        let Phase::Done(over) = view.rollout.phase() else { panic!("it is done") };
        over.reason.clone()
    }

    /// What the engine would do by itself by now.
    async fn looks(&self, store: &SharedStore) -> usize {
        self.engine.look_for_newcomers().await.unwrap();
        records::list(store).await.unwrap().len()
    }
}

/// Two hosts on 1.0, of which the second was held while 1.1 was rolled out.
async fn one_missed_it(bad: &[&str]) -> (SharedStore, Controller, HandAgent, Session) {
    let agents = [HandAgent::new("web-000", &[]), HandAgent::new("web-001", bad)];
    let store: SharedStore = world(&agents).await;
    let controller = Controller::start(store.clone()).await;
    controller.connect(&agents[..1]);
    let [_, agent] = agents;
    let session = controller.open(&agent);
    controller.rolls("1.0").await;
    let session = controller.comes_anew(&held(&agent), session).await;
    let reason = controller.rolls("1.1").await;
    assert!(reason.ends_with("; will get it when held no longer: web-001"), "{reason}");
    assert_eq!((controller.looks(&store).await, agent.runs("shop").as_deref()), (2, Some("1.0")));
    (store, controller, agent, session)
}

/// It is brought what it missed, by a rollout that touches nobody else, and the last sentence had said so.
#[tokio::test]
async fn a_host_that_was_away_until_the_end_gets_it_when_it_is_back() {
    let agents = fleet_of(3, &[]);
    let store: SharedStore = world(&agents).await;
    let (file, by) = (format!("{FILE}unknown = \"skip\"\n"), "alice".parse().unwrap());
    environments::apply(&store, &testing::tell(), "production.toml", &file, &by, 1).await.unwrap();
    let beat = Heartbeat { missed: 10, ..PATIENT };
    let controller = Controller::start_with(store.clone(), Duration::ZERO, beat).await;
    controller.connect_again_and_again(&agents[..2]);
    let session = controller.open(&agents[2]);
    controller.rolls("1.0").await;
    controller.leaves(&agents[2], session).await;
    until("it is silent", async || controller.fleet.presence().is_silent(&agents[2].host.id)).await;
    let reason = controller.rolls("1.1").await;
    assert_eq!(reason, "2 of 3 hosts run 1.1; 1 unknown: web-002; will get it on return: web-002");
    let left = controller.engine.lacking_on(&agents[2].host).await.unwrap();
    assert_eq!(left[0].why, "it comes by itself when the host is back");
    let production = Environment::parse("production.toml", FILE).unwrap();
    let arrivals = async || {
        let mut arrivals = vec![];
        for agent in &agents[1..] {
            arrivals.push(controller.engine.arrival(&agent.host, &production).await.unwrap());
        }
        arrivals
    };
    assert_eq!(arrivals().await, [Arrival::Runs, Arrival::Unclear]);

    controller.connect_again_and_again(&agents[2..]);
    until("web-002 runs 1.1", async || agents[2].runs("shop").as_deref() == Some("1.1")).await;
    let brought = records::list(&store).await.unwrap().pop().unwrap();
    assert_eq!(controller.done(brought.header.id).await, Outcome::Succeeded);
    assert!(brought.newcomers && brought.started_by == "longshore", "{brought:?}");
    assert_eq!(brought.reason, "away, held or drained when production got 1.1: web-002");
    everywhere(&agents, "1.1");
    assert_eq!(controller.looks(&store).await, 3, "there is nothing left to bring");
    assert!(controller.engine.lacking_on(&agents[2].host).await.unwrap().is_empty());
    assert_eq!(arrivals().await, [Arrival::Runs, Arrival::Runs]);
    controller.stop.cancel();
}

/// One that was drained before it began is brought it when that is over: not before, and by nobody's command.
#[tokio::test]
async fn a_host_that_was_drained_gets_it_when_it_takes_work_again() {
    let agents = fleet_of(2, &[]);
    let store: SharedStore = world(&agents).await;
    let controller = Controller::start(store.clone()).await;
    controller.connect(&agents);
    controller.rolls("1.0").await;
    let id = agents[1].host.id;
    let drained =
        Drained { by: "alice".into(), reason: "disk".into(), since_ms: 7, stop_ms: None, waits: false };
    controller.engine.drain(id, drained).await.unwrap();
    let reason = controller.rolls("1.1").await;
    let last = "1 host runs 1.1; will get it when drained no longer: web-001; 1 excluded: web-001";
    assert_eq!(reason, last);
    assert_eq!((controller.looks(&store).await, agents[1].runs("shop").as_deref()), (2, Some("1.0")));
    let (host, _) = host::get(&store, &id).await.unwrap().unwrap();
    let left = controller.engine.lacking_on(&host).await.unwrap();
    assert_eq!(left[0].why, "it comes by itself when the host takes work again");

    controller.engine.undrain(id, "alice").await.unwrap();
    until("web-001 runs 1.1", async || agents[1].runs("shop").as_deref() == Some("1.1")).await;
    let brought = records::list(&store).await.unwrap().pop().unwrap();
    assert_eq!(controller.done(brought.header.id).await, Outcome::Succeeded);
    assert_eq!(brought.reason, "away, held or drained when production got 1.1: web-001");
    everywhere(&agents, "1.1");
    controller.stop.cancel();
}

/// What does not work there is not tried again by itself, and whoever looks at the host is told the command.
#[tokio::test]
async fn a_host_that_missed_it_is_tried_once() {
    let (store, controller, agent, session) = one_missed_it(&["1.1"]).await;
    let session = controller.comes_anew(&agent, session).await;
    until("it is tried", async || records::list(&store).await.unwrap().len() == 3).await;
    let tried = records::list(&store).await.unwrap().pop().unwrap();
    assert_eq!(controller.done(tried.header.id).await, Outcome::RolledBack);
    assert_eq!(controller.looks(&store).await, 3);
    let _session = controller.comes_anew(&agent, session).await;
    assert_eq!((controller.looks(&store).await, agent.runs("shop").as_deref()), (3, Some("1.0")));
    assert_eq!(live(&store).await.as_deref(), Some("1.1"));
    let left = controller.engine.lacking_on(&agent.host).await.unwrap();
    let why = "it does not come by itself; next: longshore rollout start shop@1.1 --to production";
    assert_eq!(left[0].why, why);
    controller.stop.cancel();
}

/// In a frozen fleet a host declines what it missed: it is not asked again and again.
#[tokio::test]
async fn a_host_that_declines_what_it_missed_is_asked_once() {
    let (store, controller, agent, session) = one_missed_it(&[]).await;
    let file = format!("{FILE}held = \"skip\"\n");
    let by = "alice".parse().unwrap();
    environments::apply(&store, &testing::tell(), "production.toml", &file, &by, 1).await.unwrap();
    let frozen = HandAgent { declines: Some("the fleet is frozen".to_owned()), ..agent.clone() };
    let _session = controller.comes_anew(&frozen, session).await;
    until("it is asked", async || records::list(&store).await.unwrap().len() == 3).await;
    let asked = records::list(&store).await.unwrap().pop().unwrap();
    assert_eq!(controller.done(asked.header.id).await, Outcome::Failed);
    assert_eq!((controller.looks(&store).await, controller.looks(&store).await), (3, 3));
    let left = controller.engine.lacking_on(&agent.host).await.unwrap();
    let why = "it does not come by itself; next: longshore rollout start shop@1.1 --to production";
    assert_eq!(left[0].why, why);
    controller.stop.cancel();
}

/// One that has heard of it is not even asked, and whoever looks at the host is told who lifts it, and how.
#[tokio::test]
async fn a_host_that_is_kept_from_what_it_missed_by_a_freeze_says_so() {
    let (store, controller, agent, session) = one_missed_it(&[]).await;
    let frozen = HandAgent { frozen: Some("release key stolen".to_owned()), ..agent.clone() };
    let session = controller.comes_anew(&frozen, session).await;
    assert_eq!((controller.looks(&store).await, agent.runs("shop").as_deref()), (2, Some("1.0")));
    let left = controller.engine.lacking_on(&agent.host).await.unwrap();
    let why = "it comes by itself when that is over: the fleet is frozen by the organisation's key (release key \
               stolen); to lift it: longshore fleet unfreeze";
    assert_eq!(left[0].why, why);
    let _session = controller.comes_anew(&agent, session).await;
    until("web-001 runs 1.1", async || agent.runs("shop").as_deref() == Some("1.1")).await;
    controller.stop.cancel();
}

/// Somebody took it elsewhere by hand while it was held: that stands.
#[tokio::test]
async fn a_host_that_was_changed_by_hand_stays_as_it_is() {
    let (store, controller, agent, session) = one_missed_it(&[]).await;
    controller.leaves(&agent, session).await;
    agent.disk.lock().unwrap().live.clear();
    let _session = controller.open(&agent);
    until("it is here", async || controller.is_here(&agent)).await;
    assert_eq!((controller.looks(&store).await, agent.runs("shop")), (2, None));
    controller.stop.cancel();
}

/// Nothing of this where the environment says to wait.
#[tokio::test]
async fn a_host_that_missed_it_waits_where_the_environment_does() {
    let (store, controller, agent, session) = one_missed_it(&[]).await;
    let file = FILE.replacen("[rollout]", "newcomers = \"wait\"\n[rollout]", 1);
    let by = "alice".parse().unwrap();
    environments::apply(&store, &testing::tell(), "production.toml", &file, &by, 2).await.unwrap();
    let _session = controller.comes_anew(&agent, session).await;
    assert_eq!((controller.looks(&store).await, agent.runs("shop").as_deref()), (2, Some("1.0")));
    controller.stop.cancel();
}

/// A rollout that begins later was planned from what the host runs: it moves it.
#[tokio::test]
async fn a_host_that_missed_it_waits_for_the_rollout_that_moves_it_later() {
    let (store, controller, agent, session) = one_missed_it(&[]).await;
    let planned = controller.engine.start(later("1.2", "+2h")).await.unwrap();
    let _session = controller.comes_anew(&agent, session).await;
    assert_eq!((controller.looks(&store).await, agent.runs("shop").as_deref()), (3, Some("1.0")));
    let left = controller.engine.unbrought().await.unwrap().pop().unwrap();
    assert!(left.why.starts_with(&format!("rollout {} of shop@1.2", planned.short())), "{}", left.why);
    controller.engine.steer(planned, Event::Abort { by: "alice".into() }).await.unwrap();
    until("web-001 runs 1.1", async || agent.runs("shop").as_deref() == Some("1.1")).await;
    controller.stop.cancel();
}

/// An operator who ends the rollout that brings it before it has begun there has said no.
#[tokio::test]
async fn a_host_that_missed_it_is_left_alone_after_an_abort() {
    let (store, controller, agent, session) = one_missed_it(&[]).await;
    controller.leaves(&agent, session).await;
    let host = [agent.host.id].into_iter().collect();
    let request = StartRequest { newcomers: host, ..request(Some("1.1")) };
    let id = controller.engine.start(request).await.unwrap();
    controller.engine.steer(id, Event::Abort { by: "alice".into() }).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::Aborted);
    let _session = controller.open(&agent);
    until("it is here", async || controller.is_here(&agent)).await;
    assert_eq!((controller.looks(&store).await, agent.runs("shop").as_deref()), (3, Some("1.0")));
    controller.stop.cancel();
}
