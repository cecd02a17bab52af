//! Assignments that a host holds and this store never gave.

use longshore_common::{
    code::{Code, Coded},
    ids::Generation,
};

use super::{End, Session};
use crate::{
    engine::records::{self, SEQUENCE},
    fleet::{
        FleetEvent,
        words::{AppSeen, Hello},
    },
    store::Key,
};

/// Rollouts that a store may be behind its hosts: one that was restored from an older copy lacks those that were made since.
const BEHIND_MAX: u64 = 1 << 20;
/// What the audit log says of a host that is further ahead.
const IMPOSSIBLE: &str = "told of an assignment that nobody gave";

impl Session {
    /// A number that no copy of this store can have given ends the session. Believed, every rollout of the fleet would be
    /// numbered after it, and there are only so many numbers: one host could use them up for all.
    pub(super) async fn refuse_impossible(&mut self, hello: &Hello) -> Result<(), End> {
        let given = records::get::<u64>(&self.fleet.inner.store, &Key::counter(SEQUENCE)).await?;
        let given = given.map_or(0, |(given, _)| given);
        let impossible = |seen: &&AppSeen| seen.generation.sequence() > given.saturating_add(BEHIND_MAX);
        let Some(seen) = hello.apps.iter().find(impossible) else { return Ok(()) };
        let why = format!(
            "host {} says that it holds assignment {} of {}, and the last that was given is of rollout {given}: its state \
             is damaged, or somebody speaks in its place. It is served nothing. On the host, as root: stop longshore-agent \
             and longshore-helper, move /var/lib/longshore/state away, and start them",
            self.host.name, seen.generation, seen.app
        );
        if let Err(error) = self.fleet.record_told(&self.host, IMPOSSIBLE, &why).await {
            tracing::warn!(host = %self.host.id, %error, "not recorded");
        }
        Err(End::Said(Coded::new(Code::O03, why)))
    }

    /// An agent that has accepted more than we ever said was assigned by a store that ours is an older copy of.
    pub(super) async fn tell_if_ahead(&mut self, hello: &Hello) -> Result<(), End> {
        let assigned = self.assigned().await?.0;
        for seen in &hello.apps {
            let ours = assigned.iter().find(|assignment| assignment.app == seen.app);
            if seen.generation > ours.map_or(Generation::default(), |assignment| assignment.generation) {
                let (host, app, generation) = (self.host.id, seen.app.clone(), seen.generation);
                self.fleet.tell(FleetEvent::Ahead { host, app, generation }).await;
            }
        }
        Ok(())
    }
}
