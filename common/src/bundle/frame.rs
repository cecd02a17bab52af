//! Single zstd frames, made and read in small pieces.
//!
//! The reader trusts nothing: it says how much came out and where the frame ended, and the caller decides how much may
//! come. Its memory is one window (at most 8 MiB) and one output buffer.

use std::io;

use zstd::stream::raw::{CParameter, DParameter, Decoder, Encoder, InBuffer, Operation, OutBuffer};

use super::limits;
use crate::code::{Code, Coded};

/// Bytes of content handed on at once: what zstd itself decodes in one go.
pub const CHUNK: usize = 128 * 1024;

/// How what is compressed on the wire comes to whoever holds it against its digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// In zstd frames.
    #[default]
    Framed,
    /// Expanded already, by somebody who has less to lose if a frame takes over the one that reads it.
    Plain,
}

/// Bytes that an honest frame of so much content can have: zstd's own worst case, and room for headers. A frame may
/// hold any number of empty blocks, so its length is bounded apart from its content.
pub fn frame_bytes_max(content: u64) -> u64 {
    content + content / 128 + 1024
}

/// Compresses one frame.
pub struct FrameWriter {
    encoder: Encoder<'static>,
    buffer: Vec<u8>,
}

impl FrameWriter {
    /// `content` is exactly how many bytes will be written.
    pub fn new(level: i32, content: u64) -> io::Result<Self> {
        let mut encoder = Encoder::new(level)?;
        encoder.set_pledged_src_size(Some(content))?;
        encoder.set_parameter(CParameter::ContentSizeFlag(true))?;
        Ok(Self { encoder, buffer: vec![0; CHUNK] })
    }

    pub fn write(&mut self, content: &[u8], mut out: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut input = InBuffer::around(content);
        while input.pos() < content.len() {
            let mut output = OutBuffer::around(&mut self.buffer[..]);
            self.encoder.run(&mut input, &mut output)?;
            let made = output.pos();
            out(&self.buffer[..made])?;
        }
        Ok(())
    }

    /// Ends the frame. Fails when less or more was written than promised.
    pub fn finish(mut self, mut out: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        loop {
            let mut output = OutBuffer::around(&mut self.buffer[..]);
            let left = self.encoder.finish(&mut output, true)?;
            let made = output.pos();
            out(&self.buffer[..made])?;
            if left == 0 {
                return Ok(());
            }
        }
    }
}

/// Decompresses one frame at a time; may be used for many, one after the other.
pub struct FrameReader {
    decoder: Decoder<'static>,
    buffer: Vec<u8>,
    ended: bool,
}

impl FrameReader {
    pub fn new() -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(limits::WINDOW_LOG))?;
        Ok(Self { decoder, buffer: vec![0; CHUNK], ended: false })
    }

    /// Gets ready for the next frame.
    pub fn begin(&mut self) -> io::Result<()> {
        self.ended = false;
        self.decoder.reinit()
    }

    /// The frame has come to its end.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Decodes a piece and hands on what it holds, in chunks. Bytes after the end of the frame are an error.
    pub fn feed<E: From<Coded>>(
        &mut self,
        wire: &[u8],
        mut content: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut input = InBuffer::around(wire);
        loop {
            if self.ended {
                let left = wire.len() - input.pos();
                return if left == 0 { Ok(()) } else { Err(surplus(left).into()) };
            }
            let mut output = OutBuffer::around(&mut self.buffer[..]);
            let hint = self.decoder.run(&mut input, &mut output).map_err(|e| unreadable(&e, wire))?;
            let made = output.pos();
            self.ended = hint == 0;
            if made > 0 {
                content(&self.buffer[..made])?;
            }
            if !self.ended && made < CHUNK && input.pos() == wire.len() {
                return Ok(());
            }
        }
    }
}

fn surplus(bytes: usize) -> Coded {
    Coded::new(Code::A05, format!("{bytes} bytes follow the end of a compressed frame"))
}

fn unreadable(error: &io::Error, wire: &[u8]) -> Coded {
    let start: String = wire.iter().take(8).map(|b| b.escape_ascii().to_string()).collect();
    Coded::new(
        Code::A05,
        format!(
            "compressed bytes cannot be read ({error}); they begin \"{start}\"; did an error page come instead?"
        ),
    )
}

/// A whole frame in memory, for what is small: indexes.
pub fn compress(level: i32, content: &[u8]) -> io::Result<Vec<u8>> {
    let mut wire = Vec::with_capacity(content.len() / 2 + 64);
    let mut writer = FrameWriter::new(level, content.len() as u64)?;
    let mut keep = |piece: &[u8]| {
        wire.extend_from_slice(piece);
        Ok(())
    };
    writer.write(content, &mut keep)?;
    writer.finish(&mut keep)?;
    Ok(wire)
}

/// Collects at most `limit` bytes of content.
pub struct Collect {
    /// None: it is content that comes.
    reader: Option<FrameReader>,
    content: Vec<u8>,
    limit: usize,
}

impl Collect {
    /// Of one frame.
    pub fn new(limit: usize) -> io::Result<Self> {
        Self::of(Form::Framed, limit)
    }

    pub fn of(form: Form, limit: usize) -> io::Result<Self> {
        Ok(Self { reader: reader_for(form)?, content: Vec::new(), limit })
    }

    pub fn feed(&mut self, wire: &[u8]) -> Result<(), Coded> {
        let (content, limit) = (&mut self.content, self.limit);
        let mut keep = |chunk: &[u8]| {
            if content.len() + chunk.len() > limit {
                return Err(Coded::new(Code::A04, format!("expanded past {limit} bytes; stopped")));
            }
            content.extend_from_slice(chunk);
            Ok(())
        };
        match &mut self.reader {
            Some(reader) => reader.feed(wire, keep),
            None => keep(wire),
        }
    }

    pub fn finish(self) -> Result<Vec<u8>, Coded> {
        if self.reader.is_none_or(|reader| reader.ended()) {
            Ok(self.content)
        } else {
            Err(Coded::new(Code::A05, "a compressed frame is cut off"))
        }
    }
}

/// None for what needs none: whoever takes content only never has a decoder.
pub(super) fn reader_for(form: Form) -> io::Result<Option<FrameReader>> {
    match form {
        Form::Framed => FrameReader::new().map(Some),
        Form::Plain => Ok(None),
    }
}

/// The content of a whole frame of at most `limit` bytes.
pub fn expand(wire: &[u8], limit: usize) -> Result<Vec<u8>, Coded> {
    let mut collect = Collect::new(limit).map_err(|e| Coded::new(Code::X01, format!("zstd: {e}")))?;
    collect.feed(wire)?;
    collect.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_whatever_the_pieces() {
        let content: Vec<u8> = (0..700_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let wire = compress(3, &content).unwrap();
        for piece in [1000, 4096, wire.len()] {
            let mut collect = Collect::new(content.len()).unwrap();
            wire.chunks(piece).for_each(|piece| collect.feed(piece).unwrap());
            assert_eq!(collect.finish().unwrap(), content);
        }
        assert_eq!(expand(&compress(3, b"").unwrap(), 0).unwrap(), b"");
    }

    #[test]
    fn hostile_frames_are_refused_with_their_code() {
        let wire = compress(3, &vec![0; 1 << 20]).unwrap();
        assert_eq!(expand(&wire, 1 << 16).unwrap_err().code, Code::A04);
        assert_eq!(expand(&wire[..wire.len() - 1], 1 << 20).unwrap_err().code, Code::A05);
        assert_eq!(expand(&[&wire[..], b"x"].concat(), 1 << 20).unwrap_err().code, Code::A05);
        let error = expand(b"<html><body>502</body></html>", 1 << 20).unwrap_err();
        assert!(error.code == Code::A05 && error.message.contains("<html>"), "{error}");
    }

    #[test]
    fn a_promise_of_size_is_kept_or_the_frame_fails() {
        let mut writer = FrameWriter::new(3, 10).unwrap();
        let result = writer.write(b"123", |_| Ok(())).and_then(|()| writer.finish(|_| Ok(())));
        assert!(result.is_err());
    }

    #[test]
    fn a_window_larger_than_allowed_is_refused() {
        let mut encoder = Encoder::new(3).unwrap();
        encoder.set_parameter(CParameter::WindowLog(limits::WINDOW_LOG + 1)).unwrap();
        let content = vec![7u8; 20 << 20];
        let mut wire = vec![0; 1 << 20];
        let mut output = OutBuffer::around(&mut wire[..]);
        encoder.run(&mut InBuffer::around(&content), &mut output).unwrap();
        encoder.finish(&mut output, true).unwrap();
        let made = output.pos();
        assert_eq!(expand(&wire[..made], 64 << 20).unwrap_err().code, Code::A05);
    }

    #[test]
    fn a_frame_may_take_what_zstds_worst_case_takes() {
        let most = [0, 127, 128, 12_800, 8 << 20].map(frame_bytes_max);
        assert_eq!(most, [1024, 1151, 1153, 13_924, (8 << 20) + (64 << 10) + 1024]);
    }

    /// Pieces that do not fill the reader's buffer, one after the other, in one swallow: the buffer fills up in the
    /// middle of one, with nothing left to read.
    #[test]
    fn all_of_a_swallow_is_decoded_whatever_its_blocks() {
        let content: Vec<u8> = (0..90_000u32).map(|n| (n / 3) as u8).collect();
        let (mut encoder, mut wire) = (Encoder::new(3).unwrap(), vec![0; 1 << 20]);
        let mut output = OutBuffer::around(&mut wire[..]);
        for piece in 0..3 {
            encoder.run(&mut InBuffer::around(&content), &mut output).unwrap();
            while piece < 2 && encoder.flush(&mut output).unwrap() > 0 {}
        }
        while encoder.finish(&mut output, true).unwrap() > 0 {}
        let made = output.pos();
        assert_eq!(expand(&wire[..made], 1 << 20).unwrap(), content.repeat(3));
    }

    #[test]
    fn a_reader_begins_anew_after_a_frame_that_was_cut_off() {
        let (first, second) = (compress(3, &[1; 5000]).unwrap(), compress(3, b"second").unwrap());
        let mut reader = FrameReader::new().unwrap();
        let mut came = vec![];
        let mut keep = |piece: &[u8]| -> Result<(), Coded> {
            came.extend_from_slice(piece);
            Ok(())
        };
        reader.begin().unwrap();
        reader.feed(&first[..first.len() - 1], |_| Ok::<_, Coded>(())).unwrap();
        assert!(!reader.ended());
        for _ in 0..2 {
            reader.begin().unwrap();
            reader.feed(&second, &mut keep).unwrap();
            assert!(reader.ended());
        }
        assert_eq!(came, b"secondsecond");
    }
}
