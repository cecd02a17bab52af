//! How a rollout begins: everything that can be known to be wrong is refused here, before a record exists.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use longshore_common::{
    code::{Code, Coded},
    ids::{AppName, EnvName, HostId, OperatorName, RolloutId, Version},
    settings::Values,
    time::{Millis, Span},
};
use uuid::Uuid;

use super::{
    Engine, Ticket,
    behind::address_of,
    commit,
    newcomers::{leave_out_all_but, no_longer_live},
    permit::{Wanted, permit},
    records::{self, HostApp, LiveRecord, Lock, Record, SEQUENCE},
    settings, snapshots, states,
    way_back::{Past, WayBack},
};
use crate::{
    bundle::{self, Release, Withdrawal},
    config::{Environment, env::Newcomers},
    environments::{self, freeze},
    fleet::{Host, host},
    gate::Checks,
    notify::{outbox, rollouts},
    rollout::{Behind, LocalHold, Member, New, Rollout, Snapshot, Snapshots, Target},
    store::{Guard, Key, Revision},
    trouble::Trouble,
};

/// New attempts when hosts or releases change at the same moment.
const ATTEMPTS: u32 = 8;
/// A moment that passed this long ago is still meant as now.
const LATE_MS: Millis = 60_000;
/// Rollouts that are over and kept, of one app in one environment.
const KEPT: usize = 50;
/// The same of those that brought newcomers what was live: where hosts come and go by the hour, they are many.
const NEWCOMERS_KEPT: usize = 10;

/// What an operator asks for.
#[derive(Clone, Debug)]
pub struct StartRequest {
    pub app: AppName,
    /// `None`: what was live before; only with `rollback`.
    pub version: Option<Version>,
    pub env: EnvName,
    /// The same id never starts a second rollout.
    pub request_id: Uuid,
    pub by: OperatorName,
    pub reason: String,
    pub rollback: bool,
    /// Of the way back: releases that hosts would refuse by what is signed, and why (`is revoked …`).
    pub refused: BTreeMap<Version, String>,
    /// The plan that it follows; `None`: going back, which asks nobody first.
    pub ticket: Option<Arc<Ticket>>,
    /// Hosts that came since what is live became so, or missed it: it is brought to them alone. Empty: to all.
    pub newcomers: BTreeSet<HostId>,
    /// Not to begin before, as people write it: `2026-11-29 01:45`, `+2h`, `next`; empty: at once.
    pub at: String,
}

impl Engine {
    /// Starts a rollout, or finds the one that this request has started before.
    pub async fn start(&self, request: StartRequest) -> Result<RolloutId, Trouble> {
        for attempt in 0.. {
            match self.try_start(&request).await {
                Err(trouble) if trouble.is_conflict() && attempt < ATTEMPTS => {}
                result => return result,
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn try_start(&self, request: &StartRequest) -> Result<RolloutId, Trouble> {
        let store = &self.inner.store;
        let StartRequest { app, env, .. } = request;
        let past = records::list(store).await?;
        let request_id = request.request_id.to_string();
        if let Some(done) = past.iter().find(|record| record.request_id == request_id) {
            return Ok(done.header.id);
        }
        if let Some((lock, _)) = records::get::<Lock>(store, &Key::active(env, app)).await? {
            return Err(busy(&lock, env, app, self.now()).into());
        }
        let (environment, env_revision) = environments::load(store, env).await?;
        let live = records::get::<LiveRecord>(store, &Key::live(env, app)).await?.map(|(live, _)| live);
        let history = Past { app, env, live: live.as_ref(), records: &past, refused: &request.refused };
        let (target, snapshot, release, reason) = self.target(request, &environment, &history).await?;
        let now = self.now();
        let start_at = self.start_at(&request.at, env).await?;
        let back = request.rollback
            && live
                .as_ref()
                .is_some_and(|live| live.before.iter().any(|before| before.release == target.release));
        let newcomers = !request.newcomers.is_empty();
        let proven = back || newcomers;
        let wanted = Wanted {
            environment: &environment,
            app,
            release: target.release,
            back: proven,
            plan: request.ticket.as_ref().map(|ticket| &ticket.plan.digest),
            by: &request.by,
            overrides: request.ticket.as_ref().map(|ticket| &ticket.overrides[..]).unwrap_or_default(),
            at: start_at.unwrap_or(now),
        };
        let permit = permit(store, &wanted, &past, now).await?;
        // What has proved itself here runs no tests, and is never held up by where they would run.
        let mut runners = match proven {
            true => vec![],
            false => self.runners(&environment, app, snapshot.as_ref()).await?,
        };
        let only = &request.newcomers;
        let (mut members, snapshots, behind) =
            self.settled(&environment, app, &target, snapshot.clone(), only).await?;
        if let Some(ticket) = &request.ticket {
            ticket.mark(&mut members);
        }
        if let (Some(_), Some(live)) = (&behind, &live) {
            self.mark_strangers(env, app, live, &mut members).await?;
        }
        settings::openable(store, env, snapshot.as_ref(), &members).await?;
        let first = live.is_none() && nothing_runs(&members);
        let counter = Key::counter(SEQUENCE);
        let (sequence, counted) = records::get::<u64>(store, &counter).await?.unzip();
        let sequence = sequence.unwrap_or(0) + 1;
        let id = RolloutId(Uuid::now_v7());
        let spec = match (proven, first) {
            (true, _) => environment.spec.clone().for_the_way_back(),
            (false, true) => environment.spec.clone().for_the_first_release(),
            (false, false) => environment.spec.clone(),
        };
        let replaces = request.ticket.as_ref().is_some_and(|ticket| ticket.replaces());
        let new = New {
            id,
            sequence,
            app: app.clone(),
            env: env.clone(),
            target: target.clone(),
            from_version: live.map(|live| live.target.version),
            spec: if replaces { spec.for_a_release_without_sides() } else { spec },
            keep_slots: environment.keep_slots,
            snapshots,
            back,
            follows: environment.newcomers == Newcomers::Follow,
            start_at,
            behind,
        };
        let rollout = Rollout::new(new, &members, now)?;
        let ticket = request.ticket.as_deref();
        ticket.map_or(Ok(()), |ticket| ticket.check(&rollout))?;
        let record = Record {
            header: rollout.header.clone(),
            request_id: request_id.clone(),
            started_by: request.by.to_string(),
            reason,
            rollback: request.rollback,
            newcomers,
            plan: ticket.map(|ticket| ticket.plan.digest),
            overrides: ticket.map(|ticket| ticket.overrides.clone()).unwrap_or_default(),
        };
        let lock = Lock {
            rollout: id,
            version: target.version.clone(),
            request_id,
            started_by: request.by.to_string(),
            since_ms: now,
        };
        // One that is to begin later holds nothing until then.
        let lock = start_at.is_none().then_some(lock);
        if lock.is_none() {
            runners.clear();
        }
        let checks = Checks::of(&environment.gates);
        let mut guards = vec![
            Guard::Unchanged(Key::env(env), env_revision),
            Guard::Unchanged(Key::release(app, &target.version), release),
            match counted {
                Some(revision) => Guard::Unchanged(counter.clone(), revision),
                None => Guard::Absent(counter.clone()),
            },
        ];
        guards.extend(permit.guards);
        let mut writes = permit.writes;
        for runner in &runners {
            let (guard, write) = runner.lent(&rollout)?;
            guards.push(guard);
            writes.push(write);
        }
        if let Some(at) = start_at {
            let told = rollouts::scheduled(&record, environment.calendar.say_moment(at));
            writes.extend(outbox::writes_of(store, env, &[told], now).await?);
        }
        let numbered = (counter, sequence);
        commit::create(store, &record, &rollout, (guards, writes), numbered, lock.as_ref(), &checks).await?;
        tracing::info!(rollout = %id, %app, %env, version = %target.version, by = %request.by,
            hosts = members.len(), "rollout started");
        self.spawn(id);
        self.forget_old(past, request).await;
        Ok(id)
    }

    /// When a rollout is to begin for which people wrote this; `None`: at once.
    pub async fn start_at(&self, text: &str, env: &EnvName) -> Result<Option<Millis>, Trouble> {
        if text.is_empty() {
            return Ok(None);
        }
        let calendar = freeze::calendar(&self.inner.store, env).await?;
        let now = self.now();
        let at = calendar.moment(text, now)?;
        if at < now - LATE_MS {
            let said = calendar.say_moment(at);
            let message = format!("{said} is past; to start now, leave --at away");
            return Err(Trouble::refused(Code::V01, message));
        }
        if at > now + Span::MAX_MS as Millis {
            let message = format!("{} is more than a year away", calendar.say_moment(at));
            return Err(Trouble::refused(Code::V01, message));
        }
        Ok((at > now).then_some(at))
    }

    /// What is to run, its settings, the revision of its release, and why.
    async fn target(
        &self,
        request: &StartRequest,
        environment: &Environment,
        history: &Past<'_>,
    ) -> Result<(Target, Option<Snapshot>, Revision, String), Trouble> {
        let StartRequest { app, env, version, rollback, .. } = request;
        let live = history.live;
        let mut reason = request.reason.clone();
        let before = match (rollback, version) {
            _ if !request.newcomers.is_empty() => {
                let live = live.filter(|live| Some(&live.target.version) == version.as_ref());
                Some(live.ok_or_else(|| no_longer_live(app, env))?.target.clone())
            }
            (false, None) => return Err(Trouble::refused(Code::V01, "say which version to roll out")),
            (false, Some(_)) => None,
            (true, None) => {
                let way = WayBack::find(&self.inner.store, history).await?;
                let target = way.unsaid(history)?;
                reason = way.reason(&reason);
                Some(target)
            }
            (true, Some(version)) => {
                live.and_then(|live| live.before.iter().find(|target| target.version == *version).cloned())
            }
        };
        let wanted = before.as_ref().map(|target| &target.version).or(version.as_ref());
        let wanted = wanted.expect("a version was given, or one was found");
        let found = bundle::load(&*self.inner.store, app, wanted).await?;
        let (release, revision) = found.ok_or_else(|| unpublished(app, wanted))?;
        if let Some(withdrawal) = &release.withdrawn {
            let way = match rollback {
                true => WayBack::find(&self.inner.store, history).await?.command(history),
                false => None,
            };
            return Err(withdrawn(&release, withdrawal, way).into());
        }
        // What was live before, and what is, takes the settings of that time along; everything else has those of now.
        if let Some(target) = before {
            let then = snapshots::load_all(&self.inner.store, target.snapshot.into_iter().collect()).await?;
            let snapshot = then.into_values().next().map(|snapshot| (*snapshot).clone());
            return Ok((target, snapshot, revision, reason));
        }
        let snapshot = environment.snapshot(app);
        let target = Target {
            version: release.version.clone(),
            release: release.digest,
            snapshot: snapshot.as_ref().map(Snapshot::digest),
            layers: vec![],
            values: Values::new(),
        };
        Ok((target, snapshot, revision, reason))
    }

    /// What was live there before what is, the newest first.
    pub async fn lived_before(&self, env: &EnvName, app: &AppName) -> Result<Vec<Target>, Trouble> {
        let live = records::get::<LiveRecord>(&self.inner.store, &Key::live(env, app)).await?;
        Ok(live.map(|(live, _)| live.before).unwrap_or_default())
    }

    /// The rollout that a request started before.
    pub async fn started_by(&self, request_id: &Uuid) -> Result<Option<RolloutId>, Trouble> {
        let request_id = request_id.to_string();
        let past = records::list(&self.inner.store).await?;
        Ok(past.into_iter().find(|record| record.request_id == request_id).map(|record| record.header.id))
    }

    /// Which rollout moves the app in the environment now, in words that say what can be done.
    pub async fn busy(&self, env: &EnvName, app: &AppName) -> Result<Option<String>, Trouble> {
        let lock = records::get::<Lock>(&self.inner.store, &Key::active(env, app)).await?;
        Ok(lock.map(|(lock, _)| busy(&lock, env, app, self.now()).message))
    }

    /// The environment's hosts, as they stand now, each with the layers of the settings that hold for it; and every
    /// snapshot that they name; and the load balancers before them. At least one host. All but `only`, where it names any,
    /// are left out. Whether they can open what is sealed is for whoever knows which of them take part.
    pub async fn settled(
        &self,
        environment: &Environment,
        app: &AppName,
        target: &Target,
        snapshot: Option<Snapshot>,
        only: &BTreeSet<HostId>,
    ) -> Result<(Vec<Member>, Snapshots, Option<Behind>), Trouble> {
        let store = &self.inner.store;
        let mut members = self.members(environment, app).await?;
        let behind = self.behind(environment, app, target, &mut members).await?;
        if !only.is_empty() {
            leave_out_all_but(only, &environment.name, &mut members)?;
        }
        settings::lay(app, &environment.name, snapshot.as_ref(), &mut members)?;
        let snapshots = settings::gather(store, snapshot, &members).await?;
        Ok((members, snapshots, behind))
    }

    /// The environment's hosts, as they stand now. At least one.
    async fn members(&self, environment: &Environment, app: &AppName) -> Result<Vec<Member>, Trouble> {
        let mut members = vec![];
        for host in host::list(&self.inner.store).await? {
            if host.belongs(&environment.selector) {
                members.push(self.member(host, app, &environment.name).await?);
            }
        }
        if members.is_empty() {
            let (env, selector) = (&environment.name, &environment.selector);
            let message = format!(
                "no host matches the selector \"{selector}\" of environment {env}. \
                 See: longshore host list; set labels: longshore host label"
            );
            return Err(Trouble::refused(Code::R01, message));
        }
        Ok(members)
    }

    pub(super) async fn member(&self, host: Host, app: &AppName, env: &EnvName) -> Result<Member, Trouble> {
        let (state, _) = states::known(&self.inner.store, &host.id, app).await?;
        let presence = self.inner.fleet.presence();
        let hold = presence.connected(&host.id).and_then(|connected| connected.hold);
        let given_by = state.as_ref().and_then(HostApp::given_by);
        let foreign = given_by.is_some_and(|by| by != env)
            && records::get::<LiveRecord>(&self.inner.store, &Key::live(env, app)).await?.is_some();
        Ok(Member {
            previous: state.as_ref().and_then(|state| state.previous().cloned()),
            foreign,
            layers: vec![],
            sick: state.as_ref().is_some_and(HostApp::is_sick),
            silent: presence.is_silent(&host.id).then(|| self.now()),
            held: hold.map(|hold| LocalHold { reason: hold.sentence(), since: hold.since_ms }),
            drained: host.drained.is_some() || host.rejoining.is_some(),
            left_drained: host.drained.is_some() && host.barred.is_none(),
            group: None,
            address: address_of(&host),
            replaces: false, // of the release, which its plan knows
            excluded: host.left_out(),
            id: host.id,
            name: host.name,
            labels: host.labels,
        })
    }

    /// Drops the oldest rollouts of the app in the environment that are over, beyond those that are kept.
    async fn forget_old(&self, past: Vec<Record>, request: &StartRequest) {
        let of_app = past.into_iter().filter(|record| {
            record.header.app == request.app
                && record.header.env == request.env
                && record.header.phase.is_done()
        });
        let (newcomers, others): (Vec<Record>, Vec<Record>) = of_app.partition(|record| record.newcomers);
        let oldest = |records: &[Record], kept: usize| -> Vec<RolloutId> {
            let more = records.len().saturating_sub(kept);
            records.iter().take(more).map(|record| record.header.id).collect()
        };
        let over = [oldest(&newcomers, NEWCOMERS_KEPT), oldest(&others, KEPT)].concat();
        for id in &over {
            if let Err(trouble) = commit::forget(&self.inner.store, id).await {
                let trouble = longshore_common::chain::Chain(&trouble).to_string();
                tracing::warn!(rollout = %id, trouble, "an old rollout was not dropped; the next start tries again");
            }
        }
        if !over.is_empty()
            && let Err(trouble) = snapshots::sweep(&self.inner.store, self.now()).await
        {
            let trouble = longshore_common::chain::Chain(&trouble).to_string();
            tracing::warn!(trouble, "old settings were not dropped; the next start tries again");
        }
    }
}

/// No host has anything of the app that could have traffic.
pub fn nothing_runs(members: &[Member]) -> bool {
    members.iter().all(|member| member.previous.is_none())
}

fn unpublished(app: &AppName, version: &Version) -> Coded {
    let message =
        format!("release {app}@{version} was never published here. See: longshore release list {app}");
    Coded::new(Code::N01, message)
}

fn withdrawn(release: &Release, withdrawal: &Withdrawal, way: Option<String>) -> Coded {
    let Release { app, version, .. } = release;
    let Withdrawal { by, reason, at_ms: _ } = withdrawal;
    let other = match way {
        Some(command) => format!("Go back to another: {command}"),
        None => "Publish another version".to_owned(),
    };
    Coded::new(Code::R01, format!("release {app}@{version} was withdrawn by {by}: {reason}. {other}"))
}

fn busy(lock: &Lock, env: &EnvName, app: &AppName, now: Millis) -> Coded {
    let ago = Span(Duration::from_secs(((now - lock.since_ms).max(0) / 1000) as u64));
    let Lock { rollout, version, started_by, .. } = lock;
    let rollout = rollout.short();
    let message = format!(
        "{app} in {env} is held by rollout {rollout} of {app}@{version}, started by {started_by} {ago} ago. \
         Watch it: longshore rollout watch {rollout}; or end it: longshore rollout abort {rollout}"
    );
    Coded::new(Code::R02, message)
}
