//! What a controller with stolen online keys could offer. Each is refused with its code.

use serde_json::{Value, json};

use super::setup::{NOW, Site, key, keys, listed};
use crate::{
    code::Code,
    digest::sha256,
    trust::{
        Anchor, CLOCK_BACK_MS, Catalog, DAY_MS, FLEET, FRESH_LIFE_MS, Offer, ROOT_BYTES, TARGETS_BYTES,
        author, update,
    },
};

#[track_caller]
fn refused(code: Code, words: &str, result: Result<crate::trust::Held, crate::code::Coded>) {
    let refusal = result.expect_err("this must be refused");
    assert_eq!(refusal.code, code, "{refusal}");
    assert!(refusal.message.contains(words), "{refusal}");
}

#[test]
fn a_list_by_an_unknown_key_or_by_the_controllers_own() {
    let site = Site::new();
    let held = site.held();
    let more = Catalog { version: 2, ..site.catalog.clone() };
    for signer in [66, 9, 1] {
        let offer = site.offer_of(&more, Some(&held), &[signer], NOW);
        refused(Code::T02, "not signed by a key", site.look(Some(&held), &offer, NOW));
    }
    refused(Code::T02, "not signed by a key", site.look(None, &site.offer_of(&more, None, &[], NOW), NOW));
}

#[test]
fn one_signature_of_two_and_one_key_signing_twice() {
    let site = Site::with_release(2, &[2, 3]);
    let both = site.offer_of(&site.catalog, None, &[2, 3], NOW);
    site.look(None, &both, NOW).unwrap();
    refused(Code::T03, "1 of 2", site.look(None, &site.offer_of(&site.catalog, None, &[2], NOW), NOW));
    let once = author::sign(&author::targets(&site.catalog, NOW), &key(2)).unwrap();
    let mut twice: Value = serde_json::from_slice(&once).unwrap();
    let copy = twice["signatures"][0].clone();
    twice["signatures"].as_array_mut().unwrap().push(copy);
    let offer = site.current(serde_json::to_vec(&twice).unwrap(), None, NOW);
    refused(Code::T03, "1 of 2", site.look(None, &offer, NOW));
}

#[test]
fn a_root_of_somebody_elses_organisation() {
    let site = Site::new();
    let theirs = author::RootDraft { org: (1, keys(&[66])), release: (1, keys(&[66])), ..site.draft.clone() };
    let root = author::sign(&author::root(&theirs, NOW), &key(66)).unwrap();
    let targets = author::sign(&author::targets(&site.catalog, NOW), &key(66)).unwrap();
    let offer = author::freshen(None, vec![root], targets, &key(9), NOW).unwrap();
    refused(Code::T02, "organisation's keys", site.look(None, &offer, NOW));
}

#[test]
fn a_root_that_names_the_right_keys_but_is_not_signed_by_them() {
    let site = Site::new();
    let root = author::sign(&author::root(&site.draft, NOW), &key(66)).unwrap();
    let offer = Offer { roots: vec![root], ..site.offer() };
    refused(Code::T02, "root.json", site.look(None, &offer, NOW));
}

#[test]
fn a_next_root_by_stolen_keys_or_with_a_version_left_out() {
    let site = Site::new();
    let held = site.held();
    let next = author::RootDraft { version: 2, release: (1, keys(&[66])), ..site.draft.clone() };
    let root = author::sign(&author::root(&next, NOW), &key(66)).unwrap();
    let targets = author::sign(&author::targets(&site.catalog, NOW), &key(66)).unwrap();
    let offer = author::freshen(Some(&held), vec![root], targets, &key(9), NOW).unwrap();
    refused(Code::T02, "root.json", site.look(Some(&held), &offer, NOW));
    let skipped = author::RootDraft { version: 3, ..site.draft.clone() };
    let root = author::sign(&author::root(&skipped, NOW), &key(1)).unwrap();
    let offer = author::freshen(Some(&held), vec![root], held.targets.clone(), &key(9), NOW).unwrap();
    refused(Code::T02, "does not follow", site.look(Some(&held), &offer, NOW));
}

#[test]
fn another_apps_repository_under_this_apps_name() {
    let site = Site::new();
    let other = author::RootDraft { app: "other".into(), release: (1, keys(&[66])), ..site.draft.clone() };
    let root = author::sign(&author::root(&other, NOW), &key(1)).unwrap();
    let targets = author::sign(&author::targets(&site.catalog, NOW), &key(66)).unwrap();
    let offer = author::freshen(None, vec![root], targets, &key(9), NOW).unwrap();
    refused(Code::T02, "is of \"other\"", site.look(None, &offer, NOW));
    // The same keys, another app's list.
    let theirs = Catalog { app: "other".into(), releases: Default::default(), ..site.catalog.clone() };
    let offer = site.offer_of(&theirs, None, &[2], NOW);
    refused(Code::T02, "is of \"other\"", site.look(None, &offer, NOW));
}

#[test]
fn a_fleet_with_another_first_root_than_the_pinned_one() {
    let site = Site::new();
    let pin = Anchor::Pin(sha256(b"another"));
    let offer = site.fleet.offer(0);
    refused(Code::T02, "pins", update(FLEET, &pin, None, &offer, NOW, site.dir.path()));
}

#[test]
fn older_metadata_than_was_seen() {
    let site = Site::new();
    let first = site.held();
    let newer = Catalog { version: 2, ..site.catalog.clone() };
    let second = site.look(Some(&first), &site.offer_of(&newer, Some(&first), &[2], NOW), NOW).unwrap();
    // All of it old, and an old list under new freshness.
    refused(Code::T05, "rollback refused", site.look(Some(&second), &first.offer(0), NOW));
    let old_list = site.current(first.targets.clone(), Some(&second), NOW);
    refused(Code::T05, "rollback refused", site.look(Some(&second), &old_list, NOW));
}

#[test]
fn the_same_version_with_other_bytes() {
    let site = Site::new();
    let held = site.held();
    let mut other = site.catalog.clone();
    other.releases.insert(3, listed(3, "6.6.6"));
    other.next_seq = 4;
    let offer = site.offer_of(&other, Some(&held), &[2], NOW);
    refused(Code::T02, "not the one that was seen", site.look(Some(&held), &offer, NOW));
    let again = site.offer_of(&site.catalog, None, &[2], NOW + 5_000);
    refused(Code::T02, "not the one that was seen", site.look(Some(&held), &again, NOW + 5_000));
}

#[test]
fn sets_that_were_mixed_torn_or_stuffed() {
    let site = Site::new();
    let first = site.held();
    let newer = Catalog { version: 2, ..site.catalog.clone() };
    let offer = site.offer_of(&newer, Some(&first), &[2], NOW);
    let mixes = [
        Offer { targets: first.targets.clone(), ..offer.clone() },
        Offer { snapshot: first.snapshot.clone(), ..offer.clone() },
        Offer { timestamp: offer.timestamp[..offer.timestamp.len() - 3].to_vec(), ..offer.clone() },
        Offer { targets: b"<html>not here</html>".to_vec(), ..offer.clone() },
        Offer { snapshot: vec![], ..offer.clone() },
        Offer { roots: vec![vec![b' '; ROOT_BYTES + 1]], ..offer.clone() },
        Offer { targets: vec![b' '; TARGETS_BYTES + 1], ..offer.clone() },
        Offer { roots: vec![site.root.clone(); 65], ..offer.clone() },
        Offer::default(),
    ];
    for (number, mix) in mixes.iter().enumerate() {
        let refusal = site.look(Some(&first), mix, NOW).expect_err(&format!("mix {number}"));
        assert_eq!(refusal.code, Code::T02, "mix {number}: {refusal}");
    }
    site.look(Some(&first), &offer, NOW).unwrap();
}

#[test]
fn an_endless_freeze_and_a_clock_that_goes_back() {
    let site = Site::new();
    let held = site.held();
    let late = NOW + FRESH_LIFE_MS + 2 * 3_600_000;
    refused(Code::T04, "timestamp.json of shop expired", site.look(Some(&held), &held.offer(0), late));
    let old_list = site.current(held.targets.clone(), Some(&held), NOW + 181 * DAY_MS);
    let refusal = site.look(Some(&held), &old_list, NOW + 181 * DAY_MS);
    refused(Code::T04, "targets.json of shop expired 24 h ago", refusal);
    refused(Code::T04, "clock", site.look(Some(&held), &held.offer(0), NOW - CLOCK_BACK_MS - 1));
    site.look(Some(&held), &held.offer(0), NOW - CLOCK_BACK_MS).unwrap();
}

#[test]
fn delegations_foreign_keys_and_keys_that_count_twice() {
    let site = Site::new();
    let mut targets: Value = serde_json::from_slice(&author::targets(&site.catalog, NOW)).unwrap();
    targets["signed"]["delegations"] = json!({ "keys": {}, "roles": [] });
    let targets = author::sign(&serde_json::to_vec(&targets).unwrap(), &key(2)).unwrap();
    refused(Code::T02, "delegations", site.look(None, &site.current(targets, None, NOW), NOW));

    let draft: Value = serde_json::from_slice(&author::root(&site.draft, NOW)).unwrap();
    let id = draft["signed"]["roles"]["targets"]["keyids"][0].clone();
    let twice = |value: &mut Value| {
        value["signed"]["roles"]["targets"]["keyids"].as_array_mut().unwrap().push(id.clone());
    };
    let too_many = |value: &mut Value| value["signed"]["roles"]["targets"]["threshold"] = json!(2);
    let loose = |value: &mut Value| value["signed"]["consistent_snapshot"] = json!(false);
    let extra = |value: &mut Value| {
        value["signed"]["roles"]["mirrors"] = value["signed"]["roles"]["targets"].clone();
    };
    let changes: [&dyn Fn(&mut Value); 4] = [&twice, &too_many, &loose, &extra];
    for change in changes {
        let mut root = draft.clone();
        change(&mut root);
        let root = serde_json::to_vec(&root).unwrap();
        let root = author::sign(&root, &key(1)).unwrap_or(root);
        let offer = Offer { roots: vec![root], ..site.offer() };
        refused(Code::T02, "root.json of shop", site.look(None, &offer, NOW));
    }
}

#[test]
fn keys_rotate_by_a_root_that_the_old_and_the_new_sign() {
    let site = Site::new();
    let held = site.held();
    let next = author::RootDraft { version: 2, release: (1, keys(&[3])), ..site.draft.clone() };
    let root = author::sign(&author::root(&next, NOW), &key(1)).unwrap();
    let list = Catalog { version: 2, ..site.catalog.clone() };
    let targets = |by| author::sign(&author::targets(&list, NOW), &key(by)).unwrap();
    let offer = |by| author::freshen(Some(&held), vec![root.clone()], targets(by), &key(9), NOW).unwrap();
    refused(Code::T02, "not signed by a key", site.look(Some(&held), &offer(2), NOW));
    let after = site.look(Some(&held), &offer(3), NOW).unwrap();
    assert_eq!(after.roots.keys().copied().collect::<Vec<_>>(), [1, 2]);
    // A host that comes late walks both.
    let late = site.look(None, &after.offer(0), NOW).unwrap();
    assert_eq!(late.root("shop").unwrap().version, 2);
}
