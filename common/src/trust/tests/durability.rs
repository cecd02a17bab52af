//! The state on disk: whole or refused.

use std::fs;

use super::setup::{NOW, Site};
use crate::{code::Code, trust::Catalog};

#[test]
fn what_was_kept_is_read_again_and_old_generations_go() {
    let site = Site::new();
    let state = site.state();
    assert_eq!(state.load().unwrap(), None);
    let mut held = site.held();
    for round in 0..6 {
        held.latest_ms = NOW + round;
        state.persist(&held).unwrap();
        assert_eq!(state.load().unwrap().as_ref(), Some(&held));
    }
    let mut there: Vec<String> = fs::read_dir(site.dir.path().join("shop"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    there.sort();
    assert_eq!(there, ["current", "gen-4", "gen-5", "gen-6"]);
}

#[test]
fn any_damage_is_refused_and_never_taken_for_nothing() {
    let site = Site::new();
    let state = site.state();
    state.persist(&site.held()).unwrap();
    let current = site.dir.path().join("shop/gen-1");
    for entry in fs::read_dir(&current).unwrap() {
        let path = entry.unwrap().path();
        let whole = fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        let put = |bytes: &[u8]| crate::durable::write_atomic(&path, bytes, 0o600).unwrap();
        for damage in [&whole[..whole.len() / 2], &[], &flipped] {
            put(damage);
            let refusal = state.load().unwrap_err();
            assert_eq!(refusal.code, Code::T01, "{}: {refusal}", path.display());
            assert!(refusal.message.contains("longshore-agent trust recover shop"), "{refusal}");
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(state.load().unwrap_err().code, Code::T01, "{} gone", path.display());
        put(&whole);
        state.load().unwrap();
    }
    fs::remove_file(site.dir.path().join("shop/current")).unwrap();
    assert_eq!(state.load().unwrap_err().code, Code::T01);
    let elsewhere = state.mended_by("Fix: put it back".to_owned()).load().unwrap_err();
    assert!(elsewhere.message.ends_with("what runs goes on. Fix: put it back"), "{elsewhere}");
}

#[test]
fn a_damaged_generation_is_recovered_from_the_one_before() {
    let site = Site::new();
    let state = site.state();
    let first = site.held();
    state.persist(&first).unwrap();
    let newer = Catalog { version: 2, ..site.catalog.clone() };
    let second = site.look(Some(&first), &site.offer_of(&newer, Some(&first), &[2], NOW), NOW).unwrap();
    state.persist(&second).unwrap();
    fs::remove_file(site.dir.path().join("shop/gen-2/targets.json")).unwrap();
    assert_eq!(state.load().unwrap_err().code, Code::T01);
    assert_eq!(state.newest_whole().unwrap(), 1);
    state.go_back_to(1).unwrap();
    assert_eq!(state.load().unwrap(), Some(first));
    state.persist(&second).unwrap();
    assert_eq!(state.load().unwrap(), Some(second));
}

#[test]
fn a_generation_that_was_never_pointed_to_is_as_if_it_had_not_been() {
    let site = Site::new();
    let state = site.state();
    let held = site.held();
    state.persist(&held).unwrap();
    // What a crash leaves: a generation half written, and before the very first, a folder half made.
    fs::create_dir(site.dir.path().join("shop/gen-2")).unwrap();
    fs::File::create(site.dir.path().join("shop/gen-2/facts.json")).unwrap();
    fs::create_dir(site.dir.path().join(".longshore-tmp-new-shop")).unwrap();
    assert_eq!(state.load().unwrap().as_ref(), Some(&held));
    state.persist(&held).unwrap();
    assert_eq!(state.current().unwrap(), 2);
    assert_eq!(state.load().unwrap(), Some(held));
}
