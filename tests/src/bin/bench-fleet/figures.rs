//! What was measured: the table and the JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::path::PathBuf;

use longshore_tests::bench::poller::Seen;
use longshore_tests::{Result, Within};
use serde::{Deserialize, Serialize};

/// A piece of work that either tool does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Row {
    Ask,
    First,
    Unchanged,
    Small,
    Back,
    /// The unit that either wrote, restarted everywhere by systemctl: what no tool can save.
    Restart,
    /// Nothing to do: what an agent costs then.
    Idle,
}

impl Row {
    pub fn of(word: &str) -> Result<Self> {
        serde_json::from_value(word.into())
            .within(|| format!("\"{word}\": ask, first, unchanged, small, back, restart, idle"))
    }

    /// It can be done again and again, to the same effect.
    pub fn is_short(self) -> bool {
        matches!(self, Row::Ask | Row::Unchanged | Row::Restart)
    }

    fn title(self) -> &'static str {
        match self {
            Row::Ask => "ask all hosts",
            Row::First => "first deploy",
            Row::Unchanged => "unchanged deploy",
            Row::Small => "2 % change",
            Row::Back => "rollback",
            Row::Restart => "bare restart",
            Row::Idle => "idle",
        }
    }
}

/// Seconds and bytes a host, of each round.
#[derive(Debug, Default, Serialize)]
pub struct Runs {
    pub ours_s: Vec<f64>,
    pub script_s: Vec<f64>,
    pub ours_bytes: Vec<u64>,
    pub script_bytes: Vec<u64>,
}

#[derive(Debug, Serialize)]
pub struct Availability {
    pub app: String,
    pub work: String,
    pub asked: u64,
    pub failed: u64,
    pub longest_gap_ms: u128,
    pub reasons: Vec<String>,
}

impl Availability {
    pub fn of(app: &str, work: &str, seen: &[Seen]) -> Self {
        Self {
            app: app.to_owned(),
            work: work.to_owned(),
            asked: seen.iter().map(|seen| seen.asked).sum(),
            failed: seen.iter().map(|seen| seen.failed).sum(),
            longest_gap_ms: seen.iter().map(|seen| seen.longest_gap.as_millis()).max().unwrap_or_default(),
            reasons: seen.iter().flat_map(|seen| seen.reasons.iter().take(1).cloned()).take(3).collect(),
        }
    }
}

impl fmt::Display for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { app, work, asked, failed, longest_gap_ms, reasons } = self;
        write!(
            f,
            "{app:<6} {work:<14} {failed:>6} of {asked:>7} failed, longest gap {longest_gap_ms} ms {reasons:?}"
        )
    }
}

#[derive(Debug, Serialize)]
pub struct Figures {
    pub hosts: usize,
    /// Which build was measured.
    pub agent: PathBuf,
    /// Of the whole artifact as tar.zst at level 9.
    pub archive_bytes: u64,
    pub rows: BTreeMap<Row, Runs>,
    pub availability: Vec<Availability>,
    pub idle_pss_kib: Vec<u64>,
    pub idle_us_a_second: Vec<f64>,
    /// The highest resident size of each agent over all that it did.
    pub peak_kib: Vec<u64>,
}

impl Figures {
    pub fn new(hosts: usize, agent: PathBuf) -> Self {
        Self {
            hosts,
            agent,
            archive_bytes: 0,
            rows: BTreeMap::new(),
            availability: Vec::new(),
            idle_pss_kib: Vec::new(),
            idle_us_a_second: Vec::new(),
            peak_kib: Vec::new(),
        }
    }

    pub fn add(&mut self, row: Row, ours: (f64, u64), script: (f64, u64)) {
        let runs = self.rows.entry(row).or_default();
        runs.ours_s.push(ours.0);
        runs.ours_bytes.push(ours.1);
        runs.script_s.push(script.0);
        runs.script_bytes.push(script.1);
    }

    pub fn save(&self) -> Result<()> {
        let file = File::create("bench-fleet.json").within(|| "create bench-fleet.json".into())?;
        serde_json::to_writer_pretty(file, self).within(|| "write bench-fleet.json".into())
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hosts, agent, archive_bytes, .. } = self;
        writeln!(
            f,
            "{hosts} hosts, {}; artifact {archive_bytes} bytes as tar.zst; medians\n",
            agent.display()
        )?;
        writeln!(f, "| work | longshore s | script s | ratio | longshore B/host | script B/host |")?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        for (row, runs) in &self.rows {
            let (ours, script) = (median(&runs.ours_s), median(&runs.script_s));
            let (our_bytes, script_bytes) = (median(&runs.ours_bytes), median(&runs.script_bytes));
            let (title, ratio) = (row.title(), ours / script);
            writeln!(f, "| {title} | {ours:.3} | {script:.3} | {ratio:.2} | {our_bytes} | {script_bytes} |")?;
        }
        writeln!(f)?;
        for availability in &self.availability {
            writeln!(f, "{availability}")?;
        }
        let (pss, cpu, peak) =
            (median(&self.idle_pss_kib), median(&self.idle_us_a_second), median(&self.peak_kib));
        writeln!(
            f,
            "\nidle agent: {pss} KiB PSS, {cpu:.0} us of CPU a second; peak resident over all: {peak} KiB"
        )
    }
}

/// The upper one of an even number.
fn median<T: PartialOrd + Copy + Default>(values: &[T]) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).expect("measured figures are numbers"));
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
