//! Why bytes did not come, in the terms of who may try again.

use longshore_common::{
    chain::Chain,
    code::{Code, Coded},
    report::{Blame, Failure, StepName},
    wire::{CODE_KEY, from_status},
};
use tonic::Status;

use crate::host::stage::StageError;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The controller could not be reached, or the connection was cut. Try again: what was verified is kept.
    #[error("{0}")]
    Cut(Coded),
    /// The controller said no, and will say so again until somebody changes something.
    #[error("{0}")]
    Refused(Coded),
    /// What came is not what was promised. The staging tree is gone.
    #[error("{0}")]
    Content(Coded),
    /// This machine cannot: disk full, and the like.
    #[error("{0}")]
    Host(Coded),
}

impl FetchError {
    pub fn is_retryable(&self) -> bool {
        matches!(self, FetchError::Cut(_))
    }

    pub fn coded(&self) -> &Coded {
        match self {
            FetchError::Cut(coded)
            | FetchError::Refused(coded)
            | FetchError::Content(coded)
            | FetchError::Host(coded) => coded,
        }
    }

    /// As the failure of a step. Only wrong content is held against the release.
    pub fn failure(&self, step: StepName) -> Failure {
        let blame = match self {
            FetchError::Content(_) => Blame::Version,
            FetchError::Cut(_) | FetchError::Refused(_) | FetchError::Host(_) => Blame::Environment,
        };
        // One code for whatever is worth another attempt.
        let code = if self.is_retryable() { Code::C01 } else { self.coded().code };
        Failure::new(code, step, blame, self.coded().message.clone())
    }

    pub(super) fn from_failure(failure: Failure) -> Self {
        let code = failure.code.parse().unwrap_or(Code::X01);
        FetchError::Host(Coded::new(code, failure.message))
    }
}

impl From<StageError> for FetchError {
    fn from(error: StageError) -> Self {
        match error {
            StageError::Disk(error) => FetchError::Host(Coded::new(error.code(), Chain(&error).to_string())),
            StageError::Content(coded) => match coded.code {
                Code::A01 | Code::A02 | Code::A03 | Code::A04 | Code::A05 | Code::M01 => {
                    FetchError::Content(coded)
                }
                Code::C01 => FetchError::Cut(coded),
                _ => FetchError::Host(coded),
            },
        }
    }
}

impl From<Coded> for FetchError {
    fn from(coded: Coded) -> Self {
        StageError::Content(coded).into()
    }
}

impl From<Status> for FetchError {
    /// A status that bears a code of ours was decided by the controller; any other comes from the way to it.
    fn from(status: Status) -> Self {
        let coded = from_status(&status);
        let decided = status.metadata().contains_key(CODE_KEY);
        let refused = matches!(
            status.code(),
            tonic::Code::PermissionDenied
                | tonic::Code::Unauthenticated
                | tonic::Code::Unimplemented
                | tonic::Code::NotFound
        );
        match coded.code {
            Code::S04 | Code::C01 => FetchError::Cut(coded),
            _ if decided || refused => FetchError::Refused(coded),
            _ => FetchError::Cut(Coded::new(Code::C01, format!("the transfer was cut: {}", coded.message))),
        }
    }
}

/// Nothing came for too long.
pub(crate) fn silent() -> FetchError {
    FetchError::Cut(Coded::new(Code::C01, "the controller sends nothing any more"))
}
