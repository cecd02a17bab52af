//! What a client of TUF is expected to do, case by case as the suite `tuf-conformance` names them; docs/testing.md has
//! the table. Those that python-tuf's own tests (`tests/interop`) and the neighbours of this file try are not here again.

use serde_json::{Value, json};

use super::setup::{NOW, Site, key, keys};
use crate::{
    code::Code,
    digest::hex,
    trust::{Anchor, Catalog, DAY_MS, Held, Offer, author, update},
};

/// A document with something changed, signed by these.
fn changed(document: Vec<u8>, change: impl FnOnce(&mut Value), by: &[u8]) -> Vec<u8> {
    let mut whole: Value = serde_json::from_slice(&document).unwrap();
    change(&mut whole["signed"]);
    let unsigned = serde_json::to_vec(&whole).unwrap();
    by.iter().fold(unsigned, |document, seed| author::sign(&document, &key(*seed)).unwrap())
}

fn version(document: &[u8]) -> u64 {
    let whole: Value = serde_json::from_slice(document).unwrap();
    whole["signed"]["version"].as_u64().unwrap()
}

#[track_caller]
fn refused(site: &Site, held: Option<&Held>, offer: &Offer, code: Code, says: &str) {
    let refusal = site.look(held, offer, NOW).expect_err("this must be refused");
    assert!(refusal.code == code && refusal.message.contains(says), "{refusal}");
}

/// `test_custom_fields`: what is not known is signed with the rest and does not disturb.
#[test]
fn fields_that_nobody_knows_are_signed_and_passed_over() {
    let site = Site::new();
    let held = site.held();
    let draft = author::RootDraft { version: 2, ..site.draft.clone() };
    let strange = |root: &mut Value| {
        root["custom-field"] = json!("value");
        root["roles"]["root"]["another-field"] = json!(["x"]);
    };
    let root = changed(author::root(&draft, NOW), strange, &[1]);
    let offer = author::freshen(Some(&held), vec![root.clone()], held.targets.clone(), &key(9), NOW).unwrap();
    assert_eq!(site.look(Some(&held), &offer, NOW).unwrap().root_version(), 2);
    // Signed as well: taken away again, the signature is of something else.
    let mut without: Value = serde_json::from_slice(&root).unwrap();
    without["signed"].as_object_mut().unwrap().remove("custom-field");
    let offer = Offer { roots: vec![serde_json::to_vec(&without).unwrap()], ..offer };
    refused(&site, Some(&held), &offer, Code::T02, "root.json");
}

/// `test_wrong_hashing_algorithm`, stricter.
#[test]
fn whatever_stands_beside_a_key_makes_it_another_one() {
    let site = Site::new();
    let id = hex(&key(2).public().id());
    let mut root: Value = serde_json::from_slice(&site.root).unwrap();
    root["signed"]["keys"][&id]["keyid_hash_algorithms"] = json!(["md5"]);
    let offer = Offer { roots: vec![serde_json::to_vec(&root).unwrap()], ..site.offer() };
    // A key's id is the hash of the key with all that stands in it, so this is another key under that name.
    refused(&site, None, &offer, Code::T02, "Invalid key ID");
}

/// `test_invalid_initial_root` and `test_unsigned_initial_root`: nothing is believed by a pin alone.
#[test]
fn a_pinned_root_has_to_be_one_and_to_be_signed() {
    let site = Site::new();
    let pinned = |root: Vec<u8>| {
        let pin = Anchor::Pin(crate::digest::sha256(&root));
        let offer = Offer { roots: vec![root], ..site.offer() };
        update("shop", &pin, None, &offer, NOW, site.dir.path()).unwrap_err()
    };
    let nameless = changed(
        author::root(&site.draft, NOW),
        |root| drop(root.as_object_mut().unwrap().remove("version")),
        &[],
    );
    assert_eq!(pinned(nameless).code, Code::T02);
    let mut unsigned: Value = serde_json::from_slice(&site.root).unwrap();
    unsigned["signatures"][0]["sig"] = json!("30".repeat(64));
    let refusal = pinned(serde_json::to_vec(&unsigned).unwrap());
    assert!(refusal.code == Code::T02 && refusal.message.contains("root.json"), "{refusal}");
    let mut bare: Value = serde_json::from_slice(&site.root).unwrap();
    bare["signatures"] = json!([]);
    assert_eq!(pinned(serde_json::to_vec(&bare).unwrap()).code, Code::T02);
}

/// `test_simple_snapshot_rollback`, `test_snapshot_rollback`, `test_new_timestamp_version_rollback`,
/// `test_targets_rollback`: each by itself, whether or not the one above says so too.
#[test]
fn every_document_only_goes_forward() {
    let site = Site::new();
    let first = site.held();
    let newer = Catalog { version: 2, ..site.catalog.clone() };
    let held = site.look(Some(&first), &site.offer_of(&newer, Some(&first), &[2], NOW), NOW).unwrap();
    assert_eq!([&held.timestamp, &held.snapshot, &held.targets].map(|one| version(one)), [2, 2, 2]);
    let snapshot_alone = Offer { snapshot: first.snapshot.clone(), ..held.offer(0) };
    refused(&site, Some(&held), &snapshot_alone, Code::T02, "");
    let timestamp_alone = Offer { timestamp: first.timestamp.clone(), ..held.offer(0) };
    refused(&site, Some(&held), &timestamp_alone, Code::T05, "timestamp v1");
    // The timestamp rises, and names the snapshot of before.
    let renamed = |timestamp: &mut Value| {
        timestamp["version"] = json!(3);
        let old: Value = serde_json::from_slice(&first.timestamp).unwrap();
        timestamp["meta"] = old["signed"]["meta"].clone();
    };
    let timestamp = changed(held.timestamp.clone(), renamed, &[9]);
    let offer = Offer {
        timestamp,
        snapshot: first.snapshot.clone(),
        targets: first.targets.clone(),
        ..held.offer(0)
    };
    refused(&site, Some(&held), &offer, Code::T05, "snapshot v1");
    // Timestamp and snapshot rise, and name the list of before.
    let offer = site.current(first.targets.clone(), Some(&held), NOW);
    refused(&site, Some(&held), &offer, Code::T05, "targets v1");
}

/// `test_new_targets_version_mismatch`, `test_new_targets_hash_mismatch`, `test_new_snapshot_version_mismatch`: what
/// comes is what was named.
#[test]
fn what_comes_is_what_the_one_above_names() {
    let site = Site::new();
    let held = site.held();
    let newer = Catalog { version: 2, ..site.catalog.clone() };
    let list = author::sign(&author::targets(&newer, NOW), &key(2)).unwrap();
    refused(&site, Some(&held), &Offer { targets: list.clone(), ..held.offer(0) }, Code::T02, "");
    let other_bytes = author::sign(&author::targets(&site.catalog, NOW + 5000), &key(2)).unwrap();
    refused(&site, Some(&held), &Offer { targets: other_bytes, ..held.offer(0) }, Code::T02, "");
    let fresh = site.current(list, Some(&held), NOW);
    let snapshot_alone = Offer { snapshot: fresh.snapshot.clone(), ..held.offer(0) };
    refused(&site, Some(&held), &snapshot_alone, Code::T02, "");
    site.look(Some(&held), &fresh, NOW).unwrap();
}

/// `test_new_timestamp_fast_forward_recovery`, `test_new_snapshot_fast_forward_recovery`,
/// `test_new_targets_fast_forward_recovery`: whoever had a stolen key could have counted up to the end of the numbers;
/// with another key in the root, counting begins anew.
#[test]
fn another_key_counts_from_one_again() {
    let site = Site::new();
    let first = site.held();
    let far = Catalog { version: 100, ..site.catalog.clone() };
    let list = author::sign(&author::targets(&far, NOW), &key(2)).unwrap();
    let mut offer = author::freshen(Some(&first), vec![], list, &key(9), NOW).unwrap();
    let counted = |document: &mut Value| document["version"] = json!(99_999);
    offer.timestamp = changed(offer.timestamp, counted, &[9]);
    let held = site.look(Some(&first), &offer, NOW).unwrap();
    assert_eq!((version(&held.timestamp), version(&held.targets)), (99_999, 100));

    let draft = author::RootDraft {
        version: 2,
        release: (1, keys(&[3])),
        online: key(8).public(),
        ..site.draft.clone()
    };
    let root = author::sign(&author::root(&draft, NOW), &key(1)).unwrap();
    let list = author::sign(&author::targets(&site.catalog, NOW), &key(3)).unwrap();
    let offer = author::freshen(None, vec![root], list, &key(8), NOW).unwrap();
    let after = site.look(Some(&held), &offer, NOW).unwrap();
    assert_eq!([&after.timestamp, &after.snapshot, &after.targets].map(|one| version(one)), [1, 1, 1]);
    // The release keys alone decide about the list: with the controller's replaced and theirs not, it only rises.
    let draft = author::RootDraft { version: 2, online: key(8).public(), ..site.draft.clone() };
    let root = author::sign(&author::root(&draft, NOW), &key(1)).unwrap();
    let list = author::sign(&author::targets(&site.catalog, NOW), &key(2)).unwrap();
    let offer = author::freshen(None, vec![root], list, &key(8), NOW).unwrap();
    refused(&site, Some(&held), &offer, Code::T05, "targets v1");
}

/// `test_root_expired`, `test_timestamp_expired`, `test_snapshot_expired`, `test_targets_expired`: nothing new by what
/// has run out, and what was held is held on.
#[test]
fn nothing_new_is_taken_by_what_has_run_out() {
    let site = Site::new();
    let held = site.held();
    let run_out = |document: &mut Value| document["expires"] = json!("2020-01-01T00:00:00Z");
    let draft = author::RootDraft { version: 2, ..site.draft.clone() };
    let root = changed(author::root(&draft, NOW), run_out, &[1]);
    let offer = author::freshen(Some(&held), vec![root], held.targets.clone(), &key(9), NOW).unwrap();
    refused(&site, Some(&held), &offer, Code::T04, "root.json of shop expired");
    let newer = Catalog { version: 2, ..site.catalog.clone() };
    let list = changed(author::targets(&newer, NOW), run_out, &[2]);
    refused(
        &site,
        Some(&held),
        &site.current(list, Some(&held), NOW),
        Code::T04,
        "targets.json of shop expired",
    );
    let fresh = site.offer_of(&newer, Some(&held), &[2], NOW);
    let timestamp = changed(fresh.timestamp.clone(), run_out, &[9]);
    refused(
        &site,
        Some(&held),
        &Offer { timestamp, ..fresh.clone() },
        Code::T04,
        "timestamp.json of shop expired",
    );
    // A snapshot is named by its hash, so the timestamp has to be made anew.
    let snapshot = changed(fresh.snapshot.clone(), run_out, &[9]);
    let names = |timestamp: &mut Value| {
        timestamp["meta"]["snapshot.json"]["length"] = json!(snapshot.len());
        timestamp["meta"]["snapshot.json"]["hashes"]["sha256"] =
            json!(hex(&crate::digest::sha256(&snapshot)));
    };
    let timestamp = changed(fresh.timestamp.clone(), names, &[9]);
    let offer = Offer { snapshot: snapshot.clone(), timestamp, ..fresh };
    refused(&site, Some(&held), &offer, Code::T04, "snapshot.json of shop expired");
}

/// `test_expired_metadata`: what is held may have run out; what is new decides.
#[test]
fn held_documents_that_have_run_out_are_followed_by_new_ones() {
    let site = Site::new();
    let held = site.held();
    let later = NOW + 18 * DAY_MS;
    let newer = Catalog { version: 2, ..site.catalog.clone() };
    let after = site.look(Some(&held), &site.offer_of(&newer, Some(&held), &[2], later), later).unwrap();
    assert_eq!(version(&after.targets), 2);
    assert_eq!(site.look(Some(&held), &held.offer(0), later).unwrap_err().code, Code::T04);
}

/// `test_root_has_keys_but_not_snapshot`, `test_snapshot_threshold`, `test_duplicate_keys_root`: a role counts the keys
/// that sign for it and no others, each once.
#[test]
fn a_threshold_is_reached_by_keys_and_not_by_names() {
    let site = Site::new();
    let at = |threshold: u64, ids: &[u8]| {
        let ids: Vec<String> = ids.iter().map(|seed| hex(&key(*seed).public().id())).collect();
        let change = move |root: &mut Value| {
            root["roles"]["snapshot"]["threshold"] = json!(threshold);
            root["roles"]["snapshot"]["keyids"] = json!(ids);
        };
        let root = changed(author::root(&site.draft, NOW), change, &[1]);
        Offer { roots: vec![root], ..site.offer() }
    };
    site.look(None, &at(1, &[9]), NOW).unwrap();
    refused(&site, None, &at(2, &[9]), Code::T02, "snapshot");
    // In the root, and of another role.
    refused(&site, None, &at(2, &[9, 2]), Code::T03, "snapshot.json of shop has 1 of 2");
    refused(&site, None, &at(2, &[9, 9]), Code::T02, "snapshot");
    // One key under two names: an id is the key's own hash.
    let mut root: Value = serde_json::from_slice(&site.root).unwrap();
    let (id, other) = (hex(&key(9).public().id()), "0".repeat(64));
    root["signed"]["keys"][&other] = root["signed"]["keys"][&id].clone();
    root["signed"]["roles"]["snapshot"] = json!({ "keyids": [id, other], "threshold": 2 });
    let offer = Offer { roots: vec![serde_json::to_vec(&root).unwrap()], ..site.offer() };
    refused(&site, None, &offer, Code::T02, "Invalid key ID");
}

/// `test_unusual_role_name` and all that walks delegations: there are none, so no name of one is ever looked for.
#[test]
fn delegations_are_refused_whatever_they_are_called() {
    let site = Site::new();
    for name in ["?", "#", "/delegatedrole", "../delegatedrole", "A"] {
        let delegate = |list: &mut Value| {
            let role =
                json!({ "name": name, "keyids": [], "threshold": 1, "terminating": false, "paths": ["*"] });
            list["delegations"] = json!({ "keys": {}, "roles": [role] });
        };
        let list = changed(author::targets(&site.catalog, NOW), delegate, &[2]);
        refused(&site, None, &site.current(list, None, NOW), Code::T02, "delegations");
    }
}
