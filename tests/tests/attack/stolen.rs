//! A controller rebuilt from stolen state: its files, its certificate authority, the key by which it says that lists
//! are current, every document and blob; nothing of the operator's. It tries everything that it can say.

use std::process::Command;
use std::sync::Arc;

use longshore_common::digest::{IndexDigest, ReleaseDigest};
use longshore_common::manifest::{Hook, Manifest};
use longshore_common::time::{Clock as _, Span, SystemClock};
use longshore_common::trust::{FLEET, FRESH_LIFE_MS, Held, Listed, Offer, PublicKey, SigningKey, author};
use longshore_controller::trust::TrustDesk;
use longshore_proto::v1 as pb;
use longshore_tests::run;

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
    site.ops(["trust", "check"]).success().unwrap();
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
