//! `longshore-helper`, the program: started by its socket, root, without network.

use std::{
    ffi::OsString,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::Parser;
use longshore_common::{
    code::{Code, Coded},
    durable::create_dir_durable,
    time::SystemClock,
};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use super::{AGENT_USER, Courier, Peers, Served, divide::read_host, serve};
use crate::{
    agent::{Ended, on_the_way, warn_unsigned},
    cli,
    config::{Config, Processes},
    host::{Host as _, account::Account, lean, real::RealHost, reexec::SelfExec, sys},
    identity::Opener,
    offline::Shelf,
    run::Crew,
    service,
    state::State,
    trust::{Gate, keep_current},
};

/// The name under which `longshore-agent` is the helper: a link to it.
pub const NAME: &str = "longshore-helper";
/// Before the end of one that could not start.
const PAUSE: Duration = Duration::from_secs(2);

/// Verifies and carries out what the agent is told, as root and without network. systemd starts it by its socket; the
/// agent is what an admin talks to.
#[derive(Clone, Debug, Parser)]
#[command(
    name = NAME,
    version,
    after_help = "\
Examples:
  systemctl status longshore-helper.socket longshore-helper.service
  journalctl -u longshore-helper -n 50
  longshore-helper --listen /run/longshore-helper.sock     # by hand, where there is no systemd"
)]
pub struct Args {
    /// The folder below which everything lies
    #[arg(long, default_value = "/", value_name = "DIR")]
    root: PathBuf,
    /// The agent's configuration [default: etc/longshore/agent.toml below the root]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The user that the agent runs as, who alone may speak besides root
    #[arg(long, default_value = AGENT_USER, value_name = "NAME")]
    user: String,
    /// Listen there, when no socket was passed
    #[arg(long, value_name = "SOCKET")]
    listen: Option<PathBuf>,
    /// error, warn, info, debug or trace
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    log: tracing::Level,
}

/// `args` begins with the program's name; `exec` is how this program is started again.
pub fn main(args: impl IntoIterator<Item = OsString>, exec: SelfExec) -> ExitCode {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => {
            drop(error.print()); // a closed terminal is no reason to fail differently
            return ExitCode::from(if error.use_stderr() { cli::USAGE } else { 0 });
        }
    };
    sys::use_lean_heap();
    cli::log_to_stderr(args.log);
    let runtime = cli::runtime();
    let ended = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        tokio::spawn(cli::cancel_on_signal(shutdown.clone(), "stopping"));
        tokio::spawn(lean::tend());
        let ended = run(&args, exec, shutdown.clone()).await;
        if let Err(Ended::Trouble(_)) = &ended {
            // Whoever knocks would have systemd try again without a pause, and after some tries not at all.
            drop(tokio::time::timeout(PAUSE, shutdown.cancelled()).await);
        }
        ended
    });
    runtime.shutdown_timeout(PAUSE);
    cli::exit_code(ended)
}

async fn run(args: &Args, exec: SelfExec, shutdown: CancellationToken) -> Result<(), Ended> {
    let file = args.config.clone().unwrap_or_else(|| Config::file_below(&args.root));
    let config = cli::with_credentials(Config::load(&file, &args.root)?);
    if config.processes == Processes::One {
        let message = format!(
            "`{}` says processes = \"one\", so there is nothing for a helper to do. For two: longshore-agent processes two",
            file.display()
        );
        return Err(Coded::new(Code::R01, message).into());
    }
    let peers = Peers::root_and(Account::of_agent(&args.user)?.uid);
    let listener = listener(args.listen.as_deref())?;
    let host_id = read_host(&config)?;
    let recipient = Opener::load_or_make(&config.vault())?.recipient();
    create_dir_durable(&config.data(), 0o755)
        .map_err(|e| Coded::new(e.code(), longshore_common::chain::Chain(&e).to_string()))?;
    let state = State::open(&config.state(), Arc::new(SystemClock)).await?;
    state.hold_while(config.hold_file());
    Shelf::below(&config.data()).sweep(&on_the_way(&state))?;
    warn_unsigned(&Gate::new(&config));
    let courier = Courier::default();
    let host = RealHost::open(&config, courier.clone(), exec).await?;
    tokio::spawn(shutdown.child_token().run_until_cancelled_owned(host.clone().tend()));
    let keeping = keep_current(host.trusting());
    let crew = Crew::new(Arc::new(host), Arc::clone(&state), host_id, config.limits.clone());
    let (version, boot) = (env!("CARGO_PKG_VERSION"), state.boot_counter());
    tracing::info!(host = %host_id, version, boot, "started");
    crew.resume();
    let served = Served::new(crew.clone(), courier, host_id, recipient, peers);
    let ended = tokio::select! {
        () = serve(listener, served, shutdown) => Ok(()),
        failed = state.failed() => Err(Ended::StateFailed(failed.coded())),
        () = tell_service_manager() => Ok(()),
        () = state.watch_hold_file() => Ok(()),
        () = keeping => Ok(()),
    };
    drop(crew);
    state.close().await;
    ended
}

/// Ready, then alive. Never ends.
async fn tell_service_manager() {
    service::ready();
    let Some(interval) = service::watchdog_interval() else { return std::future::pending().await };
    loop {
        service::alive();
        tokio::time::sleep(interval).await;
    }
}

fn listener(path: Option<&Path>) -> Result<UnixListener, Coded> {
    let failed = |e: std::io::Error| Coded::new(Code::S04, format!("listen on what was passed: {e}"));
    if let Some(passed) = sys::passed_sockets().map_err(failed)?.into_iter().next() {
        let listener = std::os::unix::net::UnixListener::from(passed);
        listener.set_nonblocking(true).map_err(failed)?;
        return UnixListener::from_std(listener).map_err(failed);
    }
    let Some(path) = path else {
        let message =
            "no socket was passed: systemd starts this by longshore-helper.socket. By hand: --listen SOCKET";
        return Err(Coded::new(Code::V01, message));
    };
    // What an earlier one left; a living one is told from it by the lock on the state.
    drop(std::fs::remove_file(path));
    let failed = |e: std::io::Error| {
        let why = match e.kind() {
            std::io::ErrorKind::NotFound => "its folder is not there: make it first".to_owned(),
            _ => e.to_string(),
        };
        Coded::new(Code::S04, format!("listen on `{}`: {why}", path.display()))
    };
    let listener = UnixListener::bind(path).map_err(failed)?;
    // Who speaks is asked of the kernel.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).map_err(failed)?;
    Ok(listener)
}
