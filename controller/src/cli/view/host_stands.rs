//! What keeps work or traffic from a host.

use longshore_proto::v1 as pb;
use serde::Serialize;

use crate::cli::moment::Moment;

#[derive(Clone, Debug, Serialize)]
pub struct HostBarred {
    /// waiting (its token asks for an operator's yes) or cloned (one identity in two places).
    pub kind: String,
    pub reason: String,
    pub since: Option<Moment>,
}

/// Who keeps new work from a host.
#[derive(Clone, Debug, Serialize)]
pub struct HostDrain {
    pub reason: String,
    pub by: String,
    pub since: Option<Moment>,
    /// Its apps stop by then; none: they run on.
    pub stop_at: Option<Moment>,
    /// They run until load balancers have let go of the host.
    pub waits: bool,
}

/// Load balancers send it connections when its apps are healthy there.
#[derive(Clone, Debug, Serialize)]
pub struct HostRejoin {
    /// Who undrained it.
    pub by: String,
    pub since: Option<Moment>,
    /// If they are not by then, it is drained again.
    pub until: Option<Moment>,
}

#[derive(Clone, Debug, Serialize)]
pub struct HostHold {
    pub reason: String,
    pub by: String,
    pub since: Option<Moment>,
}

/// What an environment's load balancers send it, and why.
#[derive(Clone, Debug, Serialize)]
pub struct TrafficNote {
    pub env: String,
    pub app: String,
    pub note: String,
}

impl From<pb::Barred> for HostBarred {
    fn from(barred: pb::Barred) -> Self {
        let pb::Barred { kind, reason, since_ms } = barred;
        Self { kind, reason, since: Moment::from_wire(since_ms) }
    }
}

impl From<pb::Drained> for HostDrain {
    fn from(drained: pb::Drained) -> Self {
        let pb::Drained { by, reason, since_ms, stop_ms, waits } = drained;
        let (since, stop_at) = (Moment::from_wire(since_ms), Moment::from_wire(stop_ms));
        Self { reason, by, since, stop_at, waits }
    }
}

impl From<pb::Rejoining> for HostRejoin {
    fn from(rejoining: pb::Rejoining) -> Self {
        let pb::Rejoining { by, since_ms, until_ms } = rejoining;
        Self { by, since: Moment::from_wire(since_ms), until: Moment::from_wire(until_ms) }
    }
}

impl From<pb::HoldState> for HostHold {
    fn from(hold: pb::HoldState) -> Self {
        let pb::HoldState { held: _, reason, by, since_ms } = hold;
        Self { reason, by, since: Moment::from_wire(since_ms) }
    }
}

impl From<pb::TrafficNote> for TrafficNote {
    fn from(noted: pb::TrafficNote) -> Self {
        let pb::TrafficNote { env, app, note } = noted;
        Self { env, app, note }
    }
}
