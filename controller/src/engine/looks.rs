//! The last looks that are under way. They are not kept: a task that is taken up again, as after a controller was down,
//! begins its look anew, however long ago the bake or the watch was over.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
};

use longshore_common::{ids::RolloutId, time::Millis};
use tokio::sync::mpsc;

use super::runner::Job;
use crate::rollout::{Event, LastLook, Refused, Rollout, Transition, last_look, step, step_in_look};

/// The look that each rollout's task has begun last.
#[derive(Debug, Default)]
pub(super) struct Looks(Mutex<HashMap<RolloutId, LastLook>>);

impl Looks {
    pub fn under_way(&self, rollout: &Rollout, now: Millis) -> Option<LastLook> {
        let begun = self.all().get(&rollout.header.id).copied();
        last_look(rollout, begun, now)
    }

    /// The same; one that is due begins by it.
    pub fn begin(&self, rollout: &Rollout, now: Millis) -> Option<LastLook> {
        let look = self.under_way(rollout, now)?;
        self.all().insert(rollout.header.id, look);
        Some(look)
    }

    /// What the rollout becomes now. `over`: the look that has come to its end.
    pub fn step(
        &self,
        rollout: &Rollout,
        event: Event,
        now: Millis,
        over: Option<LastLook>,
    ) -> Result<Transition, Refused> {
        match self.under_way(rollout, now) {
            Some(look) if over != Some(look) => step_in_look(rollout, event, look, now),
            Some(_) | None => step(rollout, event, now),
        }
    }

    /// Nobody looks any more.
    pub fn forget(&self, id: &RolloutId) {
        self.all().remove(id);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<RolloutId, LastLook>> {
        self.0.lock().expect("nothing panics while it holds the lock")
    }
}

/// Whoever is unwell or could not be looked at, and then that the look is over.
pub(super) fn found(unwell: &mut mpsc::Receiver<Event>, last: LastLook) -> Vec<Job> {
    let failed = std::iter::from_fn(|| unwell.try_recv().ok()).map(Job::Fact);
    failed.chain([Job::Looked(last)]).collect()
}
