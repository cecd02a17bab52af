//! The last lines of something, for whoever has to understand a failure.

use std::collections::{BTreeSet, VecDeque};

use longshore_common::report::EVIDENCE_LINES;

use super::lines::shortened;

/// Lines that are looked at: an app that crashes again and again says the same each time, which is folded.
pub const LINES_READ: usize = 3 * EVIDENCE_LINES;
/// The longest run of lines that is recognised when it comes again.
const PERIOD_MAX: usize = 12;
/// Folding fewer lines than this away would cost more than it saves.
const WORTH: usize = 2;

#[derive(Clone, Debug, Default)]
pub struct LastLines(VecDeque<String>);

impl LastLines {
    pub fn push(&mut self, line: &str) {
        if self.0.len() == LINES_READ {
            self.0.pop_front();
        }
        self.0.push_back(line.to_owned());
    }

    /// These are lines of an app and of whoever runs it, `own` those of the app alone. Whoever runs it can say so
    /// much that nothing else is left; then half of what is shown is the app's.
    pub fn with_own(self, own: LastLines) -> LastLines {
        const HALF: usize = EVIDENCE_LINES / 2;
        let alike: BTreeSet<String> = own.0.iter().map(|line| without_numbers(line)).collect();
        let is_own = |line: &String| alike.contains(&without_numbers(line));
        let shown: Vec<String> = self.clone().into_iter().collect();
        if shown.iter().filter(|line| is_own(line)).count() >= alike.len().min(HALF) {
            return self;
        }
        let own: Vec<String> = own.into_iter().collect();
        let others: Vec<String> = shown.into_iter().filter(|line| !is_own(line)).collect();
        let last_half = |lines: Vec<String>| {
            let excess = lines.len().saturating_sub(HALF);
            lines.into_iter().skip(excess)
        };
        LastLines(last_half(own).chain(last_half(others)).collect())
    }

    /// There may be lines, and nobody knows them.
    pub fn unread(why: &dyn std::fmt::Display) -> LastLines {
        let mut lines = LastLines::default();
        lines.push(&shortened(&format!("(the app's log cannot be read: {why})")));
        lines
    }

    pub fn last(&self) -> Option<&str> {
        self.0.iter().rev().map(String::as_str).find(|line| !line.trim().is_empty())
    }
}

/// Oldest first, at most `EVIDENCE_LINES`.
impl IntoIterator for LastLines {
    type Item = String;
    type IntoIter = std::vec::IntoIter<String>;
    fn into_iter(self) -> Self::IntoIter {
        let mut lines = folded(self.0.into());
        let excess = lines.len().saturating_sub(EVIDENCE_LINES);
        lines.drain(..excess);
        lines.into_iter()
    }
}

/// Runs of lines that come several times one after the other are shown once, the latest, with how often they came.
fn folded(lines: Vec<String>) -> Vec<String> {
    let alike: Vec<String> = lines.iter().map(|line| without_numbers(line)).collect();
    let mut kept = vec![];
    let mut at = 0;
    while at < lines.len() {
        let longest = PERIOD_MAX.min((lines.len() - at) / 2);
        let repeated = (1..=longest).find_map(|period| {
            let times = times(&alike[at..], period);
            ((times - 1) * period >= WORTH).then_some((period, times))
        });
        match repeated {
            Some((period, times)) => {
                at += period * times;
                kept.extend_from_slice(&lines[at - period..at]);
                kept.push(match period {
                    1 => format!("(this line {times} times)"),
                    _ => format!("(these {period} lines {times} times)"),
                });
            }
            None => {
                kept.push(lines[at].clone());
                at += 1;
            }
        }
    }
    kept
}

/// How often the first `period` lines come from the beginning on.
fn times(lines: &[String], period: usize) -> usize {
    lines.chunks_exact(period).take_while(|chunk| *chunk == &lines[..period]).count()
}

/// Times, counters and process numbers differ from one run to the next.
fn without_numbers(line: &str) -> String {
    line.chars().filter(|c| !c.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(lines: &[&str]) -> Vec<String> {
        let mut last = LastLines::default();
        lines.iter().for_each(|line| last.push(line));
        last.into_iter().collect()
    }

    #[test]
    fn what_every_restart_says_is_said_once() {
        let crash = ["12:00:01 starting", "12:00:02 cannot open /etc/shop.db", "exit 3"];
        let lines = [&["listening"][..], &crash, &crash, &crash, &["12:00:09 starting"]].concat();
        let folded = [&["listening"][..], &crash, &["(these 3 lines 3 times)", "12:00:09 starting"]].concat();
        assert_eq!(shown(&lines), folded);
        assert_eq!(shown(&["panic 7"; 30]), ["panic 7", "(this line 30 times)"]);
    }

    /// What systemd says of a unit that it cannot stop fills the journal, and explains nothing.
    #[test]
    fn the_apps_own_lines_do_not_drown() {
        let last = |lines: &[String]| LastLines(lines.iter().cloned().collect());
        let together = |own: &[String], all: &[String]| -> Vec<String> {
            last(all).with_own(last(own)).into_iter().collect()
        };
        let own: Vec<String> = (0..15).map(|n| format!("at {}", "!".repeat(n))).collect();
        let noise: Vec<String> = (0..LINES_READ).map(|n| "x".repeat(n)).collect();
        let drowned = together(&own, &noise);
        assert_eq!(drowned[..10], own[5..]);
        assert_eq!(drowned[10..], noise[LINES_READ - 10..]);
        let one_left = [&own[14..], &noise[..30]].concat();
        assert_eq!(together(&own, &one_left)[..10], own[5..]);
        let crashes = ["boom 1", "failed", "boom 2", "failed", "boom 3", "failed"].map(str::to_owned);
        let booms = ["boom 0", "boom 1", "boom 2", "boom 3"].map(str::to_owned);
        assert_eq!(together(&booms, &crashes), ["boom 3", "failed", "(these 2 lines 3 times)"]);
        assert_eq!(together(&[], &noise), noise[LINES_READ - EVIDENCE_LINES..]);
    }

    #[test]
    fn a_log_that_cannot_be_read_says_so() {
        let told: Vec<String> = LastLines::unread(&"No journal files were found.").into_iter().collect();
        assert_eq!(told, ["(the app's log cannot be read: No journal files were found.)"]);
    }

    #[test]
    fn what_differs_stays_and_the_newest_is_kept() {
        assert_eq!(shown(&["a", "b", "b", "c"]), ["a", "b", "b", "c"]);
        let many: Vec<String> = (0..100).map(|n| "x".repeat(n)).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(shown(&many), many[80..]);
        assert!(shown(&[]).is_empty());
    }
}
