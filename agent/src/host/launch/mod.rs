//! Starting a program with exactly the identity, folder, environment and descriptors that are asked for.
//!
//! The program is reached through a trampoline, a child that is this same binary: over a socket on its stdin it is
//! sent the [`LaunchSpec`] and the listening sockets, arranges itself, and execs. The socket closes by that exec, so
//! its end without a word means that the program runs, and anything else is the reason why it does not.
//! The numbers of descriptors and `LISTEN_PID` can only be right from inside the new process; so are privileges.

pub mod trampoline;
mod wire;

use std::{
    collections::BTreeMap,
    io,
    os::fd::{BorrowedFd, OwnedFd},
    os::unix::net::UnixStream as StdStream,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::AsyncReadExt,
    net::UnixStream,
    time::{sleep, timeout},
};

use super::{
    account::Account,
    reexec::{Helper, SelfExec},
};

/// Between fork and exec; far above what any machine needs, as only a hung disk comes near.
const EXEC_DEADLINE: Duration = Duration::from_secs(20);

/// For one that was killed to be gone.
const KILLED_WITHIN: Duration = Duration::from_secs(5);

/// What systemd gives services, so that both drivers find the same programs.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchSpec {
    /// Absolute.
    pub program: PathBuf,
    pub args: Vec<String>,
    /// The whole environment but for `LISTEN_*`; nothing is inherited.
    pub env: BTreeMap<String, String>,
    pub cwd: PathBuf,
    /// None: this process's own.
    pub account: Option<Account>,
}

impl LaunchSpec {
    /// `exec` as a manifest writes it, run in `folder`: a program that starts with `./` lies in it.
    pub fn of(exec: &[String], folder: &Path, user: Option<&str>) -> Result<Self, Fault> {
        let (program, args) = exec.split_first().ok_or_else(|| Fault("no program is named".into()))?;
        let account = Account::to_become(user).map_err(|e| Fault(e.message))?;
        let mut env = BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]);
        if let Some(account) = &account {
            env.insert("HOME".into(), account.home.display().to_string());
            env.insert("USER".into(), account.name.clone());
            env.insert("LOGNAME".into(), account.name.clone());
        }
        Ok(Self {
            program: program_path(program, folder),
            args: args.to_vec(),
            env,
            cwd: folder.to_owned(),
            account,
        })
    }
}

/// Where the program lies that a manifest names.
pub fn program_path(program: &str, folder: &Path) -> PathBuf {
    folder.join(program.strip_prefix("./").unwrap_or(program))
}

/// Why a program could not be started, in words for an operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{0}")]
pub struct Fault(pub String);

impl Fault {
    fn io(doing: &str, error: &io::Error) -> Self {
        Self(format!("{doing}: {error}"))
    }
}

/// A child between fork and exec.
#[derive(Debug)]
pub struct Launching {
    child: Child,
    control: StdStream,
}

/// Forks. `sockets` become the new program's descriptors 3, 4, … under the names given with them.
pub fn launch(
    me: &SelfExec,
    spec: &LaunchSpec,
    sockets: &[(&str, BorrowedFd<'_>)],
    stdout: Stdio,
    stderr: Stdio,
) -> Result<Launching, Fault> {
    let (control, theirs) = StdStream::pair().map_err(|e| Fault::io("make a socket pair", &e))?;
    let child = me
        .command(Helper::Launch)
        .stdin(OwnedFd::from(theirs))
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .map_err(|e| Fault::io("start a process", &e))?;
    let order = wire::Order {
        spec: spec.clone(),
        names: sockets.iter().map(|(name, _)| (*name).to_owned()).collect(),
        parent: std::process::id(),
    };
    let fds: Vec<_> = sockets.iter().map(|(_, fd)| *fd).collect();
    wire::send(&control, &order, &fds).map_err(|e| Fault::io("speak to the new process", &e))?;
    Ok(Launching { child, control })
}

impl Launching {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the program itself runs, or the reason why it does not. The child then is the caller's to reap, but for
    /// one of which nothing was heard: it is killed, so that it does not become the program when nobody minds it any more.
    pub async fn running(self) -> Result<u32, Fault> {
        self.running_within(EXEC_DEADLINE).await
    }

    async fn running_within(self, deadline: Duration) -> Result<u32, Fault> {
        let Self { child, control } = self;
        let pid = child.id();
        let heard = match timeout(deadline, read_to_end(control)).await {
            Ok(heard) => heard.map_err(|e| Fault::io("hear from the new process", &e)),
            Err(_) => Err(Fault(format!("the program did not start within {} s", deadline.as_secs()))),
        };
        match heard {
            Ok(said) if said.is_empty() => Ok(pid),
            Ok(said) => Err(Fault(String::from_utf8_lossy(&said).into_owned())),
            Err(fault) => {
                end(child).await;
                Err(fault)
            }
        }
    }
}

/// Kills it, and waits until it has ended; one that hangs in the kernel ends when that lets it.
async fn end(mut child: Child) {
    // Whoever reaps all that ends may have been quicker: then it has ended, as one has that cannot be asked after.
    let _ = child.kill();
    let ended = async {
        while let Ok(None) = child.try_wait() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    let _ = timeout(KILLED_WITHIN, ended).await;
}

async fn read_to_end(control: StdStream) -> io::Result<Vec<u8>> {
    control.set_nonblocking(true)?;
    let mut said = Vec::new();
    UnixStream::from_std(control)?.take(4096).read_to_end(&mut said).await?;
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It hangs before it becomes the program, as on a disk that does not answer.
    #[tokio::test]
    async fn a_child_of_which_nothing_is_heard_is_killed() {
        let (control, _theirs) = StdStream::pair().unwrap();
        let child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id();
        let fault = Launching { child, control }.running_within(Duration::ZERO).await.unwrap_err();
        assert!(fault.0.contains("did not start within"), "{fault}");
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "it is gone");
    }
}
