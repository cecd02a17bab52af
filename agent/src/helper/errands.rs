//! The helper's half of errands: it says what it wants, and whoever is attached brings it on a connection of its own.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use longshore_common::code::{Code, Coded};
use prost::Message;
use tokio::{
    net::UnixStream,
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    flow::{Cut, Inflow},
    frame::{self, Frame, FrameError, SAY_BYTES},
    words::{Ended, Errand},
};
use crate::host::{fetch::FetchError, probe::Reach};

/// Errands that are under way at the same time; far more than all apps of a host ask for.
const UNDER_WAY: usize = 256;
/// Between two pieces. The agent's own deadlines on the controller are shorter; waiting for a controller that is away
/// is bounded by the step.
const SILENCE: Duration = Duration::from_secs(30 * 60);

/// For the agent to say whether it has a session.
const ONLINE: Duration = Duration::from_secs(10);

/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Courier(Arc<Mutex<Board>>);

#[derive(Debug, Default)]
struct Board {
    last: u64,
    /// Who is attached; the number says since which attachment.
    attached: Option<mpsc::UnboundedSender<(u64, Errand)>>,
    waiting: BTreeMap<u64, (Errand, oneshot::Sender<UnixStream>)>,
}

impl Courier {
    /// Sent out from now on, what waits already first. Whoever was attached before hears the end of its errands.
    pub fn attach(&self) -> mpsc::UnboundedReceiver<(u64, Errand)> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut board = self.board();
        board.waiting.retain(|_, (_, wanted)| !wanted.is_closed());
        for (ticket, (errand, _)) in &board.waiting {
            // Its receiver lives as long as this function.
            let _ = sender.send((*ticket, errand.clone()));
        }
        board.attached = Some(sender);
        receiver
    }

    /// A connection that brings what this ticket is for. Refused when nobody waits for it.
    pub fn deliver(&self, ticket: u64, stream: UnixStream) -> Result<(), Coded> {
        let waiting = self.board().waiting.remove(&ticket);
        let unknown = || Coded::new(Code::N01, "nobody waits for this errand. Nothing was changed");
        let (_, wanted) = waiting.ok_or_else(unknown)?;
        wanted.send(stream).map_err(|_| unknown())
    }

    /// Pieces come as long as this is held.
    pub async fn send(&self, errand: Errand) -> Result<Parcels, FetchError> {
        Ok(Parcels { stream: self.connect(errand).await? })
    }

    /// An errand that brings content, for a thread that may block.
    pub async fn flow(&self, errand: Errand) -> Result<(Inflow, Cut), FetchError> {
        let flow = Inflow::of(self.connect(errand).await?, SILENCE);
        flow.map_err(|e| FrameError::Broken(e).into())
    }

    async fn connect(&self, errand: Errand) -> Result<UnixStream, FetchError> {
        let (ticket, coming) = self.post(errand)?;
        let waiting = Waiting { courier: self, ticket };
        let stream = coming.await.map_err(|_| cut("the errand was given up"))?;
        drop(waiting);
        Ok(stream)
    }

    /// An errand that brings one message.
    pub async fn one<T: Message + Default>(&self, errand: Errand) -> Result<T, FetchError> {
        let mut parcels = self.send(errand).await?;
        let message = parcels.next().await?.ok_or_else(|| cut("the agent brought nothing"))?;
        match parcels.next::<T>().await? {
            None => Ok(message),
            Some(_) => Err(cut("the agent brought more than was asked for")),
        }
    }

    pub async fn reach(&self, reach: Reach) -> Result<(), String> {
        self.look(Errand::Reach { reach }).await
    }

    /// Whether the controller is there, by the agent's word; one that does not answer has none.
    pub async fn is_online(&self) -> bool {
        matches!(timeout(ONLINE, self.look(Errand::Online {})).await, Ok(Ok(())))
    }

    async fn look(&self, errand: Errand) -> Result<(), String> {
        let parcels = self.send(errand).await;
        let mut parcels = parcels.map_err(|e| e.to_string())?;
        match parcels.frame().await.map_err(|e| e.to_string())? {
            Frame::Word(body) => match serde_json::from_slice(&body) {
                Ok(Ended::Reached { problem }) => problem.map_or(Ok(()), Err),
                Ok(Ended::Brought {} | Ended::Failed(_)) | Err(_) => Err("the agent did not say".to_owned()),
            },
            Frame::Piece(_) => Err("the agent did not say".to_owned()),
        }
    }

    fn post(&self, errand: Errand) -> Result<(u64, oneshot::Receiver<UnixStream>), FetchError> {
        let (wanted, coming) = oneshot::channel();
        let mut board = self.board();
        if board.waiting.len() >= UNDER_WAY {
            return Err(cut("too many errands wait for the agent"));
        }
        board.last += 1;
        let ticket = board.last;
        if let Some(attached) = &board.attached {
            // One that has just gone is followed by another, which is told of everything that waits.
            let _ = attached.send((ticket, errand.clone()));
        }
        board.waiting.insert(ticket, (errand, wanted));
        Ok((ticket, coming))
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.lock().expect("no holder panics")
    }
}

/// Takes the ticket back when nobody waits any more.
struct Waiting<'a> {
    courier: &'a Courier,
    ticket: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.courier.board().waiting.remove(&self.ticket);
    }
}

/// What an errand brings. Dropped early, the agent sees the connection end and stops.
#[derive(Debug)]
pub struct Parcels {
    stream: UnixStream,
}

impl Parcels {
    /// None: that was all.
    pub async fn next<T: Message + Default>(&mut self) -> Result<Option<T>, FetchError> {
        match self.frame().await? {
            Frame::Piece(body) => {
                let bad = |e| Coded::new(Code::A05, format!("what the agent brought does not read: {e}"));
                Ok(Some(T::decode(&body[..]).map_err(bad)?))
            }
            Frame::Word(body) => Ended::of(&body).map(|()| None),
        }
    }

    async fn frame(&mut self) -> Result<Frame, FetchError> {
        let read = timeout(SILENCE, frame::read(&mut self.stream, SAY_BYTES)).await;
        let frame = read.map_err(|_| cut("the agent brings nothing any more"))??;
        frame.ok_or_else(|| cut("the agent ended before everything had come"))
    }
}

impl From<FrameError> for FetchError {
    fn from(error: FrameError) -> Self {
        cut(&error.coded().message)
    }
}

fn cut(why: &str) -> FetchError {
    FetchError::Cut(Coded::new(Code::C01, why))
}
