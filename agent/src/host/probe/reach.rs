//! One look at something on the network of this host.

use std::{net::Ipv4Addr, time::Duration};

use longshore_common::{headers::Headers, loopback::on_own_loopback, manifest::Check};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpStream, time::timeout};

use super::http;

/// Longest that one look may take, whoever asks.
const LONGEST: Duration = Duration::from_secs(300);

/// What is to answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "by", deny_unknown_fields)]
pub enum Reach {
    Http {
        url: String,
        status: Option<u16>,
        #[serde(default, skip_serializing_if = "Headers::is_empty")]
        headers: Headers,
    },
    Tcp {
        address: String,
    },
}

impl Reach {
    /// None: it is a program that looks. `own`: what 127.0.0.1 means, where several agents share a machine.
    pub fn of(check: &Check, own: Option<Ipv4Addr>) -> Option<Self> {
        let here = |address: &str| own.map_or(address.to_owned(), |own| on_own_loopback(address, own));
        match check {
            Check::Http { url, status, headers } => {
                Some(Reach::Http { url: here(url), status: *status, headers: headers.clone() })
            }
            Check::Tcp { address } => Some(Reach::Tcp { address: here(address) }),
            Check::Exec { .. } => None,
        }
    }

    /// From this process. The error is one short sentence.
    pub async fn here(&self) -> Result<(), String> {
        let looked = async {
            match self {
                Reach::Http { url, status, headers } => http::get(url, headers, *status).await,
                Reach::Tcp { address } => {
                    let connected = TcpStream::connect(address).await;
                    connected.map(drop).map_err(|e| format!("connect to {address}: {e}"))
                }
            }
        };
        timeout(LONGEST, looked).await.unwrap_or_else(|_| Err("no answer".to_owned()))
    }
}
