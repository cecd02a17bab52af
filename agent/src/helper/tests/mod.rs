//! Both halves, joined by a real socket.

mod attack;
mod bundle;
mod halves;
mod signed;

use std::path::{Path, PathBuf};

use longshore_common::ids::HostId;
use tokio::net::UnixListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::{Courier, Peers, Served, serve};
use crate::run::Works;

fn host_id() -> HostId {
    HostId(Uuid::from_u128(7))
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// A helper's socket over these works, for as long as the guard is held.
fn listen<W: Works>(dir: &Path, works: W, courier: Courier, peers: Peers) -> (PathBuf, DropGuard) {
    let path = dir.join("helper.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let served = Served::new(works, courier, host_id(), "age1x".into(), peers);
    let shutdown = CancellationToken::new();
    tokio::spawn(serve(listener, served, shutdown.clone()));
    (path, shutdown.drop_guard())
}
