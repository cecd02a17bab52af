//! What is said between the agent and its helper.

use longshore_common::{
    assignment::Assignment,
    code::{Code, Coded},
    digest::{ReleaseDigest, SealedDigest},
    ids::{AppName, Generation, HostId, Version},
    report::{Failure, Report},
    settings::Secrets,
    slot::Slot,
    time::Millis,
    traffic::{Directed, Looked},
};
use longshore_proto::v1 as pb;
use serde::{Deserialize, Serialize};

use super::frame::FrameError;
use crate::{
    host::{Event, Usage, fetch::FetchError, probe::Reach, suite},
    offline::HandOrder,
    plan::{Drain, Hold},
    run::{Accounts, Found, Glance, Standing, Told},
    state::Row,
};

/// The first word on every connection; always the agent's.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    pub version: u32,
    pub ask: Ask,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// Hear everything from now on, and be sent on errands.
    Attach {},
    Assign {
        assignment: Box<Assignment>,
    },
    /// The controller has committed this report.
    Acknowledge {
        seq: u64,
    },
    Standing {
        app: AppName,
    },
    Revert {
        app: AppName,
        to: Option<Slot>,
        by: String,
    },
    Hold {
        hold: Option<Hold>,
        by: String,
    },
    Drain {
        drain: Option<Drain>,
    },
    History {
        app: Option<AppName>,
        limit: u32,
    },
    Logs {
        app: AppName,
        lines: u32,
        follow: bool,
    },
    Usage {
        app: AppName,
        since_ms: Millis,
    },
    Glance {
        app: AppName,
        generation: Generation,
    },
    Test {
        app: AppName,
        release: ReleaseDigest,
        test: String,
        limit_ms: u64,
    },
    Trust {},
    /// What is verified, after what is new was asked for.
    Verified {},
    /// A bundle: pieces of it follow, and the end of what this side says.
    Deploy {
        wanted: Box<HandOrder>,
    },
    Accounts(Accounts),
    /// Which of them cannot be had here.
    Secrets {
        secrets: Secrets,
    },
    /// Whether whoever directs traffic here could be told this of the app.
    Look {
        app: AppName,
        asked: Box<Directed>,
    },
    /// Pieces of this errand follow, and how it ended.
    Deliver {
        ticket: u64,
    },
}

/// What the helper says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Say {
    Done {},
    /// Nothing was changed.
    No(Wrong),
    /// It was tried.
    Failed(Failure),
    Snapshot(Box<Snapshot>),
    Report {
        seq: u64,
        report: Box<Report>,
    },
    Hold {
        hold: Option<Hold>,
    },
    Apps {
        apps: Vec<AppName>,
    },
    Told(Told),
    Errand {
        ticket: u64,
        errand: Errand,
    },
    Event(Event),
    Standing(Box<Standing>),
    Changed {
        changed: bool,
    },
    Rows {
        rows: Vec<Row>,
    },
    Usage(Usage),
    Glance(Glance),
    Tested {
        outcome: Option<suite::Outcome>,
    },
    Trust(Trust),
    Verified {
        /// The controller's own message of it.
        answer: Vec<u8>,
    },
    Ordered {
        app: AppName,
        version: Version,
        generation: Generation,
    },
    Accounts(Found),
    /// Each with why, and the way out.
    Missing {
        secrets: Vec<String>,
    },
    Looked(Looked),
}

/// How it stands when the agent attaches; the reports that wait follow one by one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    pub helper_version: String,
    pub host: HostId,
    pub boot_id: String,
    pub boot_counter: u64,
    /// Secrets encrypted to it are opened by this host only.
    pub recipient: String,
    pub apps: Vec<AppName>,
    pub hold: Option<Hold>,
}

/// Something that the agent is to bring from the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Errand {
    Trust {
        repository: String,
        roots_after: u64,
    },
    Manifest {
        app: AppName,
        release: ReleaseDigest,
    },
    Index {
        app: AppName,
        release: ReleaseDigest,
    },
    Blocks {
        app: AppName,
        release: ReleaseDigest,
        wanted: Vec<u8>,
    },
    Sealed {
        digest: SealedDigest,
    },
    Reach {
        reach: Reach,
    },
    /// Nothing but whether the controller is there.
    Online {},
}

/// How an errand ended.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ended {
    Brought {},
    Failed(Short),
    /// None: it answers.
    Reached {
        problem: Option<String>,
    },
}

impl Ended {
    /// The last word after what was brought: Ok when that was all of it.
    pub fn of(body: &[u8]) -> Result<(), FetchError> {
        match serde_json::from_slice(body) {
            Ok(Ended::Brought {}) => Ok(()),
            Ok(Ended::Failed(why)) => Err(why.into()),
            Ok(Ended::Reached { .. }) => {
                Err(FetchError::Cut(Coded::new(Code::C01, "the agent brought something else")))
            }
            Err(e) => Err(FrameError::Senseless(e).into()),
        }
    }
}

/// Why something was not brought.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Short {
    kind: Kind,
    wrong: Wrong,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Cut,
    Refused,
    Content,
    Host,
}

impl From<FetchError> for Short {
    fn from(error: FetchError) -> Self {
        let (kind, coded) = match error {
            FetchError::Cut(coded) => (Kind::Cut, coded),
            FetchError::Refused(coded) => (Kind::Refused, coded),
            FetchError::Content(coded) => (Kind::Content, coded),
            FetchError::Host(coded) => (Kind::Host, coded),
        };
        Self { kind, wrong: coded.into() }
    }
}

impl From<Short> for FetchError {
    fn from(Short { kind, wrong }: Short) -> Self {
        match kind {
            Kind::Cut => FetchError::Cut(wrong.into()),
            Kind::Refused => FetchError::Refused(wrong.into()),
            Kind::Content => FetchError::Content(wrong.into()),
            Kind::Host => FetchError::Host(wrong.into()),
        }
    }
}

/// An error with its code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wrong {
    pub code: String,
    pub message: String,
}

impl From<Coded> for Wrong {
    fn from(coded: Coded) -> Self {
        Self { code: coded.code.to_string(), message: coded.message }
    }
}

impl From<Wrong> for Coded {
    fn from(wrong: Wrong) -> Self {
        Coded::new(wrong.code.parse().unwrap_or(Code::X01), wrong.message)
    }
}

/// See the message of the same fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    state: String,
    root_sha256: String,
    verified_ms: Millis,
    breaks: Vec<String>,
    problem: String,
    expired: Vec<String>,
    damaged: Vec<String>,
    ahead: Vec<String>,
    frozen: String,
}

impl From<pb::TrustFacts> for Trust {
    fn from(facts: pb::TrustFacts) -> Self {
        let pb::TrustFacts {
            state,
            root_sha256,
            verified_ms,
            breaks,
            problem,
            expired,
            damaged,
            ahead,
            frozen,
        } = facts;
        Self { state, root_sha256, verified_ms, breaks, problem, expired, damaged, ahead, frozen }
    }
}

impl From<Trust> for pb::TrustFacts {
    fn from(trust: Trust) -> Self {
        let Trust { state, root_sha256, verified_ms, breaks, problem, expired, damaged, ahead, frozen } =
            trust;
        Self { state, root_sha256, verified_ms, breaks, problem, expired, damaged, ahead, frozen }
    }
}
