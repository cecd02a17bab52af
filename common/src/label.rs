//! Labels of hosts and the selectors that pick hosts by them.
//!
//! A selector is a comma-separated list, all of which must hold: `env=prod,role!=db,zone,!canary,name=web-*`.
//! `key=value` and `key!=value` may use `*` for any run of characters; a bare key must be there, `!key` must not.
//! `name` is the host's name and `id` its id, whatever labels there are. The empty selector matches nothing;
//! `*` matches every host.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    code::{Code, Coded},
    text::visible,
};

pub type Labels = BTreeMap<String, String>;

/// Labels a host may have.
pub const LABELS_MAX: usize = 64;

/// A label key or value: 1-63 (value 0-63) of letters, digits, `-`, `_`, `.`, `/`.
pub fn check_label(key: &str, value: &str) -> Result<(), Coded> {
    let allowed = |text: &str| {
        text.len() <= 63 && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
    };
    if key.is_empty() || !allowed(key) || !allowed(value) {
        return Err(Coded::new(
            Code::V01,
            format!(
                "label \"{}={}\" is invalid: use at most 63 of a-z A-Z 0-9 \"-\" \"_\" \".\" \"/\" on each side",
                visible(key),
                visible(value)
            ),
        ));
    }
    if key == "name" || key == "id" {
        return Err(Coded::new(
            Code::V01,
            format!("label \"{key}\" is reserved: it always means the host's own {key}"),
        ));
    }
    Ok(())
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    Every,
    Is(String, String),
    IsNot(String, String),
    Has(String),
    HasNot(String),
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Term::Every => f.write_str("*"),
            Term::Is(key, pattern) => write!(f, "{key}={pattern}"),
            Term::IsNot(key, pattern) => write!(f, "{key}!={pattern}"),
            Term::Has(key) => f.write_str(key),
            Term::HasNot(key) => write!(f, "!{key}"),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selector {
    text: String,
    terms: Vec<Term>,
}

impl Selector {
    pub fn every() -> Self {
        "*".parse().expect("`*` is a selector")
    }

    pub fn matches(&self, name: &str, id: &str, labels: &Labels) -> bool {
        let value = |key: &str| match key {
            "name" => Some(name),
            "id" => Some(id),
            _ => labels.get(key).map(String::as_str),
        };
        !self.terms.is_empty()
            && self.terms.iter().all(|term| match term {
                Term::Every => true,
                Term::Is(key, pattern) => value(key).is_some_and(|v| fits(pattern, v)),
                Term::IsNot(key, pattern) => !value(key).is_some_and(|v| fits(pattern, v)),
                Term::Has(key) => value(key).is_some(),
                Term::HasNot(key) => value(key).is_none(),
            })
    }

    /// Whether every host of that name is meant, whatever its id and its labels are.
    pub fn takes_by_name(&self, name: &str) -> bool {
        !self.terms.is_empty()
            && self.terms.iter().all(|term| match term {
                Term::Every => true,
                Term::Is(key, pattern) => key == "name" && fits(pattern, name),
                Term::IsNot(key, pattern) => key == "name" && !fits(pattern, name),
                Term::Has(key) => key == "name" || key == "id",
                Term::HasNot(_) => false,
            })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Does `text` fit `pattern`, in which `*` stands for any run of characters?
pub fn fits(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut left) = text.strip_prefix(head) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let tail = parts.pop().expect("split gives at least one part");
    for part in parts {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(tail)
}

impl FromStr for Selector {
    type Err = Coded;

    fn from_str(text: &str) -> Result<Self, Coded> {
        let terms: Vec<Term> = text.split(',').map(str::trim).map(parse_term).collect::<Result<_, _>>()?;
        // Written anew: between its words there may be white space that moves a cursor.
        let written: Vec<String> = terms.iter().map(Term::to_string).collect();
        Ok(Self { text: written.join(","), terms })
    }
}

fn parse_term(text: &str) -> Result<Term, Coded> {
    let bad = |why: &str| {
        Coded::new(
            Code::V01,
            format!("selector term \"{}\" {why}: write key=value, key!=value, key, !key or *", visible(text)),
        )
    };
    let key = |key: &str| {
        let sound = !key.is_empty()
            && key.len() <= 63
            && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
        if sound { Ok(key.to_owned()) } else { Err(bad("has no sound key")) }
    };
    let pattern = |value: &str| {
        let sound = value.chars().all(|c| c.is_ascii_alphanumeric() || "-_./*".contains(c));
        if sound { Ok(value.to_owned()) } else { Err(bad("has a value with characters that no label has")) }
    };
    if text.is_empty() {
        return Err(bad("is empty"));
    }
    if text == "*" {
        return Ok(Term::Every);
    }
    if let Some((k, v)) = text.split_once("!=") {
        return Ok(Term::IsNot(key(k.trim())?, pattern(v.trim())?));
    }
    if let Some((k, v)) = text.split_once('=') {
        return Ok(Term::Is(key(k.trim())?, pattern(v.trim())?));
    }
    match text.strip_prefix('!') {
        Some(k) => Ok(Term::HasNot(key(k.trim())?)),
        None => Ok(Term::Has(key(text)?)),
    }
}

impl TryFrom<String> for Selector {
    type Error = Coded;
    fn try_from(text: String) -> Result<Self, Coded> {
        text.parse()
    }
}
impl From<Selector> for String {
    fn from(selector: Selector) -> String {
        selector.text
    }
}
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_selectors_need_no_labels() {
        for (selector, expected) in [
            ("*", true),
            ("name=lb-*", true),
            ("name=lb-1,name!=lb-2", true),
            ("name=web-1", false),
            ("name=lb-1,role=lb", false),
            ("role!=web", false),
            ("!canary", false),
        ] {
            let parsed: Selector = selector.parse().unwrap();
            assert_eq!(parsed.takes_by_name("lb-1"), expected, "{selector}");
        }
    }

    #[test]
    fn selectors_pick_what_they_say() {
        let labels = Labels::from([("env".into(), "prod".into()), ("zone".into(), "eu-1".into())]);
        for (selector, expected) in [
            ("*", true),
            ("env=prod", true),
            ("env=prod,zone=eu-*", true),
            ("env!=prod", false),
            ("zone", true),
            ("!zone", false),
            ("rack!=3", true),
            ("name=web-*-a", true),
            ("name=web-*-b", false),
            ("name=web", false),
        ] {
            let parsed: Selector = selector.parse().unwrap();
            assert_eq!(parsed.matches("web-1-a", "x", &labels), expected, "{selector}");
        }
    }

    #[test]
    fn a_selector_is_written_without_what_stood_between_its_words() {
        let loose: Selector = " env = prod,\n\u{c}! canary , rack != 3* ,zone".parse().unwrap();
        assert_eq!(loose.as_str(), "env=prod,!canary,rack!=3*,zone");
        assert_eq!(loose, loose.as_str().parse().unwrap());
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "a=b,", "=x", "a=\u{1b}", "a b"] {
            assert!(bad.parse::<Selector>().is_err(), "{bad:?}");
        }
    }
}
