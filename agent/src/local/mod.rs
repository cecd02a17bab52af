//! What an admin on the host can ask and say, over a unix socket, without the controller.
//!
//! Who may what is decided by the peer's credentials, which the kernel vouches for: root and the agent's own user may
//! change things; others may read where the configuration says so.

mod access;
pub mod client;
mod deploy;
mod revert;
mod service;
#[cfg(test)]
mod tests;

use std::{
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use longshore_common::{
    chain::Chain,
    code::{Code, Coded},
    durable::create_dir_durable,
    time::Millis,
};
use longshore_proto::v1::local_server::LocalServer;
use tokio::{net::UnixListener, sync::watch};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

pub use access::Readers;

use crate::{link::Connection, run::Works};

/// Bytes of one question.
const MESSAGE_BYTES: usize = 64 * 1024;
/// Calls under way on one connection.
const CALLS: usize = 16;

/// What the service answers from.
pub struct Parts<W> {
    pub crew: W,
    pub connection: watch::Receiver<Connection>,
    pub readers: Readers,
    pub host_id: String,
    /// As the controller knows it.
    pub name: String,
    pub started_ms: Millis,
}

/// The socket, listening. Taking it over from an agent that died is not an error; from one that lives it is.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    file: SocketFile,
}

/// Goes with the socket. One that stays behind after a crash is taken over by the next agent.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::debug!("the socket's file stays behind: {error}");
        }
    }
}

impl Socket {
    /// Inside a runtime.
    pub fn listen(path: &Path, readers: Readers) -> Result<Self, Coded> {
        let trouble = |what: &str, error: &dyn std::error::Error| {
            Coded::new(Code::S04, format!("{what} the socket `{}`: {}", path.display(), Chain(error)))
        };
        if let Some(dir) = path.parent() {
            create_dir_durable(dir, 0o755).map_err(|e| trouble("make a folder for", &e))?;
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            let message = format!("another agent listens on `{}` already", path.display());
            return Err(Coded::new(Code::S01, message));
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(trouble("replace", &error)),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(|e| trouble("listen on", &e))?;
        let mode = match readers {
            Readers::Owner => 0o600,
            Readers::Everyone => 0o666, // who may change things is asked on every call
        };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
            .map_err(|e| trouble("open", &e))?;
        Ok(Self { listener, file: SocketFile(path.to_owned()) })
    }

    /// Until `shutdown`.
    pub async fn serve<W: Works>(self, parts: Parts<W>, shutdown: CancellationToken) -> Result<(), Coded> {
        let service = LocalServer::new(service::Service::new(parts)).max_decoding_message_size(MESSAGE_BYTES);
        let incoming = UnixListenerStream::new(self.listener);
        let served = Server::builder()
            .concurrency_limit_per_connection(CALLS)
            .serve_with_incoming_shutdown(service, incoming, shutdown.cancelled_owned())
            .await;
        drop(self.file);
        served.map_err(|e| Coded::new(Code::X01, format!("serve the local socket: {}", Chain(&e))))
    }
}
