//! The controller's own certificate: made at start, in memory only, and replaced at half of its life.
//!
//! Its key never touches the disk; the CA's is there anyway, and a fresh pair at each start costs a millisecond.

use std::sync::Arc;

use longshore_common::{time::Millis, tls::LiveIdentity};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};

use super::{Authority, IdentityError, authority::CONTROLLER_LIFETIME};

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
        self.renew(now)?;
        Ok(true)
    }

    /// A new pair, in force from the next handshake on.
    pub fn renew(&mut self, now: Millis) -> Result<(), IdentityError> {
        let (chain, key, expires_ms) = pair(&self.authority, &self.names, now)?;
        self.live.replace(chain.as_bytes(), key.as_bytes())?;
        self.expires_ms = expires_ms;
        tracing::info!(expires_ms, ca = self.authority.id(), "own certificate replaced");
        Ok(())
    }

    /// Others reach this controller by these names from the next certificate on. Whether that is news.
    pub fn rename(&mut self, names: Vec<String>) -> bool {
        let news = self.names != names;
        self.names = names;
        news
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
