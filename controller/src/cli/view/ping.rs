//! What hosts answered when they were asked just now.

use longshore_common::text::visible;
use longshore_proto::v1 as pb;
use serde::Serialize;

use super::{host::HostApp, some};
use crate::cli::{
    output::{Page, View},
    style::Ink,
    table::{Cell, Table},
};

#[derive(Clone, Debug, Serialize)]
pub struct Ping {
    /// In the order in which they came, silent hosts last.
    pub answers: Vec<Answer>,
    pub silent: usize,
}

#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    pub host: String,
    pub name: String,
    pub silent: bool,
    pub round_trip_us: Option<u32>,
    pub clock_offset_ms: Option<i64>,
    pub error: Option<String>,
    pub apps: Vec<HostApp>,
}

impl FromIterator<pb::PingReply> for Ping {
    fn from_iter<T: IntoIterator<Item = pb::PingReply>>(replies: T) -> Self {
        let answers: Vec<Answer> = replies.into_iter().map(Answer::from).collect();
        let silent = answers.iter().filter(|answer| answer.silent || answer.error.is_some()).count();
        Self { answers, silent }
    }
}

impl From<pb::PingReply> for Answer {
    fn from(reply: pb::PingReply) -> Self {
        let pb::PingReply { host, name, round_trip_us, silent, error, clock_offset_ms, apps } = reply;
        let answered = !silent && error.is_empty();
        Self {
            host,
            name,
            silent,
            round_trip_us: answered.then_some(round_trip_us),
            clock_offset_ms: answered.then_some(clock_offset_ms),
            error: some(error),
            apps: apps.into_iter().map(HostApp::from).collect(),
        }
    }
}

impl View for Ping {
    const SCHEMA: &'static str = "longshore.cli.ping/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let mut table = Table::new(["HOST", "ANSWER", "CLOCK", "RUNS"]);
        for answer in &self.answers {
            let word = match (answer.round_trip_us, &answer.error) {
                (Some(us), _) => Cell::new(Ink::Good, format!("{}.{:01} ms", us / 1_000, us % 1_000 / 100)),
                (None, Some(error)) => Cell::new(Ink::Bad, visible(error)),
                (None, None) => Cell::new(Ink::Bad, "silent"),
            };
            let clock = answer.clock_offset_ms.map(|ms| format!("{ms:+} ms")).unwrap_or_default();
            let runs = answer.apps.iter().map(HostApp::brief);
            table.row([
                visible(&answer.name).into(),
                word,
                clock.into(),
                runs.collect::<Vec<_>>().join(", ").into(),
            ]);
        }
        let mut lines = table.lines(page.style);
        if self.silent > 0 {
            lines.push(String::new());
            lines.push(format!("{} of {} did not answer", self.silent, self.answers.len()));
        }
        lines
    }
}
