//! `[mail]` and `[webhooks]` of `controller.toml`: by what people are told.

use std::{collections::BTreeMap, path::PathBuf};

use longshore_common::{
    strict::{Guard, Table},
    text::visible,
};

use crate::notify::{Address, MailServer, MailTls, Stakeholders};

/// Keys that may be named.
const KEYS: usize = 64;
const TLS: [(&str, MailTls); 3] =
    [("starttls", MailTls::Starttls), ("wrapped", MailTls::Wrapped), ("none", MailTls::None)];

/// By what people are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tell {
    /// `None`: no mail is sent.
    pub mail: Option<MailServer>,
    /// Files with the keys by which webhooks are signed, by the names that environments use.
    pub keys: BTreeMap<String, PathBuf>,
}

impl Tell {
    /// By what people would be told, and this controller cannot.
    pub fn lacking(&self, stakeholders: &Stakeholders) -> Vec<String> {
        let known: Vec<String> = self.keys.keys().map(|name| format!("\"{}\"", visible(name))).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let lacking = stakeholders.tell.iter().filter_map(|teller| {
            let name = visible(&teller.name);
            match &teller.address {
                Address::Webhook { secret, .. } if !self.keys.contains_key(secret) => Some(format!(
                    "stakeholders.tell \"{name}\": the controller knows no key \"{0}\"; it knows {known}. Name one of \
                     them, or give [webhooks] of controller.toml a line {0} = \"/file/with/the/key\" and start the \
                     controller anew",
                    visible(secret)
                )),
                Address::Email { .. } if self.mail.is_none() => Some(format!(
                    "stakeholders.tell \"{name}\": this controller sends no mail. Give controller.toml a [mail] and \
                     start the controller anew, or tell by webhook"
                )),
                Address::Webhook { .. } | Address::Email { .. } => None,
            }
        });
        lacking.collect()
    }
}

pub(super) fn tell(root: &Table<'_>) -> Tell {
    let table = root.table("mail");
    let mail = if table.is_present() { mail(&table) } else { None };
    let named = root.texts("webhooks");
    for (name, path) in named.iter().filter(|(_, path)| !path.starts_with('/')) {
        let (name, path) = (visible(name), visible(path));
        root.problem_at("webhooks", format!("webhooks.{name}: \"{path}\" is not an absolute path"));
    }
    if named.len() > KEYS {
        root.problem_at("webhooks", format!("webhooks: at most {KEYS}"));
    }
    Tell { mail, keys: named.into_iter().map(|(name, path)| (name, path.into())).collect() }
}

fn mail(table: &Guard<'_>) -> Option<MailServer> {
    let server: Option<String> = table.required("server");
    let from: Option<String> = table.required("from");
    let user: Option<String> = table.optional("user");
    let tls = table.or("tls", "starttls".to_owned());
    let tls = TLS.iter().find(|(word, _)| *word == tls).map(|(_, tls)| *tls).unwrap_or_else(|| {
        table
            .problem_at("tls", format!("mail.tls: \"{}\" is none of starttls, wrapped, none", visible(&tls)));
        MailTls::Starttls
    });
    let (password_file, ca_file) = (path(table, "password_file"), path(table, "ca_file"));
    if user.is_some() != password_file.is_some() {
        table.problem_at("user", "mail: user and password_file go together");
    }
    if user.is_some() && tls == MailTls::None {
        table.problem_at("tls", "mail.tls: a password is not sent in the clear");
    }
    let server = server?;
    let parts = server.rsplit_once(':').and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
    let Some((host, port)) = parts.filter(|(host, port)| !host.is_empty() && *port > 0) else {
        let shown = visible(&server);
        table.problem_at(
            "server",
            format!("mail.server: \"{shown}\" is not host:port: write \"smtp.example:587\""),
        );
        return None;
    };
    Some(MailServer { host, port, tls, from: from?, user, password_file, ca_file })
}

fn path(table: &Guard<'_>, key: &str) -> Option<PathBuf> {
    let text: String = table.optional(key)?;
    if !text.starts_with('/') {
        table.problem_at(key, format!("mail.{key}: \"{}\" is not an absolute path", visible(&text)));
    }
    Some(text.into())
}
