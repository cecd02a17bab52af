//! What a balancer was told last, as it is kept on the disk.

use std::collections::{BTreeMap, BTreeSet};

use longshore_common::{
    ids::HostName,
    time::Millis,
    traffic::{Directions, Server},
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub(super) struct Told {
    pub directions: Directions,
    /// Servers that get no new connections, and since when.
    pub idle: BTreeMap<HostName, Millis>,
    /// Servers that we took out, or may have. What is out and not among them somebody else took out, and it stays out.
    pub ours: BTreeSet<HostName>,
    /// Servers of the same backend that directions named before and name no more.
    pub gone: BTreeSet<HostName>,
}

/// The same as earlier agents wrote it: some took every idle server out and did not say so, and some forgot who was named
/// before.
#[derive(Deserialize)]
struct Written {
    directions: Directions,
    idle: BTreeMap<HostName, Millis>,
    ours: Option<BTreeSet<HostName>>,
    #[serde(default)]
    gone: BTreeSet<HostName>,
}

impl From<Written> for Told {
    fn from(Written { directions, idle, ours, gone }: Written) -> Self {
        let ours = ours.unwrap_or_else(|| idle.keys().cloned().collect());
        Self { directions, idle, ours, gone }
    }
}

impl Told {
    /// Of the same backend, so that what was said of its servers still stands there.
    pub fn is_of(&self, directions: &Directions) -> bool {
        (self.directions.director, &self.directions.backend) == (directions.director, &directions.backend)
    }

    /// Whom these directions leave out of those that were named in this backend, now or earlier.
    pub fn left_out_by(&self, directions: &Directions) -> BTreeSet<HostName> {
        if !self.is_of(directions) {
            return BTreeSet::new();
        }
        let mut before = self.gone.clone();
        before.extend(self.directions.servers.iter().map(|server| server.name.clone()));
        before.retain(|name| directions.servers.iter().all(|server| server.name != *name));
        before
    }
}

/// What the backend is to show: who is gone gets nothing. While nobody who is named is to get connections, nothing is said of
/// who is gone: there may be nobody else.
pub(super) fn with_gone(directions: &Directions, gone: BTreeSet<HostName>) -> Vec<Server> {
    let mut servers = directions.servers.clone();
    if servers.iter().any(|server| server.weight > 0) {
        let nothing = |name| Server { name, address: None, weight: 0, if_up: false };
        servers.extend(gone.into_iter().map(nothing));
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `web-1=100 web-2=0`
    fn directions(backend: &str, servers: &str) -> Directions {
        let server = |word: &str| {
            let (name, weight) = word.split_once('=').unwrap();
            format!(r#"{{"name":"{name}","weight":{weight}}}"#)
        };
        let servers: Vec<String> = servers.split_whitespace().map(server).collect();
        serde_json::from_str(&format!(
            r#"{{"director":"haproxy","backend":"{backend}","servers":[{}],"drain":"5s"}}"#,
            servers.join(",")
        ))
        .unwrap()
    }

    fn names(text: &str) -> BTreeSet<HostName> {
        text.split_whitespace().map(|name| name.parse().unwrap()).collect()
    }

    fn told(servers: &str, gone: &str) -> Told {
        let directions = directions("shop", servers);
        Told { directions, idle: BTreeMap::new(), ours: BTreeSet::new(), gone: names(gone) }
    }

    #[test]
    fn what_an_earlier_agent_took_out_is_ours() {
        let written = |ours: &str| {
            let directions = r#"{"director":"haproxy","backend":"shop","servers":[],"drain":"5s"}"#;
            serde_json::from_str::<Told>(&format!(
                r#"{{"directions":{directions},"idle":{{"web-1":7}}{ours}}}"#
            ))
        };
        assert_eq!(written("").unwrap().ours, names("web-1"));
        assert!(written(r#","ours":[]"#).unwrap().ours.is_empty());
        assert!(written("").unwrap().gone.is_empty());
    }

    #[test]
    fn whoever_is_named_no_more_is_gone_until_it_is_named_again() {
        let before = told("web-1=100 web-2=100", "web-7");
        assert_eq!(before.left_out_by(&directions("shop", "web-1=100 web-3=0")), names("web-2 web-7"));
        assert_eq!(before.left_out_by(&directions("shop", "web-2=100 web-7=100")), names("web-1"));
        assert_eq!(before.left_out_by(&directions("other", "web-1=100")), names(""));
    }

    #[test]
    fn who_is_gone_gets_nothing_while_somebody_else_is_to_get_something() {
        let shown = |servers: &str| {
            let servers = with_gone(&directions("shop", servers), names("web-2"));
            servers.iter().map(|s| format!("{}={}", s.name, s.weight)).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown("web-1=100"), "web-1=100 web-2=0");
        assert_eq!(shown("web-1=0"), "web-1=0");
        assert_eq!(shown(""), "");
    }
}
