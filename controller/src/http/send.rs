//! One call: find, connect, speak, follow redirects, read no more than is wanted.

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1,
    rt::{Read, Write},
};
use hyper_util::rt::TokioIo;
use longshore_common::{text::visible, time::Millis, wire::cut};
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::Instant};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Call, HttpError, Method, Reply, Url};

/// Bytes of a reply's head.
const HEAD_BYTES: usize = 64 * 1024;
/// Addresses of one name that are tried.
const ADDRESSES: usize = 8;
/// Of a place that a server redirects to, in an error.
const SHOWN_BYTES: usize = 200;

/// The reply, whatever its status, within the call's deadline.
pub async fn call(call: &Call) -> Result<Reply, HttpError> {
    let begun = Instant::now();
    let deadline = call.deadline;
    let late = || HttpError::TooLate { server: call.url.server(), deadline };
    let reply = tokio::time::timeout(deadline, follow(call)).await.map_err(|_| late())??;
    Ok(Reply { took: begun.elapsed(), ..reply })
}

async fn follow(call: &Call) -> Result<Reply, HttpError> {
    let mut now = call.clone();
    for followed in 0u8.. {
        let reply = once(&now).await?;
        let redirected = matches!(reply.status, 301 | 302 | 303 | 307 | 308) && call.redirects > 0;
        let location = reply.header("location").filter(|_| redirected);
        let Some(location) = location else { return Ok(reply) };
        let server = now.url.server();
        if followed >= call.redirects {
            return Err(HttpError::Redirects { server, max: call.redirects });
        }
        let refuse = |why| HttpError::Redirect {
            server: server.clone(),
            to: cut(&visible(location), SHOWN_BYTES),
            why,
        };
        let there = now.url.join(location).map_err(|_| refuse("that is no address"))?;
        if now.url.is_https() && !there.is_https() {
            return Err(refuse("that leaves TLS"));
        }
        if !there.same_origin(&now.url) {
            // What was meant for one server is not for another.
            now.headers.retain(|(name, _)| !is_secret(name));
        }
        if now.method == Method::Post {
            (now.method, now.body) = (Method::Get, Bytes::new());
        }
        now.url = there;
    }
    unreachable!("redirects are counted in as many bits")
}

fn is_secret(header: &str) -> bool {
    let plain = ["accept", "accept-language", "content-type"];
    !plain.contains(&header.to_ascii_lowercase().as_str())
}

async fn once(call: &Call) -> Result<Reply, HttpError> {
    let (stream, peer) = connect(&call.url).await?;
    let server = || call.url.server();
    if !call.url.is_https() {
        return exchange(call, TokioIo::new(stream), peer, None).await;
    }
    let name = ServerName::try_from(call.url.host().to_owned())
        .map_err(|e| HttpError::Tls { server: server(), source: io::Error::other(e) })?;
    let connector = TlsConnector::from(Arc::clone(&call.trust.config));
    let stream = connector
        .connect(name, stream)
        .await
        .map_err(|source| HttpError::Tls { server: server(), source })?;
    let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let ends = leaf.and_then(|leaf| certificate_end(leaf));
    exchange(call, TokioIo::new(stream), peer, ends).await
}

fn certificate_end(der: &[u8]) -> Option<Millis> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(certificate.validity().not_after.timestamp() * 1000)
}

/// The first address that takes the connection.
async fn connect(url: &Url) -> Result<(TcpStream, SocketAddr), HttpError> {
    let host = || url.host().to_owned();
    let found = tokio::net::lookup_host((url.host(), url.port())).await;
    let found = found.map_err(|source| HttpError::Resolve { host: host(), source })?;
    let mut last = None;
    for address in found.take(ADDRESSES) {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok((stream, address)),
            Err(source) => last = Some(HttpError::Connect { server: url.server(), source }),
        }
    }
    Err(last.unwrap_or_else(|| HttpError::NoAddress { host: host() }))
}

async fn exchange<S: Read + Write + Unpin + Send + 'static>(
    call: &Call,
    stream: S,
    peer: SocketAddr,
    certificate_ends_ms: Option<Millis>,
) -> Result<Reply, HttpError> {
    let broken = |source| HttpError::Http { server: call.url.server(), source };
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(HEAD_BYTES).handshake(stream).await.map_err(broken)?;
    let driven = AbortOnDropHandle::new(tokio::spawn(connection));
    let response = sender.send_request(request(call)?).await.map_err(broken)?;
    let (status, headers) = (response.status().as_u16(), text_headers(&response));
    let (body, cut) = read(response.into_body(), call.max_bytes).await.map_err(broken)?;
    drop(driven);
    let took = Duration::ZERO; // the caller measures it whole
    Ok(Reply { status, body, cut, headers, url: call.url.clone(), peer, certificate_ends_ms, took })
}

fn request(call: &Call) -> Result<Request<Once>, HttpError> {
    let mut request = Request::builder().method(call.method.as_str()).uri(call.url.path());
    let usual = [
        ("host", call.url.authority()),
        ("user-agent", concat!("longshore/", env!("CARGO_PKG_VERSION")).to_owned()),
    ];
    let is_given = |usual: &str| call.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(usual));
    for (name, value) in usual.iter().filter(|(name, _)| !is_given(name)) {
        request = request.header(*name, value);
    }
    request = request.header("connection", "close");
    for (name, value) in &call.headers {
        request = request.header(name, value);
    }
    let body = Once((!call.body.is_empty()).then(|| call.body.clone()));
    request.body(body).map_err(|_| HttpError::Header { server: call.url.server() })
}

fn text_headers(response: &Response<Incoming>) -> Vec<(String, String)> {
    let text = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    };
    response.headers().iter().filter_map(text).collect()
}

/// At most `max` bytes, and whether there was more.
async fn read(mut body: Incoming, max: usize) -> Result<(Bytes, bool), hyper::Error> {
    let mut held = BytesMut::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let Ok(data) = frame?.into_data() else { continue };
        let room = max - held.len();
        held.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return Ok((held.freeze(), true));
        }
    }
    Ok((held.freeze(), false))
}

/// A body that is there already.
struct Once(Option<Bytes>);

impl Body for Once {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
