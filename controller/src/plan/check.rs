//! What is looked at before a rollout may start, by name. What each finds is said by `failed` and `fit`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is looked at before a rollout may start. The names are those of `--override`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// The release may be rolled out: it was not withdrawn.
    Withdrawn,
    /// Hosts would take the release: it is signed, and nothing that was signed since is against it.
    Signed,
    /// No other rollout moves the app in the environment.
    Busy,
    /// No host belongs to another environment that the app is live in.
    Overlap,
    /// The hosts that the strategy wants first exist.
    CanaryHosts,
    /// Hosts have the label that tells failure domains apart.
    Spread,
    /// The release has proved itself where the environment demands it.
    Promotion,
    /// Nobody has locked the environment.
    Locked,
    /// Enough may approve the plan who did not make it, and open the gates that people open who do not start the rollout.
    Approvers,
    /// Gates use no file of the controller's own.
    GateFile,
    /// The hosts on which its tests run are there; where they are of no environment, they run nothing of the app, answer, and
    /// can hold the release with what it gets there.
    Runner,
    /// Somebody moves the app's traffic, and whoever directs it can be told to.
    Traffic,
    /// So many hosts answer that the failure budget covers the others.
    Unknown,
    Architecture,
    Os,
    Memory,
    Disk,
    Commands,
    Ports,
    Mounts,
    Users,
    Clock,
    /// The host can run the release's service.
    Service,
    /// The host has the files and credentials that the settings refer to, where it allows them.
    Secrets,
    /// Templates of the release find every value and secret by its name in the host's settings.
    Config,
}

impl Check {
    pub const ALL: [Check; 25] = [
        Check::Withdrawn,
        Check::Signed,
        Check::Busy,
        Check::Overlap,
        Check::CanaryHosts,
        Check::Spread,
        Check::Promotion,
        Check::Locked,
        Check::Approvers,
        Check::GateFile,
        Check::Runner,
        Check::Traffic,
        Check::Unknown,
        Check::Architecture,
        Check::Os,
        Check::Memory,
        Check::Disk,
        Check::Commands,
        Check::Ports,
        Check::Mounts,
        Check::Users,
        Check::Clock,
        Check::Service,
        Check::Secrets,
        Check::Config,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Check::Withdrawn => "withdrawn",
            Check::Signed => "signed",
            Check::Busy => "busy",
            Check::Overlap => "overlap",
            Check::CanaryHosts => "canary-hosts",
            Check::Spread => "spread",
            Check::Promotion => "promotion",
            Check::Locked => "locked",
            Check::Approvers => "approvers",
            Check::GateFile => "gate-file",
            Check::Runner => "runner",
            Check::Traffic => "traffic",
            Check::Unknown => "unknown",
            Check::Architecture => "architecture",
            Check::Os => "os",
            Check::Memory => "memory",
            Check::Disk => "disk",
            Check::Commands => "commands",
            Check::Ports => "ports",
            Check::Mounts => "mounts",
            Check::Users => "users",
            Check::Clock => "clock",
            Check::Service => "service",
            Check::Secrets => "secrets",
            Check::Config => "config",
        }
    }

    pub fn parse(name: &str) -> Option<Check> {
        Check::ALL.into_iter().find(|check| check.as_str() == name)
    }

    /// No policy can allow these: the rollout could not be carried out at all.
    pub fn is_absolute(self) -> bool {
        matches!(self, Check::Withdrawn | Check::Signed | Check::Busy | Check::Runner)
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
