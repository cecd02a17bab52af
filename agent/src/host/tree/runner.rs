//! The runner's own process: a subreaper around one program.

use std::{
    io,
    os::fd::OwnedFd,
    os::unix::net::UnixStream as StdStream,
    process::{ExitCode, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    io::fcntl_dupfd_cloexec,
    process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, set_child_subreaper, setsid, wait},
    stdio::{stderr, stdin, stdout},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    signal::unix::{SignalKind, signal},
};

use super::{Ended, KILL_DEADLINE, Said};
use crate::host::{
    launch::{Fault, LaunchSpec, launch},
    procfs,
    reexec::SelfExec,
};

pub fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return ExitCode::FAILURE };
    match runtime.block_on(serve()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE, // the agent sees the socket close without a word
    }
}

async fn serve() -> io::Result<()> {
    setsid()?;
    set_child_subreaper(Pid::from_raw(std::process::id() as i32))?;
    let control = StdStream::from(fcntl_dupfd_cloexec(stdin(), 3)?);
    control.set_nonblocking(true)?;
    let mut control = UnixStream::from_std(control)?;
    let said = match read_order(&mut control).await {
        Ok(spec) => run(&spec, &mut control).await,
        Err(e) => Said::Fault(Fault(format!("read the order: {e}"))),
    };
    control.write_all(&serde_json::to_vec(&said)?).await
}

async fn read_order(control: &mut UnixStream) -> io::Result<LaunchSpec> {
    let mut body = vec![0; control.read_u32().await? as usize];
    control.read_exact(&mut body).await?;
    Ok(serde_json::from_slice(&body)?)
}

async fn run(spec: &LaunchSpec, control: &mut UnixStream) -> Said {
    let ended = watch(spec, control).await;
    kill_descendants();
    match ended {
        Ok(ended) => Said::Ended(ended),
        Err(fault) => Said::Fault(fault),
    }
}

/// Until the program ends, or the agent hangs up or is gone.
async fn watch(spec: &LaunchSpec, control: &mut UnixStream) -> Result<Ended, Fault> {
    let io = |doing: &str, e: io::Error| Fault(format!("{doing}: {e}"));
    let mut children = signal(SignalKind::child()).map_err(|e| io("watch for SIGCHLD", e))?;
    let share = |fd: io::Result<OwnedFd>| fd.map(Stdio::from).map_err(|e| io("share the output", e));
    let out = share(fcntl_dupfd_cloexec(stdout(), 3).map_err(Into::into))?;
    let err = share(fcntl_dupfd_cloexec(stderr(), 3).map_err(Into::into))?;
    let pid = launch(&SelfExec::same(), spec, &[], out, err)?.running().await?;
    let mut byte = [0];
    loop {
        if let Some(ended) = reap_until(pid) {
            return Ok(ended);
        }
        tokio::select! {
            _ = children.recv() => (),
            _ = control.read(&mut byte) => return Ok(Ended::Signal(Signal::KILL.as_raw())),
        }
    }
}

/// Reaps what has ended; the answer is how `pid` ended, if it is among them.
fn reap_until(pid: u32) -> Option<Ended> {
    while let Ok(Some((reaped, status))) = wait(WaitOptions::NOHANG) {
        if reaped.as_raw_nonzero().get() as u32 == pid {
            return Some(how(status));
        }
    }
    None
}

pub(crate) fn how(status: WaitStatus) -> Ended {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ended::Exit(code),
        (None, Some(number)) => Ended::Signal(number),
        (None, None) => Ended::Exit(0), // stopped or continued, which `wait` is not asked for
    }
}

/// Until there is none. What forks while it is being killed is found by the next look.
fn kill_descendants() {
    let until = Instant::now() + KILL_DEADLINE;
    let me = std::process::id() as i32;
    while Instant::now() < until {
        let all = procfs::all();
        let mut left = procfs::descendants(&all, me);
        left.retain(|pid| all.iter().any(|proc| proc.pid == *pid && !proc.zombie));
        for pid in left.iter().filter_map(|pid| Pid::from_raw(*pid)) {
            // It may have ended since the look.
            let _ = kill_process(pid, Signal::KILL);
        }
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        if left.is_empty() {
            return;
        }
        // The kernel ends them in its own time; nothing announces it for those that are not our children yet.
        std::thread::sleep(Duration::from_millis(1));
    }
}
