//! Back from an expired certificate: the holder of the expired key signs for a new one.
//!
//! An expired certificate is never accepted by TLS. What is accepted here, without one, is a signature over a nonce of
//! ours by a key that is still bound to the host. The host's count of recoveries has to be ours: when one disk becomes
//! two, only one of them can know it, and then neither is served until an operator decides.

use std::{
    collections::VecDeque,
    sync::OnceLock,
    time::{Duration, Instant},
};

use longshore_common::{
    code::{Code, Coded},
    digest::sha256,
    ids::HostId,
    recovery::{NONCE, RECOVERY_MAX, is_signed, words},
    time::{Millis, Span},
};

use super::{
    door::retired,
    enrol::{AskedKey, Enrolled, Enrolment},
};
use crate::{
    fleet::{
        BoundKey, Host,
        host::{self, Barred, BarredKind, KEYS_MAX, PAUSED},
    },
    trouble::Trouble,
};

/// How long a nonce is good.
const NONCE_TTL: Duration = Duration::from_secs(60);
/// Nonces that are out at a time; the oldest goes first.
const NONCES: usize = 1024;

/// What a host asks with.
#[derive(Clone, Debug)]
pub struct Recovering {
    pub host: HostId,
    pub nonce: [u8; NONCE],
    pub key: AskedKey,
    pub csr_der: Vec<u8>,
    /// SubjectPublicKeyInfo of the expired certificate.
    pub held_der: Vec<u8>,
    pub recoveries: u32,
    pub signature: Vec<u8>,
}

/// Nonces that were given out and not used yet.
#[derive(Debug, Default)]
pub struct Nonces(VecDeque<([u8; NONCE], Instant)>);

impl Nonces {
    pub fn give(&mut self, now: Instant) -> [u8; NONCE] {
        while self.0.len() >= NONCES {
            self.0.pop_front();
        }
        let nonce = rand::random();
        self.0.push_back((nonce, now));
        nonce
    }

    /// Whether it was one of ours, and not used before.
    pub fn take(&mut self, nonce: &[u8; NONCE], now: Instant) -> bool {
        self.0.retain(|(_, given)| now.saturating_duration_since(*given) < NONCE_TTL);
        let at = self.0.iter().position(|(known, _)| known == nonce);
        at.is_some_and(|at| self.0.remove(at).is_some())
    }
}

/// What comes of an attempt, by the record of its host.
enum Judged {
    Good,
    /// The answer to the last attempt was lost.
    Again,
    Copy(String),
}

impl Enrolment {
    /// The nonce has been taken.
    pub async fn recover(&self, asked: Recovering) -> Result<Enrolled, Trouble> {
        let Recovering { host: id, nonce, key, csr_der, held_der, recoveries, signature } = &asked;
        let signed = is_signed(&words(nonce, id, *recoveries, csr_der), signature, held_der);
        if !signed {
            return Err(Trouble::refused(
                Code::C02,
                "the signature is not of the key that it is said to be of",
            ));
        }
        let (host, _) = host::get(&self.store, id).await?.ok_or_else(|| host::gone(id))?;
        host.let_in()?;
        let now = self.clock.now_ms();
        let held = expired_key(&host, &sha256(held_der), now)?;
        if !self.authority.believes(&held.ca) {
            return Err(retired(&host).into());
        }
        let issued = self.issue(*id, key, now)?;
        let bound = issued.bind(key.spki);
        let copy = OnceLock::new();
        let changed = host::change(&self.store, *id, |host| {
            match judge(host, &key.spki, *recoveries) {
                Judged::Good => host.recoveries = recoveries + 1,
                Judged::Again => {}
                Judged::Copy(reason) => {
                    let why = Coded::new(Code::E06, reason.clone());
                    drop(copy.set(reason)); // an edit that refuses is not tried again
                    return Err(why);
                }
            }
            host.keys.retain(|known| known.spki != held.spki);
            host.bind(bound.clone(), now);
            host.keys.truncate(KEYS_MAX - 1);
            host.keys.push(held.clone()); // the answer may be lost; expired as it is, it opens nothing else
            Ok(())
        });
        let changed = changed.await;
        if let Some(reason) = copy.into_inner() {
            return Err(self.pause(&host, reason).await);
        }
        let host = changed?;
        tracing::info!(host = %id, name = %host.name, recoveries = host.recoveries, "back from an expired certificate");
        Ok(Enrolled { host, issued })
    }

    /// Neither of the two is served until an operator decides. It is on record before it is so.
    async fn pause(&self, host: &Host, reason: String) -> Trouble {
        let actor = format!("host {} ({})", host.name, host.id);
        if let Err(trouble) = self.door.note(&actor, PAUSED, &reason).await {
            return trouble;
        }
        let barred = Barred { kind: BarredKind::Cloned, reason, since_ms: self.clock.now_ms() };
        let paused = host::change(&self.store, host.id, |host| {
            host.barred.get_or_insert_with(|| barred.clone());
            Ok(())
        });
        match paused.await {
            Ok(host) => host.let_in().expect_err("it has just been paused").into(),
            Err(trouble) => trouble,
        }
    }
}

fn expired_key(host: &Host, held: &[u8; 32], now: Millis) -> Result<BoundKey, Coded> {
    let Some(bound) = host.key(held) else {
        let message = format!(
            "host {} ({}) has other keys by now: an old copy of its disk? Enrol this machine anew: longshore token create",
            host.id, host.name
        );
        return Err(Coded::new(Code::E06, message));
    };
    let ago = now - bound.expires_ms;
    if ago < 0 {
        let left = Span::millis(ago.unsigned_abs() / 1000 * 1000);
        let message = format!(
            "the certificate is good for another {left}: this host's clock is ahead. Set it (timedatectl) and try again"
        );
        return Err(Coded::new(Code::E05, message));
    }
    if ago > RECOVERY_MAX.as_millis() as Millis {
        let message = format!(
            "the certificate of host {} expired {} days ago, and after {} there is no way back. \
             Enrol it again: longshore token create, then on this host: longshore-agent enroll --again",
            host.name,
            ago / 86_400_000,
            RECOVERY_MAX.as_secs() / 86_400
        );
        return Err(Coded::new(Code::E06, message));
    }
    Ok(bound.clone())
}

fn judge(host: &Host, wanted: &[u8; 32], told: u32) -> Judged {
    // Once an operator has said which of two it is, its count is the one that counts.
    if told == host.recoveries || host.renew {
        return Judged::Good;
    }
    if told.checked_add(1) == Some(host.recoveries)
        && host.keys.first().is_some_and(|key| key.spki == *wanted)
    {
        return Judged::Again;
    }
    Judged::Copy(format!(
        "host {} ({}) has come back {} times by its own count, and {} times by ours: a cloned disk?",
        host.id, host.name, told, host.recoveries
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_good_once_and_for_a_minute() {
        let (start, mut nonces) = (Instant::now(), Nonces::default());
        let (first, second) = (nonces.give(start), nonces.give(start));
        assert!(nonces.take(&first, start) && !nonces.take(&first, start));
        assert!(!nonces.take(&second, start + NONCE_TTL));
        assert!(!nonces.take(&[0; NONCE], start), "not ours");
        for _ in 0..3 * NONCES {
            nonces.give(start);
        }
        assert!(nonces.0.len() <= NONCES);
    }
}
