//! `longshore-agent run`: the daemon.

use std::{io::IsTerminal as _, path::PathBuf, process::ExitCode, time::Duration};

use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use super::{
    Exit,
    args::{Args, Output, Run},
    complain, exit_of,
};
use crate::{
    agent::{Ended, run_agent},
    config::{Config, Processes},
    host::{lean, process::Lives, reexec::SelfExec, sys::use_lean_heap},
};

/// From sysexits: try again. systemd does, and a new process can open the state.
const TRY_AGAIN: u8 = 75;
/// Threads for what blocks: disk, hashing, decompression.
const BLOCKING_THREADS: usize = 8;
/// A blocking thread without work goes soon: each keeps memory of its own.
const THREAD_IDLE: Duration = Duration::from_secs(2);

pub fn run(args: &Args, wanted: Run, exec: SelfExec) -> ExitCode {
    use_lean_heap();
    log_to_stderr(wanted.log);
    let config = match Config::load(&args.config_file(), &args.root) {
        Ok(config) => config,
        Err(error) => {
            complain(&error, args.output);
            return ExitCode::from(exit_of(error.code) as u8);
        }
    };
    let config = with_credentials(config);
    let runtime = runtime();
    let ended = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        tokio::spawn(cancel_on_signal(shutdown.clone(), what_stops(&config)));
        tokio::spawn(lean::tend());
        run_agent(config, exec, shutdown).await
    });
    runtime.shutdown_timeout(Duration::from_secs(2));
    how_it_ended(ended, args.output)
}

fn how_it_ended(ended: Result<(), Ended>, output: Output) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::from(Exit::Done as u8),
        Err(Ended::Trouble(error)) => {
            complain(&error, output);
            ExitCode::from(exit_of(error.code) as u8)
        }
        Err(Ended::StateFailed(error)) => {
            complain(&error, output);
            ExitCode::from(TRY_AGAIN)
        }
    }
}

/// Of a daemon, whose log its errors are in.
pub(crate) fn exit_code(ended: Result<(), Ended>) -> ExitCode {
    how_it_ended(ended, Output::Table)
}

/// systemd's word on where it put them; nothing after this looks at the environment.
pub(crate) fn with_credentials(config: Config) -> Config {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    Config { credentials: credentials.filter(|folder| folder.is_absolute()), ..config }
}

/// One thread: an agent waits most of the time, and every further thread costs memory.
pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(THREAD_IDLE)
        .build()
        .expect("a runtime needs a few descriptors, which a process that has just begun has")
}

/// What becomes of the apps when an agent of this configuration ends.
fn what_stops(config: &Config) -> &'static str {
    match (config.apps, config.processes) {
        (Lives::Outlive, _) => "stopping; apps run on",
        (Lives::WithAgent, Processes::One) => "stopping, and with this agent the apps of the process driver",
        (Lives::WithAgent, Processes::Two) => "stopping; apps live as long as the helper",
    }
}

/// Logs `what` stops when a signal says so.
pub(crate) async fn cancel_on_signal(shutdown: CancellationToken, what: &'static str) {
    let listen = |kind| signal(kind).expect("these signals can be handled");
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt()));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("{what}");
    shutdown.cancel();
}

/// Without time and colour where the journal adds its own. What libraries have to say below a warning is for those
/// who work on them. A line that nobody takes any more is lost, and nothing else is: the default would say so on the
/// same stderr, which is a panic of whichever task had something to say.
pub(crate) fn log_to_stderr(level: tracing::Level) {
    let ours = Targets::new().with_target("longshore", level).with_default(tracing::Level::WARN);
    let format = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let format = format.log_internal_errors(false);
    let registry = tracing_subscriber::registry().with(ours);
    if std::io::stderr().is_terminal() {
        registry.with(format).init();
    } else {
        registry.with(format.with_ansi(false).without_time()).init();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apps_are_said_to_run_on_only_where_they_do() {
        let mut config = Config::new("/".into(), vec![]);
        assert_eq!(what_stops(&config), "stopping; apps run on");
        config.apps = Lives::WithAgent;
        assert!(what_stops(&config).contains("with this agent the apps"));
        config.processes = Processes::Two;
        assert!(what_stops(&config).contains("as long as the helper"));
    }
}
