//! Hosts that come to be of an environment by themselves: they enrolled, were let in, got a label, or the selector has
//! become another. A rollout under way takes them in; otherwise what is live is brought to them, by a rollout that
//! touches no other host. Scenario 94.
//!
//! A host that the environment has asked anything before is no newcomer, nor is one that was of the rollout that made
//! live what is, or was left out of one since: what did not work there, or was not meant for it, is not tried by itself.
//! Whoever was of another environment meanwhile, and was asked something by that, comes anew.
//! One whose settings were in the way is looked at again. One that was away, held or drained while it was rolled out gets it
//! in the same way (`missed`).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use longshore_common::{
    assignment::Intent,
    chain::Chain,
    code::{Code, Coded},
    ids::{AppName, EnvName, HostId, RolloutId, Version},
};
use uuid::Uuid;

use super::{
    Engine, StartRequest, behind,
    missed::{self, Claim},
    records::{self, Given, LiveRecord, Record},
    runner::Job,
    settings, snapshots,
    time::deadline,
    unbrought::{Obstacle, Unbrought},
    watched::wake_by,
};
use crate::{
    config::{Environment, env::Newcomers},
    environments::{self, freeze},
    fleet::{Host, host},
    rollout::{Event, Header, Member, Rollout, Snapshots},
    store::{Prefix, SharedStore, key::Name, record},
    trouble::Trouble,
};

/// Why everybody else is left out of them.
pub(super) const ONLY_NEWCOMERS: &str = "only newcomers are brought what is live";
/// Before the command, in the reason of whoever is left out for its settings.
pub(super) const THEN: &str = "; then apply the file and: ";
/// Who starts the rollouts that bring newcomers what is live.
const BY: &str = "longshore";
/// Hosts that come together are brought in together.
const TOGETHER: Duration = Duration::from_secs(1);
/// Before a newcomer that could not be brought in is looked at again.
const AGAIN: Duration = Duration::from_secs(60);
/// Hosts that the reason of a rollout names.
const NAMED: usize = 5;

/// Until the controller stops: looks for newcomers whenever a host, an environment or a rollout's end may have made one, and
/// when nothing closes or locks an environment any more.
pub(super) async fn watch(engine: Engine) {
    let stop = engine.inner.stop.clone();
    for prefix in [Prefix::hosts(), Prefix::envs(), Prefix::freezes(), Prefix::locks()] {
        let look = |engine: Engine| async move { engine.inner.newcomers.notify_one() };
        engine.inner.tasks.spawn(wake_by(engine.clone(), prefix, look));
    }
    loop {
        let (looked, left) = match engine.look_who_comes_and_goes().await {
            Ok(left) => (true, left),
            Err(trouble) => {
                tracing::warn!(trouble = %Chain(&trouble), "newcomers are looked for again in {AGAIN:?}");
                (false, true)
            }
        };
        let again = async {
            match left {
                true => tokio::time::sleep(AGAIN).await,
                false => std::future::pending().await,
            }
        };
        // What was found before a look that failed may have opened long ago, and is no reason to look without a pause.
        let opens = engine.inner.left.opens_ms().filter(|opens_ms| looked || *opens_ms > engine.now());
        let opens = deadline(&engine, opens);
        tokio::select! {
            () = stop.cancelled() => return,
            () = engine.inner.newcomers.notified() => {}
            () = opens => {}
            () = again => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TOGETHER) => {}
        }
    }
}

/// What is under way or live, by environment and app.
struct Standing {
    active: Vec<(EnvName, AppName, RolloutId)>,
    live: Vec<(EnvName, AppName, LiveRecord)>,
    /// What each host was asked last, by app.
    asked: BTreeMap<(HostId, AppName), Given>,
}

/// A host that is to be brought what is live.
#[derive(Clone, Copy)]
enum Comer<'h> {
    /// It came to the environment since.
    New(&'h Host),
    /// It is back.
    Back(&'h Host),
}

impl<'h> Comer<'h> {
    fn host(self) -> &'h Host {
        match self {
            Comer::New(host) | Comer::Back(host) => host,
        }
    }
}

impl Standing {
    async fn load(store: &SharedStore) -> Result<Self, Trouble> {
        let locks = records::locks(store).await?;
        let active = locks.into_iter().map(|(env, app, lock)| (env, app, lock.rollout)).collect();
        let mut live = vec![];
        for entry in store.list(&Prefix::live()).await?.entries {
            if let Name::Live(env, app) = entry.key.name()? {
                live.push((env, app, record::decode_entry(&entry)?));
            }
        }
        let mut asked = BTreeMap::new();
        for entry in store.list(&Prefix::assignments()).await?.entries {
            if let Name::Assignment(host, app) = entry.key.name()? {
                let given: Given = record::decode_entry(&entry)?;
                if given.assignment.intent != Intent::Direct {
                    asked.insert((host, app), given);
                }
            }
        }
        Ok(Self { active, live, asked })
    }

    fn is_busy(&self, env: &EnvName, app: &AppName) -> bool {
        self.active.iter().any(|(of, moved, _)| of == env && moved == app)
    }
}

impl Engine {
    async fn look_who_comes_and_goes(&self) -> Result<bool, Trouble> {
        self.let_go().await?;
        let followed = self.follow_labels(None).await;
        // What balancers were told before may be damaged, and is no matter of newcomers: they do not wait for it.
        let left = self.look_for_newcomers().await?;
        followed.map(|()| left)
    }

    /// Whether some could not be brought in, so that it has to be tried again.
    pub(super) async fn look_for_newcomers(&self) -> Result<bool, Trouble> {
        let store = &self.inner.store;
        let environments: Vec<Environment> = environments::list(store)
            .await?
            .iter()
            .filter_map(|applied| applied.read().ok()) // one that cannot be read is told when it is used
            .filter(|environment| environment.newcomers == Newcomers::Follow)
            .collect();
        let standing = Standing::load(store).await?;
        if environments.is_empty() || (standing.active.is_empty() && standing.live.is_empty()) {
            self.inner.left.replace(vec![]);
            return Ok(false);
        }
        let hosts = self.here().await?;
        let mut left = vec![];
        for environment in &environments {
            let of_it: Vec<&Host> = hosts.iter().filter(|host| host.belongs(&environment.selector)).collect();
            if !of_it.is_empty() {
                left.extend(self.bring_in(environment, &of_it, &standing).await?);
            }
        }
        let again = !left.is_empty();
        self.inner.left.replace(left);
        Ok(again)
    }

    /// Hosts that could take something now.
    async fn here(&self) -> Result<Vec<Host>, Trouble> {
        let hosts = host::list(&self.inner.store).await?;
        let presence = self.inner.fleet.presence();
        // In a frozen fleet nobody takes anything; that it is over is heard as the end of a hold is.
        let connected = |host: &Host| presence.connected(&host.id).is_some_and(|here| !here.is_frozen());
        let here = |host: &Host| connected(host) && host.left_out().is_none();
        Ok(hosts.into_iter().filter(here).collect())
    }

    /// Who came to the environment since a rollout was made whose turn has come now, here or away for the moment: what is
    /// live was brought to them meanwhile, so that nobody would look at them again.
    pub(super) async fn came_since(&self, rollout: &Rollout, hosts: &[Host]) -> Result<Vec<Event>, Trouble> {
        let environment = match environments::load(&self.inner.store, &rollout.header.env).await {
            Ok((environment, _)) if environment.newcomers == Newcomers::Follow => environment,
            Ok(_) | Err(Trouble::Refused(_)) => return Ok(vec![]),
            Err(trouble) => return Err(trouble),
        };
        let came = |host: &&Host| host.belongs(&environment.selector) && host.left_out().is_none();
        let came: Vec<&Host> = hosts.iter().filter(came).collect();
        self.joining(rollout, &came).await
    }

    /// Who could not be brought in.
    async fn bring_in(
        &self,
        environment: &Environment,
        hosts: &[&Host],
        standing: &Standing,
    ) -> Result<Vec<Unbrought>, Trouble> {
        let env = &environment.name;
        for (_, _, rollout) in standing.active.iter().filter(|(of, ..)| of == env) {
            self.offer(rollout, hosts).await?;
        }
        let mut left = vec![];
        for (_, app, live) in
            standing.live.iter().filter(|(of, app, _)| of == env && !standing.is_busy(of, app))
        {
            let newcomers = self.newcomers(environment, app, live, hosts, standing).await?;
            if newcomers.is_empty() {
                continue;
            }
            let calendar = freeze::calendar(&self.inner.store, env).await?;
            if let Some(closed) = calendar.closed(env, self.now()) {
                // A rollout that waited for it would keep others from being started.
                let obstacle = Obstacle::Closed { opens_ms: closed.until };
                left.extend(newcomers.iter().map(|comer| Unbrought {
                    obstacle,
                    ..self.left(env, app, comer.host(), &closed.reason)
                }));
                continue;
            }
            let mut scheduled = self.scheduled().await?;
            scheduled.retain(|Record { header, .. }| header.env == *env && header.app == *app);
            let mut ready = vec![];
            for comer in newcomers {
                match self.in_the_way(env, app, live, comer.host(), &scheduled).await? {
                    Some(why) => left.push(self.left(env, app, comer.host(), &why)),
                    None => ready.push(comer),
                }
            }
            if ready.is_empty() {
                continue;
            }
            match self.start(follow(env, app, live, &ready)).await {
                Ok(rollout) => {
                    tracing::info!(%rollout, %env, %app, hosts = ready.len(), "newcomers are brought in")
                }
                Err(trouble) => {
                    tracing::warn!(%env, %app, hosts = ready.len(), trouble = %Chain(&trouble),
                        "newcomers are not brought in yet");
                    let why = trouble.coded();
                    left.extend(ready.iter().map(|comer| self.left(env, app, comer.host(), &said(&why))));
                }
            }
        }
        Ok(left)
    }

    /// Why it is not the host's turn; none of the others has to wait for it.
    async fn in_the_way(
        &self,
        env: &EnvName,
        app: &AppName,
        live: &LiveRecord,
        host: &Host,
        scheduled: &[Record],
    ) -> Result<Option<String>, Trouble> {
        match self.is_planned(scheduled, host).await? {
            Some(why) => Ok(Some(why)),
            None => self.what_it_lacks(env, app, live, host).await,
        }
    }

    /// Why the host could not take the settings of what is live.
    async fn what_it_lacks(
        &self,
        env: &EnvName,
        app: &AppName,
        live: &LiveRecord,
        host: &Host,
    ) -> Result<Option<String>, Trouble> {
        let store = &self.inner.store;
        let then = snapshots::load_all(store, live.target.snapshot.into_iter().collect()).await?;
        let snapshot = then.into_values().next();
        let mut member = [self.member(host.clone(), app, env).await?];
        match settings::settle(store, env, app, snapshot.as_deref(), &mut member).await {
            Err(Trouble::Refused(why)) => {
                tracing::warn!(%env, %app, host = %host.name, %why, "a newcomer is not brought in yet");
                Ok(Some(mended(&why, app, &live.target.version, env)))
            }
            settled => settled.map(|()| None),
        }
    }

    fn left(&self, env: &EnvName, app: &AppName, host: &Host, why: &str) -> Unbrought {
        Unbrought {
            env: env.clone(),
            app: app.clone(),
            host: host.id,
            name: host.name.clone(),
            why: why.to_owned(),
            since_ms: self.now(),
            obstacle: Obstacle::Other,
        }
    }

    async fn newcomers<'h>(
        &self,
        environment: &Environment,
        app: &AppName,
        live: &LiveRecord,
        hosts: &[&'h Host],
        standing: &Standing,
    ) -> Result<Vec<Comer<'h>>, Trouble> {
        let env = &environment.name;
        let serving = behind::serving(environment, live);
        let presence = self.inner.fleet.presence();
        let asked = |host: &Host| {
            standing.asked.get(&(host.id, app.clone())).filter(|asked| asked.assignment.env == *env)
        };
        let has_it = |host: &Host| {
            let connected = presence.connected(&host.id);
            asked(host)
                .zip(connected)
                .is_some_and(|(asked, connected)| missed::runs_what_is_live(asked, &connected, live))
        };
        // One that has it and of which balancers were told nothing has no traffic.
        let told = match environment.spec.traffic.as_ref().and_then(|traffic| traffic.balancers.as_ref()) {
            Some(_) => self.told_last(env, app).await?,
            None => None,
        };
        let untold = |host: &Host| told.as_ref().is_some_and(|told| !told.hosts.contains_key(&host.id));
        let lacking: Vec<&Host> = hosts
            .iter()
            .filter(|host| serving.is_none_or(|group| host.fits(group)))
            .filter(|host| !has_it(host) || untold(host))
            .copied()
            .collect();
        if lacking.is_empty() {
            return Ok(vec![]);
        }
        // One that is held would decline it, and is looked at when it is let go.
        let held = |host: &Host| presence.connected(&host.id).is_some_and(|here| here.hold.is_some());
        let since = self.since(env, app, live).await?;
        let mut newcomers = vec![];
        for host in lacking {
            let given = standing.asked.get(&(host.id, app.clone()));
            let since_it_came = self.since_it_came(&since, given, env, host).await?;
            // One that is being taken back is looked at when that is over.
            let waits = held(host) || host.rejoining.is_some();
            if has_it(host) {
                newcomers.extend((!waits).then_some(Comer::New(host)));
                continue;
            }
            match self.claim(since_it_came, live, host).await? {
                Claim::New
                    if !waits && missed::came_anew(asked(host), presence.connected(&host.id), live) =>
                {
                    newcomers.push(Comer::New(host));
                }
                Claim::Missed(then) => {
                    if self.still_misses(&then, asked(host), &since, live, host, app).await? {
                        newcomers.push(Comer::Back(host));
                    }
                }
                Claim::New | Claim::Settled => {}
            }
        }
        Ok(newcomers)
    }

    /// The rollout takes those of the hosts in that it does not have yet.
    async fn offer(&self, rollout: &RolloutId, hosts: &[&Host]) -> Result<(), Trouble> {
        let Some(jobs) = self.jobs(rollout) else { return Ok(()) };
        let store = &self.inner.store;
        let Some(loaded) = records::load(store, rollout).await? else { return Ok(()) };
        for event in self.joining(&loaded.rollout, hosts).await? {
            // A task that has just ended needs no telling: it is looked again then.
            drop(jobs.send(Job::Fact(event)).await);
        }
        Ok(())
    }

    /// That those of the hosts join it that it does not have yet.
    async fn joining(&self, rollout: &Rollout, hosts: &[&Host]) -> Result<Vec<Event>, Trouble> {
        let mut joining = vec![];
        if rollout.takes_in() {
            for host in hosts.iter().filter(|host| !rollout.hosts.contains_key(&host.id)) {
                let (member, snapshots) = self.newcomer(rollout, host).await?;
                joining.push(Event::HostJoined { member: Box::new(member), snapshots });
            }
        }
        Ok(joining)
    }

    /// The host as a member of a rollout under way, and the snapshots that its way back names. What keeps it from taking
    /// part is told there.
    async fn newcomer(&self, rollout: &Rollout, host: &Host) -> Result<(Member, Snapshots), Trouble> {
        let Header { env, app, .. } = &rollout.header;
        let mut member = [self.member(host.clone(), app, env).await?];
        if let Err(why) = behind::group_as(&rollout.header, &mut member) {
            member[0].excluded.get_or_insert(why.message);
        }
        let store = &self.inner.store;
        let snapshot = rollout.snapshot().map(|snapshot| (**snapshot).clone());
        match settings::settle(store, env, app, snapshot.as_ref(), &mut member).await {
            Err(Trouble::Refused(why)) => {
                let why = mended(&why, app, &rollout.header.target.version, env);
                member[0].excluded.get_or_insert(why);
            }
            settled => settled?,
        }
        let snapshots = settings::gather(store, None, &member).await?;
        let [member] = member;
        Ok((member, snapshots))
    }
}

/// What is in the way, and what brings it to a host whose settings were mended in the file: a rollout has those of its
/// beginning, and takes nobody in twice.
fn mended(why: &Coded, app: &AppName, version: &Version, env: &EnvName) -> String {
    format!("{}{THEN}longshore rollout start {app}@{version} --to {env}", said(why))
}

/// `LS-K01 secret db cannot be opened: …`
fn said(why: &Coded) -> String {
    format!("{} {}", why.code, why.message)
}

fn follow(env: &EnvName, app: &AppName, live: &LiveRecord, newcomers: &[Comer<'_>]) -> StartRequest {
    let version = &live.target.version;
    let (mut new, mut back) = (vec![], vec![]);
    for comer in newcomers {
        match comer {
            Comer::New(host) => new.push(host.name.as_str()),
            Comer::Back(host) => back.push(host.name.as_str()),
        }
    }
    let came = format!("came to {env} since {version} is live: ");
    let missed = format!("away, held or drained when {env} got {version}: ");
    let named = [(came, new), (missed, back)].into_iter().filter(|(_, names)| !names.is_empty());
    let reason: Vec<String> = named.map(|(why, names)| why + &some_of(&names)).collect();
    StartRequest {
        app: app.clone(),
        version: Some(version.clone()),
        env: env.clone(),
        request_id: Uuid::new_v4(),
        by: BY.parse().expect("it is a name"),
        reason: reason.join("; "),
        rollback: false,
        refused: BTreeMap::new(),
        ticket: None,
        newcomers: newcomers.iter().map(|comer| comer.host().id).collect::<BTreeSet<HostId>>(),
        at: String::new(),
    }
}

/// `web-1, web-2 and 7 more`
fn some_of(names: &[&str]) -> String {
    let more = match names.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ") + &more
}

pub(super) fn no_longer_live(app: &AppName, env: &EnvName) -> Coded {
    Coded::new(Code::R03, format!("another release of {app} is live in {env} by now"))
}

/// Everybody else keeps what they have. Refused where nobody is left.
pub(super) fn leave_out_all_but(
    newcomers: &BTreeSet<HostId>,
    env: &EnvName,
    members: &mut [Member],
) -> Result<(), Coded> {
    for member in members.iter_mut().filter(|member| !newcomers.contains(&member.id)) {
        member.excluded.get_or_insert_with(|| ONLY_NEWCOMERS.to_owned());
    }
    match members.iter().any(|member| member.excluded.is_none()) {
        true => Ok(()),
        false => Err(Coded::new(Code::R01, format!("no newcomer of {env} can take what is live"))),
    }
}
