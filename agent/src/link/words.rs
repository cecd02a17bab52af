//! Our own words as messages.

use longshore_common::{ids::AppName, report::Outcome, slot::Slot};
use longshore_proto::v1 as pb;

use crate::{
    plan::{Halt, Hold, Record, Seen, sides_seen},
    run::{Activity, Line, Standing, Works},
};

pub(super) async fn app_states<W: Works>(crew: &W) -> Vec<pb::AppState> {
    standings(crew).await.into_iter().map(|(state, _)| state).collect()
}

/// How every app stands, and what is under way there.
pub(super) async fn standings<W: Works>(crew: &W) -> Vec<(pb::AppState, Option<pb::Progress>)> {
    let apps = crew.apps();
    // Side by side: what hangs costs its time once.
    futures_util::future::join_all(apps.iter().map(|app| standing(crew, app))).await
}

async fn standing<W: Works>(crew: &W, app: &AppName) -> (pb::AppState, Option<pb::Progress>) {
    let standing = crew.standing(app).await;
    let under_way = under_way(app, &standing);
    match &standing.seen {
        Ok(seen) => (app_state(app, &standing.record, seen), under_way),
        Err(failure) => {
            tracing::warn!(%app, "cannot look at the host: {}", failure.message);
            (app_state(app, &standing.record, &Seen::default()), under_way)
        }
    }
}

fn under_way(app: &AppName, standing: &Standing) -> Option<pb::Progress> {
    let Activity { step, detail, .. } = &standing.activity;
    Some(pb::Progress {
        app: app.to_string(),
        generation: standing.record.generation()?.0,
        step: step.as_ref()?.to_string(),
        bytes_done: 0,
        bytes_total: 0,
        detail: detail.clone(),
    })
}

pub(crate) fn app_state(app: &AppName, record: &Record, seen: &Seen) -> pb::AppState {
    let live = seen.current.as_ref();
    let release = live.and_then(|slot| release_of(slot, record, seen));
    pb::AppState {
        app: app.to_string(),
        generation: record.generation().map_or(0, |generation| generation.0),
        current_slot: live.map(ToString::to_string).unwrap_or_default(),
        release: release.unwrap_or_default(),
        version: live.map(|slot| slot.version().to_owned()).unwrap_or_default(),
        running: live.is_some_and(|slot| seen.is_run(slot)),
        slots: seen.slots.keys().map(ToString::to_string).collect(),
        verdict: verdict(record, seen).into(),
        local_by: record.local.as_ref().map(|local| local.by.clone()).unwrap_or_default(),
        local_ms: record.local.as_ref().map_or(0, |local| local.since_ms),
        sides: sides_seen(record, seen).iter().map(Into::into).collect(),
        failed_slots: record
            .bad
            .iter()
            .filter(|slot| seen.is_sealed(slot))
            .map(ToString::to_string)
            .collect(),
    }
}

/// Healthy: found so when it was judged last, and up now. Empty: not judged yet.
fn verdict(record: &Record, seen: &Seen) -> &'static str {
    let inconsistent =
        record.concluded.as_ref().is_some_and(|c| matches!(c.outcome, Outcome::Inconsistent { .. }));
    match &seen.current {
        Some(_) if inconsistent => "unhealthy",
        Some(live) if !seen.is_run(live) => "unhealthy",
        // Started again after a drain, and not found well yet.
        Some(_) if record.halt == Some(Halt::Lifted) => "",
        Some(live) if !record.disturbed && record.good.last() == Some(live) => "healthy",
        Some(_) | None => "",
    }
}

fn release_of(slot: &Slot, record: &Record, seen: &Seen) -> Option<String> {
    let sealed = seen.slots.get(slot).and_then(|needs| needs.release);
    let accepted = record.accepted.as_ref().filter(|assignment| assignment.slot() == *slot);
    sealed.or(accepted.map(|assignment| assignment.release)).map(|release| release.hex())
}

pub(crate) fn hold_state(hold: Option<&Hold>) -> pb::HoldState {
    match hold {
        None => pb::HoldState::default(),
        Some(Hold { reason, by, since_ms, kind: _ }) => {
            pb::HoldState { held: true, reason: reason.clone(), by: by.clone(), since_ms: *since_ms }
        }
    }
}

pub(crate) fn line(line: Line) -> pb::LogLine {
    let Line { app, generation, source, stream, line, time_ms } = line;
    pb::LogLine {
        app: app.to_string(),
        generation: generation.0,
        source,
        stream: stream.as_str().into(),
        line,
        time_ms,
    }
}

#[cfg(test)]
mod tests {
    use longshore_common::{digest::ReleaseDigest, settings::Settings};

    use super::*;
    use crate::plan::Needs;

    /// One that was removed since is nothing to tell of.
    #[test]
    fn slots_on_disk_that_failed_here_are_told_as_that() {
        let slot = |version: &str| {
            Slot::new(&version.parse().unwrap(), &ReleaseDigest::of(version.as_bytes()), &Settings::default())
        };
        let slots = ["1", "2"].map(|version| (slot(version), Needs::default())).into();
        let seen = Seen { current: Some(slot("1")), slots, ..Seen::default() };
        let record = Record { good: vec![slot("1")], bad: vec![slot("0"), slot("2")], ..Record::default() };
        let state = app_state(&"shop".parse().unwrap(), &record, &seen);
        assert_eq!((state.slots.len(), state.failed_slots), (2, vec![slot("2").to_string()]));
    }

    #[test]
    fn what_is_started_again_after_a_drain_is_not_healthy_before_it_was_found_so() {
        let slot = Slot::new(&"1".parse().unwrap(), &ReleaseDigest::of(b"1"), &Settings::default());
        let seen = Seen { current: Some(slot.clone()), ..Seen::default() };
        let record = Record { good: vec![slot], ..Record::default() };
        assert_eq!(verdict(&record, &seen), "healthy");
        let lifted = Record { halt: Some(Halt::Lifted), ..record };
        assert_eq!(verdict(&lifted, &seen), "");
    }
}
