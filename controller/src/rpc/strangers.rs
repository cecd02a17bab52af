//! How often strangers may try to enrol: all of them together, and each address that shows tokens which are not good.

use std::{collections::HashMap, net::IpAddr, time::Instant};

use longshore_common::tls::network;

/// Tries of everybody that may come at once, good or bad: a rack that boots together.
const BURST: f64 = 100.0;
/// Tries a second, for as long as one likes.
const RATE: f64 = 20.0;
/// Refused tries of one address that may come at once: somebody who copies the wrong token a few times.
const REFUSED_BURST: f64 = 10.0;
/// Five a minute, for as long as one likes. A rack behind one address is not held up by it: good tokens do not count.
const REFUSED_RATE: f64 = 5.0 / 60.0;
/// Addresses that are kept in mind, 100 bytes each. Beyond that, one that has been quiet is forgotten.
const ADDRESSES: usize = 10_000;

/// Tries that may still come.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

#[derive(Debug)]
pub struct Strangers {
    all: Bucket,
    refused: HashMap<IpAddr, Bucket>,
}

/// Whose tries are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooMany {
    All,
    Address,
}

impl Strangers {
    pub fn new(now: Instant) -> Self {
        Self { all: Bucket { left: BURST, at: now }, refused: HashMap::new() }
    }

    pub fn admit(&mut self, from: IpAddr, now: Instant) -> Result<(), TooMany> {
        if let Some(bucket) = self.refused.get_mut(&network(from)) {
            bucket.fill(now, REFUSED_BURST, REFUSED_RATE);
            if bucket.left < 1.0 {
                return Err(TooMany::Address);
            }
        }
        self.all.fill(now, BURST, RATE);
        if self.all.left < 1.0 {
            return Err(TooMany::All);
        }
        self.all.left -= 1.0;
        Ok(())
    }

    /// What this address showed was not good.
    pub fn refused(&mut self, from: IpAddr, now: Instant) {
        if self.refused.len() >= ADDRESSES {
            self.forget(now);
        }
        let bucket = self.refused.entry(network(from)).or_insert(Bucket { left: REFUSED_BURST, at: now });
        bucket.fill(now, REFUSED_BURST, REFUSED_RATE);
        bucket.left = (bucket.left - 1.0).max(0.0);
    }

    /// Those that may do everything again; or where there is none, all: a flood from so many addresses is bounded by
    /// what everybody together may.
    fn forget(&mut self, now: Instant) {
        self.refused.retain(|_, bucket| {
            bucket.fill(now, REFUSED_BURST, REFUSED_RATE);
            bucket.left < REFUSED_BURST
        });
        if self.refused.len() >= ADDRESSES {
            self.refused.clear();
        }
    }
}

impl Bucket {
    fn fill(&mut self, now: Instant, burst: f64, rate: f64) {
        let passed = now.saturating_duration_since(self.at);
        self.left = (self.left + passed.as_secs_f64() * rate).min(burst);
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_flood_is_let_through_slowly() {
        let start = Instant::now();
        let mut strangers = Strangers::new(start);
        let mut admitted = |at| (0..1000).filter(|_| strangers.admit(ip("10.0.0.1"), at).is_ok()).count();
        assert_eq!(admitted(start), BURST as usize);
        assert_eq!(admitted(start), 0);
        assert_eq!(admitted(start + Duration::from_secs(2)), 2 * RATE as usize);
    }

    #[test]
    fn whoever_guesses_has_to_wait_and_keeps_nobody_else_out() {
        let start = Instant::now();
        let mut strangers = Strangers::new(start);
        let (guesser, other) = (ip("2001:db8::1"), ip("2001:db8:1::1"));
        for _ in 0..10 {
            strangers.admit(guesser, start).unwrap();
            strangers.refused(guesser, start);
        }
        assert_eq!(strangers.admit(guesser, start), Err(TooMany::Address));
        assert_eq!(strangers.admit(ip("2001:db8::ffff"), start), Err(TooMany::Address), "its neighbour");
        assert_eq!(strangers.admit(other, start), Ok(()));
        assert_eq!(strangers.admit(guesser, start + Duration::from_secs(13)), Ok(()));
    }

    #[test]
    fn what_is_kept_in_mind_is_bounded() {
        let start = Instant::now();
        let mut strangers = Strangers::new(start);
        for n in 0..3 * ADDRESSES as u32 {
            strangers.refused(IpAddr::V4(n.into()), start);
        }
        assert!(strangers.refused.len() <= ADDRESSES);
    }
}
