//! Whether this host takes new work: what an admin said over the socket, and a file that stops it without the agent.
//!
//! The file is looked at whenever something new would begin, so it counts from the moment that it is there.

use std::{
    io::{self, ErrorKind, Read as _},
    path::{Path, PathBuf},
    sync::OnceLock,
    time::{Duration, UNIX_EPOCH},
};

use longshore_common::{
    ledger::Batch,
    regular::{self, Links},
    text::visible,
    time::Millis,
    wire::cut,
};
use tokio::sync::watch;

use super::{Event, Row, State, StateFailed, encode, held_by, keys};
use crate::plan::{Hold, HoldKind};

/// Between two looks at the file, for those who are told of a change.
const LOOK: Duration = Duration::from_secs(2);
/// Bytes of its first line.
const REASON_BYTES: usize = 500;

/// `/etc/longshore/HOLD`; none until the agent says where its root is.
#[derive(Debug, Default)]
pub(super) struct HoldFile(OnceLock<PathBuf>);

impl HoldFile {
    fn read(&self) -> Option<Hold> {
        read(self.0.get()?)
    }
}

impl State {
    /// Why this host takes no new work, looked at afresh: the file is shown before a drain, and a drain before what an
    /// admin said.
    pub fn hold(&self) -> Option<Hold> {
        self.hold_file.read().or_else(|| self.mirror().held())
    }

    /// What holds it also against an admin who deploys despite a hold: apps of a drained host stay stopped.
    pub fn drained(&self) -> Option<Hold> {
        self.mirror().drain.as_ref().map(held_by)
    }

    /// From now on the host is held while this file is there.
    pub fn hold_while(&self, file: PathBuf) {
        drop(self.hold_file.0.set(file)); // it is set once, at the start
        self.tell_hold();
    }

    /// Whether anything changed. `by` is who wants it so.
    pub async fn set_hold(&self, hold: Option<Hold>, by: &str) -> Result<bool, StateFailed> {
        if self.mirror().hold.is_some() == hold.is_some() {
            return Ok(false);
        }
        let (batch, event) = match &hold {
            Some(hold) => (Batch::new().put(keys::HOLD, encode(hold)), Event::Held),
            None => (Batch::new().delete(keys::HOLD), Event::Unheld),
        };
        let reason = hold.as_ref().map(|hold| hold.reason.clone()).unwrap_or_default();
        let row = Row::of_host(self.now_ms(), event, reason, by.to_owned());
        let batch = self.mirror().history.append(batch, &row);
        self.ledger.commit(batch).await?;
        self.mirror().hold = hold;
        self.tell_hold();
        Ok(true)
    }

    /// Tells of every change of the hold.
    pub fn watch_hold(&self) -> watch::Receiver<Option<Hold>> {
        self.hold.subscribe()
    }

    /// Until it is dropped: tells when the file has come or gone.
    pub async fn watch_hold_file(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.tell_hold();
        }
    }

    pub(super) fn tell_hold(&self) {
        let now = self.hold();
        let changed = |known: &mut Option<Hold>| {
            let news = *known != now;
            known.clone_from(&now);
            news
        };
        if self.hold.send_if_modified(changed) {
            tracing::warn!(held = now.is_some(), "the hold of this host has changed");
        }
    }
}

/// Its first line is the reason. One that is there and cannot be read holds as well.
fn read(path: &Path) -> Option<Hold> {
    let itself = match std::fs::symlink_metadata(path) {
        Ok(itself) => itself,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return None,
        Err(error) => return Some(held(path, &format!("it cannot be looked at: {error}"), 0)),
    };
    let reason = first_line(path).unwrap_or_else(|error| format!("it cannot be read: {error}"));
    let about = std::fs::metadata(path).unwrap_or(itself);
    let since = about.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    Some(held(path, &reason, since.map_or(0, |since| since.as_millis() as Millis)))
}

fn first_line(path: &Path) -> io::Result<String> {
    let mut text = vec![];
    regular::open(path, Links::Followed)?.take(REASON_BYTES as u64).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

fn held(path: &Path, reason: &str, since_ms: Millis) -> Hold {
    let reason = if reason.is_empty() { "no reason given" } else { reason };
    Hold {
        reason: cut(&visible(reason), REASON_BYTES),
        by: path.display().to_string(),
        since_ms,
        kind: HoldKind::File,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_file_holds_while_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("HOLD");
        assert_eq!(read(&path), None);
        assert_eq!(read(&dir.path().join("no/such/HOLD")), None);
        File::create(&path).unwrap();
        let empty = read(&path).unwrap();
        assert_eq!((empty.reason.as_str(), empty.by), ("no reason given", path.display().to_string()));
        longshore_common::durable::write_atomic(&path, b"raid \x1b[31m rebuild\nmore", 0o644).unwrap();
        assert_eq!(read(&path).unwrap().reason, "raid \\x1b[31m rebuild");
    }

    /// Whatever stands there holds, and nobody waits for it.
    #[test]
    fn what_cannot_be_read_holds_as_well_and_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::os::unix::fs::symlink("HOLD", at("HOLD")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("lost")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), 0o600.into()).unwrap();
        let says = |name: &str, why: &str| {
            let told = read(&at(name)).unwrap().reason;
            assert!(told.starts_with(&format!("it cannot be read: {why}")), "{name}: {told}");
        };
        says("HOLD", "");
        says("lost", "it is a link to nowhere");
        says("pipe", "it is a FIFO");
        says("", "it is a folder");
    }

    #[tokio::test]
    async fn whoever_watches_is_told_when_the_file_comes_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let clock = std::sync::Arc::new(longshore_common::time::SystemClock);
        let state = State::open(&dir.path().join("state"), clock).await.unwrap();
        let path = dir.path().join("HOLD");
        File::create(&path).unwrap();
        let mut told = state.watch_hold();
        state.hold_while(path.clone());
        told.changed().await.unwrap();
        assert_eq!(state.hold().unwrap().by, path.display().to_string());
        assert_eq!(*told.borrow_and_update(), state.hold());
        std::fs::remove_file(&path).unwrap();
        tokio::select! {
            () = state.watch_hold_file() => unreachable!("it watches until it is dropped"),
            changed = told.changed() => changed.unwrap(),
        }
        assert_eq!((told.borrow_and_update().clone(), state.hold()), (None, None));
        state.close().await;
    }
}
