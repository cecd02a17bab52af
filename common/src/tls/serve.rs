//! Accepting TLS connections for tonic, with the peer's identity worked out once per connection.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::{
    Identity, Leaf,
    connections::{Connections, Place},
    read_leaf,
};
use crate::{
    digest::sha256,
    time::{Clock as _, Millis, SystemClock},
};

/// Accepted connections that wait for the server to take them.
pub const ACCEPT_QUEUE: usize = 64;
/// A peer that has not finished its handshake by then is dropped.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// What every HTTP/2 client says first: the preface, and the head of its first frame. A peer that has not by then is
/// dropped.
const FIRST_WORDS: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD: usize = 9;
const FIRST_WORDS_DEADLINE: Duration = Duration::from_secs(5);
/// Pause after `accept` failed (out of descriptors, mostly), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who is at the other end. Handlers find it with `request.extensions().get::<Peer>()`.
#[derive(Clone, Debug)]
pub struct Peer {
    pub address: SocketAddr,
    /// From the verified client certificate; None where the server asks for none, or it names nobody we know.
    pub identity: Option<Identity>,
    /// SHA-256 of the client certificate; None without one.
    pub certificate: Option<[u8; 32]>,
    /// SHA-256 of the SubjectPublicKeyInfo of the client certificate; None without one.
    pub key: Option<[u8; 32]>,
    /// Serial of the client certificate; empty without one.
    pub serial: Arc<[u8]>,
}

/// A TLS connection that knows its peer. It lasts no longer than the certificate that the peer has shown, and ends
/// when that counts no more.
pub struct PeerStream {
    io: TlsStream<TcpStream>,
    peer: Peer,
    /// Read already, and not taken yet.
    first_words: Bytes,
    end: End,
    _place: Place,
}

/// When a connection is over, whatever its peer thinks of it.
enum End {
    Waits(Pin<Box<dyn Future<Output = ()> + Send>>),
    Reached,
}

impl End {
    fn of(place: &Place, expires_ms: Option<Millis>) -> Self {
        let cut = place.cut.clone();
        let left = expires_ms.map(|end| (end - SystemClock.now_ms()).max(0).unsigned_abs());
        Self::Waits(Box::pin(async move {
            match left {
                Some(left) => {
                    // In time or not: both are the end.
                    drop(tokio::time::timeout(Duration::from_millis(left), cut.cancelled()).await);
                }
                None => cut.cancelled().await,
            }
        }))
    }

    fn is_reached(&mut self, cx: &mut Context<'_>) -> bool {
        if let Self::Waits(end) = self
            && end.as_mut().poll(cx).is_ready()
        {
            *self = Self::Reached;
        }
        matches!(self, Self::Reached)
    }
}

impl PeerStream {
    /// The error says why the peer is not let in.
    async fn open(
        mut io: TlsStream<TcpStream>,
        address: SocketAddr,
        connections: &Connections,
    ) -> Result<Self, &'static str> {
        let (peer, expires_ms) = peer_of(&io, address);
        let place = connections.enter(peer.identity.as_ref(), peer.key, address.ip());
        let place = place.ok_or("whoever it is has too many connections")?;
        let mut first_words = vec![0; FIRST_WORDS.len() + FRAME_HEAD];
        let read = tokio::time::timeout(FIRST_WORDS_DEADLINE, io.read_exact(&mut first_words)).await;
        match read {
            Ok(Ok(_)) if first_words.starts_with(FIRST_WORDS) => {
                let end = End::of(&place, expires_ms);
                Ok(Self { io, peer, first_words: first_words.into(), end, _place: place })
            }
            Ok(Ok(_)) => Err("it does not speak HTTP/2"),
            Ok(Err(_)) => Err("it went without a word"),
            Err(_) => Err("it said nothing in time"),
        }
    }
}

/// Who it is, and until when its certificate holds.
fn peer_of(io: &TlsStream<TcpStream>, address: SocketAddr) -> (Peer, Option<Millis>) {
    let leaf = io.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let certificate = leaf.map(|cert| sha256(cert));
    match leaf.and_then(read_leaf) {
        Some(Leaf { identity, serial, key, expires_ms }) => {
            let peer = Peer { address, identity, certificate, key: Some(key), serial: serial.into() };
            (peer, Some(expires_ms))
        }
        None => (Peer { address, identity: None, certificate, key: None, serial: Arc::from([]) }, None),
    }
}

impl Connected for PeerStream {
    type ConnectInfo = Peer;
    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.end.is_reached(cx) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if !self.first_words.is_empty() {
            let count = buf.remaining().min(self.first_words.len());
            buf.put_slice(&self.first_words.split_to(count));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// Connections whose handshake is done and that have begun to speak HTTP/2. tonic's own accept loop has no bound on handshakes under way and spins
/// when descriptors run out; this one has a bound (`handshakes`), a deadline for each, and a pause.
///
/// Ends when the stream is dropped.
pub fn incoming(
    listener: TcpListener,
    tls: TlsAcceptor,
    handshakes: usize,
    connections: Connections,
) -> ReceiverStream<io::Result<PeerStream>> {
    let (ready, stream) = mpsc::channel(ACCEPT_QUEUE);
    tokio::spawn(async move {
        let slots = Arc::new(Semaphore::new(handshakes));
        while let Ok(slot) = slots.clone().acquire_owned().await {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = ready.closed() => return,
            };
            let Ok((tcp, address)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let (tls, ready, connections) = (tls.clone(), ready.clone(), connections.clone());
            tokio::spawn(async move {
                if let Err(error) = tcp.set_nodelay(true) {
                    tracing::debug!(%address, %error, "no TCP_NODELAY on this connection");
                }
                let io = match tokio::time::timeout(HANDSHAKE_DEADLINE, tls.accept(tcp)).await {
                    Ok(Ok(io)) => io,
                    Ok(Err(error)) => return tracing::debug!(%address, %error, "handshake failed"),
                    Err(_) => return tracing::debug!(%address, "no handshake within {HANDSHAKE_DEADLINE:?}"),
                };
                let opened = PeerStream::open(io, address, &connections).await;
                drop(slot);
                match opened {
                    // The receiver is gone only when the server stops, and then so is the connection.
                    Ok(stream) => drop(ready.send(Ok(stream)).await),
                    Err(why) => tracing::debug!(%address, "a connection is closed: {why}"),
                }
            });
        }
    });
    ReceiverStream::new(stream)
}
