//! How long a rollout is likely to take, from how long others took.

use longshore_common::time::{Millis, Span};

use super::{Duration, Wave, world::Past};
use crate::rollout::Spec;

/// Rollouts that are learnt from; older ones say little of today.
const LEARN_FROM: usize = 10;

/// What earlier rollouts spent beside baking is taken for each wave of this one.
pub(super) fn duration(spec: &Spec, waves: &[Wave], probing: Span, past: &[Past]) -> Duration {
    let bakes: Millis = waves.iter().map(|wave| wave.bake.as_ms()).sum();
    let baking = bakes + spec.watch.as_ms();
    let least = span(baking + probing.as_ms() * waves.len() as Millis);
    let past = &past[..past.len().min(LEARN_FROM)];
    let per_wave = past
        .iter()
        .map(|past| (past.took.as_ms() - past.baked.as_ms()).max(0) / Millis::from(past.waves.max(1)));
    let whole = per_wave.map(|wave| span(baking + wave * waves.len() as Millis));
    let whole: Vec<Span> = whole.collect();
    let range = whole.iter().min().zip(whole.iter().max()).map(|(low, high)| (*low, *high));
    Duration { least, range, learnt_from: past.len() as u32 }
}

/// How long all waves of a rollout bake, of which the first few do so longer, and the watch time after the last.
pub fn baking(spec: &Spec, waves: u32, careful: u32) -> Span {
    let careful = careful.min(waves);
    let (long, short) = (spec.canary_bake.as_ms(), spec.bake.as_ms());
    span(long * Millis::from(careful) + short * Millis::from(waves - careful) + spec.watch.as_ms())
}

fn span(ms: Millis) -> Span {
    Span::millis(ms.clamp(0, Span::MAX_MS as Millis) as u64)
}
