//! Every line of the app: into the file, and to whoever follows.

use std::{path::PathBuf, sync::Mutex};

use longshore_common::{
    slot::Slot,
    time::{Clock, SystemClock},
};
use tokio::sync::broadcast;

use crate::host::{
    Stream,
    process::{log::Appender, protocol::Entry},
};

/// A follower that is slower than this many lines misses some.
const FOLLOWED_LINES: usize = 256;

pub struct Journal {
    file: Mutex<Appender>,
    followers: broadcast::Sender<Entry>,
}

impl Journal {
    pub fn open(path: PathBuf) -> std::io::Result<Self> {
        Ok(Self { file: Mutex::new(Appender::open(path)?), followers: broadcast::channel(FOLLOWED_LINES).0 })
    }

    /// A line of what runs from that slot.
    pub fn append(&self, stream: Stream, text: String, slot: &Slot) {
        let entry = Entry { time_ms: SystemClock.now_ms(), stream, text };
        // A full disk costs log lines, never the app.
        let _ = self.file.lock().expect("no holder panics").append(&entry, slot);
        // Mostly nobody follows.
        let _ = self.followers.send(entry);
    }

    pub fn follow(&self) -> broadcast::Receiver<Entry> {
        self.followers.subscribe()
    }
}
