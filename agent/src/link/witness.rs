//! What this host keeps of the controller's audit log: its last checkpoints, as a witness. A controller that rewrites
//! its log later cannot make them fit; `longshore audit verify` asks for them, and they lie in a file of the host's
//! own for whoever would rather not ask through the controller.

use std::{
    collections::VecDeque,
    io,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use longshore_common::{
    chain::Chain,
    digest::{ReleaseDigest, hex},
    durable,
    regular::{self, Links},
};
use longshore_proto::v1 as pb;
use serde::{Deserialize, Serialize};

/// Checkpoints that are kept.
const KEPT: usize = 64;
/// All of them have well below a kilobyte each.
const FILE_BYTES: usize = 1 << 20;
/// Bytes of a signature; Ed25519's has 64.
const SIGNATURE_BYTES: usize = 128;

/// One checkpoint, in the words of `longshore audit verify --witness-file`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    entries: u64,
    head: String,
    at_ms: i64,
    key: String,
    signature: Vec<u8>,
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Witness {
    path: PathBuf,
    kept: Arc<Mutex<VecDeque<Kept>>>,
}

impl Witness {
    /// A file that does not read is moved out of the way: it may be what somebody wants to look at, and the
    /// next checkpoint would take its place.
    pub fn open(path: PathBuf) -> Self {
        let kept = match regular::read(&path, FILE_BYTES, Links::Refused) {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(VecDeque::new()),
            Err(error) => Err(error),
        };
        let kept = kept.unwrap_or_else(|error| {
            tracing::error!(path = %path.display(), %error, "checkpoints do not read; moved to .damaged");
            let away = path.with_extension("damaged");
            if let Err(error) = durable::rename_durable(&path, &away) {
                tracing::error!(error = %Chain(&error), "and could not be moved");
            }
            VecDeque::new()
        });
        Self { path, kept: Arc::new(Mutex::new(kept)) }
    }

    /// Keeps it, durably, if it is new. Waits for the disk.
    pub fn keep(&self, told: pb::AuditCheckpoint) {
        let pb::AuditCheckpoint { entries, head, time_ms, key, signature } = told;
        let sound = head.len() == 32 && key.len() == 32 && signature.len() <= SIGNATURE_BYTES;
        if !sound {
            tracing::warn!("the controller sent a checkpoint that is none");
            return;
        }
        let new =
            Kept { entries, head: hex(&head), at_ms: time_ms, key: hex(&key), signature: signature.to_vec() };
        let mut kept = self.kept.lock().expect("no holder panics");
        if kept.iter().any(|known| known.entries == new.entries && known.head == new.head) {
            return;
        }
        if let Some(last) = kept.back().filter(|last| last.entries >= new.entries) {
            tracing::error!(
                "the controller's audit log is not the one it was: {} entries now, {} before; longshore audit verify",
                new.entries,
                last.entries
            );
        }
        kept.push_back(new);
        while kept.len() > KEPT {
            kept.pop_front();
        }
        let text = serde_json::to_vec(&*kept).expect("numbers and text are JSON");
        if let Err(error) = durable::write_atomic(&self.path, &text, 0o600) {
            tracing::warn!(error = %Chain(&error), "a checkpoint of the audit log was not kept");
        }
    }

    /// Oldest first.
    pub fn all(&self) -> pb::AuditCheckpoints {
        let kept = self.kept.lock().expect("no holder panics");
        let checkpoints = kept.iter().filter_map(message).collect();
        pb::AuditCheckpoints { checkpoints }
    }
}

/// None where the file was edited into something that is no digest.
fn message(kept: &Kept) -> Option<pb::AuditCheckpoint> {
    let digest = |text: &str| text.parse::<ReleaseDigest>().ok().map(|digest| digest.0.to_vec().into());
    Some(pb::AuditCheckpoint {
        entries: kept.entries,
        head: digest(&kept.head)?,
        time_ms: kept.at_ms,
        key: digest(&kept.key)?,
        signature: kept.signature.clone().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(entries: u64, head: u8) -> pb::AuditCheckpoint {
        pb::AuditCheckpoint {
            entries,
            head: vec![head; 32].into(),
            time_ms: 1,
            key: vec![9; 32].into(),
            signature: vec![7; 64].into(),
        }
    }

    #[test]
    fn the_last_ones_are_kept_over_a_restart_and_a_rewritten_log_adds_to_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoints.json");
        let witness = Witness::open(path.clone());
        for entries in 0..70 {
            witness.keep(checkpoint(entries, 1));
        }
        witness.keep(checkpoint(69, 1)); // said again with the next welcome
        witness.keep(checkpoint(50, 2)); // another log
        let kept = Witness::open(path).all().checkpoints;
        assert_eq!(kept.len(), KEPT);
        assert_eq!(kept[KEPT - 2], checkpoint(69, 1));
        assert_eq!(kept[KEPT - 1], checkpoint(50, 2));
    }

    #[test]
    fn what_is_no_checkpoint_is_not_kept_and_a_damaged_file_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoints.json");
        durable::write_atomic(&path, b"{", 0o600).unwrap();
        let witness = Witness::open(path.clone());
        witness.keep(pb::AuditCheckpoint { head: vec![1; 31].into(), ..checkpoint(1, 1) });
        assert!(witness.all().checkpoints.is_empty());
        assert!(path.with_extension("damaged").exists());
    }

    #[test]
    fn a_pipe_in_the_place_of_the_file_holds_no_agent_up_and_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoints.json");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, 0o600.into()).unwrap();
        let witness = Witness::open(path.clone());
        witness.keep(checkpoint(1, 1));
        assert_eq!(Witness::open(path.clone()).all().checkpoints, [checkpoint(1, 1)]);
        assert!(path.with_extension("damaged").exists());
    }
}
