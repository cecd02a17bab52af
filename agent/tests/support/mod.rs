//! What several test programs of this crate share.

use std::time::{Duration, Instant};

use longshore_agent::host::reexec::SelfExec;

/// The real binary, as helpers are started from it.
pub fn me() -> SelfExec {
    SelfExec { program: env!("CARGO_BIN_EXE_longshore-agent").into(), args: vec![] }
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
