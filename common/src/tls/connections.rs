//! Live connections by who is at the other end: how many each may have, and how they are cut.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard},
};

use tokio_util::sync::CancellationToken;

use super::Identity;

/// Of one host at a time: its session, what it is just replacing it by, and what a dead link has left behind.
pub const CONNECTIONS_PER_HOST: usize = 4;
/// Of one operator at a time: terminals that watch, and machines that work in parallel under one name.
pub const CONNECTIONS_PER_OPERATOR: usize = 64;

/// Of everybody without a certificate, and of one address among them: whoever opens many keeps few out.
pub const STRANGERS: usize = 512;
pub const STRANGERS_PER_ADDRESS: usize = 64;

/// The connections of a controller. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Connections(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    next: u64,
    by: HashMap<Identity, Vec<Line>>,
    strangers: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Line {
    number: u64,
    /// SHA-256 of the public key that was shown.
    key: [u8; 32],
    cut: CancellationToken,
}

/// A connection's place; given up when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    connections: Connections,
    taken: Taken,
    pub cut: CancellationToken,
}

#[derive(Debug)]
enum Taken {
    Known(Identity, u64),
    Stranger(IpAddr),
}

impl Connections {
    /// None: whoever it is has enough.
    pub(super) fn enter(
        &self,
        identity: Option<&Identity>,
        key: Option<[u8; 32]>,
        from: IpAddr,
    ) -> Option<Place> {
        if let (Some(identity), Some(key)) = (identity, key) {
            return self.enter_known(identity, key);
        }
        let from = network(from);
        let mut lines = self.lines();
        let all: usize = lines.strangers.values().sum();
        let own = lines.strangers.get(&from).copied().unwrap_or_default();
        if all >= STRANGERS || own >= STRANGERS_PER_ADDRESS {
            return None;
        }
        lines.strangers.insert(from, own + 1);
        let (taken, cut) = (Taken::Stranger(from), CancellationToken::new());
        Some(Place { connections: self.clone(), taken, cut })
    }

    fn enter_known(&self, identity: &Identity, key: [u8; 32]) -> Option<Place> {
        let cut = CancellationToken::new();
        let most = match identity {
            Identity::Host(_) => CONNECTIONS_PER_HOST,
            Identity::Operator(_) | Identity::Controller => CONNECTIONS_PER_OPERATOR,
        };
        let mut lines = self.lines();
        lines.next += 1;
        let number = lines.next;
        let own = lines.by.entry(identity.clone()).or_default();
        if own.len() >= most {
            return None; // then it is not empty
        }
        own.push(Line { number, key, cut: cut.clone() });
        let taken = Taken::Known(identity.clone(), number);
        Some(Place { connections: self.clone(), taken, cut })
    }

    /// Everybody who is connected with a certificate, once.
    pub fn identities(&self) -> Vec<Identity> {
        self.lines().by.keys().cloned().collect()
    }

    /// The keys that an identity is connected with.
    pub fn keys(&self, identity: &Identity) -> Vec<[u8; 32]> {
        self.lines().by.get(identity).into_iter().flatten().map(|line| line.key).collect()
    }

    /// Ends every connection of this identity that shows a key which `keep` does not keep. How many.
    pub fn cut(&self, identity: &Identity, keep: impl Fn(&[u8; 32]) -> bool) -> usize {
        let lines = self.lines();
        let own = lines.by.get(identity).into_iter().flatten();
        own.filter(|line| !keep(&line.key)).map(|line| line.cut.cancel()).count()
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().expect("no holder panics")
    }
}

/// Whom an address stands for when strangers are counted: one customer of IPv6 has at least 2^64 of them.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() >> 64 << 64).into(),
        four => four,
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.connections.lines();
        match &self.taken {
            Taken::Known(identity, number) => {
                if let Some(own) = lines.by.get_mut(identity) {
                    own.retain(|line| line.number != *number);
                    if own.is_empty() {
                        lines.by.remove(identity);
                    }
                }
            }
            Taken::Stranger(from) => match lines.strangers.get_mut(from) {
                Some(own) if *own > 1 => *own -= 1,
                Some(_) | None => drop(lines.strangers.remove(from)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::HostId;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn host(number: u128) -> Identity {
        Identity::Host(HostId(uuid::Uuid::from_u128(number)))
    }

    #[test]
    fn each_host_has_its_own_few() {
        let connections = Connections::default();
        let (one, other) = (host(1), host(2));
        let enter = |who| connections.enter(who, Some([1; 32]), HERE);
        let mut places: Vec<Place> = (0..4).map(|_| enter(Some(&one)).unwrap()).collect();
        assert!(enter(Some(&one)).is_none());
        assert!(enter(Some(&other)).is_some() && enter(None).is_some());
        places.pop();
        places.extend(enter(Some(&one)));
        assert_eq!(places.len(), 4);
        assert!(enter(Some(&one)).is_none(), "one was given up, and one taken");
        drop(places);
        assert!(connections.identities().is_empty());
    }

    #[test]
    fn a_key_that_counts_no_more_takes_its_connections_along() {
        let connections = Connections::default();
        let (one, other) = (host(1), host(2));
        let old = connections.enter(Some(&one), Some([1; 32]), HERE).unwrap();
        let new = connections.enter(Some(&one), Some([2; 32]), HERE).unwrap();
        let neighbour = connections.enter(Some(&other), Some([1; 32]), HERE).unwrap();
        assert_eq!(connections.cut(&one, |key| *key == [2; 32]), 1);
        let cut = [&old, &new, &neighbour].map(|place| place.cut.is_cancelled());
        assert_eq!(cut, [true, false, false]);
    }

    #[test]
    fn strangers_of_one_address_leave_room_for_others() {
        let connections = Connections::default();
        let from = |number: u32| IpAddr::V4((0x0a00_0000 + number).into());
        let enter = |address| connections.enter(None, None, address);
        let mut held: Vec<Place> = (0..STRANGERS_PER_ADDRESS).map(|_| enter(from(0)).unwrap()).collect();
        assert!(enter(from(0)).is_none());
        drop(held.pop());
        held.extend(enter(from(0)));
        assert!(enter(from(0)).is_none(), "one was given up, and one taken");
        held.extend((1..).map_while(|number| enter(from(number))));
        assert_eq!(held.len(), STRANGERS);
        drop(held);
        assert!(enter(from(0)).is_some());
        assert!(connections.lines().strangers.is_empty());
    }
}
