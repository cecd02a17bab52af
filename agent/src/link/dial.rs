//! One TLS connection as a gRPC channel, and what can be said when there is none.

use std::{
    error::Error,
    io,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use longshore_common::{
    chain::Chain,
    code::{Code, Coded},
    text::visible,
    time::Millis,
};
use rustls::{AlertDescription, CertificateError, ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};

use super::wrong_clock;

/// Of the TCP connection, and again of the handshake.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// An HTTP/2 ping on a silent connection; unanswered, the connection is dead.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_DEADLINE: Duration = Duration::from_secs(15);
/// How much a stream, and all of them together, may have under way: what a fetch needs to fill a fast network.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 2 << 20;
/// Of one HTTP/2 frame: a whole piece of a block in one, not in sixteen.
const FRAME: u32 = 512 << 10;
/// Calls that may wait for the connection.
const CALLS_WAITING: usize = 16;

/// A channel over exactly one connection: when that ends, so does the channel.
pub async fn dial(address: &str, tls: Arc<ClientConfig>) -> Result<Channel, Coded> {
    dial_from(address, tls).await.map(|(channel, _)| channel)
}

/// The same, and by which of our addresses.
pub(super) async fn dial_from(
    address: &str,
    tls: Arc<ClientConfig>,
) -> Result<(Channel, Option<IpAddr>), Coded> {
    let io = tokio::time::timeout(CONNECT_DEADLINE * 2, handshake(address, tls)).await;
    let io = io.unwrap_or_else(|_| Err(unreachable_at(address, "no answer in time")))?;
    let own = io.get_ref().0.local_addr().ok().map(|own| own.ip());
    let once = Mutex::new(Some(TokioIo::new(io)));
    let connector = tower::service_fn(move |_| {
        let io = once.lock().expect("no holder panics").take();
        async move { io.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)) }
    });
    let uri = format!("http://{address}"); // TLS is below; the scheme is only what HTTP/2 says
    let endpoint = Endpoint::from_shared(uri).map_err(|_| malformed(address))?;
    let channel = endpoint
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_DEADLINE)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .buffer_size(CALLS_WAITING)
        .connect_with_connector(connector)
        .await
        .map_err(|error| unreachable_at(address, &in_few_words(&Chain(&error).to_string())))?;
    Ok((channel, own))
}

async fn handshake(address: &str, tls: Arc<ClientConfig>) -> Result<TlsStream<TcpStream>, Coded> {
    let host = address.rsplit_once(':').map(|(host, _)| host.trim_matches(['[', ']']));
    let name =
        host.and_then(|host| ServerName::try_from(host.to_owned()).ok()).ok_or_else(|| malformed(address))?;
    let tcp =
        TcpStream::connect(address).await.map_err(|error| unreachable_at(address, &error.to_string()))?;
    tcp.set_nodelay(true).map_err(|error| unreachable_at(address, &error.to_string()))?;
    let connected = TlsConnector::from(tls).connect(name, tcp).await;
    connected.map_err(|error| {
        explain(address, &error).unwrap_or_else(|| unreachable_at(address, &error.to_string()))
    })
}

/// `host:port`, with this port where there was another or none.
pub fn with_port(address: &str, port: u16) -> String {
    let bracketed_end = address.rfind(']').unwrap_or(0);
    match address.rfind(':').filter(|colon| *colon >= bracketed_end) {
        Some(colon) => format!("{}:{port}", &address[..colon]),
        None => format!("{address}:{port}"),
    }
}

fn malformed(address: &str) -> Coded {
    let shown = visible(address);
    Coded::new(
        Code::V01,
        format!("\"{shown}\" is not a controller's address: write host:port, like deploy.example:7440"),
    )
}

fn unreachable_at(address: &str, why: &str) -> Coded {
    let message = format!(
        "the controller at {address} cannot be reached: {}. Check the address, and that it is running",
        visible(why)
    );
    Coded::new(Code::C01, message)
}

/// Of what libraries say of a connection that is gone, each repeating the one below it: the last, which is the cause.
pub(super) fn in_few_words(why: &str) -> String {
    let cause = why.split(": ").filter(|part| !part.starts_with("http") && !part.trim().is_empty()).last();
    match cause.unwrap_or_default() {
        part if part.contains("close_notify") || part.contains("reading a body") => {
            "it closed the connection".to_owned()
        }
        part => part.to_owned(),
    }
}

/// What TLS has to say in our own words, if that is what lies below this error.
pub(super) fn explain(address: &str, error: &(dyn Error + 'static)) -> Option<Coded> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(coded) = error.downcast_ref::<Coded>() {
            return Some(coded.clone());
        }
        if let Some(found) = error.downcast_ref::<rustls::Error>().and_then(|tls| of_tls(address, tls)) {
            return Some(found);
        }
        // An io::Error hides what it was made from: its source is that one's source.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}

fn of_tls(address: &str, error: &rustls::Error) -> Option<Coded> {
    match error {
        rustls::Error::Other(other) => explain(address, &*other.0),
        rustls::Error::InvalidCertificate(invalid) => Some(of_certificate(address, invalid)),
        rustls::Error::AlertReceived(AlertDescription::CertificateExpired) => Some(Coded::new(
            Code::E05,
            "the controller says this host's certificate has expired. Check the clocks (timedatectl); if they are \
             right: longshore token create, then on this host: longshore-agent enroll --again",
        )),
        rustls::Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown,
        ) => Some(Coded::new(
            Code::C02,
            format!(
                "the controller at {address} does not accept this host's certificate: enrolled with another one? \
                 longshore token create, then on this host: longshore-agent enroll --again"
            ),
        )),
        _ => None,
    }
}

fn of_certificate(address: &str, invalid: &CertificateError) -> Coded {
    let ms = |time: &rustls::pki_types::UnixTime| (time.as_secs() * 1000) as Millis;
    match invalid {
        CertificateError::NotValidYetContext { time, not_before } => wrong_clock(ms(time) - ms(not_before)),
        CertificateError::ExpiredContext { time, not_after } => wrong_clock(ms(time) - ms(not_after)),
        CertificateError::UnknownIssuer | CertificateError::BadSignature => Coded::new(
            Code::E04,
            format!(
                "the controller at {address} is not of the CA that this host enrolled with: wrong address or interception"
            ),
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Coded::new(
            Code::C01,
            format!(
                "the controller at {address} does not go by that name: add it to `names` in its controller.toml"
            ),
        ),
        other => Coded::new(
            Code::C01,
            format!("the certificate of the controller at {address} is not usable: {other:?}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_replaced_or_added() {
        assert_eq!(with_port("a.example:1", 2), "a.example:2");
        assert_eq!(with_port("a.example", 2), "a.example:2");
        assert_eq!(with_port("[::1]:1", 2), "[::1]:2");
        assert_eq!(with_port("[::1]", 2), "[::1]:2");
    }

    #[test]
    fn why_a_connection_is_gone_is_said_in_a_few_words() {
        for (why, said) in [
            (
                "h2 protocol error: error reading a body from connection: peer closed connection without sending TLS \
                 close_notify: https://docs.rs/rustls/latest/rustls/manual/_03_howto/index.html#unexpected-eof",
                "it closed the connection",
            ),
            (
                "h2 protocol error: error reading a body from connection: error reading a body from connection",
                "it closed the connection",
            ),
            (
                "transport error: tcp connect error: Connection refused (os error 111)",
                "Connection refused (os error 111)",
            ),
            ("connection reset by peer", "connection reset by peer"),
        ] {
            assert_eq!(in_few_words(why), said);
        }
    }

    #[test]
    fn a_wrong_clock_is_named_with_its_size() {
        let time = |secs| rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_secs(secs));
        let tls = rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext {
            time: time(1_000_000),
            not_before: time(1_011_520),
        });
        let error = explain("x:1", &io::Error::other(tls)).unwrap();
        assert_eq!(error.code, Code::E05);
        assert!(error.message.contains("3h12m behind"), "{error}");
    }
}
