//! The values of the store: made here, read here, and nowhere else.
//!
//! ```text
//! byte 0      the format of the envelope, now 1
//! bytes 1..5  CRC32C of everything after them, big-endian
//! bytes 5..   JSON
//! ```
//!
//! The words inside the JSON are those of the types that are stored; a field that is added later must be one
//! that serde can do without. The checksum is over the value alone, so that it survives a move to another store.

use bytes::Bytes;
use longshore_common::chain::Chain;
use longshore_common::code::{Code, Coded};
/// The largest value that any store takes.
pub use longshore_common::ledger::VALUE_BYTES_MAX;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Entry, Key};

/// The only envelope there has been.
const FORMAT: u8 = 1;

const HEAD: usize = 5;

/// Why a value could not be made or read. Each names its key.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("`{key}` cannot be written as JSON")]
    Unwritable { key: Key, source: serde_json::Error },
    #[error("`{key}` would take {bytes} bytes, more than the {VALUE_BYTES_MAX} that a value may have")]
    TooLarge { key: Key, bytes: usize },
    #[error("`{key}` is cut short: {bytes} bytes")]
    Short { key: Key, bytes: usize },
    #[error("`{key}` is of format {found}, and this version reads {FORMAT}: a newer version wrote it")]
    Format { key: Key, found: u8 },
    #[error("`{key}` is damaged: its checksum is {found:08x} and should be {stated:08x}")]
    Damaged { key: Key, stated: u32, found: u32 },
    #[error("`{key}` does not hold what this version expects there")]
    Unreadable { key: Key, source: serde_json::Error },
}

impl RecordError {
    /// With its code and, where there is one, the way out.
    pub fn coded(&self) -> Coded {
        let text = Chain(self);
        match self {
            RecordError::Unwritable { .. } | RecordError::TooLarge { .. } => {
                Coded::new(Code::X01, text.to_string())
            }
            RecordError::Format { .. } => Coded::new(Code::S03, format!("{text}; use that version")),
            RecordError::Short { .. } | RecordError::Damaged { .. } | RecordError::Unreadable { .. } => {
                Coded::new(Code::S02, format!("{text}; restore a backup"))
            }
        }
    }
}

/// The value to store under `key`.
pub fn encode<T: Serialize>(key: &Key, record: &T) -> Result<Bytes, RecordError> {
    let mut value = vec![FORMAT, 0, 0, 0, 0];
    serde_json::to_writer(&mut value, record)
        .map_err(|source| RecordError::Unwritable { key: key.clone(), source })?;
    if value.len() > VALUE_BYTES_MAX {
        return Err(RecordError::TooLarge { key: key.clone(), bytes: value.len() });
    }
    let sum = crc32c::crc32c(&value[HEAD..]);
    value[1..HEAD].copy_from_slice(&sum.to_be_bytes());
    Ok(value.into())
}

/// What was stored under `key`.
pub fn decode<T: DeserializeOwned>(key: &Key, value: &[u8]) -> Result<T, RecordError> {
    let key = || key.clone();
    let Some((&[format, a, b, c, d], json)) = value.split_first_chunk::<HEAD>() else {
        return Err(RecordError::Short { key: key(), bytes: value.len() });
    };
    if format != FORMAT {
        return Err(RecordError::Format { key: key(), found: format });
    }
    let (stated, found) = (u32::from_be_bytes([a, b, c, d]), crc32c::crc32c(json));
    if stated != found {
        return Err(RecordError::Damaged { key: key(), stated, found });
    }
    serde_json::from_slice(json).map_err(|source| RecordError::Unreadable { key: key(), source })
}

/// What an entry holds.
pub fn decode_entry<T: DeserializeOwned>(entry: &Entry) -> Result<T, RecordError> {
    decode(&entry.key, &entry.value)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Note {
        text: String,
    }

    fn key() -> Key {
        Key::counter("notes")
    }

    fn note(text: &str) -> Note {
        Note { text: text.to_owned() }
    }

    #[test]
    fn reads_back_what_it_wrote() {
        let value = encode(&key(), &note("tide")).unwrap();
        assert_eq!(decode::<Note>(&key(), &value).unwrap(), note("tide"));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let value = encode(&key(), &note("tide")).unwrap();
        for bit in 0..value.len() * 8 {
            let mut flipped = value.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let error = decode::<Note>(&key(), &flipped).unwrap_err();
            assert!(error.to_string().contains("counters/notes"), "{error}");
        }
    }

    #[test]
    fn every_truncation_is_noticed() {
        let value = encode(&key(), &note("tide")).unwrap();
        for len in 0..value.len() {
            assert!(decode::<Note>(&key(), &value[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn a_large_value_is_refused_before_it_reaches_the_store() {
        let error = encode(&key(), &note(&"x".repeat(VALUE_BYTES_MAX))).unwrap_err();
        assert!(matches!(error, RecordError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn other_content_is_named_by_its_key() {
        let value = encode(&key(), &[1, 2, 3]).unwrap();
        let error = decode::<Note>(&key(), &value).unwrap_err();
        assert_eq!(error.to_string(), "`counters/notes` does not hold what this version expects there");
        assert_eq!(error.coded().code, Code::S02);
    }

    #[test]
    fn a_newer_envelope_is_not_called_damage() {
        let mut value = encode(&key(), &note("tide")).unwrap().to_vec();
        value[0] = FORMAT + 1;
        let error = decode::<Note>(&key(), &value).unwrap_err();
        assert_eq!(error.coded().code, Code::S03);
    }
}
