//! Which environments a host leaves and joins when its labels are changed, for whoever changes them. Pure.

use super::Applied;
use crate::{config::env::Newcomers, fleet::Host};

/// One sentence each. An environment that cannot be read is told where it is used.
pub fn told(before: &Host, after: &Host, environments: &[Applied]) -> Vec<String> {
    let name = &after.name;
    let passage = |applied: &Applied| {
        let environment = applied.read().ok()?;
        let env = &environment.name;
        match (before.belongs(&environment.selector), after.belongs(&environment.selector)) {
            (true, false) => Some(format!("{name} leaves {env}, and keeps what it runs")),
            (false, true) => Some(match environment.newcomers {
                Newcomers::Follow => format!(
                    "{name} joins {env}: what is live there is brought to it by itself. See: longshore env show {env}"
                ),
                Newcomers::Wait => format!(
                    "{name} joins {env}, and is brought nothing before the next rollout there (newcomers = \"wait\")"
                ),
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
        let told = |before: &str, after: &str| told(&host(before), &host(after), &environments);
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
    }
}
