//! The settings of an app in an environment: declared in layers, resolved for each host.
//!
//! A [`Snapshot`] is kept with the rollout that was started from it, whole and named by its digest, so that a way back
//! brings the settings of that time. What a host gets follows from the snapshot and from which of its layers hold for
//! the host, which is found out once, when the rollout is made: a label that changes later changes nothing under way.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use longshore_common::{
    digest::{SealedDigest, SnapshotDigest, sha256},
    ids::{HostId, HostName},
    label::{Labels, Selector},
    settings::{Reference, Secrets, Settings},
    text::visible,
};
use serde::{Deserialize, Serialize};

/// For whom a layer is. Later kinds go over earlier ones; selectors in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "scope", content = "of")]
pub enum Scope {
    Environment,
    App,
    Hosts(Selector),
    Host(HostName),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    #[serde(flatten)]
    pub scope: Scope,
    #[serde(flatten)]
    pub settings: Settings,
}

/// Every layer that one app has, the most general first. Never empty of settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub layers: Vec<Layer>,
}

/// Snapshots by their digest: those that a rollout's targets name.
pub type Snapshots = BTreeMap<SnapshotDigest, Arc<Snapshot>>;

impl Snapshot {
    /// As it is stored.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("layers are JSON")
    }

    pub fn digest(&self) -> SnapshotDigest {
        SnapshotDigest(sha256(&self.to_json()))
    }

    /// The numbers of the layers that hold for a host.
    pub fn holding(&self, name: &HostName, id: &HostId, labels: &Labels) -> Vec<u16> {
        let holds = |layer: &Layer| match &layer.scope {
            Scope::Environment | Scope::App => true,
            Scope::Hosts(selector) => selector.matches(name.as_str(), &id.to_string(), labels),
            Scope::Host(host) => host == name,
        };
        (0..).zip(&self.layers).filter(|(_, layer)| holds(layer)).map(|(number, _)| number).collect()
    }

    /// What a host gets for which these layers hold.
    pub fn resolve(&self, layers: &[u16]) -> Settings {
        let mut settings = Settings::default();
        for layer in layers.iter().filter_map(|number| self.layers.get(usize::from(*number))) {
            settings.values.extend(layer.settings.values.clone());
            settings.secrets.extend(layer.settings.secrets.clone());
        }
        settings
    }

    /// Which layer each name comes from.
    pub fn origins(&self, layers: &[u16]) -> BTreeMap<&str, &Scope> {
        let mut origins = BTreeMap::new();
        for layer in layers.iter().filter_map(|number| self.layers.get(usize::from(*number))) {
            origins.extend(layer.settings.names().map(|name| (name, &layer.scope)));
        }
        origins
    }

    /// Every value and every reference by its place: `values.workers`, `hosts "zone=a": secrets.db`. What two snapshots
    /// differ in is what these differ in, and no secret is among it.
    pub fn declared(&self) -> BTreeMap<String, String> {
        let mut declared = BTreeMap::new();
        for Layer { scope, settings } in &self.layers {
            let place = match scope {
                Scope::Environment => String::new(),
                Scope::App | Scope::Hosts(_) | Scope::Host(_) => format!("{scope}: "),
            };
            let values =
                settings.values.iter().map(|(name, value)| (format!("values.{name}"), value.clone()));
            let secrets = settings.secrets.iter().map(|(name, r)| (format!("secrets.{name}"), r.to_string()));
            declared.extend(values.chain(secrets).map(|(name, text)| (format!("{place}{name}"), text)));
        }
        declared
    }

    /// Every sealed secret that some layer refers to, by the names it is used under.
    pub fn sealed(&self) -> BTreeSet<(&str, SealedDigest)> {
        sealed(self.layers.iter().map(|layer| &layer.settings.secrets)).collect()
    }
}

/// The sealed ones among secrets.
pub fn sealed<'s>(
    secrets: impl Iterator<Item = &'s Secrets>,
) -> impl Iterator<Item = (&'s str, SealedDigest)> {
    secrets.flatten().filter_map(|(name, reference)| match reference {
        Reference::Sealed { digest } => Some((name.as_str(), *digest)),
        Reference::File { .. } | Reference::Credential { .. } => None,
    })
}

impl fmt::Display for Scope {
    /// As the file says it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Environment => f.write_str("environment"),
            Scope::App => f.write_str("app"),
            Scope::Hosts(selector) => write!(f, "hosts \"{}\"", visible(selector.as_str())),
            Scope::Host(host) => write!(f, "host {host}"),
        }
    }
}

/// Names that are both a value and a secret somewhere among these: a template could not tell which is meant.
pub fn clashes<'s>(all: impl Iterator<Item = &'s Settings> + Clone) -> BTreeSet<&'s str> {
    let values: BTreeSet<&str> = all.clone().flat_map(|s| s.values.keys()).map(String::as_str).collect();
    all.flat_map(|s| s.secrets.keys()).map(String::as_str).filter(|name| values.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(scope: Scope, values: &[(&str, &str)]) -> Layer {
        let values = values.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Layer { scope, settings: Settings { values, ..Settings::default() } }
    }

    fn snapshot() -> Snapshot {
        Snapshot {
            layers: vec![
                layer(Scope::Environment, &[("a", "env"), ("b", "env"), ("c", "env"), ("d", "env")]),
                layer(Scope::App, &[("b", "app"), ("c", "app"), ("d", "app")]),
                layer(Scope::Hosts("zone=z1".parse().unwrap()), &[("c", "z1"), ("d", "z1")]),
                layer(Scope::Hosts("*".parse().unwrap()), &[("c", "every")]),
                layer(Scope::Host("web-1".parse().unwrap()), &[("d", "host")]),
            ],
        }
    }

    fn of(name: &str, zone: &str) -> (Vec<u16>, String) {
        let labels = Labels::from([("zone".to_owned(), zone.to_owned())]);
        let id = HostId(uuid::Uuid::from_u128(1));
        let holding = snapshot().holding(&name.parse().unwrap(), &id, &labels);
        let settings = snapshot().resolve(&holding);
        (holding, settings.values.values().map(String::as_str).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_narrower_layer_goes_over_a_wider_one_and_selectors_in_order() {
        assert_eq!(of("web-1", "z1"), (vec![0, 1, 2, 3, 4], "env app every host".to_owned()));
        assert_eq!(of("web-2", "z1"), (vec![0, 1, 2, 3], "env app every z1".to_owned()));
        assert_eq!(of("web-2", "z2"), (vec![0, 1, 3], "env app every app".to_owned()));
    }

    #[test]
    fn each_name_tells_where_it_comes_from() {
        let snapshot = snapshot();
        let origins = snapshot.origins(&[0, 1, 2, 3, 4]);
        let said: Vec<String> = origins.iter().map(|(name, scope)| format!("{name}: {scope}")).collect();
        assert_eq!(said, ["a: environment", "b: app", "c: hosts \"*\"", "d: host web-1"]);
    }

    #[test]
    fn a_snapshot_reads_back_under_its_digest() {
        let text = snapshot().to_json();
        let back: Snapshot = serde_json::from_slice(&text).unwrap();
        assert_eq!((back.digest(), &back), (snapshot().digest(), &snapshot()));
        let mut other = snapshot();
        other.layers.swap(2, 3);
        assert_ne!(other.digest(), back.digest(), "order decides, so it is part of the name");
    }

    #[test]
    fn one_name_is_a_value_or_a_secret() {
        let mut both = snapshot().layers[0].settings.clone();
        both.secrets.insert("b".into(), Reference::Credential { name: "b".into(), rev: 0 });
        let all = [snapshot().layers[1].settings.clone(), both];
        assert_eq!(clashes(all.iter()), BTreeSet::from(["b"]));
    }
}
