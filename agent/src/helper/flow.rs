//! Content on its way from the agent's thread that expands it to the helper's thread that writes it. Nothing is made of
//! it between the two: both block on the socket, and what waits is what the kernel keeps for it.

use std::{
    io::{self, IoSlice, Read as _, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    time::Duration,
};

use longshore_common::{
    bundle::limits,
    code::{Code, Coded},
};
use longshore_proto::v1 as pb;
use prost::Message as _;
use tokio::io::unix::AsyncFd;

use super::{
    expand::Take,
    frame::{self, FrameError},
    serve::SAY_DEADLINE,
    words::Ended,
};
use crate::host::{fetch::FetchError, sys::watch_reading};

/// Of a block's head: it numbers at most all blobs of an index, each in five bytes.
const HEAD_BYTES: usize = 5 * limits::ENTRIES + 64;
/// Of the word at the end.
const END_BYTES: usize = 64 * 1024;

/// The agent's end.
pub(super) struct Outflow(UnixStream);

impl Outflow {
    /// Of a connection on which the call was made. `Watch` says when the other side has gone.
    pub(super) fn of(stream: tokio::net::UnixStream) -> io::Result<(Self, Watch)> {
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(SAY_DEADLINE))?;
        let watch = watch_reading(stream.try_clone()?)?;
        Ok((Self(stream), Watch(watch)))
    }

    /// The last word.
    pub(super) fn end(&mut self, ended: &Ended) -> io::Result<()> {
        let body = serde_json::to_vec(ended).map_err(io::Error::other)?;
        self.write(frame::WORD, &body)
    }

    fn write(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        let head = frame::head(kind, body)?;
        let mut left = &mut [IoSlice::new(&head), IoSlice::new(body)][..];
        while !left.is_empty() {
            match self.0.write_vectored(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut left, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Take for Outflow {
    fn head(&mut self, head: &pb::BlockHead) -> io::Result<()> {
        self.write(frame::PIECE, &head.encode_to_vec())
    }

    fn content(&mut self, content: &[u8]) -> io::Result<()> {
        content.chunks(limits::PIECE_BYTES).try_for_each(|chunk| self.write(frame::CONTENT, chunk))
    }
}

/// Looks after the other side of a connection that a thread writes to.
pub(super) struct Watch(AsyncFd<UnixStream>);

impl Watch {
    /// Until it has closed. It says nothing on this connection but a refusal, after which it closes.
    pub(super) async fn gone(&self) {
        let mut said = [0; 512];
        loop {
            let Ok(mut ready) = self.0.readable().await else { return };
            let flags = rustix::net::RecvFlags::DONTWAIT;
            let said = ready.try_io(|stream| Ok(rustix::net::recv(stream, &mut said[..], flags)?));
            if let Ok(Ok((0, _)) | Err(_)) = said {
                return;
            }
        }
    }
}

/// The helper's end.
#[derive(Debug)]
pub struct Inflow {
    stream: UnixStream,
    buffer: Vec<u8>,
}

/// What an inflow brings.
#[derive(Debug, PartialEq)]
pub enum Came<'a> {
    /// The next block begins.
    Head(pb::BlockHead),
    Content(&'a [u8]),
}

impl Inflow {
    /// `silence`: longest between two pieces. The connection ends with the `Cut`, whatever the thread that reads does.
    pub(super) fn of(stream: tokio::net::UnixStream, silence: Duration) -> io::Result<(Self, Cut)> {
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(silence))?;
        let cut = Cut(stream.try_clone()?);
        Ok((Self { stream, buffer: vec![] }, cut))
    }

    /// None: that was all. Blocks.
    pub fn take(&mut self) -> Result<Option<Came<'_>>, FetchError> {
        let mut head = [0; frame::HEAD];
        self.stream.read_exact(&mut head).map_err(broken)?;
        let (kind, bytes) = frame::parse(head);
        let most = match kind {
            frame::CONTENT => limits::PIECE_BYTES,
            frame::PIECE => HEAD_BYTES,
            frame::WORD => END_BYTES,
            other => return Err(FrameError::Kind(other).into()),
        };
        if bytes > most {
            return Err(FrameError::TooLong { bytes, most }.into());
        }
        if self.buffer.len() < bytes {
            self.buffer.resize(bytes, 0);
        }
        let body = &mut self.buffer[..bytes];
        self.stream.read_exact(body).map_err(broken)?;
        match kind {
            frame::CONTENT => Ok(Some(Came::Content(body))),
            frame::PIECE => {
                let unread = |e| Coded::new(Code::A05, format!("what the agent brought does not read: {e}"));
                Ok(Some(Came::Head(pb::BlockHead::decode(&*body).map_err(unread)?)))
            }
            _ => Ended::of(body).map(|()| None),
        }
    }
}

/// Ends a connection from another thread than the one that waits for it.
#[derive(Debug)]
pub struct Cut(UnixStream);

impl Drop for Cut {
    fn drop(&mut self) {
        // It fails when the other side was quicker.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

fn broken(error: io::Error) -> FetchError {
    let why = match error.kind() {
        io::ErrorKind::UnexpectedEof => "the agent ended before everything had come".to_owned(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "the agent brings nothing any more".to_owned(),
        _ => format!("the connection to the agent failed: {error}"),
    };
    FetchError::Cut(Coded::new(Code::C01, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_secs(120);

    fn joined() -> (Outflow, Watch, Inflow, Cut) {
        let (out, come) = tokio::net::UnixStream::pair().unwrap();
        let (outflow, watch) = Outflow::of(out).unwrap();
        let (inflow, cut) = Inflow::of(come, SILENCE).unwrap();
        (outflow, watch, inflow, cut)
    }

    fn failed(inflow: &mut Inflow) -> FetchError {
        inflow.take().map(|came| format!("{came:?}")).unwrap_err()
    }

    #[tokio::test]
    async fn what_flows_out_flows_in() {
        let (mut out, watch, mut come, _cut) = joined();
        let head = pb::BlockHead { blobs: vec![3, 4], content_bytes: 5, wire_bytes: 6 };
        let long = vec![7; limits::PIECE_BYTES + 1];
        let (sent, content) = (head.clone(), long.clone());
        let sending = std::thread::spawn(move || {
            out.head(&sent).unwrap();
            out.content(&content).unwrap();
            out.content(b"").unwrap();
            out.end(&Ended::Brought {}).unwrap();
        });
        assert_eq!(come.take().unwrap(), Some(Came::Head(head)));
        assert_eq!(come.take().unwrap(), Some(Came::Content(&long[1..])));
        assert_eq!(come.take().unwrap(), Some(Came::Content(&[7])));
        assert_eq!(come.take().unwrap(), None);
        sending.join().unwrap();
        drop(watch);
        assert!(failed(&mut come).is_retryable());
    }

    #[tokio::test]
    async fn what_is_torn_too_long_or_senseless_is_refused() {
        let heard = |bytes: Vec<u8>| {
            let (out, _watch, mut come, _cut) = joined();
            (&out.0).write_all(&bytes).unwrap();
            drop((out, _watch));
            failed(&mut come)
        };
        for torn in [&b""[..], b"c\0\0", b"c\0\0\0\x02x", b"p\0\0\0\x01"] {
            assert_eq!(heard(torn.into()).to_string(), "LS-C01 the agent ended before everything had come");
        }
        assert!(heard(b"c\0\x04\0\x01".into()).to_string().contains("262145 bytes; at most 262144"));
        assert!(heard(b"p\xff\0\0\0".into()).to_string().contains("at most 500064"));
        assert!(heard(b"x\0\0\0\0".into()).to_string().contains("unknown kind"));
        assert!(heard(b"w\0\0\0\x01x".into()).to_string().contains("does not read"));
        let unread = heard(b"p\0\0\0\x01\xff".into());
        assert_eq!(unread.coded().code, Code::A05);
        assert!(matches!(unread, FetchError::Content(_)), "{unread}");
    }

    #[tokio::test]
    async fn whoever_waits_is_let_go_by_a_cut_and_the_other_side_sees_it() {
        let (mut out, watch, mut come, cut) = joined();
        let waiting = std::thread::spawn(move || failed(&mut come));
        drop(cut);
        assert!(waiting.join().unwrap().is_retryable());
        tokio::time::timeout(SILENCE, watch.gone()).await.expect("it is seen");
        assert!(out.content(b"x").is_err());
    }

    #[tokio::test]
    async fn an_agent_that_brings_nothing_is_not_waited_for_longer_than_said() {
        let (_out, come) = tokio::net::UnixStream::pair().unwrap();
        let (mut inflow, _cut) = Inflow::of(come, Duration::from_millis(1)).unwrap();
        assert_eq!(failed(&mut inflow).to_string(), "LS-C01 the agent brings nothing any more");
    }
}
