//! A plan as a document: waves are counted from 1, as people do. How it looks on a screen is in `plan_lines`.

use longshore_proto::v1 as pb;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::{approval::Approval, some};
use crate::{
    cli::{exit::Exit, moment::Moment},
    plan::{Part, Plan},
};

#[derive(Clone, Debug)]
pub struct PlanView {
    pub plan: Plan,
    /// How it stands with those who are asked; none where nobody is.
    pub approval: Option<Approval>,
    /// The rollout that was started by it last.
    pub rollout: Option<String>,
    /// Its release was withdrawn, perhaps since it was made: by whom and why.
    pub withdrawn: Option<String>,
    /// Every host is shown, not only those that stand out.
    pub all_hosts: bool,
}

impl PlanView {
    pub fn of(plan: Plan) -> Self {
        Self { plan, approval: None, rollout: None, withdrawn: None, all_hosts: false }
    }

    /// None: it is of a version that this one cannot read.
    pub fn read(reply: pb::PlanReply) -> Option<Self> {
        let pb::PlanReply { digest: _, plan, approval, rollout, withdrawn } = reply;
        let (approval, rollout) = (approval.map(Approval::from), some(rollout));
        Some(Self { approval, rollout, withdrawn: some(withdrawn), ..Self::parse(&plan)? })
    }

    pub fn parse(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok().map(Self::of)
    }

    pub fn with_hosts(self, all_hosts: bool) -> Self {
        Self { all_hosts, ..self }
    }

    pub fn exit(&self) -> Exit {
        match (self.plan.failed.is_empty(), self.plan.is_nothing_to_do()) {
            (false, _) => Exit::Refused,
            (true, true) => Exit::NothingToDo,
            (true, false) => Exit::Done,
        }
    }
}

/// The plan with its waves counted from 1.
fn counted_from_one(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    plan.waves.iter_mut().for_each(|wave| wave.number += 1);
    plan.gates.iter_mut().flat_map(|gate| &mut gate.after).for_each(|wave| *wave += 1);
    for host in &mut plan.hosts {
        if let Part::Wave { wave } = &mut host.part {
            *wave += 1;
        }
    }
    plan
}

impl Serialize for PlanView {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut document =
            serde_json::to_value(counted_from_one(&self.plan)).map_err(serde::ser::Error::custom)?;
        if let Value::Object(fields) = &mut document {
            // The document has a schema of its own, and moments are written as everywhere else.
            fields.remove("schema");
            fields.remove("made_ms");
            let at = serde_json::to_value(Moment(self.plan.made_ms)).map_err(serde::ser::Error::custom)?;
            fields.insert("made_at".to_owned(), at);
            let may_start = self.plan.failed.is_empty() && self.withdrawn.is_none();
            fields.insert("may_start".to_owned(), may_start.into());
            fields.insert("nothing_to_do".to_owned(), self.plan.is_nothing_to_do().into());
            let said = serde_json::to_value(self.approval.as_ref().map(Approval::as_part));
            fields.insert("approvals".to_owned(), said.map_err(serde::ser::Error::custom)?);
            fields.insert("rollout".to_owned(), self.rollout.clone().into());
            fields.insert("withdrawn".to_owned(), self.withdrawn.clone().into());
        }
        document.serialize(to)
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct PlanList {
    pub plans: Vec<PlanRow>,
}

#[derive(Clone, Debug, Serialize)]
pub struct PlanRow {
    pub digest: String,
    pub app: String,
    pub version: String,
    pub env: String,
    pub made_at: Moment,
    pub made_by: String,
    /// That it moves.
    pub hosts: u32,
    pub waves: u32,
    /// Names of preconditions that did not hold.
    pub failed: Vec<String>,
    /// The rollout that was started by it last.
    pub rollout: Option<String>,
    /// `pending`, `approved`, `denied`, `used`; none where nobody is asked.
    pub approval: Option<String>,
    /// Its release was withdrawn, perhaps since it was made: by whom and why.
    pub withdrawn: Option<String>,
}

impl From<pb::ListPlansReply> for PlanList {
    fn from(reply: pb::ListPlansReply) -> Self {
        Self { plans: reply.plans.into_iter().map(PlanRow::from).collect() }
    }
}

impl From<pb::PlanRow> for PlanRow {
    fn from(row: pb::PlanRow) -> Self {
        let pb::PlanRow {
            digest,
            app,
            version,
            env,
            made_ms,
            made_by,
            hosts,
            waves,
            failed,
            rollout,
            approval,
            withdrawn,
        } = row;
        let (made_at, rollout) = (Moment(made_ms), some(rollout));
        let (approval, withdrawn) = (some(approval), some(withdrawn));
        Self {
            digest,
            app,
            version,
            env,
            made_at,
            made_by,
            hosts,
            waves,
            failed,
            rollout,
            approval,
            withdrawn,
        }
    }
}
