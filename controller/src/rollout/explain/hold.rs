//! A reason why a rollout is not further: typed, with its owner and its deadline.

use longshore_common::{ids::HostId, time::Millis};
use serde::{Deserialize, Serialize};

/// What kind of thing is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HoldKind {
    /// Made, not started.
    NotStarted,
    /// Its environment is closed: outside its windows, or frozen.
    Closed,
    /// Hosts fetch and unpack.
    Staging,
    /// Hosts switch and probe.
    Switching,
    /// Staged hosts wait: `max_unavailable` hosts are down already.
    NoSlot,
    /// Balancers have not yet directed traffic as it is asked.
    Balancer,
    /// Silent hosts are waited for.
    Unknown,
    /// Locally held hosts are waited for.
    Held,
    /// The wave is watched.
    Baking,
    /// A gate is being looked at.
    Gate,
    /// A gate did not pass; an operator decides.
    GateNotPassed,
    /// The last wave is done and the release is watched.
    Watching,
    /// An operator has to promote.
    Promotion,
    /// An operator paused.
    Paused,
    /// Failures of the version spent the budget; an operator decides.
    VersionFailures,
    /// Failures of hosts or their surroundings spent the budget; an operator decides.
    EnvironmentFailures,
    /// The deadline came with nothing under way; an operator decides.
    NoProgress,
    /// The release was withdrawn; an operator decides.
    Withdrawn,
    /// Hosts go back to what they ran before.
    RollingBack,
    /// An operator keeps work from a host: balancers send it nothing.
    Drained,
    /// An operator took a host back, and its apps do not serve yet.
    Rejoining,
}

/// One reason. Its sentence names hosts; its command is complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub kind: HoldKind,
    /// One sentence.
    pub what: String,
    /// Who is waited for.
    pub owner: String,
    pub since: Millis,
    /// `None`: it holds until somebody acts.
    pub until: Option<Millis>,
    /// What happens at `until`, or without one, when what it waits for comes.
    pub then: String,
    /// What an operator can type, whoever is waited for; `None`: nothing.
    pub command: Option<String>,
    /// The hosts that it is about.
    pub hosts: Vec<HostId>,
}

impl HoldKind {
    pub const ALL: [HoldKind; 21] = {
        use HoldKind::*;
        [
            NotStarted,
            Closed,
            Staging,
            Switching,
            NoSlot,
            Balancer,
            Unknown,
            Held,
            Baking,
            Gate,
            GateNotPassed,
            Watching,
            Promotion,
            Paused,
            VersionFailures,
            EnvironmentFailures,
            NoProgress,
            Withdrawn,
            RollingBack,
            Drained,
            Rejoining,
        ]
    };

    /// The stable name: `HoldRow.kind` in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            HoldKind::NotStarted => "not-started",
            HoldKind::Closed => "closed",
            HoldKind::Staging => "staging",
            HoldKind::Switching => "switching",
            HoldKind::NoSlot => "no-slot",
            HoldKind::Balancer => "balancer",
            HoldKind::Unknown => "unknown-hosts",
            HoldKind::Held => "held-hosts",
            HoldKind::Baking => "baking",
            HoldKind::Gate => "gate",
            HoldKind::GateNotPassed => "gate-not-passed",
            HoldKind::Watching => "watching",
            HoldKind::Promotion => "awaiting-promotion",
            HoldKind::Paused => "paused",
            HoldKind::VersionFailures => "version-failures",
            HoldKind::EnvironmentFailures => "environment-failures",
            HoldKind::NoProgress => "no-progress",
            HoldKind::Withdrawn => "withdrawn",
            HoldKind::RollingBack => "rolling-back",
            HoldKind::Drained => "drained-hosts",
            HoldKind::Rejoining => "rejoining-hosts",
        }
    }
}
