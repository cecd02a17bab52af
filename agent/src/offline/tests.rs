//! What a bundle may be and may not be, asked of a host that pins a fleet. Whatever is refused, the host's folder is
//! the same afterwards.

use std::{collections::BTreeSet, io::Write as _, path::Path, sync::Arc};

use longshore_common::{
    bundle::{
        Blob, Entry, Index, Kind,
        frame::{self, Form},
    },
    code::{Code, Coded},
    digest::{BlobDigest, ReleaseDigest, sha256},
    durable,
    manifest::{Artifact, Manifest, file::AppFile},
    offline::{Documents, Head, Writer},
    time::{ManualClock, Millis},
    trust::{
        Catalog, FLEET, FRESH_LIFE_MS, Held, Listed, Offer, SigningKey, TARGETS_LIFE_MS, author,
        author::RootDraft,
    },
};
use tempfile::TempDir;

use super::{Shelf, examine};
use crate::{
    config::Config,
    trust::{Brought, Gate, PinFile, Stale},
};

const NOW: Millis = 1_800_000_000_000;
const PROGRAM: &[u8] = b"#!/bin/sh\nexec sleep 1000\n";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed([seed; 32])
}

fn index() -> Index {
    let blob = Blob { digest: BlobDigest::of(PROGRAM), size: PROGRAM.len() as u64 };
    Index::new(vec![Entry { path: "run".into(), kind: Kind::File { executable: true, blob } }]).unwrap()
}

fn manifest(app: &str, version: &str, extra: &str) -> Manifest {
    let text = format!(
        "[app]\nname = \"{app}\"\n[artifact]\npath = \"d\"\n[service]\ndriver = \"process\"\nexec = [\"./run\"]\n{extra}"
    );
    let index = index();
    let artifact = Artifact { index: index.digest(), files: 1, bytes: index.bytes() };
    AppFile::parse("longshore.toml", &text).unwrap().into_manifest(version.parse().unwrap(), artifact)
}

/// A fleet (org key 1, release key 2, online key 9), as its controller would export from it.
struct Fleet {
    root: Vec<u8>,
    fleet: Held,
    app: Option<Held>,
    catalog: Catalog,
    dir: TempDir,
}

impl Fleet {
    fn new(org: u8) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let only = |seed| (1, BTreeSet::from([key(seed).public()]));
        let draft = RootDraft {
            app: FLEET.into(),
            version: 1,
            org: only(org),
            release: only(org),
            online: key(9).public(),
        };
        let root = author::sign(&author::root(&draft, NOW), &key(org)).unwrap();
        let list = author::sign(&author::targets(&author::empty_catalog(FLEET), NOW), &key(org)).unwrap();
        let offer = author::freshen(None, vec![root.clone()], list, &key(9), NOW).unwrap();
        let pin = longshore_common::trust::Anchor::Pin(sha256(&root));
        let fleet = longshore_common::trust::update(FLEET, &pin, None, &offer, NOW, dir.path()).unwrap();
        let own = RootDraft { app: "shop".into(), release: only(2), ..draft };
        let own = author::sign(&author::root(&own, NOW), &key(org)).unwrap();
        let mut site = Self { root, fleet, app: None, catalog: author::empty_catalog("shop"), dir };
        site.list(vec![own], NOW);
        site
    }

    /// Signs what the catalog says.
    fn list(&mut self, roots: Vec<Vec<u8>>, now: Millis) {
        self.catalog.version = self.app.as_ref().map_or(1, |_| self.catalog.version + 1);
        let list = author::sign(&author::targets(&self.catalog, now), &key(2)).unwrap();
        let offer = author::freshen(self.app.as_ref(), roots, list, &key(9), now).unwrap();
        let anchor = longshore_common::trust::Anchor::of_fleet(&self.fleet).unwrap();
        let held = self.app.take();
        let verified =
            longshore_common::trust::update("shop", &anchor, held.as_ref(), &offer, now, self.dir.path());
        self.app = Some(verified.unwrap());
    }

    fn sign(&mut self, manifest: &Manifest) {
        let (seq, bytes) = (self.catalog.next_seq, manifest.to_bytes());
        let (version, digest) = (manifest.version.clone(), ReleaseDigest::of(&bytes));
        self.catalog.releases.insert(seq, Listed { seq, version, digest, length: bytes.len() as u64 });
        self.catalog.next_seq += 1;
        self.list(vec![], NOW);
    }

    /// Says once more that the fleet's own list is current.
    fn refresh(&mut self) {
        let list = self.fleet.targets.clone();
        let offer = author::freshen(Some(&self.fleet), vec![], list, &key(9), NOW).unwrap();
        let pin = longshore_common::trust::Anchor::Pin(sha256(&self.root));
        let held = Some(&self.fleet);
        self.fleet =
            longshore_common::trust::update(FLEET, &pin, held, &offer, NOW, self.dir.path()).unwrap();
    }

    fn app_offer(&self) -> Offer {
        self.app.as_ref().unwrap().offer(0)
    }

    fn head(&self, manifest: &Manifest) -> Head {
        let documents = Some(Documents { fleet: self.fleet.offer(0), app: self.app_offer() });
        let index = frame::compress(3, &index().encode()).unwrap();
        Head { documents, manifest: manifest.to_bytes(), index, ..Head::default() }
    }
}

fn bundle_of(head: &Head, content: &[u8]) -> Vec<u8> {
    let mut writer = Writer::begin(Vec::new(), head).unwrap();
    let wire = frame::compress(3, content).unwrap();
    writer.block(wire.len() as u64).unwrap();
    writer.data(&wire).unwrap();
    writer.end().unwrap()
}

/// A host that pins the fleet and has verified nothing yet.
struct Host {
    dir: TempDir,
    gate: Gate,
    clock: ManualClock,
}

impl Host {
    fn of(fleet: &Fleet) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::new(dir.path().to_owned(), vec![]);
        durable::create_dir_durable(&config.identity(), 0o700).unwrap();
        durable::create_dir_durable(&config.trust(), 0o700).unwrap();
        PinFile::within(&config.identity()).pin(sha256(&fleet.root)).unwrap();
        let clock = ManualClock::at(NOW);
        Self { gate: Gate::with_clock(&config, Arc::new(clock.clone())), clock, dir }
    }

    fn look(&self, bundle: &[u8], stale: Stale) -> Result<super::Examined, Coded> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bundle).unwrap();
        examine(Form::Framed, &file, &self.gate, stale)
    }

    fn take(&self, bundle: &[u8], stale: Stale) -> Result<Brought, Coded> {
        let examined = self.look(bundle, stale)?;
        self.gate.take_bundle(&examined.brought, examined.documents.as_ref(), stale, "ann")?;
        Ok(examined.brought)
    }

    fn policy(&self, text: &str) {
        let path = self.dir.path().join("etc/longshore/policy.toml");
        durable::create_dir_durable(path.parent().unwrap(), 0o755).unwrap();
        durable::write_atomic(&path, text.as_bytes(), 0o644).unwrap();
    }

    /// Every path below the host's root and every byte in it.
    fn all(&self) -> Vec<(String, Vec<u8>)> {
        fn walk(dir: &Path, into: &mut Vec<(String, Vec<u8>)>) {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() && !path.is_symlink() {
                    into.push((path.display().to_string(), vec![]));
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
fn a_signed_release_may_come_in_a_file_to_a_host_that_never_saw_a_controller() {
    let mut fleet = Fleet::new(1);
    let release = manifest("shop", "1.0", "");
    fleet.sign(&release);
    let host = Host::of(&fleet);
    let brought = host.take(&bundle_of(&fleet.head(&release), PROGRAM), Stale::Refused).unwrap();
    host.gate.admit(&brought.app, &brought.version, &brought.release).unwrap();
    let rows = host.gate.verified_repositories();
    assert_eq!(rows.iter().map(|row| row.app.as_str()).collect::<Vec<_>>(), ["fleet", "shop"]);
    assert_eq!(host.gate.facts().breaks, Vec::<String>::new());
}

#[test]
fn what_may_not_run_is_refused_and_changes_nothing() {
    let mut fleet = Fleet::new(1);
    let (old, release) = (manifest("shop", "0.9", ""), manifest("shop", "1.0", ""));
    fleet.sign(&old);
    fleet.sign(&release);
    let stranger = {
        let mut stranger = Fleet::new(3);
        stranger.sign(&release);
        stranger
    };
    let good = fleet.head(&release);
    let host = Host::of(&fleet);
    let other_argument = manifest("shop", "1.0", "env = { EVIL = \"1\" }\n");
    let foreign = Head { manifest: manifest("blog", "1.0", "").to_bytes(), ..good.clone() };
    let mut mixed = good.clone();
    mixed.documents.as_mut().unwrap().app.targets = stranger.app_offer().targets;
    let before = host.all();
    let refused = |what: &str, bundle: Vec<u8>, code: Code, says: &str| {
        let refusal = host.take(&bundle, Stale::Allowed).unwrap_err();
        assert!(refusal.code == code && refusal.message.contains(says), "{what}: {refusal}");
        // Already when it is looked at; and only of what has run out is it said how to pass it over.
        let looked = host.look(&bundle, Stale::Refused).unwrap_err();
        assert!(looked.code == code && !looked.message.contains("--stale"), "{what}: {looked}");
        assert_eq!(host.all(), before, "{what}");
    };
    let whole = bundle_of(&good, PROGRAM);
    refused("cut off", whole[..whole.len() - 40].to_vec(), Code::A05, "cut off");
    refused("an error page", b"<html>502</html>".to_vec(), Code::A05, "<html>");
    refused("other content", bundle_of(&good, &[b'x'; PROGRAM.len()]), Code::A01, "blake3");
    refused("a bomb", bundle_of(&good, &vec![0; 64 << 20]), Code::A04, "more");
    refused(
        "not signed",
        bundle_of(&Head { documents: None, ..good.clone() }, PROGRAM),
        Code::T02,
        "bears no signed",
    );
    refused("another fleet", bundle_of(&stranger.head(&release), PROGRAM), Code::T02, "this host pins");
    refused("another app", bundle_of(&foreign, PROGRAM), Code::T02, "blog");
    refused("another argument", bundle_of(&fleet.head(&other_argument), PROGRAM), Code::T02, "signed is");
    refused("a mixed set", bundle_of(&mixed, PROGRAM), Code::T02, "shop");
    let unsigned = manifest("shop", "6.6", "");
    refused(
        "another release",
        bundle_of(&fleet.head(&unsigned), PROGRAM),
        Code::T02,
        "never signed, or withdrawn",
    );
    fleet.catalog.min_seq = 2;
    fleet.list(vec![], NOW);
    refused("below the floor", bundle_of(&fleet.head(&old), PROGRAM), Code::T05, "below the signed floor");
}

#[test]
fn the_hosts_own_policy_and_the_manifests_attestations_hold_for_a_bundle_as_well() {
    let mut fleet = Fleet::new(1);
    let plain = manifest("shop", "1.0", "");
    let sbom = br#"{"bomFormat":"CycloneDX","specVersion":"1.6"}"#.to_vec();
    let mut attested = manifest("shop", "1.1", "");
    let kind = longshore_common::manifest::AttestationKind::Sbom;
    attested.attestations = vec![longshore_common::manifest::Attestation::recognise(kind, &sbom).unwrap()];
    fleet.sign(&plain);
    fleet.sign(&attested);
    let host = Host::of(&fleet);
    host.policy("allow_root_apps = [\"shop\"]\nrequire_attestations = [\"sbom\"]\n");
    let refused = |head: &Head, code: Code| {
        let before = host.all();
        assert_eq!(host.take(&bundle_of(head, PROGRAM), Stale::Refused).unwrap_err().code, code);
        assert_eq!(host.all(), before);
    };
    refused(&fleet.head(&plain), Code::P02);
    refused(&fleet.head(&attested), Code::A01); // named and not there
    refused(&Head { attestations: vec![b"{}".to_vec()], ..fleet.head(&attested) }, Code::A01);
    let whole = Head { attestations: vec![sbom], ..fleet.head(&attested) };
    host.take(&bundle_of(&whole, PROGRAM), Stale::Refused).unwrap();
    host.policy("allow_root_apps = [\"shop\"]\nmax_artifact = 3\n");
    refused(&whole, Code::P01);
}

#[test]
fn the_newest_that_the_host_has_verified_decides() {
    let mut fleet = Fleet::new(1);
    let (first, second) = (manifest("shop", "1.0", ""), manifest("shop", "1.1", ""));
    fleet.sign(&first);
    let exported_early = bundle_of(&fleet.head(&first), PROGRAM);
    fleet.sign(&second);
    let host = Host::of(&fleet);
    host.take(&bundle_of(&fleet.head(&second), PROGRAM), Stale::Refused).unwrap();
    // Older documents take nothing back; the newer ones still list the release.
    let before = host.all();
    host.take(&exported_early, Stale::Refused).unwrap();
    assert_eq!(host.all(), before);
    // And once it is withdrawn, the early bundle is of no use.
    fleet.catalog.releases.remove(&1);
    fleet.list(vec![], NOW);
    host.take(&bundle_of(&fleet.head(&second), PROGRAM), Stale::Refused).unwrap();
    assert_eq!(host.take(&exported_early, Stale::Refused).unwrap_err().code, Code::T02);
}

#[test]
fn a_bundle_runs_out_and_only_by_hand_may_that_be_passed_over() {
    let mut fleet = Fleet::new(1);
    let release = manifest("shop", "1.0", "");
    fleet.sign(&release);
    let bundle = bundle_of(&fleet.head(&release), PROGRAM);
    let host = Host::of(&fleet);
    host.clock.advance(std::time::Duration::from_millis(FRESH_LIFE_MS as u64 + 1));
    let before = host.all();
    let refusal = host.take(&bundle, Stale::Refused).unwrap_err();
    assert!(refusal.code == Code::T04 && refusal.message.contains("--stale"), "{refusal}");
    assert_eq!(host.all(), before);
    host.take(&bundle, Stale::Allowed).unwrap();
    let breaks = host.gate.facts().breaks;
    assert!(
        breaks.len() == 1 && breaks[0].contains("shop@1.0 deployed by documents that had expired"),
        "{breaks:?}"
    );
    // The same with what is held by now.
    assert_eq!(host.take(&bundle, Stale::Refused).unwrap_err().code, Code::T04);
    // Who may sign, and what is listed, has to hold whatever is said.
    host.clock.advance(std::time::Duration::from_millis(TARGETS_LIFE_MS as u64));
    assert_eq!(host.take(&bundle, Stale::Allowed).unwrap_err().code, Code::T04);
}

/// What the host holds is newer than the bundle, and has run out as well.
#[test]
fn newer_documents_that_have_run_out_are_passed_over_by_hand_only() {
    let mut fleet = Fleet::new(1);
    let (first, second) = (manifest("shop", "1.0", ""), manifest("shop", "1.1", ""));
    fleet.sign(&first);
    let exported_early = bundle_of(&fleet.head(&first), PROGRAM);
    fleet.sign(&second);
    fleet.refresh();
    let host = Host::of(&fleet);
    host.take(&bundle_of(&fleet.head(&second), PROGRAM), Stale::Refused).unwrap();
    host.clock.advance(std::time::Duration::from_millis(FRESH_LIFE_MS as u64 + 1));
    let refusal = host.look(&exported_early, Stale::Refused).unwrap_err();
    assert!(refusal.code == Code::T04 && refusal.message.contains("--stale"), "{refusal}");
    assert_eq!(host.gate.facts().breaks.len(), 0);
    host.take(&exported_early, Stale::Allowed).unwrap();
    assert_eq!(host.gate.facts().breaks.len(), 1);
    host.clock.advance(std::time::Duration::from_millis(TARGETS_LIFE_MS as u64));
    assert_eq!(host.look(&exported_early, Stale::Allowed).unwrap_err().code, Code::T04);
}

/// What is held is newer than the bundle and decides; an earlier clock does not make it young again.
#[test]
fn by_a_clock_that_went_back_no_bundle_is_judged() {
    let mut fleet = Fleet::new(1);
    let (first, second) = (manifest("shop", "1.0", ""), manifest("shop", "1.1", ""));
    fleet.sign(&first);
    let exported_early = bundle_of(&fleet.head(&first), PROGRAM);
    fleet.sign(&second);
    fleet.refresh();
    let host = Host::of(&fleet);
    host.take(&bundle_of(&fleet.head(&second), PROGRAM), Stale::Refused).unwrap();
    host.look(&exported_early, Stale::Refused).unwrap();
    let clock = ManualClock::at(NOW - 3_600_000);
    let config = Config::new(host.dir.path().to_owned(), vec![]);
    let back = Host { gate: Gate::with_clock(&config, Arc::new(clock.clone())), clock, dir: host.dir };
    let refusal = back.look(&exported_early, Stale::Allowed).unwrap_err();
    assert!(refusal.code == Code::T04 && refusal.message.contains("ahead of this host's clock"), "{refusal}");
}

#[test]
fn a_bundle_stays_on_the_shelf_only_while_its_release_is_on_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let shelf = Shelf::below(dir.path());
    let (app, release) = ("shop".parse().unwrap(), ReleaseDigest::of(b"m"));
    drop(shelf.arrive(Form::Framed).unwrap());
    let mut arrival = shelf.arrive(Form::Framed).unwrap();
    arrival.write(b"abc").unwrap();
    arrival.keep(&app, &release).unwrap();
    assert!(shelf.open(&app, &release).unwrap().is_some());
    shelf.sweep(&[(app.clone(), release)]).unwrap();
    assert!(shelf.open(&app, &release).unwrap().is_some());
    shelf.sweep(&[]).unwrap();
    assert!(shelf.open(&app, &release).unwrap().is_none());
    shelf.remove(&app, &release).unwrap();
    assert_eq!(std::fs::read_dir(dir.path().join("bundles")).unwrap().count(), 0);
}
