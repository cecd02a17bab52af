//! How the tour ended.

use serde::Serialize;

use super::typed::Typed;
use crate::cli::{
    demo::{story::counter_line, traffic::Tally},
    exit::Exit,
    line::Line,
    moment::{count, took},
    output::{Page, View},
    style::Ink,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    AtTheEnd,
    /// The reader had seen enough.
    Early,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    pub ended: Ended,
    /// In the order in which they were typed.
    pub commands: Vec<Typed>,
    pub requests: Tally,
    pub took_ms: i64,
}

impl View for Summary {
    const SCHEMA: &'static str = "longshore.cli.tour/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let refused = self.commands.iter().filter(|typed| typed.exit == Exit::Refused.number()).count();
        let title = match self.ended {
            Ended::AtTheEnd => "That was the tour",
            Ended::Early => "You left the tour",
        };
        let said = format!(
            "{}, {refused} refused as they should be, in {}",
            count(self.commands.len(), "command"),
            took(self.took_ms)
        );
        let line = Line::indented(2).then(Ink::Plain, said);
        vec![
            String::new(),
            format!("  {}", page.style.paint(Ink::Strong, title)),
            line.paint(page.style, page.columns),
            counter_line(&self.requests, page),
        ]
    }
}
