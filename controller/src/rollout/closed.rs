//! A rollout whose environment is closed: nothing new is begun until it opens.
//!
//! Windows and freezes are worked out elsewhere (`crate::calendar`); here is what they mean. Hosts that are under way
//! are never interrupted. Whether the wave that was switching when it closed still finishes, and whether hosts may go
//! back meanwhile, is said by whoever closed it.

use longshore_common::time::Millis;
use serde::{Deserialize, Serialize};

/// What happens to a wave that is switching when its environment closes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnderWay {
    /// Hosts that switch already finish; no further one begins.
    #[default]
    Hold,
    /// The whole wave finishes; no further one begins.
    Finish,
}

/// The environment may not be changed at present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// One sentence or more.
    pub reason: String,
    pub since: Millis,
    /// When it opens next; `None`: when somebody opens it, or nobody knows.
    pub until: Option<Millis>,
    /// Who can open it: the calendar of an environment, or whoever froze it.
    pub owner: String,
    /// What the owner types.
    pub command: String,
    #[serde(default)]
    pub under_way: UnderWay,
    /// Whether hosts may go back meanwhile.
    #[serde(default)]
    pub rollback: bool,
}
