//! Output of programs as lines of bounded length.

use std::io;

use longshore_common::report::LINE_BYTES;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::mpsc,
};

use super::Stream;

/// Calls `each` for every line until the end. What is over `LINE_BYTES` of a line is dropped, and so says its end.
pub async fn read_lines(from: impl AsyncRead + Unpin, each: impl FnMut(String)) -> io::Result<()> {
    read_lines_up_to(LINE_BYTES, from, each).await
}

/// The same, of lines of up to so many bytes.
pub async fn read_lines_up_to(
    bytes: usize,
    mut from: impl AsyncRead + Unpin,
    mut each: impl FnMut(String),
) -> io::Result<()> {
    let mut line = Cutter::new(bytes);
    let mut buffer = [0; 4096];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            line.finish(&mut each);
            return Ok(());
        }
        for piece in buffer[..count].split_inclusive(|byte| *byte == b'\n') {
            line.push(piece, &mut each);
        }
    }
}

/// Every line goes to `to`. While there is no room nothing is read, and the program waits for its pipe: what it prints is
/// never kept in memory. An error of the pipe is its end.
pub async fn pass_lines(
    mut from: impl AsyncRead + Unpin,
    stream: Stream,
    to: mpsc::Sender<(Stream, String)>,
) {
    let mut line = Cutter::new(LINE_BYTES);
    let (mut buffer, mut ready) = ([0; 4096], vec![]);
    loop {
        let count = from.read(&mut buffer).await.unwrap_or(0);
        for piece in buffer[..count].split_inclusive(|byte| *byte == b'\n') {
            line.push(piece, &mut |text| ready.push(text));
        }
        if count == 0 {
            line.finish(&mut |text| ready.push(text));
        }
        for text in ready.drain(..) {
            if to.send((stream, text)).await.is_err() {
                return;
            }
        }
        if count == 0 {
            return;
        }
    }
}

/// The line, cut like those that are read.
pub fn shortened(line: &str) -> String {
    let (mut cutter, mut short) = (Cutter::new(LINE_BYTES), String::new());
    let mut each = |cut: String| short = cut;
    cutter.push(line.as_bytes(), &mut each);
    cutter.finish(&mut each);
    short
}

struct Cutter {
    bytes: usize,
    kept: Vec<u8>,
    dropped: usize,
}

const CUT_MARK: &str = " …";

impl Cutter {
    fn new(bytes: usize) -> Self {
        Self { bytes, kept: vec![], dropped: 0 }
    }

    fn push(&mut self, piece: &[u8], each: &mut impl FnMut(String)) {
        let (text, ends) = match piece.split_last() {
            Some((b'\n', text)) => (text, true),
            _ => (piece, false),
        };
        let room = (self.bytes - CUT_MARK.len()).saturating_sub(self.kept.len());
        let take = room.min(text.len());
        self.kept.extend_from_slice(&text[..take]);
        self.dropped += text.len() - take;
        if ends {
            self.emit(each);
        }
    }

    fn finish(&mut self, each: &mut impl FnMut(String)) {
        if !self.kept.is_empty() || self.dropped > 0 {
            self.emit(each);
        }
    }

    fn emit(&mut self, each: &mut impl FnMut(String)) {
        let bytes = self.kept.strip_suffix(b"\r").unwrap_or(&self.kept);
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        if self.dropped > 0 {
            text.push_str(CUT_MARK);
        }
        // A cut inside a character, or bytes that are no text, grow when they are replaced.
        while text.len() > self.bytes {
            text.pop();
        }
        self.kept.clear();
        self.dropped = 0;
        each(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines_of(bytes: &[u8]) -> Vec<String> {
        let mut lines = vec![];
        read_lines(bytes, |line| lines.push(line)).await.unwrap();
        lines
    }

    /// However much a program prints, no more of it is read than somebody takes.
    #[tokio::test]
    async fn nothing_is_read_while_nobody_takes_it() {
        use futures_util::FutureExt;
        use tokio::io::AsyncWriteExt;
        let (mut program, pipe) = tokio::io::duplex(1024);
        let (lines, mut taken) = mpsc::channel(4);
        let passing = tokio::spawn(pass_lines(pipe, Stream::Stdout, lines));
        let mut printed = 0;
        for _ in 0..100_000 {
            printed += program.write(b"y\n").now_or_never().map_or(0, |written| written.unwrap());
            tokio::task::yield_now().await;
        }
        assert!(printed < 10_000, "{printed} bytes are read though nobody takes them");
        for _ in 0..100 {
            assert_eq!(taken.recv().await, Some((Stream::Stdout, "y".to_owned())));
        }
        drop((program, taken));
        passing.await.unwrap();
    }

    #[tokio::test]
    async fn lines_are_split_and_long_ones_cut() {
        assert_eq!(lines_of(b"a\r\n\nb").await, ["a", "", "b"]);
        let long = lines_of(&[b"x".repeat(100_000), b"\nshort\n".to_vec()].concat()).await;
        assert_eq!(long.len(), 2);
        assert!(long[0].len() <= LINE_BYTES && long[0].ends_with('…'), "{}", long[0].len());
        assert_eq!(long[1], "short");
        assert_eq!(shortened(&"x".repeat(100_000)), long[0]);
        assert_eq!((shortened("short"), shortened("")), ("short".to_owned(), String::new()));
        let mut rows = vec![];
        let row = [b"x".repeat(5000), b"\n".to_vec()].concat();
        read_lines_up_to(5000 + CUT_MARK.len(), &row[..], |row| rows.push(row)).await.unwrap();
        assert_eq!(rows[0].len(), 5000, "a row is longer than a line");
        let noise = lines_of(&[0xff; 5000]).await;
        assert!(noise[0].len() <= LINE_BYTES);
    }
}
