//! What config templates are rendered with on one host: values in plain, and references to secrets.
//!
//! A secret itself is never in here. A reference says where the host finds it, so settings may be stored, shown,
//! compared and logged.

mod read;

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    code::{Code, Coded},
    digest::SealedDigest,
    text::visible,
};

pub use read::read_settings;

/// Bytes (as JSON) of the settings that one host gets for one app; an assignment carries them, and has to fit a record.
pub const SETTINGS_BYTES: usize = 8 * 1024;

/// Values that config templates are rendered with, by name.
pub type Values = BTreeMap<String, String>;

/// References to secrets, by the name that templates use.
pub type Secrets = BTreeMap<String, Reference>;

/// Of the name of a value or secret.
pub const NAME_BYTES: usize = 128;
/// Of a path on a host.
const PATH_BYTES: usize = 1024;

/// All that one host gets for one app.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    #[serde(default, skip_serializing_if = "Values::is_empty")]
    pub values: Values,
    #[serde(default, skip_serializing_if = "Secrets::is_empty")]
    pub secrets: Secrets,
}

/// Where a host finds a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "from")]
pub enum Reference {
    /// A file on the host, in a folder that the host's own admin allows.
    File {
        /// Absolute, plain components only.
        path: String,
        /// Raised by whoever changed the content, so that a rollout brings it.
        #[serde(default, skip_serializing_if = "is_zero")]
        rev: u32,
    },
    /// The agent's credential store: systemd's, or `/etc/longshore/credentials`.
    Credential {
        name: String,
        #[serde(default, skip_serializing_if = "is_zero")]
        rev: u32,
    },
    /// Encrypted for each host by itself, kept by the controller, which cannot open it.
    Sealed { digest: SealedDigest },
}

fn is_zero(rev: &u32) -> bool {
    *rev == 0
}

impl Settings {
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.secrets.is_empty()
    }

    /// Every name, of values and of secrets.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().chain(self.secrets.keys()).map(String::as_str)
    }

    /// As JSON, which is how they are stored and what the limit is about.
    pub fn bytes(&self) -> usize {
        serde_json::to_vec(self).expect("maps of strings are JSON").len()
    }
}

impl fmt::Display for Reference {
    /// One line, for people: it tells two references apart whenever they differ.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rev = match self {
            Reference::File { path, rev } => {
                write!(f, "file {}", visible(path))?;
                *rev
            }
            Reference::Credential { name, rev } => {
                write!(f, "credential {}", visible(name))?;
                *rev
            }
            Reference::Sealed { digest } => {
                write!(f, "sealed {}", digest.hex())?;
                0
            }
        };
        if rev == 0 { Ok(()) } else { write!(f, ", rev {rev}") }
    }
}

impl Reference {
    /// What the type cannot say: names and paths that lead nowhere else.
    pub fn check(&self) -> Result<(), Coded> {
        match self {
            Reference::File { path, .. } => check_path(path),
            Reference::Credential { name, .. } => check_credential(name),
            Reference::Sealed { .. } => Ok(()),
        }
    }
}

/// The name of a value or a secret, as templates say it.
pub fn check_name(what: &str, name: &str) -> Result<(), Coded> {
    let sound = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if !name.is_empty() && name.len() <= NAME_BYTES && sound {
        return Ok(());
    }
    let message = format!(
        "{what} \"{}\" is invalid: use 1-{NAME_BYTES} of a-z A-Z 0-9 \"-\" \"_\" \".\"",
        visible(&crate::wire::cut(name, 2 * NAME_BYTES))
    );
    Err(Coded::new(Code::V01, message))
}

fn check_credential(name: &str) -> Result<(), Coded> {
    check_name("credential", name)?;
    if name.starts_with('.') {
        let message = format!("credential \"{name}\" is invalid: it may not begin with \".\"");
        return Err(Coded::new(Code::V01, message));
    }
    Ok(())
}

fn check_path(path: &str) -> Result<(), Coded> {
    let parts = path.strip_prefix('/').map(|rest| rest.split('/'));
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && visible(part) == part;
    if path.len() <= PATH_BYTES && parts.is_some_and(|mut parts| parts.all(plain)) {
        return Ok(());
    }
    let shown = visible(&crate::wire::cut(path, 200));
    let message = format!(
        "file \"{shown}\" is invalid: write an absolute path of at most {PATH_BYTES} bytes without \".\", \"..\" or empty parts"
    );
    Err(Coded::new(Code::V01, message))
}

/// One name that differs between two settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub name: String,
    pub kind: Kind,
    /// The value, or the reference in words; `None`: it was not there.
    pub from: Option<String>,
    pub to: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Value,
    Secret,
}

/// What differs, values first, each by name. Of a secret only its reference is told.
pub fn diff(old: &Settings, new: &Settings) -> Vec<Change> {
    let shown = |secrets: &Secrets| -> Values {
        secrets.iter().map(|(name, reference)| (name.clone(), reference.to_string())).collect()
    };
    let mut changes = changed(Kind::Value, &old.values, &new.values);
    changes.extend(changed(Kind::Secret, &shown(&old.secrets), &shown(&new.secrets)));
    changes
}

fn changed(kind: Kind, old: &Values, new: &Values) -> Vec<Change> {
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let pairs = names.into_iter().map(|name| (name, old.get(name), new.get(name)));
    pairs
        .filter(|(_, from, to)| from != to)
        .map(|(name, from, to)| Change { name: name.clone(), kind, from: from.cloned(), to: to.cloned() })
        .collect()
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change { name, kind, from, to } = self;
        let what = match kind {
            Kind::Value => "value",
            Kind::Secret => "secret",
        };
        let name = visible(name);
        let quoted = |text: &String| match kind {
            Kind::Value => format!("\"{}\"", visible(text)),
            Kind::Secret => text.clone(),
        };
        match (from.as_ref().map(quoted), to.as_ref().map(quoted)) {
            (None, Some(to)) => write!(f, "+ {what} {name}: {to}"),
            (Some(from), None) => write!(f, "- {what} {name}: {from}"),
            (Some(from), Some(to)) => write!(f, "~ {what} {name}: {from} -> {to}"),
            (None, None) => write!(f, "  {what} {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(values: &[(&str, &str)], secrets: &[(&str, Reference)]) -> Settings {
        Settings {
            values: values.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            secrets: secrets.iter().map(|(k, r)| ((*k).to_owned(), r.clone())).collect(),
        }
    }

    fn credential(name: &str, rev: u32) -> Reference {
        Reference::Credential { name: name.into(), rev }
    }

    #[test]
    fn a_diff_names_what_differs_and_of_secrets_only_the_reference() {
        let sealed = |byte: u8| Reference::Sealed { digest: SealedDigest([byte; 32]) };
        let old = settings(&[("a", "1"), ("b", "2")], &[("key", sealed(1)), ("pw", credential("db", 0))]);
        let new =
            settings(&[("b", "3"), ("c", "x\u{1b}")], &[("key", sealed(2)), ("pw", credential("db", 2))]);
        let lines: Vec<String> = diff(&old, &new).iter().map(Change::to_string).collect();
        assert_eq!(
            lines,
            [
                "- value a: \"1\"".to_owned(),
                "~ value b: \"2\" -> \"3\"".to_owned(),
                "+ value c: \"x\\x1b\"".to_owned(),
                format!("~ secret key: sealed {} -> sealed {}", "01".repeat(32), "02".repeat(32)),
                "~ secret pw: credential db -> credential db, rev 2".to_owned(),
            ]
        );
        assert_eq!(diff(&new, &new), []);
    }

    #[test]
    fn names_and_paths_that_lead_elsewhere_are_refused() {
        let file = |path: &str| Reference::File { path: path.into(), rev: 0 }.check();
        assert_eq!(file("/etc/longshore/secrets/db"), Ok(()));
        for path in
            ["", "/", "etc/x", "/etc/../shadow", "/etc//x", "/etc/x/", "/e\0tc", "/e\u{1b}[31m", "/./x"]
        {
            assert!(file(path).is_err(), "{path:?}");
        }
        assert!(file(&format!("/{}", "x".repeat(PATH_BYTES))).is_err());
        assert_eq!(credential("db.password-1", 0).check(), Ok(()));
        for name in ["", ".", "..", ".hidden", "a/b", "a b", "ä", &"x".repeat(NAME_BYTES + 1)] {
            assert!(credential(name, 0).check().is_err(), "{name:?}");
        }
    }

    #[test]
    fn what_was_stored_reads_back() {
        let before = settings(&[("a", "1")], &[("f", Reference::File { path: "/x".into(), rev: 3 })]);
        let text = serde_json::to_string(&before).unwrap();
        assert_eq!(text, r#"{"values":{"a":"1"},"secrets":{"f":{"from":"file","path":"/x","rev":3}}}"#);
        assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), before);
    }
}
