//! Which side of an app has the traffic on the hosts of a rollout, and until when the other is warm. Only a host knows
//! that, so it is asked when somebody looks at the rollout, and of apps with sides only.

use longshore_common::{ids::HostId, traffic::SideSeen};
use longshore_proto::v1 as pb;

use crate::{engine::View, fleet::Fleet, prepare::Planner, trouble::Trouble};

/// Adds to each host's row what the host says now. Hosts that do not answer in time say nothing.
pub(super) async fn add(
    planner: &Planner,
    fleet: &Fleet,
    view: &View,
    message: &mut pb::Rollout,
) -> Result<(), Trouble> {
    let header = &view.rollout.header;
    let manifest = planner.manifest(&header.app, &header.target.version).await?;
    if manifest.is_none_or(|manifest| manifest.service.sides.is_none()) {
        return Ok(());
    }
    let answered = fleet.look_at(view.rollout.hosts.keys().copied().collect()).await;
    let of = |id: &HostId| -> Vec<SideSeen> {
        let apps = fleet.presence().connected(id).map(|connected| connected.apps).unwrap_or_default();
        apps.into_iter().find(|seen| seen.app == header.app).map(|seen| seen.sides).unwrap_or_default()
    };
    for row in &mut message.hosts {
        let Some(id) = row.id.parse().ok().filter(|id| answered.contains(id)) else { continue };
        row.sides = of(&id).iter().map(Into::into).collect();
    }
    Ok(())
}
