//! What may run on this host: decided here, from bytes, before anything of a release is fetched.
//!
//! The host pins the fleet's first root (`pin`); from it follow the organisation's keys, from those each app's keys,
//! from those the list of what may run. The controller hands documents over and is not believed. A host that pins
//! nothing checks nothing, and says so everywhere. What the host's admin allows comes on top (`policy`).
//!
//! `bring` asks the controller for documents; all the rest blocks, opens no connection, and takes bytes.

mod bring;
mod clock;
mod offline;
mod pin;
mod policy;
mod tell;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use crate::config::Config;
use longshore_common::{
    assignment::Assignment,
    code::{Code, Coded},
    digest::{ReleaseDigest, hex},
    ids::{AppName, Version},
    manifest::Manifest,
    time::{Clock, Millis, SystemClock},
    trust::{Anchor, FLEET, Held, Offer, TrustState, update},
};

pub use crate::plan::Stale;
pub use bring::{bring, bring_all, keep_current};
pub use offline::Brought;
pub use pin::{Break, Pin, PinFile, PinnedFirst};
pub use policy::Policy;

/// Verified documents are written again only for news, or after this long.
const PERSIST_EVERY_MS: Millis = 3_600_000;

/// A repository's name, and what is held of it: nothing yet, or why it cannot be told.
pub type Repository = (String, Result<Option<Held>, Coded>);

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Where the verified documents lie, one folder a repository.
    dir: PathBuf,
    pin: PinFile,
    policy: PathBuf,
    clock: Arc<dyn Clock>,
    /// One change at a time, by whichever gate of this folder.
    turn: Arc<Mutex<()>>,
}

/// The turns of all folders in this process: the host, the link and the local socket each have a gate.
static TURNS: Mutex<BTreeMap<PathBuf, Arc<Mutex<()>>>> = Mutex::new(BTreeMap::new());

fn turn_of(dir: &Path) -> Arc<Mutex<()>> {
    let mut turns = TURNS.lock().expect("no holder panics");
    Arc::clone(turns.entry(dir.to_owned()).or_default())
}

impl Gate {
    pub fn new(config: &Config) -> Self {
        Self::with_clock(config, Arc::new(SystemClock))
    }

    pub fn with_clock(config: &Config, clock: Arc<dyn Clock>) -> Self {
        let (dir, policy) = (config.trust(), Policy::file_below(&config.root));
        let pin = PinFile::within(&config.vault());
        let turn = turn_of(&dir);
        Self(Arc::new(Inner { dir, pin, policy, clock, turn }))
    }

    /// What is pinned; None: nothing, and nothing is checked.
    pub fn pinned(&self) -> Result<Option<[u8; 32]>, Coded> {
        let (pin, policy) = (self.0.pin.load()?, self.policy()?);
        match (pin.root_sha256, policy.root_sha256) {
            (Some(pinned), Some(wanted)) if pinned != wanted => Err(Coded::new(
                Code::P01,
                format!(
                    "{} wants the root {}, this host pins {}; nothing new is run. To change what it pins: \
                     longshore-agent trust reset",
                    self.0.policy.display(),
                    &hex(&wanted)[..16],
                    &hex(&pinned)[..16]
                ),
            )),
            (pinned, wanted) => Ok(wanted.or(pinned)),
        }
    }

    /// The newest root that is held of a repository; 0: none.
    pub fn root_version(&self, app: &str) -> Result<u64, Coded> {
        Ok(self.held(app)?.map_or(0, |held| held.root_version()))
    }

    /// Verifies what was offered for the fleet or an app, and keeps it. Nothing changes on disk unless all is well.
    pub fn take(&self, app: &str, offer: &Offer) -> Result<(), Coded> {
        let _turn = self.turn();
        let Some(pin) = self.pinned()? else { return Ok(()) };
        let held = self.held(app)?;
        held.iter().try_for_each(|held| self.not_ahead(app, held))?;
        let anchor = match app {
            FLEET => Anchor::Pin(pin),
            _ => Anchor::of_fleet(&self.held(FLEET)?.ok_or_else(|| self.gone(FLEET))?)?,
        };
        longshore_common::durable::create_dir_durable(&self.0.dir, 0o700)
            .map_err(|e| Coded::new(e.code(), longshore_common::chain::Chain(&e).to_string()))?;
        let new = update(app, &anchor, held.as_ref(), offer, self.0.clock.now_ms(), &self.0.dir)?;
        let news = held.is_none_or(|held| {
            new.latest_ms - held.latest_ms > PERSIST_EVERY_MS
                || Held { latest_ms: held.latest_ms, ..new.clone() } != held
        });
        if news {
            self.state(app).persist(&new)?;
        }
        // Also when there is no news: the process may have ended before it was noted.
        self.0.pin.note_begun(app)
    }

    /// Whether the release is signed and not below the floor, by what was verified last.
    pub fn admit(&self, app: &AppName, version: &Version, release: &ReleaseDigest) -> Result<(), Coded> {
        if self.pinned()?.is_none() {
            return Ok(());
        }
        let fleet = self.held(FLEET)?.ok_or_else(|| self.gone(FLEET))?;
        fleet.catalog(FLEET)?.permit(app.as_str(), version, release)?;
        let held = self.held(app.as_str())?.ok_or_else(|| self.gone(app.as_str()))?;
        held.catalog(app.as_str())?.admit_digest(version, release, None, held.floor).map(drop)
    }

    /// Whether what was verified last, of the fleet and of an app, has not run out. The clock does not count where it is
    /// behind what was seen.
    pub fn holds(&self, app: &AppName, stale: Stale) -> Result<(), Coded> {
        if self.pinned()?.is_none() {
            return Ok(());
        }
        let held = |repository| self.held(repository)?.ok_or_else(|| self.gone(repository));
        let (fleet, own) = (held(FLEET)?, held(app.as_str())?);
        let now = self.0.clock.now_ms().max(fleet.latest_ms).max(own.latest_ms);
        fleet.not_expired(FLEET, now, stale == Stale::Allowed)?;
        own.not_expired(app.as_str(), now, stale == Stale::Allowed)
    }

    /// What the host's own admin says of an assignment, before anything is asked of anybody.
    pub fn allow(&self, assignment: &Assignment) -> Result<(), Coded> {
        self.policy()?.allow(&assignment.app, &assignment.env)
    }

    /// And of the release, once its signed manifest is known.
    pub fn allow_manifest(&self, manifest: &Manifest) -> Result<(), Coded> {
        self.policy()?.allow_manifest(manifest)
    }

    /// When the repository that was verified longest ago was verified; 0: none was. Damage to any is an error.
    fn verified(&self) -> Result<Millis, Coded> {
        let mut oldest = None;
        for app in self.0.pin.load()?.begun {
            let held = self.held(&app)?.ok_or_else(|| self.gone(&app))?;
            oldest = Some(oldest.map_or(held.latest_ms, |known: Millis| known.min(held.latest_ms)));
        }
        Ok(oldest.unwrap_or(0))
    }

    /// None: nothing was ever verified. What was and is gone is an error.
    fn held(&self, app: &str) -> Result<Option<Held>, Coded> {
        match self.state(app).load()? {
            Some(held) => Ok(Some(held)),
            None if self.0.pin.load()?.begun.contains(app) => Err(self.gone(app)),
            None => Ok(None),
        }
    }

    fn gone(&self, app: &str) -> Coded {
        let message = format!(
            "there is no trust state of {app} in `{}`; its releases are refused, what runs goes on. Fix on this \
             host: longshore-agent trust recover {app}",
            self.0.dir.display()
        );
        Coded::new(Code::T01, message)
    }

    /// The newest whole generation, or else a new beginning from what is pinned; of what is whole, when it was verified,
    /// where that was by a clock that was ahead. Said of this host forever after.
    pub fn recover(&self, app: &str, by: &str) -> Result<String, Coded> {
        let _turn = self.turn();
        let (pin, state) = (self.0.pin.load()?, self.state(app));
        if pin.root_sha256.is_none() {
            let message = "this host pins no root, so it holds no trust state; nothing was changed";
            return Err(Coded::new(Code::R01, message));
        }
        if !pin.begun.contains(app) && matches!(state.load(), Ok(None)) {
            let message = format!("nothing of {app} was ever verified on this host; nothing was changed");
            return Err(Coded::new(Code::N01, message));
        }
        if state.load().is_ok_and(|held| held.is_some()) {
            if let Some(what) = self.set_time_anew(by)? {
                return Ok(what);
            }
            return Err(Coded::new(
                Code::R01,
                format!("the trust state of {app} is whole; nothing was changed"),
            ));
        }
        let whole = state.newest_whole();
        let what = match &whole {
            Ok(number) => format!("trust state of {app} put back to generation {number}"),
            Err(_) => format!("trust state of {app} begun anew from the pinned root"),
        };
        self.note_break(&what, by)?;
        match whole {
            Ok(number) => state.go_back_to(number)?,
            Err(_) => {
                state.forget()?;
                self.0.pin.forget(app)?;
            }
        }
        Ok(what)
    }

    /// Before what it says is done: however this ends, it is told.
    fn note_break(&self, what: &str, by: &str) -> Result<(), Coded> {
        let (at_ms, what, by) = (self.0.clock.now_ms(), what.to_owned(), by.to_owned());
        self.0.pin.note_break(Break { at_ms, what, by })
    }

    /// Pins another root, and forgets everything that was verified under the one before. Said of this host forever
    /// after.
    pub fn reset(&self, root: [u8; 32], by: &str) -> Result<(), Coded> {
        let _turn = self.turn();
        for app in self.0.pin.load()?.begun {
            self.state(&app).forget()?;
        }
        let what = format!("pinned root set to {}", hex(&root));
        let broken = Break { at_ms: self.0.clock.now_ms(), what, by: by.to_owned() };
        self.0.pin.replace(root, broken)
    }

    /// Everything that is kept: names of repositories and what is held of them.
    pub fn repositories(&self) -> Result<Vec<Repository>, Coded> {
        let begun = self.0.pin.load()?.begun;
        Ok(begun
            .into_iter()
            .map(|app| {
                let held = self.held(&app);
                (app, held)
            })
            .collect())
    }

    fn policy(&self) -> Result<Policy, Coded> {
        Policy::load(&self.0.policy)
    }

    fn state(&self, app: &str) -> TrustState {
        TrustState::new(&self.0.dir, app)
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.0.turn.lock().expect("no holder panics")
    }
}
