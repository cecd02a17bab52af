//! The certificate authority: one P-256 key on the controller's disk, and the certificates made with it. Its files
//! are in `roots`.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use longshore_common::{code::Code, durable, time::Millis, tls::Identity};
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, KeyUsagePurpose, PublicKeyData, SanType,
    SerialNumber,
};
use time::OffsetDateTime;

use super::roots::{self, Root, Roots};
use crate::{access::OperatorKey, fleet::BoundKey};

/// Of the root. Long, because replacing it means a word with every host.
pub const ROOT_LIFETIME: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Of the controller's own certificate, which it replaces by itself at half of it.
pub const CONTROLLER_LIFETIME: Duration = Duration::from_secs(30 * 86_400);
/// Of a host's certificate: long enough for a long weekend without the controller.
pub const HOST_LIFETIME: Duration = Duration::from_secs(7 * 86_400);
/// Certificates are valid from this long ago, for hosts whose clocks are a little behind.
pub const BACKDATE: Duration = Duration::from_secs(5 * 60);

/// The identity folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("write {}", path.display())]
    Write { path: PathBuf, source: durable::DurableError },
    #[error("read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} exists already; nothing was changed. A new controller, with a CA of its own, needs another folder", path.display())]
    Exists { path: PathBuf },
    #[error(
        "{} `{}` is damaged ({why}). Put it back from a copy of this folder: hosts and operators believe no other",
        Code::S02, path.display()
    )]
    Damaged { path: PathBuf, why: String },
    #[error("make a key or certificate")]
    Certificate(#[from] rcgen::Error),
    #[error("use a certificate")]
    Tls(#[from] longshore_common::tls::TlsError),
    #[error("{what}; nothing was changed")]
    Refused { what: String },
    #[error("\"{name}\" is neither a DNS name nor an IP address")]
    Name { name: String },
}

/// Signs for everybody. Whoever has its key can be anybody, so it never leaves its folder. While it is being rotated
/// it believes the roots before the present one as well.
pub struct Authority {
    dir: PathBuf,
    now: ArcSwap<Roots>,
}

/// A certificate just made.
#[derive(Clone, Debug)]
pub struct Issued {
    /// Leaf first, then the CA, by which an enrolling host finds what its token pins.
    pub chain_pem: String,
    pub expires_ms: Millis,
    /// The root that signed it: `Authority::id`.
    pub ca: String,
}

impl Issued {
    /// As a host's record knows it.
    pub fn bind(&self, spki: [u8; 32]) -> BoundKey {
        BoundKey { spki, expires_ms: self.expires_ms, ca: self.ca.clone() }
    }

    /// As an operator's record knows it.
    pub fn bind_operator(&self, key: [u8; 32]) -> OperatorKey {
        OperatorKey { key, expires_ms: self.expires_ms, ca: self.ca.clone(), replaces: String::new() }
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({})", self.id())
    }
}

impl Authority {
    /// The CA in `dir`, or a new one.
    pub fn load_or_create(dir: &Path, now: Millis) -> Result<Self, IdentityError> {
        Roots::create_if_absent(dir, now)?;
        Self::load(dir)
    }

    pub fn load(dir: &Path) -> Result<Self, IdentityError> {
        Ok(Self { dir: dir.into(), now: ArcSwap::from_pointee(Roots::load(dir)?) })
    }

    /// Reads the folder again. Whether another root signs now, or others are believed. What does not read changes
    /// nothing.
    pub fn reload(&self) -> Result<bool, IdentityError> {
        let (read, known) = (Roots::load(&self.dir)?, self.now.load());
        let news = read.pem() != known.pem();
        if news {
            self.now.store(Arc::new(read));
        }
        Ok(news)
    }

    /// The roots that the folder says are believed, in short, the one that signs first; whether or not they count
    /// here yet.
    pub fn on_disk(&self) -> Result<Vec<String>, IdentityError> {
        Ok(Roots::load(&self.dir)?.list.iter().map(|root| roots::id(&root.hash)).collect())
    }

    /// Forgets every root but the one that signs.
    pub fn retire(&self) -> Result<(), IdentityError> {
        roots::retire(&self.dir)?;
        self.reload().map(drop)
    }

    /// Every CA that a client should trust, the one that signs first.
    pub fn pem(&self) -> String {
        self.now.load().pem()
    }

    /// What join tokens pin: SHA-256 of the CA's public key.
    pub fn hash(&self) -> [u8; 32] {
        self.now.load().hash()
    }

    /// The root that signs, in short: the beginning of its hash in hex.
    pub fn id(&self) -> String {
        roots::id(&self.hash())
    }

    /// Whether a token that pins this is one of ours.
    pub fn knows(&self, hash: &[u8; 32]) -> bool {
        self.now.load().list.iter().any(|root| root.hash == *hash)
    }

    /// Whether certificates of this root, in short, open anything. Records from before roots were told apart name none:
    /// of those, the handshake decides.
    pub fn believes(&self, ca: &str) -> bool {
        ca.is_empty() || self.now.load().list.iter().any(|root| roots::id(&root.hash) == ca)
    }

    /// A new root signs, and there are hosts and operators who do not know it yet.
    pub fn is_rotating(&self) -> bool {
        self.now.load().list.len() > 1
    }

    /// All that are believed, the one that signs first.
    pub fn roots(&self) -> Vec<Root> {
        self.now.load().list.clone()
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
        let roots = self.now.load();
        let mut issued = issue(&roots, params, &Identity::Controller, key)?;
        // Whoever knows only an older root gets from the leaf to it over what that root said of the present one.
        issued.chain_pem.push_str(&roots.towards_older());
        Ok(issued)
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
        issue(&self.now.load(), params, who, key)
    }
}

fn issue(
    roots: &Roots,
    mut params: CertificateParams,
    who: &Identity,
    key: &impl PublicKeyData,
) -> Result<Issued, IdentityError> {
    let uri = who.to_string().try_into()?;
    params.subject_alt_names.push(SanType::URI(uri));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let expires_ms = params.not_after.unix_timestamp() * 1000;
    let leaf = params.signed_by(key, &roots.issuer)?;
    let chain_pem = format!("{}{}", leaf.pem(), roots.list[0].pem);
    Ok(Issued { chain_pem, expires_ms, ca: roots::id(&roots.hash()) })
}

/// Valid from a little before `now`, with a random serial and an empty subject.
pub(super) fn params(now: Millis, lifetime: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = moment(now) - BACKDATE;
    params.not_after = moment(now) + lifetime;
    let serial: [u8; 16] = rand::random();
    // It is written as a positive number, as RFC 5280 wants it, whatever its first bit.
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

pub(super) fn read(path: &Path) -> Result<String, IdentityError> {
    std::fs::read_to_string(path).map_err(|source| IdentityError::Read { path: path.into(), source })
}
