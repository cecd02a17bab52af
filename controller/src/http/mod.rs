//! HTTP from the controller to others: Prometheus, webhooks, endpoints that are probed. Bounded in everything.
//!
//! A call ends within its deadline whatever the other side does: a reply that never ends, one of gigabytes, headers
//! without an end, a redirect in a circle, a connection that says nothing. No more than `max_bytes` of a body are ever
//! held. Every call has its own connection; nothing is pooled, compressed or kept. HTTP/1.1 over TCP, and over TLS 1.2
//! or 1.3 with the system's CAs or a file of the caller's. Errors name the server, never a header or a query: those may
//! hold secrets.

mod hmac;
mod send;
#[cfg(test)]
mod tests;
mod trust;
mod url;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use longshore_common::{headers::Headers, time::Millis};

pub use hmac::{hmac_sha256, signature};
pub use send::call;
pub use trust::{CA_BYTES, Trust};
pub use url::{URL_BYTES, Url};

/// What a body may hold unless the call says otherwise.
pub const BODY_BYTES: usize = 1 << 20;
/// Redirects that are followed unless the call says otherwise.
pub const REDIRECTS: u8 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Post,
}

impl Method {
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
        }
    }
}

/// One question to a server.
#[derive(Clone)]
pub struct Call {
    pub method: Method,
    pub url: Url,
    /// Added are `content-length`, and `host` and `user-agent` where they are not among these. Never printed.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    /// For everything together, redirects and the body's last byte included.
    pub deadline: Duration,
    /// No more of the body is read.
    pub max_bytes: usize,
    pub redirects: u8,
    pub trust: Arc<Trust>,
}

impl Call {
    pub fn get(url: Url, deadline: Duration, trust: Arc<Trust>) -> Self {
        let (headers, body) = (vec![], Bytes::new());
        let (max_bytes, redirects) = (BODY_BYTES, REDIRECTS);
        Self { method: Method::Get, url, headers, body, deadline, max_bytes, redirects, trust }
    }

    /// A POST is not carried to another place: redirects are an error.
    pub fn post(
        url: Url,
        content_type: &str,
        body: impl Into<Bytes>,
        deadline: Duration,
        trust: Arc<Trust>,
    ) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Self {
            method: Method::Post,
            headers,
            body: body.into(),
            redirects: 0,
            ..Self::get(url, deadline, trust)
        }
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Those of a file as well.
    pub fn with(mut self, headers: &Headers) -> Self {
        self.headers.extend(headers.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        self
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub body: Bytes,
    /// The body went on after `max_bytes`, and was cut there.
    pub cut: bool,
    /// In lower case; the first of each name is found by `header`. Values that are no text are left out.
    pub headers: Vec<(String, String)>,
    /// Who answered, after redirects.
    pub url: Url,
    pub peer: SocketAddr,
    /// When the certificate that was shown ends; `None` without TLS.
    pub certificate_ends_ms: Option<Millis>,
    pub took: Duration,
}

impl Reply {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text; what is no UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Why there is no reply. Each names the server.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("\"{url}\" is no URL: {why}")]
    Url { url: String, why: &'static str },
    #[error("find the address of {host}")]
    Resolve {
        host: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{host} has no address")]
    NoAddress { host: String },
    #[error("connect to {server}")]
    Connect {
        server: String,
        #[source]
        source: std::io::Error,
    },
    /// The certificate is not to be believed, or the two have no TLS in common.
    #[error("speak TLS with {server}")]
    Tls {
        server: String,
        #[source]
        source: std::io::Error,
    },
    #[error("speak HTTP with {server}")]
    Http {
        server: String,
        #[source]
        source: hyper::Error,
    },
    #[error("a header that cannot be sent to {server}")]
    Header { server: String },
    #[error("{server} did not answer within {:.1} s", deadline.as_secs_f64())]
    TooLate { server: String, deadline: Duration },
    #[error("{server} redirects more than {max} times")]
    Redirects { server: String, max: u8 },
    #[error("{server} redirects to \"{to}\": {why}")]
    Redirect { server: String, to: String, why: &'static str },
}
