//! `[values]` and `[secrets]`, of the environment, of an app, of hosts: what config templates are rendered with.
//!
//! ```toml
//! [values]
//! workers = 4
//!
//! [secrets]
//! db_password = { credential = "db-password" }
//!
//! [apps.shop.values]
//! workers = 8
//!
//! [[values_for]]
//! selector = "size=big"
//! values   = { workers = 16 }
//!
//! [hosts.web-1.values]
//! workers = 2
//! ```

use std::collections::BTreeMap;

pub use longshore_common::settings::SETTINGS_BYTES;
use longshore_common::{
    ids::{AppName, HostName},
    label::Selector,
    settings::{Settings, read_settings},
    strict::Table,
};

use crate::rollout::{Layer, Scope, Snapshot, clashes};

/// Bytes (as JSON) of all settings of one app; its snapshot has to fit a record.
pub const SNAPSHOT_BYTES: usize = 14 * 1024;
/// `[[values_for]]` of one file. A host remembers which layers hold for it with every release that it can go back to.
const SELECTED_MAX: usize = 64;

/// What the file says of values and secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    environment: Settings,
    apps: BTreeMap<AppName, Settings>,
    /// In the order of the file.
    selected: Vec<Selected>,
    hosts: BTreeMap<HostName, Settings>,
}

/// A `[[values_for]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Selected {
    selector: Selector,
    /// `None`: every app.
    app: Option<AppName>,
    settings: Settings,
}

impl Declared {
    /// The app's settings, layer by layer. `None`: it has none.
    pub fn snapshot(&self, app: &AppName) -> Option<Snapshot> {
        let layer = |scope, settings: &Settings| Layer { scope, settings: settings.clone() };
        let mut layers = vec![layer(Scope::Environment, &self.environment)];
        layers.extend(self.apps.get(app).map(|settings| layer(Scope::App, settings)));
        let selected = self.selected.iter().filter(|s| s.app.as_ref().is_none_or(|of| of == app));
        layers.extend(selected.map(|s| layer(Scope::Hosts(s.selector.clone()), &s.settings)));
        layers.extend(self.hosts.iter().map(|(host, s)| layer(Scope::Host(host.clone()), s)));
        layers.retain(|layer| !layer.settings.is_empty());
        if layers.is_empty() { None } else { Some(Snapshot { layers }) }
    }

    /// Everything that is declared, with the app it is for; `None`: every app.
    pub fn layers(&self) -> Vec<(Option<AppName>, Layer)> {
        let layer = |scope, settings: &Settings| Layer { scope, settings: settings.clone() };
        let mut layers = vec![(None, layer(Scope::Environment, &self.environment))];
        layers.extend(self.apps.iter().map(|(app, s)| (Some(app.clone()), layer(Scope::App, s))));
        let selected = self.selected.iter();
        layers
            .extend(selected.map(|s| (s.app.clone(), layer(Scope::Hosts(s.selector.clone()), &s.settings))));
        layers.extend(self.hosts.iter().map(|(host, s)| (None, layer(Scope::Host(host.clone()), s))));
        layers
    }

    fn all(&self) -> impl Iterator<Item = &Settings> + Clone {
        let selected = self.selected.iter().map(|s| &s.settings);
        std::iter::once(&self.environment)
            .chain(self.apps.values())
            .chain(selected)
            .chain(self.hosts.values())
    }

    /// Every app that the file names, and one that it does not.
    fn snapshots(&self) -> Vec<(String, Snapshot)> {
        let named = self.apps.keys().chain(self.selected.iter().filter_map(|s| s.app.as_ref()));
        let mut all: BTreeMap<String, Snapshot> = BTreeMap::new();
        for app in named {
            all.extend(self.snapshot(app).map(|snapshot| (format!("app {app}"), snapshot)));
        }
        let nobody = Declared {
            selected: self.selected.iter().filter(|s| s.app.is_none()).cloned().collect(),
            apps: BTreeMap::new(),
            ..self.clone()
        };
        let other = nobody.snapshot(&"any".parse().expect("a name"));
        all.extend(other.map(|snapshot| ("every app".to_owned(), snapshot)));
        all.into_iter().collect()
    }
}

pub(super) fn read(root: &Table<'_>) -> Declared {
    let mut declared = Declared { environment: read_settings(root), ..Declared::default() };
    for (name, table) in root.named_tables("apps") {
        let own = read_settings(&table);
        match name.parse::<AppName>() {
            Ok(app) => drop(declared.apps.insert(app, own)),
            Err(error) => root.problem_at("apps", format!("apps: {}", error.message)),
        }
    }
    for table in root.tables("values_for") {
        let (selector, app) = (table.required::<Selector>("selector"), table.optional("app"));
        let settings = read_settings(&table);
        if settings.is_empty() {
            table.problem_at("selector", "values_for: neither values nor secrets: it says nothing");
        }
        declared.selected.extend(selector.map(|selector| Selected { selector, app, settings }));
    }
    for (name, table) in root.named_tables("hosts") {
        let own = read_settings(&table);
        match name.parse::<HostName>() {
            Ok(host) => drop(declared.hosts.insert(host, own)),
            Err(error) => root.problem_at("hosts", format!("hosts: {}", error.message)),
        }
    }
    check(root, &declared);
    declared
}

/// What no single table shows.
fn check(root: &Table<'_>, declared: &Declared) {
    for name in clashes(declared.all()) {
        let why = format!("secrets: \"{name}\" is also a value; call one of them differently");
        root.problem_at("secrets", why);
    }
    if declared.selected.len() > SELECTED_MAX {
        let found = declared.selected.len();
        root.problem_at("values_for", format!("values_for: {found} of them; at most {SELECTED_MAX}"));
    }
    for (whose, snapshot) in declared.snapshots() {
        let bytes = snapshot.to_json().len();
        if bytes > SNAPSHOT_BYTES {
            let why = format!("values: those of {whose} have {bytes} bytes in all; at most {SNAPSHOT_BYTES}");
            root.problem_at("values", why);
        }
        let general = |layer: &Layer| matches!(layer.scope, Scope::Environment | Scope::App);
        let most: Vec<u16> =
            (0..).zip(&snapshot.layers).filter(|(_, l)| general(l)).map(|(n, _)| n).collect();
        let bytes = snapshot.resolve(&most).bytes();
        if bytes > SETTINGS_BYTES {
            let why = format!(
                "values: {bytes} bytes in all for {whose}; at most {SETTINGS_BYTES} are sent to a host"
            );
            root.problem_at("values", why);
        }
    }
}

#[cfg(test)]
mod tests {
    use longshore_common::strict::File;

    use super::*;

    fn declared(text: &str) -> Result<Declared, String> {
        File::new("p.toml", text).read(|root| Some(read(root))).map_err(|problems| problems.to_string())
    }

    const FILE: &str = r#"
[values]
workers = 4
greeting = "ahoy"
[secrets]
db = { credential = "db-password", rev = 2 }
tls = { file = "/etc/longshore/secrets/tls.key" }
[apps.shop.values]
workers = 8
[apps.shop.secrets]
token = { sealed = "0101010101010101010101010101010101010101010101010101010101010101" }
[[values_for]]
selector = "size=big"
values = { workers = 16 }
[[values_for]]
selector = "size=big"
app = "other"
values = { workers = 99 }
[hosts.web-1.secrets]
db = { file = "/etc/longshore/secrets/db" }
"#;

    #[test]
    fn layers_go_from_the_general_to_the_particular() {
        let declared = declared(FILE).unwrap();
        let snapshot = declared.snapshot(&"shop".parse().unwrap()).unwrap();
        let scopes: Vec<String> = snapshot.layers.iter().map(|layer| layer.scope.to_string()).collect();
        assert_eq!(scopes, ["environment", "app", "hosts \"size=big\"", "host web-1"]);
        let all = snapshot.resolve(&[0, 1, 2, 3]);
        assert_eq!((&*all.values["workers"], &*all.values["greeting"]), ("16", "ahoy"));
        assert_eq!(all.secrets["db"].to_string(), "file /etc/longshore/secrets/db");
        assert_eq!(snapshot.resolve(&[0]).secrets["db"].to_string(), "credential db-password, rev 2");
        assert_eq!(snapshot.sealed().len(), 1);
        let other = declared.snapshot(&"other".parse().unwrap()).unwrap();
        assert_eq!(other.resolve(&[0, 1, 2]).values["workers"], "99");
    }

    #[test]
    fn no_settings_are_no_snapshot() {
        let empty = declared("[values]\n").unwrap();
        assert_eq!(empty.snapshot(&"shop".parse().unwrap()), None);
    }

    #[test]
    fn every_bad_reference_is_named_and_none_is_repeated() {
        let text = r#"
[values]
both = 1
[secrets]
both = { credential = "x" }
"a b" = { credential = "x" }
plain = "hunter2"
pasted = { sealed = "hunter2" }
none = {}
two = { file = "/a", credential = "b" }
up = { file = "../shadow" }
dir = { credential = "a/b" }
typo = { credentail = "x" }
old = { sealed = "0101010101010101010101010101010101010101010101010101010101010101", rev = 1 }
[[values_for]]
selector = "a b c"
[[values_for]]
values = { a = 1 }
[hosts."-x".values]
a = 1
"#;
        let found = declared(text).unwrap_err();
        for part in [
            "secrets: \"both\" is also a value",
            "secrets: secret \"a b\" is invalid",
            "p.toml:7:9: secrets.plain: expected a table, found string",
            "p.toml:8:21: secrets.pasted.sealed: not a digest",
            "[secrets.none] needs one of \"credential\", \"file\", \"sealed\"",
            "[secrets.two] may have only one of",
            "file \"../shadow\" is invalid",
            "credential \"a/b\" is invalid",
            "unknown key \"credentail\" in [secrets.typo]; did you mean \"credential\"?",
            "a sealed secret has no rev",
            "values_for: neither values nor secrets",
            "selector term \"a b c\"",
            "[values_for] needs the key \"selector\"",
            "hosts: host name \"-x\" is invalid",
        ] {
            assert!(found.contains(part), "{part}\nis not in\n{found}");
        }
        assert!(!found.contains("hunter2"), "what may be the secret itself is not repeated: {found}");
    }

    #[test]
    fn too_much_is_refused() {
        let large = format!("[values]\na = \"{}\"\n", "x".repeat(SETTINGS_BYTES));
        assert!(declared(&large).unwrap_err().contains("are sent to a host"));
        let hosts: String =
            (0..20).map(|n| format!("[hosts.h{n}.values]\na=\"{}\"\n", "x".repeat(1000))).collect();
        assert!(declared(&hosts).unwrap_err().contains("at most 14336"));
        let selected = "[[values_for]]\nselector = \"a\"\nvalues = { a = 1 }\n".repeat(SELECTED_MAX + 1);
        assert!(declared(&selected).unwrap_err().contains("65 of them; at most 64"));
    }
}
