//! What a driver says of the thing that runs an app.

use longshore_common::{slot::Slot, time::Millis};
use serde::{Deserialize, Serialize};

use super::tree::Ended;

/// A unit of systemd, or a supervisor of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitStatus {
    /// What it was last told to run, or still runs where the switch was cut short.
    pub slot: Slot,
    pub state: UnitState,
    /// Since it was last told to run.
    #[serde(default)]
    pub restarts: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnitState {
    Up {
        pid: u32,
        since_ms: Millis,
    },
    /// On its way up or down.
    Changing,
    /// It ended with an error and is started again after a while.
    Crashing {
        last: Ended,
    },
    /// It ended and stays so.
    Ended {
        last: Ended,
    },
    /// It was told to stop, or has never been started.
    Stopped,
}

impl UnitState {
    pub fn is_up(&self) -> bool {
        match self {
            UnitState::Up { .. } => true,
            UnitState::Changing
            | UnitState::Crashing { .. }
            | UnitState::Ended { .. }
            | UnitState::Stopped => false,
        }
    }
}

impl std::fmt::Display for UnitState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            UnitState::Up { pid, .. } => write!(f, "running as pid {pid}"),
            UnitState::Changing => f.write_str("starting or stopping"),
            UnitState::Crashing { last } => write!(f, "crashing with {last}"),
            UnitState::Ended { last } => write!(f, "ended with {last}"),
            UnitState::Stopped => f.write_str("stopped"),
        }
    }
}
