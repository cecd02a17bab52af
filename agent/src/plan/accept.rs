//! Whether an assignment, or a local admin's order, is taken.

use longshore_common::{
    assignment::{Assignment, Intent},
    code::{Code, Coded},
    ids::HostId,
    report::{Blame, Failure, Outcome, StepName},
    slot::Slot,
};

use super::{
    halt::Halt,
    model::Seen,
    record::{Conclusion, Hold, HoldKind, Local, Order, Record},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// Make this record durable, then begin.
    Begin(Box<Record>),
    /// Known already, and not ended: go on.
    Continue,
    /// Known already, and ended like this: say so again.
    Repeat(Outcome),
    /// Refused. With a record when the refusal has to be remembered, so that the same generation is not taken later.
    Refuse(Failure, Option<Box<Record>>),
}

/// A lower generation is refused, other content under the same generation is refused, the same again changes nothing.
pub fn accept(record: &Record, incoming: &Assignment, me: HostId, hold: Option<&Hold>) -> Acceptance {
    if incoming.host != me {
        return Acceptance::Refuse(
            stale(format!("assignment is for host {}, this is {me}", incoming.host)),
            None,
        );
    }
    if let Some(refused) = record.refused.as_ref().filter(|refused| refused.generation == incoming.generation)
    {
        return Acceptance::Repeat(refused.outcome.clone());
    }
    match record.generation() {
        Some(known) if incoming.generation < known => Acceptance::Refuse(
            stale(format!(
                "assignment generation {} of {} is not newer than {known}; a former controller may still be running. \
                 Nothing was changed",
                incoming.generation, incoming.app
            )),
            None,
        ),
        Some(known) if incoming.generation == known => match &record.accepted {
            Some(accepted) if accepted == incoming => match &record.concluded {
                Some(concluded) => Acceptance::Repeat(concluded.outcome.clone()),
                None => Acceptance::Continue,
            },
            _ => Acceptance::Refuse(
                stale(format!(
                    "assignment generation {known} of {} has other content than the one taken before. Nothing was changed",
                    incoming.app
                )),
                None,
            ),
        },
        Some(_) | None => match hold {
            Some(hold) => refuse_held(record, incoming, hold),
            None => Acceptance::Begin(Box::new(begin(record, incoming))),
        },
    }
}

fn begin(record: &Record, incoming: &Assignment) -> Record {
    let given_up = record.concluded.is_none()
        && record.accepted.as_ref().is_some_and(|old| !matches!(old.intent, Intent::Stage | Intent::Direct))
        && !goes_on(record, incoming);
    Record {
        accepted: Some(incoming.clone()),
        failed: None,
        concluded: None,
        refused: None,
        good: record.good.clone(),
        bad: record.bad.clone(),
        disturbed: record.disturbed || given_up,
        order: None,
        halt: record.halt,
        share: record.share,
        brought: record.brought.clone(),
        local: None,
    }
}

/// The new generation wants the very slot that is being worked on: what is in progress is not for nothing.
pub fn goes_on(record: &Record, incoming: &Assignment) -> bool {
    let towards = |intent| matches!(intent, Intent::Stage | Intent::Run);
    let forward = record.concluded.is_none() && record.failed.is_none() && record.order.is_none();
    forward
        && incoming.intent == Intent::Run
        && record.accepted.as_ref().is_some_and(|old| towards(old.intent) && old.slot() == incoming.slot())
}

fn refuse_held(record: &Record, incoming: &Assignment, hold: &Hold) -> Acceptance {
    let failure = Failure::new(
        Code::P01,
        StepName::Check,
        Blame::Environment,
        format!("this host is held by {}: {}. Nothing was changed. {}", hold.by, hold.reason, hold.way_out()),
    );
    let refused = refused(record, incoming, &failure);
    Acceptance::Refuse(failure, Some(Box::new(refused)))
}

/// The record of a host that refused an assignment, and will say so again.
pub fn refused(record: &Record, incoming: &Assignment, failure: &Failure) -> Record {
    let outcome = Outcome::Refused { failure: failure.clone() };
    let refused = Some(Conclusion { generation: incoming.generation, outcome });
    Record { refused, ..record.clone() }
}

fn stale(message: String) -> Failure {
    Failure::new(Code::O03, StepName::Check, Blame::Environment, message)
}

/// A deployment asked for on the host itself. It takes the place of what was assigned: the generation stays the highest
/// that is known, so a later assignment, and only that, changes the app again. What was under way is given up, except
/// for a way back.
pub fn accept_local(
    record: &Record,
    incoming: &Assignment,
    hold: Option<&Hold>,
    local: Local,
) -> Result<Record, Coded> {
    if let Some(hold) = hold {
        let what_then = match hold.kind {
            HoldKind::Admin | HoldKind::File => "To deploy all the same: --despite-hold".to_owned(),
            HoldKind::Drain => format!("Its apps stay stopped until then. {}", hold.way_out()),
        };
        let message =
            format!("this host is held by {}: {}. Nothing was changed. {what_then}", hold.by, hold.reason);
        return Err(Coded::new(Code::P01, message));
    }
    if record.order.is_some() || (record.failed.is_some() && record.concluded.is_none()) {
        let message = format!(
            "{} is on its way back to an earlier release: longshore-agent status. Nothing was changed",
            incoming.app
        );
        return Err(Coded::new(Code::R01, message));
    }
    let generation = record.generation().unwrap_or_default();
    let incoming = Assignment { generation, ..incoming.clone() };
    Ok(Record { local: Some(local), refused: record.refused.clone(), ..begin(record, &incoming) })
}

/// How what was under way ends when somebody on the host deploys something else; `None`: nothing was.
pub fn superseded(record: &Record, incoming: &Assignment, by: &str) -> Option<Outcome> {
    let assigned = record.accepted.as_ref().filter(|_| record.concluded.is_none())?;
    let failure = Failure::new(
        Code::P01,
        StepName::Check,
        Blame::Environment,
        format!(
            "{}@{} was given up: {by} deployed {} from a bundle on this host",
            assigned.app, assigned.version, incoming.version
        ),
    );
    Some(Outcome::Failed { failure })
}

/// A revert asked for on the host: to the slot named, or else to the latest good one that is not live.
pub fn accept_order(record: &Record, seen: &Seen, to: Option<Slot>, by: &str) -> Result<Record, Coded> {
    if record.accepted.is_none() {
        return Err(Coded::new(Code::N01, "this app was never assigned to this host: nothing to revert"));
    }
    let to = match to {
        Some(slot) => slot,
        None => {
            let back =
                record.good.iter().rev().find(|s| seen.current.as_ref() != Some(s) && seen.is_sealed(s));
            back.cloned().ok_or_else(|| {
                Coded::new(
                    Code::R01,
                    "there is no earlier good slot on this host to revert to. Nothing was changed",
                )
            })?
        }
    };
    if !seen.is_sealed(&to) {
        let slots: Vec<&str> = seen.slots.keys().map(Slot::as_str).collect();
        let message =
            format!("no slot {to} on this host (there are: {}). Nothing was changed", slots.join(", "));
        return Err(Coded::new(Code::N01, message));
    }
    if record.halt == Some(Halt::Now) {
        let message =
            "this host is drained and its apps stay stopped: longshore host undrain. Nothing was changed";
        return Err(Coded::new(Code::P01, message));
    }
    if record.order.is_some() {
        return Err(Coded::new(Code::R01, "a revert is in progress already: longshore-agent status"));
    }
    if seen.is_live(&to) && !record.is_busy() {
        return Err(Coded::new(Code::R01, format!("{to} is live already. Nothing was changed")));
    }
    let from = seen.current.clone().filter(|from| *from != to);
    Ok(Record { order: Some(Order { to, from, by: by.to_owned() }), failed: None, ..record.clone() })
}
