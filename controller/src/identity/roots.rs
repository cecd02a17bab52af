//! The CA's files, and what happens to them when it is rotated.
//!
//! `ca.pem` holds every root that is believed, the one that signs first; its key lies in a file named after it. So
//! writing `ca.pem` is the one moment at which another root signs, and a crash around it leaves the old state or the
//! new. `ca-cross.pem` is the signing root's key as certified by the root before it: by it, hosts that know only the
//! older one believe a controller whose certificate the newer one signed. The older key is deleted once it has said so.

use std::path::{Path, PathBuf};

use longshore_common::{
    digest::{hex, sha256},
    durable,
    time::Millis,
    tls::ca_hash,
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData as _,
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::authority::{IdentityError, ROOT_LIFETIME, params, read, write};

const CERTIFICATES: &str = "ca.pem";
const CROSS: &str = "ca-cross.pem";
/// Of a CA that was never rotated.
const FIRST_KEY: &str = "ca-key.pem";
/// All roots have it: then the certificate of one by another counts as its own issuer's, not as one step more.
const NAME: &str = "Longshore CA";

/// A root that is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    pub pem: String,
    /// SHA-256 of its public key.
    pub hash: [u8; 32],
    pub expires_ms: Millis,
}

pub(super) struct Roots {
    /// Never empty; the one that signs first.
    pub list: Vec<Root>,
    pub issuer: Issuer<'static, KeyPair>,
    cross: Option<String>,
}

/// How a root is called in short.
pub fn id(hash: &[u8; 32]) -> String {
    hex(&hash[..8])
}

impl Roots {
    /// The certificate is written last: a key without one was never used.
    pub fn create_if_absent(dir: &Path, now: Millis) -> Result<(), IdentityError> {
        if dir.join(CERTIFICATES).exists() {
            return Ok(());
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = root_params(now).self_signed(&key)?;
        write(&dir.join(FIRST_KEY), key.serialize_pem().as_bytes(), 0o600)?;
        write(&dir.join(CERTIFICATES), certificate.pem().as_bytes(), 0o644)
    }

    pub fn load(dir: &Path) -> Result<Self, IdentityError> {
        let list = read_list(&dir.join(CERTIFICATES))?;
        let signs = &list[0];
        let path = key_path(dir, &signs.hash);
        let key = KeyPair::from_pem(&read(&path)?);
        let key = key.map_err(|e| IdentityError::Damaged { path, why: e.to_string() })?;
        if sha256(&key.subject_public_key_info()) != signs.hash {
            return Err(refused(format!("the key in {} is not that of the first root", dir.display())));
        }
        let cross = match list.len() {
            1 => None,
            _ => {
                Some(read(&dir.join(CROSS))?).filter(|pem| hash_of(pem).is_ok_and(|hash| hash == signs.hash))
            }
        };
        let issuer = Issuer::from_ca_cert_pem(&signs.pem, key)?;
        Ok(Self { list, issuer, cross })
    }

    pub fn hash(&self) -> [u8; 32] {
        self.list[0].hash
    }

    pub fn pem(&self) -> String {
        self.list.iter().map(|root| root.pem.as_str()).collect()
    }

    /// What a chain needs beside the signing root; nothing when there is no older one.
    pub fn towards_older(&self) -> String {
        let older = self.list.iter().skip(1).map(|root| root.pem.as_str());
        self.cross.as_deref().into_iter().chain(older).collect()
    }
}

/// Makes a new root sign, and keeps the present one believed. The daemon takes it up by itself. Its hash.
pub fn rotate(dir: &Path, now: Millis) -> Result<[u8; 32], IdentityError> {
    let present = Roots::load(dir)?;
    if present.list.len() > 1 {
        let what = "a rotation is under way already; `longshore status` says who has not renewed yet";
        return Err(refused(what.to_owned()));
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let root = root_params(now).self_signed(&key)?;
    let mut crossing = root_params(now);
    crossing.use_authority_key_identifier_extension = true;
    let cross = crossing.signed_by(&key, &present.issuer)?;
    let hash = sha256(&key.subject_public_key_info());
    let old_key = key_path(dir, &present.hash());
    write(&named_key(dir, &hash), key.serialize_pem().as_bytes(), 0o600)?;
    write(&dir.join(CROSS), cross.pem().as_bytes(), 0o644)?;
    let all = format!("{}{}", root.pem(), present.pem());
    write(&dir.join(CERTIFICATES), all.as_bytes(), 0o644)?;
    remove(&old_key)?;
    Ok(hash)
}

/// Only the root that signs is believed from now on.
pub fn retire(dir: &Path) -> Result<(), IdentityError> {
    let present = Roots::load(dir)?;
    if present.list.len() == 1 {
        return Err(refused("there is one root only, and it stays".to_owned()));
    }
    write(&dir.join(CERTIFICATES), present.list[0].pem.as_bytes(), 0o644)?;
    remove(&dir.join(CROSS))
}

fn root_params(now: Millis) -> CertificateParams {
    let mut params = params(now, ROOT_LIFETIME);
    params.distinguished_name.push(DnType::CommonName, NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn named_key(dir: &Path, hash: &[u8; 32]) -> PathBuf {
    dir.join(format!("ca-key-{}.pem", id(hash)))
}

fn key_path(dir: &Path, hash: &[u8; 32]) -> PathBuf {
    Some(named_key(dir, hash)).filter(|path| path.exists()).unwrap_or_else(|| dir.join(FIRST_KEY))
}

fn read_list(path: &Path) -> Result<Vec<Root>, IdentityError> {
    let text = read(path)?;
    let bad = |why: &str| refused(format!("{} {why}", path.display()));
    let mut list = vec![];
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let certificate = certificate.map_err(|_| bad("does not read as PEM"))?;
        let (_, parsed) =
            X509Certificate::from_der(&certificate).map_err(|_| bad("holds what is no certificate"))?;
        list.push(Root {
            pem: pem_of(&certificate),
            hash: sha256(parsed.public_key().raw),
            expires_ms: parsed.validity().not_after.timestamp() * 1000,
        });
    }
    if list.is_empty() { Err(bad("holds no certificate")) } else { Ok(list) }
}

fn pem_of(certificate: &CertificateDer<'_>) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let text = STANDARD.encode(certificate);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(ascii).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

fn ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("base64 is ASCII")
}

fn hash_of(pem: &str) -> Result<[u8; 32], IdentityError> {
    Ok(ca_hash(pem.as_bytes())?)
}

fn refused(what: String) -> IdentityError {
    IdentityError::Refused { what }
}

fn remove(path: &Path) -> Result<(), IdentityError> {
    durable::remove_durable(path).map_err(|source| IdentityError::Write { path: path.into(), source })
}
