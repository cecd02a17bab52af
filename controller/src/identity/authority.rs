//! The certificate authority: one P-256 key on the controller's disk, and the certificates made with it.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use longshore_common::{
    durable,
    time::Millis,
    tls::{Identity, ca_hash},
};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use time::OffsetDateTime;

/// Of the root. Long, because replacing it means a word with every host.
pub const ROOT_LIFETIME: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Of the controller's own certificate, which it replaces by itself at half of it.
pub const CONTROLLER_LIFETIME: Duration = Duration::from_secs(30 * 86_400);
/// Of a host's certificate: long enough for a long weekend without the controller.
pub const HOST_LIFETIME: Duration = Duration::from_secs(7 * 86_400);
/// Of an operator's certificate. `longshore-controller operator` makes another.
pub const OPERATOR_LIFETIME: Duration = Duration::from_secs(365 * 86_400);
/// Certificates are valid from this long ago, for hosts whose clocks are a little behind.
pub const BACKDATE: Duration = Duration::from_secs(5 * 60);

const CA_CERTIFICATE: &str = "ca.pem";
const CA_KEY: &str = "ca-key.pem";

/// The identity folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("write {}", path.display())]
    Write { path: PathBuf, source: durable::DurableError },
    #[error("read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} exists already; nothing was changed. A new controller, with a CA of its own, needs another folder", path.display())]
    Exists { path: PathBuf },
    #[error("make a key or certificate")]
    Certificate(#[from] rcgen::Error),
    #[error("use a certificate")]
    Tls(#[from] longshore_common::tls::TlsError),
    #[error("\"{name}\" is neither a DNS name nor an IP address")]
    Name { name: String },
}

/// Signs for everybody. Whoever has its key can be anybody, so it never leaves its folder.
pub struct Authority {
    pem: String,
    hash: [u8; 32],
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate just made.
#[derive(Clone, Debug)]
pub struct Issued {
    /// Leaf first, then the CA, by which an enrolling host finds what its token pins.
    pub chain_pem: String,
    pub expires_ms: Millis,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({})", longshore_common::digest::hex(&self.hash[..4]))
    }
}

impl Authority {
    /// The CA in `dir`, or a new one. The certificate is written last: a key without one was never used.
    pub fn load_or_create(dir: &Path, now: Millis) -> Result<Self, IdentityError> {
        let (cert_path, key_path) = (dir.join(CA_CERTIFICATE), dir.join(CA_KEY));
        if cert_path.exists() {
            return Self::load(dir);
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = params(now, ROOT_LIFETIME);
        params.distinguished_name.push(DnType::CommonName, "Longshore CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        write(&key_path, key.serialize_pem().as_bytes(), 0o600)?;
        write(&cert_path, certificate.pem().as_bytes(), 0o644)?;
        Self::load(dir)
    }

    pub fn load(dir: &Path) -> Result<Self, IdentityError> {
        let pem = read(&dir.join(CA_CERTIFICATE))?;
        let key = KeyPair::from_pem(&read(&dir.join(CA_KEY))?)?;
        let issuer = Issuer::from_ca_cert_pem(&pem, key)?;
        Ok(Self { hash: ca_hash(pem.as_bytes())?, issuer, pem })
    }

    /// Every CA that a client should trust.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// What join tokens pin: SHA-256 of the CA's public key.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// For the controller's own key: a server under these names.
    pub fn issue_controller(
        &self,
        key: &impl PublicKeyData,
        names: &[String],
        now: Millis,
    ) -> Result<Issued, IdentityError> {
        let mut params = params(now, CONTROLLER_LIFETIME);
        for name in names {
            params.subject_alt_names.push(server_name(name)?);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(params, &Identity::Controller, key)
    }

    /// For the key of a host or an operator: a client with that identity and nothing else.
    pub fn issue_client(
        &self,
        who: &Identity,
        key: &impl PublicKeyData,
        lifetime: Duration,
        now: Millis,
    ) -> Result<Issued, IdentityError> {
        let mut params = params(now, lifetime);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params, who, key)
    }

    fn issue(
        &self,
        mut params: CertificateParams,
        who: &Identity,
        key: &impl PublicKeyData,
    ) -> Result<Issued, IdentityError> {
        let uri = who.to_string().try_into()?;
        params.subject_alt_names.push(SanType::URI(uri));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let expires_ms = params.not_after.unix_timestamp() * 1000;
        let leaf = params.signed_by(key, &self.issuer)?;
        Ok(Issued { chain_pem: format!("{}{}", leaf.pem(), self.pem), expires_ms })
    }
}

/// Valid from a little before `now`, with a random serial and an empty subject.
fn params(now: Millis, lifetime: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = moment(now) - BACKDATE;
    params.not_after = moment(now) + lifetime;
    let mut serial: [u8; 16] = rand::random();
    serial[0] &= 0x7f; // a positive number, as RFC 5280 wants it
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params
}

fn moment(ms: Millis) -> OffsetDateTime {
    // Certificates know whole seconds. Clocks that do not fit are those of year 10000.
    OffsetDateTime::from_unix_timestamp(ms.div_euclid(1000)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn server_name(name: &str) -> Result<SanType, IdentityError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let sound = !name.is_empty()
        && name.len() <= 253
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
    let bad = || IdentityError::Name { name: longshore_common::text::visible(name) };
    if !sound {
        return Err(bad());
    }
    Ok(SanType::DnsName(name.to_owned().try_into().map_err(|_| bad())?))
}

/// Whether a controller can be known by this name.
pub fn check_server_name(name: &str) -> Result<(), IdentityError> {
    server_name(name).map(|_| ())
}

pub(super) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), IdentityError> {
    durable::write_atomic(path, bytes, mode)
        .map_err(|source| IdentityError::Write { path: path.into(), source })
}

fn read(path: &Path) -> Result<String, IdentityError> {
    std::fs::read_to_string(path).map_err(|source| IdentityError::Read { path: path.into(), source })
}
