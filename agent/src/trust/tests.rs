//! A controller rebuilt from stolen state, with the online key and nothing of the operator's, tries everything it can
//! say. Each is refused with its code, and the host's folder is the same afterwards.

mod edges;

use std::{collections::BTreeSet, path::Path, sync::Arc};

use longshore_common::{
    code::{Code, Coded},
    digest::{ReleaseDigest, sha256},
    durable,
    ids::AppName,
    manifest::{Artifact, Manifest, file::AppFile},
    time::{Clock as _, ManualClock, Millis},
    trust::{Catalog, FLEET, FRESH_LIFE_MS, Held, Listed, Offer, SigningKey, author, author::RootDraft},
};
use tempfile::TempDir;

use super::{Gate, PinFile, Stale};
use crate::config::Config;

const NOW: Millis = 1_800_000_000_000;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed([seed; 32])
}

/// A host that pins a fleet (org key 1, release key 2, online key 9) and has verified a list with 1.0 and 1.1.
struct Host {
    dir: TempDir,
    gate: Gate,
    clock: ManualClock,
    root: Vec<u8>,
    catalog: Catalog,
    held: Held,
}

fn app() -> AppName {
    "shop".parse().unwrap()
}

fn release(version: &str, exec: &str, extra: &str) -> Manifest {
    let text = format!(
        "[app]\nname = \"shop\"\n[artifact]\npath = \"d\"\n[service]\ndriver = \"process\"\nexec = [\"./bin/shop\", \"{exec}\"]\n{extra}"
    );
    let index = longshore_common::digest::IndexDigest::of(version.as_bytes());
    let artifact = Artifact { index, files: 1, bytes: 10 };
    AppFile::parse("longshore.toml", &text).unwrap().into_manifest(version.parse().unwrap(), artifact)
}

fn listed(seq: u64, manifest: &Manifest) -> Listed {
    let bytes = manifest.to_bytes();
    let version = manifest.version.clone();
    Listed { seq, version, digest: ReleaseDigest::of(&bytes), length: bytes.len() as u64 }
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let only = |seed| (1, BTreeSet::from([key(seed).public()]));
        let draft = RootDraft {
            app: "shop".into(),
            version: 1,
            org: only(1),
            release: only(2),
            online: key(9).public(),
        };
        let root = author::sign(&author::root(&draft, NOW), &key(1)).unwrap();
        let fleet = RootDraft { app: FLEET.into(), release: only(1), ..draft };
        let fleet = author::sign(&author::root(&fleet, NOW), &key(1)).unwrap();
        let nothing = author::sign(&author::targets(&author::empty_catalog(FLEET), NOW), &key(1)).unwrap();
        let config = Config::new(dir.path().to_owned(), vec![]);
        durable::create_dir_durable(&config.identity(), 0o700).unwrap();
        PinFile::within(&config.identity()).pin(sha256(&fleet)).unwrap();
        let clock = ManualClock::at(NOW);
        let gate = Gate::with_clock(&config, Arc::new(clock.clone()));
        gate.take(FLEET, &author::freshen(None, vec![fleet], nothing, &key(9), NOW).unwrap()).unwrap();
        let releases =
            [(1, "1.0"), (2, "1.1")].map(|(seq, version)| (seq, listed(seq, &release(version, "", ""))));
        let catalog = Catalog { releases: releases.into(), next_seq: 3, ..author::empty_catalog("shop") };
        let list = author::sign(&author::targets(&catalog, NOW), &key(2)).unwrap();
        gate.take("shop", &author::freshen(None, vec![root.clone()], list, &key(9), NOW).unwrap()).unwrap();
        let held = gate.held("shop").unwrap().unwrap();
        Self { dir, gate, clock, root, catalog, held }
    }

    /// What a controller offers that signs lists with `by`.
    fn offered(&self, catalog: &Catalog, by: u8) -> Offer {
        let list = author::sign(&author::targets(catalog, NOW), &key(by)).unwrap();
        author::freshen(Some(&self.held), vec![], list, &key(9), NOW).unwrap()
    }

    fn admit(&self, manifest: &Manifest) -> Result<(), Coded> {
        self.gate.admit(&app(), &manifest.version, &manifest.digest())
    }

    /// Every path below the host's root and every byte in it.
    fn all(&self) -> Vec<(String, Vec<u8>)> {
        fn walk(dir: &Path, into: &mut Vec<(String, Vec<u8>)>) {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() && !path.is_symlink() {
                    walk(&path, into);
                } else {
                    into.push((path.display().to_string(), std::fs::read(&path).unwrap_or_default()));
                }
            }
        }
        let mut all = vec![];
        walk(self.dir.path(), &mut all);
        all.sort();
        all
    }
}

#[test]
fn another_binary_argument_hook_user_or_probe_is_not_what_was_signed() {
    let host = Host::new();
    host.admit(&release("1.0", "", "")).unwrap();
    let before = host.all();
    let mut other_binary = release("1.0", "", "");
    other_binary.artifact.index = longshore_common::digest::IndexDigest::of(b"another");
    for stolen in [
        other_binary,
        release("1.0", "--evil", ""),
        release("1.0", "", "user = \"root\"\n"),
        release("1.0", "", "[hooks]\nbefore_switch = { run = [\"/bin/sh\", \"-c\", \"id\"] }\n"),
        release("1.0", "", "[[probe]]\nname = \"x\"\nexec = [\"/bin/sh\"]\n"),
        release("6.6", "", ""),
    ] {
        let refusal = host.admit(&stolen).unwrap_err();
        assert_eq!(refusal.code, Code::T02, "{refusal}");
    }
    assert_eq!(host.all(), before);
}

#[test]
fn lists_that_no_release_key_signed_change_nothing() {
    let host = Host::new();
    let before = host.all();
    let evil = release("6.6", "--evil", "");
    let mut catalog = Catalog { version: 2, next_seq: 4, ..host.catalog.clone() };
    catalog.releases.insert(3, listed(3, &evil));
    for by in [9, 66, 1] {
        assert_eq!(host.gate.take("shop", &host.offered(&catalog, by)).unwrap_err().code, Code::T02);
    }
    let genuine = host.offered(&Catalog { version: 2, ..host.catalog.clone() }, 2);
    let mixed = Offer { targets: host.held.targets.clone(), ..genuine.clone() };
    assert_eq!(host.gate.take("shop", &mixed).unwrap_err().code, Code::T02);
    let theirs = Offer { roots: vec![host.root.clone()], ..genuine };
    assert_eq!(
        host.gate.take(FLEET, &theirs).unwrap_err().code,
        Code::T02,
        "an app's documents as the fleet's"
    );
    assert_eq!(host.gate.take("other", &theirs).unwrap_err().code, Code::T02, "as another app's");
    assert_eq!(host.all(), before);
    assert_eq!(host.admit(&evil).unwrap_err().code, Code::T02);
}

#[test]
fn below_the_floor_delisted_older_and_frozen_out() {
    let host = Host::new();
    let mut raised = Catalog { version: 2, min_seq: 2, ..host.catalog.clone() };
    let old = host.held.offer(0);
    host.gate.take("shop", &host.offered(&raised, 2)).unwrap();
    let before = host.all();
    assert_eq!(host.admit(&release("1.0", "", "")).unwrap_err().code, Code::T05);
    host.admit(&release("1.1", "", "")).unwrap();
    assert_eq!(host.gate.take("shop", &old).unwrap_err().code, Code::T05);
    assert_eq!(host.all(), before);
    raised.version = 3;
    raised.releases.remove(&2);
    let held = host.gate.held("shop").unwrap().unwrap();
    let list = author::sign(&author::targets(&raised, NOW), &key(2)).unwrap();
    let offer = author::freshen(Some(&held), vec![], list, &key(9), NOW).unwrap();
    host.gate.take("shop", &offer).unwrap();
    assert_eq!(host.admit(&release("1.1", "", "")).unwrap_err().code, Code::T02, "withdrawn");
    // Withholding is all that is left, and it ends: nothing new by what is a week old.
    host.clock.advance(std::time::Duration::from_millis(FRESH_LIFE_MS as u64 + 1));
    assert_eq!(host.gate.take("shop", &offer).unwrap_err().code, Code::T04);
}

#[test]
fn damage_is_refused_told_and_mended_by_hand_only() {
    let host = Host::new();
    assert_eq!(host.gate.facts().state, "signed");
    let gone = host.dir.path().join("var/lib/longshore/trust/shop");
    std::fs::remove_dir_all(&gone).unwrap();
    let refusal = host.admit(&release("1.0", "", "")).unwrap_err();
    assert_eq!(refusal.code, Code::T01, "gone is not the same as never there: {refusal}");
    assert_eq!(host.gate.take("shop", &host.held.offer(0)).unwrap_err().code, Code::T01);
    let facts = host.gate.facts();
    assert_eq!(facts.state, "damaged");
    assert!(facts.problem.contains("trust recover shop"), "{}", facts.problem);
    host.gate.recover("shop", "ada").unwrap();
    host.gate.take("shop", &host.held.offer(0)).unwrap();
    host.admit(&release("1.0", "", "")).unwrap();
    let facts = host.gate.facts();
    assert_eq!((facts.state.as_str(), facts.breaks.len()), ("signed", 1));
    assert!(facts.breaks[0].contains("by ada"), "{:?}", facts.breaks);
    // The pin itself.
    let pin = host.dir.path().join("var/lib/longshore/identity/trust.json");
    durable::write_atomic(&pin, b"{", 0o600).unwrap();
    assert_eq!(host.admit(&release("1.0", "", "")).unwrap_err().code, Code::T01);
}

#[test]
fn what_is_pinned_is_never_exchanged_silently() {
    let host = Host::new();
    let file = PinFile::within(&host.dir.path().join("var/lib/longshore/identity"));
    assert_eq!(file.pin([7; 32]).unwrap_err().code, Code::T02);
    host.gate.reset([7; 32], "ada").unwrap();
    assert_eq!(host.gate.facts().breaks.len(), 1);
    assert_eq!(
        host.admit(&release("1.0", "", "")).unwrap_err().code,
        Code::T01,
        "nothing verified under it yet"
    );
    assert_eq!(host.gate.take(FLEET, &host.held.offer(0)).unwrap_err().code, Code::T02);
}

#[test]
fn the_admins_policy_comes_on_top() {
    let host = Host::new();
    let path = host.dir.path().join("etc/longshore/policy.toml");
    durable::create_dir_durable(path.parent().unwrap(), 0o755).unwrap();
    let write = |text: &str| durable::write_atomic(&path, text.as_bytes(), 0o644).unwrap();
    let user = |user: &str| release("1.0", "", &format!("user = \"{user}\"\n"));
    host.gate.allow_manifest(&user("root")).unwrap();
    write("run_as = [\"web\"]\nmax_artifact = \"1KiB\"\n");
    host.gate.allow_manifest(&user("web")).unwrap();
    for refused in [user("root"), user("daemon")] {
        let refusal = host.gate.allow_manifest(&refused).unwrap_err();
        assert_eq!(refusal.code, Code::P01);
        assert!(refusal.message.contains("policy.toml does not allow"), "{refusal}");
    }
    write("run_as = [\"web\"]\nmax_artifact = 9\n");
    assert_eq!(host.gate.allow_manifest(&user("web")).unwrap_err().code, Code::P01);
    for broken in ["max_artifact = \"much\"", "alow_unsigned = true", "root_sha256 = \"12\""] {
        write(broken);
        assert_eq!(host.gate.allow_manifest(&user("web")).unwrap_err().code, Code::P01, "{broken}");
        assert_eq!(host.admit(&release("1.0", "", "")).unwrap_err().code, Code::P01, "{broken}");
    }
}

#[test]
fn a_host_that_pins_nothing_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let gate = Gate::new(&Config::new(dir.path().to_owned(), vec![]));
    assert_eq!(gate.facts().state, "unsigned");
    gate.admit(&app(), &"1.0".parse().unwrap(), &ReleaseDigest::of(b"whatever")).unwrap();
    let path = dir.path().join("etc/longshore/policy.toml");
    durable::create_dir_durable(path.parent().unwrap(), 0o755).unwrap();
    durable::write_atomic(&path, b"allow_unsigned = true\n", 0o644).unwrap();
    assert_eq!(gate.facts().state, "unsigned-allowed");
}

/// What the host wrote down itself says whether documents hold: of the app, and of the fleet.
#[test]
fn documents_hold_until_one_has_run_out() {
    let host = Host::new();
    let holds = |stale| host.gate.holds(&app(), stale).map_err(|why| (why.code, why.message));
    let week = std::time::Duration::from_millis(FRESH_LIFE_MS as u64);
    host.clock.advance(week - std::time::Duration::from_millis(1));
    holds(Stale::Refused).unwrap();
    host.clock.advance(std::time::Duration::from_millis(1));
    let (code, why) = holds(Stale::Refused).unwrap_err();
    assert!(code == Code::T04 && why.starts_with("timestamp.json of fleet expired"), "{why}");
    holds(Stale::Allowed).unwrap();
    host.admit(&release("1.0", "", "")).unwrap();
    let fleet = host.gate.held(FLEET).unwrap().unwrap();
    let renewed = |held: &Held| {
        author::freshen(Some(held), vec![], held.targets.clone(), &key(9), host.clock.now_ms()).unwrap()
    };
    host.gate.take(FLEET, &renewed(&fleet)).unwrap();
    let (_, why) = holds(Stale::Refused).unwrap_err();
    assert!(why.starts_with("timestamp.json of shop expired"), "the fleet's alone is not enough: {why}");
    host.gate.take("shop", &renewed(&host.held)).unwrap();
    holds(Stale::Refused).unwrap();
    // A clock that was put back does not make them younger than what was seen here.
    host.clock.advance(week);
    host.gate.take("shop", &renewed(&host.gate.held("shop").unwrap().unwrap())).unwrap();
    let config = Config::new(host.dir.path().to_owned(), vec![]);
    let back = Gate::with_clock(&config, Arc::new(ManualClock::at(NOW)));
    assert_eq!(
        back.holds(&app(), Stale::Refused).unwrap_err().code,
        Code::T04,
        "the fleet's had run out by then"
    );
}
