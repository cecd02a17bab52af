//! Signed documents come in: they are taken, wait for more signatures, or are refused; and what waits can be dropped.

use longshore_common::{
    code::{Code, Coded},
    digest::ReleaseDigest,
    ids::Version,
    text::visible,
    trust::{Held, OFFER_BYTES, author, update},
};

use super::{
    REPOSITORIES_MAX, TrustDesk, Waiting, change,
    pending::{self, Pending},
};

/// Changes of one app that wait, those that were overtaken included.
const WAITING_MAX: usize = 32;
/// Bytes of those that can still be signed: all of them are in one answer.
const WAITING_BYTES: usize = 2 * OFFER_BYTES;

/// What became of what was submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// With what waited for the same place, and does not count any more.
    Accepted { overtaken: Vec<Waiting> },
    /// Kept until somebody adds the missing signatures.
    Waiting(Box<Waiting>),
}

/// Which of the changes that wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    One(String),
    Overtaken,
}

impl TrustDesk {
    /// The same checks as on every host, before anything is kept. Nothing but missing signatures may be wrong.
    ///
    /// What waits already is left alone, unless this is the same change: then the signatures add up.
    pub fn submit(
        &self,
        app: &str,
        by: &str,
        roots: Vec<Vec<u8>>,
        targets: Vec<u8>,
    ) -> Result<Submitted, Coded> {
        let _turn = self.turn();
        let now = self.clock.now_ms();
        let held = self.held(app)?;
        if held.is_none() && self.names().len() >= REPOSITORIES_MAX {
            return Err(Coded::new(Code::A04, format!("at most {REPOSITORIES_MAX} apps have keys here")));
        }
        let anchor = self.anchor(app, held.as_ref(), &roots)?;
        if targets.is_empty() && held.is_none() {
            return Err(Coded::new(Code::V01, format!("{app}: the first submission needs a list")));
        }
        bounded(app, &roots, &targets)?;
        let waiting = pending::load(&self.dir, app)?;
        let new = Pending::new(app, held.as_ref(), roots, targets, by, now)?;
        let id = new.id();
        let (same, others): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|known| known.id() == id);
        let new = match same.first() {
            Some(earlier) => new.joined(earlier, held.as_ref())?,
            None => new,
        };
        let list = match (&held, new.targets.is_empty()) {
            (Some(held), true) => held.targets.clone(),
            _ => new.targets.clone(),
        };
        let offer = author::freshen(held.as_ref(), new.roots.clone(), list, &self.online, now)?;
        match update(app, &anchor, held.as_ref(), &offer, now, &self.dir) {
            Ok(accepted) => {
                self.state(app).persist(&accepted)?;
                tracing::info!(app, root = accepted.root_version(), "signed documents accepted");
                pending::remove(&self.dir, &new)?;
                let overtaken = self.overtaken_by(held.as_ref(), &accepted, others)?;
                Ok(Submitted::Accepted { overtaken })
            }
            Err(missing) if missing.code == Code::T03 => {
                self.make_room(&new, &others, held.as_ref())?;
                pending::keep(&self.dir, &new)?;
                Waiting::of(&new, held.as_ref()).map(Box::new).map(Submitted::Waiting)
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// In words, before it is handed in: for the record.
    pub fn describe(&self, app: &str, roots: &[Vec<u8>], targets: &[u8]) -> Result<String, Coded> {
        bounded(app, roots, targets)?;
        let held = self.held(app)?;
        change::changes(app, held.as_ref(), roots, targets).map(|changes| change::said(&changes))
    }

    /// What waits for an app, the first first.
    pub fn waiting(&self, app: &str) -> Result<Vec<Waiting>, Coded> {
        let held = self.held(app)?;
        self.waiting_beside(app, held.as_ref())
    }

    pub(super) fn waiting_beside(&self, app: &str, held: Option<&Held>) -> Result<Vec<Waiting>, Coded> {
        pending::load(&self.dir, app)?.iter().map(|pending| Waiting::of(pending, held)).collect()
    }

    /// The documents that wait and can still be signed.
    pub fn pending(&self, app: &str) -> Result<Vec<Pending>, Coded> {
        let held = self.held(app)?;
        let mut waiting = pending::load(&self.dir, app)?;
        waiting.retain(|pending| !pending.is_overtaken(held.as_ref()));
        for pending in &mut waiting {
            if held.as_ref().is_some_and(|held| pending.has_stale_list(held)) {
                pending.targets.clear();
            }
        }
        Ok(waiting)
    }

    /// The signatures under it are given up.
    pub fn drop_waiting(&self, app: &str, which: &Which) -> Result<Vec<Waiting>, Coded> {
        let _turn = self.turn();
        let held = self.held(app)?;
        let waiting = pending::load(&self.dir, app)?;
        let fits = |pending: &&Pending| match which {
            Which::One(id) => pending.id() == *id,
            Which::Overtaken => pending.is_overtaken(held.as_ref()),
        };
        let found: Vec<&Pending> = waiting.iter().filter(fits).collect();
        if let (Which::One(id), []) = (which, found.as_slice()) {
            let message = format!("nothing of {app} waits as {}; see: longshore trust status", visible(id));
            return Err(Coded::new(Code::N01, message));
        }
        let dropped = found.iter().map(|pending| Waiting::of(pending, held.as_ref()));
        let dropped = dropped.collect::<Result<Vec<_>, _>>()?;
        found.into_iter().try_for_each(|pending| pending::remove(&self.dir, pending))?;
        Ok(dropped)
    }

    /// That a release which no host would run is only signed by too few.
    pub(super) fn half_signed(
        &self,
        app: &str,
        held: &Held,
        version: &Version,
        release: &ReleaseDigest,
    ) -> Option<Coded> {
        let waiting = self.waiting_beside(app, Some(held)).ok()?;
        let mut of_it =
            waiting.iter().filter(|waiting| waiting.lists(version, release) && !waiting.overtaken);
        of_it.next().map(|waiting| waiting.too_few(version))
    }

    /// Those of `others` that could be completed before, and cannot any more. What is said now is done, and not kept.
    fn overtaken_by(
        &self,
        before: Option<&Held>,
        accepted: &Held,
        others: Vec<Pending>,
    ) -> Result<Vec<Waiting>, Coded> {
        let mut overtaken = vec![];
        for other in others.into_iter().filter(|other| other.is_overtaken(Some(accepted))) {
            let (root, list) = (accepted.root(&other.app)?, accepted.catalog(&other.app)?);
            if other.changes.iter().all(|change| change.is_in(&root, &list)) {
                pending::remove(&self.dir, &other)?;
            } else if !other.is_overtaken(before) {
                overtaken.push(Waiting::of(&other, Some(accepted))?);
            }
        }
        Ok(overtaken)
    }

    /// What was overtaken and is now signed again is no longer kept; and there is a bound.
    fn make_room(&self, new: &Pending, others: &[Pending], held: Option<&Held>) -> Result<(), Coded> {
        let again = |other: &&Pending| other.is_overtaken(held) && other.changes == new.changes;
        let (again, others): (Vec<_>, Vec<_>) = others.iter().partition(again);
        let bytes: usize =
            others.iter().filter(|other| !other.is_overtaken(held)).map(|other| other.bytes()).sum();
        if others.len() >= WAITING_MAX || bytes + new.bytes() > WAITING_BYTES {
            let app = &new.app;
            let message = format!(
                "{} changes of {app} wait for signatures already; nothing was changed. See: longshore trust status, then \
                 sign them or: longshore trust drop {app} ID (or --overtaken)",
                others.len()
            );
            return Err(Coded::new(Code::A04, message));
        }
        again.into_iter().try_for_each(|other| pending::remove(&self.dir, other))
    }
}

/// Before anything of it is parsed.
fn bounded(app: &str, roots: &[Vec<u8>], targets: &[u8]) -> Result<(), Coded> {
    let bytes = roots.iter().map(Vec::len).sum::<usize>() + targets.len();
    match bytes > OFFER_BYTES {
        true => {
            Err(Coded::new(Code::T02, format!("{app}: {bytes} bytes of metadata, at most {OFFER_BYTES}")))
        }
        false => Ok(()),
    }
}
