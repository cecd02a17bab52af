//! Both halves, joined by a real socket.

mod attack;
mod bundle;
mod edges;
mod halves;
mod signed;

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use longshore_common::ids::HostId;
use longshore_proto::v1::TrustFacts;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::{
    Courier, Peers, Served, VERSION, frame, serve,
    words::{Ask, Call, Say, Snapshot, Trust},
};
use crate::run::Works;

const NOBODY: u32 = 65534;

fn host_id() -> HostId {
    HostId(Uuid::from_u128(7))
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// A helper's socket over these works, for as long as the guard is held.
pub(crate) fn listen<W: Works>(dir: &Path, works: W, courier: Courier, peers: Peers) -> (PathBuf, DropGuard) {
    let path = dir.join("helper.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let served = Served::new(works, courier, host_id(), "age1x".into(), peers);
    let shutdown = CancellationToken::new();
    tokio::spawn(serve(listener, served, shutdown.clone()));
    (path, shutdown.drop_guard())
}

/// The socket of a helper that takes its agent, says once how it stands with trust, and answers nothing else.
pub(crate) fn hang(dir: &Path) -> PathBuf {
    let path = dir.join("helper.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let snapshot = Snapshot {
        helper_version: "1".into(),
        host: host_id(),
        boot_id: String::new(),
        boot_counter: 1,
        recipient: String::new(),
        apps: vec![],
        hold: None,
    };
    let trust = TrustFacts { state: "unsigned".into(), ..TrustFacts::default() };
    let mut trust = Some(Say::Trust(Trust::from(trust)));
    tokio::spawn(async move {
        let mut open = vec![];
        while let Ok((mut stream, _)) = listener.accept().await {
            let call: Option<Call> = frame::hear(&mut stream, 1 << 20).await.unwrap();
            let answer = match call.unwrap().ask {
                Ask::Attach {} => Some(Say::Snapshot(Box::new(snapshot.clone()))),
                Ask::Trust {} => trust.take(),
                _ => None,
            };
            if let Some(answer) = answer {
                frame::say(&mut stream, &answer).await.unwrap();
            }
            open.push(stream);
        }
    });
    path
}

async fn call(socket: &Path, ask: Ask) -> UnixStream {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    frame::say(&mut stream, &Call { version: VERSION, ask }).await.unwrap();
    stream
}

/// As `nobody`: from a thread of this process that is another user from here on, and ends with it. Root alone can.
async fn call_as_nobody(socket: &Path, ask: Ask) -> UnixStream {
    for path in [socket.parent().expect("it lies in a folder"), socket] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let socket = socket.to_owned();
    let connecting = std::thread::spawn(move || {
        rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(NOBODY)).unwrap();
        std::os::unix::net::UnixStream::connect(socket).unwrap()
    });
    let stream = connecting.join().unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut stream = UnixStream::from_std(stream).unwrap();
    frame::say(&mut stream, &Call { version: VERSION, ask }).await.unwrap();
    stream
}

async fn hear(stream: &mut UnixStream) -> Say {
    frame::hear(stream, 8 << 20).await.unwrap().expect("an answer")
}
