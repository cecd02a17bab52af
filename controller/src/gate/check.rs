//! What a gate looks at, as an environment's file declares it and a rollout keeps it.

use std::{collections::BTreeMap, path::PathBuf};

use longshore_common::{headers::Headers, ids::HostName, time::Span};
use serde::{Deserialize, Serialize};

use crate::rollout::GateSpec;

/// A gate as the file has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Declaration {
    pub gate: GateSpec,
    pub check: Check,
}

/// Under `rollout-gates/<rollout>`: what every gate of a rollout looks at, as it was when the rollout began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Checks {
    pub by_gate: BTreeMap<String, Check>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Check {
    Probe(Matrix),
    Test(TestRun),
    Metrics(Metrics),
    App(AppLimits),
    Approval(Approval),
    Webhook(Webhook),
    Http(Endpoint),
}

/// Who may reach what: every line must be as it says, in one look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Matrix {
    /// Never empty.
    pub lines: Vec<Reach>,
    pub every: Span,
    /// CAs of a file instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reach {
    pub from: From,
    pub to: To,
    /// It must be reached; otherwise it must not.
    pub allowed: bool,
    /// For one attempt.
    pub timeout: Span,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "from", content = "host")]
pub enum From {
    Controller,
    Host(HostName),
}

/// `$host` and `$address` in an address stand for each host that runs the release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "to")]
pub enum To {
    Http {
        url: String,
        /// Absent: 200 to 299.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// Must be in the body.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<String>,
        /// The certificate must be good for so long.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tls_left: Option<Span>,
        /// Sent as they are, in place of usual ones of the same name. None where hosts look.
        #[serde(default, skip_serializing_if = "Headers::is_empty")]
        headers: Headers,
    },
    Tcp {
        address: String,
    },
    /// The name must have an address; with `address`, this one.
    Dns {
        name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<std::net::IpAddr>,
    },
}

/// A test of the release's manifest, run on a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestRun {
    pub test: String,
    pub on: HostName,
}

/// A query to Prometheus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// `http://prometheus:9090`
    pub prometheus: String,
    /// `$hosts`: the names of hosts as a regular expression; `$app`, `$env`, `$version` as well.
    pub query: String,
    pub rule: Rule,
    /// How long is looked at, from the gate's beginning.
    pub window: Span,
    /// Between two values.
    pub step: Span,
    /// Fewer good values than this are inconclusive.
    pub samples: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// A file with a bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "rule")]
pub enum Rule {
    /// Every value lies in between, but for as many as may not.
    Within {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min: Option<f64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<f64>,
        #[serde(default)]
        breaches: u32,
    },
    /// Hosts that run the release against those that do not yet, at the same time.
    Baseline {
        worse: Worse,
        /// A difference that chance brings less often than this counts.
        significance: f64,
        /// Of Cliff's delta: a difference smaller than this does not count, however sure it is.
        effect: f64,
    },
}

/// Which way is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Worse {
    Higher,
    Lower,
    Either,
}

/// Bounds for every host that runs the release, as its agent counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppLimits {
    pub window: Span,
    pub every: Span,
    /// In the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u32>,
    /// Error lines of its log, in a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors_per_minute: Option<u32>,
    /// Of one core, over the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    pub count: u32,
    /// Operators. With no role either: every approver but whoever started the rollout.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<String>,
    /// Whoever has one of these roles of operators there may as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_roles: Vec<String>,
}

/// Told once, asked until it says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Webhook {
    pub url: String,
    /// Its key signs what is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    pub every: Span,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

/// Asked until it answers as it should.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// `$app`, `$env`, `$version` and `$rollout` are put in.
    pub url: String,
    /// Absent: 200 to 299.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Answers that settle it at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fail_status: Vec<u16>,
    /// Sent as they are, in place of usual ones of the same name.
    #[serde(default, skip_serializing_if = "Headers::is_empty")]
    pub headers: Headers,
    pub every: Span,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

impl Approval {
    /// `2 approvals by carl, host-admin`
    pub fn asked(&self) -> String {
        let approvals = if self.count == 1 { "approval" } else { "approvals" };
        let named: Vec<&str> = self.by.iter().chain(&self.by_roles).map(String::as_str).collect();
        let named = match named.len() {
            0 => "any approver but whoever starts it".to_owned(),
            _ => named.join(", "),
        };
        format!("{} {approvals} by {named}", self.count)
    }
}

impl Checks {
    pub fn of(declared: &[Declaration]) -> Self {
        Self { by_gate: declared.iter().map(|one| (one.gate.name.clone(), one.check.clone())).collect() }
    }
}
