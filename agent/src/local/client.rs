//! The other end of the socket, for the command line.

use std::{io, path::Path};

use hyper_util::rt::TokioIo;
use longshore_common::{
    chain::Chain,
    code::{Code, Coded},
};
use longshore_proto::v1::local_client::LocalClient;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

/// A client of the agent that listens there.
pub async fn connect(socket: &Path) -> Result<LocalClient<Channel>, Coded> {
    let stream = UnixStream::connect(socket).await.map_err(|error| unreachable_at(socket, &error))?;
    let mut once = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_| {
        let io = once.take();
        async move { io.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)) }
    });
    let channel = Endpoint::from_static("http://agent.local").connect_with_connector(connector).await;
    channel.map(LocalClient::new).map_err(|error| {
        let (path, why) = (socket.display(), Chain(&error));
        let message = format!(
            "what listens at `{path}` is no agent, or ended: {why}. See: journalctl -u longshore-agent"
        );
        Coded::new(Code::C01, message)
    })
}

fn unreachable_at(socket: &Path, error: &io::Error) -> Coded {
    let path = socket.display();
    match error.kind() {
        io::ErrorKind::PermissionDenied => Coded::new(
            Code::C02,
            format!("you may not talk to the agent at `{path}`: root may. Try with sudo"),
        ),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Coded::new(
            Code::C01,
            format!(
                "no agent listens at `{path}`. Start it (systemctl start longshore-agent), or say where its files \
                 lie with --root"
            ),
        ),
        _ => Coded::new(Code::C01, format!("the agent at `{path}` cannot be reached: {error}")),
    }
}
