//! How many connections each host has: one that loses count of its own takes nobody else's place.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use super::Identity;
use crate::ids::HostId;

/// Of one host at a time: its session, what it is just replacing it by, and what a dead link has left behind.
pub const CONNECTIONS_PER_HOST: u32 = 4;

#[derive(Clone, Debug, Default)]
pub(super) struct Crowd(Arc<Mutex<HashMap<HostId, u32>>>);

/// A connection's place; dropped with it.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Crowd,
    host: Option<HostId>,
}

impl Crowd {
    /// None: this host has enough. Operators and strangers are counted elsewhere.
    pub(super) fn enter(&self, identity: Option<&Identity>) -> Option<Place> {
        let Some(Identity::Host(host)) = identity else {
            return Some(Place { crowd: self.clone(), host: None });
        };
        let mut counts = self.counts();
        let count = counts.entry(*host).or_default();
        if *count >= CONNECTIONS_PER_HOST {
            return None;
        }
        *count += 1;
        Some(Place { crowd: self.clone(), host: Some(*host) })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<HostId, u32>> {
        self.0.lock().expect("no holder panics")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(host) = self.host else { return };
        let mut counts = self.crowd.counts();
        match counts.get_mut(&host) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => drop(counts.remove(&host)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_has_its_own_few() {
        let crowd = Crowd::default();
        let one = Identity::Host(HostId(uuid::Uuid::from_u128(1)));
        let other = Identity::Host(HostId(uuid::Uuid::from_u128(2)));
        let mut places: Vec<Place> = (0..4).map(|_| crowd.enter(Some(&one)).unwrap()).collect();
        assert!(crowd.enter(Some(&one)).is_none());
        assert!(crowd.enter(Some(&other)).is_some() && crowd.enter(None).is_some());
        places.pop();
        places.extend(crowd.enter(Some(&one)));
        assert_eq!(places.len(), 4);
        drop(places);
        assert!(crowd.counts().is_empty());
    }
}
