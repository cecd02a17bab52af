//! What a ledger costs: commits a second, their latency, and the CPU time of one that is idle.
//!
//! `cargo run --release -p longshore-common --example ledger_cost -- <folder>`

use std::path::PathBuf;
use std::time::{Duration, Instant};

use longshore_common::ledger::{Batch, Ledger, Options};

fn main() {
    let dir: PathBuf = std::env::args_os().nth(1).map_or_else(|| "ledger-cost".into(), Into::into);
    let ledger = Ledger::open(&dir, Options::AGENT).expect("open");
    let mut took: Vec<Duration> = (0..200)
        .map(|n| {
            let begin = Instant::now();
            ledger.commit_blocking(Batch::new().put(format!("one/{n}"), vec![7; 500])).expect("commit");
            begin.elapsed()
        })
        .collect();
    took.sort();
    println!("one writer: p50 {:?}, p99 {:?}", took[100], took[197]);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for writer in 0..32 {
            let ledger = &ledger;
            scope.spawn(move || {
                for n in 0..50 {
                    let batch = Batch::new().put(format!("{writer}/{n}"), vec![7; 500]);
                    ledger.commit_blocking(batch).expect("commit");
                }
            });
        }
    });
    println!("32 writers: {:.0} commits a second", 1600.0 / begin.elapsed().as_secs_f64());
    let before = cpu();
    std::thread::sleep(Duration::from_secs(20));
    println!("idle: {:.3} ms of CPU a second", (cpu() - before).as_secs_f64() * 1000.0 / 20.0);
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    status
        .lines()
        .filter(|line| line.starts_with("VmRSS") || line.starts_with("Threads"))
        .for_each(|l| println!("{l}"));
    ledger.close_blocking();
}

/// The CPU time of all threads that live, to the nanosecond.
fn cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("our threads");
    let nanos = tasks.map(|task| {
        let path = task.expect("our threads").path().join("schedstat");
        let text = std::fs::read_to_string(path).expect("schedstat");
        text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).expect("a number")
    });
    Duration::from_nanos(nanos.sum())
}
