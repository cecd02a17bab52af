//! What may run: metadata in the manner of TUF, signed by keys that the controller does not hold.
//!
//! Every app has a small repository of its own, of four documents: *root* names the keys and is signed by the
//! organisation's keys; *targets* lists the releases and is signed by the app's release keys; *snapshot* and
//! *timestamp* say what is current and are signed by the controller, which can thereby hold a list back but not make
//! one. The repository `fleet` says who the organisation is. There are no delegations, so nothing of one app can
//! block or sign another.
//!
//! Verification itself is `tough`'s. Around it: what it does not check (`strict`), and a state on disk that a power
//! cut cannot tear and that fails closed (`state`). Everything here takes bytes and gives a verdict: it blocks, it
//! opens no connection, and it can move into a process that has no network as it is.
//!
//! [`author`] makes the documents, for the operator's command line and, of the last two, for the controller.

pub mod author;
mod catalog;
mod key;
mod offer;
mod state;
mod strict;
#[cfg(test)]
mod tests;
mod tuf;
mod update;

pub use catalog::{Catalog, Listed, target_name};
pub use key::{PublicKey, SigningKey};
pub use offer::Offer;
pub use state::{Held, TrustState};
pub use strict::{RootView, read_root};
pub use update::{Anchor, Expired, update, update_even_if_expired, update_even_if_stale};

use crate::{code::Coded, time::Millis};

/// The repository that says who the organisation is. No app may bear the name.
pub const FLEET: &str = "fleet";

/// Bytes of one root document.
pub const ROOT_BYTES: usize = 256 * 1024;
/// Roots that one update may go through.
pub const ROOT_HOPS: usize = 64;
pub const TIMESTAMP_BYTES: usize = 16 * 1024;
pub const SNAPSHOT_BYTES: usize = 256 * 1024;
/// Of `targets`: some 3,000 releases. Below the limit of a message, so that a set travels in one.
pub const TARGETS_BYTES: usize = 768 * 1024;
/// All that one update may bring, so that it fits a message.
pub const OFFER_BYTES: usize = 960 * 1024;
/// How far a clock may go back before nothing is believed any more.
pub const CLOCK_BACK_MS: Millis = 5 * 60 * 1000;

pub const DAY_MS: Millis = 86_400_000;
/// How long the documents hold from when they are signed.
pub const ROOT_LIFE_MS: Millis = 730 * DAY_MS;
pub const TARGETS_LIFE_MS: Millis = 180 * DAY_MS;
pub const FRESH_LIFE_MS: Millis = 7 * DAY_MS;
/// So long before a root or a list runs out it is said that it will: soon, by now, and before anything else.
pub const SOON_MS: Millis = 30 * DAY_MS;
pub const DUE_MS: Millis = 14 * DAY_MS;
pub const URGENT_MS: Millis = 7 * DAY_MS;
/// What a host verified longer ago than this is warned of: somebody may hold updates back.
pub const OLD_MS: Millis = DAY_MS;

/// The four documents' kinds, from the one that is trusted most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Root,
    Targets,
    Snapshot,
    Timestamp,
}

impl Part {
    pub const ALL: [Part; 4] = [Part::Root, Part::Targets, Part::Snapshot, Part::Timestamp];

    pub fn as_str(self) -> &'static str {
        match self {
            Part::Root => "root",
            Part::Targets => "targets",
            Part::Snapshot => "snapshot",
            Part::Timestamp => "timestamp",
        }
    }

    /// Operators sign it, not the controller.
    pub fn is_lasting(self) -> bool {
        matches!(self, Part::Root | Part::Targets)
    }

    /// Who can renew it.
    pub fn who(self, app: &str) -> String {
        match self {
            Part::Root | Part::Targets if app == FLEET => "whoever has the organisation's key".to_owned(),
            Part::Root => "whoever has the organisation's key".to_owned(),
            Part::Targets => format!("whoever has the organisation's key and a release key of {app}"),
            Part::Snapshot | Part::Timestamp => {
                "whoever may publish; the controller does it by itself every hour".to_owned()
            }
        }
    }

    /// What brings a new one.
    pub fn remedy(self, app: &str) -> String {
        match self {
            Part::Root | Part::Targets => format!("longshore trust rotate {app}"),
            Part::Snapshot | Part::Timestamp => "longshore trust refresh".to_owned(),
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

type Result<T> = std::result::Result<T, Coded>;

/// A length of time in one unit, for a sentence.
pub fn roughly(ms: Millis) -> String {
    match ms {
        ms if ms >= 2 * DAY_MS => format!("{} d", ms / DAY_MS),
        ms if ms >= 7_200_000 => format!("{} h", ms / 3_600_000),
        ms if ms >= 120_000 => format!("{} min", ms / 60_000),
        ms => format!("{} s", ms / 1000),
    }
}
