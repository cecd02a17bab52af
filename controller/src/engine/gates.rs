//! Gates of rollouts in the store: what they look at, what they came to, and what operators say of them.

use std::collections::{BTreeMap, BTreeSet};

use longshore_common::{
    code::Code,
    ids::{OperatorName, RolloutId},
    time::Millis,
};
use serde::{Deserialize, Serialize};

use super::{Engine, records, unknown};
use crate::{
    approval::{Answer, Approval, Rule, Standing, admit, counts, standing},
    environments::approve,
    gate::{Check, Checks, check},
    rollout::{Event, GateKind, GateSpec, GateWord, Header, Phase, Rollout, Run, RunState, Settled, Verdict},
    store::{Key, Prefix, SharedStore, Txn, record},
    trouble::Trouble,
};

/// New attempts when two operators answer at the same moment.
const ATTEMPTS: u32 = 8;
/// Answers that one gate keeps.
const ANSWERS_MAX: usize = 64;

/// Under `gate-results/<rollout>/<run>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateResult {
    pub gate: GateSpec,
    pub settled: Settled,
    #[serde(default)]
    pub evidence: Vec<String>,
}

impl GateResult {
    /// `None` for a gate that the rollout does not know, which would be a fault of ours.
    pub fn of(rollout: &Rollout, settled: Settled, evidence: Vec<String>) -> Option<Self> {
        let gate = rollout.gate(&settled.run.gate)?.clone();
        Some(Self { gate, settled, evidence })
    }

    /// What it came to, in a line, and what that rests on.
    pub fn told(self) -> Vec<String> {
        let verdict = match &self.settled.run.state {
            RunState::Concluded { verdict, note, .. } => Some(format!("{}: {note}", verdict.as_str())),
            RunState::Pending | RunState::PassedOver { .. } => None,
        };
        verdict.into_iter().chain(self.evidence).collect()
    }
}

/// What every gate of the rollout looks at; nothing for a rollout from before there were gates.
pub async fn checks(store: &SharedStore, id: &RolloutId) -> Result<Checks, Trouble> {
    let found = records::get::<Checks>(store, &Key::rollout_gates(id)).await?;
    Ok(found.map(|(checks, _)| checks).unwrap_or_default())
}

/// Every gate that came to its end, in order.
pub async fn results(store: &SharedStore, id: &RolloutId) -> Result<Vec<GateResult>, Trouble> {
    let listing = store.list(&Prefix::gate_results(id)).await?;
    listing.entries.iter().map(|entry| record::decode_entry(entry).map_err(Trouble::from)).collect()
}

impl Engine {
    /// An operator approves a gate, or denies it. With enough of them it has its verdict.
    pub async fn answer_gate(
        &self,
        id: RolloutId,
        name: &str,
        by: &OperatorName,
        answer: Answer,
        reason: String,
    ) -> Result<(), Trouble> {
        let store = &self.inner.store;
        let loaded = records::load(store, &id).await?.ok_or_else(|| unknown(&id.to_string()))?;
        let due = loaded.rollout.due_gates();
        let shown = longshore_common::text::visible(name);
        let waits = due.iter().find(|(_, gate, _)| gate.name == name && gate.kind == GateKind::Approval);
        let Some((_, _, run)) = waits else {
            let asks = |run: &Run| {
                let gate = loaded.rollout.gate(&run.gate);
                run.gate == name && run.is_pending() && gate.is_some_and(|g| g.kind == GateKind::Approval)
            };
            if matches!(loaded.rollout.phase(), Phase::Paused(_)) && loaded.rollout.runs().iter().any(asks) {
                let message = format!(
                    "gate {shown} takes no answers while the rollout is paused. Resume it first: longshore rollout \
                     resume {id}"
                );
                return Err(Trouble::refused(Code::R01, message));
            }
            let message = format!(
                "no gate {shown} of this rollout waits for an approval. See: longshore rollout explain {id}"
            );
            return Err(Trouble::refused(Code::R01, message));
        };
        let Some(Check::Approval(asked)) = checks(store, &id).await?.by_gate.remove(name) else {
            return Err(Trouble::refused(Code::R01, format!("gate {shown} asks nobody")));
        };
        let header = &loaded.rollout.header;
        let people = approve::people(store, &header.app, &header.env).await?;
        let (rule, author) = (rule(&asked)?.among(&people), loaded.record.started_by.parse()?);
        admit(&rule, &author, by).map_err(|refusal| {
            let why = match refusal {
                crate::approval::Refusal::Author => {
                    "whoever started the rollout does not open its gates".to_owned()
                }
                other => other.to_string(),
            };
            Trouble::refused(Code::C02, format!("{by} cannot open gate {shown}: {why}"))
        })?;
        let number = run.number;
        let said = Approval { by: by.clone(), at: self.now(), answer, reason };
        let answers = self.keep_answer(&id, number, said).await?;
        match opinion(&rule, &answers, &author, self.now()) {
            None => Ok(()),
            Some((verdict, note)) => {
                let word = GateWord::Verdict { verdict, note };
                self.steer(id, Event::Gate { number, word }).await
            }
        }
    }

    /// All answers with this one, in place of what the same operator said before.
    async fn keep_answer(&self, id: &RolloutId, run: u32, said: Approval) -> Result<Vec<Approval>, Trouble> {
        let (store, key) = (&self.inner.store, Key::gate_answers(id, run));
        for attempt in 0.. {
            let (answers, read) = records::get::<Vec<Approval>>(store, &key).await?.unzip();
            let mut answers = answers.unwrap_or_default();
            answers.retain(|one| one.by != said.by);
            answers.push(said.clone());
            if answers.len() > ANSWERS_MAX {
                return Err(Trouble::refused(Code::R01, "too many operators have answered"));
            }
            let txn = Txn::new().as_read(key.clone(), read).put(key.clone(), record::encode(&key, &answers)?);
            match store.commit(txn).await.map_err(Trouble::from) {
                Ok(_) => return Ok(answers),
                Err(trouble) if trouble.is_conflict() && attempt < ATTEMPTS => {}
                Err(trouble) => return Err(trouble),
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Opinions that were committed just before a crash and led nowhere yet.
    pub(super) async fn open_answers(&self, rollout: &Rollout, author: &str) -> Result<Vec<Event>, Trouble> {
        let (author, mut events) = (author.parse()?, vec![]);
        for (number, rule, answers) in self.asked(rollout).await? {
            if let Some((verdict, note)) = opinion(&rule, &answers, &author, self.now()) {
                events.push(Event::Gate { number, word: GateWord::Verdict { verdict, note } });
            }
        }
        Ok(events)
    }

    /// Of each run of a gate that waits for operators, who is asked and what they have said, in words.
    pub(super) async fn said_so_far(
        &self,
        rollout: &Rollout,
        author: &str,
    ) -> Result<BTreeMap<u32, String>, Trouble> {
        let author = author.parse()?;
        let asked = self.asked(rollout).await?.into_iter();
        Ok(asked
            .map(|(number, rule, answers)| (number, so_far(&rule, &answers, &author, self.now())))
            .collect())
    }

    /// Each run of a gate that waits for operators, with those who are asked now and what was said.
    async fn asked(&self, rollout: &Rollout) -> Result<Vec<(u32, Rule, Vec<Approval>)>, Trouble> {
        let (store, header) = (&self.inner.store, &rollout.header);
        let mut found = vec![];
        for (_, gate, run) in rollout.due_gates() {
            if gate.kind != GateKind::Approval {
                continue;
            }
            let Some(Check::Approval(asked)) = checks(store, &header.id).await?.by_gate.remove(&gate.name)
            else {
                continue;
            };
            let answers =
                records::get::<Vec<Approval>>(store, &Key::gate_answers(&header.id, run.number)).await?;
            let people = approve::people(store, &header.app, &header.env).await?;
            let answers = answers.map(|(answers, _)| answers).unwrap_or_default();
            found.push((run.number, rule(&asked)?.among(&people), answers));
        }
        Ok(found)
    }
}

/// `bob approved, lacks 1 more; asked are: bob, sam`
fn so_far(rule: &Rule, answers: &[Approval], author: &OperatorName, now: Millis) -> String {
    let approved = answers.iter().filter(|one| counts(rule, answers, author, &one.by, now));
    let approved: Vec<String> = approved.map(|one| format!("{} approved, ", one.by)).collect();
    let lacking = match standing(rule, answers, author, now) {
        Standing::Pending(lacking) => format!("{lacking}; "),
        Standing::NotNeeded | Standing::Approved { .. } | Standing::Denied(_) => String::new(),
    };
    format!("{}{lacking}asked are: {}", approved.concat(), rule.asked_of(author, "whoever started it"))
}

/// How many have to open a gate, and who may at the moment, in words. Empty where that cannot be told: a rollout does not
/// fail for it.
pub(super) async fn asked(store: &SharedStore, header: &Header, gate: &str) -> Result<String, Trouble> {
    let Some(Check::Approval(asked)) = checks(store, &header.id).await?.by_gate.remove(gate) else {
        return Ok(String::new());
    };
    match rule(&asked) {
        Ok(rule) => Ok(wants(&rule.among(&approve::people(store, &header.app, &header.env).await?))),
        Err(Trouble::Refused(why)) => {
            tracing::error!(rollout = %header.id, gate, %why, "nobody can be named who may open it");
            Ok(String::new())
        }
        Err(trouble) => Err(trouble),
    }
}

/// `2 approvals by carl, sre (sam, sue)`
pub fn wants(rule: &Rule) -> String {
    let approvals = if rule.count == 1 { "approval" } else { "approvals" };
    format!("{} {approvals} by {}", rule.count, rule.asked_but("whoever started it"))
}

/// Of whom a gate asks; who has its roles comes with [`Rule::among`].
pub fn rule(asked: &check::Approval) -> Result<Rule, Trouble> {
    let by = asked.by.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
    let by_roles = asked.by_roles.iter().map(|role| (role.clone(), BTreeSet::new())).collect();
    Ok(Rule { count: asked.count, by, by_roles, ..Rule::default() })
}

/// The verdict that answers come to, once they do.
fn opinion(
    rule: &Rule,
    answers: &[Approval],
    author: &OperatorName,
    now: Millis,
) -> Option<(Verdict, String)> {
    match standing(rule, answers, author, now) {
        Standing::NotNeeded => Some((Verdict::Pass, "nobody is asked".to_owned())),
        Standing::Approved { .. } => {
            let good = answers.iter().filter(|one| counts(rule, answers, author, &one.by, now));
            let names: Vec<String> = good.map(|one| one.by.to_string()).collect();
            Some((Verdict::Pass, format!("approved by {}", names.join(", "))))
        }
        Standing::Denied(Approval { by, reason, .. }) => {
            let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            Some((Verdict::Fail, format!("denied by {by}{reason}")))
        }
        Standing::Pending(_) => None,
    }
}

/// When a run was settled.
pub fn settled_at(state: &RunState) -> Millis {
    match state {
        RunState::Pending => 0,
        RunState::Concluded { at, .. } | RunState::PassedOver { at, .. } => *at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yes(by: &str) -> Approval {
        Approval { by: by.parse().unwrap(), at: 1, answer: Answer::Approved, reason: String::new() }
    }

    /// Somebody whose role was taken away since has not opened the gate, and is not said to have.
    #[test]
    fn only_whose_word_counts_is_named() {
        let approvers: BTreeSet<OperatorName> = ["cat", "dan"].map(|name| name.parse().unwrap()).into();
        let rule = Rule { count: 2, approvers: Some(approvers), ..Rule::default() };
        let author = "ada".parse().unwrap();
        let mut answers = vec![yes("bob"), yes("cat")];
        let told = so_far(&rule, &answers, &author, 2);
        assert_eq!(
            told,
            "cat approved, lacks 1 more; no longer counted: bob; asked are: any approver but whoever started it"
        );
        let of_role: BTreeSet<OperatorName> = ["ada", "dan"].map(|name| name.parse().unwrap()).into();
        let with_role = Rule { by_roles: [("approver".to_owned(), of_role)].into(), ..rule.clone() };
        let told = so_far(&with_role, &[], &author, 2);
        assert!(told.ends_with("asked are: approver (dan)"), "ada started it: {told}");
        assert_eq!(opinion(&rule, &answers, &author, 2), None);
        answers.push(yes("dan"));
        let (verdict, note) = opinion(&rule, &answers, &author, 2).expect("two of them count");
        assert_eq!((verdict, note.as_str()), (Verdict::Pass, "approved by cat, dan"));
    }
}
