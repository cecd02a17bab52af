//! Where an app's traffic goes: the sides of a host, shares, and who directs it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    code::{Code, Coded},
    ids::HostName,
    slot::Slot,
    text::visible,
    time::{Millis, Span},
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

impl FromStr for Side {
    type Err = Coded;
    fn from_str(text: &str) -> Result<Self, Coded> {
        Side::BOTH
            .into_iter()
            .find(|side| side.as_str() == text)
            .ok_or_else(|| Coded::new(Code::V01, format!("\"{}\" is none of blue, green", visible(text))))
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How one side stands, for those who look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideSeen {
    pub side: Side,
    /// What it was last told to run.
    pub slot: Slot,
    pub up: bool,
    /// Percent of new connections; `None`: whoever directs them cannot be asked.
    pub share: Option<u8>,
    /// For people: the unit's name, or the process id.
    pub main: String,
    /// Without traffic, it stays up until then as an instant way back.
    pub warm_until_ms: Option<Millis>,
}

impl SideSeen {
    /// `100% of the traffic`, `warm until 10:31:02`; `clock` writes a moment, `None`: it has passed. Who said this may have
    /// said it long ago.
    pub fn standing(&self, clock: impl Fn(Millis) -> Option<String>) -> String {
        let down = if self.up { "" } else { ", DOWN" };
        match (self.share, self.warm_until_ms.map(clock)) {
            (None, _) => format!("traffic unknown{down}"),
            (Some(0), Some(Some(until))) => format!("warm until {until}{down}"),
            (Some(0), Some(None)) if self.up => "no traffic; its warm time is over".to_owned(),
            (Some(0), Some(None)) => "stopped".to_owned(),
            (Some(0), None) if self.up => "no traffic".to_owned(),
            (Some(0), None) => "stopped".to_owned(),
            (Some(share), _) => format!("{share}% of the traffic{down}"),
        }
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

/// What whoever directs traffic on a host has to know, for a look beforehand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Directed {
    /// Hosts that this one balances; a weight says who is to serve.
    Hosts(Directions),
    /// The app's two sides on this host, with the addresses that its manifest says.
    Sides(Directions),
}

/// What such a look came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Looked {
    /// Why it could not do what it will be told, each with the way out.
    pub problems: Vec<String>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
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
    /// Nobody has heard of it: it gets them only as long as the balancer's own check says that it is up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub if_up: bool,
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

    #[test]
    fn a_side_says_how_it_stands() {
        let seen = |up, share, warm_until_ms| SideSeen {
            side: Side::Blue,
            slot: "1.0-0a1b2c3d".parse().unwrap(),
            up,
            share,
            main: String::new(),
            warm_until_ms,
        };
        let said = |seen: SideSeen| seen.standing(|at| (at > 5).then(|| format!("{at}")));
        assert_eq!(said(seen(true, Some(10), None)), "10% of the traffic");
        assert_eq!(said(seen(false, Some(100), None)), "100% of the traffic, DOWN");
        assert_eq!(said(seen(true, Some(0), Some(7))), "warm until 7");
        assert_eq!(said(seen(false, Some(0), Some(7))), "warm until 7, DOWN");
        assert_eq!(said(seen(true, Some(0), Some(5))), "no traffic; its warm time is over");
        assert_eq!(said(seen(false, Some(0), Some(5))), "stopped");
        assert_eq!(said(seen(true, Some(0), None)), "no traffic");
        assert_eq!(said(seen(false, Some(0), None)), "stopped");
        assert_eq!(said(seen(true, None, Some(7))), "traffic unknown");
    }
}
