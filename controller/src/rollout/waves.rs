//! How a rollout begins: which hosts take part, and in which wave each is moved.

use std::{collections::BTreeMap, sync::Arc};

use longshore_common::{
    code::Coded,
    ids::{AppName, EnvName, HostId, HostName, RolloutId, Version},
    label::Labels,
    time::Millis,
};

use super::{
    host::{HostProgress, HostState, LocalHold},
    model::{Header, Rollout, Target},
    phase::Phase,
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
    /// Its last report says that the app does not serve there.
    pub sick: bool,
    /// Not heard from since then.
    pub silent: Option<Millis>,
    pub held: Option<LocalHold>,
    /// Why it must keep what it has, if it must.
    pub excluded: Option<String>,
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
}

/// The hosts of each wave. Every host that takes part is in exactly one; none is empty; the order depends only on
/// names (then ids) and on which hosts the strategy wants first.
pub fn plan_waves(spec: &Spec, members: &[Member]) -> Vec<Vec<HostId>> {
    let wanted_first = |member: &Member| {
        spec.canary_hosts.as_ref().is_some_and(|selector| {
            selector.matches(member.name.as_str(), &member.id.to_string(), &member.labels)
        })
    };
    let mut order: Vec<&Member> = members.iter().filter(|member| member.excluded.is_none()).collect();
    order.sort_by_key(|member| (!wanted_first(member), &member.name, member.id));
    let total = order.len();
    let mut left = &order[..];
    let mut waves = vec![];
    while !left.is_empty() {
        let first = waves.is_empty() && !spec.canary.is_zero();
        let size = if first { spec.canary } else { spec.wave }.of(total).clamp(1, left.len());
        let (wave, rest) = left.split_at(size);
        waves.push(wave.iter().map(|member| member.id).collect());
        left = rest;
    }
    waves
}

impl Rollout {
    /// Made, not started: nothing is assigned yet. Refused when the strategy cannot work.
    pub fn new(new: New, members: &[Member], now: Millis) -> Result<Self, Coded> {
        let New { id, sequence, app, env, target, from_version, spec, keep_slots } = new;
        spec.check()?;
        let waves = plan_waves(&spec, members);
        let wave_of: BTreeMap<HostId, u32> =
            (0..).zip(&waves).flat_map(|(number, wave)| wave.iter().map(move |id| (*id, number))).collect();
        let hosts = members
            .iter()
            .map(|member| {
                let wave = wave_of.get(&member.id).copied().unwrap_or_default();
                (member.id, Arc::new(HostProgress::of(member, wave, now)))
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
            keep_slots,
            created_ms: now,
            started_ms: None,
            phase: Phase::Ready,
        };
        Ok(Rollout { header, hosts })
    }
}

impl HostProgress {
    fn of(member: &Member, wave: u32, now: Millis) -> Self {
        let state = match &member.excluded {
            Some(reason) => HostState::Excluded { reason: reason.clone() },
            None => HostState::Waiting,
        };
        Self {
            name: member.name.clone(),
            wave,
            previous: member.previous.clone(),
            state,
            since: now,
            failure: None,
            ask: None,
            round: 0,
            attempts: 0,
            silent: member.silent,
            held: member.held.clone(),
            declined: false,
            touched: false,
            sick: member.sick,
            forgiven: false,
        }
    }
}
