//! What an agent observed.

use serde::{Deserialize, Serialize};

use crate::{
    code::Code,
    digest::ReleaseDigest,
    ids::{AppName, Generation, RolloutId, Version},
    slot::Slot,
};

/// Evidence lines that travel with a failure; older ones are dropped.
pub const EVIDENCE_LINES: usize = 20;
/// How the reason begins for which a drained host takes no work.
pub const DRAINED: &str = "drained: ";
/// Of the reason for which hosts of a frozen fleet take nothing new.
pub const FROZEN: &str = "the fleet is frozen: ";
/// Bytes of one evidence or log line; longer ones are cut.
pub const LINE_BYTES: usize = 1024;

/// The step of a deployment on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepName {
    Check,
    Fetch,
    Verify,
    Stage,
    Render,
    Hook,
    Switch,
    Stop,
    Start,
    Probe,
    Confirm,
    Revert,
    Remove,
    Prune,
    /// Directing traffic.
    Traffic,
}

impl StepName {
    pub fn as_str(self) -> &'static str {
        match self {
            StepName::Check => "check",
            StepName::Fetch => "fetch",
            StepName::Verify => "verify",
            StepName::Stage => "stage",
            StepName::Render => "render",
            StepName::Hook => "hook",
            StepName::Switch => "switch",
            StepName::Stop => "stop",
            StepName::Start => "start",
            StepName::Probe => "probe",
            StepName::Confirm => "confirm",
            StepName::Revert => "revert",
            StepName::Remove => "remove",
            StepName::Prune => "prune",
            StepName::Traffic => "traffic",
        }
    }
}

impl std::fmt::Display for StepName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for StepName {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        use StepName::*;
        [
            Check, Fetch, Verify, Stage, Render, Hook, Switch, Stop, Start, Probe, Confirm, Revert, Remove,
            Prune, Traffic,
        ]
        .into_iter()
        .find(|step| step.as_str() == text)
        .ok_or(())
    }
}

/// Whose fault a failure is. Only a failure of the version is a verdict on the release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blame {
    Version,
    Environment,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// `LS-…`
    pub code: String,
    pub step: StepName,
    pub message: String,
    /// The last log lines, oldest first; at most `EVIDENCE_LINES`.
    #[serde(default)]
    pub evidence: Vec<String>,
    pub blame: Blame,
}

impl Failure {
    pub fn new(code: Code, step: StepName, blame: Blame, message: impl Into<String>) -> Self {
        Self { code: code.to_string(), step, message: message.into(), evidence: vec![], blame }
    }

    pub fn with_evidence(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.evidence.extend(lines);
        let excess = self.evidence.len().saturating_sub(EVIDENCE_LINES);
        self.evidence.drain(..excess);
        self
    }
}

/// How an assignment ended on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Outcome {
    /// The slot is complete on disk; nothing that runs was touched.
    Staged,
    /// Live and healthy for as long as its probes ask. Of a balancer: traffic goes as it was asked to, and connections
    /// to hosts that get none any more have ended or had their time.
    Healthy,
    /// Exactly this was live and healthy already; nothing was done.
    Unchanged,
    /// Nothing live was touched, or there was nothing to go back to and the app is down.
    Failed { failure: Failure },
    /// The new release failed and the last good slot is live again.
    Reverted { failure: Failure, to_slot: Slot, to_version: Version },
    /// The way back failed as well; a human has to look.
    Inconsistent { failure: Failure },
    /// Not even begun: held, stale generation, or a requirement unmet.
    Refused { failure: Failure },
    /// Everything of the app is gone from the host.
    Removed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub app: AppName,
    pub rollout: RolloutId,
    pub generation: Generation,
    pub release: ReleaseDigest,
    /// By the host's clock, in ms since 1970.
    pub time_ms: i64,
    pub outcome: Outcome,
    /// What is live now.
    pub live: Option<Slot>,
    /// Who on the host had it deployed from a bundle; `None`: it was assigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}
