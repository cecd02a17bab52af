//! What takes the place of a controller: it has the CA's own key and the address, hands out whatever it is given, and
//! assigns whatever a test wants.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore_common::digest::ReleaseDigest;
use longshore_common::time::{Clock as _, SystemClock};
use longshore_common::tls::{LiveClientTrust, incoming, server_config};
use longshore_controller::identity::{Authority, leaf::Leaf};
use longshore_proto::v1::{
    self as pb,
    blobs_server::{Blobs, BlobsServer},
    from_agent::Message as Heard,
    outcome::Kind,
    session_server::{Session, SessionServer},
    to_agent::Message as Said,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::{Iter, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};

use crate::site::Site;

const PATIENCE: Duration = Duration::from_secs(180);
/// What makes a generation the first of the rollout after.
const ROLLOUT: u64 = 1 << 16;

/// What is handed out for whatever is asked.
#[derive(Clone, Default)]
pub struct Goods {
    pub manifest: Vec<u8>,
    pub index: Vec<u8>,
    pub blocks: Vec<pb::BlockPiece>,
    /// Signed documents, by repository; what is not here was never signed.
    pub trust: BTreeMap<String, pb::TrustDocuments>,
}

pub struct Liar {
    pub goods: Arc<Mutex<Goods>>,
    say: mpsc::Sender<pb::ToAgent>,
    heard: Receiver<Heard>,
    pub hello: pb::Hello,
    host: String,
    pub generation: u64,
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
    async fn trust(&self, asked: Request<pb::TrustRequest>) -> Result<Response<pb::TrustDocuments>, Status> {
        let documents = self.goods.lock().unwrap().trust.get(&asked.get_ref().app).cloned();
        documents.map(Response::new).ok_or_else(|| Status::not_found("nothing was signed"))
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
    pub fn in_place_of(site: &mut Site, clock_ahead_ms: i64) -> Self {
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
        let generation = hello.apps.first().map_or(0, |app| app.generation);
        let liar = Self { goods, say, heard, hello, host, generation, _runtime: runtime };
        liar.say(Said::Welcome(pb::Welcome {
            server_time_ms: SystemClock.now_ms() + clock_ahead_ms,
            heartbeat_ms: 1000,
            ..pb::Welcome::default()
        }));
        liar
    }

    pub fn say(&self, message: Said) {
        self.say.blocking_send(pb::ToAgent { message: Some(message) }).unwrap();
    }

    /// Assigns shop@6.6.6 with these words.
    pub fn order(&self, generation: u64, manifest: &[u8], spoil: impl FnOnce(&mut pb::Assignment)) {
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
    }

    /// The same, and returns how the agent says that it ended.
    pub fn assign(
        &self,
        generation: u64,
        manifest: &[u8],
        spoil: impl FnOnce(&mut pb::Assignment),
    ) -> pb::Failure {
        self.order(generation, manifest, spoil);
        match self.outcome() {
            Kind::Refused(failure) | Kind::Failed(failure) => failure,
            other => panic!("the agent took it: {other:?}"),
        }
    }

    /// How the agent says that what was assigned last has ended.
    pub fn outcome(&self) -> Kind {
        loop {
            let heard = self.heard.recv_timeout(PATIENCE).expect("a report comes in time");
            let Heard::Report(report) = heard else { continue };
            self.say(Said::Ack(pb::ReportAck { seq: report.seq }));
            return report.outcome.unwrap().kind.unwrap();
        }
    }

    pub fn next_generation(&mut self) -> u64 {
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
