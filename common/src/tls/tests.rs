//! Real handshakes over loopback: who believes whom, what is exchanged while it runs, and what ends.

use std::{sync::Arc, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};
use tokio_stream::StreamExt as _;
use tonic::transport::server::Connected as _;

use super::*;
use crate::time::{Clock as _, Millis, SystemClock};

const SOON: Duration = Duration::from_secs(300);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

struct Made {
    chain: String,
    key: String,
    spki: [u8; 32],
}

impl Ca {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn make(&self, san: SanType, usage: ExtendedKeyUsagePurpose, left: Duration) -> Made {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![san];
        params.extended_key_usages = vec![usage];
        let now = time::OffsetDateTime::now_utc();
        (params.not_before, params.not_after) = (now - Duration::from_secs(3600), now + left);
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let spki = sha_of(leaf.der());
        Made { chain: format!("{}{}", leaf.pem(), self.pem), key: key.serialize_pem(), spki }
    }

    fn server(&self) -> Made {
        let here = SanType::IpAddress([127, 0, 0, 1].into());
        self.make(here, ExtendedKeyUsagePurpose::ServerAuth, Duration::from_secs(3600))
    }

    fn client(&self, who: &Identity, left: Duration) -> Made {
        let uri = SanType::URI(who.to_string().try_into().unwrap());
        self.make(uri, ExtendedKeyUsagePurpose::ClientAuth, left)
    }

    fn hash(&self) -> [u8; 32] {
        ca_hash(self.pem.as_bytes()).unwrap()
    }
}

fn sha_of(der: &[u8]) -> [u8; 32] {
    read_leaf(&CertificateDer::from(der.to_vec())).unwrap().key
}

impl Made {
    fn live(&self) -> Arc<LiveIdentity> {
        LiveIdentity::new(self.chain.as_bytes(), self.key.as_bytes()).unwrap()
    }
}

/// Serves every connection by telling who came: `identity key serial-length`, then waits for its end.
async fn served(config: Arc<ServerConfig>, connections: Connections) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut incoming = incoming(listener, TlsAcceptor::from(config), 4, connections);
    tokio::spawn(async move {
        while let Some(Ok(mut stream)) = incoming.next().await {
            tokio::spawn(async move {
                let Peer { identity, key, serial, certificate, address } = stream.connect_info();
                let who = identity.map_or("nobody".to_owned(), |identity| identity.to_string());
                let key = key.map_or("none".to_owned(), |key| crate::digest::hex(&key));
                assert_eq!(certificate.is_some(), key != "none");
                assert!(address.ip().is_loopback());
                // What was read of HTTP/2 already is read again, a few bytes at a time.
                let mut first = vec![0; PREFACE.len()];
                let (head, rest) = first.split_at_mut(7);
                stream.read_exact(head).await.unwrap();
                stream.read_exact(rest).await.unwrap();
                let told = match first == PREFACE {
                    true => format!("{who} {key} {}\n", serial.is_empty()),
                    false => "what is no HTTP/2 was served\n".to_owned(),
                };
                stream.write_all(told.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
                let mut end = [0; 1];
                drop(stream.read(&mut end).await);
                drop(stream.shutdown().await);
            });
        }
    });
    address
}

async fn dial(address: &str, config: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let (name, connector) = (ServerName::try_from("127.0.0.1").unwrap(), TlsConnector::from(config));
    let mut tries = 0;
    loop {
        tries += 1;
        match connector.connect(name.clone(), TcpStream::connect(address).await?).await {
            // Dropped without a word: it has five seconds, for which a busy machine may stand still.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof && tries < 5 => {}
            dialled => return dialled,
        }
    }
}

/// What the server tells of us; TLS 1.3 tells of a refused client with the first thing that is read.
async fn told(address: &str, config: Arc<ClientConfig>) -> std::io::Result<(String, TlsStream<TcpStream>)> {
    let mut stream = dial(address, config).await?;
    stream.write_all(PREFACE).await?;
    let mut line = vec![];
    loop {
        let byte = tokio::time::timeout(SOON, stream.read_u8()).await.expect("it answers in time")?;
        if byte == b'\n' {
            return Ok((String::from_utf8(line).unwrap(), stream));
        }
        line.push(byte);
    }
}

fn host(number: u128) -> Identity {
    Identity::Host(HostId(uuid::Uuid::from_u128(number)))
}

fn trusts(ca: &Ca) -> Arc<LiveServerTrust> {
    LiveServerTrust::new(ca.pem.as_bytes()).unwrap()
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn identities_read_as_they_are_written_and_nothing_else_does() {
    let all = [host(7), Identity::Operator("ann".parse().unwrap()), Identity::Controller];
    let written = all.clone().map(|identity| identity.to_string());
    assert_eq!(
        written,
        [
            "spiffe://longshore/host/00000000-0000-0000-0000-000000000007",
            "spiffe://longshore/operator/ann",
            "spiffe://longshore/controller",
        ]
    );
    assert_eq!(written.map(|text| text.parse::<Identity>().unwrap()), all);
    for other in [
        "",
        "spiffe://longshore/",
        "spiffe://other/controller",
        "spiffe://longshore/controllers",
        "spiffe://longshore/controller/x",
        "spiffe://longshore/root/ann",
        "https://longshore/controller",
    ] {
        let refused = other.parse::<Identity>().unwrap_err();
        assert!(refused.code == Code::C02 && refused.message.contains("nobody here"), "{other}: {refused}");
    }
    assert!("spiffe://longshore/host/x".parse::<Identity>().is_err());
    assert!("spiffe://longshore/operator/A b".parse::<Identity>().is_err());
}

#[tokio::test]
async fn both_sides_are_known_by_their_certificates_to_those_of_one_ca_only() {
    let (ca, other) = (Ca::new(), Ca::new());
    let clients = LiveClientTrust::new(ca.pem.as_bytes()).unwrap();
    let address = served(server_config(ca.server().live(), clients), Connections::default()).await;
    let ours = ca.client(&host(1), HOUR);
    let (line, _) = told(&address, client_config(ours.live(), trusts(&ca))).await.unwrap();
    assert_eq!(line, format!("{} {} false", host(1), crate::digest::hex(&ours.spki)));

    let stranger = other.client(&host(1), HOUR).live();
    told(&address, client_config(stranger, trusts(&ca))).await.expect_err("a client of another CA");
    told(&address, anonymous_client_config(trusts(&ca))).await.expect_err("a client without any");
    let error = told(&address, client_config(ours.live(), trusts(&other))).await.expect_err("another server");
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");
    // A server's certificate is none of a client, nor the other way round.
    let odd = ca.server().live();
    told(&address, client_config(odd, trusts(&ca))).await.expect_err("a server as a client");
    let clients = LiveClientTrust::new(ca.pem.as_bytes()).unwrap();
    let odd = served(server_config(ca.client(&host(2), HOUR).live(), clients), Connections::default()).await;
    told(&odd, client_config(ours.live(), trusts(&ca))).await.expect_err("a client as a server");
}

#[tokio::test]
async fn keys_and_trust_are_exchanged_from_the_next_handshake_on() {
    let (old, new) = (Ca::new(), Ca::new());
    let clients = LiveClientTrust::new(old.pem.as_bytes()).unwrap();
    let server = old.server().live();
    let address = served(server_config(server.clone(), clients.clone()), Connections::default()).await;
    let (own, believed) = (old.client(&host(1), HOUR).live(), trusts(&old));
    let config = client_config(own.clone(), believed.clone());
    told(&address, config.clone()).await.unwrap();

    let next = new.server();
    server.replace(next.chain.as_bytes(), next.key.as_bytes()).unwrap();
    told(&address, config.clone()).await.expect_err("the server is of a CA that is not believed yet");
    believed.replace(new.pem.as_bytes()).unwrap();
    told(&address, config.clone()).await.unwrap();
    clients.replace(new.pem.as_bytes()).unwrap();
    told(&address, config.clone()).await.expect_err("the client is of a CA that is not believed any more");
    let next = new.client(&host(1), HOUR);
    own.replace(next.chain.as_bytes(), next.key.as_bytes()).unwrap();
    told(&address, config.clone()).await.unwrap();

    // What does not fit is refused, and what was there stays.
    let strange = old.client(&host(1), HOUR);
    own.replace(strange.chain.as_bytes(), next.key.as_bytes()).unwrap_err();
    let none = "-----BEGIN NOTHING-----\n";
    own.replace(none.as_bytes(), next.key.as_bytes()).unwrap_err();
    assert_eq!(believed.replace(b"").unwrap_err().to_string(), "the CA file holds no certificate");
    clients.replace(none.as_bytes()).unwrap_err();
    told(&address, config).await.unwrap();
}

/// With two roots in the file, both are believed.
#[tokio::test]
async fn two_cas_at_once() {
    let (old, new) = (Ca::new(), Ca::new());
    let both = format!("{}{}", old.pem, new.pem);
    let clients = LiveClientTrust::new(both.as_bytes()).unwrap();
    let address = served(server_config(new.server().live(), clients), Connections::default()).await;
    let believed = LiveServerTrust::new(both.as_bytes()).unwrap();
    for ca in [&old, &new] {
        told(&address, client_config(ca.client(&host(1), HOUR).live(), believed.clone())).await.unwrap();
    }
    assert_eq!(ca_hash(both.as_bytes()).unwrap(), old.hash(), "a token pins the first");
}

/// The token's word is enough for the one call without a certificate, and nothing else is.
#[tokio::test]
async fn a_pinned_ca_is_the_only_one() {
    let (ca, other) = (Ca::new(), Ca::new());
    let address = served(open_server_config(ca.server().live()), Connections::default()).await;
    let (line, _) = told(&address, pinned_client_config(ca.hash())).await.unwrap();
    assert_eq!(line, "nobody none true");
    let wrong = told(&address, pinned_client_config(other.hash())).await.expect_err("another CA");
    let said = wrong.to_string();
    let [seen, expected] = [&ca, &other].map(|ca| crate::digest::hex(&ca.hash()[..4]));
    assert!(
        said.contains(&format!("the server's CA ({seen}) is not the one in the token ({expected})")),
        "{said}"
    );

    // A chain that shows the CA which is expected, below a certificate that it never signed.
    let impostor = other.server();
    let leaf = impostor.chain.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
    let shown = format!("{leaf}{}", ca.pem);
    let live = LiveIdentity::new(shown.as_bytes(), impostor.key.as_bytes()).unwrap();
    let address = served(open_server_config(live), Connections::default()).await;
    told(&address, pinned_client_config(ca.hash())).await.expect_err("a borrowed CA");
    // Nor is a name enough that another certificate of the same CA bears.
    let strange =
        ca.make(SanType::IpAddress([127, 0, 0, 9].into()), ExtendedKeyUsagePurpose::ServerAuth, HOUR);
    let address = served(open_server_config(strange.live()), Connections::default()).await;
    told(&address, pinned_client_config(ca.hash())).await.expect_err("another name");
    assert!(ca_hash(b"no PEM").is_err());
}

/// A connection is over with its certificate, and when its place is taken away.
#[tokio::test]
async fn a_connection_ends_with_its_certificate_and_with_its_place() {
    let ca = Ca::new();
    let clients = LiveClientTrust::new(ca.pem.as_bytes()).unwrap();
    let connections = Connections::default();
    let address = served(server_config(ca.server().live(), clients), connections.clone()).await;
    let long = ca.client(&host(1), HOUR);
    let (_, mut kept) = told(&address, client_config(long.live(), trusts(&ca))).await.unwrap();
    // A machine may stand still until a certificate is over: then one that is good for longer.
    let mut life = Duration::from_secs(6);
    let (short, mut brief) = loop {
        let short = ca.client(&host(2), life).live();
        match told(&address, client_config(short.clone(), trusts(&ca))).await {
            Ok((_, brief)) => break (short, brief),
            Err(refused) => assert!(life < SOON / 4, "{refused}"),
        }
        life *= 4;
    };
    let mut byte = [0; 1];
    let ended =
        tokio::time::timeout(SOON, brief.read(&mut byte)).await.expect("it ends with its certificate");
    assert!(ended.is_err() || ended.unwrap() == 0);
    let still = tokio::time::timeout(Duration::from_millis(100), kept.read(&mut byte)).await;
    assert!(still.is_err(), "the other goes on");
    // A certificate is good to the end of its last second.
    let config = client_config(short, trusts(&ca));
    let refused = async { while told(&address, config.clone()).await.is_ok() {} };
    tokio::time::timeout(SOON, refused).await.expect("TLS takes no expired certificate");

    assert_eq!((connections.identities(), connections.keys(&host(1))), (vec![host(1)], vec![long.spki]));
    assert_eq!(connections.cut(&host(1), |_| false), 1);
    let ended = tokio::time::timeout(SOON, kept.read(&mut byte)).await.expect("it is cut");
    assert!(ended.is_err() || ended.unwrap() == 0);
}

/// Whoever has enough connections, or speaks something else, is let go without a word.
#[tokio::test]
async fn whoever_has_too_many_or_speaks_no_http_is_closed() {
    let ca = Ca::new();
    let clients = LiveClientTrust::new(ca.pem.as_bytes()).unwrap();
    let address = served(server_config(ca.server().live(), clients), Connections::default()).await;
    let config = client_config(ca.client(&host(1), HOUR).live(), trusts(&ca));
    let mut held = vec![];
    for _ in 0..CONNECTIONS_PER_HOST {
        held.push(told(&address, config.clone()).await.unwrap());
    }
    assert!(told(&address, config.clone()).await.is_err(), "one too many");
    drop(held.pop());
    let again = async {
        while told(&address, config.clone()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, again).await.expect("a place is free again");
    drop(held);

    let other = client_config(ca.client(&host(2), HOUR).live(), trusts(&ca));
    let mut stream = dial(&address, other).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: controller\r\nAccept: */*\r\n\r\n").await.unwrap();
    let mut answer = vec![];
    let ended = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.expect("it is closed");
    assert!(ended.is_err() || answer.is_empty(), "{answer:?}");
}

#[test]
fn a_certificate_says_from_when_to_when_it_is_good() {
    let made = Ca::new().client(&host(1), Duration::from_secs(7200));
    let (from, until) = lifetime(made.chain.as_bytes()).unwrap();
    let now = SystemClock.now_ms();
    let about = |at: Millis, meant: Millis| (at - meant).abs() < 60_000;
    assert!(about(from, now - 3_600_000) && about(until, now + 7_200_000), "{from} {until} {now}");
    assert_eq!(lifetime(b"nothing"), None);
}

#[test]
fn operators_have_more_connections_than_hosts_and_addresses_of_one_network_are_one() {
    let connections = Connections::default();
    let here = "127.0.0.1".parse().unwrap();
    let ann = Identity::Operator("ann".parse().unwrap());
    let held: Vec<_> = (0..CONNECTIONS_PER_OPERATOR)
        .map(|_| connections.enter(Some(&ann), Some([1; 32]), here).unwrap())
        .collect();
    assert!(connections.enter(Some(&ann), Some([1; 32]), here).is_none());
    assert_eq!((held.len(), connections.keys(&ann).len()), (64, 64));
    let of = |text: &str| network(text.parse().unwrap()).to_string();
    assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    assert_eq!((of("::ffff:10.0.0.1"), of("10.0.0.1")), ("10.0.0.1".to_owned(), "10.0.0.1".to_owned()));
}

/// The other side can tell an end from a cut.
#[tokio::test]
async fn a_stream_that_is_closed_says_so() {
    let ca = Ca::new();
    let address = served(open_server_config(ca.server().live()), Connections::default()).await;
    let (_, mut stream) = told(&address, anonymous_client_config(trusts(&ca))).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = vec![];
    let ended = tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await.expect("it ends");
    assert_eq!(ended.unwrap(), 0, "with a word of its own, and not as a connection that is gone");
}
