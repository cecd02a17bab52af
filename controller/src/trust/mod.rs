//! The signed documents that say what may run: kept, checked at the door, and said to be current, by the controller's
//! own key.
//!
//! Nothing here can read a key that signs roots or lists: what the controller's key says can hold a list back for a
//! week, not change it. The documents lie beside the blobs, in the same whole generations as on a host.

mod check;
mod expiry;
mod online;
mod pending;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use longshore_common::{
    code::{Code, Coded},
    digest::{ReleaseDigest, sha256},
    durable,
    ids::{AppName, Version},
    text::visible,
    time::{Clock, Millis},
    trust::{Anchor, FLEET, Held, Offer, PublicKey, SigningKey, TrustState, author, update},
};
use tokio_util::sync::CancellationToken;

pub use check::TrustCheck;
pub use pending::Pending;

/// How often it is signed anew that everything is current.
const REFRESH_EVERY: Duration = Duration::from_secs(3600);
/// Repositories that one controller keeps.
const REPOSITORIES_MAX: usize = 10_000;

/// Everything of trust on this controller. Its calls block.
#[derive(Debug)]
pub struct TrustDesk {
    dir: PathBuf,
    online: SigningKey,
    clock: Arc<dyn Clock>,
    /// One change at a time.
    turn: Mutex<()>,
    /// Of what runs out.
    said: Mutex<expiry::Said>,
}

/// What became of what was submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submitted {
    Accepted,
    /// Kept until somebody adds the missing signatures.
    Waiting(String),
}

/// How one repository stands.
#[derive(Clone, Debug)]
pub struct Standing {
    pub app: String,
    pub held: Option<Held>,
    pub pending: bool,
    pub problem: Option<String>,
}

impl TrustDesk {
    /// Makes the folder and the controller's own key where they are not there.
    pub fn open(dir: &Path, clock: Arc<dyn Clock>) -> Result<Arc<Self>, Coded> {
        let disk =
            |e: durable::DurableError| Coded::new(e.code(), longshore_common::chain::Chain(&e).to_string());
        durable::create_dir_durable(dir, 0o700).map_err(disk)?;
        durable::remove_leftovers(dir).map_err(disk)?;
        let online = online::load_or_create(&dir.join(online::FILE))?;
        Ok(Arc::new(Self {
            dir: dir.to_owned(),
            online,
            clock,
            turn: Mutex::new(()),
            said: Mutex::default(),
        }))
    }

    pub fn online_key(&self) -> PublicKey {
        self.online.public()
    }

    /// What is held of a repository; None: there is none.
    pub fn held(&self, app: &str) -> Result<Option<Held>, Coded> {
        self.state(app).load()
    }

    /// What hosts are offered.
    pub fn offer(&self, app: &str, roots_after: u64) -> Result<Offer, Coded> {
        self.held(app)?.map(|held| held.offer(roots_after)).ok_or_else(|| none_yet(app))
    }

    /// The same checks as on every host, before anything is kept. Nothing but missing signatures may be wrong.
    pub fn submit(&self, app: &str, roots: Vec<Vec<u8>>, targets: Vec<u8>) -> Result<Submitted, Coded> {
        let _turn = self.turn();
        let now = self.clock.now_ms();
        let held = self.held(app)?;
        if held.is_none() && self.names().len() >= REPOSITORIES_MAX {
            return Err(Coded::new(Code::A04, format!("at most {REPOSITORIES_MAX} apps have keys here")));
        }
        let anchor = self.anchor(app, held.as_ref(), &roots)?;
        let list = match (targets.is_empty(), &held) {
            (false, _) => targets.clone(),
            (true, Some(held)) => held.targets.clone(),
            (true, None) => {
                return Err(Coded::new(Code::V01, format!("{app}: the first submission needs a list")));
            }
        };
        let offer = author::freshen(held.as_ref(), roots.clone(), list, &self.online, now)?;
        match update(app, &anchor, held.as_ref(), &offer, now, &self.dir) {
            Ok(new) => {
                self.state(app).persist(&new)?;
                pending::remove(&self.dir, app)?;
                tracing::info!(app, root = new.root_version(), "signed documents accepted");
                Ok(Submitted::Accepted)
            }
            Err(missing) if missing.code == Code::T03 => {
                pending::keep(&self.dir, &Pending { app: app.to_owned(), roots, targets })?;
                Ok(Submitted::Waiting(missing.message))
            }
            Err(refusal) => Err(refusal),
        }
    }

    pub fn pending(&self, app: &str) -> Result<Option<Pending>, Coded> {
        pending::load(&self.dir, app)
    }

    /// The fleet first, then apps by name.
    pub fn standings(&self) -> Vec<Standing> {
        let mut names: Vec<String> = self.names().into_iter().collect();
        names.sort_by_key(|name| (name != FLEET, name.clone()));
        let org = self.held(FLEET).ok().flatten().and_then(|fleet| Anchor::of_fleet(&fleet).ok());
        let unfit = |app: &str, held: &Held| match &org {
            Some(org) if app != FLEET => held.root(app).and_then(|root| org.fits(app, &root)).err(),
            _ => None,
        };
        let standing = |app: String| {
            let (held, problem) = match self.held(&app) {
                Ok(held) => {
                    let problem = held.as_ref().and_then(|held| unfit(&app, held));
                    (held, problem.map(|why| why.message))
                }
                Err(why) => (None, Some(why.message)),
            };
            let pending = self.pending(&app).is_ok_and(|pending| pending.is_some());
            Standing { app, held, pending, problem }
        };
        names.into_iter().map(standing).collect()
    }

    /// Signs anew, for every repository, that it is current. What cannot be renewed is told, and the others are.
    pub fn refresh(&self) {
        for app in self.names() {
            if let Err(why) = self.refresh_one(&app) {
                tracing::warn!(app, code = %why.code, "could not be said to be current: {}", why.message);
            }
        }
        let mut said = self.said.lock().expect("no holder panics");
        for news in said.news(&self.standings(), self.clock.now_ms()) {
            tracing::warn!("{news}");
        }
    }

    fn refresh_one(&self, app: &str) -> Result<(), Coded> {
        let _turn = self.turn();
        let now = self.clock.now_ms();
        let Some(held) = self.held(app)? else { return Ok(()) };
        let anchor = self.anchor(app, Some(&held), &[])?;
        let offer = author::freshen(Some(&held), vec![], held.targets.clone(), &self.online, now)?;
        let new = update(app, &anchor, Some(&held), &offer, now, &self.dir)?;
        self.state(app).persist(&new)
    }

    /// Refuses a release that hosts would refuse. Where there is no fleet root, nothing is signed and nothing refused.
    pub fn admit(
        &self,
        app: &AppName,
        version: &Version,
        release: &ReleaseDigest,
        length: u64,
    ) -> Result<(), Coded> {
        let Some(fleet) = self.held(FLEET)? else { return Ok(()) };
        fleet.catalog(FLEET)?.permit(app.as_str(), version, release)?;
        let Some(held) = self.held(app.as_str())? else {
            let message = format!(
                "{app} has no release keys, so no host of this fleet would run {app}@{version}. Make one: \
                 longshore app create {app}, then: longshore release sign {app}@{version}"
            );
            return Err(Coded::new(Code::T02, message));
        };
        Anchor::of_fleet(&fleet)?.fits(app.as_str(), &held.root(app.as_str())?)?;
        held.catalog(app.as_str())?.admit_digest(version, release, Some(length), held.floor).map(drop)
    }

    fn anchor(&self, app: &str, held: Option<&Held>, roots: &[Vec<u8>]) -> Result<Anchor, Coded> {
        if app == FLEET {
            // The first is believed because an operator brought it, and there is none; hosts pin it by themselves.
            let first = held.and_then(|held| held.roots.values().next()).or(roots.first());
            let first = first.ok_or_else(|| Coded::new(Code::V01, "the first submission needs a root"))?;
            return Ok(Anchor::Pin(sha256(first)));
        }
        let fleet = self.held(FLEET)?.ok_or_else(|| none_yet(FLEET))?;
        Anchor::of_fleet(&fleet)
    }

    fn names(&self) -> BTreeSet<String> {
        let Ok(entries) = std::fs::read_dir(&self.dir) else { return BTreeSet::new() };
        let folders = entries.filter_map(Result::ok).filter(|entry| entry.path().is_dir());
        folders
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.parse::<AppName>().is_ok())
            .collect()
    }

    fn state(&self, app: &str) -> TrustState {
        TrustState::new(&self.dir, app)
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().expect("no holder panics")
    }
}

fn none_yet(app: &str) -> Coded {
    let message = match app {
        FLEET => "nothing is signed here yet. On the operator's machine: longshore init".to_owned(),
        app => format!("{} has no release keys yet: longshore app create {}", visible(app), visible(app)),
    };
    Coded::new(Code::N01, message)
}

/// Work of the desk, off the threads that must not block.
pub async fn at_desk<T: Send + 'static>(
    desk: &Arc<TrustDesk>,
    work: impl FnOnce(&TrustDesk) -> Result<T, Coded> + Send + 'static,
) -> Result<T, Coded> {
    let desk = Arc::clone(desk);
    let done = tokio::task::spawn_blocking(move || work(&desk)).await;
    done.unwrap_or_else(|died| Err(Coded::new(Code::X01, format!("work on trust ended: {died}"))))
}

/// Until `stop`: now, and every hour.
pub async fn keep_current(desk: Arc<TrustDesk>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(REFRESH_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let done = at_desk(&desk, |desk| {
            desk.refresh();
            Ok(())
        });
        if let Err(why) = done.await {
            tracing::error!("{why}");
        }
    }
}

/// When the two documents of the controller's own run out.
pub fn fresh_until(held: &Held) -> (Millis, Millis) {
    (author::expires_ms(&held.snapshot), author::expires_ms(&held.timestamp))
}
