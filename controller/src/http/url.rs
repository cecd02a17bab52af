//! `http://` and `https://` addresses, taken apart strictly.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use hyper::Uri;
use longshore_common::text::visible;
use serde::{Deserialize, Serialize};

use super::HttpError;

/// Bytes of an address that is read; servers take about as many.
pub const URL_BYTES: usize = 8 * 1024;
/// Bytes of an address that an error shows.
const SHOWN_BYTES: usize = 200;

/// An absolute address without credentials: those do not belong where addresses are printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Url {
    https: bool,
    /// A name or an address; an IPv6 address without its brackets.
    host: String,
    port: u16,
    /// From `/` on, with its query.
    path: String,
}

impl Url {
    pub fn is_https(&self) -> bool {
        self.https
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// From `/` on, with its query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `https://host:port`, as errors name it: without path and query, where secrets may stand.
    pub fn server(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}", self.authority())
    }

    /// `https://host:port/path`, as gates name it: without the query, where secrets may stand.
    pub fn place(&self) -> String {
        match self.path.split('?').next().unwrap_or_default() {
            "/" => self.server(),
            path => format!("{}{path}", self.server()),
        }
    }

    /// As the `host` header says it: without the port where it is the usual one.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.https { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }

    pub fn same_origin(&self, other: &Url) -> bool {
        (self.https, &self.host, self.port) == (other.https, &other.host, other.port)
    }

    /// The address with this path and query in place of its own; `path` begins with `/`.
    pub fn with_path(&self, path: &str) -> Result<Url, HttpError> {
        format!("{}{path}", self.server()).parse()
    }

    /// `key=value` added to the query, both encoded.
    pub fn with_query(mut self, key: &str, value: &str) -> Url {
        self.path.push(if self.path.contains('?') { '&' } else { '?' });
        self.path += &format!("{}={}", encoded(key), encoded(value));
        self
    }

    /// What `location` means to somebody who is at this address.
    pub(super) fn join(&self, location: &str) -> Result<Url, HttpError> {
        let location = location.split('#').next().unwrap_or_default();
        if location.contains("://") {
            location.parse()
        } else if let Some(rest) = location.strip_prefix("//") {
            format!("{}://{rest}", if self.https { "https" } else { "http" }).parse()
        } else if location.starts_with('/') {
            self.with_path(location)
        } else if location.starts_with('?') {
            let path = self.path.split('?').next().unwrap_or_default();
            self.with_path(&format!("{path}{location}"))
        } else {
            let path = self.path.split('?').next().unwrap_or_default();
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            self.with_path(&format!("{folder}/{location}"))
        }
    }
}

impl FromStr for Url {
    type Err = HttpError;

    fn from_str(text: &str) -> Result<Url, HttpError> {
        let shown = || longshore_common::wire::cut(&visible(text), SHOWN_BYTES);
        let bad = |why| HttpError::Url { url: shown(), why };
        if text.len() > URL_BYTES {
            return Err(bad("it is too long"));
        }
        if !text.is_ascii() {
            return Err(bad("what is not ASCII has to be encoded in it, as %C3%A4 for ä"));
        }
        let uri: Uri = text.parse().map_err(|_| bad("it does not read as one"))?;
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(bad("it has to begin with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| bad("it names no server"))?;
        if authority.as_str().contains('@') {
            return Err(HttpError::Url {
                url: format!("{}://…@{}", if https { "https" } else { "http" }, visible(authority.host())),
                why: "credentials do not belong into an address",
            });
        }
        let host = host_of(authority.host()).ok_or_else(|| bad("it names no server"))?.to_owned();
        let port = match &authority.as_str()[authority.host().len()..] {
            "" => {
                if https {
                    443
                } else {
                    80
                }
            }
            rest => rest[1..].parse().map_err(|_| bad("its port is none"))?,
        };
        if port == 0 {
            return Err(bad("no server has port 0"));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Url { https, host, port, path })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.server(), self.path)
    }
}

/// Without the query: what logs show.
impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())
    }
}

impl TryFrom<String> for Url {
    type Error = HttpError;
    fn try_from(text: String) -> Result<Url, HttpError> {
        text.parse()
    }
}

impl From<Url> for String {
    fn from(url: Url) -> String {
        url.to_string()
    }
}

/// A name, an IPv4 address, or an IPv6 address in brackets, which are left away. RFC 3986 (section 3.2.2) lets a name
/// hold more, `%XX` among it; no name that DNS answers to does.
fn host_of(host: &str) -> Option<&str> {
    if let Some(address) = host.strip_prefix('[') {
        return address.strip_suffix(']').filter(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (!host.is_empty() && host.bytes().all(fits)).then_some(host)
}

/// Everything but unreserved characters (RFC 3986, section 2.3) as `%XX`.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte as char),
            byte => out += &format!("%{byte:02X}"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_come_apart_and_together() {
        for text in ["http://a/", "https://a:8443/x?y=1", "http://[::1]:9090/api", "http://127.0.0.1:1/"] {
            assert_eq!(url(text).to_string(), text);
        }
        assert_eq!(url("https://a?x=1").to_string(), "https://a/?x=1");
        assert_eq!((url("https://a").port(), url("http://a").port()), (443, 80));
        assert_eq!(url("http://[::1]/").host(), "::1");
    }

    #[test]
    fn what_is_no_address_is_refused_and_secrets_are_not_shown() {
        for bad in [
            "",
            "a",
            "ftp://a/",
            "http://",
            "http:///x",
            "http://a:0/",
            "http://a:99999/",
            "http://a b/",
            "http://a[b]:1/",
            "http://[a]/",
            "http://a%:1/",
            "http://%61/",
            "http://a/ä",
            "http://a/\u{85}",
        ] {
            assert!(bad.parse::<Url>().is_err(), "{bad}");
        }
        let error = "http://ann:secret@a/".parse::<Url>().unwrap_err().to_string();
        assert!(!error.contains("secret") && error.contains("credentials"), "{error}");
    }

    #[test]
    fn redirects_are_understood_from_where_one_is() {
        let here = url("https://a:1/b/c?d");
        for (location, there) in [
            ("http://x/y", "http://x/y"),
            ("//x/y", "https://x/y"),
            ("/y?z", "https://a:1/y?z"),
            ("e", "https://a:1/b/e"),
            ("?q", "https://a:1/b/c?q"),
            ("/y#part", "https://a:1/y"),
        ] {
            assert_eq!(here.join(location).unwrap().to_string(), there, "{location}");
        }
    }

    #[test]
    fn queries_are_encoded() {
        let asked =
            url("http://p:9090/api/v1/query").with_query("query", "up{a=~\"b|c\"} > 1").with_query("t", "1");
        assert_eq!(asked.path(), "/api/v1/query?query=up%7Ba%3D~%22b%7Cc%22%7D%20%3E%201&t=1");
    }
}
