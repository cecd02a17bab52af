//! The same way with two processes on the host: the helper unpacks what the agent brings it from the controller.

use std::sync::Arc;

use longshore_agent::{
    helper::{Courier, Peers, Remote, Served, serve},
    host::{Sink, fetch::fetch, sim::SimHost, stage::seal},
    run::{Crew, Limits},
    state::State,
    uplink::Uplink,
};
use longshore_common::{code::Code, time::SystemClock};
use tokio::net::UnixListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::dock::{Dock, app, assert_same, content};

/// A helper and an agent that has this way to the controller.
async fn halves(dock: &Dock) -> (Courier, DropGuard) {
    let folder = dock.folder.path();
    let state = State::open(&folder.join("agent-state"), Arc::new(SystemClock)).await.unwrap();
    let crew = Crew::new(Arc::new(SimHost::new()), state, dock.host, Limits::default());
    let courier = Courier::default();
    let socket = folder.join("helper.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let peers = Peers::root_and(rustix::process::geteuid().as_raw());
    let served = Served::new(crew, courier.clone(), dock.host, String::new(), peers);
    let shutdown = CancellationToken::new();
    tokio::spawn(serve(listener, served, shutdown.clone()));
    let (_sender, uplink) = Uplink::fixed(dock.host_channel());
    Remote::attach(&socket, folder, uplink, shutdown.clone()).await.unwrap();
    (courier, shutdown.drop_guard())
}

#[tokio::test]
async fn what_the_agent_brings_is_what_stands_in_the_slot() {
    let dock = Dock::open().await;
    let files = [("bin/app", content(1, 3 << 20)), ("large", content(2, 9 << 20)), ("empty", vec![])];
    let source = dock.source("1.0", &files);
    let release = dock.publish(&source).await.unwrap();
    let (disk, wanted) = (dock.disk("one"), dock.assign(&release).await);
    let (courier, _guard) = halves(&dock).await;
    fetch(courier.clone(), &disk, &app(), &wanted, &Sink::nowhere()).await.unwrap();
    seal(&disk, &app(), &wanted).unwrap();
    assert_same(&disk, &wanted, &source);
    // What the controller refuses is refused with its own words.
    let other = dock.publish(&dock.source("1.1", &files)).await.unwrap();
    let wanted = longshore_agent::plan::Wanted {
        version: other.version.parse().unwrap(),
        release: other.digest.parse().unwrap(),
        ..wanted
    };
    let refused = fetch(courier, &disk, &app(), &wanted, &Sink::nowhere()).await.unwrap_err();
    assert!(!refused.is_retryable(), "{refused}");
    assert_ne!(refused.coded().code, Code::C01, "{refused}");
}
