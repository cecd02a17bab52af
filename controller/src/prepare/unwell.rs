//! Hosts that a rollout left as they were though it had found the release unwell there: going back to that release does
//! not make them well.

use std::collections::{BTreeMap, HashMap};

use longshore_common::ids::{AppName, HostId};

use super::Planner;
use crate::{
    engine::{
        states,
        unwell::{FoundUnwell, found_among},
    },
    fleet::words::AppSeen,
    rollout::Member,
    trouble::Trouble,
};

impl Planner {
    /// Of those on which what they run now was found unwell since it was assigned: by which rollout, and how.
    pub(super) async fn unwell(
        &self,
        app: &AppName,
        members: &[Member],
    ) -> Result<BTreeMap<HostId, String>, Trouble> {
        let mut apps = HashMap::with_capacity(members.len());
        for member in members {
            let connected = self.fleet.presence().connected(&member.id);
            let mut seen: Vec<AppSeen> = match connected {
                Some(connected) => connected.apps,
                None => states::last_said(&self.store, &member.id).await?,
            };
            seen.retain(|seen| seen.app == *app);
            apps.insert(member.id, seen);
        }
        let found = found_among(&self.store, &apps).await?;
        let said = |found: Vec<FoundUnwell>| {
            let FoundUnwell { rollout, why, .. } = found.into_iter().next()?;
            Some(format!("rollout {}: {why}", rollout.short()))
        };
        Ok(found.into_iter().filter_map(|(host, found)| Some((host, said(found)?))).collect())
    }
}
