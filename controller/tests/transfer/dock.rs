//! A controller's services and hosts' disks in one process, joined by real connections on port 0.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use longshore_agent::{
    host::{
        Event, Sink,
        fetch::{FetchError, fetch},
        layout::Layout,
        stage::seal,
    },
    plan::Wanted,
};
use longshore_common::{
    assignment::{Assignment, Intent},
    digest::ReleaseDigest,
    ids::{AppName, Generation, HostId, RolloutId},
    report::{Outcome, Report},
    settings::Settings,
    time::{Clock, SystemClock},
    tls::{Identity, Peer},
};
use longshore_controller::{
    access::{self, CalledLayer, Grants, OperatorKey, Places, User},
    audit::Audit,
    bundle::BundleStore,
    cli::publish::{Event as Told, Options, PublishError, publish},
    engine::states,
    fleet::host::{BoundKey, Host},
    identity::Door,
    rpc::{blobs::BlobsService, releases::ReleasesService},
    store::{Key, MemoryStore, SharedStore, Txn, record},
    trust::TrustDesk,
};
use longshore_proto::v1::{self as pb, blobs_server::BlobsServer};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Status,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint, Server, server::Router},
};
use tower::layer::util::Stack;

/// The key that every peer here shows.
const SPKI: [u8; 32] = [7; 32];
pub const APP: &str = "shop";

pub struct Dock {
    pub store: SharedStore,
    pub bundle: Arc<BundleStore>,
    pub folder: tempfile::TempDir,
    pub host: HostId,
    /// For calls that read an artifact to its end.
    pub whole: Places,
    operators: SocketAddr,
    hosts: SocketAddr,
    generation: AtomicU64,
}

impl Dock {
    pub async fn open() -> Self {
        let folder = in_memory();
        let store: SharedStore = Arc::new(MemoryStore::new());
        let bundle = BundleStore::open(&folder.path().join("bundle"), 1 << 30).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let trust = TrustDesk::open(&folder.path().join("trust"), clock.clone()).unwrap();
        let audit = Audit::open(&folder.path().join("audit"), folder.path(), clock.clone()).unwrap();
        let door = Door::new(store.clone(), clock.clone());
        let mut ann = User::new("ann".parse().unwrap(), Grants::all(), "the dock", 0);
        ann.add_key(
            OperatorKey { key: SPKI, expires_ms: i64::MAX, ca: String::new(), replaces: String::new() },
            0,
        );
        access::create(&store, &ann).await.unwrap();
        let host = HostId(uuid::Uuid::new_v4());
        enrol(&store, host).await;
        let whole = ReleasesService::places();
        let releases = ReleasesService {
            store: store.clone(),
            bundle: bundle.clone(),
            trust: trust.clone(),
            clock,
            door: door.clone(),
            whole: whole.clone(),
        };
        let blobs = BlobsService { store: store.clone(), bundle: bundle.clone(), trust, door };
        let by_ann = shows(Identity::Operator("ann".parse().unwrap()));
        let operators = served(&audit).add_service(InterceptedService::new(releases.into_server(), by_ann));
        let by_host = shows(Identity::Host(host));
        let hosts = served(&audit).add_service(InterceptedService::new(BlobsServer::new(blobs), by_host));
        let (operators, hosts) = (serve_marked(operators).await, serve_marked(hosts).await);
        Self { store, bundle, folder, host, whole, operators, hosts, generation: AtomicU64::new(1) }
    }

    pub fn operator(&self) -> Channel {
        channel(self.operators)
    }

    pub fn operator_address(&self) -> SocketAddr {
        self.operators
    }

    pub fn host_channel(&self) -> Channel {
        channel(self.hosts)
    }

    pub fn host_address(&self) -> SocketAddr {
        self.hosts
    }

    /// A host's disk, new.
    pub fn disk(&self, name: &str) -> Layout {
        let root = self.folder.path().join("hosts").join(name);
        fs::create_dir_all(root.join("var/lib/longshore")).unwrap();
        Layout::under(&root).unwrap()
    }

    /// A folder with files and its `longshore.toml`.
    pub fn source(&self, version: &str, files: &[(&str, Vec<u8>)]) -> PathBuf {
        let folder = self.folder.path().join("src").join(version);
        for (path, content) in files {
            put(&folder.join("dist").join(path), content);
        }
        let file = format!(
            "[app]\nname = \"{APP}\"\nversion = \"{version}\"\n[artifact]\npath = \"dist\"\n[service]\ndriver = \"none\"\n"
        );
        put(&folder.join("longshore.toml"), file.as_bytes());
        folder
    }

    pub async fn publish(&self, source: &Path) -> Result<pb::Release, PublishError> {
        self.publish_over(self.operator(), source, |_| {}).await
    }

    pub async fn publish_over(
        &self,
        channel: Channel,
        source: &Path,
        told: impl Fn(Told) + Send + Sync + 'static,
    ) -> Result<pb::Release, PublishError> {
        publish(
            channel,
            Options { file: source.into(), version: None, attestations: Default::default() },
            Arc::new(told),
        )
        .await
    }

    pub async fn assign(&self, release: &pb::Release) -> Wanted {
        let generation = Generation(self.generation.fetch_add(1, Ordering::Relaxed));
        let assignment = Assignment {
            host: self.host,
            app: app(),
            env: "test".parse().unwrap(),
            rollout: RolloutId(uuid::Uuid::new_v4()),
            generation,
            version: release.version.parse().unwrap(),
            release: release.digest.parse::<ReleaseDigest>().unwrap(),
            settings: Settings::default(),
            intent: Intent::Run,
            keep_slots: 2,
            traffic: None,
            directions: None,
            unwell: None,
        };
        let key = Key::assignment(&self.host, &assignment.app);
        let value = record::encode(&key, &assignment).unwrap();
        self.store.commit(Txn::new().put(key, value)).await.unwrap();
        Wanted::from(&assignment)
    }

    /// The host says that it runs what it was told to.
    pub async fn runs(&self) {
        let entry = self.store.get(&Key::assignment(&self.host, &app())).await.unwrap().unwrap();
        let assignment: Assignment = record::decode_entry(&entry).unwrap();
        let report = Report {
            app: app(),
            rollout: assignment.rollout,
            generation: assignment.generation,
            release: assignment.release,
            time_ms: SystemClock.now_ms(),
            outcome: Outcome::Healthy,
            live: Some(assignment.slot()),
            by: None,
        };
        states::keep(&self.store, &self.host, &report, SystemClock.now_ms()).await.unwrap();
    }

    /// Fetches and seals over the host's own channel; returns the bytes of content that came.
    pub async fn deploy(&self, disk: &Layout, wanted: &Wanted) -> Result<u64, FetchError> {
        let total = self.fetch_over(self.host_channel(), disk, wanted).await?;
        seal(disk, &app(), wanted).unwrap();
        Ok(total)
    }

    pub async fn fetch_over(
        &self,
        channel: Channel,
        disk: &Layout,
        wanted: &Wanted,
    ) -> Result<u64, FetchError> {
        let (sink, events) = Sink::collecting();
        fetch(channel, disk, &app(), wanted, &sink).await?;
        let events = events.lock().unwrap();
        Ok(events
            .iter()
            .filter_map(|event| match event {
                Event::Progress { total, .. } => Some(*total),
                Event::Line { .. } => None,
            })
            .max()
            .unwrap_or(0))
    }
}

/// In memory where that can be had: syncs of a busy disk would be most of what these tests wait for.
fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub fn app() -> AppName {
    APP.parse().unwrap()
}

pub fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

/// Calls know their method, as on a controller's ports.
type Marked = Stack<CalledLayer, tower::layer::util::Identity>;

fn served(audit: &Audit) -> Server<Marked> {
    Server::builder().layer(CalledLayer::new(audit.clone()))
}

async fn listening() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn serve_marked(router: Router<Marked>) -> SocketAddr {
    let (listener, address) = listening().await;
    tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

pub async fn serve(router: Router) -> SocketAddr {
    let (listener, address) = listening().await;
    tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

fn shows(identity: Identity) -> impl Fn(Request<()>) -> Result<Request<()>, Status> + Clone {
    move |mut request| {
        request.extensions_mut().insert(Peer {
            address: ([127, 0, 0, 1], 1).into(),
            identity: Some(identity.clone()),
            certificate: Some([1; 32]),
            key: Some(SPKI),
            serial: Arc::from([1]),
        });
        Ok(request)
    }
}

async fn enrol(store: &SharedStore, id: HostId) {
    let host = Host {
        barred: None,
        recoveries: 0,
        started: None,
        renew: false,
        id,
        name: "web-1".parse().unwrap(),
        labels: Default::default(),
        keys: vec![BoundKey { spki: SPKI, expires_ms: i64::MAX, ca: String::new() }],
        enrolled_ms: 0,
        drained: None,
        rejoining: None,
        token: "t".into(),
        machine_id: String::new(),
        recipient: String::new(),
        seen: None,
    };
    let key = Key::host(&id);
    let value = record::encode(&key, &host).unwrap();
    store.commit(Txn::new().put(key, value)).await.unwrap();
}

pub fn put(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = fs::File::create(path).unwrap();
    std::io::Write::write_all(&mut file, content).unwrap();
    let mode = if path.components().any(|part| part.as_os_str() == "bin") { 0o755 } else { 0o644 };
    file.set_permissions(fs::Permissions::from_mode(mode)).unwrap();
}

/// Bytes that compress to about half, the same for the same seed.
pub fn content(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes()[..4]);
        bytes.extend_from_slice(b"same");
    }
    bytes.truncate(size);
    bytes
}

/// Every path below a folder with its content, link target or nothing for a folder.
pub fn snapshot(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn walk(folder: &Path, root: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for item in fs::read_dir(folder).unwrap() {
            let path = item.unwrap().path();
            let kind = path.symlink_metadata().unwrap().file_type();
            let content = if kind.is_symlink() {
                fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            } else if kind.is_dir() {
                walk(&path, root, found);
                vec![]
            } else {
                fs::read(&path).unwrap()
            };
            found.insert(path.strip_prefix(root).unwrap().to_owned(), content);
        }
    }
    let mut found = BTreeMap::new();
    if root.exists() {
        walk(root, root, &mut found);
    }
    found
}

/// The slot holds exactly what the source folder holds, beside what Longshore keeps there.
pub fn assert_same(disk: &Layout, wanted: &Wanted, source: &Path) {
    let mut slot = snapshot(&disk.slot(&app(), &wanted.slot));
    slot.retain(|path, _| !path.starts_with(".longshore"));
    assert_eq!(slot, snapshot(&source.join("dist")));
}

/// Which way a cutter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ToServer,
    ToClient,
}

/// Passes bytes on, and cuts a connection after so many one way. Zero: never.
pub struct Cutter {
    pub address: SocketAddr,
    limit: Arc<AtomicU64>,
    passed: Arc<AtomicU64>,
}

impl Cutter {
    pub async fn before(server: SocketAddr, way: Way) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (limit, passed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let cutter = Self { address, limit: limit.clone(), passed: passed.clone() };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(server).await.unwrap();
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                let (limit, passed) = (limit.load(Ordering::SeqCst), passed.clone());
                tokio::spawn(async move {
                    let free = AtomicU64::new(0);
                    let (up, down) = match way {
                        Way::ToServer => ((limit, &*passed), (0, &free)),
                        Way::ToClient => ((0, &free), (limit, &*passed)),
                    };
                    tokio::select! {
                        () = relay(from_client, to_server, up) => {}
                        () = relay(from_server, to_client, down) => {}
                    }
                });
            }
        });
        cutter
    }

    /// From the next connection on. Returns the bytes that passed until now.
    pub fn cut_after(&self, bytes: u64) -> u64 {
        self.limit.store(bytes, Ordering::SeqCst);
        self.passed.swap(0, Ordering::SeqCst)
    }
}

async fn relay(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, (limit, passed): (u64, &AtomicU64)) {
    let mut buffer = vec![0; 16 * 1024];
    let mut left = if limit == 0 { u64::MAX } else { limit };
    while left > 0 {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        let now = left.min(read as u64);
        if to.write_all(&buffer[..now as usize]).await.is_err() {
            return;
        }
        passed.fetch_add(now, Ordering::SeqCst);
        left -= now;
    }
}
