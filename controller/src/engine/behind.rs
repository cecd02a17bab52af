//! The load balancers that an environment's hosts stand behind, and which of two groups a release goes to.

use std::net::IpAddr;

use longshore_common::{
    assignment::Intent,
    code::{Code, Coded},
    ids::{AppName, EnvName, HostName},
    label::Selector,
    traffic::Side,
};

use super::{
    Engine,
    records::{self, Given, LiveRecord},
};
use crate::{
    config::Environment,
    fleet::{Host, host},
    rollout::{Balancers, Behind, Groups, Header, Member, Target},
    store::Key,
    trouble::Trouble,
};

/// Hosts that a refusal names.
const NAMED: usize = 5;

impl Engine {
    /// Who balances the environment's hosts. Where there are groups, the members are told theirs, and the one that keeps
    /// what it has is left out.
    pub(super) async fn behind(
        &self,
        environment: &Environment,
        app: &AppName,
        target: &Target,
        members: &mut [Member],
    ) -> Result<Option<Behind>, Trouble> {
        let routing = environment.spec.traffic.as_ref();
        let Some(wanted) = routing.and_then(|routing| routing.balancers.as_ref()) else { return Ok(None) };
        if let Some(name) = twice(members) {
            let why = format!(
                "two hosts of {} are called {name}: balancers know hosts by their names",
                environment.name
            );
            return Err(Trouble::refused(Code::R01, why));
        }
        let balancers = self.balancers(environment, app, wanted, members).await?;
        let side = match &wanted.groups {
            None => None,
            Some(groups) => {
                group(&environment.name, groups, members)?;
                let key = Key::live(&environment.name, app);
                let live = records::get::<LiveRecord>(&self.inner.store, &key).await?.map(|(live, _)| live);
                let (side, has) = gaining(live.as_ref(), target);
                leave_out(environment, side, members)?;
                Some((side, has))
            }
        };
        let named = balancers.into_iter().map(|host| (host.id, host.name)).collect();
        Ok(Some(Behind { balancers: named, side }))
    }

    async fn balancers(
        &self,
        environment: &Environment,
        app: &AppName,
        wanted: &Balancers,
        members: &[Member],
    ) -> Result<Vec<Host>, Trouble> {
        let store = &self.inner.store;
        let env = &environment.name;
        let hosts = host::list(store).await?;
        let found: Vec<Host> = hosts.into_iter().filter(|host| host.fits(&wanted.hosts)).collect();
        if found.is_empty() {
            let why = format!(
                "no host matches the selector \"{}\" of traffic.balancers of environment {env}. See: longshore host list",
                wanted.hosts
            );
            return Err(Trouble::refused(Code::R01, why));
        }
        for balancer in &found {
            let name = &balancer.name;
            if members.iter().any(|member| member.id == balancer.id) {
                let why = format!(
                    "{name} is to balance the hosts of {env} and is one of them: see environment.selector and traffic.balancers"
                );
                return Err(Trouble::refused(Code::R01, why));
            }
            let given = records::get::<Given>(store, &Key::assignment(&balancer.id, app)).await?;
            let Some((Given { assignment, .. }, _)) = given else { continue };
            let why = match assignment.intent {
                Intent::Direct if assignment.env == *env => continue,
                Intent::Remove => continue,
                Intent::Direct => format!(
                    "{name} balances {app} in {} already; one host balances an app in one environment",
                    assignment.env
                ),
                Intent::Stage | Intent::Run => {
                    format!("{name} is to balance {app} in {env} and runs it itself in {}", assignment.env)
                }
            };
            return Err(Trouble::refused(Code::R01, why));
        }
        Ok(found)
    }
}

/// Each host is of one of the two groups.
fn group(env: &EnvName, groups: &Groups, members: &mut [Member]) -> Result<(), Coded> {
    let mut odd = vec![];
    for member in &mut *members {
        let (name, id) = (member.name.as_str(), member.id.to_string());
        let is = |selector: &Selector| selector.matches(name, &id, &member.labels);
        member.group = match (is(&groups.blue), is(&groups.green)) {
            (true, false) => Some(Side::Blue),
            (false, true) => Some(Side::Green),
            (true, true) => {
                odd.push(format!("{name} is in both"));
                None
            }
            (false, false) => {
                odd.push(format!("{name} is in neither"));
                None
            }
        };
    }
    if odd.is_empty() {
        return Ok(());
    }
    let more = odd.len().saturating_sub(NAMED);
    odd.truncate(NAMED);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    let why = format!(
        "every host of {env} has to be in one of traffic.groups: {}{more}. Set labels: longshore host label",
        odd.join(", ")
    );
    Err(Coded::new(Code::R01, why))
}

/// The same of a host that comes while the rollout is under way; that of the other group keeps what it has.
pub(super) fn group_as(header: &Header, member: &mut [Member]) -> Result<(), Coded> {
    let Some((_, side)) = header.groups() else { return Ok(()) };
    let routing = header.spec.traffic.as_ref().and_then(|routing| routing.balancers.as_ref());
    let Some(groups) = routing.and_then(|balancers| balancers.groups.as_ref()) else { return Ok(()) };
    group(&header.env, groups, member)?;
    for member in member.iter_mut().filter(|member| member.group != Some(side)) {
        member.excluded.get_or_insert_with(|| keeps_what_it_has(side));
    }
    Ok(())
}

fn keeps_what_it_has(side: Side) -> String {
    format!("the {side} group gets the release; this one keeps what it has")
}

/// Of two groups, the one that has the traffic, and so what is live; `None`: there are none.
pub fn serving<'a>(environment: &'a Environment, live: &LiveRecord) -> Option<&'a Selector> {
    let groups = environment.spec.traffic.as_ref()?.balancers.as_ref()?.groups.as_ref()?;
    Some(match live.side.unwrap_or(Side::Blue) {
        Side::Blue => &groups.blue,
        Side::Green => &groups.green,
    })
}

/// The group that a release goes to, and whether that has the traffic already: then it only gets what it lacks.
fn gaining(live: Option<&LiveRecord>, target: &Target) -> (Side, bool) {
    match live {
        None => (Side::Blue, false),
        Some(live) => {
            let side = live.side.unwrap_or(Side::Blue);
            if live.target == *target { (side, true) } else { (side.other(), false) }
        }
    }
}

fn leave_out(environment: &Environment, side: Side, members: &mut [Member]) -> Result<(), Coded> {
    for member in &mut *members {
        if member.group != Some(side) && member.excluded.is_none() {
            member.excluded = Some(keeps_what_it_has(side));
        }
    }
    if members.iter().any(|member| member.group == Some(side) && member.excluded.is_none()) {
        return Ok(());
    }
    let why = format!(
        "no host of the {side} group of {} can take the release. See: longshore host list",
        environment.name
    );
    Err(Coded::new(Code::R01, why))
}

/// Where balancers find a host: the first address that it names.
pub(super) fn address_of(host: &Host) -> Option<IpAddr> {
    let seen = host.seen.as_ref()?;
    seen.facts.addresses.iter().find_map(|address| address.parse().ok())
}

/// Its name as balancers know it must not be two hosts'.
fn twice(members: &[Member]) -> Option<&HostName> {
    let mut names: Vec<&HostName> = members.iter().map(|member| &member.name).collect();
    names.sort();
    names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}
