//! Whoever reads the tour: goes on with Enter where somebody sits at a terminal, at once where nobody does.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcsetattr};
use tokio::sync::oneshot;

use crate::cli::{demo::world::failed, failure::Failure};

/// Who reads.
#[derive(Debug)]
pub enum Reader {
    /// Reads at their own pace.
    AtTheTerminal {
        /// Held for what it does while it lives.
        _quiet: Quiet,
    },
    /// A pipe, a test, or somebody who said `--yes`.
    Nobody,
}

/// What the reader wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    GoOn,
    Leave,
}

impl Reader {
    /// Whoever sits at standard input, if somebody does.
    pub fn find() -> Result<Self, Failure> {
        if !io::stdin().is_terminal() {
            return Ok(Reader::Nobody);
        }
        Ok(Reader::AtTheTerminal { _quiet: Quiet::begin().map_err(|error| failed(&error))? })
    }

    pub fn is_there(&self) -> bool {
        matches!(self, Reader::AtTheTerminal { .. })
    }

    /// Shows `line` until the reader has seen enough, and takes it away again.
    pub async fn ask(&self, line: &str) -> Result<Wish, Failure> {
        let Reader::AtTheTerminal { .. } = self else { return Ok(Wish::GoOn) };
        // What was typed while something else was to be seen is no answer to this.
        tcflush(io::stdin(), QueueSelector::IFlush).map_err(|error| failed(&error))?;
        put(line)?;
        let said = line_of_stdin().await;
        put("\r\x1b[2K")?;
        Ok(match said {
            Some(said) if !matches!(said.trim(), "q" | "quit" | "exit") => Wish::GoOn,
            Some(_) | None => Wish::Leave,
        })
    }
}

/// A terminal that does not show what is typed, so that an early Enter breaks no picture. As before when it is dropped.
#[derive(Debug)]
pub struct Quiet(Termios);

impl Quiet {
    fn begin() -> rustix::io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL);
        tcsetattr(io::stdin(), OptionalActions::Now, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// On a thread of its own, which a reader who never answers does not keep the program from ending. `None`: nobody is
/// there any more.
async fn line_of_stdin() -> Option<String> {
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line);
        // Nobody waits for it when the tour was interrupted.
        let _ = tell.send(read.ok().filter(|bytes| *bytes > 0).map(|_| line));
    });
    told.await.ok().flatten()
}

fn put(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| failed(&error))
}
