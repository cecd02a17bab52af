//! What an app's processes use, and how much its log complains: for gates that need no Prometheus.

use std::{collections::HashSet, fs};

use serde::{Deserialize, Serialize};

use super::procfs;

/// Counters of an app. Those of processes begin anew with every start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub running: bool,
    /// Since it was last told to run.
    pub restarts: u32,
    /// Of the processes that are there now, and of those that they waited for.
    pub cpu_ms: u64,
    /// Resident, of all its processes; what they share counts for each.
    pub memory_bytes: u64,
    pub error_lines: u32,
    /// Why the log could not be read: then nobody knows how many lines complain.
    #[serde(default)]
    pub log_unread: Option<String>,
    /// 0: none.
    pub main_pid: u32,
}

/// Lines of the log that are looked through.
pub(super) const LINES: usize = 1000;

/// Of `/proc/<pid>/stat`, whatever the kernel's own clock does: part of Linux' interface on every machine we run on.
const TICK_MS: u64 = 10;

/// CPU and memory of a process and all that it started.
pub(super) fn of_tree(main: u32) -> (u64, u64) {
    let all = procfs::all();
    let mut pids: HashSet<i32> = procfs::descendants(&all, main as i32);
    pids.insert(main as i32);
    let mut total = (0, 0);
    for pid in pids {
        // One that has just ended has neither.
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        total.0 += ticks(&read("stat")).unwrap_or_default() * TICK_MS;
        total.1 += resident_kib(&read("status")).unwrap_or_default() * 1024;
    }
    total
}

/// Ticks of CPU with those of children that were waited for. As in `procfs`, fields count from the end of the name.
fn ticks(stat: &str) -> Option<u64> {
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 2..)?.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    // Fields 14 to 17 of proc(5); the state, field 3, is the first here.
    Some(number(11)? + number(12)? + number(13)? + number(14)?)
}

fn resident_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Whether a line of a log complains: a level in capitals or as JSON and logfmt write it, or a panic.
pub(super) fn is_error(line: &str) -> bool {
    const LEVELS: [&str; 6] = ["ERROR", "FATAL", "CRITICAL", "ALERT", "EMERGENCY", "PANIC"];
    let is_word = |word: &str| LEVELS.contains(&word);
    if line.split(|c: char| !c.is_ascii_alphanumeric()).any(is_word) {
        return true;
    }
    let lower = line.to_ascii_lowercase();
    let marks = [
        "level=error",
        "level=fatal",
        "\"level\":\"error\"",
        "\"level\":\"fatal\"",
        "\"level\": \"error\"",
        "panicked at",
        "error:",
    ];
    marks.iter().any(|mark| lower.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_told_from_talk() {
        for line in [
            "2026-11-22 ERROR no database",
            "[error] level=error msg=x",
            "{\"level\":\"error\"}",
            "thread 'main' panicked at src/main.rs",
            "Error: cannot open",
            "FATAL: gone",
        ] {
            assert!(is_error(line), "{line}");
        }
        for line in ["0 errors", "INFO error_rate=0", "GET /error 200", "no terror here"] {
            assert!(!is_error(line), "{line}");
        }
    }

    #[test]
    fn a_process_uses_something() {
        let (_, memory) = of_tree(std::process::id());
        assert!(memory > 100_000, "{memory}");
        assert_eq!(ticks("7 (a) b) S 3 7 5 0 -1 4194560 1 0 0 0 2 3 4 5 20 0 1 0 991 1 77 1"), Some(14));
        assert_eq!((ticks("nonsense"), resident_kib("VmRSS:\t  77 kB\n")), (None, Some(77)));
    }
}
