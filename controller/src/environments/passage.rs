//! Which environments a host leaves and joins when its labels are changed, for whoever changes them. Pure.

use std::collections::BTreeMap;

use longshore_common::ids::EnvName;

use super::Applied;
use crate::{
    config::{Environment, env::Newcomers},
    fleet::Host,
};

/// How a host that joins an environment stands to what is live there. Of several apps the greatest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arrival {
    /// There is none of it.
    Nothing,
    Runs,
    /// It is brought to it.
    Comes,
    /// Something is in the way, or what differs are settings: a look at the environment tells.
    Unclear,
}

/// The environments that the host joins. One that cannot be read is told where it is used.
pub fn joined(before: &Host, after: &Host, environments: &[Applied]) -> Vec<Environment> {
    let read = environments.iter().filter_map(|applied| applied.read().ok());
    read.filter(|env| !before.belongs(&env.selector) && after.belongs(&env.selector)).collect()
}

/// One sentence each; `arrivals` are of those that it joins.
pub fn told(
    before: &Host,
    after: &Host,
    environments: &[Applied],
    arrivals: &BTreeMap<EnvName, Arrival>,
) -> Vec<String> {
    let name = &after.name;
    let passage = |applied: &Applied| {
        let environment = applied.read().ok()?;
        let env = &environment.name;
        match (before.belongs(&environment.selector), after.belongs(&environment.selector)) {
            (true, false) => Some(format!("{name} leaves {env}, and keeps what it runs")),
            (false, true) => Some(match (arrivals.get(env), environment.newcomers) {
                (Some(Arrival::Nothing), _) => format!("{name} joins {env}, where nothing is live"),
                (Some(Arrival::Runs), _) => format!("{name} joins {env}, and runs what is live there"),
                (_, Newcomers::Wait) => format!(
                    "{name} joins {env}, and is brought nothing before the next rollout there (newcomers = \"wait\")"
                ),
                (Some(Arrival::Comes), Newcomers::Follow) => format!(
                    "{name} joins {env}: what is live there is brought to it by itself. See: longshore env show {env}"
                ),
                (Some(Arrival::Unclear) | None, Newcomers::Follow) => {
                    format!("{name} joins {env}. See: longshore env show {env}")
                }
            }),
            (true, true) | (false, false) => None,
        }
    };
    environments.iter().filter_map(passage).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::HandAgent;

    #[test]
    fn whoever_labels_a_host_is_told_where_it_goes() {
        let applied = |name: &str, more: &str| Applied {
            file: format!("[environment]\nname = \"{name}\"\nselector = \"env={name}\"\n{more}"),
            file_name: format!("{name}.toml"),
            applied_ms: 0,
            applied_by: "ann".into(),
        };
        let environments =
            [applied("production", ""), applied("staging", ""), applied("lab", "newcomers = \"wait\"\n")];
        let host = |env: &str| {
            let mut host = HandAgent::new("web-1", &[]).host;
            host.labels = [("env".to_owned(), env.to_owned())].into();
            host
        };
        let arriving = |arrival: Arrival, before: &str, after: &str| {
            let (before, after) = (host(before), host(after));
            let joined = joined(&before, &after, &environments).into_iter();
            told(&before, &after, &environments, &joined.map(|env| (env.name, arrival)).collect())
        };
        let told = |before: &str, after: &str| arriving(Arrival::Comes, before, after);
        let leaves = "web-1 leaves production, and keeps what it runs";
        assert_eq!(
            told("production", "staging"),
            [
                leaves,
                "web-1 joins staging: what is live there is brought to it by itself. See: longshore env show staging"
            ]
        );
        assert_eq!(
            told("production", "lab"),
            [
                leaves,
                "web-1 joins lab, and is brought nothing before the next rollout there (newcomers = \"wait\")"
            ]
        );
        assert_eq!(told("staging", "staging"), Vec::<String>::new());
        let joins = |arrival: Arrival, env: &str| arriving(arrival, "nowhere", env);
        assert_eq!(joins(Arrival::Runs, "staging"), ["web-1 joins staging, and runs what is live there"]);
        assert_eq!(joins(Arrival::Runs, "lab"), ["web-1 joins lab, and runs what is live there"]);
        assert_eq!(joins(Arrival::Nothing, "staging"), ["web-1 joins staging, where nothing is live"]);
        assert_eq!(
            joins(Arrival::Unclear, "staging"),
            ["web-1 joins staging. See: longshore env show staging"]
        );
    }
}
