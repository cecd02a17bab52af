//! What two people decide.

use longshore_common::text::visible;
use longshore_proto::v1 as pb;
use serde::Serialize;

use super::some;
use crate::cli::{
    moment::{Moment, coarse},
    output::{Page, View},
    table::Table,
};

#[derive(Clone, Debug, Serialize)]
pub struct ProposalList {
    pub proposals: Vec<Proposal>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Proposal {
    pub id: String,
    pub method: String,
    pub target: String,
    pub by: String,
    pub at: Moment,
    /// Forgotten then.
    pub until: Moment,
    /// None: it waits for somebody.
    pub confirmed_by: Option<String>,
}

impl From<pb::ProposalsReply> for ProposalList {
    fn from(reply: pb::ProposalsReply) -> Self {
        Self { proposals: reply.proposals.into_iter().map(Proposal::from).collect() }
    }
}

impl From<pb::Proposal> for Proposal {
    fn from(proposal: pb::Proposal) -> Self {
        let pb::Proposal { id, method, target, by, at_ms, until_ms, confirmed_by } = proposal;
        let (at, until) = (Moment(at_ms), Moment(until_ms));
        Self { id, method, target, by, at, until, confirmed_by: some(confirmed_by) }
    }
}

impl View for ProposalList {
    const SCHEMA: &'static str = "longshore.cli.proposal-list/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        if self.proposals.is_empty() {
            return vec!["Nothing waits for a second person.".to_owned()];
        }
        let mut table = Table::new(["PROPOSAL", "BY", "WHAT", "ENDS", "CONFIRMED"]);
        for proposal in &self.proposals {
            table.row([
                visible(&proposal.id).into(),
                visible(&proposal.by).into(),
                visible(&format!("{} {}", proposal.method, proposal.target)).into(),
                proposal.until.relative(page.now).into(),
                visible(proposal.confirmed_by.as_deref().unwrap_or("no")).into(),
            ]);
        }
        table.lines(page.style)
    }
}

impl View for Proposal {
    const SCHEMA: &'static str = "longshore.cli.proposal/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        vec![format!(
            "{} may do it now, within {}: {} {}",
            visible(&self.by),
            coarse((self.until.0 - page.now.0).max(0)),
            visible(&self.method),
            visible(&self.target)
        )]
    }
}
