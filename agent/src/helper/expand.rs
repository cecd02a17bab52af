//! What travels compressed is expanded by the agent, which has no privileges, before the helper gets it: a fault of the
//! decoder, which is written in C, is then a fault of a process that may nothing. The helper holds content against its
//! digests, as it does where it expands by itself, and says what is too much.

use std::io::{self, BufWriter, Read, Write};

use bytes::Bytes;
use longshore_common::{
    bundle::{
        frame::{CHUNK, Collect, FrameReader, frame_bytes_max},
        limits,
    },
    code::{Code, Coded},
    offline,
};
use longshore_proto::v1 as pb;
use tokio::sync::mpsc;

use crate::host::{fetch::FetchError, sys::give_back_memory};

/// Bytes of one part of a bundle.
const PART: usize = 256 * 1024;
/// Bytes of a frame that may have come with nothing to show for them: a block and its header, with room.
const NOT_YET: u64 = 2 * CHUNK as u64;

/// What the controller sends, for the thread that expands it. It ends with a word: a channel that just ends was given up.
pub(super) struct Arriving<T>(mpsc::Receiver<Arrived<T>>);

pub(super) enum Arrived<T> {
    Piece(T),
    All,
    Short(FetchError),
}

/// Why nothing more is handed on.
#[derive(Debug)]
pub(super) enum Stopped {
    Short(FetchError),
    /// Nobody waits for it any more.
    Gone(io::Error),
}

impl From<Coded> for Stopped {
    fn from(wrong: Coded) -> Self {
        Stopped::Short(FetchError::Content(wrong))
    }
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Stopped::Gone(error)
    }
}

impl<T> Arriving<T> {
    /// Pieces that wait between the connection and the thread.
    pub fn channel(ahead: usize) -> (mpsc::Sender<Arrived<T>>, Self) {
        let (came, coming) = mpsc::channel(ahead);
        (came, Self(coming))
    }

    fn next(&mut self) -> Result<Option<T>, Stopped> {
        match self.0.blocking_recv() {
            Some(Arrived::Piece(piece)) => Ok(Some(piece)),
            Some(Arrived::All) => Ok(None),
            Some(Arrived::Short(why)) => Err(Stopped::Short(why)),
            None => Err(Stopped::Gone(io::ErrorKind::Interrupted.into())),
        }
    }
}

/// Where what was expanded goes.
pub(super) trait Take {
    /// The next block begins.
    fn head(&mut self, head: &pb::BlockHead) -> io::Result<()>;
    fn content(&mut self, content: &[u8]) -> io::Result<()>;
}

/// One frame, which comes in pieces; nothing is handed on before its end.
pub(super) fn index(mut pieces: Arriving<pb::Piece>, to: &mut impl Take) -> Result<(), Stopped> {
    let mut collect = Collect::new(limits::INDEX_BYTES).map_err(|e| fault(&e))?;
    while let Some(piece) = pieces.next()? {
        collect.feed(&piece.data)?;
    }
    Ok(to.content(&collect.finish()?)?)
}

/// Blocks, one after the other: a piece with a head begins the next one. What a block should hold is not known here;
/// the helper ends what is more.
pub(super) fn blocks(mut pieces: Arriving<pb::BlockPiece>, to: &mut impl Take) -> Result<(), Stopped> {
    let mut frame = Frame { reader: FrameReader::new().map_err(|e| fault(&e))?, wire: 0, content: 0 };
    let mut begun = false;
    while let Some(pb::BlockPiece { head, data }) = pieces.next()? {
        if let Some(head) = head {
            frame.end(begun)?;
            frame.begin()?;
            begun = true;
            to.head(&head)?;
        } else if !begun {
            return Err(Coded::new(Code::A05, "a block comes without its head").into());
        }
        frame.feed(&data, to)?;
    }
    Ok(frame.end(begun)?)
}

/// The frame of one block.
struct Frame {
    reader: FrameReader,
    wire: u64,
    content: u64,
}

impl Frame {
    fn begin(&mut self) -> Result<(), Coded> {
        (self.wire, self.content) = (0, 0);
        self.reader.begin().map_err(|e| fault(&e))
    }

    fn feed(&mut self, wire: &[u8], to: &mut impl Take) -> Result<(), Stopped> {
        self.wire += wire.len() as u64;
        let content = &mut self.content;
        self.reader.feed(wire, |chunk| {
            *content += chunk.len() as u64;
            to.content(chunk).map_err(Stopped::Gone)
        })?;
        // A frame may hold any number of blocks of nothing.
        if self.wire > frame_bytes_max(self.content) + NOT_YET {
            let message = "a block takes more bytes than its content can need; stopped";
            return Err(Coded::new(Code::A04, message).into());
        }
        Ok(())
    }

    fn end(&self, begun: bool) -> Result<(), Coded> {
        match begun && !self.reader.ended() {
            true => Err(Coded::new(Code::A05, "a block is cut off")),
            false => Ok(()),
        }
    }
}

/// A bundle: what comes in pieces from whoever brought it goes on in parts.
pub(super) fn bundle(
    pieces: mpsc::Receiver<Result<Bytes, Coded>>,
    parts: mpsc::Sender<Bytes>,
) -> Result<(), Coded> {
    let mut incoming = Incoming { pieces, left: Bytes::new(), broken: None };
    let expanded = offline::expand(&mut incoming, BufWriter::with_capacity(PART, Outgoing(parts)));
    give_back_memory();
    match incoming.broken {
        // Its own words, not that the bundle is cut off.
        Some(broken) => Err(broken),
        None => expanded,
    }
}

struct Incoming {
    pieces: mpsc::Receiver<Result<Bytes, Coded>>,
    left: Bytes,
    broken: Option<Coded>,
}

impl Read for Incoming {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.left.is_empty() {
            match self.pieces.blocking_recv() {
                None => return Ok(0),
                Some(Ok(piece)) => self.left = piece,
                Some(Err(broken)) => {
                    self.broken = Some(broken);
                    return Err(io::Error::other("it broke off"));
                }
            }
        }
        let now = self.left.len().min(into.len());
        into[..now].copy_from_slice(&self.left.split_to(now));
        Ok(now)
    }
}

struct Outgoing(mpsc::Sender<Bytes>);

impl Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A part that is larger than one message is cut: see `PART`.
        let now = bytes.len().min(PART);
        let part = Bytes::copy_from_slice(&bytes[..now]);
        self.0.blocking_send(part).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(now)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn fault(error: &io::Error) -> Coded {
    Coded::new(Code::X01, format!("zstd: {error}"))
}

#[cfg(test)]
mod tests {
    use longshore_common::bundle::frame::compress;

    use super::*;

    fn head() -> Option<pb::BlockHead> {
        Some(pb::BlockHead { blobs: vec![0], content_bytes: 0, wire_bytes: 0 })
    }

    fn piece(head: Option<pb::BlockHead>, data: &[u8]) -> pb::BlockPiece {
        pb::BlockPiece { head, data: Bytes::copy_from_slice(data) }
    }

    /// The content of each block.
    #[derive(Default)]
    struct Made(Vec<Vec<u8>>);

    impl Take for Made {
        fn head(&mut self, _: &pb::BlockHead) -> io::Result<()> {
            self.0.push(vec![]);
            Ok(())
        }

        fn content(&mut self, content: &[u8]) -> io::Result<()> {
            self.0.last_mut().unwrap().extend_from_slice(content);
            Ok(())
        }
    }

    /// What comes of these pieces, and how it ended.
    fn expand(came: Vec<pb::BlockPiece>) -> (Vec<Vec<u8>>, Result<(), Coded>) {
        let (came_in, pieces) = Arriving::channel(came.len() + 1);
        let arrived = came.into_iter().map(Arrived::Piece).chain([Arrived::All]);
        arrived.for_each(|arrived| assert!(came_in.try_send(arrived).is_ok()));
        let mut made = Made::default();
        let ended = blocks(pieces, &mut made).map_err(|stopped| match stopped {
            Stopped::Short(FetchError::Content(wrong)) => wrong,
            other => panic!("{other:?}"),
        });
        (made.0, ended)
    }

    #[test]
    fn blocks_come_out_as_they_went_in() {
        let contents = [b"one".repeat(100_000), vec![], b"three".to_vec()];
        let mut came = vec![];
        for content in &contents {
            let wire = compress(3, content).unwrap();
            let mut head = head();
            came.extend(wire.chunks(7).map(|chunk| piece(head.take(), chunk)));
        }
        assert_eq!(expand(came), (contents.to_vec(), Ok(())));
    }

    #[test]
    fn what_is_no_frame_is_refused_with_its_code() {
        let wire = compress(3, b"content").unwrap();
        let code = |came| expand(came).1.unwrap_err().code;
        assert_eq!(code(vec![piece(None, &wire)]), Code::A05);
        assert_eq!(code(vec![piece(head(), b"<html>")]), Code::A05);
        assert_eq!(code(vec![piece(head(), &wire[..9])]), Code::A05);
        assert_eq!(code(vec![piece(head(), &wire[..9]), piece(head(), &wire)]), Code::A05);
        assert_eq!(code(vec![piece(head(), &wire), piece(None, b"x")]), Code::A05);
        assert_eq!(expand(vec![]), (vec![], Ok(())));
    }

    /// Blocks of nothing: a magic number, a window, and then raw blocks without a byte, of which none is the last.
    #[test]
    fn a_frame_without_content_and_without_end_is_stopped() {
        let begin = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58];
        let nothing = [0; 3].repeat(PART / 3);
        let came = [&begin[..], &nothing].into_iter().map(|data| piece(None, data));
        let more = (0..4).map(|_| piece(None, &nothing));
        let mut came: Vec<_> = came.chain(more).collect();
        came[0].head = head();
        assert_eq!(expand(came).1.unwrap_err().code, Code::A04);
    }

    #[test]
    fn what_is_given_up_half_way_is_not_all() {
        let (came, pieces) = Arriving::channel(1);
        drop(came);
        assert!(matches!(blocks(pieces, &mut Made::default()), Err(Stopped::Gone(_))));
        let (came, pieces) = Arriving::<pb::Piece>::channel(1);
        let cut = FetchError::Cut(Coded::new(Code::C01, "away"));
        assert!(came.try_send(Arrived::Short(cut.clone())).is_ok());
        let mut made = Made(vec![vec![]]);
        assert!(matches!(index(pieces, &mut made), Err(Stopped::Short(why)) if why == cut));
        assert_eq!(made.0, [vec![0u8; 0]]);
    }

    #[test]
    fn whoever_brings_a_bundle_and_breaks_off_is_quoted() {
        let (bring, pieces) = mpsc::channel(2);
        bring.try_send(Ok(Bytes::from_static(b"longshore bundle 1\n"))).unwrap();
        bring.try_send(Err(Coded::new(Code::V01, "a deployment has one head"))).unwrap();
        let (parts, _listening) = mpsc::channel(2);
        assert_eq!(bundle(pieces, parts).unwrap_err().code, Code::V01);
    }
}
