//! An agent for one deployment by hand, on a host where none runs: the same state, host, socket and steps, and no way
//! to any controller. What it has to report waits in the outbox until an enrolled agent runs here.

use std::sync::Arc;

use longshore_common::{
    chain::Chain,
    code::{Code, Coded},
    durable::create_dir_durable,
    ids::HostId,
    time::{Clock as _, SystemClock},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    host::{real::RealHost, reexec::SelfExec},
    identity::Folder,
    link::Connection,
    local::{self, Socket},
    offline::Shelf,
    run::Crew,
    state::State,
    uplink::Uplink,
};

/// Until `stop`, or until the state cannot be written.
pub async fn run_alone(config: Config, exec: SelfExec, stop: CancellationToken) -> Result<(), Coded> {
    let disk = |e: longshore_common::durable::DurableError| Coded::new(e.code(), Chain(&e).to_string());
    create_dir_durable(&config.data(), 0o755).map_err(disk)?;
    create_dir_durable(&config.identity(), 0o700).map_err(disk)?;
    create_dir_durable(&config.vault(), 0o700).map_err(disk)?;
    let pair = Folder::new(config.identity()).load()?;
    // A host that has never enrolled has no name yet; nothing that it does under this one is taken for another's.
    let (me, name) = pair.map_or((HostId::NONE, String::new()), |pair| (pair.host, pair.name));
    let state = State::open(&config.state(), Arc::new(SystemClock)).await?;
    state.hold_while(config.hold_file());
    let shelf = Shelf::below(&config.data());
    shelf.sweep(&crate::agent::on_the_way(&state))?;
    let socket = Socket::listen(&config.socket, config.readers)?;
    let (_never_connected, uplink) = Uplink::new();
    let host = Arc::new(RealHost::open(&config, uplink, exec).await?);
    let crew = Crew::new(host, Arc::clone(&state), me, config.limits.clone());
    let away = Connection { error: "this is a deployment by hand".to_owned(), ..Connection::default() };
    let (_connection, connection) = watch::channel(away);
    let parts = local::Parts {
        crew: crew.clone(),
        connection,
        readers: config.readers,
        host_id: me.to_string(),
        name,
        started_ms: SystemClock.now_ms(),
    };
    crew.resume();
    let ended = tokio::select! {
        served = socket.serve(parts, stop) => served,
        failed = state.failed() => Err(Coded::new(Code::S04, failed.coded().message)),
    };
    drop(crew);
    state.close().await;
    ended
}
