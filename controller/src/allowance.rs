//! How much of something may come at once, and how much for as long as one likes.

use std::time::Instant;

/// The two figures.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    pub burst: f64,
    pub a_second: f64,
}

/// What may still come.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    left: f64,
    at: Instant,
}

impl Allowance {
    pub fn full(rate: Rate, now: Instant) -> Self {
        Self { left: rate.burst, at: now }
    }

    /// Whether one more may come now; nothing is taken.
    pub fn has(&mut self, rate: Rate, now: Instant) -> bool {
        self.fill(rate, now);
        self.left >= 1.0
    }

    /// Takes one, whether or not it is there.
    pub fn charge(&mut self, rate: Rate, now: Instant) {
        self.fill(rate, now);
        self.left = (self.left - 1.0).max(0.0);
    }

    /// Takes one if it is there.
    pub fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let there = self.has(rate, now);
        if there {
            self.charge(rate, now);
        }
        there
    }

    /// As if nothing had ever been taken.
    pub fn is_full(&mut self, rate: Rate, now: Instant) -> bool {
        self.fill(rate, now);
        self.left >= rate.burst
    }

    fn fill(&mut self, rate: Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        self.left = (self.left + passed.as_secs_f64() * rate.a_second).min(rate.burst);
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_taken_comes_back_with_time_and_no_more_than_that() {
        let rate = Rate { burst: 2.0, a_second: 0.5 };
        let start = Instant::now();
        let mut allowance = Allowance::full(rate, start);
        assert!(allowance.is_full(rate, start));
        assert_eq!([(); 3].map(|()| allowance.take(rate, start)), [true, true, false]);
        assert!(!allowance.has(rate, start + Duration::from_millis(1900)));
        assert!(allowance.has(rate, start + Duration::from_secs(2)), "and nothing is taken by asking");
        assert!(allowance.take(rate, start + Duration::from_secs(2)));
        allowance.charge(rate, start + Duration::from_secs(2));
        assert!(!allowance.take(rate, start + Duration::from_millis(3900)), "a debt is none");
        assert!(allowance.is_full(rate, start + Duration::from_secs(3600)));
        assert_eq!(
            [(); 3].map(|()| allowance.take(rate, start + Duration::from_secs(3600))),
            [true, true, false]
        );
    }
}
