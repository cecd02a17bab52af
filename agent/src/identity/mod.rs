//! Who this host is to the controller: a key that never leaves it, a certificate, and the CA that it trusts.
//!
//! `cert.pem` names its key: the key's file is called after the hash of the public key in it. So writing `cert.pem` is
//! the one moment at which a new identity takes effect, and a crash around it leaves the old pair or the new one.
//! A key that waits for its certificate lies in `key-new.pem` and is used again when the reply was lost. Beside them lie
//! `age-key.txt`, by which secrets are opened that were encrypted for this host, and `recovery.json`.

mod enroll;
mod opener;
mod pair;
mod recover;

pub use enroll::{Again, Enrolling, Joined, enroll, machine_id};
pub use opener::{Opener, PLAIN_BYTES};
pub use pair::{Pair, Validity};
pub use recover::recover;

use std::{
    io,
    path::{Path, PathBuf},
};

use longshore_common::{
    chain::Chain,
    code::{Code, Coded},
    durable::{create_dir_durable, remove_durable, write_atomic},
    regular::{self, Links},
};
use longshore_proto::v1 as pb;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde::{Deserialize, Serialize};

use crate::link::ENROL_PORT;

/// Larger than any of these files.
const FILE_BYTES: usize = 1 << 20;
const CERTIFICATE: &str = "cert.pem";
const AUTHORITY: &str = "ca.pem";
const NAME: &str = "name";
const NEW_KEY: &str = "key-new.pem";
/// What recovery needs: the controllers' enrolment port, and how often this host has recovered.
const RECOVERY: &str = "recovery.json";

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Recovery {
    enrol_port: u16,
    recoveries: u32,
}

impl Default for Recovery {
    /// Of hosts that enrolled before there was recovery.
    fn default() -> Self {
        Self { enrol_port: ENROL_PORT, recoveries: 0 }
    }
}

/// The folder in which all of it lies.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// None: this host is not enrolled.
    pub fn load(&self) -> Result<Option<Pair>, Coded> {
        let Some(chain) = self.read(CERTIFICATE)? else { return Ok(None) };
        let damaged = |what: String| {
            let message = format!(
                "{what} in `{}`. Enrol this host again: longshore token create, then longshore-agent enroll --again",
                self.0.display()
            );
            Coded::new(Code::S02, message)
        };
        let key_name = pair::key_file(&chain).map_err(&damaged)?;
        let key = self.read(&key_name)?.ok_or_else(|| damaged(format!("the key `{key_name}` is missing")))?;
        let authority = self.read(AUTHORITY)?.ok_or_else(|| damaged(format!("`{AUTHORITY}` is missing")))?;
        let name = self.read(NAME)?.unwrap_or_default();
        Pair::new(chain, key, authority, String::from_utf8_lossy(&name).trim().to_owned())
            .map(Some)
            .map_err(damaged)
    }

    /// The key that asks for the next certificate; the same one until a certificate for it was stored.
    pub fn new_key(&self) -> Result<KeyPair, Coded> {
        create_dir_durable(&self.0, 0o700).map_err(disk)?;
        if let Some(pem) = self.read(NEW_KEY)?
            && let Ok(key) = KeyPair::from_pem(&String::from_utf8_lossy(&pem))
        {
            return Ok(key);
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|e| fault("make a key", &e))?;
        self.write(NEW_KEY, key.serialize_pem().as_bytes(), 0o600)?;
        Ok(key)
    }

    /// The new identity takes effect.
    pub fn store(&self, key: &KeyPair, certificate: &pb::Certificate) -> Result<Pair, Coded> {
        let chain = &certificate.certificate_pem;
        let unusable =
            |what: String| Coded::new(Code::X01, format!("the controller's certificate is unusable: {what}"));
        let pem = key.serialize_pem();
        let pair = Pair::new(
            chain.to_vec(),
            pem.clone().into(),
            certificate.ca_pem.to_vec(),
            certificate.name.clone(),
        )
        .map_err(unusable)?;
        let key_name = pair::key_file(chain).map_err(unusable)?;
        self.write(&key_name, pem.as_bytes(), 0o600)?;
        // Before the certificate: a count that is ahead of it is the controller's own.
        self.write_recovery(certificate)?;
        self.write(AUTHORITY, &certificate.ca_pem, 0o644)?;
        self.write(NAME, certificate.name.as_bytes(), 0o644)?;
        self.write(CERTIFICATE, chain, 0o644)?;
        self.forget_other_keys(&key_name);
        Ok(pair)
    }

    fn write_recovery(&self, certificate: &pb::Certificate) -> Result<(), Coded> {
        let enrol_port = match u16::try_from(certificate.enrol_port) {
            Ok(0) | Err(_) => ENROL_PORT,
            Ok(port) => port,
        };
        let recovery = Recovery { enrol_port, recoveries: certificate.recoveries };
        let text = serde_json::to_vec(&recovery).expect("numbers are JSON");
        self.write(RECOVERY, &text, 0o600)
    }

    fn recovery(&self) -> Result<Recovery, Coded> {
        let Some(text) = self.read(RECOVERY)? else { return Ok(Recovery::default()) };
        serde_json::from_slice(&text).map_err(|error| {
            let message = format!("`{}/{RECOVERY}` does not read: {error}", self.0.display());
            Coded::new(Code::S02, message)
        })
    }

    /// Of the controllers' addresses.
    fn enrol_port(&self) -> Result<u16, Coded> {
        Ok(self.recovery()?.enrol_port)
    }

    /// How often this host has come back from an expired certificate.
    fn recoveries(&self) -> Result<u32, Coded> {
        Ok(self.recovery()?.recoveries)
    }

    /// A key that stays behind does no harm; the next renewal tries again.
    fn forget_other_keys(&self, current: &str) {
        let entries = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("key-")
                && name != current
                && let Err(error) = remove_durable(&entry.path())
            {
                tracing::warn!("an old key stays behind: {}", Chain(&error));
            }
        }
    }

    /// Root reads here as well, in a folder that may belong to the agent's user: no link is followed.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Coded> {
        let path = self.0.join(name);
        match regular::read(&path, FILE_BYTES, Links::Refused) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(Coded::new(
                Code::C02,
                format!(
                    "read `{}`: permission denied. Run this as root or as the agent's user",
                    path.display()
                ),
            )),
            Err(error) => Err(Coded::new(Code::S04, format!("read `{}`: {error}", path.display()))),
        }
    }

    fn write(&self, name: &str, bytes: &[u8], mode: u32) -> Result<(), Coded> {
        write_atomic(&self.0.join(name), bytes, mode).map_err(disk)
    }
}

/// A request whose only content is the public key.
pub fn request(key: &KeyPair) -> Result<Vec<u8>, Coded> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(key).map_err(|e| fault("make a certificate request", &e))?;
    Ok(request.der().to_vec())
}

fn disk(error: longshore_common::durable::DurableError) -> Coded {
    Coded::new(error.code(), Chain(&error).to_string())
}

fn fault(what: &str, error: &dyn std::error::Error) -> Coded {
    Coded::new(Code::X01, format!("{what}: {}", Chain(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The agent's user may have put anything there.
    #[test]
    fn only_files_are_read_and_no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, at) = (Folder::new(dir.path().to_owned()), |name: &str| dir.path().join(name));
        assert_eq!(folder.read(NAME).unwrap(), None);
        write_atomic(&at("shadow"), b"secret", 0o600).unwrap();
        std::os::unix::fs::symlink("shadow", at(NAME)).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at(CERTIFICATE), 0o600.into()).unwrap();
        for (name, says) in [(NAME, "it is a link"), (CERTIFICATE, "it is a FIFO")] {
            let refusal = folder.read(name).unwrap_err();
            assert!(refusal.code == Code::S04 && refusal.message.contains(says), "{name}: {refusal}");
        }
        assert!(folder.load().is_err());
    }
}
