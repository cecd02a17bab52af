//! An entry, and how it hangs on the one before.

use longshore_common::{digest::sha256, time::Millis};
use serde::{Deserialize, Serialize};

use crate::fleet::host::hex32;

/// What the first entry names as its predecessor.
pub const GENESIS: [u8; 32] = [0; 32];
/// Bytes of any text in an entry; longer ones are cut.
pub(super) const TEXT_BYTES: usize = 512;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum What {
    /// A call was let through.
    Allowed { actor: String, key: String, method: String, target: String },
    /// A call was refused at the door.
    Denied { actor: String, key: String, method: String, target: String, code: String, why: String },
    /// How a call that was let through ended. No code: it was done.
    Ended {
        of: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
    /// Something that no call of an operator is: an enrolment, a revoked key, a start of the controller.
    Event { actor: String, event: String, target: String },
    /// Entries before this number were taken away, to keep the log within its bounds.
    Pruned { before: u64 },
    /// So many refusals were not written one by one: there were too many in a minute.
    Suppressed { refusals: u64 },
}

/// A line of the log, without its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chained {
    /// From 0, without a gap.
    pub i: u64,
    pub at_ms: Millis,
    /// SHA-256 of the line before, without its newline.
    #[serde(with = "hex32")]
    pub prev: [u8; 32],
    #[serde(flatten)]
    pub what: What,
}

impl Chained {
    /// One line of JSON, no newline.
    pub fn line(&self) -> String {
        serde_json::to_string(self).expect("text and numbers are JSON")
    }

    pub fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }
}

impl What {
    /// Who did it, as far as an entry says.
    pub fn actor(&self) -> &str {
        match self {
            What::Allowed { actor, .. } | What::Denied { actor, .. } | What::Event { actor, .. } => actor,
            What::Ended { .. } | What::Pruned { .. } | What::Suppressed { .. } => "",
        }
    }
}

/// What the next line names.
pub fn line_hash(line: &str) -> [u8; 32] {
    sha256(line.as_bytes())
}
