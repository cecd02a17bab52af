//! Beginning gates, writing their verdicts down, and obeying them.

use longshore_common::time::Millis;

use super::{
    draft::Draft,
    event::{Promote, Refused},
    gate::{GateWord, NOTE_BYTES, Round, Run, RunState, Settled, Stage, Then, Verdict},
    model::Rollout,
    phase::{Cause, Gating, Inside, Phase, Watching, Why},
};

impl Draft {
    /// Begins the gates of a place, those that it has not begun there yet; with `beside` only what runs beside a bake.
    fn begin_gates(&mut self, stage: Stage, beside: bool, until: Option<Millis>) {
        let header = &self.rollout.header;
        let mut round = match &header.round {
            Some(round) if round.stage == stage => round.clone(),
            Some(_) | None => Round { stage, runs: vec![] },
        };
        let mut number = header.gate_runs;
        for gate in self.rollout.gates_at(stage) {
            if (beside && !gate.beside_bake) || round.runs.iter().any(|run| run.gate == gate.name) {
                continue;
            }
            number += 1;
            let deadline = until.unwrap_or(self.now + gate.deadline.as_ms());
            let state = RunState::Pending;
            let (gate, since, waits) = (gate.name.clone(), self.now, false);
            round.runs.push(Run { gate, number, since, deadline, waits, state });
        }
        let header = &mut self.rollout.header;
        header.gate_runs = number;
        header.round = (!round.runs.is_empty()).then_some(round);
    }

    /// The gates that run beside the bake of a wave; whatever was concluded about it before is over.
    pub fn begin_bake_gates(&mut self, wave: u32) {
        self.rollout.header.round = None;
        if !self.is_full() {
            self.begin_gates(Stage::After { wave }, true, None);
        }
    }

    pub fn enter_gating(&mut self, wave: u32) {
        if !self.is_full() {
            self.begin_gates(Stage::After { wave }, false, None);
        }
        self.enter(Phase::Gating(Gating { wave, before: false, promoted: false, since: self.now }));
    }

    /// Before anything is touched.
    pub fn enter_gating_before(&mut self) {
        self.begin_gates(Stage::Before, false, None);
        self.enter(Phase::Gating(Gating { wave: 0, before: true, promoted: false, since: self.now }));
    }

    /// A watch that newcomers interrupted ends when it was to end.
    pub fn enter_watching(&mut self, wave: u32) {
        let kept = self.rollout.header.watch.as_ref().map(|watch| (watch.since, watch.until));
        let (since, until) = kept.unwrap_or((self.now, self.now + self.rollout.watch().as_ms()));
        self.rollout.header.round = None;
        self.begin_gates(Stage::Watch, false, Some(until));
        self.enter(Phase::Watching(Watching { wave, since, until }));
    }

    /// An operator said that every gate and wait that is left is to be passed over.
    pub fn is_full(&self) -> bool {
        self.rollout.header.promoted.is_some()
    }

    /// Of a run that has no verdict; of any other it says nothing.
    pub fn gate_says(&mut self, number: u32, word: GateWord) {
        let waits = match word {
            GateWord::Verdict { verdict, note } => return self.gate_verdict(number, verdict, &note),
            GateWord::Waits => true,
            GateWord::Begins => false,
        };
        let Rollout { header, .. } = &mut self.rollout;
        // In the watch time all are asked again and again, and its end is theirs.
        let Some(round) = header.round.as_mut().filter(|round| round.stage != Stage::Watch) else { return };
        let mut pending = round.runs.iter_mut().filter(|run| run.is_pending() && run.waits != waits);
        let Some(run) = pending.find(|run| run.number == number) else { return };
        let Some(gate) = header.spec.gates.iter().find(|gate| gate.name == run.gate) else { return };
        // The time for which a test waits for its runner is none of its own.
        let length = gate.length(waits).as_ms();
        (run.since, run.deadline, run.waits) = (self.now, self.now + length, waits);
    }

    /// A verdict on a run that waits for one; on any other it says nothing.
    fn gate_verdict(&mut self, number: u32, verdict: Verdict, note: &str) {
        let gate = self.rollout.runs().iter().find(|run| run.number == number && run.is_pending());
        let Some(then) = gate.and_then(|run| self.rollout.gate(&run.gate)).map(|gate| gate.then(verdict))
        else {
            return;
        };
        let note = short(note);
        self.note_pass(number, verdict);
        self.conclude(number, RunState::Concluded { verdict, note, at: self.now, then });
    }

    /// What other environments go by: whether the gate's last verdict is a pass.
    fn note_pass(&mut self, number: u32, verdict: Verdict) {
        let run = self.rollout.runs().iter().find(|run| run.number == number);
        let Some(gate) = run.map(|run| run.gate.clone()) else { return };
        let passed = &mut self.rollout.header.passed;
        match verdict {
            Verdict::Pass => passed.insert(gate),
            Verdict::Inconclusive | Verdict::NoData | Verdict::Fail => passed.remove(&gate),
        };
    }

    fn conclude(&mut self, number: u32, state: RunState) {
        let queued: Vec<u32> = self.rollout.queued_gates().iter().map(|(_, _, run, _)| run.number).collect();
        let Some(round) = self.rollout.header.round.as_mut() else { return };
        if let Some(run) = round.runs.iter_mut().find(|run| run.number == number) {
            run.state = state;
            self.settled.push(Settled { stage: round.stage, run: run.clone() });
        }
        self.begin_queued(&queued);
    }

    /// Tests whose runner is free now begin, each with all of its time.
    fn begin_queued(&mut self, queued: &[u32]) {
        let due = self.rollout.due_gates().into_iter().filter(|(_, _, run)| queued.contains(&run.number));
        let due: Vec<(u32, Millis)> =
            due.map(|(_, gate, run)| (run.number, self.now + gate.deadline.as_ms())).collect();
        let Some(round) = self.rollout.header.round.as_mut() else { return };
        for run in &mut round.runs {
            if let Some((_, deadline)) = due.iter().find(|(number, _)| *number == run.number) {
                (run.since, run.deadline) = (self.now, *deadline);
            }
        }
    }

    /// Gates whose deadline has come without a verdict get the one that this means. In the watch time the end comes
    /// first: nothing was broken until then.
    fn end_overdue(&mut self) {
        let overdue = self
            .rollout
            .due_gates()
            .into_iter()
            .filter(|(stage, _, run)| *stage != Stage::Watch && run.deadline <= self.now);
        let overdue: Vec<_> = overdue.map(|(_, gate, run)| (run.number, gate.overdue(run))).collect();
        for (number, (verdict, note)) in overdue {
            self.gate_verdict(number, verdict, &note);
        }
    }

    /// Does a gate keep the rollout from going on? Then it is rolling back or paused.
    pub fn judge_gates(&mut self, inside: Inside) -> bool {
        self.end_overdue();
        let stops: Vec<_> = self.rollout.runs().iter().filter_map(Run::stops).collect();
        let undo = self.rollout.spec().auto_rollback;
        let back = stops.iter().find(|(then, _)| *then == Then::Rollback && undo);
        match back.or(stops.first()).cloned() {
            None => return false,
            Some((Then::Rollback, stop)) if undo => self.start_rolling_back(Cause::Gate(stop)),
            Some((_, stop)) => self.pause(inside, Why::Gate(stop)),
        }
        true
    }

    pub fn leave_gates(&mut self) {
        self.rollout.header.round = None;
    }

    pub fn gates_are_open(&self) -> bool {
        self.rollout.runs().iter().all(|run| !run.is_pending() && run.stops().is_none())
    }

    /// What waits for a verdict is begun anew on resume: nobody looked while it was paused. With `again` what has not
    /// let the rollout on as well.
    pub fn renew_gates(&mut self, again: bool) {
        let header = &mut self.rollout.header;
        let end = match &header.phase {
            Phase::Watching(watching) => Some(watching.until),
            _ => None,
        };
        let Some(round) = &mut header.round else { return };
        for run in &mut round.runs {
            let Some(gate) = header.spec.gates.iter().find(|gate| gate.name == run.gate) else { continue };
            let anew = run.is_pending() || (again && run.stops().is_some());
            if !anew {
                continue;
            }
            header.gate_runs += 1;
            let deadline = end.unwrap_or(self.now + gate.deadline.as_ms());
            *run = Run {
                number: header.gate_runs,
                since: self.now,
                deadline,
                waits: false,
                state: RunState::Pending,
                ..run.clone()
            };
        }
    }

    /// The gates that are in the way are passed over, where every one of them allows it and a reason is given.
    pub fn pass_over(&mut self, promote: &Promote) -> Result<(), Refused> {
        let closed = self.rollout.runs().iter().filter(|run| run.is_pending() || run.stops().is_some());
        let closed: Vec<(u32, String)> = closed.map(|run| (run.number, run.gate.clone())).collect();
        self.check_promotable(closed.iter().map(|(_, gate)| gate.as_str()))?;
        if closed.is_empty() {
            return Ok(());
        }
        self.check_reason(promote)?;
        for (number, _) in closed {
            let Promote { by, reason, .. } = promote.clone();
            let reason = short(&reason);
            self.conclude(number, RunState::PassedOver { by, reason, at: self.now });
        }
        Ok(())
    }

    /// Every gate and wait that is left will be passed over, where every gate that is left allows it. Where there are
    /// none it is time alone, for which nobody is asked why.
    pub fn promote_fully(&mut self, promote: &Promote) -> Result<(), Refused> {
        self.check_promotable(self.rollout.spec().gates.iter().map(|gate| gate.name.as_str()))?;
        if !self.rollout.spec().gates.is_empty() {
            self.check_reason(promote)?;
        }
        self.pass_over(promote)?;
        self.rollout.header.promoted = Some(promote.by.clone());
        Ok(())
    }

    fn check_reason(&self, promote: &Promote) -> Result<(), Refused> {
        if promote.reason.trim().is_empty() {
            return self.refuse("promote", "going past gates needs a reason: --reason \"…\"");
        }
        Ok(())
    }

    fn check_promotable<'a>(&self, gates: impl Iterator<Item = &'a str>) -> Result<(), Refused> {
        let fixed: Vec<&str> =
            gates.filter(|name| self.rollout.gate(name).is_some_and(|gate| !gate.promotable)).collect();
        if fixed.is_empty() {
            return Ok(());
        }
        let names = super::finish::name_some(fixed.into_iter());
        self.refuse("promote", format!("the environment lets nobody past gate {names}; it must pass"))
    }
}

fn short(text: &str) -> String {
    text[..text.floor_char_boundary(NOTE_BYTES)].to_owned()
}
