//! How the demo speaks: chapters with a line that says what comes and why, steps with their time, rollouts in between.

use std::{future::Future, time::Duration};

use longshore_common::text::visible;
use tokio::time::{Instant, MissedTickBehavior};

use crate::cli::{
    command::{Footer, Viewer},
    failure::Failure,
    line::Line,
    moment::took,
    output::{Format, Output, Page},
    screen::Screen,
    style::{Ink, wrap},
    surroundings::terminal_size,
};

const FRAME: Duration = Duration::from_millis(100);
/// As wide as a rollout's picture at most.
const WIDEST: usize = 100;
/// Where what a step did begins.
const RESULT_COLUMN: usize = 20;

#[derive(Clone, Debug)]
pub struct Stage {
    output: Output,
    live: bool,
}

impl Stage {
    pub fn new(output: &Output, live: bool) -> Self {
        Self { output: output.clone(), live: live && output.format == Format::Table }
    }

    /// It is painted on, as a terminal is.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// It is for people; as JSON only the summary is printed.
    pub fn is_told(&self) -> bool {
        self.output.format == Format::Table
    }

    /// Shows nothing of a rollout.
    pub fn silent(&self) -> Viewer {
        Viewer::silent(&self.output)
    }

    pub fn page(&self) -> Page {
        let columns = if self.live { terminal_size().0.min(WIDEST) } else { WIDEST };
        Page { columns, ..self.output.fresh() }
    }

    pub fn viewer(&self, footer: Option<Footer>) -> Viewer {
        match (self.output.format, footer) {
            (Format::Json, _) => Viewer::silent(&self.output), // the summary is the one document
            (Format::Table, Some(footer)) => Viewer::new(&self.output, self.live).with_footer(footer),
            (Format::Table, None) => Viewer::new(&self.output, self.live),
        }
    }

    pub fn title(&self, title: &str, text: &str) -> Result<(), Failure> {
        let page = self.page();
        let mut lines = vec![String::new(), format!("  {}", page.style.paint(Ink::Strong, title))];
        lines.extend(self.prose(text, 2, &page));
        self.output.remark(&lines)
    }

    /// What comes, and why it matters.
    pub fn chapter(&self, number: u32, title: &str, text: &str) -> Result<(), Failure> {
        let page = self.page();
        let head = format!(
            "  {}  {}",
            page.style.paint(Ink::Busy, &number.to_string()),
            page.style.paint(Ink::Strong, title)
        );
        let mut lines = vec![String::new(), head];
        lines.extend(self.prose(text, 5, &page));
        lines.push(String::new());
        self.output.remark(&lines)
    }

    /// A paragraph between commands.
    pub fn tell(&self, text: &str) -> Result<(), Failure> {
        self.output.remark(&self.prose(text, 5, &self.page()))
    }

    fn prose(&self, text: &str, indent: usize, page: &Page) -> Vec<String> {
        let parts = wrap(text, page.columns.saturating_sub(indent + 2));
        parts
            .into_iter()
            .map(|part| format!("{}{}", " ".repeat(indent), page.style.paint(Ink::Faint, &part)))
            .collect()
    }

    pub fn blank(&self) -> Result<(), Failure> {
        self.output.remark(&[String::new()])
    }

    pub fn say(&self, lines: &[String]) -> Result<(), Failure> {
        self.output.remark(lines)
    }

    /// Does `work` with a line that shows its time, then what came of it. `what` names it in a failure.
    pub async fn step<T>(
        &self,
        what: &str,
        result: impl FnOnce(&T) -> String,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let began = Instant::now();
        let mut work = std::pin::pin!(work);
        let mut screen = Screen::default();
        let mut frames = tokio::time::interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                _ = frames.tick(), if self.live => {
                    let line = self.step_line(Ink::Busy, "▸", what, "", began.elapsed());
                    self.painted(screen.paint(&[line]))?;
                }
            }
        };
        let line = match &done {
            Ok(value) => self.step_line(Ink::Good, "✓", what, &result(value), began.elapsed()),
            Err(_) => self.step_line(Ink::Bad, "✗", what, "", began.elapsed()),
        };
        match self.live {
            true => self.painted(screen.leave(&[line]))?,
            false => self.output.remark(&[line])?,
        }
        done.map_err(|failure| Failure { message: format!("{what}: {}", failure.message), ..failure })
    }

    fn step_line(&self, ink: Ink, mark: &str, what: &str, result: &str, time: Duration) -> String {
        let page = self.page();
        let time = took(time.as_millis() as i64);
        Line::indented(5)
            .then(ink, format!("{mark} "))
            .then(Ink::Plain, what)
            .to_column(RESULT_COLUMN)
            .then(Ink::Faint, visible(result))
            .right(Ink::Faint, &time, page.columns)
            .paint(page.style, page.columns)
    }

    fn painted(&self, done: std::io::Result<()>) -> Result<(), Failure> {
        done.map_err(|error| {
            Failure::new(crate::cli::exit::Exit::Failed, format!("write to the terminal: {error}"))
        })
    }
}
