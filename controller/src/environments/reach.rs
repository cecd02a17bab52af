//! Which hosts of the fleet a file takes that the one before it did not. Whose hosts those are is not for an environment's own
//! people to say: `docs/decisions/0013-whoever-has-the-fleet-says-whose-its-hosts-are.md`. Pure.

use std::collections::BTreeSet;

use longshore_common::{ids::HostName, label::Selector, text::visible, wire::cut};

use crate::{
    config::Environment,
    fleet::Host,
    gate::{Check, Declaration, check::From},
};

/// Bytes of a selector that are quoted.
const SELECTOR_BYTES: usize = 200;
/// Changes that are named; the rest are counted.
const NAMED: usize = 5;

/// One phrase for each key that says so, with both values. `before`: what is applied, if that can be read.
pub fn taken(before: Option<&Environment>, after: &Environment, hosts: &[Host]) -> Vec<String> {
    let selectors = [
        changed("environment.selector", before.map(|before| &before.selector), Some(&after.selector)),
        changed("traffic.balancers", before.and_then(Environment::balancers), after.balancers()),
    ];
    let mut taken: Vec<String> = selectors.into_iter().flatten().collect();
    taken.extend(by_gates(before, after, hosts));
    let more = taken.len().saturating_sub(NAMED);
    if more > 0 {
        taken.truncate(NAMED);
        taken.push(format!("{more} more"));
    }
    taken
}

/// `environment.selector from "env=staging" to "*"`
fn changed(key: &str, before: Option<&Selector>, after: Option<&Selector>) -> Option<String> {
    let quoted = |selector: Option<&Selector>| match selector {
        Some(selector) => format!("\"{}\"", cut(selector.as_str(), SELECTOR_BYTES)),
        None => "none".to_owned(),
    };
    (before != after).then(|| format!("{key} from {} to {}", quoted(before), quoted(after)))
}

/// Hosts outside of the environment that its gates run tests on, or look from, and that none of them did.
fn by_gates(before: Option<&Environment>, after: &Environment, hosts: &[Host]) -> Vec<String> {
    let known: BTreeSet<Use<'_>> =
        before.into_iter().flat_map(|before| &before.gates).flat_map(uses).collect();
    let is_of_it =
        |name: &HostName| hosts.iter().any(|host| host.name == *name && host.belongs(&after.selector));
    let mut told = vec![];
    for declared in &after.gates {
        let used: BTreeSet<Use<'_>> = uses(declared).into_iter().collect();
        for (key, host) in used.difference(&known).filter(|(_, host)| !is_of_it(host)) {
            let gate = visible(&declared.gate.name);
            told.push(format!(
                "gate {gate}: {key} = \"{host}\", a host that is not of it and was not named so before"
            ));
        }
    }
    told
}

/// By which key a gate has something done on a host.
type Use<'a> = (&'static str, &'a HostName);

fn uses(declared: &Declaration) -> Vec<Use<'_>> {
    match &declared.check {
        Check::Test(run) => vec![("on", &run.on)],
        Check::Probe(matrix) => matrix
            .lines
            .iter()
            .filter_map(|line| match &line.from {
                From::Host(host) => Some(("from", host)),
                From::Controller => None,
            })
            .collect(),
        Check::Metrics(_) | Check::App(_) | Check::Approval(_) | Check::Webhook(_) | Check::Http(_) => {
            vec![]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::HandAgent;

    const BALANCED: &str = "[traffic]\ndriver = \"haproxy\"\nbackend = \"shop\"\nbalancers = \"role=lb\"\n";

    fn file(selector: &str, rest: &str) -> Environment {
        let text = format!("[environment]\nname = \"staging\"\nselector = \"{selector}\"\n{rest}");
        Environment::parse("staging.toml", &text).unwrap()
    }

    fn test_on(host: &str) -> String {
        format!(
            "[[gate]]\nname = \"smoke\"\nkind = \"test\"\nafter = \"canary\"\ndeadline = \"6m\"\ntest = \"smoke\"\n\
             on = \"{host}\"\n[rollout]\ncanary = 1\n"
        )
    }

    fn probe_from(host: &str) -> String {
        format!(
            "[[gate]]\nname = \"reach\"\nkind = \"probe\"\nafter = \"canary\"\ndeadline = \"1m\"\n[[gate.reach]]\n\
             tcp = \"db.example:5432\"\nfrom = [\"{host}\"]\n[rollout]\ncanary = 1\n"
        )
    }

    /// What a file takes beside the one before it, in a fleet with `web-1` in the environment and `db-1` in no one's.
    fn told(before: &Environment, after: &Environment) -> Vec<String> {
        let (mine, mut other) = (HandAgent::new("web-1", &[]).host, HandAgent::new("db-1", &[]).host);
        other.labels.clear();
        taken(Some(before), after, &[mine, other])
    }

    #[test]
    fn a_file_with_the_same_hosts_takes_none() {
        let plain = file("env=prod, role!=db", "");
        let as_well = file("env=prod,role!=db", "[rollout]\nwave = \"50%\"\n[values]\nworkers = 4\n");
        assert_eq!(told(&plain, &as_well), Vec::<String>::new(), "white space is no other selector");
        let balanced = file("env=prod", BALANCED);
        assert_eq!(told(&balanced, &balanced), Vec::<String>::new());
        let own = [test_on("web-1"), probe_from("web-1")].map(|gate| file("env=prod", &gate));
        for own in &own {
            assert_eq!(told(&file("env=prod", ""), own), Vec::<String>::new(), "a host of its own");
        }
        let outside = file("env=prod", &test_on("db-1"));
        assert_eq!(told(&outside, &outside), Vec::<String>::new(), "somebody else said so before");
        assert_eq!(told(&outside, &file("env=prod", "")), Vec::<String>::new(), "one fewer");
    }

    #[test]
    fn every_key_that_takes_other_hosts_is_named_with_both_values() {
        let plain = file("env=prod", "");
        assert_eq!(told(&plain, &file("*", "")), ["environment.selector from \"env=prod\" to \"*\""]);
        let balanced = file("env=prod", BALANCED);
        assert_eq!(told(&plain, &balanced), ["traffic.balancers from none to \"role=lb\""]);
        assert_eq!(told(&balanced, &plain), ["traffic.balancers from \"role=lb\" to none"]);
        assert_eq!(taken(None, &plain, &[]), ["environment.selector from none to \"env=prod\""]);
        let (on, from) = (file("env=prod", &test_on("db-1")), file("env=prod", &probe_from("db-1")));
        assert_eq!(
            told(&plain, &on),
            ["gate smoke: on = \"db-1\", a host that is not of it and was not named so before"]
        );
        assert_eq!(told(&from, &on).len(), 1, "to look from a host is not to run a test on it");
        assert_eq!(
            told(&plain, &from),
            ["gate reach: from = \"db-1\", a host that is not of it and was not named so before"]
        );
        let nobody = file("env=prod", &test_on("web-9"));
        assert_eq!(told(&plain, &nobody).len(), 1, "whoever has that name later is taken then");
    }
}
