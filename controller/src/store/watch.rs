//! What a watcher holds: changes in order, then perhaps one gap, then the end.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use longshore_common::ids::Revision;
use tokio::sync::mpsc;
use tokio_stream::Stream;

use super::{Entry, Key};

/// How many commits may wait for one watcher. A watcher that is further behind gets a gap and lists again,
/// which costs it one read; the bound keeps a stuck watcher from holding the store's memory.
pub const WATCH_QUEUE_COMMITS: usize = 256;

/// What a watch yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchEvent {
    /// What one commit changed below the watched prefix; never empty. Revisions only rise.
    Changes(Changes),
    /// Changes were missed, and the watch is over: list again, and watch after the listing's revision.
    Gap,
}

/// What one commit changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The commit's revision: the right `after` for a watch that continues from here.
    pub revision: Revision,
    /// In the order of keys, no key twice.
    pub changes: Vec<Change>,
}

/// What became of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Put(Entry),
    Deleted(Key),
}

/// Every change below a prefix, in order. Ends after a gap, or when the store is closed.
pub struct Watch {
    /// What had already happened when the watch began.
    replay: VecDeque<Changes>,
    live: mpsc::Receiver<Changes>,
    /// Set before the sender is dropped when the queue ran over.
    missed: Arc<AtomicBool>,
    ended: bool,
}

/// The sending half of a watch.
#[derive(Debug)]
pub(super) struct WatchSender {
    queue: mpsc::Sender<Changes>,
    missed: Arc<AtomicBool>,
}

/// Whether a watcher still wants changes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Watching {
    Yes,
    /// It went away, or fell too far behind and has been told so.
    No,
}

impl Change {
    pub fn key(&self) -> &Key {
        match self {
            Change::Put(entry) => &entry.key,
            Change::Deleted(key) => key,
        }
    }

    /// What lies under the key now.
    pub fn value(&self) -> Option<&Bytes> {
        match self {
            Change::Put(entry) => Some(&entry.value),
            Change::Deleted(_) => None,
        }
    }
}

impl Watch {
    /// A watch that first yields `replay` and then what is sent.
    pub(super) fn replaying(replay: VecDeque<Changes>) -> (WatchSender, Watch) {
        let (queue, live) = mpsc::channel(WATCH_QUEUE_COMMITS);
        let missed = Arc::new(AtomicBool::new(false));
        let watch = Watch { replay, live, missed: missed.clone(), ended: false };
        (WatchSender { queue, missed }, watch)
    }

    /// A watch that yields one gap: what it asked for is no longer known.
    pub(super) fn gapped() -> Watch {
        let (sender, watch) = Watch::replaying(VecDeque::new());
        sender.miss();
        watch
    }

    /// The next event, or `None` after a gap and when the store is closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<WatchEvent> {
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<WatchEvent>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(changes) = self.replay.pop_front() {
            return Poll::Ready(Some(WatchEvent::Changes(changes)));
        }
        if let Some(changes) = ready!(self.live.poll_recv(cx)) {
            return Poll::Ready(Some(WatchEvent::Changes(changes)));
        }
        self.ended = true;
        Poll::Ready(self.missed.load(Ordering::Acquire).then_some(WatchEvent::Gap))
    }
}

impl Stream for Watch {
    type Item = WatchEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<WatchEvent>> {
        self.poll_event(cx)
    }
}

impl WatchSender {
    /// Queue what a commit changed. Never waits.
    pub(super) fn send(&self, changes: Changes) -> Watching {
        match self.queue.try_send(changes) {
            Ok(()) => Watching::Yes,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.missed.store(true, Ordering::Release);
                Watching::No
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Watching::No,
        }
    }

    /// Whether the watcher has gone away.
    pub(super) fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// End the watch with a gap.
    fn miss(self) {
        self.missed.store(true, Ordering::Release);
    }
}
