//! `longshore-agent trust …`: how this host knows what may run, and the ways out when that is broken. They work on the
//! files themselves, so that neither the agent nor the controller has to run; both tell of them forever after.

use std::path::Path;

use longshore_common::{
    code::{Code, Coded},
    digest::{ReleaseDigest, sha256},
    regular::{self, Links},
    text::visible,
};

use rustix::fs::Access;

use super::{
    Exit,
    args::{Args, Output, Trust},
    say::say,
    show,
};
use crate::{config::Config, trust::Gate};

/// A root document, when a file is given instead of its digest.
const ROOT_BYTES: usize = longshore_common::trust::ROOT_BYTES;

pub fn trust(args: &Args, wanted: Trust) -> Result<Exit, Coded> {
    let config = Config::load_if_there(&args.config_file(), &args.root)?;
    may_look(&config)?;
    let gate = Gate::new(&config);
    match wanted {
        Trust::Status => {
            let answer = gate.answer();
            let facts = answer.facts.clone().unwrap_or_default();
            match args.output {
                Output::Table => show::tell_repositories(&answer),
                Output::Json => show::json(&show::trust_answer_json(&answer)),
            }
            Ok(if facts.state == "damaged" { Exit::Failed } else { Exit::Done })
        }
        Trust::Recover { app } => {
            may_change(&config)?;
            let done = gate.recover(app.as_str(), &who())?;
            say!("{}; this is reported from now on", visible(&done));
            Ok(Exit::Done)
        }
        Trust::Reset { pin, i_am_on } => {
            let here = rustix::system::uname().nodename().to_string_lossy().into_owned();
            if i_am_on != here {
                let message = format!("this host is \"{}\"; nothing was changed", visible(&here));
                return Err(Coded::new(Code::V01, message));
            }
            may_change(&config)?;
            gate.reset(read_root(&pin)?, &who())?;
            say!("this root is pinned now, and no other; that somebody said so is reported from now on");
            Ok(Exit::Done)
        }
    }
}

/// What cannot be looked at is not damaged.
fn may_look(config: &Config) -> Result<(), Coded> {
    match std::fs::read_dir(config.vault()) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(Coded::new(Code::C02, "only root may look at what this host trusts. Try with sudo"))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Asked before anything is tried, so that whoever may not hears that and not which file could not be written.
fn may_change(config: &Config) -> Result<(), Coded> {
    for folder in [config.vault(), config.trust()] {
        let there = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
        if rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK).is_err() {
            let message = "only root may change what this host trusts; nothing was changed. Try with sudo";
            return Err(Coded::new(Code::C02, message));
        }
    }
    Ok(())
}

/// Its SHA-256, or a file that has it.
fn read_root(given: &str) -> Result<[u8; 32], Coded> {
    if let Ok(digest) = given.parse::<ReleaseDigest>() {
        return Ok(digest.0);
    }
    let bytes = regular::read(Path::new(given), ROOT_BYTES, Links::Followed)
        .map_err(|e| Coded::new(Code::V01, format!("read `{}`: {e}", visible(given))))?;
    longshore_common::trust::read_root(longshore_common::trust::FLEET, &bytes)?;
    Ok(sha256(&bytes))
}

/// Who broke the glass: the user behind sudo where there is one.
fn who() -> String {
    let uid = rustix::process::getuid().as_raw();
    match std::env::var("SUDO_USER") {
        Ok(user) => format!("{} (uid {uid})", visible(&user)),
        Err(_) => format!("uid {uid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What somebody put where root looks for a root document holds root up no longer than any other mistake.
    #[test]
    fn what_is_no_file_is_no_root_and_is_named_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("root.json");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).unwrap();
        for (given, says) in [(pipe.to_str().unwrap(), "it is a FIFO"), ("/dev/zero", "it is a device")] {
            let refused = read_root(given).unwrap_err();
            assert!(refused.code == Code::V01 && refused.message.contains(says), "{refused}");
        }
        assert_eq!(read_root(&"a5".repeat(32)).unwrap(), [0xa5; 32]);
    }
}
