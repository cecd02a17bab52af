//! Hosts behind load balancers that leave an environment by their labels, or come back to it, while no rollout is under
//! way there.
//!
//! Balancers have the word of the last rollout, of whoever was in the environment then. Who is of it no more since somebody
//! labelled it gets nothing from now on, as if it was drained, where somebody else serves; whom another selector leaves out
//! keeps what it has until the next rollout, whose plan says so, however it is labelled meanwhile: one slip in a file must not
//! take the traffic of many. Who is back gets its connections as if it was undrained (`rejoin`); but what another environment
//! gave it gets none here: it is first brought what is live, as a newcomer (`newcomers`).

use std::{collections::BTreeMap, time::Duration};

use longshore_common::{
    assignment::Intent,
    chain::Chain,
    ids::{AppName, EnvName, HostId, RolloutId},
    label::Selector,
};

use super::{
    Engine,
    records::{self, Given, HostApp, LiveRecord},
    states,
};
use crate::{
    fleet::{Host, host},
    rollout::{Event, Header, HostProgress, HostState, Member, Rollout, Target},
    store::{Key, Prefix, record},
    trouble::Trouble,
};

/// For whoever labels a host to wait until balancers hear of it. A commit takes far less, and some that others get in the way
/// of about as much.
const HEARD: Duration = Duration::from_secs(10);

/// How a host stands today in the environment of a rollout that told balancers of it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Its connections are its own.
    Its,
    /// It is of the environment no more.
    Gone,
    /// Another environment gave it what it runs.
    Foreign(EnvName),
    /// It left that rollout, which is under way, or it does not run what is live.
    Left,
    /// It came, or was back, with something else than is live, and was not brought that.
    Behind,
}

/// What an environment's balancers send a host, and why, where that follows from its labels or from what it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrafficNote {
    pub env: EnvName,
    pub app: AppName,
    pub note: String,
}

impl Engine {
    /// Somebody changed the host's labels, which were these before: balancers hear of it, also where whoever did so does not
    /// wait.
    pub async fn labels_changed(&self, before: Host) {
        self.follow_within(HEARD, before).await;
    }

    /// What takes longer goes on beside.
    pub(super) async fn follow_within(&self, limit: Duration, before: Host) {
        let (engine, stop, host) = (self.clone(), self.inner.stop.clone(), before.id);
        let follows = self.inner.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                followed = engine.follow_labels(Some(&before)) => if let Err(trouble) = followed {
                    tracing::warn!(%host, trouble = %Chain(&trouble), "balancers hear of its labels with the next rollout");
                },
            }
        });
        match tokio::time::timeout(limit, follows).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => {
                tracing::warn!(%host, error = %e, "balancers hear of its labels with the next rollout");
            }
            Err(_) => {
                tracing::warn!(%host, "balancers have not heard of its labels for {limit:?}: that goes on")
            }
        }
    }

    /// What labels make of hosts where balancers have the word of a rollout that is over: of the one that was labelled (as it
    /// was before), if it left by that, they are told at once; and those that are back are taken up.
    pub(super) async fn follow_labels(&self, labelled: Option<&Host>) -> Result<(), Trouble> {
        let hosts = host::list(&self.inner.store).await?.into_iter().map(|host| (host.id, host));
        let hosts: BTreeMap<HostId, Host> = hosts.collect();
        for rollout in self.directing().await? {
            let Header { id: rollout_id, app, env, .. } = &rollout.header;
            if !rollout.phase().is_done() {
                continue; // it is told itself (`untold`)
            }
            let Some(selector) = self.selector(env).await? else { continue };
            let left_by_that =
                |id: &HostId| labelled.is_some_and(|before| before.id == *id && before.fits(&selector));
            for id in leaving(&rollout, &selector, &hosts).into_iter().filter(left_by_that) {
                tracing::info!(%env, %app, host = %rollout.hosts[&id].name, "it left: balancers send it nothing");
                self.tell(rollout_id, &Event::HostDrained { host: id, drained: true }).await?;
                self.inner.newcomers.notify_one(); // it may be back by now
            }
            let waits = |host: &Host| host.drained.is_some() || host.rejoining.is_some();
            let out = rollout.hosts.iter().filter(|(_, known)| known.benched || known.has_left());
            let out = out.filter_map(|(id, _)| hosts.get(id));
            let here: Vec<&Host> = out.filter(|host| host.fits(&selector) && !waits(host)).collect();
            for host in here {
                if self.place(&rollout, host).await? == Place::Its {
                    self.drain_changed(host.id);
                }
            }
        }
        Ok(())
    }

    /// Of the rollouts whose word balancers have about the host, those in whose environments it may have its connections.
    pub(super) async fn that_may_send(&self, host: &Host) -> Result<Vec<Rollout>, Trouble> {
        let mut its = vec![];
        for rollout in self.balancing(&host.id).await? {
            if self.place(&rollout, host).await? == Place::Its {
                its.push(rollout);
            }
        }
        Ok(its)
    }

    /// For whoever looks at the host. Of a rollout under way `rollout explain` says how it stands.
    pub async fn traffic_notes(&self, host: &Host) -> Result<Vec<TrafficNote>, Trouble> {
        let mut notes = vec![];
        for rollout in self.balancing(&host.id).await? {
            let known = &rollout.hosts[&host.id];
            if !rollout.phase().is_done() || known.route.is_none() {
                continue;
            }
            let Header { id, env, app, .. } = &rollout.header;
            let out = known.benched || known.has_left();
            let note = match self.place(&rollout, host).await? {
                Place::Gone if out => {
                    format!("its labels are not those of {env}: balancers send it nothing from now on")
                }
                Place::Gone if self.leaves(&rollout, host).await? => format!(
                    "its labels are not those of {env}; balancers send it what they did until the next rollout there"
                ),
                Place::Gone => format!(
                    "its labels are not those of {env}; balancers send it what they did until the next rollout there, for \
                     nobody else serves"
                ),
                Place::Foreign(by) if out => format!(
                    "it runs what {by} gave it: balancers send it nothing before it is brought what is live in {env}"
                ),
                Place::Left if out => format!(
                    "it left rollout {} and does not run what is live: balancers send it nothing before the next rollout",
                    id.short()
                ),
                Place::Behind if out => {
                    "it does not run what is live: balancers send it nothing before it is brought that"
                        .to_owned()
                }
                Place::Its | Place::Foreign(_) | Place::Left | Place::Behind => continue,
            };
            notes.push(TrafficNote { env: env.clone(), app: app.clone(), note });
        }
        Ok(notes)
    }

    /// Whether somebody else serves, so that it can go.
    async fn leaves(&self, rollout: &Rollout, host: &Host) -> Result<bool, Trouble> {
        let Some(selector) = self.selector(&rollout.header.env).await? else { return Ok(false) };
        let hosts = host::list(&self.inner.store).await?.into_iter().map(|host| (host.id, host));
        let hosts: BTreeMap<HostId, Host> = hosts.collect();
        Ok(leaving(rollout, &selector, &hosts).contains(&host.id))
    }

    /// The last rollout of the app there whose word balancers have. One that cannot be read has told them nothing.
    pub(super) async fn told_last(&self, env: &EnvName, app: &AppName) -> Result<Option<Rollout>, Trouble> {
        let store = &self.inner.store;
        let mut last: Option<RolloutId> = None;
        for entry in store.list(&Prefix::assignments()).await?.entries {
            let Given { assignment, .. } = record::decode_entry(&entry)?;
            if assignment.intent == Intent::Direct && assignment.env == *env && assignment.app == *app {
                last = last.max(Some(assignment.rollout)); // ids sort by time
            }
        }
        let Some(id) = last else { return Ok(None) };
        match records::load(store, &id).await {
            Ok(loaded) => Ok(loaded.map(|loaded| loaded.rollout)),
            Err(trouble) => {
                tracing::warn!(rollout = %id, %env, %app, trouble = %Chain(&trouble), "what balancers were told is not known");
                Ok(None)
            }
        }
    }

    /// Members that run something else than is live, and of which balancers have no word that they serve: they came, or are
    /// back, since the last rollout there, or were strangers to that one and are still.
    pub(super) async fn mark_strangers(
        &self,
        env: &EnvName,
        app: &AppName,
        live: &LiveRecord,
        members: &mut [Member],
    ) -> Result<(), Trouble> {
        let Some(told) = self.told_last(env, app).await? else { return Ok(()) };
        let is_live = |runs: &Target| *runs == live.target.on_host(&runs.layers);
        for member in members {
            let known = told.hosts.get(&member.id).is_some_and(|known| serves(known, member.drained));
            let runs_it = member.previous.as_ref().is_some_and(is_live);
            member.foreign |= !known && !runs_it;
        }
        Ok(())
    }

    async fn place(&self, rollout: &Rollout, host: &Host) -> Result<Place, Trouble> {
        let (store, Header { env, app, .. }) = (&self.inner.store, &rollout.header);
        // One that cannot be read has taken nobody out.
        let Some(selector) = self.selector(env).await? else { return Ok(Place::Its) };
        if !host.fits(&selector) {
            return Ok(Place::Gone);
        }
        let left = rollout.hosts.get(&host.id).is_some_and(|known| known.has_left());
        if !rollout.phase().is_done() {
            // What it runs is the rollout's own business.
            return Ok(if left { Place::Left } else { Place::Its });
        }
        let live = records::get::<LiveRecord>(store, &Key::live(env, app)).await?.map(|(live, _)| live);
        let (state, _) = states::known(store, &host.id, app).await?;
        let given_by = state.as_ref().and_then(HostApp::given_by).filter(|by| *by != env);
        if let (Some(by), true) = (given_by, live.is_some()) {
            return Ok(Place::Foreign(by.clone()));
        }
        let runs = state.as_ref().and_then(HostApp::previous);
        let runs_it =
            runs.zip(live.as_ref()).is_some_and(|(runs, live)| *runs == live.target.on_host(&runs.layers));
        let is_behind = |known: &HostProgress| {
            known.foreign && !matches!(known.state, HostState::Healthy | HostState::Unchanged)
        };
        let behind = rollout.hosts.get(&host.id).is_some_and(|known| is_behind(known));
        Ok(match (runs_it, left) {
            (true, _) => Place::Its,
            (false, true) => Place::Left,
            (false, false) if behind => Place::Behind,
            (false, false) => Place::Its,
        })
    }
}

/// By what balancers were told of it, the host has traffic, or would have if it were its turn: of two groups one has none.
/// Of one that is drained: when it is drained no longer.
fn serves(known: &HostProgress, drained: bool) -> bool {
    let told = known.route.is_some_and(|route| route.weight > 0 || !known.foreign);
    told && (drained || !known.benched) && !known.has_left()
}

/// Those that balancers have as hosts of the environment and that are of it no more. Nobody, where nobody else serves: a
/// selector that leaves nobody is a slip, or the end of the environment.
fn leaving(rollout: &Rollout, selector: &Selector, hosts: &BTreeMap<HostId, Host>) -> Vec<HostId> {
    let told = |known: &HostProgress| known.route.is_some() && !known.benched && !known.has_left();
    let fits = |id: &HostId| hosts.get(id).is_some_and(|host| host.fits(selector));
    let serves = |known: &HostProgress| told(known) && known.route.is_some_and(|route| route.weight > 0);
    if !rollout.hosts.iter().any(|(id, known)| fits(id) && serves(known)) {
        return vec![];
    }
    let left = rollout.hosts.iter().filter(|(id, known)| told(known) && !fits(id) && hosts.contains_key(*id));
    left.map(|(id, _)| *id).collect()
}
