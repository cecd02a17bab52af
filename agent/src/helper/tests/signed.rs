//! A helper over a real host that pins a fleet, and everything that an agent would bring it: keys, lists, a release.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use longshore_common::{
    assignment::{Assignment, Intent},
    bundle::{Blob, Entry, Index, Kind},
    digest::{BlobDigest, ReleaseDigest, hex, sha256},
    durable,
    ids::{AppName, Generation, RolloutId, Version},
    manifest::{Artifact, Manifest, file::AppFile},
    settings::Settings,
    time::{Clock, Millis, SystemClock},
    trust::{Catalog, FLEET, Held, Listed, Offer, SigningKey, TrustState, author, author::RootDraft},
};
use longshore_proto::v1 as pb;
use prost::Message as _;
use tempfile::TempDir;
use tokio_util::sync::DropGuard;

use super::{host_id, listen, own_uid};
use crate::{
    config::{Config, Processes, Runner},
    helper::{Courier, Peers, frame},
    host::{real::RealHost, reexec::SelfExec},
    run::{Crew, Limits},
    state::State,
    trust::PinFile,
};

/// Nothing that these tests wait for takes longer.
const PATIENCE: Duration = Duration::from_secs(120);

pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed([seed; 32])
}

pub fn app() -> AppName {
    "shop".parse().unwrap()
}

/// A release of one file.
#[derive(Clone)]
pub struct Release {
    pub manifest: Manifest,
    pub index: Vec<u8>,
    pub content: Vec<u8>,
}

impl Release {
    pub fn new(version: &str, more: &str) -> Self {
        let content = format!("content of {version}").repeat(100).into_bytes();
        let blob = Blob { digest: BlobDigest::of(&content), size: content.len() as u64 };
        let kind = Kind::File { executable: false, blob };
        let index = Index::new(vec![Entry { path: "file".into(), kind }]).unwrap();
        let text =
            format!("[app]\nname = \"shop\"\n[artifact]\npath = \"d\"\n[service]\ndriver = \"none\"\n{more}");
        let artifact = Artifact { index: index.digest(), files: 1, bytes: content.len() as u64 };
        let file = AppFile::parse("longshore.toml", &text).unwrap();
        let manifest = file.into_manifest(version.parse().unwrap(), artifact);
        Self { manifest, index: index.encode(), content }
    }

    pub fn assigned(&self, generation: u64) -> Assignment {
        Assignment {
            host: host_id(),
            app: app(),
            env: "production".parse().unwrap(),
            rollout: RolloutId(uuid::Uuid::from_u128(generation.into())),
            generation: Generation(generation),
            version: self.manifest.version.clone(),
            release: self.manifest.digest(),
            settings: Settings::default(),
            intent: Intent::Run,
            keep_slots: 2,
            traffic: None,
            directions: None,
            unwell: None,
        }
    }

    /// As the agent hands it on: expanded.
    pub fn block(&self) -> Vec<u8> {
        block(&self.content)
    }
}

/// As it travels from the controller.
pub fn squeezed(content: &[u8]) -> Vec<u8> {
    longshore_common::bundle::frame::compress(3, content).unwrap()
}

pub fn block(content: &[u8]) -> Vec<u8> {
    let head = pb::BlockHead { blobs: vec![0], content_bytes: 0, wire_bytes: 0 };
    [framed(frame::PIECE, &head.encode_to_vec()), framed(frame::CONTENT, content)].concat()
}

/// As it is said on the socket.
pub fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    [&frame::head(kind, body).unwrap()[..], body].concat()
}

/// What the operator signed: org key 1, release key 2; the controller holds key 9.
pub struct Operator {
    pub fleet: Offer,
    root: Vec<u8>,
    now: Millis,
}

impl Operator {
    fn new() -> (Self, [u8; 32]) {
        let now = SystemClock.now_ms();
        let only = |seed| (1, BTreeSet::from([key(seed).public()]));
        let online = key(9).public();
        let draft = RootDraft { app: "shop".into(), version: 1, org: only(1), release: only(2), online };
        let root = author::sign(&author::root(&draft, now), &key(1)).unwrap();
        let fleet = RootDraft { app: FLEET.into(), release: only(1), ..draft };
        let fleet = author::sign(&author::root(&fleet, now), &key(1)).unwrap();
        let nothing = author::sign(&author::targets(&author::empty_catalog(FLEET), now), &key(1)).unwrap();
        let pin = sha256(&fleet);
        let fleet = author::freshen(None, vec![fleet], nothing, &key(9), now).unwrap();
        (Self { fleet, root, now }, pin)
    }

    /// A list of releases, signed by `by`; what is held already is freshened.
    pub fn list(&self, version: u64, releases: &[&Release], by: u8, held: Option<&Held>) -> Offer {
        let manifests = releases.iter().map(|release| release.manifest.to_bytes()).collect::<Vec<_>>();
        let versions = releases.iter().map(|release| release.manifest.version.clone());
        self.list_of(version, versions.zip(manifests).collect(), by, held)
    }

    /// The same of manifests that no program of ours would write.
    pub fn list_of(
        &self,
        version: u64,
        releases: Vec<(Version, Vec<u8>)>,
        by: u8,
        held: Option<&Held>,
    ) -> Offer {
        let listed = |(seq, (version, bytes)): (u64, (Version, Vec<u8>))| {
            (seq, Listed { seq, version, digest: ReleaseDigest::of(&bytes), length: bytes.len() as u64 })
        };
        let releases: BTreeMap<u64, Listed> = (1..).zip(releases).map(listed).collect();
        let next_seq = releases.len() as u64 + 1;
        let catalog = Catalog { releases, next_seq, version, ..author::empty_catalog("shop") };
        let list = author::sign(&author::targets(&catalog, self.now), &key(by)).unwrap();
        let roots = if held.is_none() { vec![self.root.clone()] } else { vec![] };
        author::freshen(held, roots, list, &key(9), self.now).unwrap()
    }
}

pub fn documents(offer: &Offer) -> pb::TrustDocuments {
    pb::TrustDocuments {
        roots: offer.roots.iter().map(|root| root.clone().into()).collect(),
        timestamp: offer.timestamp.clone().into(),
        snapshot: offer.snapshot.clone().into(),
        targets: offer.targets.clone().into(),
    }
}

pub struct Helper {
    pub dir: TempDir,
    pub socket: PathBuf,
    pub operator: Operator,
    config: Config,
    pub crew: Crew<RealHost>,
    _guard: DropGuard,
}

impl Helper {
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::new(dir.path().to_owned(), vec!["nowhere.example:1".into()]);
        (config.driver, config.processes) = (Some(Runner::Process), Processes::Two);
        durable::create_dir_durable(&config.vault(), 0o700).unwrap();
        let (operator, pin) = Operator::new();
        PinFile::within(&config.vault()).pin(pin).unwrap();
        let courier = Courier::default();
        let host = RealHost::open(&config, courier.clone(), SelfExec::this()).await.unwrap();
        let state = State::open(&config.state(), Arc::new(SystemClock)).await.unwrap();
        let limits = Limits { fetch_attempts: 1, ..Limits::default() };
        let crew = Crew::new(Arc::new(host), state, host_id(), limits);
        let (socket, guard) = listen(dir.path(), crew.clone(), courier, Peers::root_and(own_uid()));
        Self { dir, socket, operator, config, crew, _guard: guard }
    }

    pub fn held(&self) -> Held {
        TrustState::new(&self.config.trust(), "shop").load().unwrap().unwrap()
    }

    /// Everything on the host that runs, would run or decides what may: all but the memory of what was refused and an
    /// empty place to unpack in. Taken when nothing is being written; what is written for ever fails.
    pub async fn all(&self) -> BTreeMap<PathBuf, String> {
        let at_rest = async {
            loop {
                if let Ok(all) = self.all_now() {
                    return all;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, at_rest).await.expect("the host comes to rest")
    }

    /// An error: something goes just now, or has a name for a moment only.
    fn all_now(&self) -> io::Result<BTreeMap<PathBuf, String>> {
        fn walk(folder: &Path, but: &Path, into: &mut BTreeMap<PathBuf, String>) -> io::Result<()> {
            for entry in std::fs::read_dir(folder)? {
                let entry = entry?;
                let (path, kind) = (entry.path(), entry.file_type()?);
                if path == but {
                    continue;
                }
                if entry.file_name().to_string_lossy().starts_with(durable::TEMP_PREFIX) {
                    return Err(io::ErrorKind::ResourceBusy.into());
                }
                if kind.is_symlink() {
                    let target = std::fs::read_link(&path)?;
                    into.insert(path, target.display().to_string());
                } else if kind.is_dir() {
                    walk(&path, but, into)?;
                } else if kind.is_file() {
                    let content = hex(&sha256(&std::fs::read(&path)?));
                    into.insert(path, content);
                }
            }
            Ok(())
        }
        let mut all = BTreeMap::new();
        walk(self.dir.path(), &self.config.state(), &mut all)?;
        Ok(all)
    }
}
