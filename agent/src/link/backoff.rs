//! Pauses between attempts to reach a controller.

use std::time::Duration;

use rand::RngExt as _;

/// The first pause is at most this long.
const FIRST: Duration = Duration::from_millis(500);
/// No pause is longer. A fleet of a thousand is back within a minute, and a controller is not run over.
const LONGEST: Duration = Duration::from_secs(30);
/// Between two addresses of one round.
const NEXT_ADDRESS: Duration = Duration::from_millis(100);
/// A session that lasted this long was a good one: after it, reconnecting starts with short pauses again.
const GOOD_SESSION: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Backoff {
    attempts: u32,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { attempts: 0 }
    }

    /// For how long there was a session; `None`: there was none, however long somebody was waited for.
    pub(super) fn note(&mut self, session: Option<Duration>) {
        if session.is_some_and(|lasted| lasted >= GOOD_SESSION) {
            self.reset();
        }
    }

    pub(super) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Anything from nothing to a bound that doubles with every round through the addresses.
    pub(super) fn pause(&mut self, addresses: usize) -> Duration {
        self.attempts = self.attempts.saturating_add(1);
        let addresses = addresses.max(1) as u32;
        let bound =
            if self.attempts.is_multiple_of(addresses) { self.bound(addresses) } else { NEXT_ADDRESS };
        bound.mul_f64(rand::rng().random_range(0.0..=1.0))
    }

    fn bound(&self, addresses: u32) -> Duration {
        let round = (self.attempts / addresses).saturating_sub(1).min(16);
        FIRST.saturating_mul(1 << round).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_start_over() {
        let mut backoff = Backoff::new();
        let pauses: Vec<Duration> = (0..200).map(|_| backoff.pause(1)).collect();
        assert!(pauses[0] <= FIRST);
        assert!(pauses.iter().all(|pause| *pause <= LONGEST));
        assert!(pauses[20..].iter().any(|pause| *pause > LONGEST / 2));
        backoff.reset();
        assert!(backoff.pause(1) <= FIRST);
    }

    /// A controller that accepts connections and does not come to greet anybody has too many hosts already.
    #[test]
    fn only_a_good_session_makes_pauses_short_again() {
        let mut backoff = Backoff::new();
        for _ in 0..20 {
            backoff.pause(1);
        }
        for poor in [None, Some(GOOD_SESSION / 2)] {
            backoff.note(poor);
            assert_eq!(backoff.attempts, 20, "{poor:?}");
        }
        backoff.note(Some(GOOD_SESSION));
        assert_eq!(backoff.attempts, 0);
    }

    #[test]
    fn other_addresses_are_tried_at_once() {
        let mut backoff = Backoff::new();
        assert!(backoff.pause(3) <= NEXT_ADDRESS);
        assert!(backoff.pause(3) <= NEXT_ADDRESS);
        assert!(backoff.pause(3) <= FIRST);
    }
}
