//! The strategy of a rollout: how many at once, how long between, how many failures, and what then.

use longshore_common::{
    code::{Code, Coded},
    label::{Selector, check_label},
    time::Span,
};
use serde::{Deserialize, Serialize};

use super::{
    gate::{GATES_MAX, GateSpec},
    routing::Routing,
    share::{Allowance, Share},
};

/// What a silent host means for a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownHosts {
    /// It counts as a failure of the environment; the wave goes on without it.
    Count,
    /// Its wave waits for it, and pauses at the progress deadline.
    Wait,
    /// The wave goes on as if it were not there, until it is back.
    Skip,
}

/// What a host that somebody holds locally means for a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeldHosts {
    /// Its wave waits for it, and pauses at the progress deadline.
    Wait,
    /// The wave goes on without it, until it is let go.
    Skip,
}

/// What happens when failures of the version spend the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnSpent {
    Rollback,
    Pause,
}

/// Where an operator has to say "go on".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Promotion {
    /// Nowhere: baking is enough.
    Auto,
    /// After the first wave.
    Canary,
    /// After every wave but the last, and after a first wave that is the last.
    EveryWave,
}

/// A rolling strategy. Every field has a default; `check` finds what cannot work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Spec {
    /// Size of the first wave, of all hosts. `0`: no canary, the first wave is like the others.
    pub canary: Share,
    /// Hosts that go into the first wave before any other. Absent: the first by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary_hosts: Option<Selector>,
    /// Percent of all hosts that are reached wave by wave, after the canary; always rising, each 1 to 100. What is left
    /// after the last goes in waves of `wave`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Share>,
    /// Size of each other wave, of all hosts.
    pub wave: Share,
    /// Key of the label that tells failure domains apart: no wave has hosts of two. Hosts without it are a domain of
    /// their own, the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<String>,
    /// Never more hosts than this are down at once, those already sick or unknown included. At least one.
    pub max_unavailable: Share,
    /// Failures allowed among the hosts of one wave; absent: as many as overall. Whatever it says, a wave in which
    /// hosts failed and none is healthy spends it; but not a wave of one host that failed for no reason of the release,
    /// while any other host is good.
    pub wave_budget: Allowance,
    /// Failures allowed among all hosts; absent: none.
    pub budget: Allowance,
    /// Percent of a wave that must be healthy for the next to begin while the rest is still under way.
    pub enough: u8,
    /// How often one host may try, the first time included.
    pub attempts: u8,
    /// How long the first wave is watched after it is healthy; with `spread`, every wave of the first domain.
    pub canary_bake: Span,
    /// How long each other wave is watched after it is healthy.
    pub bake: Span,
    pub promotion: Promotion,
    /// How long the release is watched after the last wave.
    pub watch: Span,
    /// What must hold before, between and after waves; their names differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<GateSpec>,
    /// Who directs the traffic of apps that run beside themselves, and in what steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Routing>,
    /// Longest time in which no further host becomes healthy. Stops while paused, starts anew on resume.
    pub progress_deadline: Span,
    /// Longest time for a wave to fetch and unpack.
    pub stage_deadline: Span,
    /// Longest time in which no further host is back on its previous release, while rolling back.
    pub rollback_deadline: Span,
    /// Waves beyond the present one that may fetch and unpack already.
    pub stage_ahead: u32,
    pub unknown: UnknownHosts,
    pub held: HeldHosts,
    /// Whether the rollout may undo itself at all: when its budget is spent, or at its progress deadline.
    pub auto_rollback: bool,
    pub on_spent: OnSpent,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            canary: Share::Count(1),
            canary_hosts: None,
            steps: vec![],
            wave: Share::Percent(25),
            spread: None,
            max_unavailable: Share::Count(1),
            wave_budget: Allowance::default(),
            budget: Allowance::default(),
            enough: 100,
            attempts: 1,
            canary_bake: Span::secs(60),
            bake: Span::secs(15),
            promotion: Promotion::Auto,
            watch: Span::secs(0),
            gates: vec![],
            traffic: None,
            progress_deadline: Span::secs(600),
            stage_deadline: Span::secs(3600),
            rollback_deadline: Span::secs(600),
            stage_ahead: 1,
            unknown: UnknownHosts::Wait,
            held: HeldHosts::Skip,
            auto_rollback: true,
            on_spent: OnSpent::Rollback,
        }
    }
}

/// Most tries a host may be given.
pub const ATTEMPTS_MAX: u8 = 10;

impl Spec {
    /// For going back to what was live before: by the same budget and as many at once, and at once. What the release had
    /// to prove it has proved.
    pub fn for_the_way_back(self) -> Self {
        let none = Span::secs(0);
        let traffic = self.traffic.map(Routing::for_the_way_back);
        let (promotion, gates) = (Promotion::Auto, vec![]);
        Self { canary_bake: none, bake: none, watch: none, promotion, gates, traffic, ..self }
    }

    /// For the first release of an app, where nothing has any traffic yet: there is nothing to share with.
    pub fn for_the_first_release(mut self) -> Self {
        self.traffic.iter_mut().for_each(|routing| routing.steps.clear());
        self
    }

    /// For a release without sides where hosts direct the traffic of theirs: it takes the place of what runs.
    pub fn for_a_release_without_sides(mut self) -> Self {
        self.traffic.iter_mut().for_each(|routing| routing.replaces = true);
        self
    }

    /// Everything that cannot work, each as (field, what is wrong); empty when the strategy is sound.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut found = vec![];
        if self.wave.is_zero() {
            found.push(("wave", "must be at least 1 host or 1%".to_owned()));
        }
        if self.max_unavailable.is_zero() {
            found.push((
                "max_unavailable",
                "must be at least 1 host or 1%: nothing could ever move".to_owned(),
            ));
        }
        for (field, share) in
            [("canary", self.canary), ("wave", self.wave), ("max_unavailable", self.max_unavailable)]
        {
            if matches!(share, Share::Percent(101..)) {
                found.push((field, format!("{share} is more than all of them")));
            }
        }
        found.extend(step_problem(&self.steps).map(|what| ("steps", what)));
        if let Some(key) = &self.spread
            && let Err(error) = check_label(key, "")
        {
            found.push(("spread", format!("names no label: {}", error.message)));
        }
        for (field, allowance) in [("wave_budget.percent", self.wave_budget), ("budget.percent", self.budget)]
        {
            if allowance.percent.is_some_and(|percent| percent > 100) {
                found.push((field, "must be 0 to 100".to_owned()));
            }
        }
        if !(1..=100).contains(&self.enough) {
            found.push(("enough", format!("must be 1 to 100 percent, not {}", self.enough)));
        }
        if !(1..=ATTEMPTS_MAX).contains(&self.attempts) {
            found.push(("attempts", format!("must be 1 to {ATTEMPTS_MAX}, not {}", self.attempts)));
        }
        for (field, deadline) in [
            ("progress_deadline", self.progress_deadline),
            ("stage_deadline", self.stage_deadline),
            ("rollback_deadline", self.rollback_deadline),
        ] {
            if deadline.as_ms() == 0 {
                found.push((field, "must be longer than nothing".to_owned()));
            }
        }
        let slow = self.traffic.as_ref().and_then(|routing| self.slow_drain(routing));
        found.extend(slow.map(|what| ("traffic.drain", what)));
        if self.gates.len() > GATES_MAX {
            found.push(("gate", format!("at most {GATES_MAX} gates")));
        }
        if self.canary.is_zero() && (self.promotion == Promotion::Canary || self.canary_hosts.is_some()) {
            found.push((
                "canary",
                "is 0, so there is no first wave to promote or to choose hosts for".to_owned(),
            ));
        }
        found
    }

    /// Hosts behind balancers are drained before they are changed, and nothing of that moves a deadline: what is wrong if
    /// it takes as long as one.
    pub fn slow_drain(&self, routing: &Routing) -> Option<String> {
        routing.balancers.as_ref()?;
        let drain = routing.drain;
        let deadlines =
            [("progress_deadline", self.progress_deadline), ("rollback_deadline", self.rollback_deadline)];
        let passed = deadlines.iter().filter(|(_, deadline)| *deadline <= drain);
        let passed: Vec<String> =
            passed.map(|(field, deadline)| format!("rollout.{field} is {deadline}")).collect();
        (!passed.is_empty()).then(|| {
            format!(
                "is {drain}, and {}: hosts are drained before they are changed, so every rollout would pause for want \
                 of progress. Raise what is named above {drain}, or drain for less",
                passed.join(" and ")
            )
        })
    }

    pub fn check(&self) -> Result<(), Coded> {
        let problems = self.problems();
        if problems.is_empty() {
            return Ok(());
        }
        let list: Vec<String> = problems.iter().map(|(field, what)| format!("{field} {what}")).collect();
        Err(Coded::new(Code::V01, format!("strategy: {}", list.join("; "))))
    }
}

/// Waves that `steps` may say; more than that, `wave` says better.
const STEPS_MAX: usize = 20;

fn step_problem(steps: &[Share]) -> Option<String> {
    let percent = |share: &Share| match share {
        Share::Percent(percent @ 1..=100) => Some(*percent),
        Share::Percent(_) | Share::Count(_) => None,
    };
    if let Some(odd) = steps.iter().find(|share| percent(share).is_none()) {
        return Some(format!("must be percentages from 1% to 100%, not {odd}"));
    }
    if let Some(pair) = steps.windows(2).find(|pair| percent(&pair[0]) >= percent(&pair[1])) {
        return Some(format!("must rise: {} comes before {}", pair[0], pair[1]));
    }
    (steps.len() > STEPS_MAX).then(|| format!("are {}; at most {STEPS_MAX}", steps.len()))
}
