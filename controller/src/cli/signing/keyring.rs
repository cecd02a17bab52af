//! The folder of keys for one controller: `~/.config/longshore/keys/<context>/`, or `keys` in an operator folder.
//!
//! ```text
//! org.key, <app>.key    keys, encrypted
//! <name>.ssh-agent      which key of an ssh-agent is meant by this name
//! fleet.pin             SHA-256 of the fleet's first root, by which this machine knows it
//! seen/                 what was verified here last
//! lock                  of whoever signs at the moment
//! ```

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use longshore_common::{
    chain::Chain,
    digest::{ReleaseDigest, hex},
    durable::{self, DirLock, LockError},
    ids::AppName,
    regular::{self, Links},
    trust::{FLEET, PublicKey, SigningKey, author},
};

use serde::{Deserialize, Serialize};

use super::{
    passphrase::{For, Passphrase},
    sealed::SealedKey,
    ssh_agent::SshAgent,
};
use crate::cli::{context::Context, exit::Exit, failure::Failure};

/// The name of the organisation's key on this machine.
pub const ORG: &str = "org";
const SUFFIX: &str = ".key";
const AGENT_SUFFIX: &str = ".ssh-agent";
const POINTER: &str = "longshore.key.ssh-agent/1";
const PIN: &str = "fleet.pin";
/// Each has a few hundred bytes.
const FILE_BYTES: usize = 64 * 1024;

#[derive(Clone, Debug)]
pub struct KeyRing {
    folder: PathBuf,
    passphrase: Passphrase,
    agent: SshAgent,
}

/// A key that can sign here, by its public half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownKey {
    pub name: String,
    pub public: PublicKey,
    pub holder: Holder,
}

/// Where the secret half is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Encrypted, in this folder.
    File,
    /// In an ssh-agent.
    SshAgent,
}

/// Says that an ssh-agent holds the key.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Pointer {
    schema: String,
    /// Hex.
    public: String,
}

impl KeyRing {
    pub fn of(
        config: Option<&Path>,
        context: &Context,
        passphrase: Passphrase,
        agent: SshAgent,
    ) -> Result<Self, Failure> {
        let folder = match (context.name.contains('/'), config) {
            (true, _) => Path::new(&context.name).join("keys"),
            (false, Some(config)) => config.join("keys").join(&context.name),
            (false, None) => {
                return Err(Failure::usage("neither HOME nor XDG_CONFIG_HOME says where keys are kept"));
            }
        };
        Ok(Self { folder, passphrase, agent })
    }

    pub fn at(folder: PathBuf, passphrase: Passphrase) -> Self {
        Self { folder, passphrase, agent: SshAgent::default() }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What this machine pins. None: it knows no fleet.
    pub fn pin(&self) -> Result<Option<[u8; 32]>, Failure> {
        let path = self.folder.join(PIN);
        match regular::read_text(&path, FILE_BYTES, Links::Followed) {
            Ok(text) => {
                let digest: ReleaseDigest = text.trim().parse().map_err(|_| {
                    Failure::usage(format!("{} is not a SHA-256", path.display()))
                        .next("longshore trust pin SHA256 --replace")
                })?;
                Ok(Some(digest.0))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::usage(format!("read {}: {error}", path.display()))),
        }
    }

    pub fn set_pin(&self, root: [u8; 32]) -> Result<(), Failure> {
        self.make()?;
        let text = format!("{}\n", hex(&root));
        durable::write_atomic(&self.folder.join(PIN), text.as_bytes(), 0o644).map_err(|e| failed(&e))
    }

    /// Forgets what was verified here: for another pin.
    pub fn forget_seen(&self) -> Result<(), Failure> {
        durable::remove_dir_durable(&self.folder.join("seen")).map_err(|e| failed(&e))
    }

    /// Takes the folder for one command, or says who has it. Never waits.
    pub fn lock(&self) -> Result<Result<DirLock, durable::Holder>, Failure> {
        self.make()?;
        match durable::lock_dir(&self.folder) {
            Ok(lock) => Ok(Ok(lock)),
            Err(LockError::Held { holder, .. }) => Ok(Err(holder)),
            Err(LockError::Failed(error)) => Err(failed(&error)),
        }
    }

    pub fn seen_dir(&self) -> Result<PathBuf, Failure> {
        let dir = self.folder.join("seen");
        self.make()?;
        durable::create_dir_durable(&dir, 0o700).map_err(|e| failed(&e))?;
        Ok(dir)
    }

    /// Of which repositories something was verified here, the fleet's first.
    pub fn seen(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.folder.join("seen")) else { return vec![] };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| name.parse::<AppName>().is_ok()).collect();
        names.sort_by_key(|name| (name != FLEET, name.clone()));
        names
    }

    /// By name. Files that are no keys are passed over.
    pub fn keys(&self) -> Vec<KnownKey> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return vec![] };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut keys: Vec<KnownKey> = names
            .filter_map(|file| {
                if let Some(name) = file.strip_suffix(SUFFIX) {
                    let public = self.read(name).ok()?.public().ok()?;
                    return Some(KnownKey { name: name.to_owned(), public, holder: Holder::File });
                }
                let name = file.strip_suffix(AGENT_SUFFIX)?;
                let public = self.read_pointer(name).ok()?.public.parse().ok()?;
                Some(KnownKey { name: name.to_owned(), public, holder: Holder::SshAgent })
            })
            .collect();
        keys.sort_by(|a, b| a.name.cmp(&b.name));
        keys
    }

    /// Those of `wanted` that lie here.
    pub fn among(&self, wanted: &BTreeSet<PublicKey>) -> Vec<KnownKey> {
        self.keys().into_iter().filter(|key| wanted.contains(&key.public)).collect()
    }

    /// A new key. One that is there is never replaced.
    pub fn create(&self, name: &str) -> Result<KnownKey, Failure> {
        self.free(name)?;
        let key = SigningKey::generate();
        let sealed = SealedKey::seal(&key, &self.passphrase.get(For::Sealing, name)?);
        let bytes = serde_json::to_vec_pretty(&sealed).expect("text and numbers are JSON");
        self.make()?;
        durable::write_atomic(&self.path(name), &bytes, 0o600).map_err(|e| failed(&e))?;
        Ok(KnownKey { name: name.to_owned(), public: key.public(), holder: Holder::File })
    }

    /// Remembers a key that the ssh-agent holds. One that is there is never replaced.
    pub fn add_from_agent(&self, name: &str, wanted: &str) -> Result<KnownKey, Failure> {
        self.free(name)?;
        let found = self.agent.find(wanted)?;
        let pointer = Pointer { schema: POINTER.to_owned(), public: found.public.to_string() };
        let bytes = serde_json::to_vec_pretty(&pointer).expect("text is JSON");
        self.make()?;
        durable::write_atomic(&self.pointer_path(name), &bytes, 0o600).map_err(|e| failed(&e))?;
        Ok(KnownKey { name: name.to_owned(), public: found.public, holder: Holder::SshAgent })
    }

    /// The document with the key's signature added.
    pub fn sign(&self, key: &KnownKey, document: &[u8]) -> Result<Vec<u8>, Failure> {
        match key.holder {
            Holder::File => Ok(author::sign(document, &self.open(&key.name)?)?),
            Holder::SshAgent => {
                let signed =
                    author::sign_by(document, key.public, |message| self.agent.sign(&key.public, message));
                signed.map_err(|why: Failure| Failure {
                    message: format!("key {} did not sign: {}", key.name, why.message),
                    ..why
                })
            }
        }
    }

    fn open(&self, name: &str) -> Result<SigningKey, Failure> {
        let sealed = self.read(name)?;
        let opened = sealed.open(&self.passphrase.get(For::Opening, name)?);
        opened.map_err(|why| {
            Failure::coded(why.code, format!("key {}: {}", self.path(name).display(), why.message))
        })
    }

    fn free(&self, name: &str) -> Result<(), Failure> {
        let taken = [self.path(name), self.pointer_path(name)].into_iter().find(|path| path.exists());
        match taken {
            Some(path) => {
                Err(Failure::new(Exit::Refused, format!("there is a key {} already", path.display())))
            }
            None => Ok(()),
        }
    }

    fn read_pointer(&self, name: &str) -> Result<Pointer, Failure> {
        let path = self.pointer_path(name);
        let unread = |why: String| Failure::new(Exit::Failed, format!("{}: {why}", path.display()));
        let text =
            regular::read_text(&path, FILE_BYTES, Links::Followed).map_err(|e| unread(e.to_string()))?;
        let pointer: Pointer = serde_json::from_str(&text).map_err(|e| unread(e.to_string()))?;
        match pointer.schema == POINTER {
            true => Ok(pointer),
            false => Err(unread("of another version".to_owned())),
        }
    }

    fn pointer_path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}{AGENT_SUFFIX}"))
    }

    fn read(&self, name: &str) -> Result<SealedKey, Failure> {
        let path = self.path(name);
        let text = regular::read_text(&path, FILE_BYTES, Links::Followed).map_err(|error| {
            Failure::new(Exit::Refused, format!("read the key {}: {error}", path.display()))
        })?;
        serde_json::from_str(&text)
            .map_err(|error| Failure::new(Exit::Failed, format!("{} is not a key: {error}", path.display())))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}{SUFFIX}"))
    }

    fn make(&self) -> Result<(), Failure> {
        durable::create_dir_durable(&self.folder, 0o700).map_err(|e| failed(&e))
    }
}

fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::new(Exit::Failed, Chain(error).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever lies in the folder, every command that signs lists it.
    #[test]
    fn a_pipe_in_the_folder_holds_up_no_signature() {
        let dir = tempfile::tempdir().unwrap();
        let ring = KeyRing::at(dir.path().join("keys"), Passphrase::new(Some("correct horse".into()), None));
        let made = ring.create("shop").unwrap();
        for file in ["old.key", "token.ssh-agent", PIN] {
            rustix::fs::mkfifoat(rustix::fs::CWD, ring.folder().join(file), 0o600.into()).unwrap();
        }
        assert_eq!(ring.keys(), [made]);
        let unread = ring.pin().unwrap_err();
        assert!(unread.message.contains("it is a FIFO"), "{}", unread.message);
    }
}
