//! Hosts that are to run what is live and run something else, and what brings it there: for whoever looks at
//! the environment or the host.

use longshore_common::{
    assignment::Intent,
    ids::{AppName, HostName},
};

use super::{
    Engine, Unbrought, behind,
    missed::{self, Claim},
    records::{self, Given, HostApp, LiveRecord, Lock, Record},
    states,
    unbrought::Obstacle,
};
use crate::{
    config::{Environment, env::Newcomers},
    environments::{self, passage::Arrival},
    fleet::Host,
    rollout::{Ask, HostProgress, HostState},
    store::{Key, Prefix, key::Name, record},
    trouble::Trouble,
};

/// One that runs something else, by its last report.
#[derive(Clone, Debug)]
pub struct Lacking {
    pub name: HostName,
    /// What brings it there; `None`: a rollout does at this moment.
    pub left: Option<Unbrought>,
}

impl Engine {
    /// By name.
    pub async fn lacking(
        &self,
        environment: &Environment,
        app: &AppName,
        live: &LiveRecord,
        hosts: &[Host],
    ) -> Result<Vec<Lacking>, Trouble> {
        let store = &self.inner.store;
        let mut found = vec![];
        for host in hosts.iter().filter(|host| is_to_run(host, environment, live)) {
            let (state, _) = states::known(store, &host.id, app).await?;
            let runs = state.as_ref().and_then(HostApp::previous);
            if runs.is_none_or(|runs| runs.release != live.target.release) {
                found.push(host);
            }
        }
        if found.is_empty() {
            return Ok(vec![]);
        }
        let busy = records::get::<Lock>(store, &Key::active(&environment.name, app)).await?.is_some();
        let since = self.since(&environment.name, app, live).await?;
        let mut told = self.unbrought().await?;
        told.retain(|left| left.env == environment.name && left.app == *app);
        let mut lacking = vec![];
        for host in found {
            let left = match busy {
                true => None,
                false => match told.iter().find(|left| left.host == host.id) {
                    Some(left) => Some(left.clone()),
                    None => self.why_lacking(environment, app, live, host, &since).await?,
                },
            };
            lacking.push(Lacking { name: host.name.clone(), left });
        }
        lacking.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(lacking)
    }

    /// What of its environments the host lacks.
    pub async fn lacking_on(&self, host: &Host) -> Result<Vec<Unbrought>, Trouble> {
        let store = &self.inner.store;
        let mut left = vec![];
        for entry in store.list(&Prefix::live()).await?.entries {
            let Name::Live(env, app) = entry.key.name()? else { continue };
            let (environment, _) = match environments::load(store, &env).await {
                Err(Trouble::Refused(_)) => continue, // told where it is looked at
                loaded => loaded?,
            };
            let live: LiveRecord = record::decode_entry(&entry)?;
            let lacking = self.lacking(&environment, &app, &live, std::slice::from_ref(host)).await?;
            left.extend(lacking.into_iter().filter_map(|lacking| lacking.left));
        }
        Ok(left)
    }

    /// How a host that joins the environment stands to what is live there.
    pub async fn arrival(&self, host: &Host, environment: &Environment) -> Result<Arrival, Trouble> {
        let store = &self.inner.store;
        let mut arrival = Arrival::Nothing;
        for entry in store.list(&Prefix::live()).await?.entries {
            let Name::Live(env, app) = entry.key.name()? else { continue };
            if env != environment.name {
                continue;
            }
            let live: LiveRecord = record::decode_entry(&entry)?;
            let lacking = self.lacking(environment, &app, &live, std::slice::from_ref(host)).await?;
            let (state, _) = states::known(store, &host.id, &app).await?;
            let runs = state.as_ref().and_then(HostApp::previous);
            let of_app = match lacking.first() {
                Some(Lacking { left: None, .. }) => Arrival::Comes,
                Some(Lacking { left: Some(_), .. }) => Arrival::Unclear,
                None if runs.is_some_and(|runs| *runs == live.target.on_host(&runs.layers)) => Arrival::Runs,
                None => Arrival::Unclear, // with other settings, or of the group without traffic
            };
            arrival = arrival.max(of_app);
        }
        Ok(arrival)
    }

    async fn why_lacking(
        &self,
        environment: &Environment,
        app: &AppName,
        live: &LiveRecord,
        host: &Host,
        since: &[Record],
    ) -> Result<Option<Unbrought>, Trouble> {
        let env = &environment.name;
        let given = records::get::<Given>(&self.inner.store, &Key::assignment(&host.id, app)).await?;
        let given = given.map(|(given, _)| given).filter(|given| given.assignment.intent != Intent::Direct);
        let since = self.since_it_came(since, given.as_ref(), env, host).await?;
        let asked = given.filter(|given| given.assignment.env == *env);
        let until = self.until(host);
        let claim = match environment.newcomers {
            Newcomers::Follow => self.claim(since, live, host).await?,
            Newcomers::Wait => Claim::Settled,
        };
        let comes = match &claim {
            Claim::New => {
                let connected = self.inner.fleet.presence().connected(&host.id);
                missed::came_anew(asked.as_ref(), connected, live)
            }
            Claim::Missed(_) if until.is_some() => true,
            Claim::Missed(then) => self.still_misses(then, asked.as_ref(), since, live, host, app).await?,
            Claim::Settled => false,
        };
        let mut obstacle = Obstacle::Other;
        let goes_on = !comes && self.goes_on(asked.as_ref(), live, host).await?;
        let why = match (comes, until, self.frozen(host)) {
            (true, None, None) => return Ok(None), // the next look finds it
            (true, None, Some(frozen)) => format!("it comes by itself when that is over: {frozen}"),
            (true, Some(until), _) => format!("it comes by itself when the host {until}"),
            (false, ..) if goes_on => {
                format!("it goes on with it when it is undrained: longshore host undrain {}", host.name)
            }
            (false, _, frozen) => {
                obstacle = Obstacle::Unstarted;
                let version = &live.target.version;
                let then = frozen.map_or_else(|| "next".to_owned(), |frozen| format!("{frozen}; then"));
                format!(
                    "it does not come by itself; {then}: longshore rollout start {app}@{version} --to {env}"
                )
            }
        };
        let (env, app, name) = (env.clone(), app.clone(), host.name.clone());
        let (host, since_ms) = (host.id, live.since_ms);
        Ok(Some(Unbrought { env, app, host, name, why, since_ms, obstacle }))
    }

    /// It was asked to run what is live, and an operator's drain keeps it from that.
    async fn goes_on(&self, asked: Option<&Given>, live: &LiveRecord, host: &Host) -> Result<bool, Trouble> {
        let asked = asked.map(|given| &given.assignment).filter(|_| host.drained.is_some());
        let asked = asked.filter(|asked| asked.intent == Intent::Run && asked.release == live.target.release);
        let Some(asked) = asked else { return Ok(false) };
        let key = Key::rollout_host(&asked.rollout, &host.id);
        let known = records::get::<HostProgress>(&self.inner.store, &key).await?;
        Ok(known.is_some_and(|(known, _)| stopped_amid(&known)))
    }

    /// What the host has to do before anything is brought to it.
    fn until(&self, host: &Host) -> Option<&'static str> {
        match self.inner.fleet.presence().connected(&host.id) {
            None => Some("is back"),
            Some(_) if host.drained.is_some() || host.rejoining.is_some() => Some("takes work again"),
            Some(connected) => connected.hold.map(|_| "is held no longer"),
        }
    }

    /// That it would decline whatever it is asked, with why and the way out.
    fn frozen(&self, host: &Host) -> Option<String> {
        let connected = self.inner.fleet.presence().connected(&host.id)?;
        let why = connected.why_frozen()?;
        Some(format!(
            "the fleet is frozen by the organisation's key ({why}); to lift it: longshore fleet unfreeze"
        ))
    }
}

/// It was in the midst of its change when the rollout left it, and held.
fn stopped_amid(known: &HostProgress) -> bool {
    known.state == HostState::Switching && known.ask == Some(Ask::Run) && known.held.is_some()
}

/// Whether what is live is for this host: of two groups only for the one that has the traffic.
fn is_to_run(host: &Host, environment: &Environment, live: &LiveRecord) -> bool {
    let serving = behind::serving(environment, live);
    host.belongs(&environment.selector) && serving.is_none_or(|group| host.fits(group))
}

#[cfg(test)]
mod tests {
    use longshore_common::traffic::Side;

    use super::*;
    use crate::{
        rollout::{
            LocalHold,
            tests::setup::{rollout, target},
        },
        testing::HandAgent,
    };

    /// Only one that was asked to run it, and has no verdict, goes on when it is undrained.
    #[test]
    fn a_host_that_is_stopped_in_its_switch_goes_on_by_itself() {
        let rollout = rollout("a b");
        let host = HostProgress::clone(rollout.hosts.values().next().unwrap());
        let held = Some(LocalHold { reason: "drained: disk".into(), since: 0 });
        let stopped = HostProgress { state: HostState::Switching, ask: Some(Ask::Run), held, ..host };
        assert!(stopped_amid(&stopped));
        assert!(!stopped_amid(&HostProgress { held: None, ..stopped.clone() }), "it hangs");
        assert!(!stopped_amid(&HostProgress { state: HostState::Failed, ..stopped.clone() }));
        assert!(!stopped_amid(&HostProgress { ask: Some(Ask::Return), ..stopped }));
    }

    /// The other group keeps what it has: it lacks nothing.
    #[test]
    fn what_is_live_is_for_the_group_with_the_traffic() {
        let file = "[environment]\nname = \"production\"\nselector = \"env=prod\"\n";
        let groups = "[traffic]\ndriver = \"haproxy\"\nbackend = \"shop\"\nbalancers = \"role=lb\"\n\
                      [traffic.groups]\nblue = \"name=web-1\"\ngreen = \"name=web-2\"\n";
        let asked = |file: &str, side: Option<Side>| {
            let environment = Environment::parse("production.toml", file).unwrap();
            let rollout = "0193f3a0-0000-7000-8000-000000000001".parse().unwrap();
            let live = LiveRecord { target: target("1"), since_ms: 0, rollout, side, before: vec![] };
            ["web-1", "web-2"].map(|name| is_to_run(&HandAgent::new(name, &[]).host, &environment, &live))
        };
        assert_eq!(asked(file, None), [true, true]);
        let file = file.to_owned() + groups;
        assert_eq!(asked(&file, Some(Side::Green)), [false, true]);
        assert_eq!(asked(&file, None), [true, false], "the first release goes to the blue group");
    }
}
