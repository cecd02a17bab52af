//! What the desk takes in, what it keeps waiting, and what it refuses at the door.

use std::{collections::BTreeSet, sync::Arc};

use longshore_common::{
    code::Code,
    digest::ReleaseDigest,
    time::{Clock, ManualClock, Millis},
    trust::{Catalog, DAY_MS, FLEET, FRESH_LIFE_MS, Listed, SigningKey, author, author::RootDraft},
};

use super::{Submitted, TrustDesk};

const NOW: Millis = 1_800_000_000_000;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed([seed; 32])
}

struct Site {
    _dir: tempfile::TempDir,
    clock: ManualClock,
    desk: Arc<TrustDesk>,
    catalog: Catalog,
}

fn site(threshold: u64) -> Site {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(NOW);
    let desk = TrustDesk::open(&dir.path().join("trust"), Arc::new(clock.clone()) as Arc<dyn Clock>).unwrap();
    let only = |seeds: &[u8]| seeds.iter().map(|seed| key(*seed).public()).collect::<BTreeSet<_>>();
    let online = desk.online_key();
    let draft =
        RootDraft { app: FLEET.into(), version: 1, org: (1, only(&[1])), release: (1, only(&[1])), online };
    let root = author::sign(&author::root(&draft, NOW), &key(1)).unwrap();
    let list = author::sign(&author::targets(&author::empty_catalog(FLEET), NOW), &key(1)).unwrap();
    assert_eq!(desk.submit(FLEET, vec![root], list).unwrap(), Submitted::Accepted);
    let draft = RootDraft { app: "shop".into(), release: (threshold, only(&[2, 3])), ..draft };
    let root = author::sign(&author::root(&draft, NOW), &key(1)).unwrap();
    let catalog = author::empty_catalog("shop");
    let list = [2, 3]
        .iter()
        .fold(author::targets(&catalog, NOW), |list, by| author::sign(&list, &key(*by)).unwrap());
    assert_eq!(desk.submit("shop", vec![root], list).unwrap(), Submitted::Accepted);
    Site { _dir: dir, clock, desk, catalog }
}

impl Site {
    fn with_release(&self) -> Catalog {
        let listed =
            Listed { seq: 1, version: "1.0".parse().unwrap(), digest: ReleaseDigest::of(b"m"), length: 1 };
        Catalog { version: 2, next_seq: 2, releases: [(1, listed)].into(), ..self.catalog.clone() }
    }

    fn admit(&self, app: &str) -> Result<(), Code> {
        let (app, version) = (app.parse().unwrap(), "1.0".parse().unwrap());
        self.desk.admit(&app, &version, &ReleaseDigest::of(b"m"), 1).map_err(|why| why.code)
    }
}

#[test]
fn one_of_two_signatures_waits_and_the_second_completes_it() {
    let site = site(2);
    let once = author::sign(&author::targets(&site.with_release(), NOW), &key(2)).unwrap();
    let Submitted::Waiting(why) = site.desk.submit("shop", vec![], once).unwrap() else { panic!("accepted") };
    assert!(why.contains("1 of 2"), "{why}");
    assert_eq!(site.admit("shop"), Err(Code::T02));
    let waiting = site.desk.pending("shop").unwrap().unwrap().targets;
    let twice = author::sign(&waiting, &key(3)).unwrap();
    assert_eq!(site.desk.submit("shop", vec![], twice).unwrap(), Submitted::Accepted);
    assert_eq!(site.desk.pending("shop").unwrap(), None);
    assert_eq!(site.admit("shop"), Ok(()));
    assert_eq!(site.admit("other"), Err(Code::T02), "no keys, no release");
}

#[test]
fn a_bad_upload_is_refused_at_the_door() {
    let site = site(1);
    let by_nobody = author::sign(&author::targets(&site.with_release(), NOW), &key(66)).unwrap();
    assert_eq!(site.desk.submit("shop", vec![], by_nobody).unwrap_err().code, Code::T02);
    assert_eq!(site.desk.pending("shop").unwrap(), None);
    let forged = RootDraft {
        app: FLEET.into(),
        version: 2,
        org: (1, BTreeSet::from([key(66).public()])),
        release: (1, BTreeSet::from([key(66).public()])),
        online: site.desk.online_key(),
    };
    let root = author::sign(&author::root(&forged, NOW), &key(66)).unwrap();
    assert_eq!(site.desk.submit(FLEET, vec![root], vec![]).unwrap_err().code, Code::T02);
    assert_eq!(site.desk.submit("new", vec![], vec![]).unwrap_err().code, Code::V01);
}

#[test]
fn it_is_kept_current_and_a_restart_changes_nothing() {
    let site = site(1);
    let first = site.desk.held("shop").unwrap().unwrap();
    for _ in 0..10 {
        site.clock.advance(std::time::Duration::from_millis(DAY_MS as u64));
        site.desk.refresh();
    }
    let later = site.desk.held("shop").unwrap().unwrap();
    assert!(author::expires_ms(&later.timestamp) > NOW + 10 * DAY_MS, "signed anew");
    assert!(author::expires_ms(&first.timestamp) <= NOW + FRESH_LIFE_MS);
    assert_eq!(later.targets, first.targets, "the list is as it was");
    let again = TrustDesk::open(&site._dir.path().join("trust"), Arc::new(site.clock.clone())).unwrap();
    assert_eq!(again.online_key(), site.desk.online_key());
    assert_eq!(again.standings().iter().map(|s| s.app.as_str()).collect::<Vec<_>>(), [FLEET, "shop"]);
}
