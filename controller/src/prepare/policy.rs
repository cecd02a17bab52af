//! What the environment's policy says of a rollout that would begin now: windows, freezes, approvals.

use longshore_common::time::Millis;

use crate::{
    approval::Rule,
    calendar::Calendar,
    plan::{Approval, CalendarNote},
};

/// Nothing where it is never closed.
pub(super) fn calendar(calendar: &Calendar, now: Millis) -> Vec<CalendarNote> {
    if calendar.is_always_open() {
        return vec![];
    }
    let reasons = calendar.reasons(now);
    if reasons.is_empty() {
        let until_ms = calendar.next_change(now);
        let what = match until_ms {
            Some(until) => format!("open now, until {}", calendar.say_moment(until)),
            None => "open now".to_owned(),
        };
        return vec![CalendarNote { kind: "window".to_owned(), what, closed: false, until_ms }];
    }
    let opens = calendar.next_opening(now);
    let then =
        opens.map_or("it does not open again".to_owned(), |at| format!("opens {}", calendar.say_moment(at)));
    let frozen = matches!(calendar.standing(now), crate::calendar::Standing::Frozen(_));
    let kind = if frozen { "freeze" } else { "window" };
    let note = |reason: String| CalendarNote {
        kind: kind.to_owned(),
        what: format!("closed now, and the rollout would wait: {reason}; {then}"),
        closed: true,
        until_ms: opens,
    };
    reasons.into_iter().map(note).collect()
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
