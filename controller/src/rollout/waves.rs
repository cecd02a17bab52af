//! How a rollout begins: which hosts take part, and in which wave each is moved.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use longshore_common::{
    code::{Code, Coded},
    ids::{AppName, EnvName, HostId, HostName, RolloutId, Version},
    label::Labels,
    time::Millis,
    traffic::{SERVERS_MAX, Side},
};

use super::{
    balance::{BALANCERS_MAX, Balancer, Balancing},
    host::{HostProgress, HostState, LocalHold},
    model::{Header, Rollout, Target},
    phase::Phase,
    settings::Snapshots,
    spec::Spec,
};

/// A host of the environment, as the controller knows it when a rollout is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: HostId,
    pub name: HostName,
    pub labels: Labels,
    /// What it runs of this app, by its last report; `None`: nothing.
    pub previous: Option<Target>,
    /// Another environment gave it that, and this one has something live; or balancers had no word of it when it came.
    pub foreign: bool,
    /// Of the target's settings: the layers that hold for it.
    pub layers: Vec<u16>,
    /// Its last report says that the app does not serve there.
    pub sick: bool,
    /// Not heard from since then.
    pub silent: Option<Millis>,
    pub held: Option<LocalHold>,
    /// Why it must keep what it has, if it must.
    pub excluded: Option<String>,
    /// An operator keeps work from it, or has taken it back and its apps do not serve yet: balancers send it nothing.
    pub drained: bool,
    /// It is left out because an operator has drained it, and for nothing else.
    pub left_drained: bool,
    /// Of two groups between which traffic is switched: its own.
    pub group: Option<Side>,
    /// Where balancers find it.
    pub address: Option<IpAddr>,
    /// What it runs has no sides, and the release has, with whoever moves its traffic on the host.
    pub replaces: bool,
}

/// The load balancers that the environment's hosts stand behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    pub balancers: Vec<(HostId, HostName)>,
    /// The group that gets the release, where there are groups, and whether it has the traffic already.
    pub side: Option<(Side, bool)>,
}

impl Behind {
    fn balancing(self, members: &[Member]) -> Result<Balancing, Coded> {
        let (balancers, hosts) = (self.balancers.len(), members.len());
        if balancers > BALANCERS_MAX || hosts > SERVERS_MAX {
            let why = format!(
                "{balancers} balancers for {hosts} hosts: at most {BALANCERS_MAX} balancers, and {SERVERS_MAX} hosts \
                 behind them, can be directed. Divide the environment"
            );
            return Err(Coded::new(Code::V01, why));
        }
        let has = self.side.is_some_and(|(_, has)| has);
        Ok(Balancing {
            balancers: self.balancers.into_iter().map(|(id, name)| (id, Balancer::new(name))).collect(),
            round: 0,
            side: self.side.map(|(side, _)| side),
            share: if has { 100 } else { 0 },
            moves: self.side.is_some() && !has,
            returns: false,
            had: 0,
        })
    }
}

/// What a rollout is made of.
#[derive(Clone, Debug)]
pub struct New {
    pub id: RolloutId,
    pub sequence: u64,
    pub app: AppName,
    pub env: EnvName,
    pub target: Target,
    pub from_version: Option<Version>,
    pub spec: Spec,
    pub keep_slots: u32,
    /// Those that the target and the members' ways back name.
    pub snapshots: Snapshots,
    /// It takes the environment back to what was live there before.
    pub back: bool,
    /// What its environment does about newcomers and whoever is back.
    pub follows: bool,
    /// Not to begin before; `None`: at once.
    pub start_at: Option<Millis>,
    /// `None`: nothing stands before the hosts that we direct.
    pub behind: Option<Behind>,
}

/// The hosts of each wave. Every host that takes part is in exactly one; none is empty; with `spread`, none has hosts of
/// two failure domains. The order depends only on domains, names (then ids) and on which hosts the strategy wants first.
pub fn plan_waves(spec: &Spec, members: &[Member]) -> Vec<Vec<HostId>> {
    let waves = dealt(spec, members).into_iter();
    waves.map(|wave| wave.into_iter().map(|member| member.id).collect()).collect()
}

/// How many of the first waves bake longer: those of the domain that is moved first, or the canary alone.
pub fn careful_waves(spec: &Spec, members: &[Member]) -> u32 {
    let canary = u32::from(!spec.canary.is_zero());
    if spec.spread.is_none() {
        return canary;
    }
    let waves = dealt(spec, members);
    let domains: Vec<Option<&str>> = waves.iter().map(|wave| wave[0].domain(spec)).collect();
    domains.iter().take_while(|domain| **domain == domains[0]).count() as u32
}

fn dealt<'a>(spec: &Spec, members: &'a [Member]) -> Vec<Vec<&'a Member>> {
    let order = in_order(spec, members);
    let marks = marks(spec, order.len());
    let size = spec.wave.of(order.len()).max(1);
    let mut left = &order[..];
    let mut waves = vec![];
    while let Some(first) = left.first() {
        let begun = order.len() - left.len();
        let wanted = marks.iter().find(|mark| **mark > begun).map_or(size, |mark| mark - begun);
        let alike = left.iter().take_while(|member| member.domain(spec) == first.domain(spec)).count();
        let (wave, rest) = left.split_at(wanted.min(alike));
        waves.push(wave.to_vec());
        left = rest;
    }
    waves
}

/// Behind how many hosts the canary and each step end; always rising.
fn marks(spec: &Spec, total: usize) -> Vec<usize> {
    let canary = spec.canary.of(total);
    let steps = spec.steps.iter().map(|step| step.of(total));
    let mut marks: Vec<usize> = vec![];
    for mark in std::iter::once(canary).chain(steps) {
        if mark > marks.last().copied().unwrap_or(0) {
            marks.push(mark);
        }
    }
    marks
}

/// Hosts that take part, in the order in which they are moved.
fn in_order<'a>(spec: &Spec, members: &'a [Member]) -> Vec<&'a Member> {
    let mut order: Vec<&Member> = members.iter().filter(|member| member.excluded.is_none()).collect();
    order.sort_by_cached_key(|member| {
        let domain = member.domain(spec);
        (!member.is_wanted_first(spec), domain.is_none(), domain, &member.name, member.id)
    });
    order
}

impl Member {
    /// Its failure domain; `None` where the strategy knows none, or the host has no such label.
    pub fn domain(&self, spec: &Spec) -> Option<&str> {
        self.labels.get(spec.spread.as_ref()?).map(String::as_str)
    }

    fn is_wanted_first(&self, spec: &Spec) -> bool {
        let wanted = spec.canary_hosts.as_ref();
        wanted
            .is_some_and(|selector| selector.matches(self.name.as_str(), &self.id.to_string(), &self.labels))
    }
}

impl Rollout {
    /// Made, not started: nothing is assigned yet. Refused when the strategy cannot work.
    pub fn new(new: New, members: &[Member], now: Millis) -> Result<Self, Coded> {
        let New { id, sequence, app, env, target, from_version, spec, keep_slots, snapshots, back, .. } = new;
        let (follows, start_at, behind) = (new.follows, new.start_at, new.behind);
        spec.check()?;
        let balancing = behind.map(|behind| behind.balancing(members)).transpose()?;
        let rolling = balancing.as_ref().is_some_and(|balancing| balancing.side.is_none());
        let waves = plan_waves(&spec, members);
        let careful_waves = careful_waves(&spec, members);
        let wave_of: BTreeMap<HostId, u32> =
            (0..).zip(&waves).flat_map(|(number, wave)| wave.iter().map(move |id| (*id, number))).collect();
        // Where all who may get any come from elsewhere, they have the traffic that there is.
        let has =
            balancing.as_ref().and_then(|b| b.side.map(|side| if b.moves { side.other() } else { side }));
        let serves = |member: &Member| {
            let has_traffic = has.is_none_or(|side| member.group == Some(side));
            has_traffic && member.previous.is_some() && !member.foreign && !member.drained
        };
        let somebody_serves = members.iter().any(serves);
        let hosts = members
            .iter()
            .map(|member| {
                let wave = wave_of.get(&member.id).copied().unwrap_or_default();
                let mut host = HostProgress::of(member, wave, now);
                host.foreign &= somebody_serves;
                host.drained |= rolling && !host.has_a_place();
                (member.id, Arc::new(host))
            })
            .collect();
        let header = Header {
            id,
            sequence,
            app,
            env,
            target,
            from_version,
            spec,
            waves: waves.len() as u32,
            careful_waves,
            traffic_step: 0,
            balancing,
            keep_slots,
            created_ms: now,
            started_ms: None,
            phase: Phase::Ready,
            round: None,
            gate_runs: 0,
            promoted: None,
            watch: None,
            start_at,
            passed: BTreeSet::new(),
            back,
            follows,
            closed: None,
            finishing: false,
            stood_ms: 0,
        };
        Ok(Rollout { header, hosts, snapshots: Arc::new(snapshots) })
    }
}

impl HostProgress {
    pub(super) fn of(member: &Member, wave: u32, now: Millis) -> Self {
        let state = match &member.excluded {
            Some(reason) => HostState::Excluded { reason: reason.clone() },
            None => HostState::Waiting,
        };
        Self {
            name: member.name.clone(),
            wave,
            layers: member.layers.clone(),
            previous: member.previous.clone(),
            foreign: member.foreign,
            state,
            since: now,
            failure: None,
            ask: None,
            round: 0,
            share: 100,
            replaces: member.replaces,
            group: member.group,
            address: member.address,
            drained: false,
            benched: member.drained,
            is_back: false,
            left_drained: member.left_drained && member.excluded.is_some(),
            route: None,
            attempts: 0,
            silent: member.silent,
            held: member.held.clone(),
            declined: false,
            finishing: false,
            touched: false,
            served: false,
            unwell: false,
            sick: member.sick,
            joined: false,
            stands_in: false,
            forgiven: false,
        }
    }
}
