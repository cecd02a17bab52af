//! What the agent and a supervisor say to each other: one question on a connection, then its answer; each a length
//! and JSON. Both ends may be of different versions of this program, so fields are only ever added.

use std::io;

use longshore_common::{slot::Slot, time::Millis};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::host::{Stream, launch::LaunchSpec, unit::UnitStatus};

/// Larger than a service with the largest manifest.
const MESSAGE_BYTES: u32 = 1 << 20;

/// Everything a supervisor has to know to run one slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    pub slot: Slot,
    pub launch: LaunchSpec,
    /// Addresses or paths, in the order in which the app gets them.
    pub sockets: Vec<String>,
    pub stop_signal: i32,
    pub grace_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// Run this instead of what runs. Answered when it runs and the old one has ended.
    Start(Box<Service>),
    /// Stop the app, let go of its sockets, and end. Answered when the app has ended.
    Stop,
    Status,
    /// Answered with `Line` for every further line, for as long as the connection lasts.
    Follow,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    Done,
    Trouble(Trouble),
    /// None: nothing was started yet.
    Status(Option<UnitStatus>),
    Line(Entry),
}

/// Why something could not be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// The program is at fault.
    Program(String),
    /// This machine is.
    Host(String),
}

/// A line of the app's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub time_ms: Millis,
    #[serde(with = "stream_word")]
    pub stream: Stream,
    pub text: String,
}

pub async fn write(to: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    let mut frame = (body.len() as u32).to_be_bytes().to_vec();
    frame.extend(body);
    to.write_all(&frame).await?;
    to.flush().await
}

pub async fn read<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<T> {
    let length = from.read_u32().await?;
    if length > MESSAGE_BYTES {
        return Err(io::Error::other(format!("a message of {length} bytes")));
    }
    let mut body = vec![0; length as usize];
    from.read_exact(&mut body).await?;
    Ok(serde_json::from_slice(&body)?)
}

mod stream_word {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::host::Stream;

    pub fn serialize<S: Serializer>(stream: &Stream, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(stream.as_str())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Stream, D::Error> {
        let word = String::deserialize(from)?;
        Ok(if word == Stream::Stderr.as_str() { Stream::Stderr } else { Stream::Stdout })
    }
}
