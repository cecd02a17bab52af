//! What only the daemon does: the log, signals, systemd, exit codes.

use std::{path::Path, process::ExitCode, time::Duration};

use longshore_common::{
    chain::Chain,
    code::{Code, Coded},
    regular::{self, Links},
    strict::FILE_BYTES,
};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Ended, Serving, serve};
use crate::{cli::exit::Exit, config::Config};

/// To be started again: the store has to be opened anew. `EX_TEMPFAIL` of sysexits.h.
pub const RESTART_ME: u8 = 75;

/// `longshore-controller serve --config FILE`, until a signal or a failure of the store.
pub fn main(config: &Path) -> ExitCode {
    start_log();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2) // a controller waits for disks and networks; two are enough for a thousand hosts
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.to_string(), Exit::Failed.number()),
    };
    let read = match read(config) {
        Ok(read) => read,
        Err(why) => return fail(&why.to_string(), Exit::Usage.number()),
    };
    runtime.block_on(run(config, read))
}

/// A controller's configuration, or everything that is wrong with it.
pub fn read(path: &Path) -> Result<Config, Coded> {
    let name = path.display().to_string();
    let text = regular::read_text(path, FILE_BYTES, Links::Followed)
        .map_err(|error| Coded::new(Code::N01, format!("cannot read {name}: {error}")))?;
    Config::parse(&name, &text).map_err(Coded::from)
}

async fn run(path: &Path, config: Config) -> ExitCode {
    let stop = CancellationToken::new();
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => return fail(&format!("listen for SIGHUP: {error}"), Exit::Failed.number()),
    };
    // Before anything says that this process serves: whoever reads that may tell it to stop.
    tokio::spawn(stop_on_signal(signals(), stop.clone()));
    let mut serving = match serve(config, stop).await {
        Ok(serving) => serving,
        Err(error) => return fail(&Chain(&error).to_string(), Exit::Failed.number()),
    };
    notify(&[NotifyState::Ready]);
    let watchdog = tokio::spawn(feed_watchdog());
    let ended = loop {
        tokio::select! {
            ended = serving.ended() => break ended,
            _ = hangups.recv() => reload(path, &serving),
        }
    };
    notify(&[NotifyState::Stopping]);
    watchdog.abort();
    match ended {
        Ended::Stopped => ExitCode::SUCCESS,
        Ended::StoreFailed(failed) => fail(&failed.coded().to_string(), RESTART_ME),
    }
}

/// Of the file only the names can change while the controller runs; the CA's files are read again as well.
fn reload(path: &Path, serving: &Serving) {
    match read(path) {
        Ok(config) => {
            tracing::info!("SIGHUP: reading certificates and names again");
            serving.reload(config.names);
        }
        Err(why) => tracing::error!(%why, "SIGHUP: the configuration does not read; nothing was changed"),
    }
}

type Signals = std::io::Result<(Signal, Signal)>;

/// From this call on they are heard.
fn signals() -> Signals {
    Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
}

async fn stop_on_signal(signals: Signals, stop: CancellationToken) {
    match signals {
        Ok((mut terminate, mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
                _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
            }
            notify(&[NotifyState::Stopping]);
            stop.cancel();
        }
        Err(error) => {
            tracing::error!(%error, "signals cannot be heard; only SIGKILL ends this process");
        }
    }
}

/// Tells systemd that the runtime still turns, twice as often as it wants to hear it.
async fn feed_watchdog() {
    let Some(deadline) = sd_notify::watchdog_enabled() else { return };
    let mut tick = tokio::time::interval((deadline / 2).max(Duration::from_millis(10)));
    loop {
        tick.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd was not told");
    }
}

/// To stderr, where the journal adds the time. A line that nobody takes any more is lost, and nothing else is: the
/// default would say so on the same stderr, which is a panic of whichever task had something to say. `LONGSHORE_LOG`
/// says how much: `info`, `debug`, or tracing's filters.
pub fn start_log() {
    use tracing_subscriber::EnvFilter;
    let filter = std::env::var("LONGSHORE_LOG").unwrap_or_else(|_| "info".to_owned());
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let log = log.with_ansi(false).log_internal_errors(false);
    if log.try_init().is_err() {
        tracing::debug!("a log was set up before");
    }
}

fn fail(why: &str, code: u8) -> ExitCode {
    eprintln!("longshore-controller: {why}");
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_is_no_file_is_named_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("controller.toml");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).unwrap();
        for (path, says) in [(pipe.as_path(), "it is a FIFO"), (Path::new("/dev/zero"), "it is a device")] {
            let refusal = read(path).unwrap_err();
            assert!(refusal.code == Code::N01 && refusal.message.contains(says), "{refusal}");
        }
    }
}
