//! What people are told of.

use longshore_common::text::visible;
use longshore_proto::v1 as pb;
use serde::Serialize;

use super::some;
use crate::cli::{
    moment::Moment,
    output::{Page, View},
    table::Table,
};

/// Digits of an id: the last group of a UUID.
const END: usize = 12;

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
    /// Only of those that are dead was asked: others may wait.
    #[serde(skip)]
    pub of_dead: bool,
}

impl From<pb::ListNoticesReply> for NoticeList {
    fn from(reply: pb::ListNoticesReply) -> Self {
        Self { notices: reply.notices.into_iter().map(Notice::from).collect(), of_dead: false }
    }
}

impl View for NoticeList {
    const SCHEMA: &'static str = "longshore.cli.notice-list/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        if self.notices.is_empty() {
            let none = if self.of_dead { "No notice is dead." } else { "Everything was told." };
            return vec![none.to_owned()];
        }
        let mut table =
            Table::new(["NOTICE", "KIND", "ENVIRONMENT", "TO", "STATE", "TRIES", "NEXT", "ERROR"]);
        for notice in &self.notices {
            table.row([
                end(&notice.id).into(),
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

/// What tells notices apart: they begin with the time, and what happens once is told to many.
fn end(id: &str) -> String {
    let id = visible(id);
    let from = id.char_indices().rev().nth(END - 1).map_or(0, |(at, _)| at);
    id[from..].to_owned()
}
