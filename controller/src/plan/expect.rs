//! How long a rollout is likely to take, from how long others took.

use longshore_common::time::{Millis, Span};

use super::{Duration, Wave, world::Past};
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

/// What earlier rollouts spent beside waiting is taken for each wave of this one.
pub(super) fn duration(spec: &Spec, waves: &[Wave], gains: Gains, probing: Span, past: &[Past]) -> Duration {
    let bakes: Vec<Span> = waves.iter().map(|wave| wave.bake).collect();
    let waiting = waiting(spec, &bakes, gains).as_ms();
    let least = span(waiting + probing.as_ms() * waves.len() as Millis);
    let past = &past[..past.len().min(LEARN_FROM)];
    let per_wave = past
        .iter()
        .map(|past| (past.took.as_ms() - past.waited.as_ms()).max(0) / Millis::from(past.waves.max(1)));
    // Some went faster than this one can: they had other probes, or somebody went on before a bake was over.
    let whole = per_wave.map(|wave| span(waiting + wave * waves.len() as Millis).max(least));
    let whole: Vec<Span> = whole.collect();
    let range = whole.iter().min().zip(whole.iter().max()).map(|(low, high)| (*low, *high));
    Duration { least, range, learnt_from: past.len() as u32 }
}

/// How long a rollout waits for time alone: for its waves to bake, for steps of traffic, and the watch time after
/// the last wave, or as long as the other group stays warm. A group bakes once more when it has all of the traffic.
pub fn waiting(spec: &Spec, bakes: &[Span], gains: Gains) -> Span {
    let Some(last) = bakes.last() else { return spec.watch };
    let baking: Millis = bakes.iter().map(|bake| bake.as_ms()).sum();
    let routing = spec.traffic.as_ref();
    let steps = routing.map_or(0, |routing| routing.hold.as_ms() * routing.steps.len() as Millis);
    let groups = routing.and_then(|routing| routing.balancers.as_ref()?.groups.as_ref());
    let warm = groups.map_or(Span::default(), |groups| groups.warm);
    span(match gains {
        Gains::Hosts => baking + steps + spec.watch.as_ms(),
        Gains::Group => baking + steps + last.as_ms() + spec.watch.max(warm).as_ms(),
        Gains::Nobody => baking + spec.watch.as_ms(),
    })
}

fn span(ms: Millis) -> Span {
    Span::millis(ms.clamp(0, Span::MAX_MS as Millis) as u64)
}
