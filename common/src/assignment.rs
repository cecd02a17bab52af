//! What one host should run of one app.

use serde::{Deserialize, Serialize};

use crate::{
    digest::ReleaseDigest,
    ids::{AppName, EnvName, Generation, HostId, RolloutId, Version},
    settings::Settings,
    slot::Slot,
    traffic::{Directions, Traffic},
};

/// How far the host should go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Intent {
    /// Fetch, verify, unpack, render. Touch nothing that runs.
    Stage,
    /// And switch, restart, probe, confirm.
    Run,
    /// Stop the app and remove everything of it.
    Remove,
    /// Direct the traffic of other hosts, as `directions` say. Nothing of the app itself is touched here.
    Direct,
}

/// Desired state, not a command: saying it twice changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    pub host: HostId,
    pub app: AppName,
    pub env: EnvName,
    pub rollout: RolloutId,
    /// Only rises for this host and app. The same generation always has the same content.
    pub generation: Generation,
    pub version: Version,
    pub release: ReleaseDigest,
    #[serde(flatten)]
    pub settings: Settings,
    pub intent: Intent,
    /// Good slots that stay on the host's disk; at least 2, the live one included.
    pub keep_slots: u32,
    /// Who directs the app's traffic on the host; `None`: nobody, and a release that has sides is moved all at once by
    /// its own sockets, where it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    /// Of a balancer; there exactly when the intent is to direct.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directions: Option<Directions>,
    /// What the host is to go back from, since it was found unwell there after its switch: no way back leads to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwell: Option<Slot>,
}

impl Assignment {
    pub fn slot(&self) -> Slot {
        Slot::new(&self.version, &self.release, &self.settings)
    }
}
