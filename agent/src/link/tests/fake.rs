//! A controller in a few lines: it issues certificates and lets a test speak and listen for it.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering},
    },
    time::Duration,
};

use longshore_common::{
    ids::HostId,
    join::JoinToken,
    recovery,
    time::{Clock as _, SystemClock},
    tls::{self, Identity, LiveClientTrust, LiveIdentity},
};
use longshore_proto::v1::{
    self as pb,
    enrolment_server::{Enrolment, EnrolmentServer},
    from_agent::Message as Heard,
    renewal_server::{Renewal, RenewalServer},
    session_server::{Session, SessionServer},
    to_agent::Message as Said,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, IsCa, Issuer,
    KeyPair, SanType,
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_stream::{Stream, StreamExt as _, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};
use uuid::Uuid;

/// A test that waits longer than this has failed.
pub const PATIENCE: Duration = Duration::from_secs(120);

const NONCE: [u8; recovery::NONCE] = [9; recovery::NONCE];

pub fn host() -> HostId {
    HostId(Uuid::from_u128(7))
}

pub struct Fake {
    pub enrol_address: String,
    pub main_address: String,
    desk: Arc<Desk>,
    sessions: mpsc::Receiver<Visit>,
}

/// One session, seen from the controller.
pub struct Visit {
    say: mpsc::Sender<Result<pb::ToAgent, Status>>,
    hear: mpsc::Receiver<Heard>,
}

struct Desk {
    issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
    main_address: Mutex<String>,
    /// How old a certificate is when it is issued; each is good for an hour from then.
    age: Mutex<Duration>,
    /// Certificates have expired when they are issued, until one is recovered.
    expired: AtomicBool,
    recoveries: AtomicUsize,
    enrol_port: AtomicU16,
    enrolments: AtomicUsize,
    renewals: AtomicUsize,
    visits: mpsc::Sender<Visit>,
}

impl Fake {
    pub async fn start() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let ca_pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::from_ca_cert_pem(&ca_pem, key).unwrap();
        let (visits, sessions) = mpsc::channel(8);
        let desk = Arc::new(Desk {
            issuer,
            ca_pem,
            main_address: Mutex::default(),
            age: Mutex::default(),
            expired: AtomicBool::new(false),
            recoveries: AtomicUsize::new(0),
            enrol_port: AtomicU16::new(0),
            enrolments: AtomicUsize::new(0),
            renewals: AtomicUsize::new(0),
            visits,
        });
        let identity = desk.server_identity();
        let open = tls::open_server_config(Arc::clone(&identity));
        let mutual = tls::server_config(identity, LiveClientTrust::new(desk.ca_pem.as_bytes()).unwrap());
        let enrolment = Server::builder().add_service(EnrolmentServer::from_arc(Arc::clone(&desk)));
        let main = Server::builder()
            .add_service(SessionServer::from_arc(Arc::clone(&desk)))
            .add_service(RenewalServer::from_arc(Arc::clone(&desk)));
        let enrol_address = serve(enrolment, open).await;
        let main_address = serve(main, mutual).await;
        desk.main_address.lock().unwrap().clone_from(&main_address);
        let port = enrol_address.rsplit_once(':').unwrap().1.parse().unwrap();
        desk.enrol_port.store(port, Ordering::Relaxed);
        Self { enrol_address, main_address, desk, sessions }
    }

    pub fn token(&self) -> JoinToken {
        JoinToken {
            id: "tk_1".into(),
            secret: [1; 32],
            ca: tls::ca_hash(self.desk.ca_pem.as_bytes()).unwrap(),
            root: None,
        }
    }

    /// From now on certificates are that old when they are issued, until one is renewed.
    pub fn issue_aged(&self, age: Duration) {
        *self.desk.age.lock().unwrap() = age;
    }

    /// From now on certificates have expired when they are issued, and none is renewed, until one is recovered.
    pub fn issue_expired(&self) {
        self.desk.expired.store(true, Ordering::Relaxed);
    }

    pub fn recoveries(&self) -> usize {
        self.desk.recoveries.load(Ordering::Relaxed)
    }

    pub fn enrolments(&self) -> usize {
        self.desk.enrolments.load(Ordering::Relaxed)
    }

    pub fn renewals(&self) -> usize {
        self.desk.renewals.load(Ordering::Relaxed)
    }

    /// The next session, and the hello it opened with; it has been welcomed.
    pub async fn session(&mut self) -> (Visit, pb::Hello) {
        let visit = tokio::time::timeout(PATIENCE, self.sessions.recv()).await;
        let mut visit = visit.expect("an agent comes in time").unwrap();
        let Heard::Hello(hello) = visit.hear().await else { panic!("a session begins with a hello") };
        let server_time_ms = SystemClock.now_ms();
        visit
            .say(Said::Welcome(pb::Welcome { server_time_ms, heartbeat_ms: 100, ..pb::Welcome::default() }))
            .await;
        (visit, hello)
    }
}

impl Visit {
    pub async fn say(&self, message: Said) {
        self.say.send(Ok(pb::ToAgent { message: Some(message) })).await.expect("the agent listens");
    }

    pub async fn hear(&mut self) -> Heard {
        tokio::time::timeout(PATIENCE, self.hear.recv())
            .await
            .expect("the agent speaks in time")
            .expect("still there")
    }

    /// The next message that this picks; others are passed over.
    pub async fn hear_the<T>(&mut self, pick: impl Fn(Heard) -> Option<T>) -> T {
        loop {
            if let Some(picked) = pick(self.hear().await) {
                return picked;
            }
        }
    }

    pub async fn report(&mut self) -> pb::Report {
        self.hear_the(|heard| if let Heard::Report(report) = heard { Some(report) } else { None }).await
    }

    pub async fn answer(&mut self) -> pb::Answer {
        self.hear_the(|heard| if let Heard::Answer(answer) = heard { Some(answer) } else { None }).await
    }
}

impl Desk {
    fn server_identity(&self) -> Arc<LiveIdentity> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        LiveIdentity::new(format!("{}{}", leaf.pem(), self.ca_pem).as_bytes(), key.serialize_pem().as_bytes())
            .unwrap()
    }

    fn issue(&self, csr: &[u8], name: &str) -> pb::Certificate {
        let csr = CertificateSigningRequestParams::from_der(&csr.into()).unwrap();
        let now = SystemClock.now_ms();
        let age = self.age.lock().unwrap().as_millis() as i64;
        let moment = |ms: i64| time::OffsetDateTime::from_unix_timestamp(ms / 1000).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.not_before = moment(now - age);
        let lasts = if self.expired.load(Ordering::Relaxed) { -1000 } else { 3_600_000 };
        params.not_after = moment(now + lasts);
        params.subject_alt_names.push(SanType::URI(Identity::Host(host()).to_string().try_into().unwrap()));
        let leaf = params.signed_by(&csr.public_key, &self.issuer).unwrap();
        pb::Certificate {
            host_id: host().to_string(),
            certificate_pem: leaf.pem().into(),
            ca_pem: self.ca_pem.clone().into(),
            server_time_ms: now,
            name: name.to_owned(),
            enrol_port: self.enrol_port.load(Ordering::Relaxed).into(),
            recoveries: self.recoveries.load(Ordering::Relaxed) as u32,
            controllers: vec![self.main_address.lock().unwrap().clone()],
            ..pb::Certificate::default()
        }
    }
}

async fn serve(router: tonic::transport::server::Router, config: Arc<rustls::ServerConfig>) -> String {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let incoming = tls::incoming(listener, TlsAcceptor::from(config), 8, tls::Connections::default());
    tokio::spawn(router.serve_with_incoming(incoming));
    address
}

#[tonic::async_trait]
impl Enrolment for Desk {
    async fn enroll(&self, request: Request<pb::EnrollRequest>) -> Result<Response<pb::Certificate>, Status> {
        self.enrolments.fetch_add(1, Ordering::Relaxed);
        let request = request.into_inner();
        assert!(request.token.starts_with("lsj1.tk_1."));
        Ok(Response::new(self.issue(&request.csr_der, &request.name)))
    }

    async fn challenge(
        &self,
        _request: Request<pb::ChallengeRequest>,
    ) -> Result<Response<pb::ChallengeReply>, Status> {
        let server_time_ms = SystemClock.now_ms();
        Ok(Response::new(pb::ChallengeReply { nonce: NONCE.to_vec().into(), server_time_ms }))
    }

    async fn recover(
        &self,
        request: Request<pb::RecoverRequest>,
    ) -> Result<Response<pb::Certificate>, Status> {
        let asked = request.into_inner();
        assert_eq!(asked.host_id, host().to_string());
        let words = recovery::words(&NONCE, &host(), asked.recoveries, &asked.csr_der);
        assert!(recovery::is_signed(&words, &asked.signature, &asked.key_der));
        assert_eq!(asked.recoveries as usize, self.recoveries.fetch_add(1, Ordering::Relaxed));
        self.expired.store(false, Ordering::Relaxed);
        Ok(Response::new(self.issue(&asked.csr_der, "web-1")))
    }
}

#[tonic::async_trait]
impl Renewal for Desk {
    async fn renew(&self, request: Request<pb::RenewRequest>) -> Result<Response<pb::Certificate>, Status> {
        self.renewals.fetch_add(1, Ordering::Relaxed);
        if self.expired.load(Ordering::Relaxed) {
            return Err(Status::unauthenticated("the certificate has expired"));
        }
        *self.age.lock().unwrap() = Duration::ZERO;
        Ok(Response::new(self.issue(&request.into_inner().csr_der, "web-1")))
    }
}

#[tonic::async_trait]
impl Session for Desk {
    type OpenStream = Pin<Box<dyn Stream<Item = Result<pb::ToAgent, Status>> + Send>>;

    async fn open(
        &self,
        request: Request<Streaming<pb::FromAgent>>,
    ) -> Result<Response<Self::OpenStream>, Status> {
        let peer = request.extensions().get::<tls::Peer>().unwrap();
        assert_eq!(peer.identity, Some(Identity::Host(host())));
        let mut inbound = request.into_inner();
        let (say, outbound) = mpsc::channel(8);
        let (heard, hear) = mpsc::channel(256);
        self.visits.send(Visit { say, hear }).await.expect("the test goes on");
        tokio::spawn(async move {
            while let Some(Ok(message)) = inbound.next().await {
                if heard.send(message.message.unwrap()).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outbound))))
    }
}
