//! The agent as a whole: its parts put together, from the start to the end of the process.

use std::sync::Arc;

use longshore_common::{
    code::{Code, Coded},
    durable::create_dir_durable,
    time::{Clock as _, SystemClock},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, Runner},
    host::{Host, real::RealHost, reexec::SelfExec},
    identity::{Folder, Opener, Pair},
    link::{self, Connection, Facts, Link},
    local::{self, Socket},
    run::Crew,
    service,
    state::State,
    trust::Gate,
    uplink::Uplink,
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
    let recipient = Opener::load_or_make(&config.identity())?.recipient();
    create_dir_durable(&config.data(), 0o755)
        .map_err(|e| Coded::new(e.code(), longshore_common::chain::Chain(&e).to_string()))?;
    let state = State::open(&config.state(), Arc::new(SystemClock)).await?;
    let socket = Socket::listen(&config.socket, config.readers)?;
    let (uplink_sender, uplink) = Uplink::new();
    let host = Arc::new(make_host(&config, uplink).await?);
    let crew = Crew::new(host, Arc::clone(&state), pair.host, config.limits.clone());
    let runner = config.driver.unwrap_or_else(Runner::detect);
    let gate = Gate::new(&config);
    warn_unsigned(&gate);
    let facts = Facts { root: config.data(), driver: runner.as_str().to_owned(), gate: gate.clone() };
    let (host_id, name) = (pair.host.to_string(), pair.name.clone());
    tracing::info!(
        host = host_id,
        name,
        version = env!("CARGO_PKG_VERSION"),
        boot = state.boot_counter(),
        "started"
    );
    let (link, connection) = Link::new(link::Parts {
        controllers: config.controllers.clone(),
        labels: config.labels.clone(),
        crew: crew.clone(),
        facts,
        identity: config.identity(),
        pair,
        uplink: uplink_sender,
        recipient,
        witness: link::Witness::open(config.checkpoints()),
    });
    let started_ms = SystemClock.now_ms();
    let parts = local::Parts {
        crew: crew.clone(),
        gate,
        connection: connection.clone(),
        readers: config.readers,
        host_id,
        name,
        started_ms,
    };
    crew.resume();
    let ended = tokio::select! {
        served = socket.serve(parts, shutdown.clone()) => served.map_err(Ended::from),
        () = link.run(shutdown.clone()) => Ok(()),
        failed = state.failed() => Err(Ended::StateFailed(failed.coded())),
        () = tell_service_manager(connection) => Ok(()),
    };
    drop(crew);
    state.close().await;
    ended
}

/// Where nothing is pinned, whoever owns the controller owns this host.
fn warn_unsigned(gate: &Gate) {
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
