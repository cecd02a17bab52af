//! The codes by which an error is known everywhere alike: CLI, JSON, gRPC status, log, docs.
//!
//! A `Coded` error says what is wrong, in words that also say what to do next. Codes never change their meaning.

use std::fmt;

/// `docs/errors.md` lists every code; a test holds the two together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// Bytes of an artifact differ from their digest.
    A01,
    /// A path that a release may not hold: one that leaves it, clashes with another, or cannot be shown.
    A02,
    /// A link, device or mode that a release may not contain.
    A03,
    /// More or larger than the limits.
    A04,
    /// Truncated, or not what it claims to be.
    A05,
    /// A manifest or file of ours that does not parse, or does not fit its artifact.
    M01,
    /// The assignment is older than one already accepted, or differs under the same generation.
    O03,
    /// Local policy or a local hold forbids it.
    P01,
    /// A policy asks for an attestation that the release does not carry.
    P02,
    /// The join token has expired.
    E01,
    /// The join token is used up or unknown.
    E02,
    /// The join token was used by another key.
    E03,
    /// The controller's CA is not the one in the token.
    E04,
    /// A clock is wrong.
    E05,
    /// One identity in two places, or a removed host.
    E06,
    /// The host waits for an operator to let it in.
    E07,
    /// Not enough disk.
    D01,
    /// Staging and releases are not on one filesystem.
    D03,
    /// State in use by another process.
    S01,
    /// State damaged.
    S02,
    /// State written by a newer version.
    S03,
    /// The store cannot be reached or written.
    S04,
    /// A name or value is malformed.
    V01,
    /// No such thing.
    N01,
    /// It exists already, with other content.
    N02,
    /// The state does not allow it.
    R01,
    /// Another rollout holds the environment.
    R02,
    /// The world is no longer as the plan saw it.
    R03,
    /// A precondition of the plan does not hold.
    R04,
    /// The host does not meet what the release requires.
    Q01,
    /// A secret cannot be had on the host.
    K01,
    /// Somebody locked or froze it.
    W01,
    /// Approvals are lacking, or somebody denied it.
    W02,
    /// The release has not proved itself where it has to have.
    W03,
    /// A hook failed or ran past its timeout.
    H01,
    /// The app did not start, or ended.
    U01,
    /// What directs traffic could not be reached, or refused.
    L01,
    /// A probe did not come to healthy in time.
    B01,
    /// The peer could not be reached, or not in time.
    C01,
    /// The caller may not do this.
    C02,
    /// A host's trust state is damaged or gone.
    T01,
    /// Not signed by keys that are trusted here, not or no longer in the signed list, or signed metadata that does not fit
    /// together.
    T02,
    /// Signed, but by fewer keys than it takes.
    T03,
    /// Signed metadata has expired, or a clock went back.
    T04,
    /// Older than what was seen, below the signed floor, or withdrawn as the controller knows.
    T05,
    /// A fault of ours.
    X01,
}

impl Code {
    pub const ALL: [Code; 46] = {
        use Code::*;
        [
            A01, A02, A03, A04, A05, M01, O03, P01, P02, E01, E02, E03, E04, E05, E06, E07, D01, D03, S01,
            S02, S03, S04, V01, N01, N02, R01, R02, R03, R04, Q01, K01, W01, W02, W03, H01, U01, L01, B01,
            C01, C02, T01, T02, T03, T04, T05, X01,
        ]
    };
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LS-{self:?}")
    }
}

impl std::str::FromStr for Code {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Code::ALL.into_iter().find(|code| code.to_string() == text).ok_or(())
    }
}

/// An error with its code. The message names the thing, the cause and the next step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code} {message}")]
pub struct Coded {
    pub code: Code,
    pub message: String,
}

impl Coded {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}
