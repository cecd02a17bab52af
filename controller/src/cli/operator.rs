//! The operator folder: everything that a client needs to be believed by one controller.
//!
//! `longshore-controller init` writes one for the first operator; `longshore context add NAME --from DIR` imports it.
//! Its key never leaves the operator's machine again.

use std::{
    io,
    path::{Path, PathBuf},
};

use longshore_common::{
    durable::{DurableError, create_dir_durable, write_atomic},
    regular::{self, Links},
};

/// PEM, leaf first, of the operator's certificate.
pub const CERTIFICATE: &str = "cert.pem";
/// PEM of its key; mode 0600.
pub const KEY: &str = "key.pem";
/// PEM of every CA by which the controller may be known.
pub const CA: &str = "ca.pem";
/// `host:port` of the controller's main port, one line.
pub const ADDRESS: &str = "address";

/// Each file is a few hundred bytes; more than this is something else.
const FILE_BYTES: usize = 64 * 1024;

#[derive(Clone, PartialEq, Eq)]
pub struct OperatorFolder {
    pub address: String,
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
    pub ca: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
#[error("read `{}`", path.display())]
pub struct ReadError {
    pub path: PathBuf,
    pub source: io::Error,
}

impl OperatorFolder {
    pub fn read(folder: &Path) -> Result<Self, ReadError> {
        let file = |name: &str| {
            let path = folder.join(name);
            read_small(&path).map_err(|source| ReadError { path, source })
        };
        let address = String::from_utf8_lossy(&file(ADDRESS)?).trim().to_owned();
        Ok(Self { address, certificate: file(CERTIFICATE)?, key: file(KEY)?, ca: file(CA)? })
    }

    /// Makes the folder, for its owner only, if it is not there.
    pub fn write(&self, folder: &Path) -> Result<(), DurableError> {
        if !folder.is_dir() {
            create_dir_durable(folder, 0o700)?;
        }
        write_atomic(&folder.join(CA), &self.ca, 0o644)?;
        write_atomic(&folder.join(CERTIFICATE), &self.certificate, 0o644)?;
        write_atomic(&folder.join(KEY), &self.key, 0o600)?;
        write_atomic(&folder.join(ADDRESS), format!("{}\n", self.address).as_bytes(), 0o644)
    }
}

/// The key is shown to nobody, logs included.
impl std::fmt::Debug for OperatorFolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OperatorFolder({})", self.address)
    }
}

fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    regular::read(path, FILE_BYTES, Links::Followed)
}
