//! Where an app's traffic goes: the sides of a host, shares, and who directs it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    code::{Code, Coded},
    ids::HostName,
    text::visible,
    time::Span,
};

/// One of two places on a host at which an app can run beside itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    Blue,
    Green,
}

impl Side {
    pub const BOTH: [Side; 2] = [Side::Blue, Side::Green];

    pub fn other(self) -> Side {
        match self {
            Side::Blue => Side::Green,
            Side::Green => Side::Blue,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Side::Blue => "blue",
            Side::Green => "green",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What directs traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Director {
    /// Sockets that we hold ourselves; their connections are handed to the side that is to have them.
    Socket,
    /// HAProxy, told over its runtime socket.
    Haproxy,
    /// nginx, told by an upstream file, a test of it and a reload.
    Nginx,
}

impl Director {
    pub const ALL: [Director; 3] = [Director::Socket, Director::Haproxy, Director::Nginx];

    pub fn as_str(self) -> &'static str {
        match self {
            Director::Socket => "socket",
            Director::Haproxy => "haproxy",
            Director::Nginx => "nginx",
        }
    }
}

impl fmt::Display for Director {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Director {
    type Err = Coded;
    fn from_str(text: &str) -> Result<Self, Coded> {
        Director::ALL.into_iter().find(|director| director.as_str() == text).ok_or_else(|| {
            let why = format!("\"{}\" is none of socket, haproxy, nginx", visible(text));
            Coded::new(Code::V01, why)
        })
    }
}

/// The name of a backend of HAProxy, of an upstream of nginx, or of a server in one of them. It is written into
/// commands and files of theirs, so it is a plain word: 1-63 of a-z A-Z 0-9 `_` `-` `.`, the first a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BackendName(String);

impl BackendName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BackendName {
    type Err = Coded;
    fn from_str(text: &str) -> Result<Self, Coded> {
        let plain = (1..=63).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
        if plain {
            return Ok(Self(text.to_owned()));
        }
        let why = format!(
            "\"{}\" is no name of a backend: use 1-63 of letters, digits, \"_\", \"-\", \".\"",
            visible(text)
        );
        Err(Coded::new(Code::V01, why))
    }
}
impl TryFrom<String> for BackendName {
    type Error = Coded;
    fn try_from(text: String) -> Result<Self, Coded> {
        text.parse()
    }
}
impl From<BackendName> for String {
    fn from(name: BackendName) -> String {
        name.0
    }
}
impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Who directs an app's traffic on a host, and how much of it the assigned release is to get there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    pub director: Director,
    /// Its servers are named after the sides.
    pub backend: BackendName,
    /// Percent of new connections that the assigned release gets, 1 to 100; the rest stays with what had it.
    pub share: u8,
    /// How long connections may take to end before what serves them is stopped.
    pub drain: Span,
}

/// Hosts that may stand behind one balancer: their list has to fit a record.
pub const SERVERS_MAX: usize = 100;
/// HAProxy knows no greater one.
pub const WEIGHT_MAX: u16 = 256;

/// How a balancer shares new connections among hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directions {
    /// Never our own sockets.
    pub director: Director,
    /// Of HAProxy, or an upstream of nginx.
    pub backend: BackendName,
    /// By name; no name twice. At most `SERVERS_MAX`.
    pub servers: Vec<Server>,
    /// How long connections may take to end where a server gets no more.
    pub drain: Span,
}

/// A host behind a balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// The host's; HAProxy knows its server by it.
    pub name: HostName,
    /// `ADDRESS:PORT`; `None`: only the balancer itself knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Of new connections, in relation to the others; at most `WEIGHT_MAX`. 0: it gets none.
    pub weight: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_a_plain_word() {
        for good in ["shop", "be_shop-1.main", "1"] {
            assert_eq!(good.parse::<BackendName>().unwrap().as_str(), good);
        }
        for bad in ["", "a b", "a;b", "../a", "a/b", "a\nb", ".a"] {
            assert!(bad.parse::<BackendName>().is_err(), "{bad}");
        }
    }
}
