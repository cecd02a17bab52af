//! A controller in a folder of its own, and everything that tests do to one over the wire.

use super::{
    messages::{agent_message, controller_message},
    *,
};

use std::{io, net::SocketAddr, path::Path, sync::Arc};

use hyper_util::rt::TokioIo;
use longshore_common::{
    code::Coded,
    tls::{LiveIdentity, client_config, pinned_client_config},
};
use longshore_proto::v1::{
    access_client::AccessClient, enrolment_client::EnrolmentClient, environments_client::EnvironmentsClient,
    hosts_client::HostsClient, renewal_client::RenewalClient, rollouts_client::RolloutsClient,
    session_client::SessionClient,
};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::{
    access::Grants,
    cli::{client::Client, context::Context, operator, publish},
    config::Config,
    daemon::{Addresses, Serving, serve},
    fleet::Heartbeat,
    identity::{
        Authority,
        init::{self, Made, Wanted},
    },
};

pub struct Site {
    dir: tempfile::TempDir,
    made: Made,
    stop: CancellationToken,
    serving: Serving,
}

/// A key made on a host.
pub struct HostKey {
    pub pair: KeyPair,
}

impl HostKey {
    pub fn new() -> Self {
        Self { pair: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap() }
    }

    pub fn csr(&self) -> Vec<u8> {
        CertificateParams::default().serialize_request(&self.pair).unwrap().der().to_vec()
    }
}

impl Site {
    pub async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// With another configuration than `init` made.
    pub async fn start_with(edit: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let wanted = Wanted {
            dir: dir.path().join("controller"),
            listen: any,
            enrol_listen: any,
            names: vec!["127.0.0.1".into()],
            operator: "alice".parse().unwrap(),
        };
        let mut made = init::init(wanted, 1_700_000_000_000.max(now())).unwrap();
        edit(&mut made.config);
        Self::serve(dir, made).await
    }

    /// A controller over a folder that there is.
    pub async fn serve(dir: tempfile::TempDir, made: Made) -> Self {
        let stop = CancellationToken::new();
        // Nothing here waits for a silence, and some sessions say no more than their hello: ten minutes.
        let heartbeat = Heartbeat { missed: 60, ..Heartbeat::default() };
        let config = Config { heartbeat, ..made.config.clone() };
        let serving = serve(config, stop.clone()).await.unwrap();
        Self { dir, made, stop, serving }
    }

    pub async fn stop(self) {
        self.halt().await;
    }

    /// The folder stays.
    pub async fn halt(mut self) -> (tempfile::TempDir, Made) {
        self.stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.serving.ended()).await;
        ended.expect("a controller ends when it is told to");
        (self.dir, self.made)
    }

    /// Another controller over the same folder.
    pub async fn restart(self) -> Self {
        let (dir, made) = self.halt().await;
        Self::serve(dir, made).await
    }

    /// The command line's way in, as the operator that `init` made.
    pub async fn client(&self) -> Client {
        let mut operator = operator::OperatorFolder::read(&self.made.operator_dir).unwrap();
        operator.address = self.addresses().main.to_string();
        Client::connect(&Context { name: "test".into(), operator }).await.unwrap()
    }

    /// What the daemon does at SIGHUP.
    pub fn reload(&self) {
        self.serving.reload(self.made.config.names.clone());
    }

    pub fn config(&self) -> &Config {
        &self.made.config
    }

    pub fn operator_dir(&self) -> &Path {
        &self.made.operator_dir
    }

    /// A new key and certificate of the first operator.
    pub async fn login(&self) -> Arc<LiveIdentity> {
        let key = HostKey::new();
        let request = pb::LoginRequest { csr_der: key.csr().into(), ttl_ms: 0 };
        let reply = AccessClient::new(self.operator().await).login(request).await.unwrap().into_inner();
        LiveIdentity::new(&reply.certificate_pem, key.pair.serialize_pem().as_bytes()).unwrap()
    }

    /// Makes an operator and connects as them.
    pub async fn add_operator(&self, name: &str, grants: &[&str]) -> Channel {
        let key = HostKey::new();
        let request = pb::AddUserRequest {
            name: name.into(),
            grants: grants.iter().map(|&grant| grant.to_owned()).collect(),
            csr_der: key.csr().into(),
            ttl_ms: 0,
        };
        let reply = AccessClient::new(self.operator().await).add_user(request).await.unwrap().into_inner();
        let pem = key.pair.serialize_pem();
        self.with_identity(LiveIdentity::new(&reply.certificate_pem, pem.as_bytes()).unwrap()).await
    }

    /// An operator whom the controller's own machine makes, as `longshore-controller operator` does.
    pub fn machine_operator(&self, name: &str, role: &str) -> Arc<LiveIdentity> {
        let authority = Authority::load(&self.config().identity_dir()).unwrap();
        let (name, out) = (name.parse().unwrap(), self.dir.path().join(name));
        let grants = Grants(vec![role.parse().unwrap()]);
        init::make_operator(&authority, self.config(), &name, grants, "unused:1", &out, now()).unwrap();
        let read = |file: &str| std::fs::read(out.join(file)).unwrap();
        LiveIdentity::new(&read(operator::CERTIFICATE), &read(operator::KEY)).unwrap()
    }

    /// TLS as a host, with nothing but HTTP/2's first words said on it.
    pub async fn raw(&self, certificate: &pb::Certificate, key: &HostKey) -> TlsStream<TcpStream> {
        let mut stream = self.handshake(certificate, key).await;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        stream.flush().await.unwrap();
        stream
    }

    pub async fn handshake(&self, certificate: &pb::Certificate, key: &HostKey) -> TlsStream<TcpStream> {
        let pem = key.pair.serialize_pem();
        let identity = LiveIdentity::new(&certificate.certificate_pem, pem.as_bytes()).unwrap();
        let trust = LiveServerTrust::new(self.ca().as_bytes()).unwrap();
        let address = self.addresses().main;
        let tcp = TcpStream::connect(address).await.unwrap();
        let connector = TlsConnector::from(client_config(identity, trust));
        connector.connect(ServerName::from(address.ip()), tcp).await.unwrap()
    }

    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    pub fn addresses(&self) -> Addresses {
        self.serving.addresses
    }

    pub fn ca(&self) -> String {
        std::fs::read_to_string(self.made.operator_dir.join(operator::CA)).unwrap()
    }

    pub async fn operator(&self) -> Channel {
        let read = |name: &str| std::fs::read(self.made.operator_dir.join(name)).unwrap();
        let identity = LiveIdentity::new(&read(operator::CERTIFICATE), &read(operator::KEY)).unwrap();
        self.with_identity(identity).await
    }

    pub async fn with_identity(&self, identity: Arc<LiveIdentity>) -> Channel {
        let trust = LiveServerTrust::new(self.ca().as_bytes()).unwrap();
        dial(self.addresses().main, client_config(identity, trust)).await.unwrap()
    }

    pub async fn host(&self, certificate: &pb::Certificate, key: &HostKey) -> Channel {
        let pem = key.pair.serialize_pem();
        let identity = LiveIdentity::new(&certificate.certificate_pem, pem.as_bytes()).unwrap();
        self.with_identity(identity).await
    }

    pub async fn hosts(&self) -> HostsClient<Channel> {
        HostsClient::new(self.operator().await)
    }

    pub async fn token(&self) -> String {
        self.token_with(1, BTreeMap::new()).await
    }

    pub async fn token_with(&self, uses: u32, labels: BTreeMap<String, String>) -> String {
        let request = pb::CreateTokenRequest { uses, labels, ..Default::default() };
        self.hosts().await.create_token(request).await.unwrap().into_inner().token
    }

    pub async fn enrol(&self, token: &str, key: &HostKey, name: &str) -> Result<pb::Certificate, Coded> {
        self.enrol_machine(token, key, name, "").await
    }

    pub async fn enrol_machine(
        &self,
        token: &str,
        key: &HostKey,
        name: &str,
        machine_id: &str,
    ) -> Result<pb::Certificate, Coded> {
        let pin = token.parse::<JoinToken>().unwrap().ca;
        let channel = dial(self.addresses().enrol, pinned_client_config(pin)).await;
        let channel = channel.map_err(|error| Coded::new(Code::E04, error.to_string()))?;
        let request = pb::EnrollRequest {
            token: token.to_owned(),
            csr_der: key.csr().into(),
            name: name.to_owned(),
            labels: BTreeMap::new(),
            machine_id: machine_id.to_owned(),
        };
        let reply = EnrolmentClient::new(channel).enroll(request).await;
        reply.map(|reply| reply.into_inner()).map_err(|status| from_status(&status))
    }

    pub async fn renew(
        &self,
        certificate: &pb::Certificate,
        key: &HostKey,
        next: &HostKey,
    ) -> Result<pb::Certificate, Coded> {
        let channel = self.host(certificate, key).await;
        let request = pb::RenewRequest { csr_der: next.csr().into() };
        let reply = RenewalClient::new(channel).renew(request).await;
        reply.map(|reply| reply.into_inner()).map_err(|status| from_status(&status))
    }

    pub async fn host_names(&self) -> Vec<String> {
        let request = pb::ListHostsRequest { selector: "*".into() };
        let reply = self.hosts().await.list(request).await.unwrap().into_inner();
        reply.hosts.into_iter().map(|host| host.name).collect()
    }

    pub async fn wait_connected(&self, count: usize) {
        let mut hosts = self.hosts().await;
        for _ in 0..PATIENCE.as_millis() / 10 {
            let reply = hosts.list(pb::ListHostsRequest::default()).await.unwrap().into_inner();
            if reply.hosts.iter().filter(|host| host.connected).count() == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{count} hosts never were connected");
    }

    pub fn agent(&self, certificate: &pb::Certificate, bad: &[&str]) -> HandAgent {
        let mut agent = HandAgent::new(&certificate.name, bad);
        agent.host.id = certificate.host_id.parse().unwrap();
        agent
    }

    /// A session as an agent has it, with its hello said.
    pub async fn open_session(
        &self,
        certificate: &pb::Certificate,
        key: &HostKey,
    ) -> (mpsc::Sender<FromAgent>, mpsc::Receiver<ToAgent>) {
        let channel = self.host(certificate, key).await;
        let (say, said) = mpsc::channel::<FromAgent>(64);
        let (told, heard) = mpsc::channel(64);
        let hello = self.agent(certificate, &[]).hello();
        let first = tokio_stream::once(agent_message(FromAgent::Hello(Box::new(hello))));
        // An agent driven by hand says its own hello; then this one is not needed, and the second is left out.
        let rest = ReceiverStream::new(said).filter(|message| !matches!(message, FromAgent::Hello(_)));
        let outbound = first.chain(rest.map(agent_message));
        tokio::spawn(async move {
            let Ok(reply) = SessionClient::new(channel).open(outbound).await else { return };
            let mut inbound = reply.into_inner();
            while let Some(Ok(message)) = inbound.next().await {
                if told.send(controller_message(message)).await.is_err() {
                    return;
                }
            }
        });
        (say, heard)
    }

    pub async fn connect(&self, fleet: &[(HandAgent, pb::Certificate, HostKey)]) {
        for (agent, certificate, key) in fleet {
            let (say, heard) = self.open_driven(agent, certificate, key).await;
            tokio::spawn(agent.clone().converse(say, heard));
        }
    }

    /// A session whose hello is the agent's own.
    async fn open_driven(
        &self,
        agent: &HandAgent,
        certificate: &pb::Certificate,
        key: &HostKey,
    ) -> (mpsc::Sender<FromAgent>, mpsc::Receiver<ToAgent>) {
        let channel = self.host(certificate, key).await;
        let (say, said) = mpsc::channel::<FromAgent>(64);
        let (told, heard) = mpsc::channel(64);
        let name = agent.host.name.clone();
        tokio::spawn(async move {
            let outbound = ReceiverStream::new(said).map(agent_message);
            let Ok(reply) = SessionClient::new(channel).open(outbound).await else { return };
            let mut inbound = reply.into_inner();
            while let Some(Ok(message)) = inbound.next().await {
                if told.send(controller_message(message)).await.is_err() {
                    return;
                }
            }
            tracing::debug!(%name, "session over");
        });
        (say, heard)
    }

    pub async fn apply_environment(&self) {
        let file = "[environment]\nname = \"production\"\nselector = \"env=prod\"\n[rollout]\ncanary = 1\n\
                    canary_bake = \"100ms\"\nbake = \"0s\"\nwave = \"50%\"\nmax_unavailable = \"50%\"\n";
        let request = pb::ApplyEnvironmentRequest { file: file.into(), file_name: "production.toml".into() };
        EnvironmentsClient::new(self.operator().await).apply(request).await.unwrap();
    }

    pub async fn publish(&self, version: &str) {
        let folder = self.dir.path().join(version);
        make_release(&folder, version);
        let options = publish::Options {
            file: folder,
            version: Some(version.parse().unwrap()),
            attestations: Default::default(),
        };
        publish::publish(self.operator().await, options, Arc::new(|_| ())).await.unwrap();
    }

    pub async fn start_rollout(&self, version: &str) -> String {
        let request = pb::StartRolloutRequest {
            app: "shop".into(),
            version: version.into(),
            env: "production".into(),
            request_id: uuid::Uuid::new_v4().to_string(),
            reason: String::new(),
            rollback: false,
            ..pb::StartRolloutRequest::default()
        };
        RolloutsClient::new(self.operator().await).start(request).await.unwrap().into_inner().id
    }

    pub async fn watch(&self, id: &str) -> tonic::Streaming<pb::RolloutUpdate> {
        let mut client = RolloutsClient::new(self.operator().await);
        let request = pb::ShowRolloutRequest { rollout: id.to_owned() };
        client.watch(request).await.unwrap().into_inner()
    }

    /// Watches until it is over.
    pub async fn outcome(&self, id: &str) -> String {
        let mut updates = self.watch(id).await;
        let mut last = pb::Rollout::default();
        let watched = tokio::time::timeout(PATIENCE, async {
            while let Some(update) = updates.next().await {
                if let Some(pb::rollout_update::Update::Rollout(rollout)) = update.unwrap().update {
                    last = rollout;
                }
            }
        });
        if watched.await.is_err() {
            panic!("stuck: {last:#?}");
        }
        last.outcome
    }

    pub async fn explain(&self, id: &str) -> pb::ExplainReply {
        let request = pb::ShowRolloutRequest { rollout: id.to_owned() };
        RolloutsClient::new(self.operator().await).explain(request).await.unwrap().into_inner()
    }
}

/// Reads until the other side has ended the connection.
pub async fn closed(stream: &mut TlsStream<TcpStream>) {
    let mut left = [0; 1024];
    let ended = async { while stream.read(&mut left).await.is_ok_and(|count| count > 0) {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("closed in time");
}

pub fn now() -> i64 {
    longshore_common::time::Clock::now_ms(&longshore_common::time::SystemClock)
}

fn make_release(folder: &Path, version: &str) {
    use longshore_common::durable;
    durable::create_dir_durable(&folder.join("dist"), 0o755).unwrap();
    durable::write_atomic(&folder.join("dist/page.html"), version.as_bytes(), 0o644).unwrap();
    let app = "[app]\nname = \"shop\"\n[artifact]\npath = \"dist\"\n[service]\ndriver = \"none\"\n";
    durable::write_atomic(&folder.join("longshore.toml"), app.as_bytes(), 0o644).unwrap();
}

/// A connection that is there, or why it is not. The controller gives a handshake five seconds and drops it then without
/// a word; a busy machine may stand still for as long, so that is no answer until it has come several times.
pub async fn dial(address: SocketAddr, config: Arc<ClientConfig>) -> Result<Channel, io::Error> {
    let dropped = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
    let mut dialled = dial_once(address, config.clone()).await;
    for _ in 0..4 {
        match &dialled {
            Err(error) if dropped.contains(&error.kind()) => {}
            Ok(_) | Err(_) => break,
        }
        dialled = dial_once(address, config.clone()).await;
    }
    dialled
}

async fn dial_once(address: SocketAddr, config: Arc<ClientConfig>) -> Result<Channel, io::Error> {
    let connector = TlsConnector::from(config);
    let name = ServerName::from(address.ip());
    // Once by itself, for the error in its own words.
    drop(connector.connect(name.clone(), TcpStream::connect(address).await?).await?);
    let connect = tower::service_fn(move |_| {
        let (connector, name) = (connector.clone(), name.clone());
        async move {
            let tcp = TcpStream::connect(address).await?;
            Ok::<_, io::Error>(TokioIo::new(connector.connect(name, tcp).await?))
        }
    });
    let endpoint = Endpoint::from_static("http://controller.longshore");
    endpoint.connect_with_connector(connect).await.map_err(io::Error::other)
}
