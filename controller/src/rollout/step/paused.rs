//! Nothing new is begun, and no deadline passes. What hosts report is written down; it is judged on resume.

use crate::rollout::{
    draft::Draft,
    event::{Event, Promote, Refused},
    phase::{Cause, Inside, Paused, Phase, RollingBack, Why},
};

pub(super) fn when_paused(draft: &mut Draft, paused: Paused, event: Event) -> Result<(), Refused> {
    let back = match &paused.inside {
        Inside::RollingBack(back) => Some(back.clone()),
        Inside::Staging(_)
        | Inside::Switching(_)
        | Inside::Baking(_)
        | Inside::Gating(_)
        | Inside::Awaiting(_)
        | Inside::Watching(_) => None,
    };
    let withdrawn = match (&paused.why, &event) {
        (Why::Withdrawn { by }, Event::Resume | Event::Promote(_)) => Some(by.clone()),
        _ => None,
    };
    if let Some(by) = withdrawn {
        let id = draft.rollout.header.id.short();
        let why =
            format!("the release was withdrawn by {by}. To put hosts back: longshore rollout abort {id}");
        return draft.refuse(event.as_str(), why);
    }
    match event {
        Event::Report { host, generation, outcome } => draft.report(host, generation, outcome),
        Event::Silent(host) => draft.silent(host),
        Event::Back(host) => draft.back(host),
        Event::HoldChanged { host, hold } => draft.hold_changed(host, hold),
        Event::HostJoined { member, snapshots } => draft.take_in(&member, snapshots),
        Event::HostDrained { host, drained } => draft.bench(host, drained),
        Event::HostRemoved(host) => draft.removed(host),
        Event::Withdrawn { by } => draft.withdrawn(by),
        Event::Calendar { closed } => draft.calendar(closed),
        Event::Tick => {}
        Event::Gate { number, word } => draft.gate_says(number, word),
        Event::Retry(_) if back.is_some() => {
            return draft.refuse("retry", "it goes back: start a new rollout when it is done");
        }
        Event::Retry(hosts) => draft.retry(&hosts)?,
        Event::Pace(pace) => draft.change_pace(pace)?,
        Event::Exclude(hosts) => draft.exclude(&hosts)?,
        Event::Resume => draft.resume(paused),
        Event::Abort { by } => abort(draft, back, by),
        Event::Rollback { .. } if back.is_some() => {
            return draft.refuse("rollback", "it does already: resume it");
        }
        Event::Rollback { by } => draft.start_rolling_back(Cause::Operator { by }),
        Event::Supersede(by) => draft.supersede(by),
        Event::Start => return draft.refuse("start", "it has started already"),
        Event::Pause { .. } => return draft.refuse("pause", "it is paused already"),
        Event::Promote(promote) => promote_paused(draft, paused, promote)?,
    }
    Ok(())
}

/// Past the gate that it is paused for. With everything that is left, from an operator's pause as well.
fn promote_paused(draft: &mut Draft, paused: Paused, promote: Promote) -> Result<(), Refused> {
    match (&paused.why, &paused.inside, promote.full) {
        (_, Inside::RollingBack(_), _) => return draft.refuse("promote", "it goes back"),
        (Why::Gate(_) | Why::Operator { .. }, _, true) => draft.promote_fully(&promote)?,
        (Why::Gate(_), _, false) => draft.pass_over(&promote)?,
        _ => return draft.refuse("promote", "it is paused: resume it first"),
    }
    draft.resume(paused);
    if let Phase::Gating(gating) = &mut draft.rollout.header.phase {
        gating.promoted = true;
    }
    Ok(())
}

/// Abort is honoured from any phase: a rollback that was paused goes on.
fn abort(draft: &mut Draft, back: Option<RollingBack>, by: String) {
    let (since, cause) = back.map(|back| (back.since, back.cause)).unzip();
    draft.start_rolling_back(match cause {
        Some(cause) => cause.or_abort(by),
        None => Cause::Abort { by },
    });
    if let (Phase::RollingBack(back), Some(since)) = (&mut draft.rollout.header.phase, since) {
        back.since = since;
    }
}
