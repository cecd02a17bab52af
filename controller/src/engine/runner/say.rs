//! What the log has of a step.

use super::{Decided, Runner};
use crate::{
    engine::gates::GateResult,
    rollout::{Rollout, RunState, changed_hosts},
};

impl Runner {
    /// One line for a change of phase or wave, and one for each host that came to a verdict.
    pub(super) fn say(&self, before: &Rollout, decided: &Decided) {
        let (from, to) = (before.phase(), decided.next.phase());
        let event = decided.events.join("+");
        if (from.as_str(), from.wave()) != (to.as_str(), to.wave()) {
            let (app, env) = (&before.header.app, &before.header.env);
            tracing::info!(rollout = %self.id, %app, %env, event, from = from.as_str(), to = to.as_str(),
                wave = to.wave(), "rollout");
        }
        for GateResult { gate, settled, .. } in &decided.gates {
            let note = match &settled.run.state {
                RunState::Concluded { note, .. } => note,
                RunState::PassedOver { reason, .. } => reason,
                RunState::Pending => "",
            };
            tracing::info!(rollout = %self.id, gate = gate.name, run = settled.run.number,
                verdict = settled.run.as_str(), note, "gate");
        }
        for id in changed_hosts(before, &decided.next) {
            let was = before.hosts.get(&id).map_or("", |host| host.as_str());
            let host = &decided.next.hosts[&id];
            if was != host.as_str() {
                tracing::info!(rollout = %self.id, host = %host.name, event, from = was, to = host.as_str(), "host");
            }
        }
    }
}
