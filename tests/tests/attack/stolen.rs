//! A controller rebuilt from stolen state: its files, its certificate authority, the key by which it says that lists
//! are current, every document and blob; nothing of the operator's. It tries everything that it can say.

use std::process::Command;
use std::sync::Arc;

use longshore_common::digest::{BlobDigest, IndexDigest, ReleaseDigest};
use longshore_common::manifest::{Hook, Manifest};
use longshore_common::time::{Clock as _, Span, SystemClock};
use longshore_common::trust::{FLEET, FRESH_LIFE_MS, Held, Listed, Offer, PublicKey, SigningKey, author};
use longshore_controller::trust::TrustDesk;
use longshore_proto::v1::{self as pb, outcome::Kind};
use longshore_tests::run;
use prost::Message as _;

use crate::desk::{Goods, Liar};
use crate::signed::Signed;
use crate::site::ASK;

/// What a thief has.
struct Loot {
    fleet: Held,
    shop: Held,
    online: SigningKey,
}

impl Loot {
    /// From a copy of the controller's folder.
    fn of(site: &Signed, copy: &str) -> Self {
        let copy = site.0.path(copy);
        let from = site.0.path("ctl/trust");
        run(Command::new("cp").arg("-a").arg(from).arg(&copy), ASK).unwrap().success().unwrap();
        let desk = TrustDesk::open(&copy, Arc::new(SystemClock)).unwrap();
        let seed: PublicKey =
            std::fs::read_to_string(copy.join("online.key")).unwrap().trim().parse().unwrap();
        let held = |app| desk.held(app).unwrap().unwrap();
        Self { fleet: held(FLEET), shop: held("shop"), online: SigningKey::from_seed(seed.0) }
    }

    /// The list with this release in it, by the only key there is.
    fn forged(&self, evil: &Manifest) -> Offer {
        let mut list = self.shop.catalog("shop").unwrap();
        let (seq, bytes) = (list.next_seq, evil.to_bytes());
        let (version, digest) = (evil.version.clone(), ReleaseDigest::of(&bytes));
        list.releases.insert(seq, Listed { seq, version, digest, length: bytes.len() as u64 });
        (list.version, list.next_seq) = (list.version + 1, seq + 1);
        let now = SystemClock.now_ms();
        let signed = author::sign(&author::targets(&list, now), &self.online).unwrap();
        author::freshen(Some(&self.shop), vec![], signed, &self.online, now).unwrap()
    }
}

fn manifest_of(site: &Signed, version: &str) -> Manifest {
    let shown = site.json(["release", "show", &format!("shop@{version}")]);
    let manifest: Manifest = serde_json::from_value(shown["manifest"].clone()).unwrap();
    assert_eq!(manifest.digest().hex(), site.digest_of(version));
    manifest
}

/// Scenario 66: whatever it pushes, the host runs not a byte that was not signed, says why, and is as it was.
#[test]
fn a_stolen_controller_runs_nothing_of_its_own() {
    let mut site = Signed::raise();
    site.publish("1.0").success().unwrap();
    site.roll_out("1.0").code_is(0).unwrap();
    let early = Loot::of(&site, "early").shop.offer(0);
    site.publish("1.1").success().unwrap();
    site.roll_out("1.1").code_is(0).unwrap();
    site.ops(["release", "sign", "shop@1.1", "--security"]).success().unwrap();
    site.bring_up_to_date();
    let (old, good) = (manifest_of(&site, "1.0"), manifest_of(&site, "1.1"));
    let loot = Loot::of(&site, "loot");
    let genuine = loot.shop.offer(0);
    let before = site.snapshot();
    let mut liar = Liar::in_place_of(&mut site.0, 0);

    let but = |change: fn(&mut Manifest)| {
        let mut manifest = good.clone();
        change(&mut manifest);
        manifest
    };
    let hook = |manifest: &mut Manifest| {
        let run = vec!["/bin/sh".into(), "-c".into(), "touch /tmp/owned".into()];
        manifest.hooks.before_switch = Some(Hook { run, timeout: Span::secs(5) });
    };
    let new = but(|manifest| manifest.version = "6.6".parse().unwrap());
    let mixed = Offer { targets: early.targets.clone(), ..genuine.clone() };
    let mut torn = genuine.clone();
    torn.timestamp.truncate(torn.timestamp.len() / 2);
    let strange = Offer { timestamp: early.timestamp.clone(), ..genuine.clone() };
    // What it could say for ever, were it believed: that the list of a week ago is the present one.
    let week_ago = SystemClock.now_ms() - FRESH_LIFE_MS - 3_600_000;
    let frozen = author::freshen(Some(&loot.shop), vec![], loot.shop.targets.clone(), &loot.online, week_ago);
    let rows: Vec<(&str, Manifest, Option<Offer>, &str, &str)> = vec![
        (
            "another binary",
            but(|manifest| manifest.artifact.index = IndexDigest::of(b"another")),
            Some(genuine.clone()),
            "LS-T02",
            "signed is",
        ),
        (
            "another argument",
            but(|manifest| manifest.service.exec.push("--evil".into())),
            Some(genuine.clone()),
            "LS-T02",
            "signed is",
        ),
        ("another hook", but(hook), Some(genuine.clone()), "LS-T02", "signed is"),
        (
            "another user",
            but(|manifest| manifest.service.user = Some("daemon".into())),
            Some(genuine.clone()),
            "LS-T02",
            "signed is",
        ),
        (
            "another environment variable",
            but(|manifest| drop(manifest.service.env.insert("LD_PRELOAD".into(), "/tmp/x.so".into()))),
            Some(genuine.clone()),
            "LS-T02",
            "signed is",
        ),
        ("a release of its own", new.clone(), Some(genuine.clone()), "LS-T02", "never signed, or withdrawn"),
        ("a list of its own", new.clone(), Some(loot.forged(&new)), "LS-T02", "not signed by a key"),
        ("below the floor", old.clone(), Some(genuine.clone()), "LS-T05", "below the signed floor"),
        ("the list of before", new.clone(), Some(early.clone()), "LS-T05", "rollback refused"),
        ("a mixed set", new.clone(), Some(mixed), "LS-T0", "shop"),
        ("an older timestamp", new.clone(), Some(strange), "LS-T0", "shop"),
        ("a torn document", new.clone(), Some(torn), "LS-T02", "shop"),
        ("another repository's documents", new.clone(), Some(loot.fleet.offer(0)), "LS-T02", "fleet"),
        ("an endless freeze", new.clone(), Some(frozen.unwrap()), "LS-T04", "of shop expired"),
        ("nothing at all", new.clone(), None, "LS-", ""),
    ];
    let mut said = vec![];
    for (what, manifest, offer, code, says) in rows {
        let bytes = manifest.to_bytes();
        let mut goods = Goods { manifest: bytes.clone(), ..Goods::default() };
        goods.trust.insert(FLEET.into(), loot.fleet.offer(0).into());
        goods.trust.extend(offer.map(|offer| ("shop".to_owned(), pb::TrustDocuments::from(offer))));
        *liar.goods.lock().unwrap() = goods;
        let version = manifest.version.to_string();
        let generation = liar.next_generation();
        let told = liar.assign(generation, &bytes, |assignment| assignment.version = version);
        assert!(told.code.starts_with(code), "{what}: {told:?}");
        assert!(told.message.contains(says), "{what}: {told:?}");
        assert_eq!(site.snapshot(), before, "{what}");
        said.insert(0, (told.code, told.message));
    }
    // No controller that lies has a say in what the host itself writes down.
    let history = site.agent(["history", "-n", "100", "-o", "json"]).success().unwrap();
    let history: serde_json::Value = serde_json::from_str(&history).unwrap();
    let rows = history["rows"].as_array().unwrap().iter();
    let failed = rows.filter(|row| row["event"] == "failed" || row["event"] == "refused");
    let noted: Vec<_> =
        failed.map(|row| (row["code"].as_str().unwrap(), row["detail"].as_str().unwrap())).collect();
    assert_eq!(noted.len(), said.len(), "{history:#}");
    let shown = site.agent(["history", "-n", "100"]).success().unwrap();
    for ((code, noted), (refused_with, said)) in noted.iter().zip(&said) {
        assert_eq!(code, refused_with, "{noted}");
        let words: String = said.chars().take(40).collect();
        assert!(noted.contains(&words), "{words} is not in {noted}");
        assert!(
            shown.lines().any(|line| line.contains(code) && line.contains(&words)),
            "{code} {words}: {shown}"
        );
    }
    assert!(!std::path::Path::new("/tmp/owned").exists());
    // What it withholds ages, and the host says for how long; what runs goes on.
    let trust = site.agent(["trust", "status"]).success().unwrap();
    assert!(trust.contains("signed") && trust.contains("verified"), "{trust}");
    assert_eq!(site.0.runs().as_deref(), Some("1.1"));
}

/// For how long the documents of the next test hold: staging has to fit, on a machine that stands still meanwhile too.
const HOLDS_MS: i64 = 60_000;

/// A revocation held back for longer than documents hold: what lies in a slot and never was live there stays dead, what
/// was live and good there can be gone back to, and news is all that it takes.
#[test]
fn what_was_only_staged_is_not_made_live_by_documents_that_have_run_out() {
    let mut site = Signed::raise();
    for version in ["1.0", "1.1"] {
        site.publish(version).success().unwrap();
        site.roll_out(version).code_is(0).unwrap();
    }
    site.publish("1.2").success().unwrap();
    let (good, staged) = (manifest_of(&site, "1.0"), manifest_of(&site, "1.2"));
    let program = std::fs::read(site.0.path("app/dist/run")).unwrap();
    let loot = Loot::of(&site, "loot");
    let mut liar = Liar::in_place_of(&mut site.0, 0);
    let listed = |held: &Held, at| {
        author::freshen(Some(held), vec![], held.targets.clone(), &loot.online, at).unwrap()
    };
    let until_ms = SystemClock.now_ms() + HOLDS_MS;
    let ending = listed(&loot.shop, until_ms - FRESH_LIFE_MS);
    let trust = |offer: &Offer| {
        let of = |offer: Offer| pb::TrustDocuments::from(offer);
        [(FLEET.to_owned(), of(loot.fleet.offer(0))), ("shop".to_owned(), of(offer.clone()))].into()
    };
    *liar.goods.lock().unwrap() = Goods { trust: trust(&ending), ..goods_of(&staged, &program) };
    assert!(matches!(order(&mut liar, &staged, pb::Intent::Stage), Kind::Staged(_)));
    let before = site.snapshot();
    longshore_tests::until(ASK, "the end of what holds", || {
        Ok((SystemClock.now_ms() > until_ms).then_some(()))
    })
    .unwrap();

    for _ in 0..2 {
        let Kind::Failed(refused) = order(&mut liar, &staged, pb::Intent::Run) else {
            panic!("it was made live")
        };
        assert_eq!(refused.code, "LS-T04", "{refused:?}");
        assert!(refused.message.contains("timestamp.json of shop expired"), "{refused:?}");
        assert_eq!(site.snapshot(), before);
    }
    assert!(matches!(order(&mut liar, &good, pb::Intent::Run), Kind::Healthy(_)), "what was good here");
    assert_eq!(site.0.runs().as_deref(), Some("1.0"));

    let held = Held { timestamp: ending.timestamp, snapshot: ending.snapshot, ..loot.shop.clone() };
    liar.goods.lock().unwrap().trust = trust(&listed(&held, SystemClock.now_ms()));
    assert!(matches!(order(&mut liar, &staged, pb::Intent::Run), Kind::Healthy(_)), "documents that hold");
    assert_eq!(site.0.runs().as_deref(), Some("1.2"));
}

/// Assigns it as the honest controller did, and waits for the end.
fn order(liar: &mut Liar, manifest: &Manifest, intent: pb::Intent) -> Kind {
    let generation = liar.next_generation();
    liar.order(generation, &manifest.to_bytes(), |assignment| {
        (assignment.version, assignment.intent) = (manifest.version.to_string(), intent.into());
        assignment.values.insert("greeting".into(), "ahoy".into());
    });
    liar.outcome()
}

/// What a controller hands out of a release that is one program.
fn goods_of(manifest: &Manifest, program: &[u8]) -> Goods {
    let squeezed = |bytes: &[u8]| longshore_common::bundle::frame::compress(3, bytes).unwrap();
    let (size, blob) = (program.len() as u64, BlobDigest::of(program).0.to_vec().into());
    let entry = pb::IndexEntry { path: "run".into(), executable: true, size, blob, ..Default::default() };
    let index = pb::Index { format: 1, entries: vec![entry] }.encode_to_vec();
    assert_eq!(IndexDigest::of(&index), manifest.artifact.index);
    let head = pb::BlockHead { blobs: vec![0], content_bytes: size, wire_bytes: 0 };
    Goods {
        manifest: manifest.to_bytes(),
        index: squeezed(&index),
        blocks: vec![pb::BlockPiece { head: Some(head), data: squeezed(program).into() }],
        ..Goods::default()
    }
}

/// What a stolen controller may still do is what the docs say: put a host on any listed release that is not below the
/// floor.
#[test]
fn a_stolen_controller_may_choose_among_what_is_signed() {
    let mut site = Signed::raise();
    site.publish("1.0").success().unwrap();
    site.roll_out("1.0").code_is(0).unwrap();
    site.publish("1.1").success().unwrap();
    site.roll_out("1.1").code_is(0).unwrap();
    let old = manifest_of(&site, "1.0");
    let loot = Loot::of(&site, "loot");
    let mut liar = Liar::in_place_of(&mut site.0, 0);
    let mut goods = Goods { manifest: old.to_bytes(), ..Goods::default() };
    goods.trust.insert(FLEET.into(), loot.fleet.offer(0).into());
    goods.trust.insert("shop".into(), loot.shop.offer(0).into());
    *liar.goods.lock().unwrap() = goods;
    let generation = liar.next_generation();
    liar.order(generation, &old.to_bytes(), |assignment| {
        assignment.version = "1.0".into();
        assignment.values.insert("greeting".into(), "ahoy".into());
    });
    longshore_tests::until(ASK, "1.0 again", || Ok((site.0.runs().as_deref() == Some("1.0")).then_some(())))
        .unwrap();
}
