//! One app on a host in memory, with the loop that `run` has, reduced to what the core is about.

use longshore_common::{
    assignment::{Assignment, Intent},
    digest::ReleaseDigest,
    ids::{AppName, Generation, HostId, RolloutId},
    report::{Failure, Outcome},
    settings::Settings,
    slot::Slot,
};
use uuid::Uuid;

use crate::{
    host::sim::{Flaw, SimHost},
    plan::{
        Acceptance, Attempt, Hold, HookPoint, Next, Record, Seen, accept, accept_order, after, conclude, next,
    },
};

/// Steps one generation takes at most; more is a loop.
const STEPS_MAX: usize = 40;

pub struct Bench {
    pub host: SimHost,
    pub record: Record,
    /// Reports as the outbox would hold them: written in one transaction with the record.
    pub reports: Vec<(u64, Outcome)>,
    pub hold: Option<Hold>,
}

#[derive(Debug)]
pub struct Crashed;

pub fn app() -> AppName {
    "shop".parse().unwrap()
}

pub fn assignment(generation: u64, version: &str, values: &[(&str, &str)], intent: Intent) -> Assignment {
    Assignment {
        host: HostId(Uuid::from_u128(7)),
        app: app(),
        env: "production".parse().unwrap(),
        rollout: RolloutId(Uuid::from_u128(generation.into())), // each is another's, unless a test says otherwise
        generation: Generation(generation),
        version: version.parse().unwrap(),
        release: ReleaseDigest::of(version.as_bytes()),
        settings: Settings {
            values: values.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..Settings::default()
        },
        intent,
        keep_slots: 2,
        traffic: None,
        directions: None,
        unwell: None,
    }
}

pub fn run(generation: u64, version: &str) -> Assignment {
    assignment(generation, version, &[], Intent::Run)
}

impl Bench {
    pub fn new() -> Self {
        Self { host: SimHost::new(), record: Record::default(), reports: vec![], hold: None }
    }

    /// Versions 1, 2, 3 with every hook; `flaws` by version.
    pub fn with_flaws(flaws: &[(&str, Flaw)]) -> Self {
        let bench = Self::new();
        for version in ["1", "2", "3"] {
            let own = flaws.iter().filter(|(v, _)| *v == version).map(|(_, flaw)| *flaw);
            bench.host.release(version, SimHost::service(HookPoint::ALL), own);
        }
        bench
    }

    pub fn seen(&self) -> Seen {
        self.host.look(&app())
    }

    /// The controller says this, once; then everything is done that follows from it.
    pub fn give(&mut self, assignment: &Assignment) -> Result<(), Crashed> {
        match accept(&self.record, assignment, HostId(Uuid::from_u128(7)), self.hold.as_ref()) {
            Acceptance::Begin(record) => self.keep(*record, None)?,
            Acceptance::Continue => {}
            Acceptance::Repeat(outcome) => self.reports.push((assignment.generation.0, outcome)),
            Acceptance::Refuse(failure, record) => {
                let outcome = Outcome::Refused { failure };
                self.keep(
                    record.map_or_else(|| self.record.clone(), |r| *r),
                    Some((assignment.generation.0, outcome)),
                )?;
            }
        }
        self.converge()
    }

    pub fn order(&mut self, to: Option<Slot>) -> Result<(), Crashed> {
        if let Ok(record) = accept_order(&self.record, &self.seen(), to, "root") {
            self.keep(record, None)?;
        }
        self.converge()
    }

    pub fn converge(&mut self) -> Result<(), Crashed> {
        let mut attempt = Attempt::default();
        for _ in 0..STEPS_MAX {
            self.check_invariants();
            match next(&self.record, &attempt, &self.seen()) {
                Next::Idle => return Ok(()),
                Next::Keep(record) => {
                    self.keep(*record, None)?;
                    attempt = Attempt::default();
                }
                Next::Conclude(outcome) => {
                    let generation = self.record.accepted.as_ref().unwrap().generation.0;
                    let concluded = conclude(&self.record, &outcome);
                    self.keep(concluded, Some((generation, outcome)))?;
                    attempt = Attempt::default();
                }
                Next::Do(step) => {
                    let left = step.leaves(&self.seen());
                    let result: Result<(), Failure> = self.host.step(&app(), &step);
                    if let (Ok(()), Some(left)) = (&result, left) {
                        assert_eq!(left, self.seen(), "{step} was to leave what a look shows");
                    }
                    if self.host.is_crashed() {
                        return Err(Crashed);
                    }
                    let mut record = self.record.clone();
                    if after(&mut record, &mut attempt, &step, result) {
                        self.keep(record, None)?;
                    }
                }
            }
        }
        panic!("no end after {STEPS_MAX} steps: {:#?}", self.record);
    }

    fn keep(&mut self, record: Record, report: Option<(u64, Outcome)>) -> Result<(), Crashed> {
        self.host.effect().map_err(|_| Crashed)?;
        self.record = record;
        self.reports.extend(report);
        Ok(())
    }

    pub fn check_invariants(&self) {
        let seen = self.seen();
        match &seen.current {
            Some(current) => {
                assert!(seen.is_sealed(current), "`current` names {current}, which is not sealed")
            }
            None => {
                let removing = self.record.accepted.as_ref().is_some_and(|a| a.intent == Intent::Remove);
                let nothing_good = !self.record.good.iter().any(|slot| seen.is_sealed(slot));
                assert!(
                    nothing_good || removing || self.record.disturbed,
                    "`current` is gone though something was good"
                );
            }
        }
        if let Some(running) = &seen.running {
            assert!(seen.is_sealed(&running.slot), "{} runs and is not sealed", running.slot);
        }
    }

    /// What is performed while `act` runs, a line each, and the report at the end.
    pub fn transcript(&mut self, act: impl FnOnce(&mut Self) -> Result<(), Crashed>) -> String {
        self.host.take_performed();
        let known = self.reports.len();
        act(self).expect("nothing crashes here");
        let mut lines = self.host.take_performed();
        lines.extend(self.reports[known..].iter().map(|(_, outcome)| format!("=> {}", brief(outcome))));
        lines.join("\n")
    }
}

pub fn brief(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Staged => "staged".into(),
        Outcome::Healthy => "healthy".into(),
        Outcome::Unchanged => "unchanged".into(),
        Outcome::Removed => "removed".into(),
        Outcome::Failed { failure } => format!("failed {} at {}", failure.code, failure.step),
        Outcome::Reverted { failure, to_version, .. } => {
            format!("reverted to {to_version}: {} at {}", failure.code, failure.step)
        }
        Outcome::Inconsistent { failure } => format!("inconsistent {} at {}", failure.code, failure.step),
        Outcome::Refused { failure } => format!("refused {}", failure.code),
    }
}
