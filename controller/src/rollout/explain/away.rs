//! Hosts that are at work as far as anybody knows, and have no connection: they are not unknown yet, and two ends
//! are possible. Both are said.

use longshore_common::time::{Millis, Span};

use super::{
    Facts, Hold, HoldKind,
    sentence::{HOST_OWNER, Named, count, names},
};

/// A host without a connection that is not unknown yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Away {
    /// When it was heard last.
    pub since: Millis,
    /// It is unknown from then on, if it stays away.
    pub unknown_at: Millis,
}

/// What becomes of hosts that stayed away, and of those that came back and are not healthy.
pub(super) struct Ends<'a> {
    pub stayed: &'a str,
    pub back: &'a str,
}

/// Hosts that will be unknown before `until` unless they come back, and the others: what `until` does to these, it
/// does to those that are away for a shorter time as well.
pub(super) fn apart<'a>(hosts: Named<'a>, facts: &Facts, until: Option<Millis>) -> (Named<'a>, Named<'a>) {
    let in_time = |at: Millis| until.is_none_or(|until| at <= until);
    hosts.into_iter().partition(|(id, _)| facts.away.get(id).is_some_and(|away| in_time(away.unknown_at)))
}

pub(super) fn away(
    hosts: Named<'_>,
    kind: HoldKind,
    does: [&str; 2],
    facts: &Facts,
    until: Option<Millis>,
    ends: Ends<'_>,
) -> Option<Hold> {
    let told = || hosts.iter().filter_map(|(id, _)| facts.away.get(id));
    let since = told().map(|away| away.since).min()?;
    let silence = told().map(|away| away.unknown_at - away.since).max().unwrap_or_default();
    let silence = Span::millis(silence.max(0).unsigned_abs());
    let in_time = told().all(|away| until.is_none_or(|until| away.unknown_at <= until));
    let when = if in_time { format!("after {silence}") } else { "then at the latest".to_owned() };
    let (has, it, is) = if hosts.len() == 1 { ("has", "it", "is") } else { ("have", "they", "are") };
    let Ends { stayed, back } = ends;
    Some(Hold {
        kind,
        what: format!("{} and {has} no connection: {}", count(&hosts, does[0], does[1]), names(&hosts)),
        owner: HOST_OWNER.to_owned(),
        since,
        until,
        then: format!(
            "if {it} stayed away ({it} {is} unknown {when}), {stayed}; if {it} came back and \
             {is} not healthy, {back}"
        ),
        command: hosts.first().map(|(_, host)| format!("longshore host show {}", host.name)),
        hosts: hosts.iter().map(|(id, _)| *id).collect(),
    })
}
