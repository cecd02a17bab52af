//! What people are told of.

use longshore_common::text::visible;
use longshore_proto::v1 as pb;
use serde::Serialize;

use super::{short, some};
use crate::cli::{
    moment::Moment,
    output::{Page, View},
    table::Table,
};

#[derive(Clone, Debug, Serialize)]
pub struct Notice {
    pub id: String,
    pub kind: String,
    pub env: String,
    /// Name of the way of telling in the environment's file.
    pub teller: String,
    pub address: String,
    pub subject: String,
    /// `waiting`, `dead`, `told`.
    pub state: String,
    pub attempts: u32,
    /// Of the last attempt.
    pub error: Option<String>,
    pub made_at: Option<Moment>,
    pub next_at: Option<Moment>,
}

impl From<pb::NoticeRow> for Notice {
    fn from(row: pb::NoticeRow) -> Self {
        let pb::NoticeRow {
            id,
            kind,
            env,
            teller,
            address,
            subject,
            state,
            attempts,
            error,
            made_ms,
            next_ms,
        } = row;
        let (made_at, next_at) = (Moment::from_wire(made_ms), Moment::from_wire(next_ms));
        Self {
            id,
            kind,
            env,
            teller,
            address,
            subject,
            state,
            attempts,
            error: some(error),
            made_at,
            next_at,
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct NoticeList {
    pub notices: Vec<Notice>,
}

impl From<pb::ListNoticesReply> for NoticeList {
    fn from(reply: pb::ListNoticesReply) -> Self {
        Self { notices: reply.notices.into_iter().map(Notice::from).collect() }
    }
}

impl View for NoticeList {
    const SCHEMA: &'static str = "longshore.cli.notice-list/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        if self.notices.is_empty() {
            return vec!["Everything was told.".to_owned()];
        }
        let mut table =
            Table::new(["NOTICE", "KIND", "ENVIRONMENT", "TO", "STATE", "TRIES", "NEXT", "ERROR"]);
        for notice in &self.notices {
            table.row([
                short(&notice.id).into(),
                visible(&notice.kind).into(),
                visible(&notice.env).into(),
                visible(&format!("{} ({})", notice.teller, notice.address)).into(),
                visible(&notice.state).into(),
                notice.attempts.to_string().into(),
                notice.next_at.map_or_else(|| "-".to_owned(), |at| at.relative(page.now)).into(),
                visible(notice.error.as_deref().unwrap_or("-")).into(),
            ]);
        }
        table.lines(page.style)
    }
}
