//! How long a rollout is likely to take, from how long others took.

use std::collections::BTreeSet;

use longshore_common::time::{Millis, Span};

use super::{Change, Duration, HostPlan, Part, Wave, world::Past};
use crate::rollout::Spec;

/// Rollouts that are learnt from; older ones say little of today.
const LEARN_FROM: usize = 10;

/// Who gets the traffic of a rollout in steps, where there are any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gains {
    /// Each host of the first wave, of its own.
    Hosts,
    /// After the last wave, the group that had none.
    Group,
    /// Nobody: the group has it already.
    Nobody,
}

impl Gains {
    /// By whether the group that gets the release has the traffic already; `None`: there are no groups.
    pub fn of_group(has: Option<bool>) -> Self {
        match has {
            None => Gains::Hosts,
            Some(false) => Gains::Group,
            Some(true) => Gains::Nobody,
        }
    }
}

/// What a wave takes its time for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay {
    pub bake: Span,
    /// Some host of it gets something; a wave of which every host is as it should be already is passed through.
    pub changes: bool,
}

impl HostPlan {
    /// The wave in which it gets something.
    fn changed_in(&self) -> Option<u32> {
        match (&self.part, self.change) {
            (Part::Wave { wave }, Change::Install | Change::Update | Change::Settings) => Some(*wave),
            (Part::Wave { .. }, Change::Unchanged | Change::Skipped) | (Part::Skipped { .. }, _) => None,
        }
    }
}

/// What earlier rollouts spent beside waiting is taken for each wave of this one that changes something.
pub(super) fn duration(
    spec: &Spec,
    waves: &[Wave],
    hosts: &[HostPlan],
    gains: Gains,
    probing: Span,
    past: &[Past],
) -> Duration {
    let changed: BTreeSet<u32> = hosts.iter().filter_map(HostPlan::changed_in).collect();
    let stays: Vec<Stay> =
        waves.iter().map(|wave| Stay { bake: wave.bake, changes: changed.contains(&wave.number) }).collect();
    let waves = changed.len() as Millis;
    let waiting = waiting(spec, &stays, gains).as_ms();
    let least = span(waiting + probing.as_ms() * waves);
    let past = &past[..past.len().min(LEARN_FROM)];
    let per_wave = past
        .iter()
        .map(|past| (past.took.as_ms() - past.waited.as_ms()).max(0) / Millis::from(past.waves.max(1)));
    // Some went faster than this one can: they had other probes, or somebody went on before a bake was over.
    let whole = per_wave.map(|wave| span(waiting + wave * waves).max(least));
    let whole: Vec<Span> = whole.collect();
    let range = whole.iter().min().zip(whole.iter().max()).map(|(low, high)| (*low, *high));
    Duration { least, range, learnt_from: past.len() as u32 }
}

/// How long a rollout waits for time alone: for the waves that change something to bake, for steps of traffic, and the
/// watch time after the last wave, or as long as the other group stays warm. A group bakes once more when it has all of
/// the traffic. Steps of hosts are those of the first wave, and of none where that changes nothing; a group gets its
/// traffic all the same.
pub fn waiting(spec: &Spec, waves: &[Stay], gains: Gains) -> Span {
    let (Some(first), Some(last)) = (waves.first(), waves.last()) else { return Span::default() };
    let baking: Millis = waves.iter().filter(|wave| wave.changes).map(|wave| wave.bake.as_ms()).sum();
    let routing = spec.traffic.as_ref();
    let steps = routing.map_or(0, |routing| routing.hold.as_ms() * routing.steps.len() as Millis);
    let groups = routing.and_then(|routing| routing.balancers.as_ref()?.groups.as_ref());
    let warm = groups.map_or(Span::default(), |groups| groups.warm);
    let changes = waves.iter().any(|wave| wave.changes);
    let watch = if changes { spec.watch.as_ms() } else { 0 };
    span(match gains {
        Gains::Hosts if first.changes => baking + steps + watch,
        Gains::Hosts | Gains::Nobody => baking + watch,
        Gains::Group => baking + steps + last.bake.as_ms() + spec.watch.max(warm).as_ms(),
    })
}

fn span(ms: Millis) -> Span {
    Span::millis(ms.clamp(0, Span::MAX_MS as Millis) as u64)
}
