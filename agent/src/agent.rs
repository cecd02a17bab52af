//! The agent as a whole: its parts put together, from the start to the end of the process.

use std::sync::Arc;

use longshore_common::{
    code::{Code, Coded},
    digest::ReleaseDigest,
    durable::create_dir_durable,
    ids::AppName,
    time::{Clock as _, SystemClock},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, Processes, Runner},
    helper::Remote,
    host::{Host, real::RealHost, reexec::SelfExec},
    identity::{Folder, Opener, Pair},
    link::{self, Connection, Facts, Link},
    local::{self, Socket},
    offline::Shelf,
    run::{Crew, Works},
    service,
    state::State,
    trust::{Gate, keep_current},
    uplink::{Uplink, UplinkSender},
};

/// Why the agent ended, other than by being asked to.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Ended {
    /// It could not start, or not go on.
    #[error("{0}")]
    Trouble(Coded),
    /// The state takes no writes any more; a new process may be able to.
    #[error("{0}")]
    StateFailed(Coded),
}

impl From<Coded> for Ended {
    fn from(coded: Coded) -> Self {
        Ended::Trouble(coded)
    }
}

/// Runs the agent on this machine until `shutdown`. `exec` is how the running program is started again as a helper.
pub async fn run_agent(config: Config, exec: SelfExec, shutdown: CancellationToken) -> Result<(), Ended> {
    if config.processes == Processes::Two {
        return run_beside_helper(config, shutdown).await;
    }
    refuse_two(&config)?;
    refuse_unprivileged(&config)?;
    let make_host = async |config: &Config, uplink| {
        let host = RealHost::open(config, uplink, exec).await?;
        let tending = host.clone().tend();
        tokio::spawn(shutdown.child_token().run_until_cancelled_owned(tending));
        Ok(host)
    };
    run_over(config, make_host, shutdown.clone()).await
}

/// Runs the agent over a host until `shutdown`. `make_host` gets the way to the controller, by which the host fetches
/// what it lacks.
pub async fn run_over<H: Host>(
    config: Config,
    make_host: impl AsyncFnOnce(&Config, Uplink) -> Result<H, Coded>,
    shutdown: CancellationToken,
) -> Result<(), Ended> {
    let pair = enrolled(&config)?;
    let recipient = Opener::load_or_make(&config.vault())?.recipient();
    create_dir_durable(&config.data(), 0o755)
        .map_err(|e| Coded::new(e.code(), longshore_common::chain::Chain(&e).to_string()))?;
    let state = State::open(&config.state(), Arc::new(SystemClock)).await?;
    state.hold_while(config.hold_file());
    let shelf = Shelf::below(&config.data());
    shelf.sweep(&on_the_way(&state))?;
    let socket = Socket::listen(&config.socket, config.readers)?;
    let (uplink_sender, uplink) = Uplink::new();
    let host = Arc::new(make_host(&config, uplink).await?);
    let keeping = keep_current(host.trusting());
    let crew = Crew::new(host, Arc::clone(&state), pair.host, config.limits.clone());
    warn_unsigned(&Gate::new(&config));
    crew.resume();
    let reaching = Reaching { pair, recipient, socket, uplink: uplink_sender };
    let ended = tokio::select! {
        ended = reach_out(&config, crew.clone(), reaching, shutdown) => ended,
        failed = state.failed() => Err(Ended::StateFailed(failed.coded())),
        () = state.watch_hold_file() => Ok(()),
        () = keeping => Ok(()),
    };
    drop(crew);
    state.close().await;
    ended
}

/// Runs the agent without privileges: the helper has everything but the network.
async fn run_beside_helper(config: Config, shutdown: CancellationToken) -> Result<(), Ended> {
    let pair = enrolled(&config)?;
    let socket = Socket::listen(&config.socket, config.readers)?;
    let (uplink_sender, uplink) = Uplink::new();
    let (socket_of_helper, data) = (config.helper_socket(), config.data());
    let remote = Remote::attach(&socket_of_helper, &data, uplink, shutdown.child_token()).await?;
    let snapshot = remote.snapshot();
    if snapshot.host != pair.host {
        let message = format!(
            "the identity in `{}` is of host {}, the helper's is {}. On this host: longshore-agent processes two; then \
             systemctl restart longshore-helper longshore-agent",
            config.identity().display(),
            pair.host,
            snapshot.host
        );
        return Err(Coded::new(Code::E06, message).into());
    }
    let reaching = Reaching { pair, recipient: snapshot.recipient, socket, uplink: uplink_sender };
    reach_out(&config, remote, reaching, shutdown).await
}

/// Two of us would be one too many: whoever installed the helper has to say what is meant.
fn refuse_two(config: &Config) -> Result<(), Coded> {
    let socket = config.helper_socket();
    if std::os::unix::net::UnixStream::connect(&socket).is_err() {
        return Ok(());
    }
    let message = format!(
        "a helper listens on `{}`, and agent.toml says processes = \"one\". For two: longshore-agent processes two; for \
         one: systemctl disable --now longshore-helper.socket longshore-helper.service",
        socket.display()
    );
    Err(Coded::new(Code::R01, message))
}

/// A unit for two and a file for one do not fit together, and nothing falls back by itself.
fn refuse_unprivileged(config: &Config) -> Result<(), Coded> {
    let runner = config.driver.unwrap_or_else(Runner::detect);
    if runner == Runner::Process || rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let message = "agent.toml says processes = \"one\", and one process that drives systemd has to be root. With a helper: \
                   sudo longshore-agent processes two; without: longshore-agent-single.service";
    Err(Coded::new(Code::R01, message))
}

/// What talking to the controller and to admins takes.
struct Reaching {
    pair: Pair,
    recipient: String,
    socket: Socket,
    uplink: UplinkSender,
}

/// The session and the local socket, over whoever makes this host true.
async fn reach_out<W: Works>(
    config: &Config,
    works: W,
    reaching: Reaching,
    shutdown: CancellationToken,
) -> Result<(), Ended> {
    let Reaching { pair, recipient, socket, uplink } = reaching;
    let runner = config.driver.unwrap_or_else(Runner::detect);
    let facts = Facts {
        root: config.data(),
        driver: runner.as_str().to_owned(),
        loopback: config.loopback.map(Into::into),
        uplink: None,
    };
    let (host_id, name) = (pair.host.to_string(), pair.name.clone());
    let (version, boot, processes) =
        (env!("CARGO_PKG_VERSION"), works.boot().counter, config.processes.as_str());
    tracing::info!(host = host_id, name, version, boot, processes, "started");
    let (link, connection) = Link::new(link::Parts {
        controllers: config.controllers.clone(),
        labels: config.labels.clone(),
        crew: works.clone(),
        facts,
        identity: config.identity(),
        pair,
        uplink,
        recipient,
        witness: link::Witness::open(config.checkpoints()),
    });
    let parts = local::Parts {
        crew: works,
        connection: connection.clone(),
        readers: config.readers,
        host_id,
        name,
        started_ms: SystemClock.now_ms(),
    };
    tokio::select! {
        served = socket.serve(parts, shutdown.clone()) => served.map_err(Ended::from),
        () = link.run(shutdown.clone()) => Ok(()),
        () = tell_service_manager(connection) => Ok(()),
    }
}

/// Releases that were brought by hand and do not lie in a slot yet.
pub(crate) fn on_the_way(state: &State) -> Vec<(AppName, ReleaseDigest)> {
    let records = state.apps().into_iter().map(|app| (state.record(&app), app));
    let local = records.filter(|(record, _)| record.local.is_some() && record.is_busy());
    local.filter_map(|(record, app)| Some((app, record.accepted?.release))).collect()
}

/// Where nothing is pinned, whoever owns the controller owns this host.
pub(crate) fn warn_unsigned(gate: &Gate) {
    let facts = gate.facts();
    match facts.state.as_str() {
        "unsigned" => tracing::warn!(
            "UNSIGNED: this host pins no root and runs whatever the controller says. Enrol it again with a token of a \
             fleet that has one, or say allow_unsigned = true in policy.toml"
        ),
        "damaged" => tracing::error!("{}", facts.problem),
        _ => {}
    }
}

fn enrolled(config: &Config) -> Result<Pair, Coded> {
    Folder::new(config.identity()).load()?.ok_or_else(|| {
        let message = format!(
            "this host is not enrolled: there is no certificate in `{}`. On the controller: longshore token create; \
             then here: longshore-agent enroll",
            config.identity().display()
        );
        Coded::new(Code::N01, message)
    })
}

/// Ready, then alive, and in a line how it stands. Never ends.
async fn tell_service_manager(mut connection: watch::Receiver<Connection>) {
    service::ready();
    let watchdog = service::watchdog_interval();
    loop {
        let line = {
            let now = connection.borrow_and_update();
            if now.connected {
                format!("connected to {}", now.controller)
            } else {
                format!("not connected: {}", now.error)
            }
        };
        service::status(&line);
        loop {
            service::alive();
            let beat = async {
                match watchdog {
                    Some(interval) => tokio::time::sleep(interval).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Ok(()) = connection.changed() => break,
                () = beat => {}
            }
        }
    }
}
