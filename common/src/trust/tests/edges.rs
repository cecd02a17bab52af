//! Exactly at a limit and one beyond it, and what authors of documents rely on.

use serde_json::{Value, json};

use super::{
    super::{
        Anchor, CLOCK_BACK_MS, Catalog, DAY_MS, DUE_MS, FRESH_LIFE_MS, OFFER_BYTES, OLD_MS, Offer, Part,
        PublicKey, ROOT_BYTES, ROOT_HOPS, ROOT_LIFE_MS, SNAPSHOT_BYTES, SOON_MS, SigningKey, TARGETS_BYTES,
        TARGETS_LIFE_MS, TIMESTAMP_BYTES, URGENT_MS, author, read_root, roughly, target_name,
    },
    setup::{NOW, Site, key, keys, listed, manifest},
};
use crate::{
    code::Code,
    digest::{ReleaseDigest, hex},
    manifest::MANIFEST_BYTES,
};

#[test]
fn limits_and_lives_are_what_the_docs_say() {
    let bytes = [ROOT_BYTES, TIMESTAMP_BYTES, SNAPSHOT_BYTES, TARGETS_BYTES, OFFER_BYTES];
    assert_eq!(bytes, [262_144, 16_384, 262_144, 786_432, 983_040]);
    let lives = [ROOT_LIFE_MS, TARGETS_LIFE_MS, FRESH_LIFE_MS].map(|life| life / DAY_MS);
    assert_eq!((lives, DAY_MS, CLOCK_BACK_MS), ([730, 180, 7], 86_400_000, 300_000));
    let warned = [SOON_MS, DUE_MS, URGENT_MS, OLD_MS].map(|before| before / DAY_MS);
    assert_eq!(warned, [30, 14, 7, 1]);
}

#[test]
fn lengths_of_time_are_told_in_their_unit() {
    let day = 86_400_000;
    for (ms, said) in [
        (2 * day, "2 d"),
        (2 * day - 1, "47 h"),
        (7_200_000, "2 h"),
        (7_199_999, "119 min"),
        (120_000, "2 min"),
        (119_999, "119 s"),
        (0, "0 s"),
    ] {
        assert_eq!(roughly(ms), said);
    }
}

#[test]
fn every_part_has_its_name_and_its_remedy() {
    let names = Part::ALL.map(|part| part.to_string());
    assert_eq!(names, ["root", "targets", "snapshot", "timestamp"]);
    assert_eq!(Part::Root.remedy("shop"), "longshore trust rotate shop");
    assert_eq!(Part::Timestamp.remedy("shop"), "longshore trust refresh");
}

/// What is too large is refused before it is looked at; what is as large as it may be, only for what it says.
#[test]
fn an_offer_may_be_as_large_as_the_limits_and_no_larger() {
    let site = Site::new();
    let refused_as_large = |offer: &Offer| {
        site.look(None, offer, NOW).err().is_some_and(|refusal| {
            let says = refusal.message;
            says.contains("bytes") && says.contains("at most") || says.contains("roots at once")
        })
    };
    let blank = |bytes: usize| vec![b' '; bytes];
    type Grow = fn(&mut Offer, Vec<u8>);
    let parts: [(usize, Grow); 4] = [
        (TIMESTAMP_BYTES, |offer, bytes| offer.timestamp = bytes),
        (SNAPSHOT_BYTES, |offer, bytes| offer.snapshot = bytes),
        (TARGETS_BYTES, |offer, bytes| offer.targets = bytes),
        (ROOT_BYTES, |offer, bytes| offer.roots = vec![bytes]),
    ];
    for (most, grow) in parts {
        let [mut fits, mut beyond] = [site.offer(), site.offer()];
        grow(&mut fits, blank(most));
        grow(&mut beyond, blank(most + 1));
        assert!(!refused_as_large(&fits) && refused_as_large(&beyond), "{most}");
    }
    let whole = |more: usize| Offer {
        roots: vec![blank(OFFER_BYTES - TARGETS_BYTES - 10 + more)],
        targets: blank(TARGETS_BYTES),
        snapshot: blank(10),
        timestamp: vec![],
    };
    assert!(!refused_as_large(&whole(0)) && refused_as_large(&whole(1)));
    let roots = |count: usize| Offer { roots: vec![site.root.clone(); count], ..site.offer() };
    assert!(!refused_as_large(&roots(ROOT_HOPS)) && refused_as_large(&roots(ROOT_HOPS + 1)));
}

#[test]
fn keys_read_as_they_print_and_a_signing_key_shows_no_secret() {
    let (made, other) = (SigningKey::generate(), SigningKey::generate());
    assert_ne!(made.seed(), other.seed());
    let public = SigningKey::from_seed(*made.seed()).public();
    assert_eq!(public, made.public());
    assert_eq!(public.to_string(), hex(&public.0));
    assert_eq!(public.to_string().parse::<PublicKey>().unwrap(), public);
    assert_eq!("00".parse::<PublicKey>().unwrap_err().code, Code::V01);
    assert_eq!(public.short(), hex(&public.id()[..4]));
    assert_eq!(format!("{public:?}"), format!("PublicKey({})", public.short()));
    assert_eq!(format!("{made:?}"), format!("SigningKey({})", public.short()));
    let signature = made.sign(b"words");
    assert!(public.verifies(b"words", &signature));
    assert!(!public.verifies(b"other", &signature) && !other.public().verifies(b"words", &signature));
}

#[test]
fn a_role_has_at_most_32_keys_and_no_higher_threshold_than_keys() {
    let site = Site::new();
    let with = |threshold: u64, count: u8| {
        let seeds: Vec<u8> = (0..count).map(|n| 100 + n).collect();
        let draft = author::RootDraft { release: (threshold, keys(&seeds)), ..site.draft.clone() };
        read_root("shop", &author::root(&draft, NOW))
    };
    assert_eq!(with(32, 32).unwrap().role(Part::Targets).0, 32);
    for (threshold, count, says) in
        [(1, 33, "more than 32 keys"), (3, 2, "wants 3 keys for targets and names 2")]
    {
        let refusal = with(threshold, count).unwrap_err();
        assert!(refusal.message.contains(says), "{refusal}");
    }
}

#[test]
fn a_document_bears_at_most_64_signatures() {
    let site = Site::new();
    let signed = |count: usize| {
        let mut root: Value = serde_json::from_slice(&site.root).unwrap();
        let one = root["signatures"][0].clone();
        root["signatures"] = Value::Array(vec![one; count]);
        read_root("shop", &serde_json::to_vec(&root).unwrap())
    };
    signed(64).unwrap();
    assert!(signed(65).unwrap_err().message.contains("more than 64 signatures"));
}

#[test]
fn a_signature_is_added_or_replaced_and_those_who_signed_are_told() {
    let site = Site::with_release(2, &[2, 3]);
    let root = read_root("shop", &site.root).unwrap();
    let list = author::targets(&site.catalog, NOW);
    let count = |document: &[u8]| {
        let whole: Value = serde_json::from_slice(document).unwrap();
        whole["signatures"].as_array().unwrap().len()
    };
    let signers = |document: &[u8]| author::signers(&root, Part::Targets, document).unwrap();
    assert!(signers(&list).is_empty());
    let once = author::sign(&list, &key(2)).unwrap();
    assert_eq!((count(&once), signers(&once)), (1, keys(&[2])));
    let again = author::sign(&once, &key(2)).unwrap();
    assert_eq!(count(&again), 1);
    let both = author::sign(&again, &key(3)).unwrap();
    assert_eq!((count(&both), signers(&both)), (2, keys(&[2, 3])));
    // A signature under another key's name, and one over other words.
    let mut forged: Value = serde_json::from_slice(&both).unwrap();
    forged["signatures"][0]["sig"] = forged["signatures"][1]["sig"].clone();
    assert_eq!(signers(&serde_json::to_vec(&forged).unwrap()), keys(&[3]));
    let mut changed: Value = serde_json::from_slice(&both).unwrap();
    changed["signed"]["version"] = json!(7);
    assert!(signers(&serde_json::to_vec(&changed).unwrap()).is_empty());
}

#[test]
fn a_document_that_waits_is_taken_when_it_says_the_same() {
    let site = Site::new();
    let waiting = author::sign(&author::targets(&site.catalog, NOW), &key(2)).unwrap();
    let later = author::targets(&site.catalog, NOW + DAY_MS);
    assert_eq!(author::like(&waiting, &later), Some(waiting.clone()));
    let other = author::targets(&Catalog { min_seq: 2, ..site.catalog.clone() }, NOW);
    assert_eq!(author::like(&waiting, &other), None);
    for odd in [&b"2"[..], b"{}", b"{\"signed\":1}", b"no JSON"] {
        assert_eq!(author::like(odd, &later), None);
        assert_eq!(author::like(&waiting, odd), None);
    }
    assert_eq!(author::expires_ms(&waiting), NOW + TARGETS_LIFE_MS);
    assert_eq!((author::expires_ms(&site.root), author::expires_ms(b"2")), (NOW + ROOT_LIFE_MS, 0));
    assert_eq!(author::read_catalog("shop", &waiting).unwrap().releases, site.catalog.releases);
}

#[test]
fn a_next_root_is_the_one_before_with_the_next_number() {
    let site = Site::with_release(2, &[2, 3]);
    let next = author::RootDraft::after(&read_root("shop", &site.root).unwrap());
    assert_eq!(next, author::RootDraft { version: 2, ..site.draft.clone() });
}

/// Versions rise by one, and a snapshot is made anew only when it has to be: hosts keep what they have.
#[test]
fn what_is_fresh_is_signed_anew_only_where_it_must() {
    let site = Site::new();
    let first = site.held();
    let version = |document: &[u8]| {
        let whole: Value = serde_json::from_slice(document).unwrap();
        whole["signed"]["version"].as_u64().unwrap()
    };
    let fresh = |roots: Vec<Vec<u8>>, targets: &[u8], at| {
        author::freshen(Some(&first), roots, targets.to_vec(), &key(9), at).unwrap()
    };
    let same = fresh(vec![], &first.targets, NOW + DAY_MS - 1);
    assert_eq!((&same.snapshot, version(&same.timestamp)), (&first.snapshot, 2));
    assert_eq!(author::expires_ms(&same.timestamp) / 1000, (NOW + DAY_MS - 1 + FRESH_LIFE_MS) / 1000);
    let other = author::targets(&Catalog { version: 2, ..site.catalog.clone() }, NOW);
    for offer in [
        fresh(vec![], &first.targets, NOW + DAY_MS),
        fresh(vec![], &other, NOW),
        fresh(vec![site.root.clone()], &first.targets, NOW),
    ] {
        assert_eq!((version(&offer.snapshot), version(&offer.timestamp)), (2, 2));
    }
    let dated = fresh(vec![], &other, NOW);
    assert_eq!(author::expires_ms(&dated.snapshot), NOW + FRESH_LIFE_MS);
}

#[test]
fn a_release_is_listed_as_what_it_is() {
    let site = Site::new();
    assert_eq!(target_name("shop", 7), "shop.7.release.json");
    let catalog = site.held().catalog("shop").unwrap();
    let (version, other) = ("1.0".parse().unwrap(), "1.1".parse().unwrap());
    assert_eq!(catalog.by_version(&version), Some(&listed(1, "1.0")));
    let digest = ReleaseDigest::of(&manifest("1.0"));
    assert_eq!(catalog.by_digest(&digest), Some(&listed(1, "1.0")));
    catalog.admit_digest(&version, &digest, None, 1).unwrap();
    for (version, length) in [(&version, Some(1)), (&other, None)] {
        let refusal = catalog.admit_digest(version, &digest, length, 1).unwrap_err();
        assert!(refusal.message.contains("was signed as 1.0"), "{refusal}");
    }
    let read = |change: fn(&mut Value)| {
        let mut list: Value = serde_json::from_slice(&author::targets(&site.catalog, NOW)).unwrap();
        change(&mut list["signed"]);
        author::read_catalog("shop", &serde_json::to_vec(&list).unwrap())
    };
    read(|list| list["targets"]["shop.1.release.json"]["length"] = json!(MANIFEST_BYTES)).unwrap();
    let too_long = read(|list| list["targets"]["shop.1.release.json"]["length"] = json!(MANIFEST_BYTES + 1));
    assert!(too_long.unwrap_err().message.contains("too large for a manifest"));
    let from_the_future = read(|list| list["x-longshore"]["next_seq"] = json!(2));
    assert!(from_the_future.unwrap_err().message.contains("from the future"));
    let renamed = read(|list| {
        let one = list["targets"]["shop.1.release.json"].take();
        list["targets"].as_object_mut().unwrap().remove("shop.1.release.json");
        list["targets"]["shop.01.release.json"] = one;
    });
    assert!(renamed.unwrap_err().message.contains("not named as its number says"));
}

/// Of a long row of roots the newest are kept; who comes late walks on from one of them.
#[test]
fn as_many_roots_are_held_as_one_update_may_bring() {
    let site = Site::new();
    let mut held = site.held();
    for version in 2..=ROOT_HOPS as u64 + 2 {
        let draft = author::RootDraft { version, ..site.draft.clone() };
        let root = author::sign(&author::root(&draft, NOW), &key(1)).unwrap();
        let offer = author::freshen(Some(&held), vec![root], held.targets.clone(), &key(9), NOW).unwrap();
        held = site.look(Some(&held), &offer, NOW).unwrap();
        let first = version.saturating_sub(ROOT_HOPS as u64 - 1).max(1);
        assert!(held.roots.keys().copied().eq(first..=version), "after v{version}");
    }
    let newest = held.root_version();
    assert_eq!(held.offer(newest - 1).roots.len(), 1);
    assert_eq!(held.offer(newest).roots.len(), 0);
}

/// Both the keys and how many of them it takes are the organisation's.
#[test]
fn an_app_whose_root_takes_fewer_keys_than_the_fleets_is_refused() {
    let site = Site::new();
    let org = keys(&[1, 4]);
    let weak = author::RootDraft { org: (1, org.clone()), ..site.draft.clone() };
    let root = author::sign(&author::root(&weak, NOW), &key(1)).unwrap();
    let offer = Offer { roots: vec![root], ..site.offer() };
    let look = |threshold, org| {
        let anchor = Anchor::Organisation { threshold, keys: org };
        super::super::update("shop", &anchor, None, &offer, NOW, site.dir.path())
    };
    look(1, org.clone()).unwrap();
    for (threshold, org) in [(2, org), (1, keys(&[1]))] {
        let refusal = look(threshold, org).unwrap_err();
        assert!(refusal.message.contains("does not name the organisation's keys"), "{refusal}");
    }
}
