//! TLS 1.3 with certificates on both sides, and with keys and trust that are replaced while running.
//!
//! rustls asks a resolver for the key and a verifier for the trust on every handshake; ours read them from an
//! `ArcSwap`, so a renewal drops no connection. `serve` accepts, `pin` is for the one call without a certificate.

mod connections;
mod identity;
mod pin;
mod serve;
#[cfg(test)]
mod tests;
mod trust;

pub use connections::{CONNECTIONS_PER_HOST, CONNECTIONS_PER_OPERATOR, Connections, network};
pub use identity::LiveIdentity;
pub use pin::{ca_hash, pinned_client_config};
pub use serve::{ACCEPT_QUEUE, Peer, PeerStream, incoming};
pub use trust::{LiveClientTrust, LiveServerTrust};

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore, ServerConfig, crypto::CryptoProvider, pki_types::CertificateDer,
    pki_types::pem::PemObject,
};

use crate::{
    code::{Code, Coded},
    ids::{HostId, OperatorName},
};

/// Names what the two sides of a connection are. In certificates as the only URI SAN.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    Host(HostId),
    Operator(OperatorName),
    Controller,
}

const DOMAIN: &str = "spiffe://longshore/";

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Identity::Host(id) => write!(f, "{DOMAIN}host/{id}"),
            Identity::Operator(name) => write!(f, "{DOMAIN}operator/{name}"),
            Identity::Controller => write!(f, "{DOMAIN}controller"),
        }
    }
}

impl std::str::FromStr for Identity {
    type Err = Coded;
    fn from_str(text: &str) -> Result<Self, Coded> {
        let unknown = || {
            Coded::new(
                Code::C02,
                format!("certificate names \"{}\", which is nobody here", crate::text::visible(text)),
            )
        };
        let path = text.strip_prefix(DOMAIN).ok_or_else(unknown)?;
        match path.split_once('/') {
            Some(("host", id)) => Ok(Identity::Host(id.parse()?)),
            Some(("operator", name)) => Ok(Identity::Operator(name.parse()?)),
            None if path == "controller" => Ok(Identity::Controller),
            _ => Err(unknown()),
        }
    }
}

/// What every configuration here uses; no process-wide default is installed.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Serves with `identity`; asks every client for a certificate that `clients` accepts.
pub fn server_config(identity: Arc<LiveIdentity>, clients: Arc<LiveClientTrust>) -> Arc<ServerConfig> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has TLS 1.3 suites")
        .with_client_cert_verifier(clients)
        .with_cert_resolver(identity);
    Arc::new(without_resumption(config))
}

/// Serves with `identity` to anybody: for enrolment only.
pub fn open_server_config(identity: Arc<LiveIdentity>) -> Arc<ServerConfig> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has TLS 1.3 suites")
        .with_no_client_auth()
        .with_cert_resolver(identity);
    Arc::new(without_resumption(config))
}

/// A resumed session skips the client's certificate, so a removed host could come back on an old ticket. Agents
/// connect rarely and full handshakes cost little: no tickets, no cache.
fn without_resumption(mut config: ServerConfig) -> ServerConfig {
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config
}

/// Connects as `identity` to servers that `servers` accepts.
pub fn client_config(identity: Arc<LiveIdentity>, servers: Arc<LiveServerTrust>) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has TLS 1.3 suites")
        .dangerous() // only in name: the verifier is webpki's, over roots that can be swapped
        .with_custom_certificate_verifier(servers)
        .with_client_cert_resolver(identity);
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

/// Connects without a certificate to servers that `servers` accepts: for a host whose own has expired.
pub fn anonymous_client_config(servers: Arc<LiveServerTrust>) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has TLS 1.3 suites")
        .dangerous() // only in name: the verifier is webpki's, over roots that can be swapped
        .with_custom_certificate_verifier(servers)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

/// A damaged or unusable certificate, key or CA.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct TlsError {
    what: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl TlsError {
    fn new(what: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { what: what.into(), source: Some(source.into()) }
    }
    fn plain(what: impl Into<String>) -> Self {
        Self { what: what.into(), source: None }
    }
}

fn roots(ca_pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(ca_pem) {
        let cert = cert.map_err(|e| TlsError::new("read the CA's PEM", e))?;
        store.add(cert).map_err(|e| TlsError::new("use the CA's certificate", e))?;
    }
    if store.is_empty() {
        return Err(TlsError::plain("the CA file holds no certificate"));
    }
    Ok(store)
}

/// From when to when the first certificate of a PEM file is good. None: it holds none.
pub fn lifetime(pem: &[u8]) -> Option<(crate::time::Millis, crate::time::Millis)> {
    use x509_parser::prelude::{FromDer as _, X509Certificate};
    let leaf = CertificateDer::pem_slice_iter(pem).next()?.ok()?;
    let (_, cert) = X509Certificate::from_der(&leaf).ok()?;
    let validity = cert.validity();
    Some((validity.not_before.timestamp() * 1000, validity.not_after.timestamp() * 1000))
}

/// Of a certificate that rustls has already verified.
struct Leaf {
    identity: Option<Identity>,
    serial: Vec<u8>,
    /// SHA-256 of its SubjectPublicKeyInfo.
    key: [u8; 32],
    expires_ms: crate::time::Millis,
}

fn read_leaf(leaf: &CertificateDer<'_>) -> Option<Leaf> {
    use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
    let (_, cert) = X509Certificate::from_der(leaf).ok()?;
    let san = cert.subject_alternative_name().ok()?;
    let uri = san.and_then(|san| {
        san.value.general_names.iter().find_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
    });
    Some(Leaf {
        identity: uri.and_then(|uri| uri.parse().ok()),
        serial: cert.raw_serial().to_vec(),
        key: crate::digest::sha256(cert.public_key().raw),
        expires_ms: cert.validity().not_after.timestamp() * 1000,
    })
}
