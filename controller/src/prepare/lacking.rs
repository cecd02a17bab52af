//! Gates that cannot come to a verdict, known before anything begins: a test that the release does not have, looks from
//! hosts that there are not, or that are away, and approvals that too few people can give. A gate that may go on without
//! one is left alone: it may be meant for other apps. The same of the approvals of the plan itself.

use std::collections::BTreeSet;

use longshore_common::{
    ids::{HostName, OperatorName},
    manifest::Manifest,
};

use crate::{
    approval::{People, RoleRule, admit},
    config::Environment,
    engine::gates,
    environments::approve,
    gate::{Check, check::From},
    rollout::Then,
    trouble::Trouble,
};

/// One sentence each.
pub(super) fn lacking(
    environment: &Environment,
    manifest: &Manifest,
    known: &BTreeSet<HostName>,
    away: &BTreeSet<HostName>,
) -> Vec<String> {
    let mut found = vec![];
    for declared in &environment.gates {
        let gate = &declared.gate;
        match &declared.check {
            Check::Test(run) if gate.on_inconclusive != Then::Continue => {
                if !manifest.tests.iter().any(|test| test.name == run.test) {
                    let (app, version) = (&manifest.app, &manifest.version);
                    found.push(format!(
                        "gate {} runs test {}, and {app}@{version} has no such [[test]]; it has {}",
                        gate.name,
                        run.test,
                        names(manifest.tests.iter().map(|test| test.name.as_str()))
                    ));
                }
            }
            Check::Probe(matrix) if gate.on_no_data != Then::Continue => {
                let from = matrix.lines.iter().filter_map(|line| match &line.from {
                    From::Host(name) => Some(name),
                    From::Controller => None,
                });
                let from: BTreeSet<&HostName> = from.collect();
                let (away, missing): (Vec<&HostName>, Vec<&HostName>) = from
                    .into_iter()
                    .filter(|name| away.contains(*name) || !known.contains(*name))
                    .partition(|name| known.contains(*name));
                if !away.is_empty() {
                    let (is, away) = (
                        if away.len() == 1 { "is" } else { "are" },
                        names(away.into_iter().map(HostName::as_str)),
                    );
                    found.push(format!(
                        "gate {} looks from {away}, which {is} away. See: longshore host list",
                        gate.name
                    ));
                }
                if !missing.is_empty() {
                    let missing = names(missing.into_iter().map(HostName::as_str));
                    found.push(format!(
                        "gate {} looks from {missing}, and there is no such host. See: longshore host list",
                        gate.name
                    ));
                }
            }
            Check::Test(_)
            | Check::Probe(_)
            | Check::Metrics(_)
            | Check::App(_)
            | Check::Approval(_)
            | Check::Webhook(_)
            | Check::Http(_) => {}
        }
    }
    found
}

/// Gates that people open, and too few can: nobody has their roles, or only whoever would start the rollout. One sentence
/// each.
pub(super) fn unopenable(
    environment: &Environment,
    people: &People,
    starter: &OperatorName,
) -> Result<Vec<String>, Trouble> {
    let mut found = vec![];
    for declared in &environment.gates {
        let gate = &declared.gate;
        let Check::Approval(asked) = &declared.check else { continue };
        if gate.on_no_data == Then::Continue {
            continue;
        }
        let rule = gates::rule(asked)?.among(people);
        let may = people.approvers.iter().filter(|who| admit(&rule, starter, who).is_ok());
        let may: Vec<&str> = may.map(OperatorName::as_str).collect();
        if may.len() >= rule.count as usize {
            continue;
        }
        found.push(format!(
            "gate {} wants {}, and {} if {starter} starts it. See: longshore user list",
            gate.name,
            gates::wants(&rule),
            could(&may)
        ));
    }
    Ok(found)
}

/// Too few can approve a plan that `author` makes, in one sentence; `None`: enough can, or nobody is asked. Whoever starts
/// it is not known yet: the author may.
pub(super) fn unapprovable(
    environment: &Environment,
    people: &People,
    author: &OperatorName,
) -> Option<String> {
    let rule = environment.approval.among(people);
    if rule.asks_nobody() {
        return None;
    }
    let may: BTreeSet<&OperatorName> =
        people.approvers.iter().filter(|who| admit(&rule, author, who).is_ok()).collect();
    let of = |role: &RoleRule| role.members.iter().filter(|who| may.contains(who)).count();
    let short = rule.roles.iter().filter(|(_, role)| of(role) < role.count as usize);
    let short: Vec<&str> = short.map(|(name, _)| name.as_str()).collect();
    if may.len() >= rule.count as usize && short.is_empty() {
        return None;
    }
    let may: Vec<&str> = may.into_iter().map(OperatorName::as_str).collect();
    let short = if short.is_empty() { String::new() } else { format!(", too few of {}", short.join(", ")) };
    Some(format!(
        "{} needs {}, and {}{short} if {author} makes the plan. It stays {author}'s, whoever makes the same again: \
         others get the role: longshore user list",
        environment.name,
        approve::needs(&rule),
        could(&may)
    ))
}

/// `only ann, bob could`
fn could(may: &[&str]) -> String {
    match may.len() {
        0 => "nobody could give one".to_owned(),
        _ => format!("only {} could", may.join(", ")),
    }
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
