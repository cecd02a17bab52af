//! What a ledger costs: commits a second, their latency, and the CPU time of one that is idle.
//!
//! `cargo run --release -p longshore-common --example ledger_cost -- <folder> [idle]`, `idle` being for a second run:
//! sled's pool of threads lives as long as the process that first needed it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use longshore_common::ledger::{Batch, Ledger, Options};

fn main() {
    let dir: PathBuf = std::env::args_os().nth(1).map_or_else(|| "ledger-cost".into(), Into::into);
    let ledger = Ledger::open(&dir.join("small"), Options::AGENT).expect("open");
    if std::env::args().nth(2).as_deref() == Some("idle") {
        return idle();
    }
    one_writer(&ledger);
    ledger.close_blocking();
    let ledger = Ledger::open(&dir.join("large"), Options::CONTROLLER).expect("open");
    many_writers(&ledger);
    opening(ledger, &dir.join("large"));
    idle();
}

fn one_writer(ledger: &Ledger) {
    let mut took: Vec<Duration> = (0..200)
        .map(|n| {
            let begin = Instant::now();
            ledger.commit_blocking(Batch::new().put(format!("one/{n}"), vec![7; 500])).expect("commit");
            begin.elapsed()
        })
        .collect();
    took.sort();
    println!("one writer: p50 {:?}, p99 {:?}", took[100], took[197]);
}

fn many_writers(ledger: &Ledger) {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for writer in 0..32 {
            scope.spawn(move || {
                for n in 0..625 {
                    let batch = Batch::new().put(format!("{writer}/{n}"), vec![7; 1000]);
                    ledger.commit_blocking(batch).expect("commit");
                }
            });
        }
    });
    println!("32 writers: {:.0} commits a second", 20_000.0 / begin.elapsed().as_secs_f64());
}

/// A ledger of 20,000 entries of a kilobyte: a fleet of ten thousand hosts.
fn opening(ledger: Ledger, dir: &Path) {
    ledger.close_blocking();
    let begin = Instant::now();
    let ledger = Ledger::open(dir, Options::CONTROLLER).expect("open");
    println!("opening after an orderly stop: {:?}", begin.elapsed());
    let begin = Instant::now();
    let entries = ledger.list_blocking("").expect("list").entries.len();
    println!("listing {entries} entries: {:?}", begin.elapsed());
    ledger.close_blocking();
    std::fs::remove_file(dir.join("stopped")).expect("it was closed");
    let begin = Instant::now();
    let ledger = Ledger::open(dir, Options::CONTROLLER).expect("open");
    println!("opening after a crash: {:?}", begin.elapsed());
    ledger.close_blocking();
}

fn idle() {
    let before = cpu();
    // Not to wait for anything: the length of the measurement.
    std::thread::sleep(Duration::from_secs(20));
    let spent = cpu().saturating_sub(before).as_secs_f64() * 1000.0 / 20.0;
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let field =
        |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    println!("idle: {spent:.3} ms of CPU a second, {}, {}", field("Threads"), field("VmRSS"));
}

/// The CPU time of every thread but the first, which is the one that measures.
fn cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("our threads");
    let first = std::process::id().to_string();
    let paths = tasks.map(|task| task.expect("our threads").path()).filter(|path| !path.ends_with(&first));
    let nanos = paths.map(|path| {
        let text = std::fs::read_to_string(path.join("schedstat")).expect("schedstat");
        text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).expect("a number")
    });
    Duration::from_nanos(nanos.sum())
}
