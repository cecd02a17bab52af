//! A place among those that are at work.

use tokio::sync::{Semaphore, SemaphorePermit};

use super::Worker;
use crate::{host::Host, state::StateFailed};

/// One place, taken or left.
#[derive(Debug)]
pub(super) struct Place<'a> {
    all: &'a Semaphore,
    held: Option<SemaphorePermit<'a>>,
}

impl<'a> Place<'a> {
    /// Not taken yet.
    pub(super) fn among(all: &'a Semaphore) -> Self {
        Self { all, held: None }
    }

    pub(super) fn leave(&mut self) {
        self.held = None;
    }

    pub(super) fn is_left(&self) -> bool {
        self.held.is_none()
    }
}

impl<H: Host> Worker<H> {
    /// Mail is read meanwhile. Who goes back needs none: those at work may be waiting for a controller that is away, and
    /// going back by hand is for when it is.
    pub(super) async fn take(&mut self, place: &mut Place<'_>) -> Result<(), StateFailed> {
        // Kept over mail, for its turn is.
        let all = place.all;
        let mut turn = std::pin::pin!(all.acquire());
        while !self.is_bound() {
            tokio::select! {
                permit = &mut turn => {
                    place.held = Some(permit.expect("never closed"));
                    return Ok(());
                }
                Some(mail) = self.mailbox.recv() => {
                    self.read(mail).await?;
                }
            }
        }
        Ok(())
    }

    /// On the way back, or carrying out a local order: this is finished before anything new begins.
    pub(super) fn is_bound(&self) -> bool {
        self.record.order.is_some() || (self.record.failed.is_some() && self.record.concluded.is_none())
    }
}
