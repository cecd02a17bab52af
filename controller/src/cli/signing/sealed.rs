//! A key at rest: encrypted under a passphrase (Argon2id, then ChaCha20-Poly1305), its public half readable.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use longshore_common::{
    code::{Code, Coded},
    trust::{PublicKey, SigningKey},
};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom, SystemRandom},
};
use serde::{Deserialize, Serialize};

const SCHEMA: &str = "longshore.key/1";
/// RFC 9106, second recommended option: 64 MiB, three passes.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const SALT: usize = 16;

/// What the file says.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SealedKey {
    schema: String,
    /// Hex.
    public: String,
    /// Argon2id's, in the units of its standard.
    memory_kib: u32,
    passes: u32,
    /// Base64, all three.
    salt: String,
    nonce: String,
    sealed: String,
}

impl SealedKey {
    pub fn seal(key: &SigningKey, passphrase: &str) -> Self {
        let random = SystemRandom::new();
        let (mut salt, mut nonce) = ([0; SALT], [0; NONCE_LEN]);
        random.fill(&mut salt).and(random.fill(&mut nonce)).expect("the system has random bytes");
        let mut sealed = key.seed().to_vec();
        let public = key.public().to_string();
        cipher(passphrase, &salt, MEMORY_KIB, PASSES)
            .expect("our own parameters are sound")
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&public), &mut sealed)
            .expect("32 bytes can be sealed");
        Self {
            schema: SCHEMA.to_owned(),
            public,
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            salt: STANDARD.encode(salt),
            nonce: STANDARD.encode(nonce),
            sealed: STANDARD.encode(sealed),
        }
    }

    pub fn public(&self) -> Result<PublicKey, Coded> {
        if self.schema != SCHEMA {
            return Err(Coded::new(Code::S03, "a key file of another version"));
        }
        self.public.parse()
    }

    /// An error for a wrong passphrase and for a changed file alike.
    pub fn open(&self, passphrase: &str) -> Result<SigningKey, Coded> {
        let public = self.public()?;
        let damaged = || Coded::new(Code::S02, "the key file is damaged");
        let bytes = |text: &str| STANDARD.decode(text).map_err(|_| damaged());
        if self.memory_kib > 1 << 20 || self.passes > 64 {
            return Err(damaged());
        }
        let cipher =
            cipher(passphrase, &bytes(&self.salt)?, self.memory_kib, self.passes).ok_or_else(damaged)?;
        let nonce: [u8; NONCE_LEN] = bytes(&self.nonce)?.try_into().map_err(|_| damaged())?;
        let mut sealed = bytes(&self.sealed)?;
        let opened =
            cipher.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(&self.public), &mut sealed);
        let wrong = || Coded::new(Code::C02, "the passphrase is wrong, or the key file was changed");
        let opened: &[u8] = opened.map_err(|_| wrong())?;
        let seed: [u8; 32] = opened.try_into().map_err(|_| damaged())?;
        let key = SigningKey::from_seed(seed);
        if key.public() == public { Ok(key) } else { Err(damaged()) }
    }
}

fn cipher(passphrase: &str, salt: &[u8], memory_kib: u32, passes: u32) -> Option<LessSafeKey> {
    let params = Params::new(memory_kib, passes, 1, Some(32)).ok()?;
    let mut key = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, &mut key)
        .ok()?;
    UnboundKey::new(&CHACHA20_POLY1305, &key).ok().map(LessSafeKey::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_opens_with_its_passphrase_and_with_no_other() {
        let key = SigningKey::from_seed([7; 32]);
        let mut sealed = SealedKey::seal(&key, "correct horse");
        assert_eq!(sealed.open("correct horse").unwrap().public(), key.public());
        assert_eq!(sealed.open("battery staple").unwrap_err().code, Code::C02);
        let text = serde_json::to_string(&sealed).unwrap();
        assert!(!text.contains(&longshore_common::digest::hex(key.seed())), "the seed is not in the file");
        // Another public half under the same seal.
        sealed.public = SigningKey::from_seed([8; 32]).public().to_string();
        assert_eq!(sealed.open("correct horse").unwrap_err().code, Code::C02);
        sealed.memory_kib = u32::MAX;
        assert_eq!(sealed.open("correct horse").unwrap_err().code, Code::S02);
    }
}
