//! What the desk takes in, what it keeps waiting, and what it refuses at the door.

use std::{collections::BTreeSet, sync::Arc};

use longshore_common::{
    code::{Code, Coded},
    digest::ReleaseDigest,
    time::{Clock, ManualClock, Millis},
    trust::{
        Anchor, Catalog, DAY_MS, Expired, FLEET, FRESH_LIFE_MS, Listed, PublicKey, SigningKey,
        TARGETS_LIFE_MS, author, author::RootDraft, update,
    },
};

use super::{Asked, Signed, Submitted, TrustDesk, Waiting, Which};

const NOW: Millis = 1_800_000_000_000;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed([seed; 32])
}

struct Site {
    _dir: tempfile::TempDir,
    clock: ManualClock,
    desk: Arc<TrustDesk>,
    catalog: Catalog,
    draft: RootDraft,
}

const TAKEN: Submitted = Submitted::Accepted { overtaken: vec![] };

fn keys(seeds: &[u8]) -> BTreeSet<PublicKey> {
    seeds.iter().map(|seed| key(*seed).public()).collect()
}

fn digest(version: &str) -> ReleaseDigest {
    ReleaseDigest::of(version.as_bytes())
}

fn signed(document: Vec<u8>, by: &[u8]) -> Vec<u8> {
    by.iter().fold(document, |document, by| author::sign(&document, &key(*by)).unwrap())
}

/// Key 1 is the organisation's, 2 and 3 are shop's.
fn site(threshold: u64) -> Site {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(NOW);
    let desk = TrustDesk::open(&dir.path().join("trust"), Arc::new(clock.clone()) as Arc<dyn Clock>).unwrap();
    let online = desk.online_key();
    let draft =
        RootDraft { app: FLEET.into(), version: 1, org: (1, keys(&[1])), release: (1, keys(&[1])), online };
    let root = signed(author::root(&draft, NOW), &[1]);
    let list = signed(author::targets(&author::empty_catalog(FLEET), NOW), &[1]);
    assert_eq!(desk.submit(FLEET, "ann", vec![root], list).unwrap(), TAKEN);
    let draft = RootDraft { app: "shop".into(), release: (threshold, keys(&[2, 3])), ..draft };
    let root = signed(author::root(&draft, NOW), &[1]);
    let catalog = author::empty_catalog("shop");
    let list = signed(author::targets(&catalog, NOW), &[2, 3]);
    assert_eq!(desk.submit("shop", "ann", vec![root], list).unwrap(), TAKEN);
    Site { _dir: dir, clock, desk, catalog, draft }
}

impl Site {
    fn with_release(&self) -> Catalog {
        self.listing("1.0")
    }

    /// The list after the one that is held, with this version as well.
    fn listing(&self, version: &str) -> Catalog {
        let held = self.desk.held("shop").unwrap().unwrap().catalog("shop").unwrap();
        let mut catalog = Catalog { version: held.version + 1, next_seq: held.next_seq + 1, ..held.clone() };
        let digest = digest(version);
        let listed = Listed { seq: held.next_seq, version: version.parse().unwrap(), digest, length: 1 };
        catalog.releases.insert(held.next_seq, listed);
        catalog
    }

    /// `by` hands in the list that has this version as well, signed by these keys.
    fn sign(&self, by: &str, version: &str, keys: &[u8]) -> Submitted {
        let list = signed(author::targets(&self.listing(version), NOW), keys);
        self.clock.advance(std::time::Duration::from_millis(1)); // the first is told first
        self.desk.submit("shop", by, vec![], list).unwrap()
    }

    /// The next root, with 2 of the keys 2, 3 and 4.
    fn next_root(&self) -> Vec<u8> {
        let release = (2, keys(&[2, 3, 4]));
        author::root(&RootDraft { version: 2, release, ..self.draft.clone() }, NOW)
    }

    fn waiting(&self) -> Vec<Waiting> {
        self.desk.waiting("shop").unwrap()
    }

    /// What waits, in one line each.
    fn told(&self) -> Vec<String> {
        let told = self.waiting().into_iter().map(|waiting| {
            let (what, list) = (waiting.what(), &waiting.list);
            let overtaken = if waiting.overtaken { " overtaken" } else { "" };
            format!("{what}: {} of {}{overtaken}", list.have.len(), list.takes)
        });
        told.collect()
    }

    fn refused(&self, app: &str, version: &str) -> Option<Coded> {
        let digest = digest(version);
        self.desk.admit(&app.parse().unwrap(), &version.parse().unwrap(), &digest, 1).err()
    }

    fn admit(&self, app: &str) -> Result<(), Code> {
        self.refused(app, "1.0").map_or(Ok(()), |why| Err(why.code))
    }

    fn state(&self, version: &str, withdrawn: bool) -> Signed {
        let release = digest(version);
        let asked = Asked { version: version.parse().unwrap(), release, withdrawn };
        self.desk.signed(&"shop".parse().unwrap(), &[asked]).unwrap().remove(0)
    }
}

#[test]
fn one_of_two_signatures_waits_and_the_second_completes_it() {
    let site = site(2);
    let once = author::sign(&author::targets(&site.with_release(), NOW), &key(2)).unwrap();
    let Submitted::Waiting(why) = site.desk.submit("shop", "ann", vec![], once).unwrap() else {
        panic!("accepted")
    };
    let (anns, bobs) = (key(2).public().short(), key(3).public().short());
    assert_eq!(
        why.sentence(),
        format!(
            "the list has 1 of 2 signatures ({anns} by ann; lacking of {bobs}). Next, whoever holds such a key: \
             longshore release sign shop@1.0"
        )
    );
    // Not "never signed": it is told how far it is, and how it goes on.
    let refused = site.refused("shop", "1.0").unwrap();
    assert_eq!(refused.code, Code::T03);
    for part in ["1 of 2", anns.as_str(), bobs.as_str(), "longshore release sign shop@1.0"] {
        assert!(refused.message.contains(part), "{refused}");
    }
    assert_eq!(site.refused("shop", "1.1").unwrap().code, Code::T02, "of another, nobody signed anything");
    assert!(matches!(site.state("1.0", false), Signed::Waits { have: 1, takes: 2, delisting: false, .. }));
    let waiting = site.desk.pending("shop").unwrap().remove(0).targets;
    let twice = author::sign(&waiting, &key(3)).unwrap();
    assert_eq!(site.desk.submit("shop", "bob", vec![], twice).unwrap(), TAKEN);
    assert_eq!(site.desk.pending("shop").unwrap(), vec![]);
    assert_eq!(site.admit("shop"), Ok(()));
    assert_eq!(site.state("1.0", false), Signed::Listed);
    assert_eq!(site.admit("other"), Err(Code::T02), "no keys, no release");
}

#[test]
fn a_bad_upload_is_refused_at_the_door() {
    let site = site(1);
    let by_nobody = author::sign(&author::targets(&site.with_release(), NOW), &key(66)).unwrap();
    assert_eq!(site.desk.submit("shop", "eve", vec![], by_nobody).unwrap_err().code, Code::T02);
    assert_eq!(site.desk.pending("shop").unwrap(), vec![]);
    let forged = RootDraft {
        app: FLEET.into(),
        version: 2,
        org: (1, BTreeSet::from([key(66).public()])),
        release: (1, BTreeSet::from([key(66).public()])),
        online: site.desk.online_key(),
    };
    let root = author::sign(&author::root(&forged, NOW), &key(66)).unwrap();
    assert_eq!(site.desk.submit(FLEET, "eve", vec![root], vec![]).unwrap_err().code, Code::T02);
    assert_eq!(site.desk.submit("new", "eve", vec![], vec![]).unwrap_err().code, Code::V01);
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

/// Its folder is put back to an older copy, or lost: hosts have seen newer documents, which whoever signed last hands back.
#[test]
fn a_folder_put_back_to_an_older_copy_goes_on_past_what_was_seen() {
    let site = site(1);
    let held = || site.desk.held("shop").unwrap().unwrap();
    let copy = held();
    assert!(matches!(site.sign("ann", "1.0", &[2]), Submitted::Accepted { .. }));
    for _ in 0..30 {
        site.clock.advance(std::time::Duration::from_secs(3600));
        site.desk.refresh();
    }
    let seen = held();
    let fleet = site.desk.held(FLEET).unwrap().unwrap();
    let taken = || {
        let (anchor, offer) = (Anchor::of_fleet(&fleet).unwrap(), site.desk.offer("shop", 0).unwrap());
        update("shop", &anchor, Some(&seen), &offer, site.clock.now_ms(), site._dir.path()).map(drop)
    };
    site.desk.state("shop").persist(&copy).unwrap();
    site.desk.refresh();
    assert_eq!(taken().unwrap_err().code, Code::T05);
    site.desk.renew();
    let refusal = taken().unwrap_err();
    assert!(
        refusal.code == Code::T05 && refusal.message.contains("targets v1, v2 has been seen"),
        "{refusal}"
    );
    assert_eq!(site.desk.submit("shop", "ann", vec![], seen.targets.clone()).unwrap(), TAKEN);
    taken().unwrap();
    assert_eq!(site.admit("shop"), Ok(()));

    std::fs::remove_dir_all(site._dir.path().join("trust/shop")).unwrap();
    let roots = seen.roots.values().cloned().collect();
    assert_eq!(site.desk.submit("shop", "ann", roots, seen.targets.clone()).unwrap(), TAKEN);
    site.desk.renew();
    taken().unwrap();
}

/// The advice is the controller's, not a host's.
#[test]
fn damage_is_told_with_what_is_done_about_it_here() {
    let site = site(1);
    std::fs::remove_file(site._dir.path().join("trust/shop/current")).unwrap();
    let refusal = site.refused("shop", "1.0").unwrap();
    assert!(refusal.message.contains("trust/shop` back from a copy"), "{refusal}");
    assert!(!refusal.message.contains("longshore-agent"), "{refusal}");
}

/// What the controller signs is never what a plan waits for; what operators sign is told, with who renews it.
#[test]
fn what_has_run_out_is_told_with_its_renewal() {
    let site = site(1);
    let shop = "shop".parse().unwrap();
    let told = || site.desk.expired(&shop).unwrap().iter().map(Expired::dated).collect::<Vec<_>>();
    site.clock.advance(std::time::Duration::from_millis((FRESH_LIFE_MS + DAY_MS) as u64));
    assert_eq!(told(), Vec::<String>::new(), "signed anew at once");
    site.clock.advance(std::time::Duration::from_millis((TARGETS_LIFE_MS - DAY_MS) as u64));
    let both = told();
    assert_eq!(both.len(), 2, "{both:?}");
    assert!(both[0].starts_with("targets.json of fleet expired at 2027-"), "{}", both[0]);
    assert!(both[0].ends_with("renew it: longshore trust rotate fleet (whoever has the organisation's key)"));
    assert!(both[1].contains("longshore trust rotate shop"), "{}", both[1]);
}

/// A clock that jumps, forwards or back, is noticed at the next look, not at the next hour of the machine's own time.
#[test]
fn it_is_signed_anew_every_hour_of_the_wall_and_when_the_clock_jumps() {
    let due = |now| super::is_due(Some(NOW), now);
    assert!(super::is_due(None, NOW), "at the start");
    assert!(!due(NOW) && !due(NOW + 3_599_999));
    assert!(due(NOW + 3_600_000) && due(NOW + 10 * DAY_MS) && due(NOW - 1));
}

#[test]
fn what_somebody_signed_is_never_dropped_by_what_another_signs() {
    let site = site(2);
    site.sign("ann", "1.0", &[2]);
    site.sign("bob", "1.1", &[3]);
    let root = signed(site.next_root(), &[1]);
    let list = Catalog { version: 2, ..site.catalog.clone() };
    let list = signed(author::targets(&list, NOW), &[2]);
    site.clock.advance(std::time::Duration::from_millis(1));
    site.desk.submit("shop", "ann", vec![root.clone()], list).unwrap();
    let three = site.told();
    assert_eq!(three.len(), 3, "{three:?}");
    assert!(three[0].starts_with("lists 1.0") && three[0].ends_with(": 1 of 2"), "{three:?}");
    // One of them is completed. Nobody is left in the dark about the others.
    let Submitted::Accepted { overtaken } = site.sign("ann", "1.1", &[2]) else { panic!("two have signed") };
    assert_eq!(overtaken.len(), 1, "{overtaken:?}");
    assert_eq!(overtaken[0].command(), "longshore release sign shop@1.0");
    assert_eq!(overtaken[0].signed[0].by, "ann");
    assert_eq!(site.admit("shop"), Err(Code::T02), "its signature counts no more");
    assert!(matches!(site.state("1.0", false), Signed::Overtaken { .. }));
    let told = site.told();
    assert!(told[0].starts_with("lists 1.0") && told[0].ends_with("overtaken"), "{told:?}");
    // The root keeps its signature; only its list has to be signed anew.
    let rotation = &site.waiting()[1];
    assert!(!rotation.overtaken && rotation.root.as_ref().unwrap().enough(), "{rotation:?}");
    assert_eq!((rotation.list.have.len(), rotation.list.takes), (0, 2));
    let held = site.desk.held("shop").unwrap().unwrap().catalog("shop").unwrap();
    let list = author::targets(&Catalog { version: held.version + 1, ..held }, NOW);
    let half = site.desk.submit("shop", "ann", vec![root.clone()], signed(list.clone(), &[2])).unwrap();
    assert!(matches!(half, Submitted::Waiting(_)));
    let whole = site.desk.submit("shop", "bob", vec![root], signed(list, &[4])).unwrap();
    assert_eq!(whole, TAKEN, "its signatures add up, also when neither saw the other's");
    // Signed again, it is no longer told as overtaken.
    site.sign("ann", "1.0", &[2]);
    assert!(site.told()[0].ends_with(": 1 of 2"), "{:?}", site.told());
    assert_eq!(site.told().len(), 1);
}

#[test]
fn each_thing_that_waits_names_the_command_of_the_second() {
    let site = site(2);
    let command = |submitted: Submitted| match submitted {
        Submitted::Waiting(waiting) => waiting.command(),
        Submitted::Accepted { .. } => panic!("one key is not enough"),
    };
    assert_eq!(command(site.sign("ann", "1.0", &[2])), "longshore release sign shop@1.0");
    let floor = Catalog { min_seq: 1, ..site.listing("1.0") };
    let submit = |roots, list| command(site.desk.submit("shop", "ann", roots, list).unwrap());
    let list = |catalog: &Catalog| signed(author::targets(catalog, NOW), &[2]);
    assert_eq!(submit(vec![], list(&floor)), "longshore release sign shop@1.0 --security");
    let root = signed(site.next_root(), &[1]);
    let renewed = list(&Catalog { version: 2, ..site.catalog.clone() });
    let fourth = key(4).public();
    assert_eq!(
        submit(vec![root], renewed),
        format!("longshore trust rotate shop --add-key {fourth}"),
        "the threshold is as it was"
    );
    assert!(matches!(site.sign("bob", "1.0", &[3]), Submitted::Accepted { .. }));
    let mut without = site.listing("1.0");
    without.releases.clear();
    assert_eq!(
        submit(vec![], list(&without)),
        "longshore release withdraw shop@1.0 --reason 'second signature'"
    );
    assert!(matches!(site.state("1.0", true), Signed::Waits { delisting: true, .. }));
    // An app whose first keys wait is known as well, by what its own second types.
    let draft = RootDraft { app: "till".into(), ..site.draft.clone() };
    let root = signed(author::root(&draft, NOW), &[1]);
    let first = signed(author::targets(&author::empty_catalog("till"), NOW), &[2]);
    let begun = site.desk.submit("till", "ann", vec![root], first).unwrap();
    assert_eq!(command(begun), "longshore app create till");
    let standings = site.desk.standings();
    assert_eq!(standings.iter().map(|of| of.app.as_str()).collect::<Vec<_>>(), [FLEET, "shop", "till"]);
    assert_eq!(standings[2].waiting.len(), 1);
}

#[test]
fn what_waits_can_be_dropped_and_is_bounded() {
    let site = site(2);
    site.sign("ann", "1.0", &[2]);
    site.sign("ann", "1.1", &[2]);
    let id = site.waiting()[0].id.clone();
    let dropped = site.desk.drop_waiting("shop", &Which::One(id.clone())).unwrap();
    assert_eq!((dropped.len(), dropped[0].id == id), (1, true));
    assert_eq!(site.told().len(), 1);
    let again = site.desk.drop_waiting("shop", &Which::One(id)).unwrap_err();
    assert_eq!(again.code, Code::N01, "{again}");
    assert_eq!(site.desk.drop_waiting("shop", &Which::Overtaken).unwrap(), vec![]);
    assert_eq!(site.sign("ann", "2.0", &[2, 3]), Submitted::Accepted { overtaken: site.waiting() });
    assert_eq!(site.desk.drop_waiting("shop", &Which::Overtaken).unwrap().len(), 1);
    for number in 0..32 {
        site.sign("ann", &format!("3.{number}"), &[2]);
    }
    let list = signed(author::targets(&site.listing("4.0"), NOW), &[2]);
    let full = site.desk.submit("shop", "ann", vec![], list).unwrap_err();
    assert!(full.code == Code::A04 && full.message.contains("trust drop shop"), "{full}");
    assert!(matches!(site.sign("bob", "3.7", &[3]), Submitted::Accepted { .. }), "what waits goes on");
}

/// What is in the record of a call is known before it is made, and says what changes.
#[test]
fn documents_are_told_by_what_they_change() {
    let site = site(2);
    let told = |roots: &[Vec<u8>], list: &[u8]| site.desk.describe("shop", roots, list).unwrap();
    let list = author::targets(&Catalog { min_seq: 1, ..site.listing("1.0") }, NOW);
    let short = digest("1.0").short();
    assert_eq!(told(&[], &list), format!("lists 1.0 ({short}); lets nothing older than 1.0 run"));
    let fourth = key(4).public().short();
    assert_eq!(told(&[site.next_root()], &[]), format!("adds key {fourth}, 2 of 3 sign"));
    let frozen = Catalog {
        version: 2,
        frozen: Some("key stolen".into()),
        revoked: [(digest("1.0"), "bad".into())].into(),
        ..author::empty_catalog(FLEET)
    };
    let fleet = site.desk.describe(FLEET, &[], &author::targets(&frozen, NOW)).unwrap();
    assert_eq!(fleet, format!("freezes the fleet: key stolen; revokes {short}: bad"));
    assert!(site.desk.describe("shop", &[], b"{").is_err());
}
