//! Blocks as they come to the thread that writes them: as pieces of a queue, or over a flow from another process.

use bytes::Bytes;
use longshore_common::code::{Code, Coded};
use longshore_proto::v1 as pb;
use tokio::sync::mpsc;

use super::receive::Written;
use crate::helper::{Came, Inflow};

/// Blocks, one after the other. Everything here blocks.
pub(super) trait Blocks: Send {
    /// The beginning of the next block, if there is one.
    fn head(&mut self) -> Result<Option<pb::BlockHead>, Written>;
    /// More of the same block, unless the next one begins or nothing comes any more.
    fn more(&mut self) -> Result<Option<&[u8]>, Written>;
    /// After the end of a block: whether another one has begun.
    fn is_followed(&self) -> bool;
    /// After the end of the last block: whether anything comes all the same.
    fn is_more(&mut self) -> bool;
}

/// Pieces of the controller. One with a head begins the next block.
pub(super) struct Queue {
    pieces: mpsc::Receiver<pb::BlockPiece>,
    next: Option<pb::BlockPiece>,
    /// What came with the head, until it is asked for; then what was asked for last.
    data: Bytes,
    first: bool,
}

impl Queue {
    pub fn of(pieces: mpsc::Receiver<pb::BlockPiece>) -> Self {
        Self { pieces, next: None, data: Bytes::new(), first: false }
    }
}

impl Blocks for Queue {
    fn head(&mut self) -> Result<Option<pb::BlockHead>, Written> {
        let next = self.next.take().or_else(|| self.pieces.blocking_recv());
        let Some(pb::BlockPiece { head, data }) = next else { return Ok(None) };
        (self.data, self.first) = (data, true);
        Ok(Some(head.ok_or_else(headless)?))
    }

    fn more(&mut self) -> Result<Option<&[u8]>, Written> {
        if !std::mem::take(&mut self.first) {
            match self.pieces.blocking_recv() {
                Some(pb::BlockPiece { head: None, data }) => self.data = data,
                other => {
                    self.next = other;
                    return Ok(None);
                }
            }
        }
        Ok(Some(&self.data))
    }

    fn is_followed(&self) -> bool {
        self.next.is_some()
    }

    fn is_more(&mut self) -> bool {
        self.next.is_some() || self.pieces.blocking_recv().is_some()
    }
}

/// What the agent brings.
pub(super) struct Flow {
    flow: Inflow,
    next: Option<pb::BlockHead>,
    ended: bool,
}

impl Flow {
    pub fn of(flow: Inflow) -> Self {
        Self { flow, next: None, ended: false }
    }
}

impl Blocks for Flow {
    fn head(&mut self) -> Result<Option<pb::BlockHead>, Written> {
        if self.next.is_some() || self.ended {
            return Ok(self.next.take());
        }
        match self.flow.take().map_err(Written::Cut)? {
            Some(Came::Head(head)) => Ok(Some(head)),
            Some(Came::Content(_)) => Err(headless().into()),
            None => {
                self.ended = true;
                Ok(None)
            }
        }
    }

    fn more(&mut self) -> Result<Option<&[u8]>, Written> {
        match self.flow.take().map_err(Written::Cut)? {
            Some(Came::Content(content)) => Ok(Some(content)),
            Some(Came::Head(head)) => {
                self.next = Some(head);
                Ok(None)
            }
            None => {
                self.ended = true;
                Ok(None)
            }
        }
    }

    fn is_followed(&self) -> bool {
        self.next.is_some()
    }

    fn is_more(&mut self) -> bool {
        // Everything has come: how the connection ends is nothing to this transfer.
        self.next.is_some() || (!self.ended && matches!(self.flow.take(), Ok(Some(_))))
    }
}

fn headless() -> Coded {
    Coded::new(Code::A05, "a block comes without its head")
}
