//! The last look at hosts before a bake, or the watch, ends. Who looks, and when that look has begun, is the matter of
//! whoever carries the rollout out.

use longshore_common::time::Millis;

use super::{
    desired::{time_watched, watched},
    event::{Event, Refused, Transition},
    model::Rollout,
    phase::{Baking, Phase, Watching},
    step::step,
};

/// How long a last look may take: probes that hang until they are given up have to do so three times.
const LAST_LOOK_MS: Millis = 120_000;

/// The time of a bake, or of the watch, is over, and the hosts that have to stay healthy are looked at once more before
/// it ends: what fell ill near its end must not pass for healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastLook {
    /// When that time was over.
    pub since: Millis,
    /// It ends then, however far the look is.
    pub until: Millis,
}

/// The look that is under way at this moment. `begun` is the one that was begun last; where that is of another bake, or
/// nobody has begun any, it begins now, however long ago the time was over: nobody may have been there to look.
pub fn last_look(rollout: &Rollout, begun: Option<LastLook>, now: Millis) -> Option<LastLook> {
    let (from, since) = time_watched(rollout)?;
    let begun = begun.filter(|begun| begun.since == since);
    let look = begun.unwrap_or(LastLook { since, until: now + LAST_LOOK_MS });
    let due = from < since && since <= now && now < look.until;
    (due && !watched(rollout).is_empty()).then_some(look)
}

/// What the rollout becomes while that look is under way: the time of its bake or watch is not over yet. What ends that
/// otherwise happens as ever.
pub fn step_in_look(
    rollout: &Rollout,
    event: Event,
    look: LastLook,
    now: Millis,
) -> Result<Transition, Refused> {
    let event = in_time(rollout, event);
    let overdue = now + 1 - look.since;
    let mut held = rollout.clone();
    put_off(&mut held, overdue);
    let mut held = step(&held, event.clone(), now)?;
    // On resume it goes on with what was left of its time, and with another look.
    if matches!(held.next.phase(), Phase::Paused(_)) {
        return Ok(held);
    }
    put_off(&mut held.next, -overdue);
    if last_look(&held.next, Some(look), now) == Some(look) {
        return Ok(held);
    }
    step(rollout, event, now)
}

/// Whoever comes when the time of the watch is over is not taken in (`join`), look or no look.
fn in_time(rollout: &Rollout, event: Event) -> Event {
    match (&rollout.header.phase, event) {
        (Phase::Watching(_), Event::HostJoined { .. }) => Event::Tick,
        (_, event) => event,
    }
}

/// Its bake or watch began, and ends, so much later.
fn put_off(rollout: &mut Rollout, by: Millis) {
    match &mut rollout.header.phase {
        Phase::Baking(Baking { since, until, .. }) | Phase::Watching(Watching { since, until, .. }) => {
            *since += by;
            *until += by;
        }
        Phase::Ready
        | Phase::Staging(_)
        | Phase::Switching(_)
        | Phase::Gating(_)
        | Phase::Awaiting(_)
        | Phase::RollingBack(_)
        | Phase::Paused(_)
        | Phase::Done(_) => {}
    }
}
