//! What several test programs of this crate share.
#![allow(dead_code, reason = "each of them uses a part")]

pub mod load;
pub mod release;

use std::time::{Duration, Instant};

use longshore_agent::host::reexec::SelfExec;

/// The real binary, as helpers are started from it. On another machine than this was built on it lies elsewhere.
pub fn me() -> SelfExec {
    let elsewhere = std::env::var_os("LONGSHORE_AGENT_BIN").map(Into::into);
    SelfExec {
        program: elsewhere.unwrap_or_else(|| env!("CARGO_BIN_EXE_longshore-agent").into()),
        args: vec![],
    }
}

/// How long something took by a clock that stands still while the machine does not let us run: what waits for something is
/// told from what was kept waiting.
pub async fn clocked<T>(what: impl Future<Output = T>) -> (T, Duration) {
    const TICK: Duration = Duration::from_millis(10);
    let mut took = Duration::ZERO;
    tokio::pin!(what);
    loop {
        tokio::select! {
            biased;
            done = &mut what => return (done, took),
            () = tokio::time::sleep(TICK) => took += TICK,
        }
    }
}

/// Looks until `holds` does, or the time is over.
pub fn until(within: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < within {
        if holds() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    holds()
}
