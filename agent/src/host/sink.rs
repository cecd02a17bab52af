//! Where a step says what it is doing while it does it.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use longshore_common::time::Millis;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    pub fn as_str(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// Bytes are 0 where there is nothing to count. Said as often as convenient: the listener thins it out.
    Progress { done: u64, total: u64, detail: String },
    Line {
        /// A hook's name, `app`, or a probe's name.
        source: String,
        stream: Stream,
        line: String,
        /// None: now.
        time_ms: Option<Millis>,
    },
}

/// Never blocks and never fails: whoever listens too slowly misses some.
#[derive(Clone)]
pub struct Sink(Arc<dyn Fn(Event) + Send + Sync>);

impl Sink {
    pub fn new(listener: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }

    /// Nobody listens.
    pub fn nowhere() -> Self {
        Self::new(drop)
    }

    /// Keeps everything, for tests and for answers.
    pub fn collecting() -> (Self, Arc<Mutex<Vec<Event>>>) {
        let events = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&events);
        (Self::new(move |event| kept.lock().expect("no holder panics").push(event)), events)
    }

    pub fn progress(&self, done: u64, total: u64, detail: impl Into<String>) {
        (self.0)(Event::Progress { done, total, detail: detail.into() });
    }

    pub fn line(&self, source: &str, stream: Stream, line: impl Into<String>) {
        (self.0)(Event::Line { source: source.to_owned(), stream, line: line.into(), time_ms: None });
    }

    pub fn send(&self, event: Event) {
        (self.0)(event);
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sink")
    }
}
