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

/// How a plan stands with those who are asked, as a part of it.
#[derive(Debug, Serialize)]
pub struct Approvals<'a> {
    state: &'a str,
    lacking: Option<&'a str>,
    until: Option<Moment>,
    asked: &'a str,
    words: &'a [Word],
}

impl Approval {
    pub fn as_part(&self) -> Approvals<'_> {
        let Self { state, lacking, until, asked, words, .. } = self;
        Approvals { state, lacking: lacking.as_deref(), until: *until, asked, words }
    }

    /// Whether the plan may start, as far as people are asked. None: its approvals were used up.
    pub fn verdict(&self, page: &Page) -> Option<(Ink, String)> {
        match self.state.as_str() {
            "approved" => {
                Some((Ink::Good, format!("It is approved{} and may start.", self.good_until(page))))
            }
            "pending" => {
                let lacking = self.lacking.as_deref().unwrap_or("waits");
                Some((Ink::Warn, format!("It may start when it is approved: {}.", visible(lacking))))
            }
            "denied" => {
                let by = self.words.iter().filter(|word| word.answer == "denied");
                let by: Vec<String> = by.map(|word| word.told()).collect();
                Some((Ink::Bad, format!("It may not start: {}.", by.join("; "))))
            }
            _ => None,
        }
    }

    /// `lacks 1 more`, `approved until 2026-11-30 10:18 UTC`, `denied`
    fn stands(&self, page: &Page) -> String {
        match (&self.lacking, self.until) {
            (Some(lacking), _) => visible(lacking),
            (None, Some(until)) => {
                format!("{} until {}", visible(&self.state), until.date_in_zone(&page.zone))
            }
            (None, None) => visible(&self.state),
        }
    }

    /// `, until 2026-11-30 10:18 UTC,` or nothing.
    fn good_until(&self, page: &Page) -> String {
        self.until.map(|at| format!(", until {},", at.date_in_zone(&page.zone))).unwrap_or_default()
    }

    fn said(&self) -> String {
        let words = self.words.iter().map(|word| match word.answer.as_str() {
            "denied" => format!("{} (no)", word.by),
            _ => word.by.clone(),
        });
        visible(&words.collect::<Vec<_>>().join(", "))
    }
}

impl Word {
    /// `sam denied it: not before the sale`
    pub fn told(&self) -> String {
        let because = self.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        visible(&format!("{} {} it{because}", self.by, self.answer))
    }
}

impl View for Approval {
    const SCHEMA: &'static str = "longshore.cli.approval/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let plan = digest(&self.plan);
        let what = visible(&format!("{}@{} for {}", self.app, self.version, self.env));
        match self.state.as_str() {
            "approved" => {
                let until = self
                    .until
                    .map(|at| format!(", good until {}", at.date_in_zone(&page.zone)))
                    .unwrap_or_default();
                vec![
                    page.style.paint(Ink::Good, &format!("Plan {plan} ({what}) is approved{until}.")),
                    format!("Somebody else starts it: longshore rollout start {plan}"),
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
                plan.stands(page).into(),
                plan.said().into(),
                plan.asked_at.map_or_else(|| "-".to_owned(), |at| at.relative(page.now)).into(),
            ]);
        }
        table.lines(page.style)
    }
}
