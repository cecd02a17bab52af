//! Messages on a unix socket: a byte that says what follows, its length, and that. Content flows past this, between
//! threads that block (`flow`); what it begins with is the same.

use std::{io, time::Duration};

use longshore_common::{
    code::{Code, Coded},
    text::visible,
    wire::cut,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

/// Of what the agent says: an assignment with its values is the largest.
pub const ASK_BYTES: usize = 1 << 20;
/// Of what the helper says, and of one piece that is brought: documents of a repository are the largest.
pub const SAY_BYTES: usize = 8 << 20;

/// Of what is said about one that does not read.
const SAID_BYTES: usize = 400;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// JSON.
    Word(Vec<u8>),
    /// A message of the controller, as it came.
    Piece(Vec<u8>),
}

pub(super) const WORD: u8 = b'w';
pub(super) const PIECE: u8 = b'p';
/// Of an index or a block; in a flow only.
pub(super) const CONTENT: u8 = b'c';
/// Bytes before what is said.
pub(super) const HEAD: usize = 5;

/// What comes before a message of this kind.
pub(super) fn head(kind: u8, body: &[u8]) -> io::Result<[u8; HEAD]> {
    let [a, b, c, d] = u32::try_from(body.len()).map_err(io::Error::other)?.to_be_bytes();
    Ok([kind, a, b, c, d])
}

/// The kind of a message, and how many bytes it claims to have.
pub(super) fn parse([kind, length @ ..]: [u8; HEAD]) -> (u8, usize) {
    (kind, u32::from_be_bytes(length) as usize)
}

#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("a message that was cut off")]
    Torn,
    #[error("a message of {bytes} bytes; at most {most} are read")]
    TooLong { bytes: usize, most: usize },
    #[error("a message of an unknown kind ({0})")]
    Kind(u8),
    #[error("a message that does not read: {0}")]
    Senseless(serde_json::Error),
    #[error("a message where another was due")]
    OutOfTurn,
    #[error("the connection failed: {0}")]
    Broken(io::Error),
}

impl FrameError {
    pub fn coded(&self) -> Coded {
        let code = match self {
            FrameError::Broken(_) => Code::S04,
            FrameError::Torn | FrameError::TooLong { .. } | FrameError::Kind(_) => Code::V01,
            FrameError::Senseless(_) | FrameError::OutOfTurn => Code::V01,
        };
        // What does not read is quoted, and may be anything.
        Coded::new(code, cut(&visible(&self.to_string()), SAID_BYTES))
    }
}

/// None: the other side has ended between two messages. Nothing of a message that is too long is read.
pub async fn read(from: &mut (impl AsyncRead + Unpin), most: usize) -> Result<Option<Frame>, FrameError> {
    let mut head = [0; HEAD];
    match from.read(&mut head).await {
        Ok(0) => return Ok(None),
        Ok(read) => from.read_exact(&mut head[read..]).await.map(drop).map_err(torn)?,
        Err(error) => return Err(torn(error)),
    }
    let (kind, bytes) = parse(head);
    if bytes > most {
        return Err(FrameError::TooLong { bytes, most });
    }
    // The length is a claim; memory is taken as bytes come.
    let mut body = Vec::with_capacity(bytes.min(64 * 1024));
    from.take(bytes as u64).read_to_end(&mut body).await.map_err(torn)?;
    if body.len() < bytes {
        return Err(FrameError::Torn);
    }
    match kind {
        WORD => Ok(Some(Frame::Word(body))),
        PIECE => Ok(Some(Frame::Piece(body))),
        other => Err(FrameError::Kind(other)),
    }
}

/// A word is due. None: the other side has ended.
pub async fn hear<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
    most: usize,
) -> Result<Option<T>, FrameError> {
    match read(from, most).await? {
        Some(Frame::Word(body)) => serde_json::from_slice(&body).map(Some).map_err(FrameError::Senseless),
        Some(Frame::Piece(_)) => Err(FrameError::OutOfTurn),
        None => Ok(None),
    }
}

pub async fn say(to: &mut (impl AsyncWrite + Unpin), word: &impl Serialize) -> io::Result<()> {
    let body = serde_json::to_vec(word).map_err(io::Error::other)?;
    write(to, WORD, &body).await
}

pub async fn pass(to: &mut (impl AsyncWrite + Unpin), piece: &[u8]) -> io::Result<()> {
    write(to, PIECE, piece).await
}

/// Whether the other side listens; an error where it does not take this in time.
pub async fn pass_within(
    limit: Duration,
    to: &mut (impl AsyncWrite + Unpin),
    piece: &[u8],
) -> Result<bool, Coded> {
    let passed = timeout(limit, pass(to, piece)).await.map_err(|_| {
        let message = format!("the helper took nothing of the bundle for {limit:?}: longshore-agent status");
        Coded::new(Code::C01, message)
    })?;
    Ok(passed.is_ok())
}

async fn write(to: &mut (impl AsyncWrite + Unpin), kind: u8, body: &[u8]) -> io::Result<()> {
    to.write_all(&head(kind, body)?).await?;
    to.write_all(body).await?;
    to.flush().await
}

fn torn(error: io::Error) -> FrameError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => FrameError::Torn,
        _ => FrameError::Broken(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helper::words::Call;

    #[tokio::test]
    async fn what_is_written_is_read() {
        let mut bytes = vec![];
        say(&mut bytes, &7).await.unwrap();
        pass(&mut bytes, b"xyz").await.unwrap();
        let mut from = &bytes[..];
        assert_eq!(hear::<u32>(&mut from, 9).await.unwrap(), Some(7));
        assert_eq!(read(&mut from, 9).await.unwrap(), Some(Frame::Piece(b"xyz".to_vec())));
        assert_eq!(read(&mut from, 9).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_bundle_does_not_wait_for_ever_for_a_helper_that_hangs() {
        let (mut to, helper) = tokio::io::duplex(16);
        let late = pass_within(Duration::from_millis(1), &mut to, &[7; 64]).await.unwrap_err();
        assert_eq!(late.message, "the helper took nothing of the bundle for 1ms: longshore-agent status");
        drop(helper);
        let gone = pass_within(Duration::from_secs(60), &mut to, &[7; 64]).await;
        assert!(!gone.unwrap(), "why it is gone is in its answer");
    }

    #[tokio::test]
    async fn what_is_cut_off_anywhere_is_torn() {
        let mut bytes = vec![];
        say(&mut bytes, &"a word").await.unwrap();
        for at in 1..bytes.len() {
            let torn = read(&mut &bytes[..at], 100).await;
            assert!(matches!(torn, Err(FrameError::Torn)), "{at}: {torn:?}");
        }
    }

    #[tokio::test]
    async fn what_is_too_long_unknown_or_senseless_is_refused() {
        let heard = |bytes: &'static [u8]| async move { hear::<u32>(&mut &bytes[..], 4).await.unwrap_err() };
        assert!(matches!(heard(b"w\xff\xff\xff\xff").await, FrameError::TooLong { most: 4, .. }));
        assert!(matches!(heard(b"x\0\0\0\0").await, FrameError::Kind(b'x')));
        assert!(matches!(heard(b"w\0\0\0\x03abc").await, FrameError::Senseless(_)));
        assert!(matches!(heard(b"p\0\0\0\x01a").await, FrameError::OutOfTurn));
        assert_eq!(heard(b"w\xff\xff\xff\xff").await.coded().code, Code::V01);
        let loud = serde_json::from_str::<Call>(&format!(
            "{{\"version\":1,\"ask\":\"\u{1b}[2J{}\"}}",
            "x".repeat(5000)
        ));
        let said = FrameError::Senseless(loud.unwrap_err()).coded().message;
        assert!(said.len() < 500 && !said.contains('\u{1b}'), "{said}");
    }
}
