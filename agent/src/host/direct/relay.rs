//! Sockets of our own: a small process holds an app's public sockets and hands each connection to the side that is
//! due. It is supervised like an app, outlives the agent, and is told over a socket in its folder.
//!
//! It moves connections, not requests: one that is open stays with its side until either end closes it. Bytes are
//! copied, so the app sees the relay's address and not the client's.

mod serve;

use std::{
    fs::File,
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use longshore_common::{durable::write_atomic, report::Failure, traffic::Side};
use serde::{Deserialize, Serialize};
use tokio::{net::UnixStream, time::timeout};

use super::{ANSWER, Addresses, failure};
use crate::host::process::protocol;

pub use serve::main;

/// Where connections are handed to; on the disk, so that a relay that is started again goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Targets {
    pub blue: String,
    pub green: String,
    /// Percent of new connections that go to green.
    pub share: u8,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Ask {
    /// Read the file again.
    Load,
    Status,
}

/// What it does now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub targets: Targets,
    pub active_blue: u64,
    pub active_green: u64,
}

impl Status {
    pub fn active(&self, side: Side) -> u64 {
        match side {
            Side::Blue => self.active_blue,
            Side::Green => self.active_green,
        }
    }
}

const FILE: &str = "targets.json";
const SOCKET: &str = "relay.sock";

/// Writes down where connections go from now on; for a relay that is to be started, or to be told.
pub fn write(folder: &Path, green: u8, addresses: &Addresses) -> Result<(), Failure> {
    let Addresses { blue, green: to_green } = addresses.clone();
    let targets = Targets { blue, green: to_green, share: green };
    let bytes = serde_json::to_vec(&targets).expect("plain words and numbers");
    write_atomic(&folder.join(FILE), &bytes, 0o600)
        .map_err(|e| failure(format!("write where connections go: {}", longshore_common::chain::Chain(&e))))
}

/// Tells the relay to read the file, and hears what it does now.
pub async fn load(folder: &Path) -> Result<Status, Failure> {
    ask(folder, &Ask::Load).await
}

pub async fn status(folder: &Path) -> Result<Status, Failure> {
    ask(folder, &Ask::Status).await
}

async fn ask(folder: &Path, ask: &Ask) -> Result<Status, Failure> {
    let talk = async {
        let door = Door::of(folder)?;
        let mut stream = UnixStream::connect(door.path()).await?;
        protocol::write(&mut stream, ask).await?;
        protocol::read::<Status>(&mut stream).await
    };
    match timeout(ANSWER, talk).await {
        Ok(Ok(status)) => Ok(status),
        Ok(Err(e)) => Err(failure(format!("the relay that holds the app's sockets cannot be asked: {e}"))),
        Err(_) => Err(failure("the relay that holds the app's sockets does not answer")),
    }
}

/// Its socket, through a descriptor of its folder: the path may be longer than a socket address can be.
struct Door(File);

impl Door {
    fn of(folder: &Path) -> io::Result<Self> {
        File::open(folder).map(Self)
    }

    fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}/{SOCKET}", self.0.as_raw_fd()).into()
    }
}
