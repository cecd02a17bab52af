//! What can go wrong with a ledger, and what each says to do.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::journal;
use super::{BATCH_WRITES_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::chain::Chain;
use crate::code::{Code, Coded};
use crate::durable::{DurableError, LockError};

/// Why a ledger did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// What lies there is not what was written.
    #[error("the state in `{}` is damaged: {cause}", dir.display())]
    Damaged { dir: PathBuf, cause: String },
    /// A newer version has written it.
    #[error("the state in `{}` was written by {theirs}, this is {ours}", dir.display())]
    Newer { dir: PathBuf, theirs: String, ours: String },
    #[error(transparent)]
    Disk(#[from] DurableError),
}

/// Why a commit did not return a revision.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// A guard did not hold; nothing was written.
    #[error("`{key}` has changed since it was read")]
    Conflict { key: String },
    /// It would be refused at any time; nothing was written.
    #[error("a commit that no ledger takes: {reason}")]
    Malformed { reason: Malformed },
    /// Nothing was written, and nothing will be until the process is started again.
    #[error("nothing was written")]
    Refused(#[source] LedgerFailed),
    /// The writes may or may not have landed. Only a read after a restart can tell.
    #[error("whether the write was kept is not known")]
    Unknown(#[source] LedgerFailed),
}

/// What is wrong with a commit whatever lies in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("{found} writes, more than {BATCH_WRITES_MAX}")]
    ManyWrites { found: usize },
    #[error("`{key}` is written twice")]
    WrittenTwice { key: String },
    #[error("a key of {bytes} bytes, more than {KEY_BYTES_MAX}")]
    LongKey { bytes: usize },
    #[error("`{key}` would take {bytes} bytes, more than {VALUE_BYTES_MAX}")]
    LargeValue { key: String, bytes: usize },
}

/// The ledger takes and answers nothing any more. Only a new process can use the state again.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the state in `{}` is closed until the process restarts: {cause}", dir.display())]
pub struct LedgerFailed {
    pub dir: Arc<Path>,
    pub cause: Arc<str>,
    /// The disk is why.
    pub is_full: bool,
}

impl OpenError {
    pub(super) fn damaged(dir: &Path, cause: impl ToString) -> Self {
        OpenError::Damaged { dir: dir.to_owned(), cause: cause.to_string() }
    }

    /// With its code and the way out.
    pub fn coded(&self) -> Coded {
        match self {
            OpenError::Locked(error) => error.coded(),
            OpenError::Damaged { dir, .. } => Coded::new(
                Code::S02,
                format!(
                    "{self}; nothing was changed. Restore a backup, or move `{}` away to start with nothing",
                    dir.display()
                ),
            ),
            OpenError::Newer { .. } => {
                Coded::new(Code::S03, format!("{self}; nothing was changed. Use the newer version"))
            }
            OpenError::Disk(error) => Coded::new(error.code(), Chain(error).to_string()),
        }
    }
}

impl LedgerFailed {
    pub fn coded(&self) -> Coded {
        Coded::new(self.code(), self.to_string())
    }

    fn code(&self) -> Code {
        if self.is_full { Code::D01 } else { Code::S04 }
    }
}

impl CommitError {
    pub fn code(&self) -> Code {
        match self {
            CommitError::Refused(failed) | CommitError::Unknown(failed) => failed.code(),
            CommitError::Conflict { .. } | CommitError::Malformed { .. } => Code::S04,
        }
    }
}

/// What goes wrong inside, before it is known what it means for whoever asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("{0}")]
    Sled(#[from] sled::Error),
    #[error("sled did not answer within {0} s")]
    Hung(u64),
    #[error("`{key}` {what}")]
    Entry { key: String, what: &'static str },
    /// The journal could not be read again while it was in use.
    #[error("{0}")]
    Journal(#[source] journal::ReadError),
    #[error("a panic: {0}")]
    Panic(String),
    #[error("{}", Chain(.0))]
    Disk(#[from] DurableError),
}
