//! Programs as transient units: systemd's control group ends everything they started, and none of our limits and
//! privileges is theirs.

use std::{
    io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use tokio::{net::unix::pipe, sync::mpsc, time::timeout};
use zbus::{Fd, Variant};

use super::bus::{Bus, BusError, JobResult, Manager, Properties, number, text};
use crate::host::{
    Stream,
    launch::{Fault, LaunchSpec},
    lines::pass_lines,
    tree::Ended,
};

/// From SIGTERM to SIGKILL, for what a hook leaves behind or when its time is over.
const STOP: Duration = Duration::from_secs(5);
/// On top of it, for systemd itself.
const SLACK: Duration = Duration::from_secs(20);
/// After the unit has ended, for output that a stranger keeps open.
const DRAIN: Duration = Duration::from_secs(1);

/// What a program is run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    name: String,
    description: String,
    sandbox: Sandbox,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sandbox {
    /// What the app's own unit has.
    OfApp,
    /// The program is the machine's own.
    None,
}

impl Unit {
    /// For a program of a release. Every name is one that no unit of an app has.
    pub fn of_app(name: String, what: &str) -> Self {
        Self { name, description: format!("Longshore {what}"), sandbox: Sandbox::OfApp }
    }

    /// For a program of this machine.
    pub fn of_machine(name: String, what: &str) -> Self {
        Self { name, description: format!("Longshore {what}"), sandbox: Sandbox::None }
    }
}

/// Runs the program to its end or for `limit`; `each` hears every line as it comes. Dropped half way, it is stopped.
pub async fn run(
    bus: &Bus,
    unit: &Unit,
    spec: &LaunchSpec,
    limit: Duration,
    mut each: impl FnMut(Stream, String),
) -> Result<Ended, Fault> {
    let name = &unit.name;
    let fault = |e: BusError| Fault(e.to_string());
    let manager = bus.open().await.map_err(fault)?;
    // One of a name at a time: what a process of ours that died left running is found and stopped.
    manager.stop(name, STOP + SLACK).await.map_err(fault)?;
    manager.reset_failed(name).await.map_err(fault)?;

    let (lines, mut heard) = mpsc::channel(64);
    let ends = [Stream::Stdout, Stream::Stderr].map(|stream| output(stream, lines.clone()));
    drop(lines);
    let [out, err] = ends;
    let io = |e: io::Error| Fault(format!("make a pipe: {e}"));
    let (out, err) = (out.map_err(io)?, err.map_err(io)?);
    let guard = StopOnDrop { bus: bus.clone(), name: Some(name.clone()) };
    let job = start_and_wait(&manager, unit, spec, limit, out, err);
    tokio::pin!(job);
    let properties = loop {
        tokio::select! {
            result = &mut job => break result,
            Some((stream, line)) = heard.recv() => each(stream, line),
        }
    };
    let properties = properties.map_err(fault)?;
    let rest = async {
        while let Some((stream, line)) = heard.recv().await {
            each(stream, line)
        }
    };
    // What is still open after that is held by a stranger outside the unit.
    let _ = timeout(DRAIN, rest).await;
    guard.disarm();
    manager.unreference(name).await.map_err(fault)?;
    manager.reset_failed(name).await.map_err(fault)?;
    how_it_ended(spec, &properties)
}

type Lines = mpsc::Sender<(Stream, String)>;

/// The end that the program writes to.
fn output(stream: Stream, lines: Lines) -> io::Result<Fd<'static>> {
    let (read, write) = io::pipe()?;
    let pipe = pipe::Receiver::from_owned_fd(read.into())?;
    tokio::spawn(pass_lines(pipe, stream, lines));
    Ok(Fd::from(OwnedFd::from(write)))
}

/// A start of a oneshot lasts until the program has ended, so the start's timeout is the program's.
async fn start_and_wait(
    manager: &Manager,
    unit: &Unit,
    spec: &LaunchSpec,
    limit: Duration,
    out: Fd<'static>,
    err: Fd<'static>,
) -> Result<Properties, BusError> {
    let begun = Instant::now();
    let within = limit + STOP + SLACK;
    let name = unit.name.as_str();
    let mut properties = properties(unit, spec, out, err);
    properties.extend([
        ("Type", Variant::from("oneshot")),
        ("TimeoutStartUSec", Variant::from(limit.as_micros() as u64)),
        ("AddRef", Variant::from(true)),
    ]);
    let body = (name, "fail", properties, Vec::<(String, Vec<(String, Variant<'_>)>)>::new());
    manager.job("StartTransientUnit", &body, within).await?;
    drop(body); // our ends of the pipes, so that they close with the unit
    manager.until_inactive(name, within.saturating_sub(begun.elapsed()).max(SLACK)).await
}

/// What it runs, as whom and within what.
fn properties<'a>(
    unit: &'a Unit,
    spec: &'a LaunchSpec,
    out: Fd<'static>,
    err: Fd<'static>,
) -> Vec<(&'static str, Variant<'a>)> {
    let program = spec.program.to_string_lossy().into_owned();
    let argv: Vec<String> = std::iter::once(program.clone()).chain(spec.args.iter().cloned()).collect();
    // Program, words, and that a failure of it is one.
    let exec = vec![(program, argv, false)];
    let environment: Vec<String> = spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut properties = vec![
        ("Description", Variant::from(unit.description.as_str())),
        ("ExecStart", Variant::from(exec)),
        ("WorkingDirectory", Variant::from(spec.cwd.to_string_lossy().into_owned())),
        ("Environment", Variant::from(environment)),
        ("TimeoutStopUSec", Variant::from(STOP.as_micros() as u64)),
        ("KillMode", Variant::from("control-group")),
        ("NoNewPrivileges", Variant::from(true)),
        ("StandardOutputFileDescriptor", Variant::from(out)),
        ("StandardErrorFileDescriptor", Variant::from(err)),
    ];
    if unit.sandbox == Sandbox::OfApp {
        properties.extend([
            ("PrivateTmp", Variant::from(true)),
            ("RestrictSUIDSGID", Variant::from(true)),
            ("RestrictRealtime", Variant::from(true)),
            ("LockPersonality", Variant::from(true)),
        ]);
    }
    // As in the app's own unit, see `text::OF_ROOT`.
    if unit.sandbox == Sandbox::OfApp && spec.account.as_ref().is_none_or(|account| account.uid == 0) {
        properties.push(("ProtectSystem", Variant::from("full")));
        let more = ["ProtectKernelTunables", "ProtectKernelModules", "ProtectControlGroups"];
        properties.extend(more.map(|name| (name, Variant::from(true))));
    }
    if let Some(account) = &spec.account {
        properties.push(("User", Variant::from(account.name.clone())));
    }
    properties
}

/// Starts a program that goes on by itself. Whatever has the unit's name is stopped first.
pub async fn start(
    bus: &Bus,
    unit: &Unit,
    spec: &LaunchSpec,
    out: OwnedFd,
    err: OwnedFd,
) -> Result<(), BusError> {
    let manager = bus.open().await?;
    manager.stop(&unit.name, STOP + SLACK).await?;
    manager.reset_failed(&unit.name).await?;
    let mut properties = properties(unit, spec, Fd::from(out), Fd::from(err));
    // It is forgotten when it has ended, however it did.
    properties
        .extend([("Type", Variant::from("exec")), ("CollectMode", Variant::from("inactive-or-failed"))]);
    let body = (unit.name.as_str(), "fail", properties, Vec::<(String, Vec<(String, Variant<'_>)>)>::new());
    match manager.job("StartTransientUnit", &body, SLACK).await? {
        JobResult::Done => Ok(()),
        ended @ (JobResult::Failed | JobResult::TimedOut | JobResult::Replaced) => {
            Err(BusError::Broken(format!("the start of {} ended as {ended:?}", unit.name)))
        }
    }
}

fn how_it_ended(spec: &LaunchSpec, properties: &Properties) -> Result<Ended, Fault> {
    let status = number(properties, "ExecMainStatus") as i32;
    let exited = number(properties, "ExecMainCode") == CLD_EXITED;
    match text(properties, "Result").as_str() {
        "timeout" => Ok(Ended::TimedOut),
        "resources" => Err(Fault("systemd could not make a process for it".into())),
        _ if exited => super::setup_fault(status, &spec.program).map_or(Ok(Ended::Exit(status)), Err),
        _ => Ok(Ended::Signal(status)),
    }
}

const CLD_EXITED: u64 = 1;

/// The program must not outlive whoever waits for it.
struct StopOnDrop {
    bus: Bus,
    name: Option<String>,
}

impl StopOnDrop {
    fn disarm(mut self) {
        self.name = None;
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        let (Some(name), Ok(runtime)) = (self.name.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let bus = self.bus.clone();
        runtime.spawn(async move {
            if let Ok(manager) = bus.open().await {
                // Its own timeout ends it if this cannot.
                let _ = manager.stop(&name, STOP + SLACK).await;
            }
        });
    }
}
