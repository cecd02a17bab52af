//! One run of the app: its main process and whatever that started.

use std::{process::Stdio, sync::Arc, time::Duration};

use longshore_common::time::{Clock, Millis, SystemClock};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::{net::unix::pipe, task::JoinSet, time::Instant};

use super::{held::Held, journal::Journal};
use crate::host::{
    Stream,
    launch::{Fault, launch},
    lines::read_lines,
    process::protocol::Service,
    procfs::{self, Proc},
    reexec::SelfExec,
};

/// From the end of the last process to the last line read; a pipe that a stranger holds open is given up.
const DRAIN: Duration = Duration::from_millis(500);

pub struct Instance {
    pub service: Service,
    pub pid: u32,
    pub since_ms: Millis,
    pub since: Instant,
    /// In ticks since boot.
    started: u64,
    readers: JoinSet<()>,
}

impl Instance {
    pub async fn launch(
        me: &SelfExec,
        service: Service,
        held: &Held,
        journal: &Arc<Journal>,
    ) -> Result<Self, Fault> {
        let fault = |e: std::io::Error| Fault(format!("make a pipe for the app's output: {e}"));
        let (out, out_end) = std::io::pipe().map_err(fault)?;
        let (err, err_end) = std::io::pipe().map_err(fault)?;
        let name = "longshore";
        let sockets: Vec<_> = held.in_order(&service.sockets).into_iter().map(|fd| (name, fd)).collect();
        let launching = launch(me, &service.launch, &sockets, Stdio::from(out_end), Stdio::from(err_end))?;
        let pid = launching.pid();
        let mut readers = JoinSet::new();
        for (pipe_end, stream) in [(out, Stream::Stdout), (err, Stream::Stderr)] {
            let pipe = pipe::Receiver::from_owned_fd(pipe_end.into()).map_err(fault)?;
            let (journal, slot) = (Arc::clone(journal), service.slot.clone());
            readers.spawn(async move {
                // An error of the pipe is its end.
                let _ = read_lines(pipe, |line| journal.append(stream, line, &slot)).await;
            });
        }
        launching.running().await?;
        let started = procfs::one(pid as i32).map_or(u64::MAX, |proc| proc.started);
        let since_ms = SystemClock.now_ms();
        Ok(Self { service, pid, since_ms, since: Instant::now(), started, readers })
    }

    /// Asks it to end: the signal goes to its process group, which is its own.
    pub fn ask_to_stop(&self) {
        let signal = Signal::from_named_raw(self.service.stop_signal).unwrap_or(Signal::TERM);
        if let Some(group) = Pid::from_raw(self.pid as i32) {
            // It may have ended a moment ago. One that is stopped has to run to hear anything.
            let _ = kill_process_group(group, signal);
            let _ = kill_process_group(group, Signal::CONT);
        }
    }

    /// Kills it and all that it started.
    pub fn kill(&self, others: &[&Instance]) {
        for pid in self.members(others).into_iter().filter_map(Pid::from_raw) {
            // It may have ended since the look.
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// Its living processes, while `others` live as well.
    ///
    /// Below its main process, or in its session; and what lost its parent, which has become ours. Of an orphan in
    /// a session of its own nothing tells whose it was, except that it is not of an instance that began later.
    pub fn members(&self, others: &[&Instance]) -> Vec<i32> {
        let all = procfs::all();
        let me = std::process::id() as i32;
        let mains: Vec<i32> = others.iter().map(|other| other.pid as i32).collect();
        let next_began = others.iter().map(|other| other.started).filter(|began| *began > self.started).min();
        let ours = |proc: &&Proc| {
            let orphan = proc.parent == me && !mains.contains(&proc.pid) && !mains.contains(&proc.session);
            let in_time = next_began.is_none_or(|began| proc.started < began);
            proc.pid == self.pid as i32
                || proc.session == self.pid as i32
                || (orphan && proc.started >= self.started && in_time)
        };
        let roots: Vec<i32> = all.iter().filter(ours).map(|proc| proc.pid).collect();
        let mut members: Vec<i32> = roots.iter().flat_map(|root| procfs::descendants(&all, *root)).collect();
        members.extend(roots);
        members.sort_unstable();
        members.dedup();
        members.retain(|pid| all.iter().any(|proc| proc.pid == *pid && !proc.zombie));
        members
    }

    /// Waits until what it last said is in the journal.
    pub async fn drain(mut self) {
        let readers = async { while self.readers.join_next().await.is_some() {} };
        // What is still open after that is held by a stranger; dropping the set ends the readers.
        let _ = tokio::time::timeout(DRAIN, readers).await;
    }
}
