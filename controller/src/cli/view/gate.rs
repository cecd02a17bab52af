//! The gates of a rollout, with what their verdicts rest on.

use longshore_common::text::visible;
use longshore_proto::v1 as pb;
use serde::Serialize;

use super::some;
use crate::cli::{
    moment::Moment,
    output::Page,
    style::{Ink, clip, wrap},
};

/// Columns that a sentence gets however narrow the screen is.
const NARROWEST: usize = 20;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gate {
    pub name: String,
    /// probe, test, metrics, app, approval, webhook or http.
    pub kind: String,
    /// before, after wave N, or watch.
    pub place: String,
    /// pending, pass, fail, inconclusive, no-data or passed-over.
    pub state: String,
    /// What it came to, or has seen so far.
    pub note: Option<String>,
    pub since: Option<Moment>,
    /// While pending its deadline, then when it was settled.
    pub until: Option<Moment>,
    /// continue, pause or rollback; none while pending.
    pub then: Option<String>,
    pub evidence: Vec<String>,
    /// Which run of the rollout; only rises.
    pub run: u32,
    /// Whether `rollout promote` may go past it.
    pub promotable: bool,
}

impl From<pb::GateRow> for Gate {
    fn from(row: pb::GateRow) -> Self {
        let pb::GateRow {
            name,
            kind,
            place,
            state,
            note,
            since_ms,
            until_ms,
            then,
            evidence,
            run,
            promotable,
        } = row;
        let (since, until) = (Moment::from_wire(since_ms), Moment::from_wire(until_ms));
        let (note, then) = (some(note), some(then));
        Self { name, kind, place, state, note, since, until, then, evidence, run, promotable }
    }
}

impl Gate {
    pub fn is_pending(&self) -> bool {
        self.state == "pending"
    }

    /// The same gate in the same place, in another run perhaps.
    pub fn is_of(&self, other: &Gate) -> bool {
        (&self.name, &self.place) == (&other.name, &other.place)
    }

    pub fn ink(&self) -> Ink {
        match self.state.as_str() {
            "pass" => Ink::Good,
            "fail" => Ink::Bad,
            "pending" => Ink::Faint,
            _ => Ink::Warn,
        }
    }

    /// `gate errors (metrics) after wave 1: fail: 0.05 is more than 0.01`
    pub fn sentence(&self) -> String {
        let note = self.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
        visible(&format!("gate {} ({}) {}: {}{note}", self.name, self.kind, self.place, self.state))
    }

    /// The sentence, and the evidence of what did not pass, or of everything when there are `all`.
    pub fn lines(&self, all: bool, page: &Page) -> Vec<String> {
        let mark = match self.state.as_str() {
            "pass" => "✓",
            "pending" => "◦",
            "fail" => "✗",
            _ => "!",
        };
        let sentence = wrap(&self.sentence(), page.columns.saturating_sub(2).max(NARROWEST));
        let lead = |at: usize| if at == 0 { format!("{mark} ") } else { "  ".to_owned() };
        let parts = sentence.iter().enumerate();
        let mut lines: Vec<String> =
            parts.map(|(at, part)| page.style.paint(self.ink(), &format!("{}{part}", lead(at)))).collect();
        if all || (self.state != "pass" && !self.is_pending()) {
            let shown = |line: &String| clip(&format!("    {}", visible(line)), page.columns);
            lines.extend(self.evidence.iter().map(|line| page.style.paint(Ink::Faint, &shown(line))));
        }
        lines
    }
}
