//! What a notice says below its subject: what, where, who and why, by which id, and what to type to see more.

use longshore_common::{
    text::{visible, visible_lines},
    wire::cut,
};

use super::{
    AskingGate, Happening, Kind,
    notice::{FACT_BYTES, FirstFailure},
};

const TEXT_BYTES: usize = 2048;

/// Of a mail, and the `text` of a webhook. What people and hosts wrote is shown escaped.
pub(super) fn text(happening: &Happening) -> String {
    let said = (!happening.text.is_empty()).then(|| cut(&visible_lines(&happening.text), TEXT_BYTES));
    let facts = facts(happening).into_iter().map(|(name, fact)| {
        let fact = cut(&visible(&fact), FACT_BYTES);
        format!("{name}: {fact}")
    });
    let unsaid = commands(happening).into_iter().filter(|(_, command)| !happening.text.contains(command));
    let commands = unsaid.map(|(name, command)| format!("{name}: {command}"));
    said.into_iter().chain(facts).chain(commands).collect::<Vec<_>>().join("\n")
}

fn facts(happening: &Happening) -> Vec<(&'static str, String)> {
    let Happening { env, app, version, from_version, rollout, plan, by, reason, failure, gates, .. } =
        happening;
    let release = app.as_ref().map(|app| {
        let from = match from_version {
            Some(from) if Some(from) == version.as_ref() => ", live already".to_owned(),
            Some(from) => format!(", was {from}"),
            None => String::new(),
        };
        let version = version.as_ref().map(|version| format!("@{version}")).unwrap_or_default();
        format!("{app}{version}{from}")
    });
    let acted = match (rollout, plan, happening.kind) {
        (Some(_), ..) => "started by",
        (None, Some(_), Kind::ApprovalNeeded) => "planned by",
        (None, ..) => "by",
    };
    let gate = |gate: &AskingGate| ("gate", Some(asking(gate)));
    let all = [
        ("app", release),
        ("environment", Some(env.to_string())),
        ("rollout", rollout.map(|id| id.to_string())),
        ("plan", plan.map(|plan| plan.hex())),
        (acted, by.clone()),
        ("reason", reason.clone()),
        ("first failure", failure.as_ref().map(first_failure)),
    ];
    let all = all.into_iter().chain(gates.iter().map(gate));
    all.filter_map(|(name, fact)| Some((name, fact?))).collect()
}

/// `go-live, which wants 2 approvals by sre (sam, sue), carl`
fn asking(AskingGate { name, asked }: &AskingGate) -> String {
    if asked.is_empty() { name.clone() } else { format!("{name}, which wants {asked}") }
}

/// `web-1: LS-B01 at probe: /healthz answered 500; 2 more hosts failed`, cut so that the end is never lost.
fn first_failure(first: &FirstFailure) -> String {
    let FirstFailure { host, code, step, message, others } = first;
    let more = match others {
        0 => String::new(),
        1 => "; 1 more host failed".to_owned(),
        others => format!("; {others} more hosts failed"),
    };
    format!("{host}: {code} at {step}: {}{more}", cut(message, FACT_BYTES / 2))
}

/// What to type to see more, and then what to do about it: of each gate that waits, to allow it and to deny it.
pub(super) fn commands(happening: &Happening) -> Vec<(&'static str, String)> {
    let Happening { kind, env, rollout, plan, gates, .. } = happening;
    let plan = |verb: &str| plan.map(|plan| format!("longshore {verb} {}", plan.short()));
    let rollout = |verb: &str| rollout.map(|id| format!("longshore rollout {verb} {id}"));
    let (look, then) = match kind {
        Kind::ApprovalNeeded if !gates.is_empty() => (rollout("explain"), None),
        Kind::ApprovalNeeded => (plan("plan show"), plan("rollout approve")),
        Kind::Approved | Kind::Denied => (plan("plan show"), None),
        Kind::Scheduled
        | Kind::Started
        | Kind::Waiting
        | Kind::RollingBack
        | Kind::RolledBack
        | Kind::Failed
        | Kind::Aborted => (rollout("explain"), None),
        Kind::Succeeded => (rollout("show"), None),
        Kind::Frozen | Kind::Unfrozen | Kind::Locked | Kind::Unlocked => {
            (Some(format!("longshore env calendar {env}")), None)
        }
        Kind::Test => (Some("longshore notify list".to_owned()), None),
    };
    let answers = gates.iter().flat_map(|AskingGate { name, .. }| {
        let open = rollout("open").map(|open| format!("{open} {name}"));
        let deny = open.as_ref().map(|open| format!("{open} --deny"));
        [("Allow", open), ("Deny", deny)]
    });
    let named = [("Look", look), ("Then", then)].into_iter().chain(answers);
    named.filter_map(|(name, command)| Some((name, command?))).collect()
}
