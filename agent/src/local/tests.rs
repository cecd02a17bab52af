//! The socket, with the kernel's word for who is calling.

use std::sync::Arc;

use longshore_common::{code::Code, time::SystemClock, wire::from_status};
use longshore_proto::v1::{self as pb, local_client::LocalClient};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Channel;

use super::{Parts, Readers, Socket, client::connect};
use crate::{
    host::sim::{SimHost, WARM_UNTIL_MS},
    link::Connection,
    plan::tests::bench::{app, run},
    run::{Crew, Limits, Told},
    state::State,
};

struct Agent {
    crew: Crew<SimHost>,
    client: LocalClient<Channel>,
    dir: TempDir,
    _shutdown: DropGuard,
}

async fn agent() -> Agent {
    let dir = tempfile::tempdir().unwrap();
    let state = State::open(&dir.path().join("state"), Arc::new(SystemClock)).await.unwrap();
    let host = longshore_common::ids::HostId(uuid::Uuid::from_u128(7));
    let crew = Crew::new(Arc::new(SimHost::new()), state, host, Limits::default());
    let path = dir.path().join("run/agent.sock");
    let socket = Socket::listen(&path, Readers::Owner).unwrap();
    let connection = Connection { controller: "c:1".into(), error: "away".into(), ..Connection::default() };
    let parts = Parts {
        crew: crew.clone(),
        connection: watch::channel(connection).1,
        readers: Readers::Owner,
        host_id: host.to_string(),
        name: "web-1".into(),
        started_ms: 1,
    };
    let shutdown = CancellationToken::new();
    tokio::spawn(socket.serve(parts, shutdown.clone()));
    let client = connect(&path).await.unwrap();
    Agent { crew, client, dir, _shutdown: shutdown.drop_guard() }
}

impl Agent {
    async fn deploy(&self, generation: u64, version: &str) {
        let mut told = self.crew.watch();
        self.crew.assign(run(generation, version));
        while !matches!(told.recv().await.unwrap(), Told::Concluded { .. }) {}
    }
}

#[tokio::test]
async fn status_and_history_need_no_controller() {
    let mut agent = agent().await;
    agent.deploy(1, "1").await;
    let status = agent.client.status(pb::LocalStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.name.as_str(), status.connected, status.outbox), ("web-1", false, 1));
    let shop = &status.apps[0];
    assert_eq!((shop.env.as_str(), shop.state.as_ref().unwrap().verdict.as_str()), ("production", "healthy"));
    assert!(shop.main_process.starts_with("unit 1-"));
    let history = agent.client.history(pb::LocalHistoryRequest::default()).await.unwrap().into_inner();
    assert_eq!(history.rows.iter().map(|row| row.event.as_str()).collect::<Vec<_>>(), ["healthy"]);
    let other = pb::LocalHistoryRequest { app: "other".into(), limit: 1 };
    let error = from_status(&agent.client.history(other).await.unwrap_err());
    assert_eq!(error.code, Code::N01);
}

/// An admin sees which side has the traffic, and until when the other one is an instant way back.
#[tokio::test]
async fn status_tells_how_both_sides_stand() {
    let mut agent = agent().await;
    for version in ["1", "2"] {
        agent.crew.host().release(version, SimHost::beside([]), []);
    }
    agent.deploy(1, "1").await;
    agent.deploy(2, "2").await;
    let status = agent.client.status(pb::LocalStatusRequest {}).await.unwrap().into_inner();
    let shop = &status.apps[0];
    assert_eq!(shop.main_process, "unit green");
    let sides = &shop.state.as_ref().unwrap().sides;
    let side = |side: &pb::SideState| (side.side.clone(), side.share, side.up, side.warm_until_ms);
    let warm = ("blue".to_owned(), Some(0), true, WARM_UNTIL_MS);
    assert_eq!(sides.iter().map(side).collect::<Vec<_>>(), [warm, ("green".to_owned(), Some(100), true, 0)]);
}

#[tokio::test]
async fn a_revert_streams_its_steps() {
    let mut agent = agent().await;
    agent.deploy(1, "1").await;
    agent.deploy(2, "2").await;
    let request = pb::LocalRevertRequest { app: app().to_string(), slot: String::new() };
    let mut steps = agent.client.revert(request.clone()).await.unwrap().into_inner();
    let mut names = vec![];
    while let Some(step) = steps.message().await.unwrap() {
        assert_eq!(step.failure, None);
        names.push(step.step);
    }
    assert_eq!(names, ["switch", "start", "probe", "revert"]);
    assert_eq!(agent.crew.host().look(&app()).current, Some(run(1, "1").slot()));
    let error = from_status(&agent.client.revert(request).await.unwrap_err());
    assert_eq!(error.code, Code::R01, "{error}");
}

#[tokio::test]
async fn a_hold_is_set_once() {
    let mut agent = agent().await;
    let hold = |reason: &str| pb::LocalHoldRequest { reason: reason.into() };
    let error = from_status(&agent.client.hold(hold(" ")).await.unwrap_err());
    assert_eq!(error.code, Code::V01);
    let reply = agent.client.hold(hold("disk swap")).await.unwrap().into_inner();
    assert!(reply.changed && reply.hold.unwrap().held);
    assert!(!agent.client.hold(hold("again")).await.unwrap().into_inner().changed);
    assert_eq!(agent.crew.state().hold().unwrap().reason, "disk swap");
    assert!(agent.client.unhold(pb::LocalUnholdRequest {}).await.unwrap().into_inner().changed);
    assert!(!agent.client.unhold(pb::LocalUnholdRequest {}).await.unwrap().into_inner().changed);
}

/// Whoever lets go hears what still holds, and what lets go of that.
#[tokio::test]
async fn what_still_holds_is_said() {
    let mut agent = agent().await;
    let file = agent.dir.path().join("HOLD");
    longshore_common::durable::write_atomic(&file, b"raid rebuild", 0o644).unwrap();
    agent.crew.state().hold_while(file.clone());
    let held =
        agent.client.hold(pb::LocalHoldRequest { reason: "disk swap".into() }).await.unwrap().into_inner();
    let way_out = format!("On the host: rm {}", file.display());
    assert!(held.changed && held.way_out == way_out, "{held:?}");
    let let_go = agent.client.unhold(pb::LocalUnholdRequest {}).await.unwrap().into_inner();
    let hold = let_go.hold.clone().unwrap();
    assert!(let_go.changed && hold.held && hold.reason == "raid rebuild", "{let_go:?}");
    let status = agent.client.status(pb::LocalStatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.hold_way_out, way_out);
    longshore_common::durable::remove_durable(&file).unwrap();
    let nothing = agent.client.unhold(pb::LocalUnholdRequest {}).await.unwrap().into_inner();
    assert_eq!((nothing.changed, nothing.way_out.as_str(), nothing.hold.unwrap().held), (false, "", false));
}

#[tokio::test]
async fn logs_come_and_end() {
    let mut agent = agent().await;
    agent.deploy(1, "1").await;
    let request = pb::LocalLogsRequest { app: app().to_string(), lines: 2, follow: false };
    let mut lines = agent.client.logs(request).await.unwrap().into_inner();
    let mut count = 0;
    while lines.message().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 2);
}

/// Scenario 79: a second agent is refused.
#[tokio::test]
async fn two_agents_do_not_share_a_socket() {
    let agent = agent().await;
    let path = agent.dir.path().join("run/agent.sock");
    assert_eq!(Socket::listen(&path, Readers::Owner).unwrap_err().code, Code::S01);
    let nobody = agent.dir.path().join("run/other.sock");
    assert_eq!(connect(&nobody).await.unwrap_err().code, Code::C01);
    // As one that died leaves it. It never listens: a child that another test forks meanwhile holds a copy for a moment.
    let dead = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&dead, &SocketAddrUnix::new(&nobody).unwrap()).unwrap();
    drop(dead);
    Socket::listen(&nobody, Readers::Owner).unwrap();
}
