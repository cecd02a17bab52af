//! What a host signs with the key of its expired certificate to get another one.

use std::time::Duration;

use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo};

use crate::{digest::sha256, ids::HostId};

/// After that much time without a certificate a host is another one: it enrols anew.
pub const RECOVERY_MAX: Duration = Duration::from_secs(90 * 86_400);
/// Bytes of a nonce.
pub const NONCE: usize = 32;

/// One attempt at recovery, in the bytes that are signed. It is good for one nonce, host, count and new key only.
pub fn words(nonce: &[u8; NONCE], host: &HostId, count: u32, csr_der: &[u8]) -> Vec<u8> {
    let mut words = b"longshore recover 1\n".to_vec();
    words.extend_from_slice(nonce);
    words.extend_from_slice(host.0.as_bytes());
    words.extend_from_slice(&count.to_be_bytes());
    words.extend_from_slice(&sha256(csr_der));
    words
}

/// Whether the holder of this key (a SubjectPublicKeyInfo of ECDSA P-256, DER) signed these words.
pub fn is_signed(words: &[u8], signature: &[u8], spki_der: &[u8]) -> bool {
    let Ok((rest, spki)) = SubjectPublicKeyInfo::from_der(spki_der) else { return false };
    let point = &spki.subject_public_key.data;
    rest.is_empty() && UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(words, signature).is_ok()
}
