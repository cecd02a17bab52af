//! Sealed secrets: one ciphertext for each host, kept under the digest of them all. Nobody here can open one.
//!
//! A digest never changes its content, so a snapshot that refers to it brings back the secret of its time. Encrypting
//! again, for a new value or for a host that joined, gives another digest. One that nothing names any more goes
//! (`sweep`).

mod check;
mod keep;
mod sweep;

pub use check::{Shut, check, shut, unopened};
pub use keep::{NewRow, keep, name};
pub use sweep::{UNNAMED_MS, sweep};

use longshore_common::{
    digest::SealedDigest,
    ids::{EnvName, HostId},
    time::Millis,
};
use serde::{Deserialize, Serialize};

use crate::{
    engine::records,
    store::{Key, SharedStore},
    trouble::Trouble,
};

/// Bytes of a secret in plain.
pub const SECRET_BYTES: usize = 8 * 1024;
/// Bytes of one ciphertext: an age file for one recipient adds about 200.
pub const TEXT_BYTES: usize = SECRET_BYTES + 512;
/// Hosts that one secret is sealed for.
pub const ROWS_MAX: usize = 20_000;
/// What is said in the place of an environment of a secret that is for one host alone.
pub const NO_ENV: &str = "none";
/// Bytes of a recipient: age's X25519 ones have 62.
pub const RECIPIENT_BYTES: usize = 128;

/// Under `sealed/<digest>`. Until it is whole the rows do not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// As templates call it; for messages only.
    pub name: String,
    pub env: EnvName,
    /// 0: not all of the rows are there yet.
    pub hosts: u32,
    pub at_ms: Millis,
    pub by: String,
    /// Nothing is known to name its digest; `None`: something does, or nobody has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unnamed: Option<Unnamed>,
}

/// For how long nothing has named a secret, as far as somebody was there to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unnamed {
    pub for_ms: Millis,
    /// When it was looked at last.
    pub seen_ms: Millis,
}

/// Under `sealed-hosts/<digest>/<host>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Whose key opens it.
    pub recipient: String,
    /// An age file, in base64.
    pub text: String,
}

/// Looks like a recipient: the command line, which encrypts, reads it for good.
pub fn is_recipient(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= RECIPIENT_BYTES && text.starts_with("age1") && text.bytes().all(plain)
}

/// The secret under this digest, if all of it is there.
pub async fn whole(store: &SharedStore, digest: &SealedDigest) -> Result<Option<Head>, Trouble> {
    let head = records::get::<Head>(store, &Key::sealed(digest)).await?;
    Ok(head.map(|(head, _)| head).filter(|head| head.hosts > 0))
}

/// What was sealed for one host.
pub async fn row(store: &SharedStore, digest: &SealedDigest, host: &HostId) -> Result<Option<Row>, Trouble> {
    let row = records::get::<Row>(store, &Key::sealed_host(digest, host)).await?;
    Ok(row.map(|(row, _)| row))
}
