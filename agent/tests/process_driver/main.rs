//! The process driver with real processes: supervisors, apps, signals, sockets.
//!
//! The app that serves is this test program itself, started again (`the_app`).

mod stopping;
#[path = "../support/mod.rs"]
mod support;

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use longshore_agent::host::{
    launch::LaunchSpec,
    layout::Layout,
    process::{Lives, ProcessDriver, protocol::Service},
    procfs,
    unit::UnitState,
};
use longshore_common::{ids::AppName, slot::Slot};
use support::{me, until};

const SIGTERM: i32 = 15;
const WITHIN: Duration = Duration::from_secs(120);

struct Fixture {
    _root: tempfile::TempDir,
    layout: Layout,
    driver: ProcessDriver,
    app: AppName,
}

impl Fixture {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        Self::at(root.path().to_owned(), root)
    }

    fn at(path: std::path::PathBuf, root: tempfile::TempDir) -> Self {
        let layout = Layout::under(&path).unwrap();
        let app: AppName = "shop".parse().unwrap();
        layout.make_app(&app).unwrap();
        let driver = ProcessDriver::new(me(), layout.clone());
        Self { _root: root, layout, driver, app }
    }

    fn supervisor(&self) -> Option<i32> {
        let lock = std::fs::read_to_string(
            self.layout.run(&self.app, longshore_agent::host::layout::Part::Whole).join("lock"),
        )
        .ok()?;
        lock.trim().parse().ok().filter(|pid| procfs::one(*pid).is_some_and(|proc| !proc.zombie))
    }

    async fn start(&self, service: Service) {
        self.driver.start(&self.app, service, WITHIN).await.unwrap();
    }

    async fn state(&self) -> UnitState {
        self.driver.status(&self.app).await.unwrap().expect("a supervisor runs").state
    }

    async fn pid(&self) -> u32 {
        match self.state().await {
            UnitState::Up { pid, .. } => pid,
            other => panic!("the app is {other}: {:?}", self.driver.tail(&self.app, 20)),
        }
    }
}

/// A failed test leaves nothing running: the app dies with its supervisor.
impl Drop for Fixture {
    fn drop(&mut self) {
        if let Some(pid) = self.supervisor() {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        }
    }
}

fn service(slot: &str, program: &str, args: &[&str], sockets: &[SocketAddr]) -> Service {
    Service {
        slot: slot.parse().unwrap(),
        launch: LaunchSpec {
            program: program.into(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: BTreeMap::from([
                ("PATH".into(), "/usr/bin:/bin".into()),
                ("THE_APP".into(), slot.to_owned()),
            ]),
            cwd: "/".into(),
            account: None,
        },
        sockets: sockets.iter().map(ToString::to_string).collect(),
        stop_signal: SIGTERM,
        grace_ms: 5_000,
    }
}

fn shell(slot: &str, script: &str) -> Service {
    service(slot, "/bin/sh", &["-c", script], &[])
}

fn serving(slot: &str, socket: SocketAddr) -> Service {
    let program = std::env::current_exe().unwrap();
    let args = ["--exact", "the_app", "--ignored", "--nocapture"];
    // What is under way is answered, however long a busy machine takes for that.
    let grace_ms = WITHIN.as_millis() as u64;
    Service { grace_ms, ..service(slot, program.to_str().unwrap(), &args, &[socket]) }
}

const ONE: &str = "1.0-00000001";
const TWO: &str = "1.1-00000002";

/// A small HTTP server that says its slot, and drains when it is told to stop.
#[tokio::test]
#[ignore = "not a test: the app that the tests start"]
async fn the_app() {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        signal::unix::{SignalKind, signal},
        task::JoinSet,
    };
    let Ok(slot) = std::env::var("THE_APP") else { return };
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let socket = longshore_agent::host::sys::passed_sockets().unwrap().remove(0);
    let listener = std::net::TcpListener::from(socket);
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let mut requests = JoinSet::new();
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            Some(_) = requests.join_next() => (),
            accepted = listener.accept() => {
                let (mut stream, _) = accepted.unwrap();
                let slot = slot.clone();
                requests.spawn(async move {
                    let mut request = [0; 1024];
                    let _ = stream.read(&mut request).await;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n\r\n{slot}").as_bytes()).await;
                });
            }
        }
    }
    drop(listener);
    while requests.join_next().await.is_some() {}
    std::process::exit(0);
}

fn get(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(WITHIN))?;
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((_, slot)) => Ok(slot.to_owned()),
        None => Err(std::io::Error::other(format!("answered {answer:?}"))),
    }
}

fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], support::load::free_port()))
}

/// Promise of `service.sockets`: replaced under load, no connection is refused and no request is lost.
#[tokio::test]
async fn no_request_fails_while_versions_are_swapped() {
    let fixture = Fixture::new();
    let address = free_address();
    fixture.start(serving(ONE, address)).await;
    let load = Load::on(address);
    for round in 0..6 {
        let slot = if round % 2 == 0 { TWO } else { ONE };
        fixture.start(serving(slot, address)).await;
        let before = load.served();
        assert!(until(WITHIN, || load.served() > before + 10), "no requests in round {round}");
        assert_eq!(get(address).unwrap(), slot, "only the new one answers when the start is done");
    }
    load.end_without_failure();
    fixture.driver.stop(&fixture.app, WITHIN).await.unwrap();
    assert!(get(address).is_err(), "a stopped app does not listen");
}

/// Clients that ask all the time.
struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU32>,
    clients: Vec<std::thread::JoinHandle<Vec<String>>>,
}

impl Load {
    fn on(address: SocketAddr) -> Self {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let client = move |(stop, served): (Arc<AtomicBool>, Arc<AtomicU32>)| {
            let mut failures = vec![];
            while !stop.load(Ordering::Relaxed) {
                match get(address) {
                    Ok(_) => drop(served.fetch_add(1, Ordering::Relaxed)),
                    Err(e) => failures.push(e.to_string()),
                }
            }
            failures
        };
        let clients = (0..3)
            .map(|_| (Arc::clone(&stop), Arc::clone(&served)))
            .map(|shared| std::thread::spawn(move || client(shared)))
            .collect();
        Self { stop, served, clients }
    }

    fn served(&self) -> u32 {
        self.served.load(Ordering::Relaxed)
    }

    fn end_without_failure(self) {
        self.stop.store(true, Ordering::Relaxed);
        let failures: Vec<String> = self.clients.into_iter().flat_map(|c| c.join().unwrap()).collect();
        assert_eq!(failures, Vec::<String>::new(), "of {:?} requests", self.served);
    }
}

/// Two addresses of one port cannot be held at once: what has the other one lets go of it first, up or not.
#[tokio::test]
async fn an_address_takes_the_place_of_another_on_the_same_port() {
    let (fixture, loopback) = (Fixture::new(), free_address());
    let everywhere = SocketAddr::from(([0, 0, 0, 0], loopback.port()));
    for (script, state) in [("exec sleep 1000", "running"), ("exit 3", "crashing"), ("exit 0", "ended")] {
        fixture.start(service(TWO, "/bin/sh", &["-c", script], &[everywhere])).await;
        let comes = async { while !fixture.state().await.to_string().starts_with(state) {} };
        tokio::time::timeout(WITHIN, comes).await.unwrap();
        fixture.start(serving(ONE, loopback)).await;
        assert_eq!(get(loopback).unwrap(), ONE, "{script}");
    }
}

#[tokio::test]
async fn a_new_version_that_cannot_start_leaves_the_old_one_serving() {
    let fixture = Fixture::new();
    let address = free_address();
    fixture.start(serving(ONE, address)).await;
    let pid = fixture.pid().await;
    let broken = Service {
        launch: LaunchSpec { program: "/no/such/program".into(), ..serving(TWO, address).launch },
        ..serving(TWO, address)
    };
    let failure = fixture.driver.start(&fixture.app, broken, WITHIN).await.unwrap_err();
    assert_eq!(failure.code, "LS-U01");
    assert!(failure.message.contains("/no/such/program does not exist"), "{}", failure.message);
    assert_eq!(get(address).unwrap(), ONE);
    assert_eq!(fixture.pid().await, pid);
}

#[tokio::test]
async fn a_crashing_app_is_started_again_with_growing_pauses_and_its_words_are_kept() {
    let fixture = Fixture::new();
    let begun = Instant::now();
    fixture.start(shell(ONE, "echo going down; exit 3")).await;
    loop {
        let status = fixture.driver.status(&fixture.app).await.unwrap().unwrap();
        match status.state {
            UnitState::Crashing { last } if status.restarts >= 2 => {
                assert_eq!(last.to_string(), "exit status 3");
                break;
            }
            UnitState::Crashing { .. } | UnitState::Up { .. } => (),
            other => panic!("{other}"),
        }
        assert!(begun.elapsed() < WITHIN);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(begun.elapsed() >= Duration::from_millis(600), "200 ms and 400 ms at least");
    let lines = fixture.driver.tail(&fixture.app, 20).unwrap();
    assert!(lines.len() >= 3 && lines.iter().all(|line| line.text == "going down"), "{lines:?}");
}

#[tokio::test]
async fn an_app_that_ends_well_stays_ended_and_one_that_is_asked_again_starts() {
    let fixture = Fixture::new();
    fixture.start(shell(ONE, "exit 0")).await;
    let begun = Instant::now();
    while !matches!(fixture.state().await, UnitState::Ended { .. }) {
        assert!(begun.elapsed() < WITHIN);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    fixture.start(shell(ONE, "exec sleep 1000")).await;
    assert!(fixture.state().await.is_up());
}

#[tokio::test]
#[ignore = "not a test: an agent that starts an app and is then killed"]
async fn the_agent() {
    let Ok(root) = std::env::var("THE_AGENT") else { return };
    let layout = Layout::under(Path::new(&root)).unwrap();
    let lives = if std::env::var_os("WITH_AGENT").is_some() { Lives::WithAgent } else { Lives::Outlive };
    let driver = ProcessDriver::new(me(), layout).with_lives(lives);
    let app = "shop".parse().unwrap();
    driver.start(&app, shell(ONE, "while :; do date; sleep 0.05; done"), WITHIN).await.unwrap();
    println!("\nstarted");
    std::future::pending::<()>().await;
}

/// An agent with an app that runs.
fn an_agent(fixture: &Fixture, more: &[(&str, &str)]) -> std::process::Child {
    let mut agent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_agent", "--ignored", "--nocapture"])
        .env("THE_AGENT", fixture._root.path())
        .envs(more.iter().copied())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = std::io::BufReader::new(agent.stdout.take().unwrap());
    let started = std::io::BufRead::lines(stdout).any(|line| line.unwrap() == "started");
    assert!(started);
    agent
}

/// Where nothing is to stay behind, as in the demo.
#[tokio::test]
async fn an_app_that_is_bound_to_the_agent_ends_with_it() {
    let fixture = Fixture::new();
    let mut agent = an_agent(&fixture, &[("WITH_AGENT", "1")]);
    let pids = [fixture.supervisor().unwrap(), fixture.pid().await as i32];
    agent.kill().unwrap();
    agent.wait().unwrap();
    for pid in pids {
        let gone = || procfs::one(pid).is_none_or(|proc| proc.zombie);
        assert!(until(WITHIN, gone), "{pid} lives on");
    }
}

/// The app does not notice that the agent is killed, and the next agent finds it running.
#[tokio::test]
async fn an_app_outlives_the_agent() {
    let fixture = Fixture::new();
    let mut agent = an_agent(&fixture, &[]);
    let pid = fixture.pid().await;
    agent.kill().unwrap();
    agent.wait().unwrap();
    let lines = fixture.driver.tail(&fixture.app, 10_000).unwrap().len();
    let goes_on = || fixture.driver.tail(&fixture.app, 10_000).unwrap().len() > lines + 2;
    assert!(until(WITHIN, goes_on), "it goes on writing");
    assert_eq!(fixture.pid().await, pid);
    let status = fixture.driver.status(&fixture.app).await.unwrap().unwrap();
    assert_eq!(status.slot, ONE.parse::<Slot>().unwrap());
    fixture.driver.stop(&fixture.app, WITHIN).await.unwrap();
}

/// When the supervisor itself is killed its app goes with it, so that the next one finds the sockets free.
#[tokio::test]
async fn a_killed_supervisor_takes_its_app_along_and_can_be_replaced() {
    let fixture = Fixture::new();
    let address = free_address();
    fixture.start(serving(ONE, address)).await;
    let (supervisor, app) = (fixture.supervisor().unwrap(), fixture.pid().await);
    Command::new("kill").args(["-KILL", &supervisor.to_string()]).status().unwrap();
    let gone = || procfs::one(app as i32).is_none_or(|proc| proc.zombie);
    assert!(until(WITHIN, gone));
    assert_eq!(fixture.driver.status(&fixture.app).await.unwrap(), None);
    assert_eq!(fixture.driver.wanted(&fixture.app), Some(ONE.parse().unwrap()));
    fixture.start(serving(ONE, address)).await;
    assert_eq!(get(address).unwrap(), ONE);
    fixture.driver.stop(&fixture.app, WITHIN).await.unwrap();
    assert_eq!(fixture.driver.wanted(&fixture.app), None);
}

/// The agent that lives notices it: the next look starts the app again, and further looks change nothing.
#[tokio::test]
async fn a_supervisor_that_died_is_restored_and_one_that_was_stopped_is_not() {
    let fixture = Fixture::new();
    let sleeper = || shell(ONE, "exec sleep 1000");
    let restore = async || {
        let order = async |slot: &Slot| {
            assert_eq!(slot.to_string(), ONE);
            Ok((sleeper(), WITHIN))
        };
        fixture.driver.restore(&fixture.app, order).await.unwrap()
    };
    assert_eq!(restore().await, None, "nothing was ever to run");
    fixture.start(sleeper()).await;
    assert_eq!(restore().await, None, "it runs");
    let supervisor = fixture.supervisor().unwrap();
    Command::new("kill").args(["-KILL", &supervisor.to_string()]).status().unwrap();
    assert!(until(WITHIN, || fixture.supervisor().is_none()));
    assert_eq!(restore().await, Some(ONE.parse().unwrap()));
    assert!(fixture.state().await.is_up());
    fixture.driver.stop(&fixture.app, WITHIN).await.unwrap();
    assert_eq!(restore().await, None, "it was stopped");
}

/// Whoever deletes an app's folder, or sends a signal, is not left with processes that nobody can reach any more.
#[tokio::test]
async fn a_supervisor_ends_with_its_folder_and_on_a_signal() {
    let deletes = |fixture: &Fixture, _| {
        std::fs::remove_dir_all(fixture.layout.run(&fixture.app, longshore_agent::host::layout::Part::Whole))
            .unwrap()
    };
    let signals = |_: &Fixture, pid: i32| {
        Command::new("kill").args(["-TERM", &pid.to_string()]).status().unwrap();
    };
    let ways: [fn(&Fixture, i32); 2] = [deletes, signals];
    for end in ways {
        let fixture = Fixture::new();
        fixture.start(shell(ONE, "exec sleep 1000")).await;
        let (supervisor, app) = (fixture.supervisor().unwrap(), fixture.pid().await as i32);
        end(&fixture, supervisor);
        for pid in [supervisor, app] {
            let gone = || procfs::one(pid).is_none_or(|proc| proc.zombie);
            assert!(until(WITHIN, gone), "{pid} lives on");
        }
    }
}

#[tokio::test]
async fn a_second_supervisor_is_refused() {
    let fixture = Fixture::new();
    fixture.start(shell(ONE, "exec sleep 1000")).await;
    let second = Command::new(me().program)
        .arg("__shim")
        .arg(fixture.layout.run(&fixture.app, longshore_agent::host::layout::Part::Whole))
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(75));
    assert!(String::from_utf8_lossy(&second.stdout).contains("in use by pid"), "{second:?}");
    assert!(fixture.state().await.is_up());
}

#[tokio::test]
async fn a_socket_that_is_taken_is_the_hosts_fault() {
    let fixture = Fixture::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let failure = fixture.driver.start(&fixture.app, serving(ONE, address), WITHIN).await.unwrap_err();
    assert_eq!(failure.blame, longshore_common::report::Blame::Environment);
    assert!(failure.message.contains(&address.to_string()), "{}", failure.message);
}

#[tokio::test]
async fn lines_are_followed_as_they_come() {
    let fixture = Fixture::new();
    fixture
        .start(shell(ONE, "n=0; while :; do n=$((n+1)); echo line $n; echo oops >&2; sleep 0.02; done"))
        .await;
    let (mut lines, mut words) = (0, 0);
    let (enough, mut told) = tokio::sync::mpsc::channel(1);
    let follow = fixture.driver.follow(&fixture.app, |entry| {
        // What was written to one of the two may all come before the other's.
        lines += u32::from(entry.text.starts_with("line "));
        words += u32::from(entry.text == "oops");
        if lines >= 3 && words >= 3 {
            let _ = enough.try_send(());
        }
    });
    tokio::select! {
        ended = follow => panic!("{ended:?}"),
        _ = told.recv() => (),
        () = tokio::time::sleep(WITHIN) => panic!("no lines"),
    }
}

/// Paths of sockets are short; folders are not.
#[tokio::test]
async fn a_deep_folder_is_no_obstacle() {
    let root = tempfile::tempdir().unwrap();
    let deep = root.path().join("d".repeat(120));
    let fixture = Fixture::at(deep, root);
    fixture.start(shell(ONE, "exec sleep 1000")).await;
    assert!(fixture.state().await.is_up());
}
