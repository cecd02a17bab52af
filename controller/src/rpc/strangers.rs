//! How often strangers may try to enrol: all of them together, and each address that shows tokens which are not good.

use std::{collections::HashMap, net::IpAddr, time::Instant};

use longshore_common::tls::network;

use crate::allowance::{Allowance, Rate};

/// Tries of everybody, good or bad: a rack that boots together, and twenty a second for as long as one likes.
const ALL: Rate = Rate { burst: 100.0, a_second: 20.0 };
/// Refused tries of one address: somebody who copies the wrong token a few times, and five a minute. A rack behind one
/// address is not held up by it: good tokens do not count.
const REFUSED: Rate = Rate { burst: 10.0, a_second: 5.0 / 60.0 };
/// Addresses that are kept in mind, 100 bytes each. Beyond that, one that has been quiet is forgotten.
const ADDRESSES: usize = 10_000;

#[derive(Debug)]
pub struct Strangers {
    all: Allowance,
    refused: HashMap<IpAddr, Allowance>,
}

/// Whose tries are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooMany {
    All,
    Address,
}

impl Strangers {
    pub fn new(now: Instant) -> Self {
        Self { all: Allowance::full(ALL, now), refused: HashMap::new() }
    }

    pub fn admit(&mut self, from: IpAddr, now: Instant) -> Result<(), TooMany> {
        if self.refused.get_mut(&network(from)).is_some_and(|left| !left.has(REFUSED, now)) {
            return Err(TooMany::Address);
        }
        if self.all.take(ALL, now) { Ok(()) } else { Err(TooMany::All) }
    }

    /// What this address showed was not good.
    pub fn refused(&mut self, from: IpAddr, now: Instant) {
        if self.refused.len() >= ADDRESSES {
            self.forget(now);
        }
        let left = self.refused.entry(network(from)).or_insert_with(|| Allowance::full(REFUSED, now));
        left.charge(REFUSED, now);
    }

    /// Those that may do everything again; or where there is none, all: a flood from so many addresses is bounded by
    /// what everybody together may.
    fn forget(&mut self, now: Instant) {
        self.refused.retain(|_, left| !left.is_full(REFUSED, now));
        if self.refused.len() >= ADDRESSES {
            self.refused.clear();
        }
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
        assert_eq!(admitted(start), ALL.burst as usize);
        assert_eq!(admitted(start), 0);
        assert_eq!(admitted(start + Duration::from_secs(2)), 2 * ALL.a_second as usize);
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
