//! The machine room of the demo: one temporary folder, a controller and five agents as processes of their own, and
//! how all of it ends. Everything that is started here is ended here.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use longshore_agent::host::{layout::Layout, process::ProcessDriver, reexec::SelfExec};
use longshore_common::{
    chain::Chain,
    durable::{create_dir_durable, remove_dir_durable, write_atomic},
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use uuid::Uuid;

use crate::{
    cli::{
        exit::Exit,
        failure::Failure,
        signing::{KeyRing, Passphrase},
    },
    identity::init::OPERATOR_DIR,
};

/// How many hosts the demo has.
pub const HOSTS: u8 = 5;
/// The file with the passphrase of the demo's signing keys.
pub const PASSPHRASE: &str = "passphrase";
/// A process that has not ended by then is killed.
const END: Duration = Duration::from_secs(8);
/// Lines of a log that are shown when its process is to blame.
const LOG_LINES: usize = 12;

/// A host of the demo: an agent with its own root and its own loopback address.
#[derive(Clone, Debug)]
pub struct HostPlace {
    pub name: String,
    pub root: PathBuf,
    pub loopback: Ipv4Addr,
}

/// A process that the demo started.
#[derive(Debug)]
pub struct Part {
    pub name: String,
    pub log: PathBuf,
    pub child: Child,
}

#[derive(Debug)]
pub struct World {
    pub folder: PathBuf,
    pub hosts: Vec<HostPlace>,
    /// The one port at which every host serves, each on its own address.
    pub port: u16,
    pub parts: Vec<Part>,
    /// What signs here, below the operator's folder as everywhere.
    pub ring: KeyRing,
}

impl World {
    /// The folder and the places of five hosts; nothing runs yet.
    pub fn new() -> Result<Self, Failure> {
        let folder = scratch();
        for dir in [folder.clone(), folder.join("logs"), folder.join("hosts")] {
            create_dir_durable(&dir, 0o700).map_err(|error| failed(&error))?;
        }
        let (block, port) = free_block().map_err(|error| failed(&error))?;
        let hosts = (1..=HOSTS).map(|number| HostPlace {
            name: format!("harbour-{number}"),
            root: folder.join("hosts").join(format!("harbour-{number}")),
            loopback: on(block, number),
        });
        let ring = folder.join("controller").join(OPERATOR_DIR).join("keys");
        // In a file, so that whoever looks around afterwards can sign as well.
        let passphrase = folder.join(PASSPHRASE);
        let text = Uuid::new_v4().to_string();
        write_atomic(&passphrase, text.as_bytes(), 0o600).map_err(|error| failed(&error))?;
        let ring = KeyRing::at(ring, Passphrase::new(None, Some(passphrase)));
        Ok(Self { hosts: hosts.collect(), port, folder, parts: vec![], ring })
    }

    pub fn address(&self, host: &HostPlace) -> SocketAddr {
        SocketAddr::from((host.loopback, self.port))
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.folder.join("logs").join(format!("{name}.log"))
    }

    /// This executable in another part, its standard error in a log of its own.
    pub fn spawn(&mut self, name: &str, args: &[&str], stdout: Stdio) -> Result<&mut Part, Failure> {
        let log = self.log(name);
        let file = fs::File::create(&log).map_err(|error| failed(&error))?;
        let child = Command::new("/proc/self/exe")
            .args(args)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(&error))?;
        self.parts.push(Part { name: name.to_owned(), log, child });
        Ok(self.parts.last_mut().expect("one was pushed just now"))
    }

    /// A part that should run and does not: its name and the end of its log.
    pub fn fallen(&mut self) -> Option<Failure> {
        self.parts.iter_mut().find_map(|part| match part.child.try_wait() {
            Ok(Some(status)) => Some(blame(part, &format!("ended unexpectedly ({status})"))),
            Ok(None) | Err(_) => None,
        })
    }

    /// Ends every process, the apps included, and removes the folder unless it is to be looked at.
    pub async fn end(mut self, folder: Afterwards) -> Vec<String> {
        let mut trouble = vec![];
        // Agents first, so that none starts again what is stopped next; the controller last.
        while let Some(part) = self.parts.pop() {
            if let Err(error) = end_part(part).await {
                trouble.push(error);
            }
        }
        for host in &self.hosts {
            if let Err(error) = stop_app(host).await {
                trouble.push(format!("{}: {error}", host.name));
            }
        }
        if folder == Afterwards::Remove
            && let Err(error) = remove_dir_durable(&self.folder)
        {
            trouble.push(Chain(&error).to_string());
        }
        trouble
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    Remove,
    Keep,
}

/// What a part is to blame for, with the end of its log.
pub fn blame(part: &Part, what: &str) -> Failure {
    let text = fs::read_to_string(&part.log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
    let failure = Failure::new(Exit::Failed, format!("{} {what}", part.name));
    last.iter()
        .fold(failure, |failure, line| failure.next(format!("│ {}", longshore_common::text::visible(line))))
        .next(format!("its log: {}", part.log.display()))
}

async fn end_part(mut part: Part) -> Result<(), String> {
    let Some(pid) = part.child.id().and_then(|id| Pid::from_raw(id as i32)) else { return Ok(()) };
    // An error means that it has ended by itself in the meantime, which the wait below sees.
    let _ = kill_process(pid, Signal::TERM);
    match tokio::time::timeout(END, part.child.wait()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("{}: {error}", part.name)),
        Err(_) => part.child.kill().await.map_err(|error| format!("{}: {error}", part.name)),
    }
}

/// The app's supervisor outlives its agent, so it is told by itself.
async fn stop_app(host: &HostPlace) -> Result<(), String> {
    if !host.root.exists() {
        return Ok(());
    }
    let layout = Layout::under(&host.root).map_err(|error| error.to_string())?;
    let driver = ProcessDriver::new(SelfExec::this(), layout);
    let app = "shop".parse().expect("a sound name");
    driver.stop(&app, END).await.map_err(|failure| failure.message)
}

/// Short, because sockets lie in it and their paths may have 107 bytes.
fn scratch() -> PathBuf {
    let id = Uuid::new_v4().simple().to_string();
    let name = format!("longshore-demo-{}", &id[..6]);
    let base = std::env::temp_dir();
    let base = if base.as_os_str().len() > 30 { Path::new("/tmp").to_owned() } else { base };
    base.join(name)
}

/// Three numbers of a 127.x.y.0 block and a port that is free on the addresses of all hosts.
fn free_block() -> io::Result<(Ipv4Addr, u16)> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..20 {
        let [x, y, ..] = *Uuid::new_v4().as_bytes();
        let block = Ipv4Addr::new(127, x.clamp(2, 250), y, 0);
        match free_port(block) {
            Ok(port) => return Ok((block, port)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Held on all addresses at once, then let go: another program would have to take it on just this block meanwhile.
fn free_port(block: Ipv4Addr) -> io::Result<u16> {
    let first = TcpListener::bind((on(block, 1), 0))?;
    let port = first.local_addr()?.port();
    let rest: Vec<TcpListener> =
        (2..=HOSTS).map(|number| TcpListener::bind((on(block, number), port))).collect::<io::Result<_>>()?;
    drop((first, rest));
    Ok(port)
}

fn on(block: Ipv4Addr, number: u8) -> Ipv4Addr {
    let [a, b, c, _] = block.octets();
    Ipv4Addr::new(a, b, c, number)
}

pub fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::new(Exit::Failed, Chain(error).to_string())
}
