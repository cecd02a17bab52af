//! Log lines of apps on hosts.

use longshore_common::text::visible;
use longshore_proto::v1 as pb;
use serde::Serialize;

use super::some;
use crate::cli::{
    moment::Moment,
    output::{Page, View},
    style::Ink,
};

#[derive(Clone, Debug, Serialize)]
pub struct LogLine {
    pub host: String,
    pub name: String,
    pub at: Option<Moment>,
    pub source: String,
    /// stdout or stderr.
    pub stream: String,
    pub line: String,
    /// Why this host's log could not be read; then there is no line.
    pub error: Option<String>,
}

impl From<pb::HostLogLine> for LogLine {
    fn from(message: pb::HostLogLine) -> Self {
        let pb::HostLogLine { host, name, line, error } = message;
        let pb::LogLine { app: _, generation: _, source, stream, line, time_ms } = line.unwrap_or_default();
        Self { host, name, at: Moment::from_wire(time_ms), source, stream, line, error: some(error) }
    }
}

impl View for LogLine {
    const SCHEMA: &'static str = "longshore.cli.log-line/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let name = page.style.paint(Ink::Busy, &visible(&self.name));
        if let Some(error) = &self.error {
            return vec![format!("{name}  {}", page.style.paint(Ink::Bad, &visible(error)))];
        }
        let clock = self.at.map(|at| at.clock(&page.zone)).unwrap_or_default();
        let source = match self.source.as_str() {
            "app" | "" => String::new(),
            source => format!("[{}] ", visible(source)),
        };
        let text = visible(&self.line);
        let text = if self.stream == "stderr" { page.style.paint(Ink::Warn, &text) } else { text };
        vec![format!("{}  {name}  {source}{text}", page.style.paint(Ink::Faint, &clock))]
    }
}
