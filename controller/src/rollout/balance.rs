//! Hosts behind load balancers on hosts of their own: which of them is to get new connections, and whether the balancers
//! have come so far.
//!
//! *Rolling*: a host is drained before it is changed and gets its connections back when it is healthy. *Groups*: the
//! group without traffic gets the release, and then the traffic moves to it, at once or in shares.
//!
//! What a balancer is told follows from the hosts' records alone ([`directions`]). It is told the whole of it each time,
//! under a round that only rises; that it has confirmed a round says that everything in it is so.

use std::{collections::BTreeMap, net::SocketAddr};

use longshore_common::{
    assignment::{Assignment, Intent},
    ids::{Generation, HostId, HostName},
    settings::Settings,
    time::Millis,
    traffic::{Directions, Server, Side, WEIGHT_MAX},
};
use serde::{Deserialize, Serialize};

use super::{
    host::{HostProgress, HostState, LocalHold},
    model::{Header, Rollout},
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
}

impl Balancer {
    pub fn new(name: HostName) -> Self {
        Self { name, confirmed: None, refusal: None, silent: None, held: None, forgiven: false }
    }

    pub(super) fn has(&self, round: u16) -> bool {
        self.forgiven || self.confirmed.is_some_and(|confirmed| confirmed >= round)
    }

    /// How far it is with what it is told in this round, and why not further. The stable names: `BalancerRow.state` in
    /// the API.
    pub fn standing(&self, round: u16) -> (&'static str, String) {
        match (&self.silent, &self.held, &self.refusal) {
            _ if self.confirmed.is_some_and(|confirmed| confirmed >= round) => ("done", String::new()),
            (Some(_), _, _) => ("unknown", String::new()),
            (None, Some(held), _) => ("held", held.reason.clone()),
            (None, None, Some(why)) => ("refused", why.clone()),
            (None, None, None) => ("waiting", String::new()),
        }
    }

    /// `lb-1 (does not answer)`
    fn named(&self, round: u16) -> String {
        match self.standing(round) {
            ("unknown", _) => format!("{} (unknown)", self.name),
            ("held", reason) => format!("{} (held: {reason})", self.name),
            ("refused", why) => format!("{} ({why})", self.name),
            _ => self.name.to_string(),
        }
    }
}

impl HostProgress {
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
        let good = |host: &HostProgress| matches!(host.state, HostState::Healthy | HostState::Unchanged);
        let Some((balancing, side)) = self.header.groups() else {
            let weight =
                |host: &HostProgress| if host.drained || host.benched { 0 } else { u16::from(host.share) };
            return self.hosts.iter().map(|(id, host)| (*id, weight(host))).collect();
        };
        let is_new = |host: &HostProgress| host.group == Some(side);
        let gains = |host: &HostProgress| {
            is_new(host) && !host.drained && !host.benched && (good(host) || !balancing.moves)
        };
        // One that is unknown must not keep the others from getting the traffic back.
        let known =
            |host: &HostProgress| host.silent.is_none() || host.route.is_none_or(|route| route.weight > 0);
        let has = |host: &HostProgress| {
            !is_new(host) && !host.drained && !host.benched && host.previous.is_some() && known(host)
        };
        let count = |fits: &dyn Fn(&HostProgress) -> bool| self.hosts.values().filter(|h| fits(h)).count();
        let (up, down) = weights(balancing.share, count(&gains), count(&has));
        let weight = |host: &HostProgress| match (gains(host), has(host)) {
            (true, _) => up,
            (_, true) => down,
            (false, false) => 0,
        };
        self.hosts.iter().map(|(id, host)| (*id, weight(host))).collect()
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
                Some(Server { name: host.name.clone(), address, weight: host.route?.weight })
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

    /// Balancers that have not carried out what they are told, and why; empty when all have.
    pub(super) fn balancers_awaited(&self) -> Vec<String> {
        let round = self.header.balancing.as_ref().map_or(0, |balancing| balancing.round);
        let late = self.balancers().filter(|(_, balancer)| !balancer.has(round));
        late.map(|(_, balancer)| balancer.named(round)).collect()
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
