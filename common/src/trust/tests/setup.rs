//! An organisation, an app with two releases, a controller, and a host that looks at what it is offered.

use std::collections::BTreeSet;

use tempfile::TempDir;

use super::super::{
    Anchor, Catalog, FLEET, Held, Listed, Offer, PublicKey, SigningKey, TrustState, author, update,
};
use crate::{
    code::Coded,
    digest::{ReleaseDigest, sha256},
    time::Millis,
};

pub const NOW: Millis = 1_800_000_000_000;

pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed([seed; 32])
}

/// Org key 1, release keys 2 (and 3), online key 9. Key 66 is nobody's.
pub struct Site {
    pub dir: TempDir,
    pub fleet: Held,
    pub draft: author::RootDraft,
    pub root: Vec<u8>,
    pub catalog: Catalog,
}

pub fn keys(seeds: &[u8]) -> BTreeSet<PublicKey> {
    seeds.iter().map(|seed| key(*seed).public()).collect()
}

pub fn manifest(of: &str) -> Vec<u8> {
    format!("the manifest of {of}").into_bytes()
}

pub fn listed(seq: u64, version: &str) -> Listed {
    let bytes = manifest(version);
    Listed {
        seq,
        version: version.parse().unwrap(),
        digest: ReleaseDigest::of(&bytes),
        length: bytes.len() as u64,
    }
}

impl Site {
    pub fn new() -> Self {
        Self::with_release(1, &[2])
    }

    pub fn with_release(threshold: u64, release: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let draft = author::RootDraft {
            app: "shop".into(),
            version: 1,
            org: (1, keys(&[1])),
            release: (threshold, keys(release)),
            online: key(9).public(),
        };
        let root = author::sign(&author::root(&draft, NOW), &key(1)).unwrap();
        let fleet_draft = author::RootDraft { app: FLEET.into(), release: (1, keys(&[1])), ..draft.clone() };
        let fleet_root = author::sign(&author::root(&fleet_draft, NOW), &key(1)).unwrap();
        let fleet_list = author::targets(&author::empty_catalog(FLEET), NOW);
        let fleet_list = author::sign(&fleet_list, &key(1)).unwrap();
        let offer = author::freshen(None, vec![fleet_root.clone()], fleet_list, &key(9), NOW).unwrap();
        let fleet = update(FLEET, &Anchor::Pin(sha256(&fleet_root)), None, &offer, NOW, dir.path()).unwrap();
        let releases = [listed(1, "1.0"), listed(2, "1.1")].map(|one| (one.seq, one)).into();
        let catalog = Catalog { releases, next_seq: 3, ..author::empty_catalog("shop") };
        Self { dir, fleet, draft, root, catalog }
    }

    pub fn anchor(&self) -> Anchor {
        Anchor::of_fleet(&self.fleet).unwrap()
    }

    /// The list as the release key signs it, and the controller says that it is current.
    pub fn offer(&self) -> Offer {
        self.offer_of(&self.catalog, None, &[2], NOW)
    }

    pub fn offer_of(&self, catalog: &Catalog, held: Option<&Held>, by: &[u8], at: Millis) -> Offer {
        let mut targets = author::targets(catalog, at);
        for seed in by {
            targets = author::sign(&targets, &key(*seed)).unwrap();
        }
        self.current(targets, held, at)
    }

    pub fn current(&self, targets: Vec<u8>, held: Option<&Held>, at: Millis) -> Offer {
        author::freshen(held, vec![self.root.clone()], targets, &key(9), at).unwrap()
    }

    pub fn look(&self, held: Option<&Held>, offer: &Offer, at: Millis) -> Result<Held, Coded> {
        update("shop", &self.anchor(), held, offer, at, self.dir.path())
    }

    /// A host that has verified the first list.
    pub fn held(&self) -> Held {
        self.look(None, &self.offer(), NOW).unwrap()
    }

    pub fn state(&self) -> TrustState {
        TrustState::new(self.dir.path(), "shop")
    }
}
