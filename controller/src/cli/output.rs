//! Where results go: a table for people, or one JSON document with a named, versioned shape.

use std::io::{self, Write};

use jiff::tz::TimeZone;
use serde::Serialize;

use super::{exit::Exit, failure::Failure, moment::Moment, style::Style};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON document, or one a line where results stream; shapes: docs/cli-json.md.
    Json,
}

/// What lines are made with. The same facts and the same `Page` give the same lines.
#[derive(Clone, Debug)]
pub struct Page {
    pub style: Style,
    pub columns: usize,
    pub rows: usize,
    pub now: Moment,
    pub zone: TimeZone,
}

impl Page {
    /// For tests and pipes: no colour, no width to keep to.
    pub fn plain(now: Moment) -> Self {
        Self { style: Style::PLAIN, columns: 100_000, rows: 100_000, now, zone: TimeZone::UTC }
    }
}

/// Something that a command prints.
pub trait View: Serialize {
    /// `longshore.cli.<noun>/<version>`; the version rises when a field changes its meaning or goes.
    const SCHEMA: &'static str;

    fn lines(&self, page: &Page) -> Vec<String>;
}

#[derive(Serialize)]
struct Document<'a, T> {
    schema: &'static str,
    #[serde(flatten)]
    body: &'a T,
}

/// One document, indented.
pub fn json<V: View>(view: &V) -> String {
    let document = Document { schema: V::SCHEMA, body: view };
    serde_json::to_string_pretty(&document)
        .expect("views hold strings, numbers, lists and maps with string keys")
}

/// One document on one line, for streams.
pub fn json_line<V: View>(view: &V) -> String {
    let document = Document { schema: V::SCHEMA, body: view };
    serde_json::to_string(&document).expect("views hold strings, numbers, lists and maps with string keys")
}

/// Standard output. A closed pipe (`| head`) is an end, not an error.
#[derive(Clone, Debug)]
pub struct Output {
    pub format: Format,
    pub page: Page,
}

impl Output {
    pub fn print<V: View>(&self, view: &V) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.say(&self.fresh().lines_of(view)),
            Format::Json => self.say(&[json(view)]),
        }
    }

    pub fn print_one_of_many<V: View>(&self, view: &V) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.say(&self.fresh().lines_of(view)),
            Format::Json => self.say(&[json_line(view)]),
        }
    }

    /// Lines for people only; nothing in JSON mode.
    pub fn remark(&self, lines: &[String]) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.say(lines),
            Format::Json => Ok(()),
        }
    }

    pub fn say(&self, lines: &[String]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        let written = lines.iter().try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush());
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                Err(Failure::new(Exit::Done, "the reader of our output is gone"))
            }
            written => {
                written.map_err(|e| Failure::new(Exit::Failed, format!("write to standard output: {e}")))
            }
        }
    }

    /// A page with the time of now.
    pub fn fresh(&self) -> Page {
        Page { now: now(), ..self.page.clone() }
    }
}

impl Page {
    fn lines_of<V: View>(&self, view: &V) -> Vec<String> {
        view.lines(self)
    }
}

pub fn now() -> Moment {
    use longshore_common::time::{Clock, SystemClock};
    Moment(SystemClock.now_ms())
}
