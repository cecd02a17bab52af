//! Gates that cannot come to a verdict, known before anything begins: a test that the release does not have, and looks from
//! hosts that there are not. A gate that may go on without one is left alone: it may be meant for other apps.

use std::collections::BTreeSet;

use longshore_common::{ids::HostName, manifest::Manifest};

use crate::{
    config::Environment,
    gate::{Check, check::From},
    rollout::Then,
};

/// One sentence each.
pub(super) fn lacking(
    environment: &Environment,
    manifest: &Manifest,
    known: &BTreeSet<HostName>,
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
                let missing: BTreeSet<&HostName> = from.filter(|name| !known.contains(*name)).collect();
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

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
