//! Plans that wait for approvals.

use std::collections::BTreeMap;

use longshore_common::text::visible;
use longshore_proto::v1 as pb;
use serde::Serialize;

use super::{digest, some};
use crate::cli::{
    moment::Moment,
    output::{Page, View},
    style::Ink,
    table::{Cell, Table},
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
    /// Why the plan can no longer start as it is, as far as the controller knows without asking hosts.
    pub stale: Option<String>,
    /// Of that: its release was withdrawn, by whom and why. Then another one has to be chosen.
    pub withdrawn: Option<String>,
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
            stale,
            withdrawn,
            unchanged: _, // of the answer to one who speaks, which is not how the plan stands
        } = row;
        let word = |word: pb::ApprovalWord| {
            let pb::ApprovalWord { by, answer, reason, at_ms } = word;
            Word { by, answer, reason: some(reason), at: Moment::from_wire(at_ms) }
        };
        let (asked_at, until) = (Moment::from_wire(asked_ms), Moment::from_wire(until_ms));
        let words = words.into_iter().map(word).collect();
        let (lacking, stale, withdrawn) = (some(lacking), some(stale), some(withdrawn));
        Self {
            plan,
            app,
            version,
            env,
            author,
            asked_at,
            state,
            lacking,
            until,
            stale,
            withdrawn,
            asked,
            words,
        }
    }
}

/// How a plan stands with those who are asked, as a part of it.
#[derive(Debug, Serialize)]
pub struct Approvals<'a> {
    state: &'a str,
    lacking: Option<&'a str>,
    until: Option<Moment>,
    stale: Option<&'a str>,
    asked: &'a str,
    words: &'a [Word],
}

impl Approval {
    pub fn as_part(&self) -> Approvals<'_> {
        let Self { state, lacking, until, stale, asked, words, .. } = self;
        let (lacking, stale) = (lacking.as_deref(), stale.as_deref());
        Approvals { state, lacking, until: *until, stale, asked, words }
    }

    /// Whether the plan may start, as far as people are asked. None: its approvals were used up.
    pub fn verdict(&self, page: &Page) -> Option<(Ink, String)> {
        if let Some(why) = &self.stale {
            return Some((Ink::Bad, format!("It can no longer start as it is: {}.", visible(why))));
        }
        match self.state.as_str() {
            "approved" => {
                Some((Ink::Good, format!("It is approved{} and may start.", self.good_until(page))))
            }
            "pending" => {
                let lacking = self.lacking.as_deref().unwrap_or("waits");
                Some((Ink::Warn, format!("It may start when it is approved: {}.", visible(lacking))))
            }
            "denied" => Some((Ink::Bad, format!("It may not start: {}.", self.denials()))),
            _ => None,
        }
    }

    /// The same of a plan that something else keeps from being started.
    pub fn besides(&self, page: &Page) -> String {
        if let Some(why) = &self.stale {
            return format!("It can no longer start as it is: {}.", visible(why));
        }
        match self.state.as_str() {
            "approved" => format!("It is approved{}.", self.good_until(page).trim_end_matches(',')),
            "denied" => format!("And {}.", self.denials()),
            "used" => "Its approvals were used up: it has to be approved anew as well.".to_owned(),
            _ => {
                let lacking = self.lacking.as_deref().unwrap_or("waits");
                format!("It has to be approved as well: {}.", visible(lacking))
            }
        }
    }

    /// `sam denied it: not before the sale`
    fn denials(&self) -> String {
        let denials = self.words.iter().filter(|word| word.answer == "denied");
        denials.map(Word::told).collect::<Vec<_>>().join("; ")
    }

    /// `sam and sue`: whose last word that is.
    fn who(&self, answer: &str) -> String {
        let words = self.words.iter().filter(|word| word.answer == answer);
        visible(&words.map(|word| word.by.as_str()).collect::<Vec<_>>().join(" and "))
    }

    /// `lacks 1 more`, `approved until 2026-11-30 10:18 UTC`, `denied`; `stale` where nothing comes of it any more.
    fn stands(&self, page: &Page) -> Cell {
        let text = match (&self.stale, &self.lacking, self.until) {
            (Some(_), ..) => return Cell::new(Ink::Warn, "stale"),
            (None, Some(lacking), _) => visible(lacking),
            (None, None, Some(until)) => {
                format!("{} until {}", visible(&self.state), until.date(&page.zone))
            }
            (None, None, None) => visible(&self.state),
        };
        text.into()
    }

    /// `, until 2026-11-30 10:18 UTC,` or nothing.
    fn good_until(&self, page: &Page) -> String {
        self.until.map(|at| format!(", until {},", at.date(&page.zone))).unwrap_or_default()
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

/// What to do about a plan of a release that was withdrawn: it comes to nothing, however often it is made.
pub(super) fn choose_another(app: &str) -> String {
    format!("Choose another release: longshore release list {app}")
}

impl View for Approval {
    const SCHEMA: &'static str = "longshore.cli.approval/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let plan = digest(&self.plan);
        let what = visible(&format!("{}@{} for {}", self.app, self.version, self.env));
        if let Some(why) = &self.stale {
            let (state, why) = (visible(&self.state), visible(why));
            let next = match &self.withdrawn {
                Some(_) => choose_another(&self.app),
                None => format!("Plan again: longshore plan {}@{} --to {}", self.app, self.version, self.env),
            };
            return vec![
                format!("Plan {plan} ({what}) is {state}."),
                page.style.paint(Ink::Warn, &format!("It can no longer start as it is: {why}.")),
                visible(&next),
            ];
        }
        match self.state.as_str() {
            "approved" => {
                let until =
                    self.until.map(|at| format!(", good until {}", at.date(&page.zone))).unwrap_or_default();
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
            "denied" => {
                let mut lines = vec![
                    format!("Plan {plan} ({what}) is denied."),
                    format!("{}.", self.denials()),
                    format!("It may not start until approved by {}.", self.who("denied")),
                ];
                match self.who("approved").as_str() {
                    "" => {}
                    who => lines.push(format!("What {who} said in favour is kept, and counts then.")),
                }
                lines
            }
            state => vec![format!("Plan {plan} ({what}) is {}.", visible(state))],
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct ApprovalList {
    pub plans: Vec<Approval>,
    /// How many others there are that are not listed, by state.
    pub left_out: BTreeMap<String, u32>,
}

impl ApprovalList {
    /// `Not listed: 1 denied, 2 used. See them: longshore rollout approvals --all`
    fn others(&self) -> Option<String> {
        let counted = self.left_out.iter().map(|(state, plans)| format!("{plans} {state}"));
        let counted = visible(&counted.collect::<Vec<_>>().join(", "));
        let all = "See them: longshore rollout approvals --all";
        (!self.left_out.is_empty()).then(|| format!("Not listed: {counted}. {all}"))
    }
}

impl From<pb::ListApprovalsReply> for ApprovalList {
    fn from(reply: pb::ListApprovalsReply) -> Self {
        let pb::ListApprovalsReply { plans, left_out } = reply;
        Self { plans: plans.into_iter().map(Approval::from).collect(), left_out }
    }
}

impl View for ApprovalList {
    const SCHEMA: &'static str = "longshore.cli.approval-list/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        if self.plans.is_empty() {
            let none = "No plan waits for approvals.".to_owned();
            return std::iter::once(none).chain(self.others()).collect();
        }
        let mut table = Table::new(["PLAN", "RELEASE", "ENVIRONMENT", "BY", "STATE", "SAID", "ASKED"]);
        for plan in &self.plans {
            table.row([
                digest(&plan.plan).into(),
                visible(&format!("{}@{}", plan.app, plan.version)).into(),
                visible(&plan.env).into(),
                visible(&plan.author).into(),
                plan.stands(page),
                plan.said().into(),
                plan.asked_at.map_or_else(|| "-".to_owned(), |at| at.relative(page.now)).into(),
            ]);
        }
        let stale = self.plans.iter().filter_map(|plan| {
            let why = visible(plan.stale.as_ref()?);
            Some(format!("{} can no longer start as it is: {why}", digest(&plan.plan)))
        });
        table.lines(page.style).into_iter().chain(stale).chain(self.others()).collect()
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::cli::{style::Style, view::samples_more::approval};

    /// Whoever is asked sees that nothing comes of it.
    #[test]
    fn a_stale_plan_is_marked() {
        let why = "what is live was 1.4.1, and is 1.5.0";
        let row = pb::ApprovalRow { stale: why.to_owned(), ..approval() };
        let zone = TimeZone::UTC;
        let page = Page { style: Style::PLAIN, columns: 80, rows: 50, now: Moment(1_060_000), zone };
        let reply = pb::ListApprovalsReply { plans: vec![row.clone()], ..Default::default() };
        let list = ApprovalList::from(reply).lines(&page);
        assert!(list[1].contains("  stale  "), "{list:#?}");
        assert_eq!(list[2], format!("9c1e5a5f can no longer start as it is: {why}"));
        let said = Approval::from(row).lines(&page);
        assert_eq!(said[1], format!("It can no longer start as it is: {why}."));
        assert_eq!(said[2], "Plan again: longshore plan shop@1.4.2 --to production");

        // Nothing comes of another plan of it either.
        let why = "shop@1.4.2 was withdrawn by bob: loses orders";
        let row = pb::ApprovalRow { stale: why.to_owned(), withdrawn: why.to_owned(), ..approval() };
        let said = Approval::from(row).lines(&page);
        assert_eq!(said[1], format!("It can no longer start as it is: {why}."));
        assert_eq!(said[2], "Choose another release: longshore release list shop");
    }

    /// Bad order: a yes after somebody's no.
    #[test]
    fn a_yes_after_a_denial_is_kept_and_the_no_stands() {
        let word = |by: &str, answer: &str, reason: &str| pb::ApprovalWord {
            by: by.to_owned(),
            answer: answer.to_owned(),
            reason: reason.to_owned(),
            at_ms: 1_000_000,
        };
        let words = vec![word("sue", "denied", "not before lunch"), word("bob", "approved", "")];
        let row = pb::ApprovalRow { state: "denied".to_owned(), lacking: String::new(), words, ..approval() };
        let zone = TimeZone::UTC;
        let page = Page { style: Style::PLAIN, columns: 80, rows: 50, now: Moment(1_060_000), zone };
        assert_eq!(
            Approval::from(row).lines(&page),
            [
                "Plan 9c1e5a5f (shop@1.4.2 for production) is denied.",
                "sue denied it: not before lunch.",
                "It may not start until approved by sue.",
                "What bob said in favour is kept, and counts then.",
            ]
        );
    }

    /// One that was denied waits for nobody, and is not gone.
    #[test]
    fn plans_that_are_not_listed_are_counted() {
        let left_out = [("denied".to_owned(), 1), ("used".to_owned(), 12)].into();
        let list = ApprovalList::from(pb::ListApprovalsReply { plans: vec![], left_out });
        let others = "Not listed: 1 denied, 12 used. See them: longshore rollout approvals --all";
        assert_eq!(list.lines(&Page::plain(Moment(0))), ["No plan waits for approvals.", others]);
        let none = ApprovalList::from(pb::ListApprovalsReply::default());
        assert_eq!(none.lines(&Page::plain(Moment(0))), ["No plan waits for approvals."]);
    }
}
