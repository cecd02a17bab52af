//! Nobody was there for a while: the controller was stopped, or what carried the rollout out had died. Hosts went on with
//! what they were asked and could not say how it went, and what is watched was looked at by nobody. A deadline that came
//! meanwhile, or comes before they can have said it, is no verdict on them.

use longshore_common::{ids::HostId, time::Millis};

use super::{
    draft::Draft,
    gate::{GateKind, GateSpec, Run, Stage},
    host::{HostProgress, HostState},
    model::Rollout,
    phase::Phase,
};

/// In which a host is back with what it has to say: several times what an agent pauses between two attempts.
const BACK_MS: Millis = 120_000;

/// The rollout for whoever takes it up now: deadlines that are over, or nearly, begin anew. A bake or watch that is over
/// ends with a look at its hosts, as ever (`looking`).
pub fn taken_up(rollout: &Rollout, now: Millis) -> Rollout {
    let mut draft = Draft { rollout: rollout.clone(), now, settled: vec![] };
    draft.give_time_to_return();
    draft.rollout
}

/// The rollout when its deadline has come, and some have no connection: what they came to they could not say. They are unknown
/// from then on, though everybody else takes them for silent only a while later; that is no verdict on the release.
pub fn unheard_when_due(rollout: Rollout, is_away: impl Fn(&HostId) -> bool, now: Millis) -> Rollout {
    let hosts_change = matches!(rollout.header.phase, Phase::Switching(_) | Phase::RollingBack(_));
    if !hosts_change || rollout.deadline().is_none_or(|at| at > now) {
        return rollout;
    }
    let mut draft = Draft { rollout, now, settled: vec![] };
    let changes = |host: &HostProgress| matches!(host.state, HostState::Switching | HostState::RollingBack);
    for id in draft.pick(|host| changes(host) && host.silent.is_none()) {
        if is_away(&id) {
            draft.silent(id);
        }
    }
    draft.rollout
}

/// The deadline of a gate that nobody looked at begins anew. People had the time of an approval all the same: it keeps its
/// own, but for a moment in which whoever came in vain can come again.
fn put_off(gate: &GateSpec, run: &Run, now: Millis) -> Millis {
    let length = gate.length(run.waits).as_ms();
    if gate.kind == GateKind::Approval {
        return run.deadline.max(now + length.min(BACK_MS));
    }
    now + length
}

impl Draft {
    fn give_time_to_return(&mut self) {
        let (now, soon) = (self.now, self.now + BACK_MS);
        let phase = &self.rollout.header.phase;
        let hosts_are_awaited =
            matches!(phase, Phase::Staging(_) | Phase::Switching(_) | Phase::RollingBack(_));
        if hosts_are_awaited && phase.deadline().is_some_and(|at| at < soon) {
            self.give_time();
        }
        let due = self.rollout.due_gates().into_iter();
        let due = due.filter(|(stage, _, run)| *stage != Stage::Watch && run.deadline < soon);
        let due: Vec<(u32, Millis)> =
            due.map(|(_, gate, run)| (run.number, put_off(gate, run, now))).collect();
        let Some(round) = &mut self.rollout.header.round else { return };
        for run in round.runs.iter_mut().filter(|run| run.is_pending()) {
            let begun_anew = due.iter().find(|(number, _)| *number == run.number);
            run.deadline = begun_anew.map_or(run.deadline, |(_, deadline)| *deadline);
        }
    }
}
