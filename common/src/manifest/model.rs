//! The manifest's types. Every field is checked by `file.rs` when it is written and by serde when it is read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{attestation::Attestation, test::Test};
use crate::{
    digest::IndexDigest,
    headers::Headers,
    ids::{AppName, Version},
    time::Span,
};

pub const SCHEMA: &str = "longshore.release/1";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always `SCHEMA`.
    pub schema: String,
    pub app: AppName,
    pub version: Version,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub support: Option<String>,
    pub artifact: Artifact,
    pub service: Service,
    #[serde(default)]
    pub requires: Requires,
    /// Rendered files by path below the slot.
    #[serde(default)]
    pub config: BTreeMap<String, ConfigFile>,
    #[serde(default)]
    pub probes: Vec<Probe>,
    #[serde(default)]
    pub hooks: Hooks,
    /// Left out when there are none, so that manifests of before keep their digests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<Test>,
    /// What is attested of it, in files beside it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attestations: Vec<Attestation>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    pub index: IndexDigest,
    /// Entries of the index.
    pub files: u64,
    /// Sum of the files' sizes.
    pub bytes: u64,
}

/// Who runs the app.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    #[default]
    Systemd,
    /// A small supervisor of ours, for machines without systemd.
    Process,
    /// Nothing runs: static content.
    None,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    pub driver: Driver,
    /// Program and arguments; a program that starts with `./` lies in the slot, else it is absolute. Never empty
    /// unless the driver is `none`. No shell.
    #[serde(default)]
    pub exec: Vec<String>,
    /// None: the agent's own user, which the systemd driver refuses unless it says root in so many words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// `address:port` or an absolute path, held open across restarts and handed over as LISTEN_FDS in this order.
    #[serde(default)]
    pub sockets: Vec<String>,
    /// Where it can run beside itself while traffic moves. Without them a release takes the place of the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sides: Option<super::Sides>,
    pub stop: Stop,
    /// How long a start may take before it counts as failed.
    pub start_timeout: Span,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// `SIGTERM`, `SIGINT`, `SIGQUIT`, `SIGHUP`, `SIGUSR1` or `SIGUSR2`.
    pub signal: String,
    /// After this the whole process tree is killed.
    pub grace: Span,
}

impl Default for Stop {
    fn default() -> Self {
        Self { signal: "SIGTERM".into(), grace: Span::secs(10) }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requires {
    /// `x86_64`, `aarch64`, …; empty: any.
    #[serde(default)]
    pub arch: Vec<String>,
    /// Free bytes beyond what the artifact needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Found on PATH of the host.
    #[serde(default)]
    pub commands: Vec<String>,
    /// `debian`, `debian 12`; empty: any. What was added later is left out when empty, so that manifests of before keep
    /// their digests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub os: Vec<String>,
    /// TCP ports that nobody else listens on: `8080`, or `127.0.0.1:8080` for one address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// Paths where a file system is mounted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<String>,
    /// Users that the host knows, beside the service's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// How far the host's clock may be off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<Span>,
}

impl Requires {
    /// Whether a host that says `debian 12.5` of itself is meant: by the name, or by name and version up to a dot.
    pub fn allows_os(&self, os: &str) -> bool {
        let meant = |wanted: &String| {
            os.strip_prefix(wanted.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '.']))
        };
        self.os.is_empty() || self.os.iter().any(meant)
    }
}

/// What a release says it listens on: `8080` (every address) or a literal `address:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// None: every address.
    pub address: Option<std::net::IpAddr>,
    /// Never 0.
    pub number: u16,
}

impl Port {
    pub fn parse(text: &str) -> Option<Self> {
        let port = match text.parse::<std::net::SocketAddr>() {
            Ok(socket) => Port {
                address: Some(socket.ip()).filter(|address| !address.is_unspecified()),
                number: socket.port(),
            },
            Err(_) => Port { address: None, number: text.parse().ok()? },
        };
        (port.number != 0).then_some(port)
    }

    /// Whether two cannot be listened on at once.
    pub fn clashes(&self, other: &Port) -> bool {
        let apart = matches!((self.address, other.address), (Some(a), Some(b)) if a != b);
        self.number == other.number && !apart
    }
}

impl Manifest {
    /// Every TCP port that the release claims for itself, as it is written.
    pub fn ports(&self) -> impl Iterator<Item = &str> {
        let sockets = self.service.sockets.iter().filter(|socket| !socket.starts_with('/'));
        sockets.chain(&self.requires.ports).map(String::as_str)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    /// Path of the template inside the artifact.
    pub template: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Unique in the release.
    pub name: String,
    pub check: Check,
    pub interval: Span,
    /// Of one attempt.
    pub timeout: Span,
    /// How long every attempt must have succeeded, without a break, to be healthy.
    pub healthy_for: Span,
    /// Not healthy by then is unhealthy.
    pub deadline: Span,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Check {
    /// GET; healthy is any status from 200 to 399, unless `status` says which one.
    Http {
        url: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// Sent as they are, in place of usual ones of the same name. Left out when there are none, so that manifests of
        /// before keep their digests.
        #[serde(default, skip_serializing_if = "Headers::is_empty")]
        headers: Headers,
    },
    /// A connection to `address:port` is accepted.
    Tcp { address: String },
    /// Exit status 0, run in the slot as the app's user.
    Exec { run: Vec<String> },
}

/// Programs at fixed points of a deployment, run in the slot as the app's user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hooks {
    /// After staging, before anything live is touched. A failure leaves the old release running untouched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_switch: Option<Hook>,
    /// After the switch, before the start. A failure reverts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_switch: Option<Hook>,
    /// After the probes came to healthy. A failure reverts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_healthy: Option<Hook>,
    /// Before the old release is stopped; taken from the release that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_stop: Option<Hook>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    pub run: Vec<String>,
    /// After this the whole process tree is killed and the hook has failed.
    pub timeout: Span,
}
