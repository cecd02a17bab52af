//! Running one program such that nothing of it is left afterwards, whatever it started.
//!
//! A process group does not hold a program that makes sessions of its own and forks twice. So a small runner, again
//! this binary, stands between: it is a subreaper, all that the program leaves behind becomes its child, and it ends
//! only when it has none. It kills them all when the program has ended, when it is told to, and when the agent is
//! gone. Where systemd runs hooks, a transient unit does the same (`systemd::transient`).

pub mod runner;

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream as StdStream},
    process::Stdio,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    process::{Child, Command},
    time::timeout,
};

use super::{
    Stream,
    launch::{Fault, LaunchSpec},
    lines::pass_lines,
    reexec::{Helper, SelfExec},
};

/// From the order to kill to the end of the last process; beyond it something hangs in the kernel.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    Exit(i32),
    Signal(i32),
    /// It ran past its time and was killed with all that it had started.
    TimedOut,
}

impl Ended {
    pub fn succeeded(self) -> bool {
        self == Ended::Exit(0)
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ended::Exit(code) => write!(f, "exit status {code}"),
            Ended::Signal(number) => write!(f, "signal {}", signal_name(*number)),
            Ended::TimedOut => write!(f, "timeout"),
        }
    }
}

/// `SIGTERM` for 15; the number where the name is rare.
pub fn signal_name(number: i32) -> String {
    const NAMES: [(i32, &str); 13] = [
        (1, "HUP"),
        (2, "INT"),
        (3, "QUIT"),
        (4, "ILL"),
        (6, "ABRT"),
        (7, "BUS"),
        (8, "FPE"),
        (9, "KILL"),
        (10, "USR1"),
        (11, "SEGV"),
        (12, "USR2"),
        (13, "PIPE"),
        (15, "TERM"),
    ];
    match NAMES.iter().find(|(n, _)| *n == number) {
        Some((_, name)) => format!("SIG{name}"),
        None => number.to_string(),
    }
}

/// What the runner says, as one JSON document before it ends.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Said {
    Ended(Ended),
    Fault(Fault),
}

/// Runs the program to its end or for `limit`, and gives every line to `each` as it comes.
pub async fn run(
    me: &SelfExec,
    spec: &LaunchSpec,
    limit: Duration,
    mut each: impl FnMut(Stream, String),
) -> Result<Ended, Fault> {
    let fault = |doing: &str, e: io::Error| Fault(format!("{doing}: {e}"));
    let (mut child, mut control) = start(me).map_err(|e| fault("start a process", e))?;
    let stdout = child.stdout.take().expect("asked to be piped");
    let stderr = child.stderr.take().expect("asked to be piped");
    let (lines, mut heard) = tokio::sync::mpsc::channel(64);
    let errors = lines.clone();
    let out = tokio::spawn(pass_lines(stdout, Stream::Stdout, lines));
    let err = tokio::spawn(pass_lines(stderr, Stream::Stderr, errors));

    let talk = async {
        order(&mut control, spec).await?;
        let mut said = Vec::new();
        let in_time = timeout(limit, (&mut control).take(4096).read_to_end(&mut said)).await;
        if in_time.is_err() {
            control.shutdown().await?; // the order to kill
            timeout(KILL_DEADLINE, control.read_to_end(&mut said)).await.map_err(io::Error::from)??;
        }
        Ok::<_, io::Error>((said, in_time.is_err()))
    };
    tokio::pin!(talk);
    let talked = loop {
        tokio::select! {
            result = &mut talk => break result,
            Some((stream, line)) = heard.recv() => each(stream, line),
        }
    };
    reap(child).await;
    // The runner and all below it have ended, so the pipes are closed; abort is for one that hangs in the kernel.
    let rest = async {
        while let Some((stream, line)) = heard.recv().await {
            each(stream, line)
        }
    };
    if timeout(Duration::from_secs(1), rest).await.is_err() {
        out.abort();
        err.abort();
    }
    let (said, late) = talked.map_err(|e| fault("speak to the process that runs it", e))?;
    match serde_json::from_slice(&said) {
        Ok(Said::Fault(reason)) => Err(reason),
        Ok(Said::Ended(_)) if late => Ok(Ended::TimedOut),
        Ok(Said::Ended(ended)) => Ok(ended),
        Err(_) => Err(Fault("the process that watched over it was killed".into())),
    }
}

fn start(me: &SelfExec) -> io::Result<(Child, UnixStream)> {
    let (control, theirs) = StdStream::pair()?;
    control.set_nonblocking(true)?;
    let mut command = Command::from(me.command(Helper::Tree));
    let child = command
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(false)
        .spawn()?;
    Ok((child, UnixStream::from_std(control)?))
}

async fn order(control: &mut UnixStream, spec: &LaunchSpec) -> io::Result<()> {
    let body = serde_json::to_vec(spec)?;
    control.write_all(&(body.len() as u32).to_be_bytes()).await?;
    control.write_all(&body).await
}

/// The runner ends by itself after it has spoken; if it does not, it is killed.
async fn reap(mut child: Child) {
    if timeout(KILL_DEADLINE, child.wait()).await.is_err() {
        // Already gone is as good.
        let _ = child.kill().await;
    }
}
