//! Other programs, with a deadline: run one to its end, or hold one that runs beside the test.

use std::fmt;
use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::{Result, Trouble, Within};

/// Between two looks at a condition. Short, because tests add these up; not zero, because two cores are shared.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// How long the pipes of a program that ended may stay open (a grandchild may hold them) before we read on without.
const PIPES_AFTER_EXIT: Duration = Duration::from_secs(30);

/// Looks until the condition gives something, or fails with `what` at the deadline.
pub fn until<T>(
    deadline: Duration,
    what: impl fmt::Display,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if start.elapsed() >= deadline {
            return Err(Trouble::new(format!("waited {deadline:?} in vain: {what}")));
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// Runs a program to its end. A program that outlives the deadline is killed and is an error.
pub fn run(command: &mut Command, deadline: Duration) -> Result<Output> {
    Process::start(command)?.wait(deadline)
}

/// What a program left behind.
#[derive(Clone)]
pub struct Output {
    /// What was run, for messages.
    pub command: String,
    /// None when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The standard output of a program that ended with 0; anything else is an error that shows all there is.
    pub fn success(self) -> Result<String> {
        self.code_is(0).map(|output| output.stdout)
    }

    /// The output, when the exit code is the one expected.
    pub fn code_is(self, expected: i32) -> Result<Self> {
        if self.code == Some(expected) {
            Ok(self)
        } else {
            Err(Trouble::new(format!("{self} (expected {expected})")))
        }
    }

    /// Both streams, for looking something up in.
    pub fn everything(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ended = self.code.map_or("a signal".to_owned(), |code| format!("exit code {code}"));
        write!(f, "`{}` ended with {ended}", self.command)?;
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.trim().is_empty() {
                write!(f, "\n--- {name}\n{}", text.trim_end())?;
            }
        }
        Ok(())
    }
}

/// A program that runs beside the test. Killed when dropped.
pub struct Process {
    command: String,
    child: Child,
    stdout: Drain,
    stderr: Drain,
}

impl Process {
    pub fn start(command: &mut Command) -> Result<Self> {
        let shown = shown(command);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .within(|| format!("start `{shown}`"))?;
        let stdout = Drain::of(child.stdout.take().expect("piped above"));
        let stderr = Drain::of(child.stderr.take().expect("piped above"));
        Ok(Self { command: shown, child, stdout, stderr })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Both streams so far.
    pub fn so_far(&self) -> String {
        format!("{}{}", self.stdout.text(), self.stderr.text())
    }

    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.status()?.is_some())
    }

    /// Waits until what the program printed holds `needle`; an error when it ends before, or at the deadline.
    pub fn until_it_says(&mut self, needle: &str, deadline: Duration) -> Result<()> {
        let found = until(deadline, format!("`{needle}` from `{}`", self.command), || {
            if self.so_far().contains(needle) {
                return Ok(Some(()));
            }
            match self.status()? {
                // It may have printed the words and ended between our two looks.
                Some(_) if self.so_far().contains(needle) => Ok(Some(())),
                Some(status) => Err(Trouble::new(format!("`{}` ended early ({status})", self.command))),
                None => Ok(None),
            }
        });
        found.within(|| format!("so far:\n{}", self.so_far()))
    }

    /// Waits for the end. Past the deadline the program is killed and that is an error.
    pub fn wait(mut self, deadline: Duration) -> Result<Output> {
        let waited = until(deadline, format!("the end of `{}`", self.command), || self.status());
        let status = match waited {
            Ok(status) => status,
            Err(trouble) => {
                self.kill()?;
                return Err(trouble).within(|| format!("killed; so far:\n{}", self.so_far()));
            }
        };
        Ok(Output {
            command: std::mem::take(&mut self.command),
            code: status.code(),
            stdout: self.stdout.after_exit(),
            stderr: self.stderr.after_exit(),
        })
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) -> Result<()> {
        if self.status()?.is_none() {
            self.child.kill().within(|| format!("kill `{}`", self.command))?;
            self.child.wait().within(|| format!("reap `{}`", self.command))?;
        }
        Ok(())
    }

    fn status(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().within(|| format!("look after `{}`", self.command))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(trouble) = self.kill() {
            eprintln!("{trouble}");
        }
    }
}

/// Reads a pipe to its end on a thread of its own, so that the program never blocks on us.
struct Drain {
    text: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Drain {
    fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&text);
        let reader = thread::spawn(move || {
            let mut buffer = [0; 8192];
            loop {
                match pipe.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => shared.lock().expect("no holder panics").extend_from_slice(&buffer[..count]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => break, // the pipe is gone, and so is all that could have come through it
                }
            }
        });
        Self { text, reader }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().expect("no holder panics")).into_owned()
    }

    fn after_exit(&self) -> String {
        let finished = || Ok(self.reader.is_finished().then_some(()));
        if until(PIPES_AFTER_EXIT, "the end of a pipe", finished).is_err() {
            eprintln!("a program has ended, but something still holds its pipe open");
        }
        self.text()
    }
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
