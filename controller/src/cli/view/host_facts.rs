//! What a host is, and how it knows what may run on it: by its own word.

use longshore_common::text::visible;
use longshore_proto::v1 as pb;
use serde::Serialize;

use super::some;
use crate::cli::moment::Moment;

#[derive(Clone, Debug, Serialize)]
pub struct HostFacts {
    pub os: String,
    pub kernel: String,
    pub arch: String,
    pub cpus: u32,
    pub memory_bytes: u64,
    pub disk_free_bytes: u64,
    pub disk_total_bytes: u64,
    pub addresses: Vec<String>,
    pub driver: String,
    pub trust: Option<HostTrust>,
}

/// How the host knows what may run on it.
#[derive(Clone, Debug, Serialize)]
pub struct HostTrust {
    /// signed, unsigned, unsigned-allowed or damaged; unknown: its helper, which alone may look, is away.
    pub state: String,
    pub root_sha256: Option<String>,
    pub verified_at: Option<Moment>,
    /// Every time that somebody broke the glass there, oldest first.
    pub breaks: Vec<String>,
    pub problem: Option<String>,
    /// Each signed document that has run out there: which, since when, who renews it and how.
    pub expired: Vec<String>,
}

impl From<pb::Facts> for HostFacts {
    fn from(facts: pb::Facts) -> Self {
        let pb::Facts {
            os,
            kernel,
            arch,
            cpus,
            memory_bytes,
            disk_free_bytes,
            disk_total_bytes,
            addresses,
            driver,
            trust,
        } = facts;
        Self {
            os,
            kernel,
            arch,
            cpus,
            memory_bytes,
            disk_free_bytes,
            disk_total_bytes,
            addresses,
            driver,
            trust: trust.map(HostTrust::from),
        }
    }
}

impl From<pb::TrustFacts> for HostTrust {
    fn from(trust: pb::TrustFacts) -> Self {
        let pb::TrustFacts {
            state,
            root_sha256,
            verified_ms,
            breaks,
            problem,
            expired,
            damaged: _,
            ahead: _,
            frozen: _,
        } = trust;
        let verified_at = Moment::from_wire(verified_ms);
        Self { state, root_sha256: some(root_sha256), verified_at, breaks, problem: some(problem), expired }
    }
}

impl HostFacts {
    /// The last that the agent there could say: nobody can look at the host.
    pub(super) fn is_helper_away(&self) -> bool {
        self.trust.as_ref().is_some_and(|trust| trust.state == "unknown")
    }
}

impl HostTrust {
    /// One line, with what is wrong first.
    pub(super) fn line(&self, now: Moment) -> String {
        let verified =
            self.verified_at.map(|at| format!(", verified {}", at.relative(now))).unwrap_or_default();
        let problem = self.problem.as_deref().map(|problem| format!(": {problem}")).unwrap_or_default();
        let root =
            self.root_sha256.as_deref().map(|root| format!(", root {:.16}…", root)).unwrap_or_default();
        match self.state.as_str() {
            "unsigned" => {
                "UNSIGNED: runs whatever the controller says; enrol it again with a token that pins"
                    .to_owned()
            }
            "unsigned-allowed" => "UNSIGNED, as its policy allows".to_owned(),
            state => visible(&format!("{state}{problem}{root}{verified}")),
        }
    }
}
