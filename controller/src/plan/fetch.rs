//! What each host has to get: the blobs of the release that none of its slots holds.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use longshore_common::{bundle::room, digest::BlobDigest, ids::Version};

use super::{
    Fetch,
    world::{Candidate, Surveyed, World},
};

/// What one host has to get.
#[derive(Clone, Copy)]
pub(super) struct Need {
    pub fetch: Fetch,
    /// Bytes that must be free before: by the host's own rule.
    pub room: u64,
}

/// Counts, once for all hosts that hold the same releases.
pub(super) struct Counter<'a> {
    world: &'a World,
    whole: u64,
    counted: BTreeMap<BTreeSet<Version>, Need>,
}

impl<'a> Counter<'a> {
    pub fn new(world: &'a World) -> Self {
        let whole = world.release.index.blobs().iter().map(|blob| blob.size).sum();
        Self { world, whole, counted: BTreeMap::new() }
    }

    pub fn of(&mut self, host: &Candidate) -> Need {
        let held = held(host);
        if let Some(need) = self.counted.get(&held) {
            return *need;
        }
        let need = self.count(&held);
        self.counted.insert(held, need);
        need
    }

    fn count(&self, held: &BTreeSet<Version>) -> Need {
        let releases = held.iter().filter_map(|version| self.world.known.get(version));
        let there: HashSet<BlobDigest> =
            releases.flat_map(|release| release.index.blobs().iter().map(|blob| blob.digest)).collect();
        let blobs = self.world.release.index.blobs().iter();
        let lacking = blobs.filter(|blob| !there.contains(&blob.digest)).map(|blob| blob.size);
        let bytes = lacking.clone().sum();
        Need { fetch: Fetch { bytes, wire_bytes: self.on_the_wire(bytes) }, room: room(lacking) }
    }

    /// As well as the whole is compressed, so is its part, about.
    fn on_the_wire(&self, bytes: u64) -> u64 {
        match self.whole {
            0 => 0,
            whole => (u128::from(bytes) * u128::from(self.world.wire_bytes) / u128::from(whole)) as u64,
        }
    }
}

/// Releases that lie unpacked on the host. One that cannot be asked holds what it runs, as far as anybody knows.
fn held(host: &Candidate) -> BTreeSet<Version> {
    match &host.surveyed {
        Surveyed::Answered(survey) => {
            let slots = survey.slots.iter().filter_map(|slot| slot.rsplit_once('-'));
            slots.filter_map(|(version, _)| version.parse().ok()).collect()
        }
        Surveyed::Unasked { .. } | Surveyed::Unknown { .. } => {
            host.member.previous.iter().map(|target| target.version.clone()).collect()
        }
    }
}
