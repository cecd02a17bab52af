//! The workers, with the real state and the host's twin.

use std::{sync::Arc, time::Duration};

use longshore_common::{
    assignment::{Assignment, Intent},
    code::Code,
    ids::{AppName, HostId},
    report::{Outcome, StepName},
    time::SystemClock,
};
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::{
    host::sim::{Flaw, SimHost},
    plan::{
        Hold, HoldKind, HookPoint, Stale,
        tests::{
            balance::direct,
            bench::{app, assignment, brief, run},
        },
    },
};

/// A test that waits longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(120);

struct Agent {
    crew: Crew<SimHost>,
    told: broadcast::Receiver<Told>,
    dir: TempDir,
}

fn limits() -> Limits {
    Limits { fetch_backoff: Duration::from_millis(1), ..Limits::default() }
}

impl Agent {
    async fn new() -> Self {
        Self::over(Arc::new(SimHost::new()), tempfile::tempdir().unwrap(), limits()).await
    }

    async fn over(host: Arc<SimHost>, dir: TempDir, limits: Limits) -> Self {
        let state = State::open(dir.path(), Arc::new(SystemClock)).await.unwrap();
        let crew = Crew::new(host, state, HostId(Uuid::from_u128(7)), limits);
        let told = crew.watch();
        Self { crew, told, dir }
    }

    /// The agent dies and comes back; the machine ran on.
    async fn restart(self) -> Self {
        let Agent { crew, told, dir } = self;
        let (host, state) = (Arc::clone(crew.host()), Arc::clone(crew.state()));
        drop((crew, told));
        state.close().await;
        Self::over(host, dir, limits()).await
    }

    fn host(&self) -> &SimHost {
        self.crew.host()
    }

    /// The next conclusion, and the reports that lie in the outbox then.
    async fn concluded(&mut self) -> String {
        loop {
            if let Told::Concluded { outcome, .. } = self.hear().await {
                return brief(&outcome);
            }
        }
    }

    async fn hear(&mut self) -> Told {
        tokio::time::timeout(PATIENCE, self.told.recv()).await.expect("something is told in time").unwrap()
    }

    async fn begins(&mut self, step: StepName) {
        loop {
            if matches!(self.hear().await, Told::Progress { step: begun, .. } if begun == step) {
                return;
            }
        }
    }

    async fn reported(&self, reports: usize) -> Vec<(u64, String)> {
        let mut outbox = self.crew.state().watch_outbox();
        let enough = outbox.wait_for(|_| self.crew.state().outbox_len() >= reports);
        drop(tokio::time::timeout(PATIENCE, enough).await.expect("reported in time").unwrap());
        let reports = self.crew.state().outbox_after(0);
        reports.into_iter().map(|(_, report)| (report.generation.0, brief(&report.outcome))).collect()
    }
}

#[tokio::test]
async fn an_assignment_becomes_a_report() {
    let mut agent = Agent::new().await;
    agent.crew.assign(run(1, "1"));
    assert_eq!(agent.concluded().await, "healthy");
    assert_eq!(agent.reported(1).await, [(1, "healthy".into())]);
    let report = &agent.crew.state().outbox_after(0)[0].1;
    assert_eq!(report.live, Some(run(1, "1").slot()));
    let rows = agent.crew.state().history(Some(&app()), 9).await.unwrap();
    assert_eq!((rows.len(), rows[0].by.as_str()), (1, "controller"));
}

#[tokio::test]
async fn a_newer_generation_interrupts_a_fetch() {
    let mut agent = Agent::new().await;
    let gate = agent.host().gate(StepName::Fetch);
    agent.crew.assign(run(1, "1"));
    agent.begins(StepName::Fetch).await;
    let standing = agent.crew.standing(&app()).await;
    assert_eq!(standing.activity.step, Some(StepName::Fetch));
    agent.crew.assign(run(2, "2"));
    agent.begins(StepName::Fetch).await;
    gate.add_permits(1);
    assert_eq!(agent.concluded().await, "healthy");
    assert_eq!(agent.reported(1).await, [(2, "healthy".into())]);
}

#[tokio::test]
async fn the_same_generation_again_does_not_interrupt() {
    let mut agent = Agent::new().await;
    let gate = agent.host().gate(StepName::Fetch);
    agent.crew.assign(run(2, "1"));
    agent.begins(StepName::Fetch).await;
    agent.crew.assign(run(2, "1"));
    agent.crew.assign(run(1, "2"));
    assert_eq!(agent.reported(1).await, [(1, "refused LS-O03".into())]);
    gate.add_permits(1);
    assert_eq!(agent.concluded().await, "healthy");
    assert_eq!(agent.host().take_performed().iter().filter(|step| step.starts_with("fetch")).count(), 1);
}

/// Scenario 95: the same release again leaves the running action alone.
#[tokio::test]
async fn a_newer_generation_of_the_same_slot_goes_on_with_the_fetch() {
    let mut agent = Agent::new().await;
    let gate = agent.host().gate(StepName::Fetch);
    agent.crew.assign(assignment(1, "1", &[], Intent::Stage));
    agent.begins(StepName::Fetch).await;
    agent.crew.assign(run(2, "1"));
    gate.add_permits(1);
    assert_eq!(agent.concluded().await, "healthy");
    assert_eq!(agent.reported(1).await, [(2, "healthy".into())]);
    assert_eq!(agent.host().take_performed().iter().filter(|step| step.starts_with("fetch")).count(), 1);
}

#[tokio::test]
async fn the_way_back_is_finished_before_anything_new() {
    let mut agent = Agent::new().await;
    agent.crew.assign(run(1, "1"));
    agent.concluded().await;
    agent.host().release("2", SimHost::service([]), [Flaw::Start]);
    let gate = agent.host().gate(StepName::Probe);
    agent.crew.assign(run(2, "2"));
    agent.begins(StepName::Probe).await; // of release 1, on the way back
    agent.crew.assign(run(3, "3"));
    agent.crew.assign(run(2, "2"));
    gate.add_permits(2);
    assert_eq!(agent.concluded().await, "reverted to 1: LS-U01 at start");
    assert_eq!(agent.concluded().await, "healthy");
    let reports: Vec<u64> = agent.reported(3).await.iter().map(|(generation, _)| *generation).collect();
    assert_eq!(reports, [1, 2, 3]);
}

/// Scenario 79: an agent that dies in the midst of a step finds it and goes on.
#[tokio::test]
async fn work_goes_on_after_a_restart() {
    let mut agent = Agent::new().await;
    agent.host().gate(StepName::Start);
    agent.crew.assign(run(1, "1"));
    agent.begins(StepName::Start).await;
    let mut agent = agent.restart().await;
    agent.host().gate(StepName::Remove); // the one before is gone
    agent.crew.resume();
    assert_eq!(agent.concluded().await, "healthy");
}

/// Scenario 57: beyond the attempts it fails, after exactly as many as were configured, and what ran runs on.
#[tokio::test]
async fn the_network_gets_several_attempts_and_a_full_disk_one() {
    let fetches =
        |agent: &Agent| agent.host().take_performed().iter().filter(|s| s.starts_with("fetch")).count();
    let mut agent = Agent::new().await;
    agent.host().release("1", SimHost::service([]), [Flaw::Network]);
    agent.host().release("2", SimHost::service([]), [Flaw::Fetch]);
    agent.crew.assign(run(1, "1"));
    assert_eq!(agent.concluded().await, "failed LS-C01 at fetch");
    assert_eq!(fetches(&agent), 5);
    agent.crew.assign(run(2, "2"));
    assert_eq!(agent.concluded().await, "failed LS-D01 at fetch");
    assert_eq!(fetches(&agent), 1);
}

#[tokio::test]
async fn apps_wait_for_each_other_when_there_are_too_many() {
    let dir = tempfile::tempdir().unwrap();
    let mut agent = Agent::over(Arc::new(SimHost::new()), dir, Limits { parallel: 1, ..limits() }).await;
    let gate = agent.host().gate(StepName::Fetch);
    let other = |generation| Assignment { app: "blog".parse().unwrap(), ..run(generation, "1") };
    agent.crew.assign(run(1, "1"));
    agent.begins(StepName::Fetch).await;
    agent.crew.assign(other(1));
    gate.add_permits(1);
    assert_eq!(agent.concluded().await, "healthy");
    agent.begins(StepName::Fetch).await;
    gate.add_permits(1);
    assert_eq!(agent.concluded().await, "healthy");
    let steps = agent.host().take_performed();
    let second_check = steps.iter().rposition(|step| step.starts_with("check")).unwrap();
    let first_probe = steps.iter().position(|step| step.starts_with("probe")).unwrap();
    assert!(second_check > first_probe, "{steps:?}");
}

/// A drain may take an hour, and asks nothing of this host.
#[tokio::test]
async fn apps_do_not_wait_for_connections_of_another_to_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut agent = Agent::over(Arc::new(SimHost::new()), dir, Limits { parallel: 1, ..limits() }).await;
    let gate = agent.host().gate(StepName::Traffic);
    agent.crew.assign(direct(1, "a=100 b=0"));
    agent.begins(StepName::Traffic).await;
    let other: AppName = "blog".parse().unwrap();
    agent.crew.assign(Assignment { app: other.clone(), ..run(1, "1") });
    assert_eq!(agent.concluded().await, "healthy");
    assert!(agent.crew.state().record(&other).concluded.is_some(), "blog does not wait");
    assert!(agent.crew.state().record(&app()).concluded.is_none(), "shop does");
    gate.add_permits(1);
    assert_eq!(agent.concluded().await, "healthy");
}

/// Whoever fetches may be waiting for a controller that is away, and that is when people go back by hand.
#[tokio::test]
async fn a_way_back_by_hand_waits_for_no_other_app() {
    let dir = tempfile::tempdir().unwrap();
    let mut agent = Agent::over(Arc::new(SimHost::new()), dir, Limits { parallel: 1, ..limits() }).await;
    for (generation, version) in [(1, "1"), (2, "2")] {
        agent.crew.assign(run(generation, version));
        agent.concluded().await;
    }
    agent.host().gate(StepName::Fetch);
    agent.crew.assign(Assignment { app: "blog".parse().unwrap(), ..run(1, "1") });
    agent.begins(StepName::Fetch).await;
    agent.crew.revert(&app(), None, "ann".into()).await.unwrap();
    assert_eq!(agent.concluded().await, "reverted to 1: LS-P01 at revert");
}

#[tokio::test]
async fn a_held_host_refuses_and_still_reverts_by_hand() {
    let mut agent = Agent::new().await;
    for (generation, version) in [(1, "1"), (2, "2")] {
        agent.crew.assign(run(generation, version));
        agent.concluded().await;
    }
    let hold = Hold { reason: "disk swap".into(), by: "ann".into(), since_ms: 1, kind: HoldKind::Admin };
    agent.crew.state().set_hold(Some(hold), "ann").await.unwrap();
    agent.crew.assign(run(3, "3"));
    assert_eq!(agent.reported(3).await[2], (3, "refused LS-P01".into()));
    let rows = agent.crew.state().history(Some(&app()), 9).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.code.as_str()).collect::<Vec<_>>(), ["LS-P01", "", ""]);
    agent.crew.revert(&app(), None, "ann".into()).await.unwrap();
    assert_eq!(agent.concluded().await, "reverted to 1: LS-P01 at revert");
    let rows = agent.crew.state().history(Some(&app()), 1).await.unwrap();
    assert_eq!(rows[0].by, "ann");

    let agent = agent.restart().await;
    agent.host().take_performed();
    agent.crew.resume();
    agent.crew.assign(run(2, "2"));
    let told = agent.reported(5).await;
    assert_eq!(told[4], (2, "refused LS-O03".into()), "3 was refused, so 2 is old");
    assert_eq!(agent.host().take_performed(), Vec::<String>::new());
    assert_eq!(agent.host().look(&app()).current, Some(run(1, "1").slot()));
}

/// `--despite-hold` is for the host's own admins; what an operator drained stays drained, an app that was never there
/// included.
#[tokio::test]
async fn despite_a_hold_is_not_despite_a_drain() {
    let mut agent = Agent::new().await;
    agent.crew.assign(run(1, "1"));
    agent.concluded().await;
    let hold = Hold { reason: "disk swap".into(), by: "ann".into(), since_ms: 1, kind: HoldKind::Admin };
    agent.crew.state().set_hold(Some(hold), "ann").await.unwrap();
    let order = |despite_hold| LocalOrder {
        assignment: run(0, "2"),
        by: "ann".into(),
        despite_hold,
        stale: Stale::Allowed,
    };
    let refused = agent.crew.may_deploy(&order(false)).unwrap_err();
    assert!(refused.code == Code::P01 && refused.message.contains("--despite-hold"), "{refused}");
    agent.crew.deploy(order(true)).await.unwrap();
    assert_eq!(agent.concluded().await, "healthy");
    let row = agent.crew.state().history(Some(&app()), 1).await.unwrap().remove(0);
    assert_eq!((row.by.as_str(), row.detail.as_str()), ("ann", "with --stale"));

    let (by, reason) = ("olga".to_owned(), "rack 7".to_owned());
    agent.crew.drain(Some(Drain { by, reason, since_ms: 1, stop_ms: 1, here_ms: 1 })).await.unwrap();
    let other = Assignment { app: "other".parse().unwrap(), ..run(0, "3") };
    let new = LocalOrder { assignment: other, ..order(true) };
    for order in [order(true), new] {
        let refused = agent.crew.may_deploy(&order).unwrap_err();
        assert!(refused.code == Code::P01 && refused.message.contains("host undrain"), "{refused}");
        assert_eq!(agent.crew.deploy(order).await.unwrap_err(), refused);
    }
    agent.crew.drain(None).await.unwrap();
    assert_eq!(
        agent.crew.may_deploy(&order(false)).unwrap_err().code,
        Code::P01,
        "ann's hold is still there"
    );
    agent.crew.may_deploy(&order(true)).unwrap();
}

/// Apps that had not heard of it yet when the agent ended hear it when it is back, and do not stay stopped for good.
#[tokio::test]
async fn a_drain_that_was_lifted_as_the_agent_ended_is_lifted_all_the_same() {
    let mut agent = Agent::new().await;
    agent.crew.assign(run(1, "1"));
    agent.concluded().await;
    let (by, reason) = ("olga".to_owned(), "rack 7".to_owned());
    agent.crew.drain(Some(Drain { by, reason, since_ms: 1, stop_ms: 1, here_ms: 1 })).await.unwrap();
    let stops = async {
        while agent.host().look(&app()).running.is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, stops).await.expect("it stops");
    agent.crew.state().set_drain(None).await.unwrap();
    let mut agent = agent.restart().await;
    assert_eq!(agent.crew.state().record(&app()).halt, Some(Halt::Now));
    agent.crew.resume();
    agent.begins(StepName::Start).await;
}

#[tokio::test]
async fn orders_that_make_no_sense_are_refused() {
    let mut agent = Agent::new().await;
    let nowhere: AppName = "nowhere".parse().unwrap();
    assert_eq!(agent.crew.revert(&nowhere, None, "ann".into()).await.unwrap_err().code, Code::N01);
    agent.crew.assign(run(1, "1"));
    agent.concluded().await;
    assert_eq!(agent.crew.revert(&app(), None, "ann".into()).await.unwrap_err().code, Code::R01);
    let gone = run(1, "9").slot();
    assert_eq!(agent.crew.revert(&app(), Some(gone), "ann".into()).await.unwrap_err().code, Code::N01);
}

#[tokio::test]
async fn a_host_that_cannot_be_looked_at_is_a_failure() {
    let mut agent = Agent::new().await;
    agent.host().crash_after(0);
    agent.crew.assign(assignment(1, "1", &[], Intent::Run));
    assert_eq!(agent.concluded().await, "failed LS-X01 at check");
}

#[tokio::test]
async fn hooks_are_heard() {
    let mut agent = Agent::new().await;
    agent.host().release("1", SimHost::service(HookPoint::ALL), []);
    agent.crew.assign(run(1, "1"));
    let line = loop {
        if let Told::Line(line) = agent.hear().await {
            break line;
        }
    };
    assert_eq!((line.source.as_str(), line.generation.0), ("before_switch", 1));
    assert!(line.line.starts_with("hello from 1-"));
    assert!(matches!(agent.concluded().await.as_str(), "healthy"));
    assert!(matches!(agent.crew.state().record(&app()).concluded.unwrap().outcome, Outcome::Healthy));
}
