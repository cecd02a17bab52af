//! Where the passphrase of keys comes from: a secret of CI's environment, a file, or whoever sits at the terminal.

use std::{
    fmt,
    fs::File,
    io::{self, IsTerminal as _, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::cli::{exit::Exit, failure::Failure};

pub const VARIABLE: &str = "LONGSHORE_KEY_PASSPHRASE";
pub const FILE_VARIABLE: &str = "LONGSHORE_KEY_PASSPHRASE_FILE";
/// Bytes; more is a mistake.
const LONGEST: usize = 1024;
/// Characters of a new one.
const SHORTEST: usize = 8;

/// Asked for once a run. Never shown.
#[derive(Clone, Default)]
pub struct Passphrase {
    pub given: Option<String>,
    pub file: Option<PathBuf>,
    known: Arc<Mutex<Option<String>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// It opens a key that is there.
    Opening,
    /// It will protect a new key: typed twice, and not too short.
    Sealing,
}

/// A pipe as well, `<(pass show deploy)`; a little more than the longest, by which that shows.
fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(LONGEST as u64 + 3).read_to_string(&mut text)?;
    Ok(text)
}

impl Passphrase {
    pub fn new(given: Option<String>, file: Option<PathBuf>) -> Self {
        Self { given, file, known: Arc::default() }
    }

    pub fn get(&self, purpose: For, key: &str) -> Result<String, Failure> {
        let mut known = self.known.lock().expect("no holder panics");
        if let Some(known) = known.as_ref() {
            return Ok(known.clone());
        }
        let got = match (&self.given, &self.file) {
            (Some(given), _) => given.clone(),
            (None, Some(file)) => {
                let text = read(file).map_err(|e| {
                    Failure::usage(format!("read the passphrase from {}: {e}", file.display()))
                })?;
                text.trim_end_matches(['\r', '\n']).to_owned()
            }
            (None, None) => ask(purpose, key)?,
        };
        if got.len() > LONGEST || (purpose == For::Sealing && got.chars().count() < SHORTEST) {
            return Err(Failure::usage(format!("a passphrase has {SHORTEST} characters or more")));
        }
        *known = Some(got.clone());
        Ok(got)
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase")
    }
}

fn ask(purpose: For, key: &str) -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "the key \"{key}\" needs its passphrase, and there is no terminal to ask at"
        ))
        .next(format!("give it in {VARIABLE}, or the file that it lies in, in {FILE_VARIABLE}")));
    }
    match purpose {
        For::Opening => typed(&format!("Passphrase of the key \"{key}\": ")),
        For::Sealing => {
            let first = typed(&format!("New passphrase for the key \"{key}\": "))?;
            if typed("The same again: ")? == first {
                Ok(first)
            } else {
                Err(Failure::usage("the two are not the same; nothing was made"))
            }
        }
    }
}

/// A line that the terminal does not show.
fn typed(prompt: &str) -> Result<String, Failure> {
    let failed = |e: &dyn fmt::Display| Failure::new(Exit::Failed, format!("ask for the passphrase: {e}"));
    let stdin = io::stdin();
    let shown = tcgetattr(&stdin).map_err(|e| failed(&e))?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    eprint!("{prompt}");
    io::stderr().flush().map_err(|e| failed(&e))?;
    tcsetattr(&stdin, OptionalActions::Flush, &hidden).map_err(|e| failed(&e))?;
    let mut line = String::new();
    let read = stdin.read_line(&mut line);
    tcsetattr(&stdin, OptionalActions::Flush, &shown).map_err(|e| failed(&e))?;
    eprintln!();
    read.map_err(|e| failed(&e))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
