//! The controller's own key: it says that a list is current, and can say nothing else. It is not encrypted: a daemon
//! that starts by itself would have to hold the passphrase beside it.

use std::{io, path::Path};

use longshore_common::{
    chain::Chain,
    code::{Code, Coded},
    digest::hex,
    durable,
    trust::{PublicKey, SigningKey},
};

pub(super) const FILE: &str = "online.key";

pub(super) fn load_or_create(path: &Path) -> Result<SigningKey, Coded> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let damaged = |_| {
                let message = format!("`{}` is not a key: restore it from a backup", path.display());
                Coded::new(Code::S02, message)
            };
            // A seed has the form of a public key: 32 bytes in hexadecimal.
            let seed: PublicKey = text.trim().parse().map_err(damaged)?;
            Ok(SigningKey::from_seed(seed.0))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = SigningKey::generate();
            let text = format!("{}\n", hex(key.seed()));
            durable::write_atomic(path, text.as_bytes(), 0o600)
                .map_err(|e| Coded::new(e.code(), Chain(&e).to_string()))?;
            Ok(key)
        }
        Err(error) => Err(Coded::new(Code::S04, format!("read `{}`: {error}", path.display()))),
    }
}
