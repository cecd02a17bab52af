//! Time as the task of a rollout sees it: by the clock on the wall, which goes on while a machine sleeps, and may be set.

use std::time::Duration;

use longshore_common::time::{Millis, Span};
use tokio::time::Instant;

use super::Engine;

/// The clock is looked at again at least this often: a machine that slept must not sleep through a deadline.
const LOOK: Duration = Duration::from_secs(30);
/// By so much the clock may be put right without anybody having been away.
const LOST_MS: Millis = 60_000;

/// Finds out that time went by in which nobody was there.
pub(super) struct Awake {
    wall: Millis,
    since: Instant,
}

impl Awake {
    pub(super) fn new(now: Millis) -> Self {
        Self { wall: now, since: Instant::now() }
    }

    /// Since it was asked last the clock has gone further than this process has lived: the machine slept, or its clock was
    /// set forward. Hosts could say nothing in that time.
    pub(super) fn has_slept(&mut self, now: Millis) -> bool {
        let lived = Span(self.since.elapsed()).as_ms();
        let lost = now - self.wall - lived;
        *self = Self::new(now);
        lost > LOST_MS
    }
}

/// Returns when time alone may have changed something. Never, when only an event can.
pub(super) async fn deadline(engine: &Engine, next: Option<Millis>) {
    let Some(deadline) = next else { return std::future::pending().await };
    loop {
        let left = deadline - engine.now();
        if left <= 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(left as u64).min(LOOK)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_hours_ahead_at_once_is_sleep() {
        let mut awake = Awake::new(1_000);
        assert!(!awake.has_slept(2_000));
        assert!(!awake.has_slept(500), "it was put back");
        assert!(awake.has_slept(3_600_000));
        assert!(!awake.has_slept(3_600_001), "once");
    }

    #[test]
    fn time_that_was_lived_is_not_lost() {
        let lived = || Awake { wall: 0, since: Instant::now() - Duration::from_secs(90) };
        assert!(!lived().has_slept(90_000));
        assert!(lived().has_slept(3_600_000));
    }
}
