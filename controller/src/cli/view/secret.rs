//! Secrets and settings. Nothing here ever holds a secret: references, digests and names only.

use longshore_common::text::visible;
use longshore_proto::v1 as pb;
use serde::Serialize;

use crate::cli::{
    moment::count,
    output::{Page, View},
    style::Ink,
    table::{Facts, Table},
};

#[derive(Clone, Debug, Serialize)]
pub struct Encrypted {
    pub name: String,
    pub env: Option<String>,
    pub host: Option<String>,
    pub digest: String,
    /// By name; those that can open it.
    pub hosts: Vec<String>,
    /// What goes into the environment's file.
    pub line: String,
}

impl Encrypted {
    pub fn new(
        name: String,
        env: Option<String>,
        host: Option<String>,
        digest: String,
        hosts: Vec<String>,
    ) -> Self {
        let bare = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        let key = if bare { name.clone() } else { format!("\"{name}\"") };
        let line = format!("{key} = {{ sealed = \"{digest}\" }}");
        Self { name, env, host, digest, hosts, line }
    }
}

impl View for Encrypted {
    const SCHEMA: &'static str = "longshore.cli.secret-encrypted/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let table = match &self.host {
            Some(_) => {
                format!("[hosts.{}.secrets]", self.hosts.first().map(|h| visible(h)).unwrap_or_default())
            }
            None => "[secrets]".to_owned(),
        };
        let hosts = count(self.hosts.len(), "host");
        let env = self.env.as_ref().map(|env| format!(" of {}", visible(env))).unwrap_or_default();
        vec![
            page.style.paint(
                Ink::Good,
                &format!(
                    "Encrypted {} for {hosts}{env}; each opens its own with its own key",
                    visible(&self.name)
                ),
            ),
            String::new(),
            "In the environment's file, then longshore env apply and rollout start:".to_owned(),
            String::new(),
            format!("  {table}"),
            format!("  {}", visible(&self.line)),
        ]
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    pub env: String,
    pub hosts: u32,
    /// Every sealed secret can be opened by every host that gets it.
    pub sound: bool,
    pub secrets: Vec<CheckedSecret>,
}

#[derive(Clone, Debug, Serialize)]
pub struct CheckedSecret {
    pub name: String,
    /// None: of every app.
    pub app: Option<String>,
    pub declared: String,
    pub reference: String,
    pub hosts: u32,
    /// `ok`, `shut` (some host cannot open it), `unknown` (nothing was sealed under it here), `on-host` (only the host
    /// can tell, and does before anything is switched).
    pub state: &'static str,
    /// By name; those that cannot open it.
    pub shut: Vec<String>,
}

impl From<pb::CheckSecretsReply> for Checked {
    fn from(reply: pb::CheckSecretsReply) -> Self {
        let pb::CheckSecretsReply { env, hosts, secrets } = reply;
        let secrets: Vec<CheckedSecret> = secrets.into_iter().map(CheckedSecret::from).collect();
        let sound = secrets.iter().all(|secret| matches!(secret.state, "ok" | "on-host"));
        Self { env, hosts, sound, secrets }
    }
}

impl From<pb::CheckedSecret> for CheckedSecret {
    fn from(secret: pb::CheckedSecret) -> Self {
        let pb::CheckedSecret { name, app, declared, reference, hosts, shut, known, checkable } = secret;
        let state = match (checkable, known, shut.is_empty()) {
            (false, _, _) => "on-host",
            (true, false, _) => "unknown",
            (true, true, false) => "shut",
            (true, true, true) => "ok",
        };
        let app = (!app.is_empty()).then_some(app);
        let shut = shut.into_iter().map(|host| host.name).collect();
        Self { name, app, declared, reference, hosts, state, shut }
    }
}

impl View for Checked {
    const SCHEMA: &'static str = "longshore.cli.secret-check/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let env = visible(&self.env);
        if self.secrets.is_empty() {
            return vec![format!("Environment {env} refers to no secrets")];
        }
        let mut table = Table::new(["SECRET", "APP", "DECLARED FOR", "REFERENCE", "HOSTS", "STATE"]);
        for secret in &self.secrets {
            table.row([
                visible(&secret.name).into(),
                secret.app.as_deref().map_or("every app".to_owned(), visible).into(),
                visible(&secret.declared).into(),
                short(&secret.reference).into(),
                secret.hosts.to_string().into(),
                secret.state.into(),
            ]);
        }
        let mut lines = table.lines(page.style);
        for secret in self.secrets.iter().filter(|secret| matches!(secret.state, "shut" | "unknown")) {
            let (name, hosts) = (visible(&secret.name), visible(&secret.shut.join(", ")));
            let why = if secret.state == "unknown" {
                "nothing was sealed under it here"
            } else {
                "cannot be opened by"
            };
            lines.push(String::new());
            lines.push(page.style.paint(Ink::Bad, &format!("{name}: {why}: {hosts}")));
            lines.push(format!("  longshore secret encrypt --env {env} {name} < FILE"));
        }
        lines
    }
}

/// A digest by its first digits.
fn short(reference: &str) -> String {
    match reference.strip_prefix("sealed ") {
        Some(digest) => format!("sealed {}…", visible(digest).chars().take(8).collect::<String>()),
        None => visible(reference),
    }
}

/// What a host gets for an app.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    pub env: String,
    pub app: String,
    /// None: what holds for every host.
    pub host: Option<String>,
    /// The digest of all settings of the app.
    pub snapshot: Option<String>,
    /// Later ones go over earlier ones.
    pub precedence: [&'static str; 4],
    pub settings: Vec<Setting>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Setting {
    pub name: String,
    /// `value` or `secret`.
    pub kind: &'static str,
    /// Of a secret: where the host finds it.
    pub value: String,
    pub declared: String,
}

/// What goes over what, the last one wins.
pub const PRECEDENCE: [&str; 4] = ["environment", "app", "values_for, in the order of the file", "host"];

impl From<pb::ShowSettingsReply> for Settings {
    fn from(reply: pb::ShowSettingsReply) -> Self {
        let pb::ShowSettingsReply { env, app, host, snapshot, rows } = reply;
        let given = |text: String| (!text.is_empty()).then_some(text);
        let setting = |row: pb::SettingRow| Setting {
            name: row.name,
            kind: if row.secret { "secret" } else { "value" },
            value: row.value,
            declared: row.declared,
        };
        let settings = rows.into_iter().map(setting).collect();
        Self { env, app, host: given(host), snapshot: given(snapshot), precedence: PRECEDENCE, settings }
    }
}

impl View for Settings {
    const SCHEMA: &'static str = "longshore.cli.settings/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let mut facts = Facts::default();
        facts
            .add("environment", visible(&self.env))
            .add("app", visible(&self.app))
            .add("host", self.host.as_deref().map_or("every host".to_owned(), visible))
            .add("last wins", PRECEDENCE.join(" < "));
        let mut lines = facts.lines(page.style);
        lines.push(String::new());
        if self.settings.is_empty() {
            lines.push("No values and no secrets".to_owned());
            return lines;
        }
        let mut table = Table::new(["NAME", "KIND", "VALUE", "DECLARED FOR"]);
        for setting in &self.settings {
            table.row([
                visible(&setting.name).into(),
                setting.kind.into(),
                visible(&setting.value).into(),
                visible(&setting.declared).into(),
            ]);
        }
        lines.extend(table.lines(page.style));
        lines
    }
}
