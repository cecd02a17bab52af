//! Hosts behind load balancers on hosts of their own: which of them is to get new connections, and whether the balancers
//! have come so far.
//!
//! *Rolling*: a host is drained before it is changed and gets its connections back when it is healthy. *Groups*: the
//! group without traffic gets the release, and then the traffic moves to it, at once or in shares.
//!
//! What a balancer is told follows from the hosts' records alone ([`directions`]). It is told the whole of it each time,
//! under a round that only rises; that it has confirmed a round says that everything in it is so.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use longshore_common::{
    assignment::{Assignment, Intent},
    ids::{Generation, HostId, HostName},
    settings::Settings,
    time::Millis,
    traffic::{Directions, Director, Server, Side, WEIGHT_MAX},
};
use serde::{Deserialize, Serialize};

use super::{
    host::{HostProgress, HostState, LocalHold},
    model::{Header, Rollout},
    phase::{Outcome, Phase},
};

/// Balancers of one environment: each may refuse with a message, and all have to fit the header.
pub const BALANCERS_MAX: usize = 8;
/// Weight of a host that gets its whole share.
const WHOLE: u16 = 100;

/// The balancers of a rollout, and what they are told of all hosts together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balancing {
    /// At most `BALANCERS_MAX`.
    pub balancers: BTreeMap<HostId, Balancer>,
    /// Of what they are told at present; 0: nothing yet. Only rises.
    pub round: u16,
    /// The group that gets the release; `None`: hosts are drained one after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// Percent of the traffic that this group gets now.
    #[serde(default)]
    pub share: u8,
    /// The traffic is to move to this group; otherwise it has it already.
    #[serde(default)]
    pub moves: bool,
    /// The traffic has moved to this group, and is taken from it again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub returns: bool,
    /// Percent of the traffic that was taken from it; 0: of none, or it was not kept.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub had: u8,
}

fn is_nothing(share: &u8) -> bool {
    *share == 0
}

/// A host that balances others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balancer {
    pub name: HostName,
    /// The last round that it has carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<u16>,
    /// Why it could not, or would not, the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<LocalHold>,
    /// An operator resumed knowing how it stands: it is not waited for until it is heard again.
    #[serde(default)]
    pub forgiven: bool,
}

/// What the balancers are told of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub weight: u16,
    /// In which it was told first.
    pub round: u16,
    /// Every balancer has carried it out.
    pub done: bool,
    /// It was silent then: balancers send it something only as long as their own check says that it is up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub if_up: bool,
}

impl Balancer {
    pub fn new(name: HostName) -> Self {
        Self { name, confirmed: None, refusal: None, silent: None, held: None, forgiven: false }
    }

    pub(super) fn has(&self, round: u16) -> bool {
        self.forgiven || self.has_confirmed(round)
    }

    pub(super) fn has_confirmed(&self, round: u16) -> bool {
        self.confirmed.is_some_and(|confirmed| confirmed >= round)
    }

    /// How far it is with what it is told in this round, and why not further; of one that is silent, what it said last. The
    /// stable names: `BalancerRow.state` in the API.
    pub fn standing(&self, round: u16) -> (&'static str, String) {
        match (&self.silent, &self.held, &self.refusal) {
            _ if self.has_confirmed(round) => ("done", String::new()),
            (Some(_), _, last) => ("unknown", last.clone().unwrap_or_default()),
            (None, Some(held), _) => ("held", held.reason.clone()),
            (None, None, Some(why)) => ("refused", why.clone()),
            (None, None, None) => ("waiting", String::new()),
        }
    }

    /// `lb-1 (does not answer)`
    pub(super) fn named(&self, round: u16) -> String {
        let (word, why) = self.standing(round);
        match (word, why.as_str()) {
            ("unknown", "") => format!("{} (unknown)", self.name),
            ("unknown", last) => format!("{} (unknown; it said last: {last})", self.name),
            ("held", reason) => format!("{} (held: {reason})", self.name),
            ("refused", why) => format!("{} ({why})", self.name),
            _ => self.name.to_string(),
        }
    }
}

impl HostProgress {
    /// It has traffic by what it runs: somebody of this environment gave it that.
    pub(super) fn has_a_place(&self) -> bool {
        self.previous.is_some() && !self.foreign
    }

    /// No new connections reach it any more, and those that did have ended or had their time.
    fn is_away(&self) -> bool {
        self.route.is_some_and(|route| route.weight == 0 && route.done)
    }

    /// It is to get new connections, and does not surely get them yet.
    pub(super) fn joins(&self) -> bool {
        self.route.is_some_and(|route| route.weight > 0 && !route.done)
    }

    /// It serves, and its connections are taken from it, so that it can be changed.
    pub(super) fn parts(&self) -> bool {
        let serves = matches!(self.state, HostState::Staged | HostState::Healthy | HostState::Unchanged);
        self.drained && serves && self.previous.is_some()
    }

    /// Nothing but balancers keep it from going on.
    pub(super) fn waits_for_balancers(&self) -> bool {
        self.route.is_some_and(|route| !route.done)
    }

    /// Balancers send it something as far as it goes by this rollout.
    pub(super) fn serves_now(&self) -> bool {
        !self.is_kept_away() && self.route.is_some_and(|route| route.weight > 0)
    }

    /// It came while the rollout was under way, and nothing of the app ever ran there: balancers may not know it yet.
    pub(super) fn is_new_to_balancers(&self) -> bool {
        self.joined && !self.has_a_place() && !self.touched
    }

    /// Balancers need not know it, and are told nothing of it.
    pub(super) fn is_untold(&self) -> bool {
        self.is_out() && self.is_new_to_balancers()
    }

    /// It is to get nothing: it is changed, an operator says so, or it was taken out.
    fn is_kept_away(&self) -> bool {
        self.drained || self.benched || self.has_left()
    }

    /// By its labels, or because it was removed; and it is not back.
    pub fn has_left(&self) -> bool {
        self.state == HostState::Left && !self.is_back
    }

    /// Of a host that is no part of a group. What runs there may be what ran before, as on one that has gone back by
    /// itself: the share is of the release, and that gets all.
    fn weight(&self) -> u16 {
        match (self.is_kept_away(), self.touched) {
            (true, _) => 0,
            (false, true) if !self.is_back => u16::from(self.share),
            (false, _) => 100,
        }
    }

    /// May it be changed now? One that still gets connections is drained first.
    pub(super) fn part_first(&mut self, rolling: bool) -> bool {
        if self.route.is_none() || self.is_away() {
            return false;
        }
        self.drained |= rolling;
        true
    }
}

impl Header {
    /// Of two groups, the one that gets the release.
    pub fn groups(&self) -> Option<(&Balancing, Side)> {
        let balancing = self.balancing.as_ref()?;
        balancing.side.map(|side| (balancing, side))
    }

    /// Hosts are drained one after the other.
    pub(super) fn is_rolling_balanced(&self) -> bool {
        self.balancing.as_ref().is_some_and(|balancing| balancing.side.is_none())
    }

    /// The group that has all of the traffic, as far as this rollout gave it.
    pub fn side_with_traffic(&self) -> Option<Side> {
        self.groups().filter(|(balancing, _)| balancing.share == 100).map(|(_, side)| side)
    }

    fn has_succeeded(&self) -> bool {
        matches!(&self.phase, Phase::Done(done) if done.outcome == Outcome::Succeeded)
    }

    /// Traffic went to a group that did not have it before.
    pub(super) fn has_moved(&self) -> bool {
        self.groups().is_some_and(|(balancing, _)| balancing.moves && balancing.share > 0)
    }
}

/// Weights of a host of the group that gets `share` percent, and of one of the other group.
pub(super) fn weights(share: u8, gaining: usize, losing: usize) -> (u16, u16) {
    match (share, gaining, losing) {
        (0, _, _) | (_, 0, _) => (0, WHOLE),
        (100.., _, _) | (_, _, 0) => (WHOLE, 0),
        _ => {
            let (up, down) = (usize::from(share) * losing, usize::from(100 - share) * gaining);
            let scaled = |part: usize| {
                let weight = (part * usize::from(WEIGHT_MAX)).div_ceil(up.max(down));
                weight.clamp(1, usize::from(WEIGHT_MAX)) as u16
            };
            (scaled(up), scaled(down))
        }
    }
}

impl Rollout {
    /// The weight of each host, as its record asks for.
    pub(super) fn wanted_weights(&self) -> BTreeMap<HostId, u16> {
        let Some((balancing, side)) = self.header.groups() else {
            return self.hosts.iter().map(|(id, host)| (*id, self.weight_of(host))).collect();
        };
        let good = |host: &HostProgress| {
            matches!(host.state, HostState::Healthy | HostState::Unchanged) || host.is_back
        };
        let is_new = |host: &HostProgress| host.group == Some(side);
        let gains = |host: &HostProgress| {
            is_new(host) && !host.is_kept_away() && (good(host) || (!balancing.moves && host.has_a_place()))
        };
        // One that is unknown must not keep the others from getting the traffic back: where balancers have no check of
        // their own, it gets nothing anew.
        let known = |host: &HostProgress| {
            host.silent.is_none() || self.balancers_check() || host.route.is_none_or(|route| route.weight > 0)
        };
        let has =
            |host: &HostProgress| !is_new(host) && !host.is_kept_away() && host.has_a_place() && known(host);
        let count = |fits: &dyn Fn(&HostProgress) -> bool| self.hosts.values().filter(|h| fits(h)).count();
        let (up, down) = weights(balancing.share, count(&gains), count(&has));
        let weight = |host: &HostProgress| match (gains(host), has(host)) {
            (true, _) => up,
            (_, true) => down,
            (false, false) => 0,
        };
        let wanted: BTreeMap<HostId, u16> = self.hosts.iter().map(|(id, host)| (*id, weight(host))).collect();
        match wanted.values().all(|weight| *weight == 0) && !self.leaves_nothing() {
            true => self.weights_now(),
            false => wanted,
        }
    }

    /// One that could not go back runs what was just undone: it gets nothing as long as somebody else serves, and what it
    /// had where nobody does.
    fn weight_of(&self, host: &HostProgress) -> u16 {
        if host.is_kept_away() {
            return 0;
        }
        if self.header.has_succeeded() {
            return WHOLE; // also one that was left out, or stopped, while it was tried with a share
        }
        if !host.has_no_way_back() {
            return host.weight();
        }
        let serves = |other: &Arc<HostProgress>| {
            let is_up = other.silent.is_none() && !other.sick;
            is_up && !other.has_no_way_back() && other.weight() > 0
        };
        match self.hosts.values().any(serves) {
            true => 0,
            false => u16::from(self.share_of(host.wave)),
        }
    }

    /// Balancers look themselves whether a host is up.
    pub(super) fn balancers_check(&self) -> bool {
        self.spec().traffic.as_ref().is_some_and(|routing| routing.director == Director::Haproxy)
    }

    /// Of those that are to get connections, whoever nobody has heard: only balancers can tell whether they are up.
    pub(super) fn unheard(&self) -> impl Iterator<Item = &HostProgress> {
        let hosts = self.hosts.values().map(|host| &**host);
        hosts.filter(|host| {
            host.silent.is_some() && host.route.is_some_and(|route| route.if_up && route.weight > 0)
        })
    }

    /// Nobody who is to get connections was heard: that there is somebody is a balancer's word, and no operator's.
    pub(super) fn only_balancers_know(&self) -> bool {
        let mut serving = self.hosts.values().filter(|host| host.route.is_some_and(|route| route.weight > 0));
        self.unheard().next().is_some()
            && serving.all(|host| host.silent.is_some() && host.route.is_some_and(|route| route.if_up))
    }

    /// A way back is not over without it: it goes back itself, or the traffic that had moved to it does, though nothing of
    /// it was changed.
    pub(super) fn awaits_back(&self, host: &HostProgress) -> bool {
        let of_group = |(balancing, side): (&Balancing, Side)| balancing.returns && host.group == Some(side);
        let heard = host.is_reachable() && !host.touched;
        let loses = host.route.is_some_and(|route| route.weight == 0 && !route.done);
        host.is_awaited_back() || (heard && loses && self.header.groups().is_some_and(of_group))
    }

    /// It takes the first release of the app away again, and its traffic with it.
    pub(super) fn leaves_nothing(&self) -> bool {
        self.header.groups().is_some_and(|(balancing, side)| {
            let mut others = self.hosts.values().filter(|host| host.group != Some(side));
            balancing.share == 0 && others.all(|host| host.previous.is_none())
        })
    }

    /// Nobody can have the traffic who is to have it: it stays where it is.
    fn weights_now(&self) -> BTreeMap<HostId, u16> {
        let weight = |host: &HostProgress| host.route.filter(|_| host.serves_now()).map_or(0, |r| r.weight);
        self.hosts.iter().map(|(id, host)| (*id, weight(host))).collect()
    }

    /// The traffic is to go to a group of which nobody can have it.
    pub(super) fn traffic_cannot_go_back(&self) -> bool {
        self.header.groups().is_some_and(|(balancing, side)| {
            let serving = self.hosts.values().any(|host| host.serves_now() && host.group == Some(side));
            balancing.moves && balancing.share == 0 && serving
        })
    }

    /// Of hosts that are drained one after the other, the last that gets connections, where the others were to have them
    /// as well. Where all may be down at once, or whoever resumed knew of the others, there is no last one.
    pub(super) fn is_last_to_serve(&self, id: HostId) -> bool {
        let all_may = self.spec().max_unavailable.at_most(self.total()) >= self.total();
        let others = || self.hosts.iter().filter(move |(other, _)| **other != id).map(|(_, host)| host);
        let serving = |host: &Arc<HostProgress>| host.serves_now();
        // One on which nothing ran has nothing to lose yet.
        let had = |host: &Arc<HostProgress>| !host.is_out() && host.has_a_place() && !host.forgiven;
        let missing = |host: &Arc<HostProgress>| had(host) && host.drained && !host.benched;
        self.header.is_rolling_balanced()
            && !all_may
            && self.hosts.get(&id).is_some_and(|host| host.serves_now())
            && !others().any(serving)
            && others().any(missing)
    }

    /// The assignment of a balancer; `None`: it is none, or there is nothing to tell yet.
    pub fn directions(&self, balancer: HostId) -> Option<Assignment> {
        let header = &self.header;
        let (balancing, routing) = (header.balancing.as_ref()?, header.spec.traffic.as_ref()?);
        if balancing.round == 0 || !balancing.balancers.contains_key(&balancer) {
            return None;
        }
        let port = routing.balancers.as_ref().and_then(|balancers| balancers.port);
        let mut servers: Vec<Server> = self
            .hosts
            .values()
            .filter_map(|host| {
                let address = host.address.zip(port).map(|(address, port)| SocketAddr::new(address, port));
                let address = address.map(|address| address.to_string());
                Some(Server {
                    name: host.name.clone(),
                    address,
                    weight: host.route?.weight,
                    if_up: host.route?.if_up,
                })
            })
            .collect();
        servers.sort_by(|a, b| a.name.cmp(&b.name));
        let (director, backend) = (routing.director, routing.backend.clone());
        Some(Assignment {
            host: balancer,
            app: header.app.clone(),
            env: header.env.clone(),
            rollout: header.id,
            generation: Generation::new(header.sequence, balancing.round),
            version: header.target.version.clone(),
            release: header.target.release,
            settings: Settings::default(),
            intent: Intent::Direct,
            keep_slots: header.keep_slots,
            traffic: None,
            directions: Some(Directions { director, backend, servers, drain: routing.drain }),
            unwell: None,
        })
    }

    /// The hosts that balance this rollout's.
    pub fn balancers(&self) -> impl Iterator<Item = (HostId, &Balancer)> {
        let balancers = self.header.balancing.iter().flat_map(|balancing| &balancing.balancers);
        balancers.map(|(id, balancer)| (*id, balancer))
    }

    pub fn is_balancer(&self, id: &HostId) -> bool {
        self.header.balancing.as_ref().is_some_and(|balancing| balancing.balancers.contains_key(id))
    }

    /// Balancers that have not carried out what they are told, by name, and why; empty when all have.
    pub(super) fn balancers_awaited(&self, doing: &BTreeMap<HostId, String>) -> Vec<String> {
        let round = self.header.balancing.as_ref().map_or(0, |balancing| balancing.round);
        let late = self.balancers().filter(|(_, balancer)| !balancer.has(round));
        let mut late: Vec<(HostId, &Balancer)> = late.collect();
        late.sort_by_key(|(id, balancer)| (&balancer.name, *id));
        let named = |(id, balancer): (HostId, &Balancer)| match (balancer.standing(round), doing.get(&id)) {
            (("waiting", _), Some(doing)) => format!("{} ({doing})", balancer.name),
            _ => balancer.named(round),
        };
        late.into_iter().map(named).collect()
    }

    /// Balancers that an operator went on without, and that have not said since that they have come so far; by name.
    pub(super) fn balancers_passed_over(&self) -> Vec<&Balancer> {
        let round = self.header.balancing.as_ref().map_or(0, |balancing| balancing.round);
        let passed = |balancer: &&Balancer| balancer.forgiven && !balancer.has_confirmed(round);
        let mut passed: Vec<&Balancer> =
            self.balancers().map(|(_, balancer)| balancer).filter(passed).collect();
        passed.sort_by_key(|balancer| &balancer.name);
        passed
    }

    /// The share that a host or group of this wave is to have, and has not got.
    pub(super) fn share_is_due(&self, wave: u32) -> bool {
        let due = self.share_of(wave);
        match &self.header.balancing {
            None => false,
            Some(Balancing { side: Some(_), share, .. }) => self.is_last(wave) && *share < due,
            Some(_) => {
                self.hosts.values().any(|host| host.wave == wave && host.is_good() && host.share < due)
            }
        }
    }
}
