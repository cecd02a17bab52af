//! The child that becomes the program.

use std::{
    convert::Infallible,
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
    os::unix::{fs::PermissionsExt, net::UnixStream, process::CommandExt},
    path::Path,
    process::{Command, ExitCode},
};

use rustix::{
    fs::Mode,
    io::fcntl_dupfd_cloexec,
    process::{Gid, Signal, Uid, getppid, set_parent_process_death_signal, setsid, umask},
    stdio::{dup2_stdin, stdin},
    thread::{set_thread_gid, set_thread_groups, set_thread_uid},
};

use super::{Fault, LaunchSpec, wire};
use crate::host::{
    account::Account,
    sys::{FIRST_PASSED, place_for_exec},
};

/// What systemd exits with when exec failed.
const EXIT_EXEC: u8 = 203;

/// Runs in a process of its own with a single thread, so what is set per thread holds for the process.
pub fn main() -> ExitCode {
    let fault = match become_program() {
        Ok(never) => match never {},
        Err((fault, control)) => (fault, control),
    };
    if let (fault, Some(control)) = fault {
        // Nobody is left to tell when this fails.
        let _ = UnixStream::from(control).write_all(fault.0.as_bytes());
    }
    ExitCode::from(EXIT_EXEC)
}

type Failed = (Fault, Option<OwnedFd>);

fn become_program() -> Result<Infallible, Failed> {
    let silent = |doing: &str, e: io::Error| (Fault::io(doing, &e), None);
    let control = fcntl_dupfd_cloexec(stdin(), FIRST_PASSED).map_err(|e| silent("keep stdin", e.into()))?;
    let control = UnixStream::from(control);
    let (order, sockets) = wire::receive(&control).map_err(|e| silent("read the order", e))?;
    let arranged = arrange(&order);
    let control = OwnedFd::from(control);
    if let Err(fault) = arranged {
        return Err((fault, Some(control)));
    }
    let control =
        place_for_exec(sockets, control).map_err(|e| silent("put the sockets in their places", e))?;
    let mut command = command(&order.spec, &order.names);
    let error = command.exec();
    Err((explain(&order.spec.program, &error), Some(control)))
}

fn arrange(order: &wire::Order) -> Result<(), Fault> {
    let spec = &order.spec;
    let null = File::open("/dev/null").map_err(|e| Fault::io("open /dev/null", &e))?;
    dup2_stdin(&null).map_err(|e| Fault::io("close stdin", &e.into()))?;
    drop(null);
    setsid().map_err(|e| Fault::io("begin a session", &e.into()))?;
    umask(Mode::from_raw_mode(0o022));
    if let Some(account) = &spec.account {
        change_user(account)?;
    }
    // After the change of user, which resets it.
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|e| Fault::io("bind to the parent", &e.into()))?;
    if getppid().is_none_or(|pid| pid.as_raw_nonzero().get() as u32 != order.parent) {
        return Err(Fault("its supervisor has ended".into()));
    }
    std::env::set_current_dir(&spec.cwd).map_err(|e| Fault::io(&format!("enter {}", spec.cwd.display()), &e))
}

fn change_user(account: &Account) -> Result<(), Fault> {
    let fault = |e: rustix::io::Errno| Fault::io(&format!("become user {}", account.name), &e.into());
    let groups: Vec<Gid> = account.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    set_thread_groups(&groups).map_err(fault)?;
    set_thread_gid(Gid::from_raw(account.gid)).map_err(fault)?;
    set_thread_uid(Uid::from_raw(account.uid)).map_err(fault)
}

fn command(spec: &LaunchSpec, names: &[String]) -> Command {
    let mut command = Command::new(&spec.program);
    command.args(&spec.args).env_clear().envs(&spec.env);
    if !names.is_empty() {
        command
            .env("LISTEN_PID", std::process::id().to_string())
            .env("LISTEN_FDS", names.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"));
    }
    command
}

/// What exec's error means to whoever packed the release.
fn explain(program: &Path, error: &io::Error) -> Fault {
    let shown = program.display();
    let words = match (std::fs::metadata(program), error.kind()) {
        (Err(e), _) if e.kind() == io::ErrorKind::NotFound => format!("{shown} does not exist"),
        (Ok(meta), _) if meta.is_dir() => format!("{shown} is a folder, not a program"),
        (Ok(meta), io::ErrorKind::PermissionDenied) if meta.permissions().mode() & 0o111 == 0 => {
            format!("{shown} is not executable: set its mode with chmod +x before publishing")
        }
        (Ok(_), io::ErrorKind::NotFound) => {
            format!("the interpreter or loader that {shown} asks for is not on this host")
        }
        _ if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
            format!("{shown} is not a program that this machine can run (wrong architecture, or no #! line)")
        }
        _ => format!("{shown} cannot be executed: {error}"),
    };
    Fault(words)
}
