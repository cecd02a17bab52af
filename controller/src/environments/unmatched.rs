//! What a file names and no enrolled host is, or none that could do it. Hosts and labels may come later, so the file is applied
//! all the same; whoever applied it reads here, and not in the refusal of a plan, that a name may be misspelt. Pure.

use std::collections::BTreeSet;

use longshore_common::{
    ids::{AppName, HostName},
    label::Selector,
};

use super::gives_settings_to;
use crate::{
    config::Environment,
    fleet::Host,
    gate::{Check, Declaration, check::From},
    rollout::{Layer, Scope, Then},
};

/// One sentence each: where it is named, and what a plan will do about it.
pub fn unmatched(environment: &Environment, hosts: &[Host]) -> Vec<String> {
    let mut told = balancers(environment, hosts);
    told.extend(environment.gates.iter().flat_map(|declared| of_gate(declared, hosts)));
    told.extend(environment.gates.iter().filter_map(|declared| on_a_balancer(declared, environment, hosts)));
    told.extend(settings(environment, hosts));
    told
}

/// That an environment had hosts by its file before, and has none by this one.
pub fn emptied(before: &Environment, after: &Environment, hosts: &[Host]) -> Option<String> {
    let of =
        |environment: &Environment| hosts.iter().filter(|host| host.belongs(&environment.selector)).count();
    let had = of(before);
    (had > 0 && of(after) == 0).then(|| {
        let hosts = if had == 1 { "host" } else { "hosts" };
        format!(
            "selector \"{}\": no enrolled host matches it; before, \"{}\" matched {had} {hosts}: what runs there goes on, and \
             no rollout to {} changes it",
            after.selector, before.selector, after.name
        )
    })
}

/// Values and secrets for hosts. An environment without any host gives nobody anything, which needs no word.
fn settings(environment: &Environment, hosts: &[Host]) -> Vec<String> {
    if !hosts.iter().any(|host| host.belongs(&environment.selector)) {
        return vec![];
    }
    let of_it: Vec<&Host> = hosts.iter().filter(|host| gives_settings_to(environment, host)).collect();
    let layers = environment.declared_layers().into_iter();
    layers.filter_map(|(app, layer)| of_layer(app.as_ref(), &layer, environment, &of_it)).collect()
}

fn of_layer(
    app: Option<&AppName>,
    layer: &Layer,
    environment: &Environment,
    hosts: &[&Host],
) -> Option<String> {
    let env = &environment.name;
    match &layer.scope {
        Scope::Environment | Scope::App => None,
        Scope::Hosts(selector) => {
            let of = app.map(|app| format!(" (app {app})")).unwrap_or_default();
            hosts.iter().all(|host| !host.fits(selector)).then(|| {
                format!(
                    "values_for \"{selector}\"{of}: no enrolled host of {env} matches it; until one does, nobody gets what it \
                     says"
                )
            })
        }
        Scope::Host(name) => hosts.iter().all(|host| host.name != *name).then(|| {
            format!(
                "hosts.{name}: no enrolled host of {env} has that name; until one has, nobody gets what it says"
            )
        }),
    }
}

fn balancers(environment: &Environment, hosts: &[Host]) -> Vec<String> {
    let routing = environment.spec.traffic.as_ref();
    let Some(wanted) = routing.and_then(|routing| routing.balancers.as_ref()) else { return vec![] };
    let mut told = vec![];
    if !hosts.iter().any(|host| host.fits(&wanted.hosts)) {
        told.push(format!(
            "traffic.balancers: no enrolled host matches \"{}\"; until one does, every plan is refused (LS-R01)",
            wanted.hosts
        ));
    }
    let (env, own) = (&environment.name, &environment.selector);
    let groups = wanted.groups.iter().flat_map(|groups| [("blue", &groups.blue), ("green", &groups.green)]);
    let nobody_in = |selector: &Selector| !hosts.iter().any(|host| host.belongs(own) && host.fits(selector));
    told.extend(groups.filter(|(_, selector)| nobody_in(selector)).map(|(side, selector)| {
        format!(
            "traffic.groups.{side}: no enrolled host of {env} matches \"{selector}\"; until one does, plans that bring a \
             release to that group are refused (LS-R01)"
        )
    }));
    told
}

/// A gate that goes on without a verdict may be meant for other hosts than these, or its name is misspelt.
fn of_gate(declared: &Declaration, hosts: &[Host]) -> Vec<String> {
    let gate = &declared.gate;
    let (what, named): (&str, BTreeSet<&HostName>) = match &declared.check {
        Check::Test(run) => ("runs its test on", BTreeSet::from([&run.on])),
        Check::Probe(matrix) => {
            let from = matrix.lines.iter().filter_map(|line| match &line.from {
                From::Host(name) => Some(name),
                From::Controller => None,
            });
            ("looks from", from.collect())
        }
        Check::Metrics(_) | Check::App(_) | Check::Approval(_) | Check::Webhook(_) | Check::Http(_) => {
            return vec![];
        }
    };
    let missing = named.into_iter().filter(|name| hosts.iter().all(|host| host.name != **name));
    let goes_on = matches!(&declared.check, Check::Probe(_)) && gate.on_no_data == Then::Continue;
    let comes_of_it = match goes_on {
        true => "it has no data, and rollouts go on without it (on_no_data = \"continue\")",
        false => "plans fail the precondition \"runner\", which nobody may override",
    };
    let told = missing.map(|name| {
        format!(
            "gate {}: {what} {name}, and no host of that name is enrolled; until one is, {comes_of_it}",
            gate.name
        )
    });
    told.collect()
}

/// By the labels that hosts have now, which may be others tomorrow.
fn on_a_balancer(declared: &Declaration, environment: &Environment, hosts: &[Host]) -> Option<String> {
    let (Check::Test(run), balancers) = (&declared.check, environment.balancers()?) else { return None };
    let balances = hosts.iter().any(|host| host.name == run.on && host.fits(balancers));
    balances.then(|| {
        format!(
            "gate {}: runs its test on {}, which balances the hosts of {} (traffic.balancers \"{balancers}\") and cannot run its \
             tests; until it names a host that does not, plans fail the precondition \"runner\", which nobody may override",
            declared.gate.name, run.on, environment.name
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::HandAgent;

    const FILE: &str = r#"
[environment]
name = "production"
selector = "env=prod"
[traffic]
driver = "haproxy"
backend = "shop"
balancers = "role=lb"
[traffic.groups]
blue = "name=web-1"
green = "name=web-2"
[[gate]]
name = "smoke"
kind = "test"
after = "canary"
deadline = "6m"
test = "smoke"
on = "runner-1"
[[gate]]
name = "reach"
kind = "probe"
after = "canary"
deadline = "1m"
[[gate.reach]]
tcp = "db.example:5432"
from = ["web-1", "web-7"]
"#;

    fn told(file: &str, names: &[&str]) -> Vec<String> {
        let environment = Environment::parse("production.toml", file).unwrap();
        let host = |name: &&str| {
            let mut host = HandAgent::new(name, &[]).host;
            match *name {
                "lb-1" => host.labels = [("role".to_owned(), "lb".to_owned())].into(),
                "runner-1" => host.labels.clear(),
                _ => {}
            }
            host
        };
        unmatched(&environment, &names.iter().map(host).collect::<Vec<Host>>())
    }

    #[test]
    fn values_that_no_host_gets_are_named() {
        let file = "[environment]\nname = \"production\"\nselector = \"env=prod\"\n\
                    [[values_for]]\nselector = \"size=big\"\napp = \"shop\"\nvalues = { workers = 32 }\n\
                    [[values_for]]\nselector = \"env=prod\"\nvalues = { workers = 8 }\n\
                    [hosts.web-1.values]\nworkers = 2\n[hosts.web-7.values]\nworkers = 2\n";
        let nobody = "nobody gets what it says";
        assert_eq!(
            told(file, &["web-1", "lb-1"]),
            [
                format!(
                    "values_for \"size=big\" (app shop): no enrolled host of production matches it; until one does, \
                     {nobody}"
                ),
                format!("hosts.web-7: no enrolled host of production has that name; until one has, {nobody}"),
            ]
        );
        assert_eq!(told(file, &["lb-1"]), Vec::<String>::new(), "it has no hosts at all");
    }

    /// Outside of the environment it gets what its test needs.
    #[test]
    fn whoever_runs_a_test_gets_values_and_secrets() {
        let values = "[hosts.runner-1.values]\nworkers = 2\n[hosts.lb-1.values]\nworkers = 2\n";
        let told = told(&format!("{FILE}{values}"), &["web-1", "web-2", "web-7", "lb-1", "runner-1"]);
        assert_eq!(
            told,
            [
                "hosts.lb-1: no enrolled host of production has that name; until one has, nobody gets what it says"
            ]
        );
    }

    #[test]
    fn whatever_no_host_is_is_named_with_what_a_plan_does() {
        let whole = told(FILE, &["web-1"]);
        assert_eq!(whole.len(), 4, "{whole:#?}");
        for (said, part) in whole.iter().zip([
            "traffic.balancers: no enrolled host matches \"role=lb\"; until one does, every plan is refused",
            "traffic.groups.green: no enrolled host of production matches \"name=web-2\"; until one does,",
            "gate smoke: runs its test on runner-1, and no host of that name is enrolled; until one is, plans fail",
            "gate reach: looks from web-7, and no host of that name is enrolled",
        ]) {
            assert!(said.starts_with(part), "{part}\nis not in\n{said}");
        }
        assert!(told(FILE, &["web-1", "web-2", "web-7", "lb-1", "runner-1"]).is_empty());
        let lenient = FILE.replace("\"1m\"", "\"1m\"\non_no_data = \"continue\"");
        assert_eq!(
            told(&lenient, &["web-1", "web-2", "lb-1", "runner-1"]),
            [
                "gate reach: looks from web-7, and no host of that name is enrolled; until one is, it has no data, and rollouts \
              go on without it (on_no_data = \"continue\")"
            ]
        );
    }

    #[test]
    fn a_test_on_a_balancer_is_named() {
        let file = FILE.replace("on = \"runner-1\"", "on = \"lb-1\"");
        assert_eq!(
            told(&file, &["web-1", "web-2", "web-7", "lb-1"]),
            [
                "gate smoke: runs its test on lb-1, which balances the hosts of production (traffic.balancers \"role=lb\") and \
                 cannot run its tests; until it names a host that does not, plans fail the precondition \"runner\", which nobody \
                 may override"
            ]
        );
    }

    #[test]
    fn an_environment_that_loses_all_its_hosts_is_told_how_many() {
        let file = |selector: &str| {
            let text = format!("[environment]\nname = \"production\"\nselector = \"{selector}\"\n");
            Environment::parse("production.toml", &text).unwrap()
        };
        let hosts = ["web-1", "web-2"].map(|name| HandAgent::new(name, &[]).host);
        let (one, none) = (file("name=web-1"), file("name=web-9"));
        assert_eq!(
            emptied(&one, &none, &hosts).unwrap(),
            "selector \"name=web-9\": no enrolled host matches it; before, \"name=web-1\" matched 1 host: what runs there goes \
             on, and no rollout to production changes it"
        );
        assert_eq!(emptied(&none, &none, &hosts), None, "it had none before");
        assert_eq!(emptied(&none, &one, &hosts), None);
    }
}
