//! The bytes of one entry in the database.
//!
//! ```text
//! bytes 0..8   the revision that wrote it, big-endian
//! bytes 8..12  CRC32C of key, revision and value, big-endian
//! bytes 12..   the value
//! ```

use bytes::Bytes;

use super::error::Fault;
use super::{Revision, Stored};

const HEAD: usize = 12;

/// Entries lie under this, so that the ledger's own words can lie beside them.
const KEY_MARK: u8 = b'k';

pub(super) fn db_key(key: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + key.len());
    bytes.push(KEY_MARK);
    bytes.extend_from_slice(key.as_bytes());
    bytes
}

/// The key of an entry, from the database's.
pub(super) fn key_of(db_key: &[u8]) -> Result<String, Fault> {
    let text = db_key.strip_prefix(&[KEY_MARK]).map(<[u8]>::to_vec).map(String::from_utf8);
    match text {
        Some(Ok(key)) => Ok(key),
        Some(Err(_)) | None => {
            Err(Fault::Entry { key: db_key.escape_ascii().to_string(), what: "is no key of ours" })
        }
    }
}

pub(super) fn encode(key: &str, value: &[u8], revision: Revision) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + value.len());
    bytes.extend_from_slice(&revision.0.to_be_bytes());
    bytes.extend_from_slice(&sum(key, revision, value).to_be_bytes());
    bytes.extend_from_slice(value);
    bytes
}

pub(super) fn decode(key: &str, bytes: &[u8]) -> Result<Stored, Fault> {
    let fault = |what| Fault::Entry { key: key.to_owned(), what };
    let Some((revision, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(fault("is cut short"));
    };
    let Some((stated, value)) = rest.split_first_chunk::<4>() else {
        return Err(fault("is cut short"));
    };
    let revision = Revision(u64::from_be_bytes(*revision));
    if u32::from_be_bytes(*stated) != sum(key, revision, value) {
        return Err(fault("does not match its checksum"));
    }
    Ok(Stored { value: Bytes::copy_from_slice(value), revision })
}

fn sum(key: &str, revision: Revision, value: &[u8]) -> u32 {
    let sum = crc32c::crc32c(key.as_bytes());
    let sum = crc32c::crc32c_append(sum, &revision.0.to_be_bytes());
    crc32c::crc32c_append(sum, value)
}
