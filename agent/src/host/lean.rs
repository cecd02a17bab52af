//! Letting go of the program's own code while there is nothing to do.
//!
//! A deployment runs through most of our code, and the kernel maps what lies around each place as well: afterwards
//! nearly the whole program is resident, and stays so for as long as nobody is short of memory. What an idle daemon
//! runs between two heartbeats is a fifth of it. So while it is quiet the code is unmapped after whatever was done; what
//! is needed next is mapped again from the page cache, or from the file when the kernel has used the memory for something
//! else.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::sys;

/// When nothing was said to have happened.
const LOOK: Duration = Duration::from_secs(60);
/// After something was done, for what follows from it. What was unmapped and is needed comes back by some fifty page
/// faults, a third of a millisecond.
const AFTER: Duration = Duration::from_secs(1);
/// At least between two times.
const BETWEEN: Duration = Duration::from_secs(5);
/// Of a processor's time from one time to the next: more is work, less is heartbeats.
const QUIET: Duration = Duration::from_millis(20);

static STIRRED: Notify = Notify::const_new();

/// Something was done, however small: a heartbeat, an answer.
pub fn stirred() {
    STIRRED.notify_one();
}

/// For as long as the process runs.
pub async fn tend() {
    let code = sys::Code::ours();
    let (mut before, mut was_quiet) = (used(), false);
    loop {
        // Either is a reason.
        let _ = timeout(LOOK, STIRRED.notified()).await;
        sleep(AFTER).await;
        let now = used();
        let quiet = now.saturating_sub(before) < QUIET;
        if quiet && !was_quiet {
            sys::give_back_memory();
        }
        if quiet {
            code.let_go();
        }
        (before, was_quiet) = (now, quiet);
        sleep(BETWEEN - AFTER).await;
    }
}

/// Of a processor's time, since the process began.
fn used() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(spent.tv_sec.unsigned_abs(), spent.tv_nsec.try_into().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was let go of is there again when it runs: the rest of this test is such code.
    #[test]
    fn code_that_was_let_go_of_runs() {
        sys::Code::ours().let_go();
        let words: Vec<String> = (0..100).map(|number| format!("{number:>5}")).collect();
        assert_eq!(words.concat().len(), 500);
    }
}
