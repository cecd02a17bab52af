//! Directing an app's traffic between its sides: by sockets of our own (`relay`), HAProxy or nginx.
//!
//! Each can be told a split, says what it does now, and can say when the last connections to a side have ended. What
//! was told last is kept on the disk (`kept`), as is when, so that a side stays warm over a start of the agent.

pub mod haproxy;
pub mod kept;
pub mod nginx;
pub mod relay;

use std::{path::PathBuf, time::Duration};

use longshore_common::{
    code::Code,
    ids::HostName,
    report::{Failure, StepName},
    traffic::{BackendName, Side},
};

use super::fault;

/// Between two looks at something that takes its time.
const LOOK: Duration = Duration::from_millis(100);
/// For one question to a director.
const ANSWER: Duration = Duration::from_secs(5);
/// For one that only looks how traffic goes: the host is looked at whenever it says how it stands, its first word to the
/// controller included, and one that hangs must not keep it from that.
const GLANCE: Duration = Duration::from_secs(1);

/// Where directors are on this host: from `agent.toml`, never from the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directors {
    /// HAProxy's runtime socket, of level admin.
    pub haproxy: PathBuf,
    /// nginx, with the arguments that it always gets.
    pub nginx: Vec<String>,
    /// Where upstream files are written; nginx includes `*.conf` of it.
    pub nginx_folder: PathBuf,
}

impl Default for Directors {
    fn default() -> Self {
        Self {
            haproxy: "/run/haproxy/admin.sock".into(),
            nginx: vec!["/usr/sbin/nginx".into()],
            nginx_folder: "/etc/nginx/longshore".into(),
        }
    }
}

/// Where each side listens, as this host reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub blue: String,
    pub green: String,
}

impl Addresses {
    pub fn of(&self, side: Side) -> &str {
        match side {
            Side::Blue => &self.blue,
            Side::Green => &self.green,
        }
    }
}

fn failure(words: impl Into<String>) -> Failure {
    fault::host(Code::L01, StepName::Traffic, words)
}

/// Of hosts that were directed before and will be no more.
pub fn loses_its_traffic<'a>(
    at: &str,
    backend: &BackendName,
    hosts: impl IntoIterator<Item = &'a HostName>,
) -> Option<String> {
    let names: Vec<&str> = hosts.into_iter().map(HostName::as_str).collect();
    (!names.is_empty()).then(|| {
        let names = names.join(", ");
        format!("{at} sends traffic of {backend} to hosts that are no longer of this environment: {names}. They will get none")
    })
}
