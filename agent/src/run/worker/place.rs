//! A place among those that are at work.

use tokio::sync::{Semaphore, SemaphorePermit};

use super::Worker;
use crate::{host::Host, state::StateFailed};

impl<H: Host> Worker<H> {
    /// Mail is read meanwhile. Who goes back needs none: those at work may be waiting for a controller that is away, and
    /// going back by hand is for when it is.
    pub(super) async fn place<'a>(
        &mut self,
        places: &'a Semaphore,
    ) -> Result<Option<SemaphorePermit<'a>>, StateFailed> {
        // Kept over mail, for its turn is.
        let mut turn = std::pin::pin!(places.acquire());
        while !self.is_bound() {
            tokio::select! {
                place = &mut turn => return Ok(Some(place.expect("never closed"))),
                Some(mail) = self.mailbox.recv() => {
                    self.read(mail).await?;
                }
            }
        }
        Ok(None)
    }

    /// On the way back, or carrying out a local order: this is finished before anything new begins.
    pub(super) fn is_bound(&self) -> bool {
        self.record.order.is_some() || (self.record.failed.is_some() && self.record.concluded.is_none())
    }
}
