//! The signed documents that say what may run: kept, checked at the door, and said to be current, by the controller's
//! own key.
//!
//! Nothing here can read a key that signs roots or lists: what the controller's key says can hold a list back for a
//! week, not change it. The documents lie beside the blobs, in the same whole generations as on a host.

mod change;
mod check;
mod expiry;
mod online;
mod pending;
mod signed;
mod submit;
#[cfg(test)]
mod tests;
mod waiting;

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
    trust::{Anchor, Expired, FLEET, Held, Offer, PublicKey, SigningKey, TrustState, author, update},
};
use tokio_util::sync::CancellationToken;

pub use check::{TrustCheck, foreign_root};
pub use pending::{Pending, SignedBy};
pub use signed::{Asked, Signed};
pub use submit::{Submitted, Which};
pub use waiting::{Signatures, Waiting};

/// How often it is signed anew that everything is current.
const REFRESH_EVERY_MS: Millis = 3_600_000;
/// Between two looks at the clock on the wall, which may jump: documents run out by it.
const LOOK_EVERY: Duration = Duration::from_secs(60);
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

/// Which numbers the documents get that say what is current.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Numbers {
    Next,
    /// Past all that were signed before now, whatever this folder remembers of them.
    PastAll,
}

/// How one repository stands.
#[derive(Clone, Debug)]
pub struct Standing {
    pub app: String,
    /// None: nobody has signed enough of it yet, or it cannot be read.
    pub held: Option<Held>,
    pub waiting: Vec<Waiting>,
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

    /// The fleet first, then apps by name.
    pub fn standings(&self) -> Vec<Standing> {
        let mut names: Vec<String> = self.names().union(&pending::apps(&self.dir)).cloned().collect();
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
                    (held, problem)
                }
                Err(why) => (None, Some(why)),
            };
            let waiting = self.waiting_beside(&app, held.as_ref());
            let problem = problem.or(waiting.as_ref().err().cloned()).map(|why| why.message);
            Standing { app, held, waiting: waiting.unwrap_or_default(), problem }
        };
        names.into_iter().map(standing).collect()
    }

    /// Signs anew, for every repository, that it is current. What cannot be renewed is told, and the others are.
    pub fn refresh(&self) {
        self.say_current(Numbers::Next);
    }

    /// As [`TrustDesk::refresh`], and also past what was seen elsewhere: this folder may have been put back to an older
    /// copy.
    pub fn renew(&self) {
        self.say_current(Numbers::PastAll);
    }

    fn say_current(&self, numbers: Numbers) {
        for app in self.names() {
            if let Err(why) = self.refresh_one(&app, numbers) {
                tracing::warn!(app, code = %why.code, "could not be said to be current: {}", why.message);
            }
        }
        let mut said = self.said.lock().expect("no holder panics");
        for news in said.news(&self.standings(), self.clock.now_ms()) {
            tracing::warn!("{news}");
        }
    }

    /// What keeps hosts from taking anything new of an app, the fleet's first. What the controller signs itself is signed
    /// anew before it counts as run out.
    pub fn expired(&self, app: &AppName) -> Result<Vec<Expired>, Coded> {
        let mut expired = vec![];
        for name in [FLEET, app.as_str()] {
            let now = self.clock.now_ms();
            let of =
                || Ok::<_, Coded>(self.held(name)?.map(|held| held.expired(name, now)).unwrap_or_default());
            let mut found = of()?;
            if found.iter().any(|expired| !expired.part.is_lasting()) {
                if let Err(why) = self.refresh_one(name, Numbers::Next) {
                    tracing::warn!(app = name, code = %why.code, "could not be said to be current: {}", why.message);
                }
                found = of()?;
            }
            expired.extend(found);
        }
        Ok(expired)
    }

    fn refresh_one(&self, app: &str, numbers: Numbers) -> Result<(), Coded> {
        let _turn = self.turn();
        let now = self.clock.now_ms();
        let Some(held) = self.held(app)? else { return Ok(()) };
        let anchor = self.anchor(app, Some(&held), &[])?;
        let offer = match numbers {
            Numbers::Next => author::freshen(Some(&held), vec![], held.targets.clone(), &self.online, now)?,
            Numbers::PastAll => author::renew(&held, &self.online, now)?,
        };
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
            if let Some(begun) = self.waiting(app.as_str())?.first() {
                let message = format!("the keys of {app} wait for signatures: {}", begun.sentence());
                return Err(Coded::new(Code::T02, message));
            }
            let message = format!(
                "{app} has no release keys, so no host of this fleet would run {app}@{version}. Make one: \
                 longshore app create {app}, then: longshore release sign {app}@{version}"
            );
            return Err(Coded::new(Code::T02, message));
        };
        Anchor::of_fleet(&fleet)?.fits(app.as_str(), &held.root(app.as_str())?)?;
        let list = held.catalog(app.as_str())?;
        list.admit_digest(version, release, Some(length), held.floor)
            .map(drop)
            .map_err(|why| self.half_signed(app.as_str(), &held, version, release).unwrap_or(why))
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
        TrustState::new(&self.dir, app).mended_by(format!(
            "Fix: on the controller's machine, put `{}` back from a copy, or where there is none, move it to another \
             folder; then, on the machine that signed for {app} last: longshore trust refresh",
            self.dir.join(app).display()
        ))
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().expect("no holder panics")
    }
}

fn none_yet(app: &str) -> Coded {
    let message = match app {
        FLEET => "the controller has no signed documents of the fleet. On the operator's machine: longshore init where \
                  it never had, longshore trust status where it lost them"
            .to_owned(),
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

/// Until `stop`: now, every hour, and whenever the clock on the wall has jumped. Now, the folder may be an older copy.
pub async fn keep_current(desk: Arc<TrustDesk>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    let mut signed_ms = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let now = desk.clock.now_ms();
        if !is_due(signed_ms, now) {
            continue;
        }
        let starts = signed_ms.replace(now).is_none();
        let done = at_desk(&desk, move |desk| {
            match starts {
                true => desk.renew(),
                false => desk.refresh(),
            }
            Ok(())
        });
        if let Err(why) = done.await {
            tracing::error!("{why}");
        }
    }
}

/// Also when the clock is behind what it was: then nobody knows how long ago that is.
fn is_due(signed_ms: Option<Millis>, now_ms: Millis) -> bool {
    !signed_ms.is_some_and(|signed| (signed..signed + REFRESH_EVERY_MS).contains(&now_ms))
}

/// When the two documents of the controller's own run out.
pub fn fresh_until(held: &Held) -> (Millis, Millis) {
    (author::expires_ms(&held.snapshot), author::expires_ms(&held.timestamp))
}
