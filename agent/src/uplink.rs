//! The way to the controller, for whoever needs to ask it something: the session keeps it up to date.

use tokio::sync::watch;
use tonic::transport::Channel;

/// Cheap to clone. Holds the channel of the live session; the same one serves Session, Blobs and Renewal.
#[derive(Clone, Debug)]
pub struct Uplink(watch::Receiver<Option<Channel>>);

/// The session's end of it.
pub type UplinkSender = watch::Sender<Option<Channel>>;

/// The agent is shutting down: no connection will come any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the agent is shutting down")]
pub struct Closed;

impl Uplink {
    pub fn new() -> (UplinkSender, Self) {
        let (sender, receiver) = watch::channel(None);
        (sender, Self(receiver))
    }

    /// Always the same channel, for tests and tools.
    pub fn fixed(channel: Channel) -> (UplinkSender, Self) {
        let (sender, receiver) = watch::channel(Some(channel));
        (sender, Self(receiver))
    }

    /// The channel of a live session. Waits while the controller is away; the caller's deadline bounds the wait.
    pub async fn channel(&self) -> Result<Channel, Closed> {
        let mut receiver = self.0.clone();
        let channel = receiver.wait_for(Option::is_some).await.map_err(|_| Closed)?;
        Ok(channel.clone().expect("waited until there is one"))
    }

    pub fn is_connected(&self) -> bool {
        self.0.borrow().is_some()
    }
}
