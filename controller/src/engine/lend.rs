//! Runner hosts: hosts outside of an environment on which its tests run. Each is lent the release when a rollout begins: it
//! fetches and unpacks it, and starts nothing of it. The gate that runs the test asks until that is done.
//!
//! A host that runs or balances the app for another environment is no runner: what it is assigned is somebody else's. Nor is
//! one that balances the environment itself: a host has one assignment of an app, and a balancer's is where traffic goes.

use std::collections::BTreeMap;

use longshore_common::{
    assignment::{Assignment, Intent},
    code::{Code, Coded},
    ids::{AppName, Generation, HostName},
};

use super::{
    Engine,
    records::{self, Given},
    settings,
};
use crate::{
    config::Environment,
    fleet::{Host, host},
    gate::Check,
    rollout::{Member, Rollout, Snapshot, Then},
    store::{Guard, Key, Revision, Write, record},
    trouble::Trouble,
};

/// One that is outside, and what it is assigned of the app at present.
#[derive(Debug)]
pub(super) struct Runner {
    member: Member,
    /// Of its assignment.
    read: Option<Revision>,
}

/// A runner outside of the environment, as it is before a rollout begins.
#[derive(Debug)]
pub struct Lent {
    pub host: Host,
    pub member: Member,
    /// Those that do not go on without its test; never empty.
    pub gates: Vec<String>,
}

/// One that an environment names and that is not of it.
struct Outside<'a> {
    name: &'a HostName,
    /// Those that run their test there; never empty.
    gates: Vec<&'a str>,
    /// `None`: there is no such host.
    host: Option<Host>,
}

/// Hosts that tests of the environment run on, by name, with the gates that do.
fn named(environment: &Environment) -> BTreeMap<&HostName, Vec<&str>> {
    let mut named: BTreeMap<&HostName, Vec<&str>> = BTreeMap::new();
    for declared in &environment.gates {
        if let Check::Test(run) = &declared.check {
            named.entry(&run.on).or_default().push(&declared.gate.name);
        }
    }
    named
}

impl Engine {
    /// Runners that a plan asks beforehand, and why some test could not run where it is to, one sentence each.
    pub async fn to_lend(
        &self,
        environment: &Environment,
        app: &AppName,
        snapshot: Option<&Snapshot>,
    ) -> Result<(Vec<Lent>, Vec<String>), Trouble> {
        let needs = |gate: &&str| {
            let mut declared = environment.gates.iter().map(|declared| &declared.gate);
            declared.any(|declared| declared.name == **gate && declared.on_no_data != Then::Continue)
        };
        let (mut lent, mut problems) = (vec![], vec![]);
        for Outside { name, gates, host } in self.outside(environment).await? {
            let Some(host) = host else {
                problems.push(missing(name, &gates));
                continue;
            };
            if let Some(problem) = self.taken(environment, &host, app, &gates).await? {
                problems.push(problem);
                continue;
            }
            let mut members = vec![self.member(host.clone(), app, &environment.name).await?];
            let store = &self.inner.store;
            match settings::settle(store, &environment.name, app, snapshot, &mut members).await {
                Ok(()) => {}
                Err(Trouble::Refused(why)) => {
                    let why = why.message;
                    problems.push(format!("gate {} runs its test on {name}: {why}", gates.join(", ")));
                    continue;
                }
                Err(trouble) => return Err(trouble),
            }
            let gates: Vec<String> =
                gates.iter().filter(|gate| needs(gate)).map(|gate| (*gate).to_owned()).collect();
            if !gates.is_empty() {
                lent.extend(members.into_iter().map(|member| Lent {
                    host: host.clone(),
                    member,
                    gates: gates.clone(),
                }));
            }
        }
        Ok((lent, problems))
    }

    /// Every runner outside of the environment. Refused when there is one that cannot be.
    pub(super) async fn runners(
        &self,
        environment: &Environment,
        app: &AppName,
        snapshot: Option<&Snapshot>,
    ) -> Result<Vec<Runner>, Trouble> {
        let store = &self.inner.store;
        let (mut members, mut read) = (vec![], vec![]);
        for Outside { name, gates, host } in self.outside(environment).await? {
            let refuse = |message| Err(Trouble::refused(Code::R01, message));
            let Some(host) = host else { return refuse(missing(name, &gates)) };
            if let Some(problem) = self.taken(environment, &host, app, &gates).await? {
                return refuse(problem);
            }
            let given = records::get::<Given>(store, &Key::assignment(&host.id, app)).await?;
            read.push(given.map(|(_, revision)| revision));
            members.push(self.member(host, app, &environment.name).await?);
        }
        settings::settle(store, &environment.name, app, snapshot, &mut members).await?;
        Ok(members.into_iter().zip(read).map(|(member, read)| Runner { member, read }).collect())
    }

    /// Runner hosts that are not of the environment, those that do not exist among them.
    async fn outside<'a>(&self, environment: &'a Environment) -> Result<Vec<Outside<'a>>, Trouble> {
        let named = named(environment);
        if named.is_empty() {
            return Ok(vec![]);
        }
        let hosts = host::list(&self.inner.store).await?;
        let find = |name: &HostName| hosts.iter().find(|host| host.name == *name).cloned();
        let all = named.into_iter().map(|(name, gates)| Outside { name, gates, host: find(name) });
        let of_it = |host: &Host| host.fits(&environment.selector);
        Ok(all.filter(|outside| !outside.host.as_ref().is_some_and(of_it)).collect())
    }

    /// It runs or balances the app for somebody, and cannot hold it for a test.
    async fn taken(
        &self,
        environment: &Environment,
        host: &Host,
        app: &AppName,
        gates: &[&str],
    ) -> Result<Option<String>, Trouble> {
        let test = format!("gate {} runs its test on {}", gates.join(", "), host.name);
        let env = &environment.name;
        if environment.balancers().is_some_and(|balancers| host.fits(balancers)) {
            return Ok(Some(format!(
                "{test}, which balances {app} in {env} and cannot run its tests: name a host that does not"
            )));
        }
        let given = records::get::<Given>(&self.inner.store, &Key::assignment(&host.id, app)).await?;
        let Some((Given { assignment, .. }, _)) = given else { return Ok(None) };
        let has = match assignment.intent {
            Intent::Run => "runs",
            // One that balanced this environment before is told nothing more.
            Intent::Direct if assignment.env != *env => "balances",
            Intent::Direct | Intent::Stage | Intent::Remove => return Ok(None),
        };
        Ok(Some(format!(
            "{test}, which {has} {app} for environment {}: name a host that does not",
            assignment.env
        )))
    }
}

fn missing(name: &HostName, gates: &[&str]) -> String {
    format!(
        "gate {} runs its test on {name}, and there is no such host. See: longshore host list",
        gates.join(", ")
    )
}

impl Runner {
    /// What the commit that makes the rollout holds for it.
    pub fn lent(&self, rollout: &Rollout) -> Result<(Guard, Write), Trouble> {
        let header = &rollout.header;
        let target = header.target.on_host(&self.member.layers);
        let settings = target
            .settings(&rollout.snapshots)
            .ok_or_else(|| Coded::new(Code::X01, "the settings that a rollout begins with are not there"))?;
        let key = Key::assignment(&self.member.id, &header.app);
        let guard = match self.read {
            Some(revision) => Guard::Unchanged(key.clone(), revision),
            None => Guard::Absent(key.clone()),
        };
        let assignment = Assignment {
            host: self.member.id,
            app: header.app.clone(),
            env: header.env.clone(),
            rollout: header.id,
            generation: Generation::new(header.sequence, 0),
            settings,
            version: target.version,
            release: target.release,
            intent: Intent::Stage,
            keep_slots: header.keep_slots,
            traffic: None,
            directions: None,
            unwell: None,
        };
        let given = Given { assignment, snapshot: target.snapshot, layers: target.layers, foreign: false };
        Ok((guard, Write::Put(key.clone(), record::encode(&key, &given)?)))
    }
}
