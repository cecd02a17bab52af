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

use crate::host::sys::give_back_memory;

/// Bytes of one part of a bundle.
const PART: usize = 256 * 1024;
/// Bytes of a frame that may have come with nothing to show for them: a block and its header, with room.
const NOT_YET: u64 = 2 * CHUNK as u64;

/// One frame, which comes in pieces; nothing is handed on before its end.
pub(super) fn index(
    mut pieces: mpsc::Receiver<pb::Piece>,
    content: mpsc::Sender<pb::Piece>,
) -> Result<(), Coded> {
    let mut collect = Collect::new(limits::INDEX_BYTES).map_err(|e| fault(&e))?;
    while let Some(piece) = pieces.blocking_recv() {
        collect.feed(&piece.data)?;
    }
    let whole = Bytes::from(collect.finish()?);
    for at in (0..whole.len()).step_by(limits::PIECE_BYTES) {
        let data = whole.slice(at..whole.len().min(at + limits::PIECE_BYTES));
        if content.blocking_send(pb::Piece { data }).is_err() {
            break; // nobody waits for it any more
        }
    }
    Ok(())
}

/// Blocks, one after the other: a piece with a head begins the next one. What a block should hold is not known here;
/// the helper ends what is more.
pub(super) fn blocks(
    mut pieces: mpsc::Receiver<pb::BlockPiece>,
    content: mpsc::Sender<pb::BlockPiece>,
) -> Result<(), Coded> {
    let mut frame = Frame { reader: FrameReader::new().map_err(|e| fault(&e))?, wire: 0, content: 0 };
    let mut begun = false;
    while let Some(pb::BlockPiece { head, data }) = pieces.blocking_recv() {
        if head.is_some() {
            frame.end(begun)?;
            frame.begin()?;
            begun = true;
            if content.blocking_send(pb::BlockPiece { head, data: Bytes::new() }).is_err() {
                return Ok(());
            }
        } else if !begun {
            return Err(Coded::new(Code::A05, "a block comes without its head"));
        }
        let pass = |chunk: &[u8]| {
            let data = Bytes::copy_from_slice(chunk);
            content.blocking_send(pb::BlockPiece { head: None, data }).map_err(|_| Ended::Unheard)
        };
        match frame.feed(&data, pass) {
            Ok(()) => {}
            Err(Ended::Unheard) => return Ok(()),
            Err(Ended::Wrong(wrong)) => return Err(wrong),
        }
    }
    frame.end(begun)?;
    give_back_memory();
    Ok(())
}

/// The frame of one block.
struct Frame {
    reader: FrameReader,
    wire: u64,
    content: u64,
}

enum Ended {
    /// Nobody waits for it any more.
    Unheard,
    Wrong(Coded),
}

impl From<Coded> for Ended {
    fn from(wrong: Coded) -> Self {
        Ended::Wrong(wrong)
    }
}

impl Frame {
    fn begin(&mut self) -> Result<(), Coded> {
        (self.wire, self.content) = (0, 0);
        self.reader.begin().map_err(|e| fault(&e))
    }

    fn feed(&mut self, wire: &[u8], mut pass: impl FnMut(&[u8]) -> Result<(), Ended>) -> Result<(), Ended> {
        self.wire += wire.len() as u64;
        let content = &mut self.content;
        self.reader.feed(wire, |chunk| {
            *content += chunk.len() as u64;
            pass(chunk)
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

    /// What comes of these pieces: the content of each block, and how it ended.
    fn expand(came: Vec<pb::BlockPiece>) -> (Vec<Vec<u8>>, Result<(), Coded>) {
        let (came_in, pieces) = mpsc::channel(came.len().max(1));
        came.into_iter().for_each(|piece| came_in.try_send(piece).unwrap());
        drop(came_in);
        let (content, mut made) = mpsc::channel(10_000);
        let ended = blocks(pieces, content);
        let mut all: Vec<Vec<u8>> = vec![];
        while let Ok(pb::BlockPiece { head, data }) = made.try_recv() {
            all.extend(head.map(|_| vec![]));
            all.last_mut().unwrap().extend_from_slice(&data);
        }
        (all, ended)
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
    fn whoever_brings_a_bundle_and_breaks_off_is_quoted() {
        let (bring, pieces) = mpsc::channel(2);
        bring.try_send(Ok(Bytes::from_static(b"longshore bundle 1\n"))).unwrap();
        bring.try_send(Err(Coded::new(Code::V01, "a deployment has one head"))).unwrap();
        let (parts, _listening) = mpsc::channel(2);
        assert_eq!(bundle(pieces, parts).unwrap_err().code, Code::V01);
    }
}
