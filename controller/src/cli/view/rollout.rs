//! A rollout as it stands. `rollout_lines` prints it once; `paint` follows it while it moves.

use longshore_proto::v1 as pb;
use serde::Serialize;

use super::{
    gate::Gate,
    side::{self, HostSide},
    some,
};
use crate::cli::{exit::Exit, moment::Moment, style::Ink};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rollout {
    pub id: String,
    pub app: String,
    pub env: String,
    pub version: String,
    pub release: String,
    /// What was live before; none where nothing was.
    pub from_version: Option<String>,
    /// It brings what is live to hosts that came since, or missed it, and to no other.
    pub newcomers: bool,
    /// docs/rollout-states.md
    pub phase: String,
    /// succeeded, rolled-back, aborted, failed or nothing-to-do; none while active.
    pub outcome: Option<String>,
    pub outcome_reason: Option<String>,
    /// From 1.
    pub wave: u32,
    pub waves: Vec<Wave>,
    pub hosts: Vec<HostRow>,
    pub holds: Vec<Hold>,
    pub started_by: String,
    pub reason: Option<String>,
    pub created_at: Option<Moment>,
    /// None: not yet, or never.
    pub started_at: Option<Moment>,
    pub ended_at: Option<Moment>,
    /// Of the present phase.
    pub deadline_at: Option<Moment>,
    pub revision: u64,
    /// Digest of the plan that it follows.
    pub plan: Option<String>,
    /// Preconditions that it was started in spite of.
    pub overrides: Vec<Override>,
    /// In the order in which they came to their end, then those that are looked at.
    pub gates: Vec<Gate>,
    /// None: no load balancers that we direct.
    pub balancing: Option<Balancing>,
}

/// What load balancers are told, and how far they are with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Balancing {
    pub director: String,
    pub backend: String,
    /// Of two groups, the one that gets the release; none where there are none.
    pub gets: Option<String>,
    /// Percent of the traffic that this group has now.
    pub share: u32,
    /// The traffic moves to it; otherwise it had it already.
    pub moves: bool,
    pub balancers: Vec<Balancer>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Balancer {
    pub name: String,
    /// done, waiting, unknown, held or refused.
    pub state: String,
    /// Why, in its own words.
    pub note: Option<String>,
}

impl From<pb::Balancing> for Balancing {
    fn from(balancing: pb::Balancing) -> Self {
        let pb::Balancing { director, backend, gets, share, moves, balancers } = balancing;
        let balancers = balancers.into_iter().map(|pb::BalancerRow { name, state, note }| Balancer {
            name,
            state,
            note: some(note),
        });
        Self { director, backend, gets: some(gets), share, moves, balancers: balancers.collect() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Override {
    pub name: String,
    pub reason: String,
}

impl From<pb::Override> for Override {
    fn from(given: pb::Override) -> Self {
        let pb::Override { name, reason } = given;
        Self { name, reason }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wave {
    /// From 1.
    pub number: u32,
    pub hosts: Vec<String>,
    /// scheduled, staging, switching, baking, gating, watching, done, rolling-back, failed, undone or not-begun.
    pub state: String,
    pub bake_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostRow {
    pub id: String,
    pub name: String,
    /// From 1.
    pub wave: u32,
    /// docs/rollout-states.md
    pub state: String,
    /// What the agent is doing; none while it does nothing, or says nothing.
    pub step: Option<String>,
    pub detail: Option<String>,
    pub bytes_done: u64,
    pub bytes_total: u64,
    pub failure: Option<HostFailure>,
    pub from_version: Option<String>,
    /// It came to the environment while the rollout was under way.
    pub joined: bool,
    /// It is the canary in the place of one of which nobody was left.
    pub stands_in: bool,
    /// Why it takes no part; none: it does.
    pub left_out: Option<String>,
    /// blue or green; none where there are no groups.
    pub group: Option<String>,
    /// That load balancers are told; none where there are none, or they are told nothing yet.
    pub weight: Option<u32>,
    /// Every load balancer has carried that out.
    pub directed: bool,
    /// Of its app there, blue, then green, as the host says now (rollout show); empty: none, or it says nothing.
    pub sides: Vec<HostSide>,
    pub generation: u64,
    /// When the state was entered.
    pub since: Option<Moment>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostFailure {
    pub code: String,
    pub step: String,
    pub message: String,
    /// The last log lines, oldest first.
    pub evidence: Vec<String>,
    /// version, environment or unknown.
    pub blame: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hold {
    pub kind: String,
    /// One sentence.
    pub what: String,
    /// Who is waited for.
    pub owner: Option<String>,
    pub since: Option<Moment>,
    pub until: Option<Moment>,
    /// What happens at the deadline.
    pub then: Option<String>,
    /// What an operator can type, whoever is waited for.
    pub command: Option<String>,
    pub hosts: Vec<String>,
}

impl From<pb::Rollout> for Rollout {
    fn from(rollout: pb::Rollout) -> Self {
        let pb::Rollout {
            id,
            app,
            env,
            version,
            release,
            from_version,
            phase,
            outcome,
            outcome_reason,
            wave,
            waves,
            hosts,
            started_by,
            created_ms,
            started_ms,
            ended_ms,
            deadline_ms,
            revision,
            holds,
            reason,
            plan,
            overrides,
            gates,
            balancing,
            newcomers,
            unchanged: _, // of the answer to one who steers, which is not how the rollout stands
        } = rollout;
        Self {
            id,
            app,
            env,
            version,
            release,
            from_version: some(from_version),
            newcomers,
            phase,
            outcome: some(outcome),
            outcome_reason: some(outcome_reason),
            wave: wave + 1,
            waves: waves.into_iter().map(Wave::from).collect(),
            hosts: hosts.into_iter().map(HostRow::from).collect(),
            holds: holds.into_iter().map(Hold::from).collect(),
            started_by,
            reason: some(reason),
            created_at: Moment::from_wire(created_ms),
            started_at: Moment::from_wire(started_ms),
            ended_at: Moment::from_wire(ended_ms),
            deadline_at: Moment::from_wire(deadline_ms),
            revision,
            plan: some(plan),
            overrides: overrides.into_iter().map(Override::from).collect(),
            gates: gates.into_iter().map(Gate::from).collect(),
            balancing: balancing.map(Balancing::from),
        }
    }
}

impl From<pb::WaveRow> for Wave {
    fn from(wave: pb::WaveRow) -> Self {
        let pb::WaveRow { number, hosts, state, bake_ms } = wave;
        Self { number: number + 1, hosts, state, bake_ms }
    }
}

impl From<pb::HostRow> for HostRow {
    fn from(row: pb::HostRow) -> Self {
        let pb::HostRow {
            id,
            name,
            wave,
            state,
            step,
            bytes_done,
            bytes_total,
            failure,
            from_version,
            generation,
            since_ms,
            joined,
            group,
            weight,
            directed,
            stands_in,
            left_out,
            sides,
        } = row;
        Self {
            id,
            name,
            wave: wave + 1,
            state,
            step: some(step),
            detail: None,
            bytes_done,
            bytes_total,
            failure: failure.map(HostFailure::from),
            from_version: some(from_version),
            joined,
            stands_in,
            left_out: some(left_out),
            group: some(group),
            weight,
            directed,
            sides: side::sides(sides),
            generation,
            since: Moment::from_wire(since_ms),
        }
    }
}

impl From<pb::Failure> for HostFailure {
    fn from(failure: pb::Failure) -> Self {
        let blame = match failure.blame() {
            pb::Blame::Version => "version",
            pb::Blame::Environment => "environment",
            pb::Blame::Unspecified => "unknown",
        };
        let pb::Failure { code, step, message, evidence, blame: _ } = failure;
        Self { code, step, message, evidence, blame }
    }
}

impl From<pb::HoldRow> for Hold {
    fn from(hold: pb::HoldRow) -> Self {
        let pb::HoldRow { kind, what, owner, since_ms, until_ms, then, command, hosts } = hold;
        Self {
            kind,
            what,
            owner: some(owner),
            since: Moment::from_wire(since_ms),
            until: Moment::from_wire(until_ms),
            then: some(then),
            command: some(command),
            hosts,
        }
    }
}

/// What a state means for whoever looks: the words are many, the reactions few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not begun, or not part of it.
    Idle,
    Busy,
    Good,
    /// On what it ran before.
    Undone,
    /// Somebody should look, or nobody knows.
    Doubtful,
    Bad,
}

impl Standing {
    pub fn ink(self) -> Ink {
        match self {
            Standing::Idle => Ink::Faint,
            Standing::Busy => Ink::Busy,
            Standing::Good => Ink::Good,
            Standing::Undone | Standing::Doubtful => Ink::Warn,
            Standing::Bad => Ink::Bad,
        }
    }

    pub fn mark(self) -> &'static str {
        match self {
            Standing::Idle => "·",
            Standing::Busy => "▸",
            Standing::Good => "✓",
            Standing::Undone => "↩",
            Standing::Doubtful => "?",
            Standing::Bad => "✗",
        }
    }
}

impl HostRow {
    pub fn takes_part(&self) -> bool {
        self.state != "excluded" && self.state != "left"
    }

    pub fn standing(&self) -> Standing {
        match self.state.as_str() {
            "healthy" | "unchanged" => Standing::Good,
            "failed" | "reverted" | "inconsistent" => Standing::Bad,
            "rolled-back" => Standing::Undone,
            "unknown" | "refused" => Standing::Doubtful,
            "staging" | "draining" | "switching" | "joining" | "rolling-back" => Standing::Busy,
            // waiting, staged, excluded, left, and words of a later version
            _ => Standing::Idle,
        }
    }
}

impl Wave {
    /// Its turn has not come, or never did.
    pub fn is_untouched(&self) -> bool {
        self.state == "scheduled" || self.state == "not-begun"
    }

    pub fn standing(&self) -> Standing {
        match self.state.as_str() {
            "done" => Standing::Good,
            "failed" => Standing::Bad,
            "undone" => Standing::Undone,
            "staging" | "switching" | "baking" | "gating" | "watching" | "rolling-back" => Standing::Busy,
            _ => Standing::Idle,
        }
    }
}

impl Rollout {
    pub fn is_over(&self) -> bool {
        self.outcome.is_some()
    }

    pub fn standing(&self) -> Standing {
        match (self.outcome.as_deref(), self.phase.as_str()) {
            (Some("succeeded" | "nothing-to-do"), _) => Standing::Good,
            (Some(_), _) => Standing::Bad,
            (None, "paused" | "awaiting-promotion") => Standing::Doubtful,
            (None, "ready") => Standing::Idle,
            (None, _) => Standing::Busy,
        }
    }

    /// What a command that waited for the end says with its exit code.
    pub fn exit(&self) -> Exit {
        match self.outcome.as_deref() {
            None | Some("succeeded") => Exit::Done,
            Some("nothing-to-do") => Exit::NothingToDo,
            Some(_) => Exit::Failed,
        }
    }

    /// The outcome, or the phase while there is none.
    pub fn state(&self) -> &str {
        self.outcome.as_deref().unwrap_or(&self.phase)
    }

    /// Hosts that take part.
    pub fn of_it(&self) -> usize {
        self.hosts.iter().filter(|host| host.takes_part()).count()
    }

    /// Hosts that run the release and are well.
    pub fn good(&self) -> usize {
        self.hosts.iter().filter(|host| host.standing() == Standing::Good).count()
    }

    pub fn in_wave(&self, number: u32) -> impl Iterator<Item = &HostRow> {
        self.hosts.iter().filter(move |host| host.wave == number && host.takes_part())
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct RolloutList {
    pub rollouts: Vec<Rollout>,
    /// Where none is among these there may be others.
    #[serde(skip)]
    pub asked: Asked,
}

/// Which rollouts were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    All,
    UnderWay,
    /// Of an app, or to an environment.
    Narrowed,
}

impl RolloutList {
    pub fn asked(self, asked: Asked) -> Self {
        Self { asked, ..self }
    }
}

impl From<pb::ListRolloutsReply> for RolloutList {
    fn from(reply: pb::ListRolloutsReply) -> Self {
        Self { rollouts: reply.rollouts.into_iter().map(Rollout::from).collect(), asked: Asked::All }
    }
}

/// Why a rollout is where it is.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    pub rollout: Rollout,
    pub summary: String,
    pub holds: Vec<Hold>,
    pub first_failure: Option<FirstFailure>,
}

#[derive(Clone, Debug, Serialize)]
pub struct FirstFailure {
    pub host: String,
    pub name: String,
    pub at: Option<Moment>,
    pub failure: Option<HostFailure>,
}

impl Explanation {
    /// None when the controller answered without a rollout.
    pub fn new(reply: pb::ExplainReply) -> Option<Self> {
        let pb::ExplainReply { rollout, holds, summary, first_failure } = reply;
        let first_failure = first_failure.map(|first| {
            let pb::FirstFailure { host, name, failure, time_ms } = first;
            FirstFailure {
                host,
                name,
                at: Moment::from_wire(time_ms),
                failure: failure.map(HostFailure::from),
            }
        });
        let holds = holds.into_iter().map(Hold::from).collect();
        Some(Self { rollout: rollout?.into(), summary, holds, first_failure })
    }
}

#[cfg(test)]
mod tests;
