//! The key that opens secrets which were encrypted for this host: an age identity, made here, that never leaves it.
//!
//! Its errors never repeat what was opened, nor the key.

use std::{io, path::Path};

use age::secrecy::ExposeSecret as _;
use longshore_common::{
    chain::Chain,
    code::{Code, Coded},
    durable::{create_dir_durable, write_atomic},
    regular::{self, Links},
};

const KEY: &str = "age-key.txt";
/// Of the file; a key has 74.
const KEY_BYTES: usize = 1024;
/// Of what is opened.
pub const PLAIN_BYTES: usize = 8 * 1024;

/// Opens what was encrypted to this host's recipient.
#[derive(Clone)]
pub struct Opener(age::x25519::Identity);

impl Opener {
    /// The key in the identity folder; one is made where there is none.
    pub fn load_or_make(folder: &Path) -> Result<Self, Coded> {
        match Self::load(folder)? {
            Some(opener) => Ok(opener),
            None => Self::make(folder),
        }
    }

    /// A new key in place of whatever was there. What was encrypted for the old one is opened by nobody any more.
    pub fn make(folder: &Path) -> Result<Self, Coded> {
        let key = age::x25519::Identity::generate();
        let text = key.to_string();
        let trouble =
            |e: longshore_common::durable::DurableError| Coded::new(e.code(), Chain(&e).to_string());
        create_dir_durable(folder, 0o700).map_err(trouble)?;
        let line = format!("{}\n", text.expose_secret());
        write_atomic(&folder.join(KEY), line.as_bytes(), 0o600).map_err(trouble)?;
        Ok(Self(key))
    }

    fn load(folder: &Path) -> Result<Option<Self>, Coded> {
        let path = folder.join(KEY);
        let text = match regular::read_text(&path, KEY_BYTES, Links::Refused) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                let message = format!(
                    "read `{}`: permission denied. Run this as root or as the agent's user",
                    path.display()
                );
                return Err(Coded::new(Code::C02, message));
            }
            Err(e) => return Err(Coded::new(Code::S04, format!("read `{}`: {e}", path.display()))),
        };
        let key = text.trim().parse().map_err(|_| damaged(&path))?;
        Ok(Some(Self(key)))
    }

    /// What others encrypt to.
    pub fn recipient(&self) -> String {
        self.0.to_public().to_string()
    }

    /// The bytes that were encrypted; at most `PLAIN_BYTES`.
    pub fn open(&self, text: &[u8]) -> Result<Vec<u8>, Shut> {
        use io::Read as _;
        let wrong = |e: age::DecryptError| match e {
            age::DecryptError::NoMatchingKeys | age::DecryptError::KeyDecryptionFailed => Shut::Foreign,
            _ => Shut::Damaged,
        };
        let decryptor = age::Decryptor::new_buffered(text).map_err(wrong)?;
        let reader = decryptor.decrypt(std::iter::once(&self.0 as _)).map_err(wrong)?;
        let mut plain = Vec::new();
        reader.take(PLAIN_BYTES as u64 + 1).read_to_end(&mut plain).map_err(|_| Shut::Damaged)?;
        if plain.len() > PLAIN_BYTES { Err(Shut::TooLarge) } else { Ok(plain) }
    }
}

/// Why something was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Shut {
    #[error("it was encrypted for another key than this host's")]
    Foreign,
    #[error("what was encrypted is damaged")]
    Damaged,
    #[error("it is larger than {PLAIN_BYTES} bytes")]
    TooLarge,
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Opener({})", self.recipient())
    }
}

fn damaged(path: &Path) -> Coded {
    let message = format!(
        "the key in `{}` does not read. Restore the file, or move it away and start the agent: it makes a new one, and \
         every sealed secret has to be encrypted again (longshore secret check ENV names them)",
        path.display()
    );
    Coded::new(Code::S02, message)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn a_key_is_made_once_and_opens_what_was_encrypted_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let opener = Opener::load_or_make(folder.path()).unwrap();
        let again = Opener::load_or_make(folder.path()).unwrap();
        assert_eq!(again.recipient(), opener.recipient());
        let mode = fs::metadata(folder.path().join(KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        let recipient: age::x25519::Recipient = opener.recipient().parse().unwrap();
        let text = age::encrypt(&recipient, b"hunter2").unwrap();
        assert_eq!(again.open(&text).unwrap(), b"hunter2");
        let new = Opener::make(folder.path()).unwrap();
        assert_ne!(new.recipient(), opener.recipient());
        assert_eq!(new.open(&text), Err(Shut::Foreign));
    }

    #[test]
    fn what_is_damaged_or_endless_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let opener = Opener::make(folder.path()).unwrap();
        let recipient: age::x25519::Recipient = opener.recipient().parse().unwrap();
        let text = age::encrypt(&recipient, b"hunter2").unwrap();
        for at in 0..text.len() {
            let mut bent = text.clone();
            bent[at] ^= 1;
            assert!(opener.open(&bent).is_err(), "a bent byte at {at}");
            assert!(opener.open(&text[..at]).is_err(), "cut at {at}");
        }
        assert_eq!(opener.open(b"hunter2"), Err(Shut::Damaged));
        let large = age::encrypt(&recipient, &vec![b'x'; PLAIN_BYTES + 1]).unwrap();
        assert_eq!(opener.open(&large), Err(Shut::TooLarge));
    }

    #[test]
    fn a_key_that_does_not_read_is_said_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        write_atomic(&folder.path().join(KEY), b"AGE-SECRET-KEY-1HUNTER2\n", 0o600).unwrap();
        let error = Opener::load_or_make(folder.path()).unwrap_err();
        assert_eq!(error.code, Code::S02);
        assert!(!error.message.contains("HUNTER2"), "{error}");
        assert!(fs::read(folder.path().join(KEY)).unwrap().ends_with(b"HUNTER2\n"));
    }
}
