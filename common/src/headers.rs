//! Headers that a probe or a gate sends along with its GET, as a file of ours declares them.
//!
//! They are data for the server that is asked, and nothing else: no value ends its line, no name says where the message
//! ends or what the connection becomes. Nor are they a place for secrets: whoever may read the file reads them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{strict::Table, text::visible, wire::cut};

/// Of one question.
pub const HEADERS_MAX: usize = 16;
/// Names and values together.
pub const HEADERS_BYTES: usize = 1024;
/// Of a name, in an error.
const SHOWN_BYTES: usize = 64;

/// How a message is framed and a connection is used, which whoever sends it decides.
const OF_THE_CONNECTION: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
];
const SECRETS: [&str; 2] = ["authorization", "proxy-authorization"];
/// By these a cloud tells programs of a machine, which may have its keys, from addresses that it was made to ask.
const OF_A_CLOUD: [&str; 4] =
    ["metadata", "metadata-flavor", "x-aws-ec2-metadata-token", "x-google-metadata-request"];

/// Sound, whoever made them: what is read by serde is checked as well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct Headers(BTreeMap<String, String>);

impl Headers {
    /// The table `headers`; none when absent. Of one that is wrong every problem is noted, as of the key `place`.
    pub fn read(table: &Table<'_>, place: &str) -> Self {
        let given = table.texts("headers");
        for problem in problems(&given) {
            table.problem_at("headers", format!("{place}: {problem}"));
        }
        Self::try_from(given).unwrap_or_default()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// In whatever case it is written.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl TryFrom<BTreeMap<String, String>> for Headers {
    /// Every problem.
    type Error = String;

    fn try_from(given: BTreeMap<String, String>) -> Result<Self, String> {
        let found = problems(&given);
        if found.is_empty() { Ok(Self(given)) } else { Err(format!("headers: {}", found.join("; "))) }
    }
}

impl From<Headers> for BTreeMap<String, String> {
    fn from(Headers(given): Headers) -> Self {
        given
    }
}

/// No value is in them. Of more than is allowed nothing else is said, so that they are few.
fn problems(given: &BTreeMap<String, String>) -> Vec<String> {
    let bytes: usize = given.iter().map(|(name, value)| name.len() + value.len()).sum();
    if given.len() > HEADERS_MAX || bytes > HEADERS_BYTES {
        return vec![format!("at most {HEADERS_MAX} headers of {HEADERS_BYTES} bytes together")];
    }
    let mut found = vec![];
    let mut names = BTreeSet::new();
    for (name, value) in given {
        if !names.insert(name.to_ascii_lowercase()) {
            found.push(format!("\"{}\" is there twice: case makes no difference", shown(name)));
        }
        found.extend(problem(name, value));
    }
    found
}

fn problem(name: &str, value: &str) -> Option<String> {
    let (lower, shown) = (name.to_ascii_lowercase(), shown(name));
    let one_of = |names: &[&str]| names.contains(&lower.as_str());
    if !is_token(name) {
        Some(format!("\"{shown}\" is no name of a header: use A-Z a-z 0-9 and \"-\""))
    } else if one_of(&OF_THE_CONNECTION) {
        Some(format!("\"{shown}\" is about the connection, and not for a file to say"))
    } else if one_of(&SECRETS) {
        Some(format!("\"{shown}\" is for secrets, and whoever may read this file would read them"))
    } else if one_of(&OF_A_CLOUD) {
        Some(format!("\"{shown}\" opens a cloud's metadata, which may hold keys of the machine"))
    } else if !is_value(value) {
        Some(format!("the value of \"{shown}\" has to be visible ASCII, with spaces only in between"))
    } else if lower == "host" && !is_host(value) {
        Some(format!("\"{shown}\" has to be like shop.example or shop.example:8080"))
    } else {
        None
    }
}

fn shown(name: &str) -> String {
    cut(&visible(name), SHOWN_BYTES)
}

/// RFC 9110, section 5.6.2.
fn is_token(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(fits)
}

/// RFC 9110, section 5.5, without its tabs and what is no ASCII.
fn is_value(value: &str) -> bool {
    !value.is_empty()
        && value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
        && value.trim_matches(' ') == value
}

/// A name or an address, and perhaps a port.
fn is_host(value: &str) -> bool {
    value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strict::File;

    fn of(pairs: &[(&str, &str)]) -> Result<Headers, String> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Headers::try_from(pairs.iter().map(own).collect::<BTreeMap<_, _>>())
    }

    #[test]
    fn headers_are_found_in_any_case_and_kept_as_they_are() {
        let headers = of(&[("Host", "shop.example:8080"), ("X-Probe", "1, two; q=\"3\"")]).unwrap();
        assert_eq!(
            (headers.get("host"), headers.get("x-probe")),
            (Some("shop.example:8080"), Some("1, two; q=\"3\""))
        );
        assert_eq!(
            (headers.get("x"), headers.is_empty(), Headers::default().is_empty()),
            (None, false, true)
        );
        let json = serde_json::to_string(&headers).unwrap();
        assert_eq!(json, r#"{"Host":"shop.example:8080","X-Probe":"1, two; q=\"3\""}"#);
        assert_eq!(serde_json::from_str::<Headers>(&json).unwrap(), headers);
    }

    /// No value is repeated: it may be a secret after all.
    #[test]
    fn what_is_more_than_data_is_refused() {
        let long = "x".repeat(HEADERS_BYTES - 1);
        assert_eq!(of(&[("x", long.as_str())]).unwrap().get("X"), Some(long.as_str()));
        for (name, value, says) in [
            ("", "s3cret", "\"\" is no name of a header"),
            ("X Y", "s3cret", "\"X Y\" is no name of a header"),
            ("X:", "s3cret", "\"X:\" is no name of a header"),
            ("X\r\nFLUSHALL", "s3cret", "\"X\\r\\nFLUSHALL\" is no name of a header"),
            ("\u{e9}", "s3cret", "is no name of a header"),
            ("X", "s3cret\r\nFLUSHALL", "the value of \"X\" has to be visible ASCII"),
            ("X", "s3cret\n", "the value of \"X\" has to be visible ASCII"),
            ("X", "s3cret\t", "the value of \"X\" has to be visible ASCII"),
            ("X", "s3cret\u{e9}", "the value of \"X\" has to be visible ASCII"),
            ("X", " s3cret", "with spaces only in between"),
            ("X", "s3cret ", "with spaces only in between"),
            ("X", "", "the value of \"X\" has to be visible ASCII"),
            ("Connection", "s3cret", "is about the connection"),
            ("content-LENGTH", "s3cret", "is about the connection"),
            ("Transfer-Encoding", "s3cret", "is about the connection"),
            ("Upgrade", "s3cret", "is about the connection"),
            ("Authorization", "s3cret", "is for secrets"),
            ("Metadata-Flavor", "s3cret", "opens a cloud's metadata"),
            ("Host", "http://s3cret/", "\"Host\" has to be like shop.example"),
            ("host", "s3cret x", "\"host\" has to be like shop.example"),
            ("xy", long.as_str(), "at most 16 headers of 1024 bytes together"),
        ] {
            let said = of(&[(name, value)]).unwrap_err();
            assert!(said.contains(says) && !said.contains("s3cret") && visible(&said) == said, "{said}");
        }
        assert!(of(&[("X-A", "1"), ("x-a", "2")]).unwrap_err().contains("\"x-a\" is there twice"));
        let names: Vec<String> = (0..=HEADERS_MAX).map(|nth| format!("x{nth}")).collect();
        let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
        assert!(of(&many[1..]).is_ok() && of(&many).unwrap_err().contains("at most 16 headers"));
        assert!(serde_json::from_str::<Headers>(r#"{"X":"a\r\nb"}"#).is_err(), "nor in what was signed");
    }

    #[test]
    fn every_problem_is_noted_where_it_is() {
        let read =
            |text: &str| File::new("f.toml", text).read(|root| Some(Headers::read(root, "gate.headers")));
        let said = read("headers = { Host = \"a b\", Upgrade = \"x\" }").unwrap_err().to_string();
        for part in
            ["gate.headers: \"Host\" has to be like", "gate.headers: \"Upgrade\" is about the connection"]
        {
            assert!(said.contains(part), "{said}");
        }
        assert!(read("headers = \"x\"").unwrap_err().to_string().contains("headers: expected a table"));
        assert_eq!(read("headers = { X-Probe = 1 }").unwrap().get("x-probe"), Some("1"));
        assert_eq!(read("").unwrap(), Headers::default());
    }
}
