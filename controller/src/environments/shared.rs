//! That all hosts of a new environment are of others already: `lint` knows it only of files that are given together. Pure.

use std::collections::BTreeSet;

use longshore_common::ids::EnvName;

use crate::{config::Environment, fleet::Host};

/// Environments that direct the traffic of different backends are meant for two apps.
pub fn shared(environment: &Environment, others: &[Environment], hosts: &[Host]) -> Option<String> {
    let backend = |env: &Environment| env.spec.traffic.as_ref().map(|routing| routing.backend.clone());
    let for_two_apps = |other: &Environment| {
        let (own, others) = (backend(environment), backend(other));
        own.is_some() && others.is_some() && own != others
    };
    let others: Vec<&Environment> =
        others.iter().filter(|other| other.name != environment.name && !for_two_apps(other)).collect();
    let mut of: BTreeSet<&EnvName> = BTreeSet::new();
    for host in hosts.iter().filter(|host| host.belongs(&environment.selector)) {
        let theirs = others.iter().filter(|other| host.belongs(&other.selector));
        let theirs: Vec<&EnvName> = theirs.map(|other| &other.name).collect();
        if theirs.is_empty() {
            return None;
        }
        of.extend(theirs);
    }
    let names: Vec<&str> = of.into_iter().map(EnvName::as_str).collect();
    (!names.is_empty()).then(|| {
        let env = &environment.name;
        format!(
            "selector \"{}\": all its hosts are of {} already. An app that is rolled out in both is undone by each. If that is a \
             slip, apply it with a selector that matches nobody, and then: longshore env remove {env}",
            environment.selector,
            names.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;
    use crate::testing::HandAgent;

    fn env(name: &str, selector: &str, backend: &str) -> Environment {
        let traffic = match backend {
            "" => String::new(),
            backend => {
                format!("[traffic]\ndriver = \"haproxy\"\nbackend = \"{backend}\"\nbalancers = \"role=lb\"\n")
            }
        };
        let text = format!("[environment]\nname = \"{name}\"\nselector = \"{selector}\"\n{traffic}");
        Environment::parse("e.toml", &text).unwrap()
    }

    #[test]
    fn an_environment_of_others_hosts_is_named() {
        let hosts = ["web-1", "web-2"].map(|name| HandAgent::new(name, &[]).host);
        let told = |new: &Environment, others: &[Environment]| shared(new, others, &hosts);
        let production = env("production", "env=prod", "shop");
        let said = told(&env("lab", "name=web-*", ""), from_ref(&production)).unwrap();
        assert!(
            said.starts_with("selector \"name=web-*\": all its hosts are of production already."),
            "{said}"
        );
        assert!(said.ends_with("longshore env remove lab"), "{said}");
        assert_eq!(told(&env("search", "env=prod", "search"), from_ref(&production)), None, "for two apps");
        assert_eq!(told(&env("lab", "env=trial", ""), &[production]), None, "it has no hosts");
        let half = env("half", "name=web-1", "");
        assert_eq!(told(&env("lab", "env=prod", ""), &[half]), None, "web-2 is of no other");
    }
}
