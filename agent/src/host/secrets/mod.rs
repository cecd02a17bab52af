//! From references to secrets: found on this host or opened by its key, used at once, kept nowhere.
//!
//! A secret that cannot be had is named with the way out, all of them at once, and never with anything of its content.

mod file;
mod sealed;
mod text;

use std::{collections::BTreeMap, path::PathBuf};

use longshore_common::{
    code::{Code, Coded},
    report::{Failure, StepName},
    settings::{Reference, Secrets},
};

pub use text::Plain;

use super::fault;
use crate::{
    config::{Config, Processes},
    identity::Opener,
    supply::Supply,
};

/// Every secret of one app on this host, by the name that templates use.
pub type Opened = BTreeMap<String, Plain>;

/// Where this host looks for secrets.
#[derive(Clone, Debug)]
pub struct Sources {
    root: PathBuf,
    /// Of `file`: a controller may name files below these and no others. Below the root.
    folders: Vec<PathBuf>,
    /// Of `credential`, in this order.
    credentials: Vec<Credentials>,
    /// Of the process that looks, which systemd hands credentials to.
    unit: &'static str,
    opener: Opener,
}

/// A folder with a file for each credential.
#[derive(Clone, Debug)]
struct Credentials {
    /// What is trusted without a look: `/`, or the root of a test.
    base: PathBuf,
    /// Below it.
    folder: PathBuf,
}

/// Below the root.
const STORE: &str = "etc/longshore/credentials";

impl Sources {
    pub fn of(config: &Config) -> Result<Self, Coded> {
        let systemd = config.credentials.iter().filter_map(|folder| {
            Some(Credentials { base: "/".into(), folder: folder.strip_prefix("/").ok()?.to_owned() })
        });
        let own = Credentials { base: config.root.clone(), folder: STORE.into() };
        Ok(Self {
            root: config.root.clone(),
            folders: config.secret_folders.clone(),
            credentials: systemd.chain([own]).collect(),
            unit: match config.processes {
                Processes::One => "longshore-agent.service",
                Processes::Two => "longshore-helper.service",
            },
            opener: Opener::load_or_make(&config.vault())?,
        })
    }

    /// Every secret, or a failure that names all that are missing.
    pub async fn open(&self, supply: &Supply, secrets: &Secrets, step: StepName) -> Result<Opened, Failure> {
        let mut sealed = BTreeMap::new();
        for (name, reference) in secrets {
            if let Reference::Sealed { digest } = reference {
                sealed.insert(name.clone(), sealed::ask(supply, digest, step).await?);
            }
        }
        let (sources, secrets) = (self.clone(), secrets.clone());
        let opened = tokio::task::spawn_blocking(move || sources.open_all(&secrets, &sealed, step)).await;
        opened.unwrap_or_else(|died| {
            let words = format!("opening secrets ended: {died}");
            Err(fault::host(Code::X01, step, words))
        })
    }

    fn open_all(
        &self,
        secrets: &Secrets,
        sealed: &BTreeMap<String, sealed::Answer>,
        step: StepName,
    ) -> Result<Opened, Failure> {
        let (opened, missing) = self.look(secrets, sealed);
        if missing.is_empty() { Ok(opened) } else { Err(fault::host(Code::K01, step, missing.join("; "))) }
    }

    /// What can be had, and what cannot.
    fn look(&self, secrets: &Secrets, sealed: &BTreeMap<String, sealed::Answer>) -> (Opened, Vec<String>) {
        let mut opened = Opened::new();
        let mut missing = vec![];
        for (name, reference) in secrets {
            let found = match reference {
                Reference::File { path, .. } => self.file(path),
                Reference::Credential { name, .. } => self.credential(name),
                Reference::Sealed { digest } => sealed::open(&self.opener, digest, sealed.get(name)),
            };
            match found.and_then(Plain::new) {
                Ok(plain) => drop(opened.insert(name.clone(), plain)),
                Err(why) => missing.push(format!("secret {name}: {why}")),
            }
        }
        (opened, missing)
    }

    /// Of these files and credentials, what cannot be had here: each with why, and the way out. What is sealed is left
    /// out: of that the controller knows.
    pub async fn missing(&self, secrets: &Secrets) -> Vec<String> {
        let mut secrets = secrets.clone();
        secrets.retain(|_, reference| !matches!(reference, Reference::Sealed { .. }));
        let sources = self.clone();
        let looked = tokio::task::spawn_blocking(move || sources.look(&secrets, &BTreeMap::new()).1);
        looked.await.unwrap_or_else(|died| vec![format!("looking for secrets ended: {died}")])
    }

    fn file(&self, path: &str) -> Result<Vec<u8>, String> {
        let below = PathBuf::from(path.trim_start_matches('/'));
        let full = self.root.join(&below);
        if !self
            .folders
            .iter()
            .any(|folder| below.strip_prefix(folder).is_ok_and(|rest| rest.iter().count() > 0))
        {
            let folders: Vec<String> = self.folders.iter().map(|f| format!("/{}", f.display())).collect();
            return Err(format!(
                "/{} is in none of the folders that this host allows ({}). Move it there, or add its folder to \
                 `secret_folders` in /etc/longshore/agent.toml and restart {}",
                below.display(),
                folders.join(", "),
                self.unit
            ));
        }
        let found = file::read(&self.root, &below).map_err(|e| e.explain(&full))?;
        found.ok_or_else(|| format!("there is no {}. Put it there: root, mode 0600", full.display()))
    }

    fn credential(&self, name: &str) -> Result<Vec<u8>, String> {
        for Credentials { base, folder } in &self.credentials {
            let below = folder.join(name);
            if let Some(found) = file::read(base, &below).map_err(|e| e.explain(&base.join(&below)))? {
                return Ok(found);
            }
        }
        let store = self.root.join(STORE);
        Err(format!(
            "this host has no credential {name}. Write it to {}/{name} (root, mode 0600), or have systemd give \
             it: LoadCredential={name}:… in {}",
            store.display(),
            self.unit
        ))
    }
}

#[cfg(test)]
mod tests;
