//! What the environment's policy says of a rollout that would begin now: windows, freezes, locks, promotion, approvals.

use std::collections::BTreeMap;

use longshore_common::{
    digest::ReleaseDigest,
    ids::{AppName, EnvName},
    time::Millis,
};

use crate::{
    approval::Rule,
    calendar::{Calendar, Standing},
    config::Environment,
    engine::{permit, records::Record, turn},
    environments::{freeze, lock},
    gate::{self, Declaration},
    plan::{Approval, CalendarNote, Check, Demanded},
    rollout::Header,
    store::SharedStore,
    trouble::Trouble,
};

/// Windows, freezes of the file and by hand, and locks, as they stand now.
pub(super) async fn standing(
    store: &SharedStore,
    environment: &Environment,
    app: &AppName,
    now: Millis,
) -> Result<Vec<CalendarNote>, Trouble> {
    let mut all = environment.calendar.clone();
    all.freezes.extend(freeze::get(store, &environment.name).await?.as_ref().map(freeze::Frozen::freeze));
    let mut notes = calendar(&environment.name, &all, now);
    let locks = lock::holding(store, &environment.name, app, now).await?;
    notes.extend(locks.into_iter().map(|what| CalendarNote {
        kind: LOCK.to_owned(),
        what,
        closed: true,
        until_ms: None,
    }));
    let scheduled = turn::scheduled(store).await?.into_iter();
    let of_this =
        scheduled.filter(|record| record.header.env == environment.name && record.header.app == *app);
    notes.extend(of_this.map(|record| coming(&environment.calendar, &record)));
    Ok(notes)
}

/// Another rollout that is to begin later.
fn coming(calendar: &Calendar, record: &Record) -> CalendarNote {
    let (Header { app, target, id, start_at, .. }, by) = (&record.header, &record.started_by);
    let moment = start_at.map(|at| calendar.say_moment(at)).unwrap_or_default();
    let what = format!(
        "rollout {} of {app}@{} by {by} is to begin {moment}, and is aborted then if its hosts run something else",
        id.short(),
        target.version
    );
    CalendarNote { kind: "scheduled".to_owned(), what, closed: false, until_ms: *start_at }
}

const LOCK: &str = "lock";

/// What of it does not only wait, but keeps the rollout from being started.
pub(super) fn unmet(notes: &[CalendarNote]) -> Vec<(Check, String)> {
    let locks = notes.iter().filter(|note| note.kind == LOCK);
    locks.map(|note| (Check::Locked, note.what.clone())).collect()
}

/// Every environment in which the release has to have proved itself, and what of that is lacking.
pub(super) fn promotion(
    environment: &Environment,
    app: &AppName,
    release: ReleaseDigest,
    past: &[Record],
    now: Millis,
) -> Vec<Demanded> {
    let lacking = permit::lacking(environment, app, release, past, now);
    let demands = environment.promotion.after.iter();
    demands
        .map(|demand| {
            let unproved = lacking.iter().find(|unproved| unproved.env == demand.env);
            Demanded {
                env: demand.env.clone(),
                lived: demand.lived,
                gates: demand.gates.clone(),
                lacking: unproved.map(|unproved| permit::say_unproved(environment, unproved)),
                due_ms: unproved.and_then(|unproved| unproved.due()),
            }
        })
        .collect()
}

/// Nothing where it is never closed.
fn calendar(env: &EnvName, calendar: &Calendar, now: Millis) -> Vec<CalendarNote> {
    if calendar.is_always_open() {
        return vec![];
    }
    let reasons = calendar.reasons(now);
    if reasons.is_empty() {
        let until_ms = calendar.openings(now, 1).first().and_then(|opening| opening.until);
        let what = match until_ms {
            Some(until) => {
                let (moment, then) = (calendar.say_moment(until), calendar.reasons(until).join(" and "));
                let then = if then.is_empty() { String::new() } else { format!(": then {then}") };
                format!("open now, until {moment}{then}")
            }
            None => "open now".to_owned(),
        };
        return vec![CalendarNote { kind: "window".to_owned(), what, closed: false, until_ms }];
    }
    let opens = calendar.next_opening(now);
    let (kind, by_hand) = match calendar.standing(now) {
        Standing::Frozen(freezes) => ("freeze", freezes.iter().any(|freeze| freeze.by.is_some())),
        Standing::Open(_) | Standing::Outside => ("window", false),
    };
    let then = match opens {
        Some(at) => format!("opens {}", calendar.say_moment(at)),
        None if by_hand => format!("opens when that is lifted: longshore env unfreeze {env}"),
        None => "does not open in the next year".to_owned(),
    };
    let note = |reason: String| CalendarNote {
        kind: kind.to_owned(),
        what: format!("closed now, and the rollout would wait: {reason}; {then}"),
        closed: true,
        until_ms: opens,
    };
    reasons.into_iter().map(note).collect()
}

/// Of each gate that operators open, how many have to and who may.
pub(super) fn asked(gates: &[Declaration]) -> BTreeMap<String, String> {
    let asked = gates.iter().filter_map(|declared| match &declared.check {
        gate::Check::Approval(approval) => Some((declared.gate.name.clone(), approval.asked())),
        _ => None,
    });
    asked.collect()
}

/// `None`: nobody is asked.
pub(super) fn approval(rule: &Rule) -> Option<Approval> {
    let of_roles: u32 = rule.roles.values().map(|role| role.count).sum();
    (!rule.asks_nobody()).then(|| Approval {
        count: rule.count.max(of_roles),
        by: rule.asked(),
        expires_after: rule.expires,
    })
}
