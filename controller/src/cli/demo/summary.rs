//! What happened, at the end of the demo.

use std::path::Path;

use serde::Serialize;

use super::{traffic::Tally, world::PASSPHRASE};
use crate::cli::{
    line::Line,
    moment::{bytes, count, took},
    output::{Page, View},
    signing::FILE_VARIABLE,
    style::{Ink, width},
};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    pub hosts: usize,
    pub rollouts: Vec<Act>,
    pub requests: Tally,
    pub took_ms: i64,
    pub folder: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Act {
    pub version: String,
    pub outcome: String,
    pub reason: String,
    pub took_ms: i64,
    pub waves: usize,
    /// Hosts on which something was done.
    pub hosts_touched: usize,
    pub files: u64,
    pub files_new: u64,
    /// To one host; at most, where only a part was sent.
    pub bytes_per_host: u64,
}

impl View for Summary {
    const SCHEMA: &'static str = "longshore.cli.demo/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let mut lines = vec![String::new(), format!("  {}", page.style.paint(Ink::Strong, "What happened"))];
        lines.extend(self.rollouts.iter().map(|act| act_line(act, self.hosts, page)));
        lines.push(requests_line(&self.requests, page));
        if let Some(failure) = &self.requests.first_failure {
            lines.push(
                Line::indented(4)
                    .then(Ink::Bad, format!("the first: {failure}"))
                    .paint(page.style, page.columns),
            );
        }
        let line = Line::indented(4).then(Ink::Faint, format!("all of it in {}", took(self.took_ms)));
        lines.push(line.paint(page.style, page.columns));
        lines
    }
}

/// Columns of a row: what, how long, how it went, what it cost.
const TIME_COLUMN: usize = 16;
const TEXT_COLUMN: usize = 24;
const COST_COLUMN: usize = 62;

fn act_line(act: &Act, hosts: usize, page: &Page) -> String {
    let good = act.outcome == "succeeded";
    let text = if good {
        format!("on {} in {}", count(act.hosts_touched, "host"), count(act.waves, "wave"))
    } else {
        let spared = hosts.saturating_sub(act.hosts_touched);
        format!("undone at the canary; {spared} untouched")
    };
    let cost = format!("{} of {} files, {} each", act.files_new, act.files, bytes(act.bytes_per_host));
    Line::indented(2)
        .then(if good { Ink::Good } else { Ink::Warn }, if good { "✓ " } else { "↩ " })
        .then(Ink::Plain, format!("shop {}", act.version))
        .to_column(TIME_COLUMN)
        .then(Ink::Faint, took(act.took_ms))
        .to_column(TEXT_COLUMN)
        .then(Ink::Plain, text)
        .to_column(COST_COLUMN)
        .then(Ink::Faint, cost)
        .paint(page.style, page.columns)
}

fn requests_line(tally: &Tally, page: &Page) -> String {
    let versions: Vec<String> =
        tally.by_version.iter().map(|(version, count)| format!("{count} by {version}")).collect();
    let (ink, mark) = if tally.failed == 0 { (Ink::Good, "✓ ") } else { (Ink::Bad, "✗ ") };
    Line::indented(2)
        .then(ink, mark)
        .then(Ink::Plain, "customers")
        .to_column(TEXT_COLUMN)
        .then(Ink::Plain, format!("{} requests answered, ", tally.served))
        .then(ink, format!("{} failed", tally.failed))
        .to_column(COST_COLUMN)
        .then(Ink::Faint, versions.join(", "))
        .paint(page.style, page.columns)
}

/// How to look around while everything is left running, and the commands that roll something out there.
pub fn look_around(
    program: &str,
    folder: &Path,
    shop: &str,
    starting: &[String],
    page: &Page,
) -> Vec<String> {
    let folder = folder.display();
    let paint = |ink, text: &str| page.style.paint(ink, text);
    let mut lines = vec![
        String::new(),
        format!("  {}", paint(Ink::Strong, "Look around, from another terminal")),
        format!("    export LONGSHORE_CONTEXT={folder}/controller/operator"),
        format!("    export {FILE_VARIABLE}={folder}/{PASSPHRASE}"),
    ];
    let rows = [
        ("status", "the controller"),
        ("host ping", "five hosts, asked just now, and what they run"),
        ("rollout list", "the rollouts"),
        ("rollout explain latest", "how the last one ended, and why"),
        ("logs shop --host harbour-1 -n 5", "what the shop wrote there"),
    ];
    let mut rows: Vec<(String, &str)> =
        rows.into_iter().map(|(command, why)| (format!("{program} {command}"), why)).collect();
    rows.push((format!("curl {shop}"), "the shop itself"));
    lines.extend(aligned(&rows, page));
    lines.push(String::new());
    lines.push(format!(
        "  {}",
        paint(Ink::Strong, "Roll something out yourself: change a page first, if you like")
    ));
    lines.push(format!("    {program} release publish {folder}/shop/shop-1.1 --version 1.3"));
    lines.extend(starting.iter().map(|command| format!("    {command}")));
    lines.push(String::new());
    lines.push(format!(
        "  {}",
        paint(Ink::Strong, "Press Ctrl-C here to stop everything and remove the folder.")
    ));
    lines
}

/// What starts a rollout of what was published.
pub fn starting(program: &str) -> Vec<String> {
    vec![format!("{program} rollout start shop@1.3 --to harbour --wait")]
}

/// The same where the approver of the tour has to agree.
pub fn starting_approved(program: &str, folder: &Path) -> Vec<String> {
    let bob = folder.join("bob").display().to_string();
    vec![
        format!("{program} plan shop@1.3 --to harbour"),
        format!("LONGSHORE_CONTEXT={bob} {program} rollout approve PLAN"),
        format!("{program} rollout start PLAN --wait"),
    ]
}

/// Where to go from here, when everything is gone again.
pub fn farewell(program: &str, page: &Page) -> Vec<String> {
    let rows = [
        (format!("{program} demo --tour"), "plan, approval, canary, gate and rollback"),
        (format!("{program} demo --keep"), "the demo, left running to look around"),
        (format!("{program} --help"), "every command, with examples"),
        ("docs/guide.md".to_owned(), "a controller and hosts of your own"),
    ];
    let mut lines = vec![String::new(), format!("  {}", page.style.paint(Ink::Strong, "From here"))];
    lines.extend(aligned(&rows, page));
    lines.push(String::new());
    lines
}

/// What to type, and why, in two columns.
fn aligned(rows: &[(String, &str)], page: &Page) -> Vec<String> {
    let column = 4 + rows.iter().map(|(command, _)| width(command)).max().unwrap_or(0) + 3;
    let line = |(command, why): &(String, &str)| {
        let line = Line::indented(4).then(Ink::Plain, command).to_column(column).then(Ink::Faint, *why);
        line.paint(page.style, page.columns)
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::moment::Moment;

    #[test]
    fn the_end_says_what_happened() {
        let act = |version: &str, outcome: &str, touched, files_new, bytes_per_host| Act {
            version: version.into(),
            outcome: outcome.into(),
            reason: String::new(),
            took_ms: 8_200,
            waves: 3,
            hosts_touched: touched,
            files: 14,
            files_new,
            bytes_per_host,
        };
        let summary = Summary {
            hosts: 5,
            rollouts: vec![act("1.0", "succeeded", 5, 14, 6_100_000), act("1.2", "rolled-back", 1, 3, 1_900)],
            requests: Tally {
                served: 4_812,
                by_version: [("1.0".into(), 2_000), ("1.1".into(), 2_812)].into(),
                ..Tally::default()
            },
            took_ms: 31_000,
            folder: "/tmp/x".into(),
        };
        let page = Page { columns: 100, ..Page::plain(Moment(0)) };
        assert_eq!(
            format!("\n{}\n", summary.lines(&page)[1..].join("\n")),
            "
  What happened
  ✓ shop 1.0    8.2s    on 5 hosts in 3 waves                 14 of 14 files, 6.1 MB each
  ↩ shop 1.2    8.2s    undone at the canary; 4 untouched     3 of 14 files, 1.9 KB each
  ✓ customers           4812 requests answered, 0 failed      2000 by 1.0, 2812 by 1.1
    all of it in 31.0s
"
        );
    }
}
