//! What a verified list lets run.

use super::setup::{NOW, Site, listed, manifest};
use crate::{code::Code, trust::Catalog};

#[test]
fn a_signed_list_lets_its_releases_run_and_nothing_else() {
    let site = Site::new();
    let catalog = site.held().catalog("shop").unwrap();
    let one = catalog.admit(&"1.0".parse().unwrap(), &manifest("1.0"), 0).unwrap();
    assert_eq!(one, &listed(1, "1.0"));
    for (version, bytes) in
        [("1.2", manifest("1.2")), ("1.0", manifest("1.0, changed")), ("1.1", manifest("1.0"))]
    {
        let refusal = catalog.admit(&version.parse().unwrap(), &bytes, 0).unwrap_err();
        assert_eq!(refusal.code, Code::T02, "{refusal}");
    }
}

#[test]
fn the_floor_only_rises_even_when_a_later_list_forgets_it() {
    let site = Site::new();
    let held = site.held();
    let raised = Catalog { version: 2, min_seq: 2, ..site.catalog.clone() };
    let held = site.look(Some(&held), &site.offer_of(&raised, Some(&held), &[2], NOW), NOW).unwrap();
    assert_eq!(held.floor, 2);
    let forgetful = Catalog { version: 3, min_seq: 0, ..site.catalog.clone() };
    let held = site.look(Some(&held), &site.offer_of(&forgetful, Some(&held), &[2], NOW), NOW).unwrap();
    assert_eq!(held.floor, 2);
    let catalog = held.catalog("shop").unwrap();
    let refusal = catalog.admit(&"1.0".parse().unwrap(), &manifest("1.0"), held.floor).unwrap_err();
    assert_eq!(refusal.code, Code::T05);
    assert!(refusal.message.contains("below the signed floor 2"), "{refusal}");
    catalog.admit(&"1.1".parse().unwrap(), &manifest("1.1"), held.floor).unwrap();
}

#[test]
fn what_is_delisted_is_refused() {
    let site = Site::new();
    let held = site.held();
    let mut less = Catalog { version: 2, ..site.catalog.clone() };
    less.releases.remove(&1);
    let held = site.look(Some(&held), &site.offer_of(&less, Some(&held), &[2], NOW), NOW).unwrap();
    let refusal =
        held.catalog("shop").unwrap().admit(&"1.0".parse().unwrap(), &manifest("1.0"), 0).unwrap_err();
    assert_eq!(refusal.code, Code::T02);
    let advice = "withdrawn. Roll out another one; only if nobody withdrew it, sign it: ";
    assert!(refusal.message.contains(advice), "{refusal}");
}
