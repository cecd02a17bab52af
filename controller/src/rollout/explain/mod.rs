//! Why a rollout is not further, from the same facts by which `step` decides: every host that `step` waits for is in
//! exactly one hold, and every hold's `until` is the deadline that `step` obeys.

mod away;
mod benched;
mod closed;
mod forward;
mod gates;
mod helper_away;
mod hold;
mod passed_over;
mod paused;
mod sentence;
mod stays;

use std::{collections::BTreeMap, sync::Arc};

use longshore_common::{ids::HostId, report::Blame};

pub use away::Away;
pub use benched::Benched;
pub use hold::{Hold, HoldKind};
pub use paused::InLine;

use super::{
    host::{Ask, HostProgress, LastFailure},
    looking::LastLook,
    model::Rollout,
    phase::{Outcome, Phase},
};

/// What is known beside the rollout's own state, for better sentences; nothing is decided by it.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// What a host says it is doing now: `fetch, 12 of 67 MiB`.
    pub doing: BTreeMap<HostId, String>,
    /// Hosts that have no connection, and are not unknown yet.
    pub away: BTreeMap<HostId, Away>,
    /// Hosts whose last word was that the helper there is away, and why.
    pub helper_away: BTreeMap<HostId, String>,
    /// What a run of a gate has seen so far, by its number.
    pub seen: BTreeMap<u32, String>,
    /// Why balancers send a host nothing, where an operator said so.
    pub benched: BTreeMap<HostId, Benched>,
    /// Who is before it, where its time has come.
    pub in_line: Option<InLine>,
    /// The time of its bake or watch is over, and its hosts are looked at once more.
    pub last_look: Option<LastLook>,
}

/// Everything that `rollout` waits for, then balancers that it goes on without, and then hosts that are kept from their
/// connections; empty only when it is done and there are none of these.
pub fn explain(rollout: &Rollout, facts: &Facts) -> Vec<Hold> {
    let waits = waits(rollout, facts).into_iter().map(|hold| helper_away::named(rollout, facts, hold));
    let passed_over = passed_over::passed_over(rollout);
    waits.chain(passed_over).chain(benched::benched(rollout, facts)).collect()
}

fn waits(rollout: &Rollout, facts: &Facts) -> Vec<Hold> {
    match &rollout.header.phase {
        Phase::Ready => vec![paused::not_started(rollout, facts)],
        Phase::Staging(staging) => forward::staging(rollout, staging, facts),
        Phase::Switching(switching) => forward::switching(rollout, switching, facts),
        Phase::Baking(baking) => {
            let bake = std::iter::once(forward::baking(rollout, baking, facts));
            bake.chain(gates::pending(rollout, facts)).collect()
        }
        Phase::Gating(_) => gates::pending(rollout, facts),
        Phase::Watching(watching) => vec![gates::watching(rollout, watching, facts)],
        Phase::Awaiting(awaiting) => vec![forward::awaiting(rollout, awaiting)],
        Phase::RollingBack(back) => forward::rolling_back(rollout, back, facts),
        Phase::Paused(paused) => vec![paused::paused(rollout, paused)],
        Phase::Done(_) => vec![],
    }
}

/// The failure to show first: of the version before of the environment, then the earliest.
pub fn first_failure(rollout: &Rollout) -> Option<(HostId, &HostProgress, &LastFailure)> {
    let failures = rollout.hosts.iter().filter_map(|(id, host)| Some((*id, &**host, host.failure.as_ref()?)));
    failures.min_by_key(|(_, host, last)| (last.failure.blame != Blame::Version, last.at, &host.name))
}

/// How a wave stands: scheduled, staging, switching, baking, gating, watching, done, rolling-back; at an end that is not
/// a success also failed, undone, not-begun. The stable name: `WaveRow.state` in the API.
pub fn wave_state(rollout: &Rollout, wave: u32) -> &'static str {
    let phase = &rollout.header.phase;
    let present = match phase {
        Phase::Ready => return "scheduled",
        Phase::Done(done) => match done.outcome {
            Outcome::Succeeded | Outcome::NothingToDo => return "done",
            Outcome::Failed | Outcome::RolledBack | Outcome::Aborted => return turned_back(rollout, wave),
        },
        Phase::RollingBack(_) => return turned_back(rollout, wave),
        Phase::Paused(paused) if paused.why.is_failure() => "failed",
        Phase::Paused(paused) => return wave_state(&paused.resumed(rollout), wave),
        Phase::Staging(_) => "staging",
        Phase::Switching(_) => "switching",
        Phase::Gating(gating) if gating.before => "scheduled",
        Phase::Gating(_) => "gating",
        Phase::Watching(_) => "watching",
        Phase::Baking(_) | Phase::Awaiting(_) => "baking",
    };
    match phase.wave() {
        Some(current) if wave < current => "done",
        Some(current) if wave == current => present,
        Some(_) | None => "scheduled",
    }
}

/// Of a rollout that goes back, or that ended without success.
fn turned_back(rollout: &Rollout, wave: u32) -> &'static str {
    let of_wave = |host: &&Arc<HostProgress>| host.wave == wave && !host.is_out();
    let hosts = || rollout.hosts.values().filter(of_wave);
    let touched = |host: &HostProgress| matches!(host.ask, Some(Ask::Run | Ask::Return));
    let returning = |host: &HostProgress| rollout.awaits_back(host) && !rollout.header.phase.is_done();
    if !hosts().any(|host| touched(host)) {
        "not-begun"
    } else if hosts().any(|host| returning(host)) {
        "rolling-back"
    } else if hosts().any(|host| host.failure.is_some()) {
        "failed"
    } else if hosts().all(|host| host.is_good()) {
        "done"
    } else {
        "undone"
    }
}
