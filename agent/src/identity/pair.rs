//! A certificate with its key, read and checked.

use std::sync::Arc;

use longshore_common::{
    chain::Chain,
    code::{Code, Coded},
    digest::{hex, sha256},
    ids::HostId,
    time::Millis,
    tls::{Identity, LiveIdentity, LiveServerTrust},
};
use rand::RngExt as _;
use rcgen::KeyPair;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::fault;

/// What this host shows, and what it trusts.
#[derive(Clone)]
pub struct Pair {
    pub host: HostId,
    /// As the controller knows it.
    pub name: String,
    pub validity: Validity,
    chain: Vec<u8>,
    key: Vec<u8>,
    authority: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before_ms: Millis,
    pub not_after_ms: Millis,
}

/// Part of its lifetime after which a certificate is renewed at the latest.
const LATEST: f64 = 0.6;

impl Validity {
    /// Half of the lifetime, a tenth of it more or less by chance, so that a fleet does not renew at once.
    pub fn renew_at(&self) -> Millis {
        let lifetime = (self.not_after_ms - self.not_before_ms).max(0) as f64;
        self.not_before_ms + (lifetime * rand::rng().random_range(0.4..=LATEST)) as Millis
    }

    /// The last moment at which [`Validity::renew_at`] may be.
    pub fn renew_by(&self) -> Millis {
        let lifetime = (self.not_after_ms - self.not_before_ms).max(0) as f64;
        self.not_before_ms + (lifetime * LATEST) as Millis
    }
}

impl Pair {
    pub(super) fn new(
        chain: Vec<u8>,
        key: Vec<u8>,
        authority: Vec<u8>,
        name: String,
    ) -> Result<Self, String> {
        LiveIdentity::new(&chain, &key).map_err(|e| Chain(&e).to_string())?;
        LiveServerTrust::new(&authority).map_err(|e| Chain(&e).to_string())?;
        let (host, validity) = with_leaf(&chain, |leaf| {
            let identity = uri(leaf).and_then(|uri| uri.parse::<Identity>().ok());
            let Some(Identity::Host(host)) = identity else {
                return Err("the certificate names no host".to_owned());
            };
            let ms = |time: x509_parser::time::ASN1Time| time.timestamp() * 1000;
            let validity = leaf.validity();
            Ok((
                host,
                Validity { not_before_ms: ms(validity.not_before), not_after_ms: ms(validity.not_after) },
            ))
        })??;
        Ok(Self { host, name, validity, chain, key, authority })
    }

    pub fn live(&self) -> (Arc<LiveIdentity>, Arc<LiveServerTrust>) {
        let identity = LiveIdentity::new(&self.chain, &self.key).expect("checked when it was made");
        let trust = LiveServerTrust::new(&self.authority).expect("checked when it was made");
        (identity, trust)
    }

    /// SHA-256 of the public key, in hex: what tells people which machine this is.
    pub fn fingerprint(&self) -> String {
        self.public_key().map(|key| hex(&sha256(&key))).unwrap_or_default()
    }

    pub(super) fn key(&self) -> Result<KeyPair, Coded> {
        KeyPair::from_pem(&String::from_utf8_lossy(&self.key)).map_err(|e| fault("use the key", &e))
    }

    /// SubjectPublicKeyInfo, DER.
    pub(super) fn public_key(&self) -> Result<Vec<u8>, Coded> {
        with_leaf(&self.chain, |leaf| leaf.public_key().raw.to_vec())
            .map_err(|what| Coded::new(Code::S02, what))
    }

    /// From the next handshake on.
    pub fn take_over(&self, identity: &LiveIdentity, trust: &LiveServerTrust) {
        identity.replace(&self.chain, &self.key).expect("checked when it was made");
        trust.replace(&self.authority).expect("checked when it was made");
    }
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pair({}, {})", self.host, self.name)
    }
}

/// The file in which the key of this certificate lies.
pub(super) fn key_file(chain: &[u8]) -> Result<String, String> {
    with_leaf(chain, |leaf| format!("key-{}.pem", hex(&sha256(leaf.public_key().raw)[..8])))
}

fn with_leaf<T>(chain: &[u8], read: impl FnOnce(&X509Certificate<'_>) -> T) -> Result<T, String> {
    let leaf = CertificateDer::from_pem_slice(chain)
        .map_err(|e| format!("the certificate's PEM does not read: {e}"))?;
    let (_, leaf) =
        X509Certificate::from_der(&leaf).map_err(|e| format!("the certificate does not parse: {e}"))?;
    Ok(read(&leaf))
}

fn uri(leaf: &X509Certificate<'_>) -> Option<String> {
    let names = leaf.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    })
}
