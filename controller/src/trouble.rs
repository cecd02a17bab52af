//! Why the controller could not do what it was asked: refused, with a code and a way on; or its store failed.

use longshore_common::{
    chain::Chain,
    code::{Code, Coded},
};

use crate::store::{CommitError, Unavailable, key::UnknownKey, record::RecordError};

#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The caller can do something about it.
    #[error(transparent)]
    Refused(#[from] Coded),
    #[error("read the store")]
    Unavailable(#[from] Unavailable),
    /// A conflict that outlasted every new attempt, or a store that takes no writes.
    #[error("write the store")]
    Commit(#[from] CommitError),
    /// What the store holds is not what we wrote.
    #[error("read a record")]
    Record(#[from] RecordError),
    #[error("read a key")]
    Key(#[from] UnknownKey),
    /// The daemon is stopping; the caller asks again, here or elsewhere.
    #[error("the controller is stopping")]
    Stopping,
}

impl Trouble {
    pub fn refused(code: Code, message: impl Into<String>) -> Self {
        Trouble::Refused(Coded::new(code, message))
    }

    /// What a client is told.
    pub fn coded(&self) -> Coded {
        match self {
            Trouble::Refused(coded) => coded.clone(),
            Trouble::Unavailable(_) | Trouble::Commit(_) => {
                Coded::new(Code::S04, format!("{}; nothing is lost, try again", Chain(self)))
            }
            Trouble::Record(_) | Trouble::Key(_) => Coded::new(Code::S02, Chain(self).to_string()),
            Trouble::Stopping => Coded::new(Code::C01, "the controller is stopping; try again in a moment"),
        }
    }

    /// Nothing may have happened, and asking again later may help.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Trouble::Unavailable(_) | Trouble::Commit(CommitError::Unavailable(_) | CommitError::Unknown(_))
        )
    }

    pub fn is_conflict(&self) -> bool {
        matches!(self, Trouble::Commit(CommitError::Conflict { .. }))
    }
}
