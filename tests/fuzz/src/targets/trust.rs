//! Signed documents: as bytes, and as documents of somebody who holds every key.

use std::{collections::BTreeSet, sync::OnceLock};

use longshore_common::{
    code::Coded,
    digest::sha256,
    time::Millis,
    trust::{Anchor, FLEET, Held, Offer, SigningKey, author, read_root, update as verify},
};
use tempfile::TempDir;

use crate::oracle::refused;

pub const NOW: Millis = 1_800_000_000_000;
pub const APP: &str = "shop";

/// One of the keys: 1 is the organisation's, 2 signs releases, 9 is the controller's.
pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed([seed; 32])
}

pub fn draft(app: &str) -> author::RootDraft {
    let keys = |seed| BTreeSet::from([key(seed).public()]);
    author::RootDraft {
        app: app.to_owned(),
        version: 1,
        org: (1, keys(1)),
        release: (1, keys(if app == FLEET { 1 } else { 2 })),
        online: key(9).public(),
    }
}

/// Reads whatever bytes are called a document.
pub fn document(input: &[u8]) {
    match read_root(APP, input) {
        Ok(root) => {
            let next = author::RootDraft::after(&root);
            let written = author::root(&author::RootDraft { version: root.version, ..next }, NOW);
            let again = read_root(APP, &written).expect("what we write we can read");
            assert_eq!(again.version, root.version);
        }
        Err(error) => refused("root", &error),
    }
    for outcome in [author::read_catalog(APP, input).map(drop), author::sign(input, &key(1)).map(drop)] {
        if let Err(error) = outcome {
            refused("document", &error);
        }
    }
    author::expires_ms(input);
    author::like(input, input);
}

/// What a host holds that has verified the first documents.
struct Site {
    scratch: TempDir,
    anchor: Anchor,
    held: Held,
}

fn site() -> &'static Site {
    static SITE: OnceLock<Site> = OnceLock::new();
    SITE.get_or_init(|| {
        // In memory where that can be: every update writes five files.
        let scratch = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let scratch = scratch.expect("a folder to work in");
        let offer = first_offer(FLEET);
        let pin = Anchor::Pin(sha256(&offer.roots[0]));
        let fleet = verify(FLEET, &pin, None, &offer, NOW, scratch.path()).expect("our own fleet");
        let anchor = Anchor::of_fleet(&fleet).expect("a fleet that was verified");
        let held = verify(APP, &anchor, None, &first_offer(APP), NOW, scratch.path()).expect("our own app");
        Site { scratch, anchor, held }
    })
}

pub fn first_offer(app: &str) -> Offer {
    let root = author::sign(&author::root(&draft(app), NOW), &key(1)).expect("our own root");
    let by = if app == FLEET { 1 } else { 2 };
    let list = author::targets(&author::empty_catalog(app), NOW);
    let list = author::sign(&list, &key(by)).expect("our own list");
    author::freshen(None, vec![root], list, &key(9), NOW).expect("our own documents")
}

/// Lines, each a letter and a document: `R` a root, `T` the list, `S` the snapshot, `N` the timestamp. Each is signed
/// with the right key; documents that are missing are made to fit the others.
pub fn update(input: &[u8]) {
    let site = site();
    for held in [None, Some(&site.held)] {
        let Ok(offer) = offer_of(input, held) else { continue };
        match verify(APP, &site.anchor, held, &offer, NOW, site.scratch.path()) {
            Err(error) => refused("update", &error),
            Ok(new) => accepted(&new, held),
        }
    }
}

fn offer_of(input: &[u8], held: Option<&Held>) -> Result<Offer, Coded> {
    let (mut roots, mut list, mut snapshot, mut timestamp) = (vec![], None, None, None);
    for line in input.split(|byte| *byte == b'\n') {
        let Some((kind, document)) = line.split_first() else { continue };
        // What cannot be signed is offered as it is.
        let signed = |seed| author::sign(document, &key(seed)).unwrap_or_else(|_| document.to_vec());
        match kind {
            b'R' => roots.push(signed(1)),
            b'T' => list = Some(signed(2)),
            b'S' => snapshot = Some(signed(9)),
            b'N' => timestamp = Some(signed(9)),
            _ => {}
        }
    }
    let list = list.unwrap_or_else(|| first_offer(APP).targets);
    let made = author::freshen(held, roots, list, &key(9), NOW)?;
    Ok(Offer {
        snapshot: snapshot.unwrap_or_else(|| made.snapshot.clone()),
        timestamp: timestamp.unwrap_or_else(|| made.timestamp.clone()),
        ..made
    })
}

/// Whatever was signed: what is believed can be read, and is not older than what was believed before.
fn accepted(new: &Held, held: Option<&Held>) {
    let root = new.root(APP).expect("a root that was believed can be read");
    let list = new.catalog(APP).expect("a list that was believed can be read");
    assert_eq!((root.app.as_str(), list.app.as_str()), (APP, APP));
    assert_eq!(root.version, new.root_version());
    assert!(list.min_seq <= new.floor && list.expires_ms > NOW && root.expires_ms > NOW);
    assert!(list.releases.keys().all(|seq| *seq < list.next_seq));
    if let Some(held) = held {
        assert!(new.root_version() >= held.root_version() && new.floor >= held.floor);
        let before = held.catalog(APP).expect("a list that was believed can be read");
        assert!(list.version >= before.version, "the list went back");
    }
}
