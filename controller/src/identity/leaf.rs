//! The controller's own certificate: made at start, in memory only, and replaced at half of its life.
//!
//! Its key never touches the disk; the CA's is there anyway, and a fresh pair at each start costs a millisecond.

use std::{sync::Arc, time::Duration};

use longshore_common::{
    chain::Chain,
    time::{Clock, Millis},
    tls::LiveIdentity,
};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use tokio_util::sync::CancellationToken;

use super::{Authority, IdentityError, authority::CONTROLLER_LIFETIME};

/// How often the clock is looked at: a suspended machine must not sleep through its renewal.
const LOOK: Duration = Duration::from_secs(600);

pub struct Leaf {
    pub live: Arc<LiveIdentity>,
    authority: Arc<Authority>,
    names: Vec<String>,
    expires_ms: Millis,
}

impl Leaf {
    pub fn new(authority: Arc<Authority>, names: Vec<String>, now: Millis) -> Result<Self, IdentityError> {
        let (chain, key, expires_ms) = pair(&authority, &names, now)?;
        let live = LiveIdentity::new(chain.as_bytes(), key.as_bytes())?;
        Ok(Self { live, authority, names, expires_ms })
    }

    pub fn expires_ms(&self) -> Millis {
        self.expires_ms
    }

    /// Puts a new pair in place when half of the present one's life is over. Whether it did.
    pub fn renew_if_due(&mut self, now: Millis) -> Result<bool, IdentityError> {
        let half = CONTROLLER_LIFETIME.as_millis() as Millis / 2;
        if now < self.expires_ms - half {
            return Ok(false);
        }
        let (chain, key, expires_ms) = pair(&self.authority, &self.names, now)?;
        self.live.replace(chain.as_bytes(), key.as_bytes())?;
        self.expires_ms = expires_ms;
        Ok(true)
    }

    /// Keeps the certificate fresh until `stop`.
    pub async fn keep(mut self, clock: Arc<dyn Clock>, stop: CancellationToken) {
        let mut tick = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            match self.renew_if_due(clock.now_ms()) {
                Ok(true) => tracing::info!(expires_ms = self.expires_ms, "own certificate replaced"),
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(error = %Chain(&error), "own certificate not replaced; trying again");
                }
            }
        }
    }
}

fn pair(
    authority: &Authority,
    names: &[String],
    now: Millis,
) -> Result<(String, String, Millis), IdentityError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let issued = authority.issue_controller(&key, names, now)?;
    Ok((issued.chain_pem, key.serialize_pem(), issued.expires_ms))
}
