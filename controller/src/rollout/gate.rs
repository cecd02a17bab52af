//! Gates: what must hold before, between and after waves. Here is only what a verdict leads to; how one is reached is
//! the engine's matter (`crate::gate`), which asks for [`Rollout::due_gates`] and answers with `Event::Gate`.
//!
//! A *round* is the gates of one place: before the first wave, after a wave, or in the watch time. Each of its *runs*
//! has a number that only rises in a rollout, so that a late verdict is never taken for that of a later run.

use std::fmt;

use longshore_common::{
    ids::HostName,
    time::{Millis, Span},
};
use serde::{Deserialize, Serialize};

use super::{model::Rollout, phase::Phase};

/// Gates that one environment may declare: they lie in the rollout's header.
pub const GATES_MAX: usize = 16;
/// How long a test waits for a runner that another rollout has: as long as its own deadline, and no less than an hour, so that
/// several of the usual length may come before it.
const RUNNER_WAIT_MIN: Span = Span::secs(3600);
/// Bytes of what a gate says about its verdict.
pub const NOTE_BYTES: usize = 300;

/// What a check came to. Neither "I do not know" is a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Pass,
    /// There was too little to go by, or it contradicts itself.
    Inconclusive,
    /// Nothing answered, or nothing was there to be measured.
    NoData,
    Fail,
}

/// What is said of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GateWord {
    /// What it came to, in one sentence.
    Verdict { verdict: Verdict, note: String },
    /// The host that is to run it is at a test of another rollout.
    Waits,
    /// That host is free, and runs it from now on.
    Begins,
}

/// What a verdict leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    Continue,
    Pause,
    Rollback,
}

/// When a gate has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum After {
    /// Before the first wave: nothing has been touched.
    Before,
    /// After the first wave, where there is a canary.
    Canary,
    EveryWave,
    LastWave,
}

/// What looks. The details are not the core's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateKind {
    /// Who may reach what.
    Probe,
    /// A test of the release, run on a host.
    Test,
    /// Prometheus.
    Metrics,
    /// The app, as the agents see it.
    App,
    Approval,
    /// Somebody else's system is told, and says.
    Webhook,
    /// Somebody else's address is asked until it says yes.
    Http,
}

/// A gate as the core knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateSpec {
    /// Unlike every other of the rollout.
    pub name: String,
    pub kind: GateKind,
    pub after: After,
    /// Longest time without a verdict.
    pub deadline: Span,
    #[serde(default = "rollback")]
    pub on_fail: Then,
    #[serde(default = "pause")]
    pub on_inconclusive: Then,
    #[serde(default = "pause")]
    pub on_no_data: Then,
    /// It begins with the bake and not after it.
    #[serde(default)]
    pub beside_bake: bool,
    /// It is asked again and again in the watch time after the last wave.
    #[serde(default)]
    pub in_watch: bool,
    /// `rollout promote` may go past it.
    #[serde(default)]
    pub promotable: bool,
    /// Of a test: the host on which it runs, one after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<HostName>,
}

fn rollback() -> Then {
    Then::Rollback
}

fn pause() -> Then {
    Then::Pause
}

/// Where the gates of a round stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "stage")]
pub enum Stage {
    Before,
    After { wave: u32 },
    Watch,
}

/// The gates that were begun where the rollout is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    pub stage: Stage,
    pub runs: Vec<Run>,
}

/// One gate being looked at, or having been.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub gate: String,
    /// Of the whole rollout; only rises.
    pub number: u32,
    pub since: Millis,
    /// It has a verdict by then; one that waits for its runner has begun by then.
    pub deadline: Millis,
    /// For its runner, which a test of another rollout has: it has not begun.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits: bool,
    pub state: RunState,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum RunState {
    Pending,
    Concluded {
        verdict: Verdict,
        /// One sentence.
        note: String,
        at: Millis,
        then: Then,
    },
    /// An operator went past it.
    PassedOver {
        by: String,
        reason: String,
        at: Millis,
    },
}

/// A run that came to its end, where it stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    pub stage: Stage,
    pub run: Run,
}

/// A gate that keeps a rollout from going on, or turned it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateStop {
    pub gate: String,
    pub verdict: Verdict,
    pub note: String,
}

impl Verdict {
    pub const ALL: [Verdict; 4] = [Verdict::Pass, Verdict::Inconclusive, Verdict::NoData, Verdict::Fail];

    /// The stable name: `GateRow.verdict` in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Inconclusive => "inconclusive",
            Verdict::NoData => "no-data",
            Verdict::Fail => "fail",
        }
    }
}

impl After {
    pub fn as_str(self) -> &'static str {
        match self {
            After::Before => "before",
            After::Canary => "canary",
            After::EveryWave => "every-wave",
            After::LastWave => "last-wave",
        }
    }
}

impl GateKind {
    /// The stable name: `kind` in the environment's file, `GateRow.kind` in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            GateKind::Probe => "probe",
            GateKind::Test => "test",
            GateKind::Metrics => "metrics",
            GateKind::App => "app",
            GateKind::Approval => "approval",
            GateKind::Webhook => "webhook",
            GateKind::Http => "http",
        }
    }

    /// Verdicts that it may come to when its time is over without a pass: by what it saw, or because it saw nothing.
    pub(super) fn ends(self) -> &'static [Verdict] {
        match self {
            GateKind::Probe | GateKind::Test | GateKind::Http => &[Verdict::Fail, Verdict::NoData],
            GateKind::Metrics | GateKind::App => &[Verdict::Inconclusive, Verdict::NoData],
            GateKind::Approval | GateKind::Webhook => &[Verdict::NoData],
        }
    }

    /// What it means that there is no verdict at the deadline. A test that does not end has failed; the others have
    /// not been heard.
    fn at_deadline(self) -> Verdict {
        match self {
            GateKind::Test => Verdict::Fail,
            GateKind::Probe
            | GateKind::Metrics
            | GateKind::App
            | GateKind::Approval
            | GateKind::Webhook
            | GateKind::Http => Verdict::NoData,
        }
    }
}

impl GateSpec {
    pub fn then(&self, verdict: Verdict) -> Then {
        match verdict {
            Verdict::Pass => Then::Continue,
            Verdict::Inconclusive => self.on_inconclusive,
            Verdict::NoData => self.on_no_data,
            Verdict::Fail => self.on_fail,
        }
    }

    /// How long a run of it has, which `waits` for its runner or not.
    pub(super) fn length(&self, waits: bool) -> Span {
        if waits { self.runner_wait() } else { self.deadline }
    }

    fn runner_wait(&self) -> Span {
        self.deadline.max(RUNNER_WAIT_MIN)
    }

    /// What the core itself says at the deadline of that run.
    pub(super) fn overdue(&self, run: &Run) -> (Verdict, String) {
        if let (true, Some(runner)) = (run.waits, &self.runner) {
            let note = format!(
                "{runner} was at tests of other rollouts for {}: it has not begun",
                self.runner_wait()
            );
            return (Verdict::NoData, note);
        }
        let note = match self.kind {
            GateKind::Approval => format!("nobody approved within {}", self.deadline),
            GateKind::Test => format!("it had not ended after {}", self.deadline),
            _ => format!("no verdict within {}", self.deadline),
        };
        (self.kind.at_deadline(), note)
    }
}

impl Run {
    pub fn is_pending(&self) -> bool {
        self.state == RunState::Pending
    }

    /// The word of its state, or its verdict.
    pub fn as_str(&self) -> &'static str {
        match &self.state {
            RunState::Pending => "pending",
            RunState::Concluded { verdict, .. } => verdict.as_str(),
            RunState::PassedOver { .. } => "passed-over",
        }
    }

    /// What it makes the rollout do, if it is not to go on.
    pub(super) fn stops(&self) -> Option<(Then, GateStop)> {
        match &self.state {
            RunState::Concluded { verdict, note, then: then @ (Then::Pause | Then::Rollback), .. } => {
                Some((*then, GateStop { gate: self.gate.clone(), verdict: *verdict, note: note.clone() }))
            }
            RunState::Concluded { .. } | RunState::Pending | RunState::PassedOver { .. } => None,
        }
    }
}

impl Rollout {
    pub fn gate(&self, name: &str) -> Option<&GateSpec> {
        self.spec().gates.iter().find(|gate| gate.name == name)
    }

    /// Runs of the present round.
    pub fn runs(&self) -> &[Run] {
        self.header.round.as_ref().map_or(&[], |round| &round.runs)
    }

    /// Gates that somebody has to look at now; none while paused.
    pub fn due_gates(&self) -> Vec<(Stage, &GateSpec, &Run)> {
        let live = matches!(self.phase(), Phase::Baking(_) | Phase::Gating(_) | Phase::Watching(_));
        let Some(round) = self.header.round.as_ref().filter(|_| live) else { return vec![] };
        let pending = round.runs.iter().filter(|run| run.is_pending() && self.runs_before(run).is_none());
        pending.filter_map(|run| Some((round.stage, self.gate(&run.gate)?, run))).collect()
    }

    /// The test that its runner is at; until that has a verdict this one has not begun. In the watch time all are asked
    /// again and again.
    pub fn runs_before(&self, run: &Run) -> Option<&GateSpec> {
        let round = self.header.round.as_ref().filter(|round| round.stage != Stage::Watch)?;
        let runner = self.gate(&run.gate)?.runner.as_ref()?;
        let before = round.runs.iter().take_while(|other| other.number != run.number);
        let gates = before.filter(|other| other.is_pending()).filter_map(|other| self.gate(&other.gate));
        gates.into_iter().find(|gate| gate.runner.as_ref() == Some(runner))
    }

    /// Tests that wait for their runner, each with the one that is run there.
    pub fn queued_gates(&self) -> Vec<(Stage, &GateSpec, &Run, &GateSpec)> {
        let Some(round) = &self.header.round else { return vec![] };
        let pending = round.runs.iter().filter(|run| run.is_pending());
        let queued =
            pending.filter_map(|run| Some((round.stage, self.gate(&run.gate)?, run, self.runs_before(run)?)));
        queued.collect()
    }

    /// Gates that belong to a place.
    pub(super) fn gates_at(&self, stage: Stage) -> Vec<&GateSpec> {
        let due = |gate: &&GateSpec| match (stage, gate.after) {
            (Stage::Before, after) => after == After::Before,
            (Stage::Watch, _) => gate.in_watch,
            (Stage::After { wave }, After::Canary) => self.is_canary(wave),
            (Stage::After { wave }, _) if self.comes_after_all(wave) && gate.kind == GateKind::Approval => {
                false
            }
            (Stage::After { .. }, After::EveryWave) => true,
            (Stage::After { wave }, After::LastWave) => self.is_last(wave) && !self.comes_after_all(wave),
            (Stage::After { .. }, After::Before) => false,
        };
        self.spec().gates.iter().filter(due).collect()
    }

    /// The earliest deadline of a gate that is looked at now.
    pub(super) fn gate_deadline(&self) -> Option<Millis> {
        self.due_gates().iter().map(|(_, _, run)| run.deadline).min()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `gate errors: fail: 5% of requests failed, at most 1% may`
impl fmt::Display for GateStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gate {}: {}: {}", self.gate, self.verdict, self.note)
    }
}
