//! How a rollout ends, and the sentence that says so.

use std::collections::BTreeMap;

use longshore_common::ids::{HostId, RolloutId};

use super::{
    draft::Draft,
    host::{Ask, HostProgress, HostState},
    model::Rollout,
    phase::{Cause, Done, Outcome, Phase},
};

/// Hosts named in a sentence; the rest are counted.
const NAMES_MAX: usize = 5;
/// Of why hosts cannot go back.
const STAYS_BYTES: usize = 300;

impl Draft {
    pub fn finish(&mut self, outcome: Outcome, mut reason: String) {
        let passed_over = self.rollout.balancers_passed_over();
        if !passed_over.is_empty() {
            let names = name_some(passed_over.iter().map(|balancer| balancer.name.as_str()));
            reason += &format!("; balancers passed over, and not told: {names}");
        }
        let nobody = self.rollout.total() == 0;
        self.enter(Phase::Done(Done { outcome, reason, at: self.now, nobody }));
    }

    /// A newer rollout takes over at once; what this one asked stands until that one asks.
    pub fn supersede(&mut self, by: RolloutId) {
        self.finish(Outcome::Aborted, format!("superseded by rollout {by}"));
    }

    /// After the last wave.
    pub fn finish_forward(&mut self) {
        let version = self.rollout.header.target.version.clone();
        let total = self.rollout.total();
        let healthy = self.pick(|host| host.state == HostState::Healthy).len();
        let unchanged = self.pick(|host| host.state == HostState::Unchanged).len();
        let failed = self.pick(|host| host.state.is_failed());
        let rest = self.rest_of(&[HostState::Healthy, HostState::Unchanged]);
        let good = healthy + unchanged;
        let moved = self.rollout.header.groups().filter(|(balancing, _)| balancing.moves);
        let moved = moved.filter(|(balancing, _)| balancing.share > 0).map(|(_, side)| side);
        let (outcome, reason) = if total == 0 {
            // Nobody has shown that it works here: it is not brought by itself to whoever was left out.
            for id in self.pick(HostProgress::is_out_for_drain) {
                self.change(id, |host| host.left_drained = false);
            }
            (Outcome::NothingToDo, "no host takes part".to_owned())
        } else if good == 0 {
            (Outcome::Failed, format!("no host runs {version}"))
        } else if let Some(side) = moved {
            let run = self.who_run(good);
            (Outcome::Succeeded, format!("{run} {version}; traffic goes to the {side} group"))
        } else if healthy == 0 && failed.is_empty() {
            let all = if unchanged == total { "every host" } else { "every host that was asked" };
            (Outcome::NothingToDo, format!("{all} ran {version} already"))
        } else if healthy == 0 {
            (Outcome::Failed, format!("no further host runs {version}"))
        } else {
            (Outcome::Succeeded, format!("{} {version}", self.who_run(good)))
        };
        let later = self.later(outcome);
        self.finish(outcome, reason + &rest + &later + &self.out());
    }

    /// `1 host runs`, `all 4 hosts run`, `3 of 4 hosts run`; where hosts are out of it, nobody says `all`.
    fn who_run(&self, good: usize) -> String {
        let total = self.rollout.total();
        let run = if good == 1 { "runs" } else { "run" };
        if good < total {
            return format!("{good} of {total} hosts {run}");
        }
        let nobody_is_out = self.pick(HostProgress::is_out).is_empty();
        let all = if nobody_is_out && good > 1 { "all " } else { "" };
        format!("{all}{} {run}", count_hosts(good))
    }

    /// Every host that was touched is back, or cannot be waited for any longer.
    pub fn finish_back(&mut self, cause: &Cause) {
        // What is still owed stands, so that unknown and held hosts go back when they can.
        let unasked = self.pick(|host| host.needs_return() && host.ask != Some(Ask::Return));
        self.ask_to_return_anyway(unasked);
        let back = self.pick(|host| matches!(host.state, HostState::RolledBack)).len();
        let own = self.pick(|host| matches!(host.state, HostState::Reverted { .. }));
        let owing = self.pick(|host| host.state == HostState::RollingBack);
        let broken = self.pick(|host| matches!(host.state, HostState::Inconsistent));
        let staying = self.pick(HostProgress::has_no_way_back);
        let switched = back + own.len() + owing.len() + broken.len() + staying.len() > 0;
        let traffic = self.traffic_back();
        let touched = switched || traffic.is_some();
        let outcome = match cause {
            _ if !broken.is_empty() => Outcome::Failed,
            Cause::Abort { .. } => Outcome::Aborted,
            _ if !staying.is_empty() => Outcome::Failed,
            Cause::Operator { .. } => Outcome::RolledBack,
            Cause::VersionFailures(_) | Cause::Deadline | Cause::Gate(_) if touched => Outcome::RolledBack,
            Cause::VersionFailures(_) | Cause::Deadline | Cause::Gate(_) => Outcome::Failed,
        };
        let mut reason = cause.to_string();
        let kept = self.pick(|host| host.touched && matches!(host.state, HostState::Excluded { .. }));
        if !touched && kept.is_empty() {
            reason += "; nothing had been switched";
        }
        if let Some(traffic) = traffic {
            reason += &format!("; {traffic}");
        }
        if back > 0 {
            reason += &format!("; {} rolled back", count_hosts(back));
        }
        if !own.is_empty() {
            reason += &format!(
                "; {} had gone back without being asked: {}",
                count_hosts(own.len()),
                self.gone_back(&own)
            );
        }
        if !owing.is_empty() {
            reason += &format!("; will go back on return: {}", self.names(&owing));
        }
        if !staying.is_empty() {
            reason += &self.staying(&staying);
        }
        if !kept.is_empty() {
            reason += &format!("; excluded, and left as they are: {}", self.names(&kept));
        }
        if !broken.is_empty() {
            reason += &format!("; inconsistent, look at them: {}", self.names(&broken));
        }
        self.finish(outcome, reason);
    }

    /// `20% of the traffic had moved to the green group, and was moved back to the blue group`; `None`: none had moved.
    fn traffic_back(&self) -> Option<String> {
        let rollout = &self.rollout;
        let (balancing, side) = rollout.header.groups().filter(|(balancing, _)| balancing.returns)?;
        let part = match balancing.had {
            0 | 100.. => "traffic".to_owned(),
            share => format!("{share}% of the traffic"),
        };
        let (other, late) = (side.other(), rollout.balancers_awaited(&BTreeMap::new()));
        let then = if rollout.leaves_nothing() {
            "was taken from it".to_owned()
        } else if rollout.traffic_cannot_go_back() {
            format!("stays there: nobody of the {other} group can have it")
        } else if late.is_empty() {
            format!("was moved back to the {other} group")
        } else {
            let late = name_some(late.iter().map(String::as_str));
            format!("is to move back to the {other} group; not done: {late}")
        };
        Some(format!("{part} had moved to the {side} group, and {then}"))
    }

    /// `web-1 (to 1.4), web-2 (to 1.3)`
    fn gone_back(&self, hosts: &[HostId]) -> String {
        let to = |id: &HostId| {
            let host = &self.rollout.hosts[id];
            let HostState::Reverted { to } = &host.state else { return None };
            Some(format!("{} (to {to})", host.name))
        };
        let names: Vec<String> = hosts.iter().filter_map(to).collect();
        name_some(names.iter().map(String::as_str))
    }

    /// `; on 1.5 still, for what was there before may not run any more: web-1, web-2 (LS-T02: delisted)`
    fn staying(&self, hosts: &[HostId]) -> String {
        let version = &self.rollout.header.target.version;
        let last = hosts.iter().find_map(|id| self.rollout.hosts[id].failure.as_ref());
        let why = last.map(|last| {
            let message = &last.failure.message;
            format!(" ({}: {})", last.failure.code, &message[..message.floor_char_boundary(STAYS_BYTES)])
        });
        let (names, why) = (self.names(hosts), why.unwrap_or_default());
        let quiet = self.rollout.without_traffic(hosts).map(|quiet| format!("; {quiet}")).unwrap_or_default();
        format!("; on {version} still, for what was there before may not run any more: {names}{why}{quiet}")
    }

    /// `; 1 unknown: web-4; 1 refused: web-5 (disk swap); 2 failed: web-6, web-7` for every host that is in none of these states.
    fn rest_of(&self, good: &[HostState]) -> String {
        let mut text = String::new();
        for word in HostProgress::NAMES {
            let hosts =
                self.pick(|host| !host.is_out() && host.as_str() == word && !good.contains(&host.state));
            if !hosts.is_empty() {
                text += &format!("; {} {word}: {}", hosts.len(), self.names(&hosts));
            }
        }
        text
    }

    /// `; will get it on return: web-4; will get it when held no longer: web-5; will get it when drained no longer: web-6`
    /// for whoever went without it.
    fn later(&self, outcome: Outcome) -> String {
        if !matches!(outcome, Outcome::Succeeded | Outcome::NothingToDo) {
            return String::new(); // it is not live
        }
        let header = &self.rollout.header;
        let misses = |host: &HostProgress| {
            header.follows && host.misses_out() && host.previous.as_ref() != Some(&host.target(header))
        };
        let drained = self.rollout.named(|host| misses(host) && host.is_out_for_drain());
        let misses = |host: &HostProgress| misses(host) && !host.is_out_for_drain();
        let away = self.rollout.named(|host| misses(host) && host.silent.is_some());
        let held = self.rollout.named(|host| misses(host) && host.silent.is_none());
        let all = [("on return", away), ("when held no longer", held), ("when drained no longer", drained)];
        let said = all.map(|(when, hosts)| {
            let names = name_some(hosts.iter().map(|(_, host)| host.name.as_str()));
            if names.is_empty() { names } else { format!("; will get it {when}: {names}") }
        });
        said.concat()
    }

    /// `; 2 excluded: web-2, web-3; 1 left: web-9`: whoever counts hosts asks where they are. Nobody has excluded those of
    /// the group that does not get the release.
    fn out(&self) -> String {
        let gets = self.rollout.header.groups().map(|(_, side)| side);
        let is_out = |host: &HostProgress, word: &str| host.is_out() && host.as_str() == word;
        let is_other = |host: &HostProgress| gets.is_some() && host.group != gets;
        let other = self.pick(|host| is_out(host, "excluded") && is_other(host));
        let excluded = self.pick(|host| is_out(host, "excluded") && !is_other(host));
        let left = self.pick(|host| is_out(host, "left"));
        let all = [("in the other group", other), ("excluded", excluded), ("left", left)];
        let said = all.map(|(what, hosts)| match hosts.is_empty() {
            true => String::new(),
            false => format!("; {} {what}: {}", hosts.len(), self.names(&hosts)),
        });
        said.concat()
    }

    /// A host that refuses says why.
    fn names(&self, hosts: &[HostId]) -> String {
        let names: Vec<String> = hosts.iter().map(|id| self.rollout.hosts[id].name_with_hold()).collect();
        name_some(names.iter().map(String::as_str))
    }
}

impl Rollout {
    /// `web-1 gets no traffic as long as others serve`, of those that could not go back; `None`: nobody directs any, or all of
    /// them have some.
    pub(super) fn without_traffic(&self, stay: &[HostId]) -> Option<String> {
        self.header.balancing.as_ref()?;
        let wanted = self.wanted_weights();
        let quiet = stay.iter().filter(|id| wanted.get(*id) == Some(&0));
        let quiet: Vec<&str> = quiet.map(|id| self.hosts[id].name.as_str()).collect();
        let gets = if quiet.len() == 1 { "gets" } else { "get" };
        let names = name_some(quiet.iter().copied());
        (!quiet.is_empty()).then(|| format!("{names} {gets} no traffic as long as others serve"))
    }
}

fn count_hosts(count: usize) -> String {
    let hosts = if count == 1 { "host" } else { "hosts" };
    format!("{count} {hosts}")
}

/// `web-1, web-2 and 7 more`
pub(super) fn name_some<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.len() {
        0..=NAMES_MAX => names.join(", "),
        more => format!("{} and {} more", names[..NAMES_MAX].join(", "), more - NAMES_MAX),
    }
}
