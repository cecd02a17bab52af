//! One command at a time signs with what lies in a folder of keys: what was verified there is what it signs on top of.

use std::time::Duration;

use longshore_common::{code::Code, durable::DirLock};
use tokio::time::Instant;

use super::Signer;
use crate::cli::{exit::Exit, failure::Failure};

/// How often a folder that is in use is asked for again: the kernel tells nobody that it is free.
const AGAIN: Duration = Duration::from_millis(50);

impl Signer<'_> {
    /// Nobody else verifies or signs by these keys until what this returns is dropped. Whoever does is waited for, and
    /// named.
    pub(super) async fn alone(&self) -> Result<DirLock, Failure> {
        let mut told = false;
        loop {
            let holder = match self.ring.lock()? {
                Ok(lock) => return Ok(lock),
                Err(holder) => holder,
            };
            let folder = self.ring.folder().display();
            if Instant::now() + AGAIN > self.by {
                let message =
                    format!("{holder} still signs by the keys in {folder}; nothing was signed here");
                return Err(Failure::coded(Code::S01, message)
                    .exit(Exit::TimedOut)
                    .next("when that has ended (it may be asking for a passphrase): the same again"));
            }
            if !told {
                eprintln!("longshore: waits for {holder}, which signs by the keys in {folder}");
                told = true;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}
