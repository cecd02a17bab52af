//! A set of documents as somebody offers it: bytes, bounded, and nothing believed.

use std::collections::BTreeMap;

use longshore_proto::v1 as pb;

use super::{
    OFFER_BYTES, Part, ROOT_BYTES, ROOT_HOPS, Result, SNAPSHOT_BYTES, TARGETS_BYTES, TIMESTAMP_BYTES,
};
use crate::code::{Code, Coded};

/// One repository's documents. Roots may be any run of versions; those already held need not be there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    pub roots: Vec<Vec<u8>>,
    pub timestamp: Vec<u8>,
    pub snapshot: Vec<u8>,
    pub targets: Vec<u8>,
}

impl From<pb::TrustDocuments> for Offer {
    fn from(documents: pb::TrustDocuments) -> Self {
        let pb::TrustDocuments { roots, timestamp, snapshot, targets } = documents;
        Self {
            roots: roots.into_iter().map(Into::into).collect(),
            timestamp: timestamp.into(),
            snapshot: snapshot.into(),
            targets: targets.into(),
        }
    }
}

impl From<Offer> for pb::TrustDocuments {
    fn from(offer: Offer) -> Self {
        let Offer { roots, timestamp, snapshot, targets } = offer;
        Self {
            roots: roots.into_iter().map(Into::into).collect(),
            timestamp: timestamp.into(),
            snapshot: snapshot.into(),
            targets: targets.into(),
        }
    }
}

impl Offer {
    /// Refuses what is too large before anything of it is parsed.
    pub(super) fn bounded(&self, app: &str) -> Result<()> {
        let too_large = |part: Part, bytes: usize, most: usize| {
            let message = format!(
                "{app}: {part}.json has {bytes} bytes, at most {most} are allowed; nothing was believed"
            );
            Err(Coded::new(Code::T02, message))
        };
        if self.roots.len() > ROOT_HOPS {
            let message = format!("{app}: {} roots at once, at most {ROOT_HOPS}", self.roots.len());
            return Err(Coded::new(Code::T02, message));
        }
        let parts = [
            (Part::Timestamp, &self.timestamp, TIMESTAMP_BYTES),
            (Part::Snapshot, &self.snapshot, SNAPSHOT_BYTES),
            (Part::Targets, &self.targets, TARGETS_BYTES),
        ];
        let roots = self.roots.iter().map(|root| (Part::Root, root, ROOT_BYTES));
        let mut total = 0;
        for (part, bytes, most) in parts.into_iter().chain(roots) {
            if bytes.len() > most {
                return too_large(part, bytes.len(), most);
            }
            total += bytes.len();
        }
        if total > OFFER_BYTES {
            return Err(Coded::new(
                Code::T02,
                format!("{app}: {total} bytes of metadata, at most {OFFER_BYTES}"),
            ));
        }
        Ok(())
    }

    /// The documents under the names by which TUF's clients ask for them. Asking is all that is done with versions
    /// here: whether they are true is checked where they are read.
    pub(super) fn by_name(&self) -> BTreeMap<String, Vec<u8>> {
        let mut named = BTreeMap::new();
        for root in &self.roots {
            named.insert(format!("{}.root.json", claimed_version(root)), root.clone());
        }
        named.insert("timestamp.json".to_owned(), self.timestamp.clone());
        named.insert(format!("{}.snapshot.json", claimed_version(&self.snapshot)), self.snapshot.clone());
        named.insert(format!("{}.targets.json", claimed_version(&self.targets)), self.targets.clone());
        named
    }
}

/// The version that a document says it has; 0 when it says none.
pub(super) fn claimed_version(bytes: &[u8]) -> u64 {
    let value: Option<serde_json::Value> = serde_json::from_slice(bytes).ok();
    value.and_then(|value| value["signed"]["version"].as_u64()).unwrap_or(0)
}
