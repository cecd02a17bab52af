//! The relay itself.

use std::{
    ffi::OsString,
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use longshore_common::traffic::Side;
use rustix::{
    net::{AddressFamily, getsockname},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    signal::unix::{SignalKind, signal},
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{Ask, Door, FILE, Status, Targets};
use crate::host::{process::protocol, sys};

/// Connections at once; more wait in the sockets' queues.
const CONNECTIONS: u64 = 4096;
/// Descriptors that are not for connections: the sockets, the agent's questions, the runtime's own.
const OTHERS: u64 = 64;
/// For a side to take a connection: a process that has just been started again is worth waiting for.
const CONNECT: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(50);
/// For one try: a side whose queue is full says nothing at all, and the kernel would go on asking it for two minutes.
const TRY: Duration = Duration::from_secs(2);

/// `args`: its folder. The sockets come as `LISTEN_FDS`.
pub fn main(args: &[OsString]) -> ExitCode {
    let [folder] = args else { return ExitCode::from(64) };
    match serve(Path::new(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("relay: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(folder: &Path) -> io::Result<()> {
    let sockets = sys::passed_sockets()?;
    let relay = Arc::new(Relay::open(folder, connections(all_descriptors()))?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let mut ending = signal(SignalKind::terminate())?;
        let mut accepting = JoinSet::new();
        for socket in sockets {
            let relay = Arc::clone(&relay);
            match getsockname(&socket)?.address_family() {
                AddressFamily::UNIX => accepting.spawn(relay.serve_unix(unix(socket)?)),
                _ => accepting.spawn(relay.serve_tcp(tcp(socket)?)),
            };
        }
        tokio::select! {
            ended = relay.answer() => ended,
            // Another takes its place, with other sockets or of another version: what is open may end, for as long as its
            // supervisor lets it.
            _ = ending.recv() => {
                accepting.shutdown().await;
                relay.emptied().await;
                // Not well: where it was somebody else's word, it is started again.
                Err(io::Error::other("it was told to end"))
            }
        }
    })
}

/// How many this process may have: services begin with 1024, and may have more where they ask for them.
fn all_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit { current: limit.maximum, ..limit };
    let limit = if setrlimit(Resource::Nofile, most).is_ok() { most } else { limit };
    limit.current.unwrap_or(u64::MAX)
}

/// Each takes two descriptors, one to either end. What is taken beyond that could not be handed on, and would be lost
/// where it could have waited.
fn connections(descriptors: u64) -> u32 {
    (descriptors.saturating_sub(OTHERS) / 2).clamp(1, CONNECTIONS) as u32
}

fn tcp(socket: OwnedFd) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::from(socket);
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn unix(socket: OwnedFd) -> io::Result<UnixListener> {
    let listener = std::os::unix::net::UnixListener::from(socket);
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

struct Relay {
    folder: PathBuf,
    targets: Mutex<Targets>,
    /// Connections so far: which side is due follows from it.
    turn: AtomicU64,
    active: [AtomicU64; 2],
    room: Arc<Semaphore>,
    /// Connections for which there is room.
    most: u32,
}

impl Relay {
    fn open(folder: &Path, room: u32) -> io::Result<Self> {
        Ok(Self {
            folder: folder.to_owned(),
            targets: Mutex::new(read(folder)?),
            turn: AtomicU64::new(0),
            active: [AtomicU64::new(0), AtomicU64::new(0)],
            room: Arc::new(Semaphore::new(room as usize)),
            most: room,
        })
    }

    fn targets(&self) -> Targets {
        self.targets.lock().expect("no holder panics").clone()
    }

    /// Until every connection has ended.
    async fn emptied(&self) {
        drop(self.room.acquire_many(self.most).await.expect("never closed"));
    }

    async fn serve_tcp(self: Arc<Self>, listener: TcpListener) {
        loop {
            let permit = Arc::clone(&self.room).acquire_owned().await.expect("never closed");
            match listener.accept().await {
                Ok((stream, _)) => {
                    // Bytes that wait to be more gain nothing here.
                    let _ = stream.set_nodelay(true);
                    let relay = Arc::clone(&self);
                    tokio::spawn(async move {
                        relay.hand_on(stream).await;
                        drop(permit);
                    });
                }
                Err(_) => sleep(AGAIN).await, // out of descriptors; some will be free again
            }
        }
    }

    async fn serve_unix(self: Arc<Self>, listener: UnixListener) {
        loop {
            let permit = Arc::clone(&self.room).acquire_owned().await.expect("never closed");
            match listener.accept().await {
                Ok((stream, _)) => {
                    let relay = Arc::clone(&self);
                    tokio::spawn(async move {
                        relay.hand_on(stream).await;
                        drop(permit);
                    });
                }
                Err(_) => sleep(AGAIN).await, // out of descriptors; some will be free again
            }
        }
    }

    async fn hand_on(&self, mut client: impl AsyncRead + AsyncWrite + Unpin) {
        let Some((side, mut app)) = self.connect().await else { return };
        let active = &self.active[side as usize];
        active.fetch_add(1, Ordering::Relaxed);
        // Whichever end broke off: that is the end of it.
        let _ = copy_bidirectional(&mut client, &mut app).await;
        active.fetch_sub(1, Ordering::Relaxed);
    }

    /// To the side that is due. One that does not answer is passed over for another that has traffic as well, and is
    /// waited for otherwise.
    async fn connect(&self) -> Option<(Side, Box<dyn Stream>)> {
        let begun = Instant::now();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        loop {
            let targets = self.targets();
            let due = due(turn, targets.share);
            for side in [due, due.other()].into_iter().filter(|side| targets.share_of(*side) > 0) {
                if let Ok(Ok(stream)) = timeout(TRY, dial(targets.address(side))).await {
                    return Some((side, stream));
                }
            }
            if begun.elapsed() >= CONNECT {
                return None;
            }
            sleep(AGAIN).await;
        }
    }

    /// Questions of the agent, one at a time.
    async fn answer(&self) -> io::Result<()> {
        let door = Door::of(&self.folder)?;
        match fs::remove_file(door.path()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(door.path())?;
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { continue };
            let Ok(ask) = protocol::read::<Ask>(&mut stream).await else { continue };
            if matches!(ask, Ask::Load)
                && let Ok(targets) = read(&self.folder)
            {
                *self.targets.lock().expect("no holder panics") = targets;
            }
            let [blue, green] = [0, 1].map(|side: usize| self.active[side].load(Ordering::Relaxed));
            let status = Status { targets: self.targets(), active_blue: blue, active_green: green };
            // Whoever asked may have gone.
            let _ = protocol::write(&mut stream, &status).await;
        }
    }
}

impl Targets {
    fn address(&self, side: Side) -> &str {
        match side {
            Side::Blue => &self.blue,
            Side::Green => &self.green,
        }
    }

    fn share_of(&self, side: Side) -> u8 {
        match side {
            Side::Blue => 100 - self.share.min(100),
            Side::Green => self.share,
        }
    }
}

/// Of a hundred turns in a row, `share` are green's, spread evenly.
fn due(turn: u64, share: u8) -> Side {
    let (turn, share) = (turn % 100, u64::from(share));
    if (turn + 1) * share / 100 > turn * share / 100 { Side::Green } else { Side::Blue }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn dial(address: &str) -> io::Result<Box<dyn Stream>> {
    if address.starts_with('/') {
        return Ok(Box::new(UnixStream::connect(address).await?));
    }
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(Box::new(stream))
}

fn read(folder: &Path) -> io::Result<Targets> {
    Ok(serde_json::from_slice(&fs::read(folder.join(FILE))?)?)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn no_more_connections_are_taken_than_can_be_handed_on() {
        assert_eq!([10, 1024, 8256, 524_288].map(connections), [1, 480, 4096, 4096]);
        let descriptors = all_descriptors();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum, "all that it may have");
        assert_eq!(descriptors, limit.current.unwrap_or(u64::MAX));
    }

    /// It hangs, or has more to do than it can: nobody waits for it while another side has traffic as well.
    #[tokio::test]
    async fn a_side_whose_queue_is_full_is_passed_over() {
        let bound = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (full, free) = (bound(), bound());
        rustix::net::listen(&full, 0).unwrap();
        let address = full.local_addr().unwrap();
        let mut waiting = vec![];
        while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            waiting.push(stream);
        }
        let green = free.local_addr().unwrap().to_string();
        let relay = Relay {
            folder: PathBuf::new(),
            targets: Mutex::new(Targets { blue: address.to_string(), green, share: 50 }),
            turn: AtomicU64::new(0), // blue's
            active: [AtomicU64::new(0), AtomicU64::new(0)],
            room: Arc::new(Semaphore::new(1)),
            most: 1,
        };
        let connected = timeout(Duration::from_secs(60), relay.connect()).await.expect("it is passed over");
        assert_eq!(connected.map(|(side, _)| side), Some(Side::Green));
    }

    #[tokio::test]
    async fn one_that_is_to_end_waits_for_what_is_open() {
        let relay = Relay {
            folder: PathBuf::new(),
            targets: Mutex::new(Targets { blue: String::new(), green: String::new(), share: 0 }),
            turn: AtomicU64::new(0),
            active: [AtomicU64::new(0), AtomicU64::new(0)],
            room: Arc::new(Semaphore::new(2)),
            most: 2,
        };
        let open = Arc::clone(&relay.room).acquire_owned().await.unwrap();
        assert!(relay.emptied().now_or_never().is_none());
        drop(open);
        assert!(relay.emptied().now_or_never().is_some());
    }

    #[test]
    fn shares_are_kept_and_spread() {
        for share in [0, 1, 10, 33, 50, 99, 100] {
            let green =
                |turns: std::ops::Range<u64>| turns.filter(|turn| due(*turn, share) == Side::Green).count();
            assert_eq!(green(0..100), usize::from(share));
            assert_eq!(green(300..400), usize::from(share));
            assert!(green(0..10).abs_diff(usize::from(share) / 10) <= 1);
        }
    }
}
