//! The supervisor of one app: a process of its own that outlives the agent.
//!
//! It holds the app's listening sockets, starts the app with them, starts it again when it crashes, keeps its last
//! lines, and answers on a socket in the app's `run` folder. It knows nothing of releases: the agent tells it what to
//! run, and asks. One lives per app, which the lock on `run` sees to; it ends when it is told to stop, by the agent or
//! by a signal, and when its folder is gone: then nobody could tell it any more.

mod held;
mod instance;
mod journal;
mod leave;
mod supervisor;

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use longshore_common::durable::{DirLock, lock_dir};
use rustix::process::{Pid, set_child_subreaper, setsid};
use tokio::{
    net::{UnixListener, UnixStream},
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use self::{
    journal::Journal,
    supervisor::{Order, Supervisor},
};
use super::{
    Door,
    protocol::{self, Answer, Ask, Trouble},
};
use crate::host::reexec::SelfExec;

/// What the agent reads when the supervisor answers from now on.
pub(super) const READY: &str = "ready";
/// Says that the supervisor ends when the process that started it does.
pub(super) const WITH_AGENT: &str = "--with-agent";
/// Another supervisor has the app.
const EXIT_TAKEN: u8 = 75;
/// Orders that wait; the agent gives one at a time.
const ORDERS: usize = 8;
/// After the end, for answers that are on their way.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// `args`: the app's `run` folder, and perhaps `WITH_AGENT`.
pub fn main(args: &[OsString]) -> ExitCode {
    let (folder, bound) = match args {
        [folder] => (folder, Ok(())),
        [folder, word] if word == WITH_AGENT => (folder, leave::with_parent()),
        _ => return ExitCode::from(64),
    };
    match bound.and_then(|()| serve(Path::new(folder))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error.to_string());
            ExitCode::from(if error.kind() == io::ErrorKind::WouldBlock { EXIT_TAKEN } else { 1 })
        }
    }
}

/// To whoever started it; it may be gone already.
fn say(word: &str) {
    let _ = writeln!(io::stdout(), "{word}");
    let _ = io::stdout().flush();
}

fn serve(folder: &Path) -> io::Result<()> {
    // Fails only when it leads a session already.
    let _ = setsid();
    set_child_subreaper(Pid::from_raw(std::process::id() as i32))?;
    let lock = lock_dir(folder)?;
    std::env::set_current_dir("/")?;
    let journal = Arc::new(Journal::open(folder.join("app.log"))?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(supervise(folder.to_owned(), journal, lock))
}

async fn supervise(folder: PathBuf, journal: Arc<Journal>, lock: DirLock) -> io::Result<()> {
    let children = signal(SignalKind::child())?;
    let door = Door::of(&folder)?;
    let listener = door.listen()?;
    say(READY);
    rustix::stdio::dup2_stdout(File::open("/dev/null")?)?;
    let (orders, received) = mpsc::channel(ORDERS);
    let mut connections = JoinSet::new();
    let supervisor = Supervisor::new(SelfExec::same(), Arc::clone(&journal)).run(received, children);
    let leaving = leave::when_due(&door, orders.clone())?;
    tokio::pin!(supervisor, leaving);
    let ended = loop {
        tokio::select! {
            ended = &mut supervisor => break ended,
            never = &mut leaving => match never {},
            accepted = listener.accept() => accept(accepted, &mut connections, &orders, &journal).await,
            Some(_) = connections.join_next() => (),
        }
    };
    // Whoever hears that all has stopped may start the next one at once.
    door.close();
    drop(lock);
    if let Some(reply) = ended {
        // Whoever asked has hung up if this cannot be sent.
        let _ = reply.send(Ok(()));
    }
    let words = async { while connections.join_next().await.is_some() {} };
    // Followers would stay for ever; they see the connection end.
    let _ = tokio::time::timeout(LAST_WORDS, words).await;
    Ok(())
}

async fn accept(
    accepted: io::Result<(UnixStream, tokio::net::unix::SocketAddr)>,
    connections: &mut JoinSet<()>,
    orders: &mpsc::Sender<Order>,
    journal: &Arc<Journal>,
) {
    match accepted {
        Ok((stream, _)) => {
            let (orders, journal) = (orders.clone(), Arc::clone(journal));
            connections.spawn(async move {
                // The asker hung up; nobody is left to tell.
                let _ = answer(stream, orders, journal).await;
            });
        }
        // Out of descriptors: the pause keeps this from spinning until one is free.
        Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
    }
}

async fn answer(
    mut stream: UnixStream,
    orders: mpsc::Sender<Order>,
    journal: Arc<Journal>,
) -> io::Result<()> {
    let gone = || io::Error::other("the supervisor ends");
    let answer = match protocol::read(&mut stream).await? {
        Ask::Follow => return follow(stream, &journal).await,
        Ask::Status => {
            let (reply, status) = oneshot::channel();
            orders.send(Order::Status(reply)).await.map_err(|_| gone())?;
            Answer::Status(status.await.map_err(|_| gone())?)
        }
        Ask::Start(service) => {
            let (reply, done) = oneshot::channel();
            orders.send(Order::Start(service, reply)).await.map_err(|_| gone())?;
            conclude(done.await.map_err(|_| gone())?)
        }
        Ask::Stop => {
            let (reply, done) = oneshot::channel();
            orders.send(Order::Stop(reply)).await.map_err(|_| gone())?;
            conclude(done.await.map_err(|_| gone())?)
        }
    };
    protocol::write(&mut stream, &answer).await
}

fn conclude(result: Result<(), Trouble>) -> Answer {
    result.map_or_else(Answer::Trouble, |()| Answer::Done)
}

async fn follow(mut stream: UnixStream, journal: &Journal) -> io::Result<()> {
    use tokio::sync::broadcast::error::RecvError;
    let mut lines = journal.follow();
    let mut byte = [0];
    loop {
        let entry = tokio::select! {
            entry = lines.recv() => entry,
            // The follower never speaks again: this is its end.
            _ = tokio::io::AsyncReadExt::read(&mut stream, &mut byte) => return Ok(()),
        };
        match entry {
            Ok(entry) => protocol::write(&mut stream, &Answer::Line(entry)).await?,
            Err(RecvError::Lagged(_)) => (),
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

impl Door {
    fn listen(&self) -> io::Result<UnixListener> {
        // The lock is ours, so whoever made the file is gone.
        self.close();
        UnixListener::bind(self.path())
    }

    fn close(&self) {
        // It may not be there.
        let _ = std::fs::remove_file(self.path());
    }
}
