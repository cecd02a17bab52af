//! A controller that lies: it has the CA's own key and the address, and hands an agent whatever it likes. The agent
//! says what is wrong with it, and its host stays as it was. What a lying stream of bytes may look like in detail is in
//! `controller/tests/transfer/hostile.rs`.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore_common::digest::{BlobDigest, IndexDigest, ReleaseDigest};
use longshore_common::time::{Clock as _, SystemClock};
use longshore_common::tls::{LiveClientTrust, incoming, server_config};
use longshore_controller::identity::{Authority, leaf::Leaf};
use longshore_proto::v1::{
    self as pb,
    blobs_server::{Blobs, BlobsServer},
    from_agent::Message as Heard,
    session_server::{Session, SessionServer},
    to_agent::Message as Said,
};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::{Iter, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};

use crate::site::{ASK, Site};

const PATIENCE: Duration = Duration::from_secs(30);
/// What makes a generation the first of the rollout after.
const ROLLOUT: u64 = 1 << 16;

/// No host of the site.
const STRANGER: &str = "24161621-9d6c-4abe-a4d0-84510d2b066b";

/// What is handed out for whatever is asked.
#[derive(Clone, Default)]
struct Goods {
    manifest: Vec<u8>,
    index: Vec<u8>,
    blocks: Vec<pb::BlockPiece>,
}

struct Liar {
    goods: Arc<Mutex<Goods>>,
    say: mpsc::Sender<pb::ToAgent>,
    heard: Receiver<Heard>,
    hello: pb::Hello,
    host: String,
    generation: u64,
    _runtime: tokio::runtime::Runtime,
}

struct Desk {
    goods: Arc<Mutex<Goods>>,
    heard: Sender<Heard>,
    say: Mutex<Option<mpsc::Receiver<pb::ToAgent>>>,
}

type Replies<T> = Iter<std::vec::IntoIter<Result<T, Status>>>;

fn all<T>(messages: Vec<T>) -> Response<Replies<T>> {
    Response::new(tokio_stream::iter(messages.into_iter().map(Ok).collect::<Vec<_>>()))
}

#[tonic::async_trait]
impl Session for Desk {
    type OpenStream = std::pin::Pin<Box<dyn tokio_stream::Stream<Item = Result<pb::ToAgent, Status>> + Send>>;
    async fn open(
        &self,
        request: Request<Streaming<pb::FromAgent>>,
    ) -> Result<Response<Self::OpenStream>, Status> {
        let say =
            self.say.lock().unwrap().take().ok_or_else(|| Status::unavailable("one session is enough"))?;
        let (mut said, heard) = (request.into_inner(), self.heard.clone());
        tokio::spawn(async move {
            while let Ok(Some(message)) = said.message().await {
                if message.message.is_none_or(|message| heard.send(message).is_err()) {
                    return;
                }
            }
        });
        use tokio_stream::StreamExt as _;
        Ok(Response::new(Box::pin(ReceiverStream::new(say).map(Ok))))
    }
}

#[tonic::async_trait]
impl Blobs for Desk {
    async fn manifest(&self, _: Request<pb::ManifestRequest>) -> Result<Response<pb::ManifestReply>, Status> {
        let manifest = self.goods.lock().unwrap().manifest.clone().into();
        Ok(Response::new(pb::ManifestReply { manifest }))
    }
    async fn trust(&self, _: Request<pb::TrustRequest>) -> Result<Response<pb::TrustDocuments>, Status> {
        Err(Status::not_found("nothing was signed"))
    }
    async fn sealed(&self, _: Request<pb::SealedRequest>) -> Result<Response<pb::SealedReply>, Status> {
        Err(Status::not_found("nothing was sealed"))
    }
    type IndexStream = Replies<pb::Piece>;
    async fn index(&self, _: Request<pb::IndexRequest>) -> Result<Response<Self::IndexStream>, Status> {
        Ok(all(vec![pb::Piece { data: self.goods.lock().unwrap().index.clone().into() }]))
    }
    type FetchStream = Replies<pb::BlockPiece>;
    async fn fetch(&self, _: Request<pb::FetchRequest>) -> Result<Response<Self::FetchStream>, Status> {
        Ok(all(self.goods.lock().unwrap().blocks.clone()))
    }
}

impl Liar {
    /// Takes the place of the site's controller; the agent comes to it by itself.
    fn in_place_of(site: &mut Site, clock_ahead_ms: i64) -> Self {
        let hosts = site.longshore(["host", "list", "-o", "json"]).success().unwrap();
        let hosts: serde_json::Value = serde_json::from_str(&hosts).unwrap();
        let host = hosts["hosts"][0]["id"].as_str().unwrap().to_owned();
        site.controller.take();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (heard_here, heard) = channel();
        let (say, to_say) = mpsc::channel(16);
        let goods = Arc::<Mutex<Goods>>::default();
        let desk = Desk { goods: goods.clone(), heard: heard_here, say: Mutex::new(Some(to_say)) };
        runtime.block_on(serve(site, Arc::new(desk)));
        let Ok(Heard::Hello(hello)) = heard.recv_timeout(PATIENCE) else {
            panic!("a session begins with a hello")
        };
        let generation = hello.apps[0].generation;
        let liar = Self { goods, say, heard, hello, host, generation, _runtime: runtime };
        liar.say(Said::Welcome(pb::Welcome {
            server_time_ms: SystemClock.now_ms() + clock_ahead_ms,
            heartbeat_ms: 1000,
            ..pb::Welcome::default()
        }));
        liar
    }

    fn say(&self, message: Said) {
        self.say.blocking_send(pb::ToAgent { message: Some(message) }).unwrap();
    }

    /// Assigns shop@6.6.6 with these words and returns how the agent says that it ended.
    fn assign(
        &self,
        generation: u64,
        manifest: &[u8],
        spoil: impl FnOnce(&mut pb::Assignment),
    ) -> pb::Failure {
        let mut assignment = pb::Assignment {
            host: self.host.clone(),
            app: "shop".into(),
            env: "prod".into(),
            rollout: "01a20294-8fb0-742d-831e-c746e9716d3e".into(),
            generation,
            version: "6.6.6".into(),
            release: ReleaseDigest::of(manifest).as_bytes().to_vec().into(),
            intent: pb::Intent::Run.into(),
            keep_slots: 2,
            ..pb::Assignment::default()
        };
        spoil(&mut assignment);
        self.say(Said::Assignment(assignment));
        loop {
            let heard = self.heard.recv_timeout(PATIENCE).expect("a report comes in time");
            let Heard::Report(report) = heard else { continue };
            self.say(Said::Ack(pb::ReportAck { seq: report.seq }));
            use pb::outcome::Kind;
            match report.outcome.unwrap().kind.unwrap() {
                Kind::Refused(failure) | Kind::Failed(failure) => return failure,
                other => panic!("the agent took it: {other:?}"),
            }
        }
    }

    fn next_generation(&mut self) -> u64 {
        self.generation += ROLLOUT;
        self.generation
    }
}

async fn serve(site: &Site, desk: Arc<Desk>) {
    let authority = Arc::new(Authority::load(&site.path("ctl/identity")).unwrap());
    let trust = LiveClientTrust::new(authority.pem().as_bytes()).unwrap();
    let leaf = Leaf::new(authority, vec![site.address.clone()], SystemClock.now_ms()).unwrap();
    let listener = TcpListener::bind(format!("{}:7440", site.address)).await.unwrap();
    let connections = incoming(listener, server_config(leaf.live, trust).into(), 8, Default::default());
    let router = Server::builder()
        .add_service(SessionServer::from_arc(desk.clone()))
        .add_service(BlobsServer::from_arc(desk));
    tokio::spawn(router.serve_with_incoming(connections));
}

/// LS-O03 and LS-E05: assignments that are old, changed, or for somebody else, and a controller in another time.
#[test]
fn stale_replayed_and_misdirected_assignments_are_refused() {
    let mut site = Site::raise();
    let three_hours = 3 * 3_600_000 + 12 * 60_000;
    let before = site.snapshot();
    let mut liar = Liar::in_place_of(&mut site, three_hours);
    assert_eq!(liar.hello.apps[0].version, "1.0");
    site.agent.as_mut().unwrap().until_it_says("LS-E05", ASK).unwrap();
    site.agent.as_mut().unwrap().until_it_says("behind the controller's", ASK).unwrap();

    let accepted = liar.generation;
    let later = liar.next_generation();
    type Spoil = fn(&mut pb::Assignment);
    let as_it_is: Spoil = |_| ();
    let rows: [(&str, u64, Spoil, &str); 3] = [
        ("stale", accepted - 1, as_it_is, "is not newer than"),
        ("replayed with other content", accepted, as_it_is, "has other content"),
        ("for another host", later, |assignment| assignment.host = STRANGER.into(), "assignment is for host"),
    ];
    for (what, generation, spoil, says) in rows {
        let refused = liar.assign(generation, b"anything", spoil);
        assert_eq!(refused.code, "LS-O03", "{what}: {refused:?}");
        assert!(refused.message.contains(says), "{what}: {refused:?}");
        assert_eq!(site.snapshot(), before, "{what}");
    }
    let history = site.agent_at("host", ["history"]).success().unwrap();
    assert!(history.contains("refused"), "{history}");
}

fn manifest_of(index: &[u8], files: u64, bytes: u64) -> Vec<u8> {
    use longshore_common::manifest::{Artifact, file::AppFile};
    let artifact = Artifact { index: IndexDigest::of(index), files, bytes };
    let file = AppFile::parse("longshore.toml", &crate::site::app_file()).unwrap();
    file.into_manifest("6.6.6".parse().unwrap(), artifact).to_bytes()
}

fn squeezed(bytes: &[u8]) -> Vec<u8> {
    longshore_common::bundle::frame::compress(3, bytes).unwrap()
}

fn entry(path: &str, link: &str) -> pb::IndexEntry {
    let blob = if link.is_empty() { BlobDigest::of(b"abc").0.to_vec() } else { vec![] };
    let size = if link.is_empty() { 3 } else { 0 };
    pb::IndexEntry {
        path: path.into(),
        executable: path == "run",
        link: link.into(),
        size,
        blob: blob.into(),
    }
}

/// Goods that fit the digests which they go by, so that only what they say gives them away.
fn goods_of(entries: Vec<pb::IndexEntry>) -> Goods {
    let (files, bytes) = (entries.len() as u64, entries.iter().map(|entry| entry.size).sum());
    let index = pb::Index { format: 1, entries }.encode_to_vec();
    let head = pb::BlockHead { blobs: vec![0], content_bytes: 3, wire_bytes: 0 };
    Goods {
        manifest: manifest_of(&index, files, bytes),
        index: squeezed(&index),
        blocks: vec![pb::BlockPiece { head: Some(head), data: squeezed(b"abc").into() }],
    }
}

/// LS-A0x on the host: bytes that differ, that are no artifact at all, and indexes that mean ill.
#[test]
fn what_a_lying_controller_sends_changes_nothing_on_the_host() {
    let mut site = Site::raise();
    let before = site.snapshot();
    let mut liar = Liar::in_place_of(&mut site, 0);
    let good = || goods_of(vec![entry("run", "")]);
    let block = |data: Vec<u8>| {
        let mut goods = good();
        goods.blocks[0].data = data.into();
        goods
    };
    let rows: Vec<(&str, Goods, &str, &str)> = vec![
        ("another manifest", Goods { manifest: b"{}".to_vec(), ..good() }, "LS-A01", "manifest came"),
        ("another index", Goods { index: squeezed(b"x"), ..good() }, "LS-A01", "index came"),
        ("an error page as index", Goods { index: b"<html>404".to_vec(), ..good() }, "LS-A05", "<html>"),
        (
            "an index that explodes",
            Goods { index: squeezed(&vec![0; 20 << 20]), ..good() },
            "LS-A04",
            "expanded",
        ),
        ("other bytes", block(squeezed(b"abd")), "LS-A01", "blob"),
        ("an error page as block", block(b"<html>".to_vec()), "LS-A05", "<html>"),
        ("a bomb", block(squeezed(&vec![0; 64 << 20])), "LS-A04", "more bytes than its content"),
        ("a way out", goods_of(vec![entry("../../../../escaped", "")]), "LS-A02", "leaves the release"),
        ("an absolute path", goods_of(vec![entry("/tmp/escaped-6", "")]), "LS-A02", "absolute"),
        ("a seal of its own", goods_of(vec![entry(".longshore/sealed", "")]), "LS-A02", "Longshore's own"),
        ("a link out", goods_of(vec![entry("data", "/etc/shadow")]), "LS-A03", "/etc/shadow"),
        ("one path twice", goods_of(vec![entry("x", ""), entry("x", "")]), "LS-A02", "occurs twice"),
    ];
    for (what, goods, code, says) in rows {
        let manifest = manifest_asked_for(&goods, &good());
        *liar.goods.lock().unwrap() = goods;
        let generation = liar.next_generation();
        let failed = liar.assign(generation, &manifest, |_| ());
        assert!(failed.code.starts_with(code), "{what}: {failed:?}");
        assert!(failed.message.contains(says), "{what}: {failed:?}");
        assert_eq!(site.snapshot(), before, "{what}");
    }
    assert!(!std::path::Path::new("/tmp/escaped-6").exists());
    let status = site.agent_at("host", ["status"]).success().unwrap();
    assert!(status.contains("healthy") && status.contains("LS-A02"), "{status}");
}

/// The release that is assigned: what the goods hold, or what they should have held.
fn manifest_asked_for(goods: &Goods, sound: &Goods) -> Vec<u8> {
    if goods.manifest == b"{}" { sound.manifest.clone() } else { goods.manifest.clone() }
}
