//! Letting go of the program's own code while there is nothing to do.
//!
//! A deployment runs through most of our code, and the kernel maps what lies around each place as well: afterwards
//! nearly the whole program is resident, and stays so for as long as nobody is short of memory. What an idle daemon
//! runs is a fifth of it. So after work, once it has been quiet for a while, the code is unmapped; what is needed is
//! mapped again from the page cache, or from the file when the kernel has used the memory for something else.

use std::{fs, time::Duration};

use rustix::time::{ClockId, clock_gettime};

use super::sys;

/// How often it is looked, which costs some ten microseconds.
const LOOK: Duration = Duration::from_secs(15);
/// Of a processor's time in one look's interval: more is work, less is heartbeats.
const QUIET: Duration = Duration::from_millis(60);

/// For as long as the process runs.
pub async fn tend() {
    let mut rest = Rest::default();
    loop {
        tokio::time::sleep(LOOK).await;
        if rest.look(used()) {
            sys::give_back_memory();
            // Without /proc nothing is known of our mappings, and nothing is lost by keeping them.
            sys::let_go_of_code(&fs::read_to_string("/proc/self/maps").unwrap_or_default());
        }
    }
}

fn used() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(spent.tv_sec.unsigned_abs(), spent.tv_nsec.try_into().unwrap_or(0))
}

/// When to let go: once after every time of work.
#[derive(Debug, Default)]
struct Rest {
    used: Duration,
    let_go: bool,
}

impl Rest {
    /// `used`: of a processor's time, since the process began.
    fn look(&mut self, used: Duration) -> bool {
        let quiet = used.saturating_sub(self.used) < QUIET;
        self.used = used;
        let now = quiet && !self.let_go;
        self.let_go = quiet;
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_each_time_of_work_it_lets_go_once() {
        let mut rest = Rest::default();
        let used = [10, 2_000, 2_001, 2_002, 2_900, 4_000, 4_010, 4_020];
        let let_go = used.map(|millis| rest.look(Duration::from_millis(millis)));
        assert_eq!(let_go, [true, false, true, false, false, false, true, false]);
    }

    /// What was let go of is there again when it runs: the rest of this test is such code.
    #[test]
    fn code_that_was_let_go_of_runs() {
        sys::let_go_of_code(&fs::read_to_string("/proc/self/maps").expect("this is Linux"));
        let words: Vec<String> = (0..100).map(|number| format!("{number:>5}")).collect();
        assert_eq!(words.concat().len(), 500);
    }
}
