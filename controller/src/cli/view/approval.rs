//! Plans that wait for approvals.

use longshore_common::text::visible;
use longshore_proto::v1 as pb;
use serde::Serialize;

use super::{digest, some};
use crate::cli::{
    moment::Moment,
    output::{Page, View},
    style::Ink,
    table::Table,
};

/// A plan, and what people said of it.
#[derive(Clone, Debug, Serialize)]
pub struct Approval {
    pub plan: String,
    pub app: String,
    pub version: String,
    pub env: String,
    pub author: String,
    pub asked_at: Option<Moment>,
    /// `pending`, `approved`, `denied`, `used`.
    pub state: String,
    pub lacking: Option<String>,
    /// The approvals are good until then; none: for good, or there are not enough.
    pub until: Option<Moment>,
    /// Who may approve, in words.
    pub asked: String,
    pub words: Vec<Word>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Word {
    pub by: String,
    /// `approved`, `denied`.
    pub answer: String,
    pub reason: Option<String>,
    pub at: Option<Moment>,
}

impl From<pb::ApprovalRow> for Approval {
    fn from(row: pb::ApprovalRow) -> Self {
        let pb::ApprovalRow {
            plan,
            app,
            version,
            env,
            author,
            asked_ms,
            state,
            lacking,
            until_ms,
            asked,
            words,
        } = row;
        let word = |word: pb::ApprovalWord| {
            let pb::ApprovalWord { by, answer, reason, at_ms } = word;
            Word { by, answer, reason: some(reason), at: Moment::from_wire(at_ms) }
        };
        let (asked_at, until) = (Moment::from_wire(asked_ms), Moment::from_wire(until_ms));
        let words = words.into_iter().map(word).collect();
        Self { plan, app, version, env, author, asked_at, state, lacking: some(lacking), until, asked, words }
    }
}

impl Approval {
    fn said(&self) -> String {
        let words = self.words.iter().map(|word| match word.answer.as_str() {
            "denied" => format!("{} (no)", word.by),
            _ => word.by.clone(),
        });
        visible(&words.collect::<Vec<_>>().join(", "))
    }
}

impl View for Approval {
    const SCHEMA: &'static str = "longshore.cli.approval/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let plan = digest(&self.plan);
        let what = visible(&format!("{}@{} for {}", self.app, self.version, self.env));
        match self.state.as_str() {
            "approved" => {
                let until =
                    self.until.map(|at| format!(", good until {}", at.date(&page.zone))).unwrap_or_default();
                vec![
                    page.style.paint(Ink::Good, &format!("Plan {plan} ({what}) is approved{until}.")),
                    format!("Start it: longshore rollout start {plan}"),
                ]
            }
            "pending" => {
                let lacking = self.lacking.as_deref().unwrap_or("waits");
                vec![
                    format!("Plan {plan} ({what}) {}.", visible(lacking)),
                    format!("Asked are: {}", visible(&self.asked)),
                ]
            }
            state => vec![format!("Plan {plan} ({what}) is {}.", visible(state))],
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct ApprovalList {
    pub plans: Vec<Approval>,
}

impl From<pb::ListApprovalsReply> for ApprovalList {
    fn from(reply: pb::ListApprovalsReply) -> Self {
        Self { plans: reply.plans.into_iter().map(Approval::from).collect() }
    }
}

impl View for ApprovalList {
    const SCHEMA: &'static str = "longshore.cli.approval-list/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        if self.plans.is_empty() {
            return vec!["No plan waits for approvals.".to_owned()];
        }
        let mut table = Table::new(["PLAN", "RELEASE", "ENVIRONMENT", "BY", "STATE", "SAID", "ASKED"]);
        for plan in &self.plans {
            table.row([
                digest(&plan.plan).into(),
                visible(&format!("{}@{}", plan.app, plan.version)).into(),
                visible(&plan.env).into(),
                visible(&plan.author).into(),
                visible(plan.lacking.as_deref().unwrap_or(&plan.state)).into(),
                plan.said().into(),
                plan.asked_at.map_or_else(|| "-".to_owned(), |at| at.relative(page.now)).into(),
            ]);
        }
        table.lines(page.style)
    }
}
