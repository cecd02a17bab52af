//! What is held: which root it rests on, when it ends, whether it is newer than an offer, and how it is forgotten.

use std::{collections::BTreeMap, fs};

use serde_json::{Value, json};

use super::{
    super::{
        Anchor, Catalog, FLEET, FRESH_LIFE_MS, Held, OFFER_BYTES, Offer, Part, TARGETS_LIFE_MS, author,
        update, update_even_if_stale,
    },
    setup::{NOW, Site, key, keys, listed},
};
use crate::{code::Code, digest::sha256};

/// A document that says nothing but its version.
fn version(number: u64) -> Vec<u8> {
    serde_json::to_vec(&json!({ "signed": { "version": number } })).unwrap()
}

/// The pinned root is what is kept, whatever else is offered under its number.
#[test]
fn a_second_first_root_beside_the_pinned_one_is_not_kept() {
    let site = Site::new();
    let genuine = site.fleet.offer(0);
    let theirs = author::RootDraft { app: FLEET.into(), org: (1, keys(&[66])), ..site.draft.clone() };
    let theirs = author::sign(&author::root(&theirs, NOW), &key(66)).unwrap();
    let pinned = genuine.roots[0].clone();
    let pin = Anchor::Pin(sha256(&pinned));
    for roots in [vec![theirs.clone(), pinned.clone()], vec![pinned.clone(), theirs.clone()]] {
        let offer = Offer { roots, ..genuine.clone() };
        let held = update(FLEET, &pin, None, &offer, NOW, site.dir.path()).unwrap();
        assert_eq!(held.roots, BTreeMap::from([(1, pinned.clone())]));
    }
}

#[test]
fn a_list_that_nobody_calls_current_is_held_as_long_as_whoever_signed_it_said() {
    let site = Site::new();
    let held = site.held();
    let told = |at, stale| held.not_expired("shop", at, stale).map_err(|refusal| refusal.message);
    told(NOW + FRESH_LIFE_MS - 1, false).unwrap();
    assert!(told(NOW + FRESH_LIFE_MS, false).unwrap_err().contains("timestamp.json of shop expired 0 s ago"));
    told(NOW + TARGETS_LIFE_MS - 1, true).unwrap();
    assert!(told(NOW + TARGETS_LIFE_MS, true).unwrap_err().contains("targets.json of shop expired 0 s ago"));
    let taken = |at| {
        update_even_if_stale("shop", &site.anchor(), None, &site.offer(), at, site.dir.path())
            .map_err(|refusal| refusal.code)
    };
    assert_eq!(taken(NOW + TARGETS_LIFE_MS - 1).unwrap().targets, held.targets);
    assert_eq!(taken(NOW + TARGETS_LIFE_MS), Err(Code::T04));
}

/// Newer is what has nothing older in it and a later word that it is current.
#[test]
fn what_is_held_decides_only_where_an_offer_brings_nothing() {
    let held = Held {
        roots: BTreeMap::from([(1, version(1)), (2, version(2))]),
        targets: version(5),
        timestamp: version(7),
        snapshot: version(7),
        floor: 0,
        latest_ms: NOW,
    };
    for (roots, targets, timestamp, newer) in [
        (&[2][..], 5, 6, true),
        (&[1, 2], 4, 6, true),
        (&[], 5, 6, true),
        (&[2, 3], 5, 6, false),
        (&[2], 6, 6, false),
        (&[2], 5, 7, false),
        (&[2], 5, 8, false),
    ] {
        let offer = Offer {
            roots: roots.iter().map(|number| version(*number)).collect(),
            targets: version(targets),
            timestamp: version(timestamp),
            snapshot: version(1),
        };
        assert_eq!(
            held.is_newer_than(&offer),
            newer,
            "roots {roots:?}, list {targets}, timestamp {timestamp}"
        );
    }
}

#[test]
fn a_fleet_says_what_may_run_nowhere_and_when_nothing_new_begins() {
    let fleet = author::empty_catalog(FLEET);
    let one = listed(1, "1.0");
    let said =
        |fleet: &Catalog| fleet.permit("shop", &one.version, &one.digest).map_err(|why| why.to_string());
    said(&fleet).unwrap();
    let other = Catalog { revoked: [(listed(2, "1.1").digest, "theirs".to_owned())].into(), ..fleet.clone() };
    said(&other).unwrap();
    let revoked = Catalog { revoked: [(one.digest, "a stolen key\u{7}".to_owned())].into(), ..fleet.clone() };
    let why = said(&revoked).unwrap_err();
    assert!(
        why.contains("shop@1.0") && why.contains("is revoked by the organisation: a stolen key\\x07"),
        "{why}"
    );
    let frozen = Catalog { frozen: Some("an incident".to_owned()), ..fleet };
    assert!(said(&frozen).unwrap_err().contains("the fleet is frozen: an incident"));
}

/// Whoever can write the documents that say what is current cannot take back one that hosts have seen.
#[test]
fn a_snapshot_with_a_lower_number_under_a_new_timestamp_is_a_rollback() {
    let site = Site::new();
    let first = site.held();
    let newer = Catalog { version: 2, ..site.catalog.clone() };
    let second = site.look(Some(&first), &site.offer_of(&newer, Some(&first), &[2], NOW), NOW).unwrap();
    let forgetful = Held { snapshot: vec![], ..second.clone() };
    let offer = author::freshen(Some(&forgetful), vec![], second.targets.clone(), &key(9), NOW).unwrap();
    let refusal = site.look(Some(&second), &offer, NOW).unwrap_err();
    assert_eq!(refusal.code, Code::T05, "{refusal}");
    assert!(refusal.message.contains("offered snapshot v1, v2 has been seen here"), "{refusal}");
    assert!(refusal.message.ends_with("signed for shop last: longshore trust refresh"), "{refusal}");
    // Of a controller that was put back to the first and has signed the second anew.
    let other = author::freshen(Some(&first), vec![], second.targets.clone(), &key(9), NOW + 60_000).unwrap();
    let refusal = site.look(Some(&second), &other, NOW).unwrap_err();
    assert!(refusal.code == Code::T02 && refusal.message.contains("longshore trust refresh"), "{refusal}");
    // What follows the clock is past both.
    let put_back = Held { targets: second.targets.clone(), ..first };
    let renewed = author::renew(&put_back, &key(9), NOW).unwrap();
    site.look(Some(&second), &renewed, NOW).unwrap();
}

/// `offer` with what its snapshot names changed, and signed anew by the controller.
fn naming(offer: &Offer, change: impl FnOnce(&mut Value)) -> Offer {
    let mut snapshot: Value = serde_json::from_slice(&offer.snapshot).unwrap();
    change(&mut snapshot["signed"]["meta"]);
    let snapshot = author::sign(&serde_json::to_vec(&snapshot).unwrap(), &key(9)).unwrap();
    let mut timestamp: Value = serde_json::from_slice(&offer.timestamp).unwrap();
    let meta = &mut timestamp["signed"]["meta"]["snapshot.json"];
    meta["length"] = json!(snapshot.len());
    meta["hashes"]["sha256"] = json!(crate::digest::hex(&sha256(&snapshot)));
    let timestamp = author::sign(&serde_json::to_vec(&timestamp).unwrap(), &key(9)).unwrap();
    Offer { snapshot, timestamp, ..offer.clone() }
}

#[test]
fn a_snapshot_that_forgets_what_it_named_is_a_rollback_and_one_without_the_list_is_none() {
    let site = Site::new();
    let more = naming(&site.offer(), |meta| meta["more.json"] = json!({ "version": 1 }));
    let held = site.look(None, &more, NOW).unwrap();
    let again = site.current(held.targets.clone(), Some(&held), NOW);
    let refusal = site.look(Some(&held), &again, NOW).unwrap_err();
    assert_eq!(refusal.code, Code::T05, "{refusal}");
    let bare = naming(&again, |meta| *meta = json!({}));
    let refusal = site.look(Some(&held), &bare, NOW).unwrap_err();
    assert!(
        refusal.code == Code::T02 && refusal.message.contains("does not contain targets.json"),
        "{refusal}"
    );
}

#[test]
fn who_has_signed_and_who_is_to_sign_is_told() {
    let site = Site::with_release(2, &[2, 3]);
    let [has, lacks] = [2, 3].map(|seed| key(seed).public().short());
    let refusal = site.look(None, &site.offer(), NOW).unwrap_err();
    let told = format!("1 of 2 required signatures (have {has}…; needs one of {lacks}…)");
    assert!(refusal.message.contains(&told), "{refusal}");
    let refusal = site.look(None, &site.offer_of(&site.catalog, None, &[], NOW), NOW).unwrap_err();
    assert!(
        refusal.message.contains("needs 2 of shop's keys: ") && refusal.message.contains(&has),
        "{refusal}"
    );
}

#[test]
fn a_next_root_by_one_of_two_organisation_keys_waits_for_the_other() {
    let site = Site::new();
    let draft = author::RootDraft { org: (2, keys(&[1, 4])), ..site.draft.clone() };
    let anchor = Anchor::Organisation { threshold: 2, keys: keys(&[1, 4]) };
    let once = |version| {
        author::sign(&author::root(&author::RootDraft { version, ..draft.clone() }, NOW), &key(1)).unwrap()
    };
    let root = author::sign(&once(1), &key(4)).unwrap();
    let look =
        |held: Option<&Held>, offer: &Offer| update("shop", &anchor, held, offer, NOW, site.dir.path());
    let held = look(None, &Offer { roots: vec![root], ..site.offer() }).unwrap();
    let offer = author::freshen(Some(&held), vec![once(2)], held.targets.clone(), &key(9), NOW).unwrap();
    let refusal = look(Some(&held), &offer).unwrap_err();
    assert_eq!(refusal.code, Code::T03, "{refusal}");
    assert!(refusal.message.contains("root.json of shop has 1 of 2 required signatures"), "{refusal}");
    let both = Offer { roots: vec![author::sign(&once(2), &key(4)).unwrap()], ..offer };
    assert_eq!(look(Some(&held), &both).unwrap().root_version(), 2);
}

#[test]
fn what_is_forgotten_was_never_there_and_verifying_leaves_nothing_behind() {
    let site = Site::new();
    let state = site.state();
    state.persist(&site.held()).unwrap();
    state.forget().unwrap();
    assert_eq!(state.load().unwrap(), None);
    assert_eq!(fs::read_dir(site.dir.path()).unwrap().count(), 0);
}

/// Somebody who may write where the state lies gains nothing by links or by size.
#[test]
fn a_file_of_the_state_is_a_file_of_our_size() {
    let site = Site::new();
    let state = site.state();
    let held = |bytes| Held { targets: vec![b' '; bytes], ..site.held() };
    state.persist(&held(OFFER_BYTES)).unwrap();
    assert_eq!(state.load().unwrap().unwrap().targets.len(), OFFER_BYTES);
    let file = site.dir.path().join("shop/gen-1/targets.json");
    let elsewhere = site.dir.path().join("elsewhere");
    fs::rename(&file, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
    assert!(state.load().unwrap_err().message.contains("targets.json: not a file of ours"));
    state.forget().unwrap();
    state.persist(&held(OFFER_BYTES + 1)).unwrap();
    assert_eq!(state.load().unwrap_err().code, Code::T01);
}

#[test]
fn a_root_says_its_lives_to_the_day() {
    let site = Site::new();
    let day = 86_400_000;
    let told = site.held().expiries().map(|(part, at)| (part, (at - NOW) / day));
    assert_eq!(told, [(Part::Timestamp, 7), (Part::Snapshot, 7), (Part::Targets, 180), (Part::Root, 730)]);
}
