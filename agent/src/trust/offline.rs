//! Whether what came in a bundle may run: the same questions as of what a controller offers, answered from bytes.
//!
//! The newest that this host has verified decides. A bundle may be older than that: then its documents are passed
//! over, which takes nothing back, and what is held says whether the release may run.

use longshore_common::{
    code::{Code, Coded},
    digest::ReleaseDigest,
    ids::{AppName, Version},
    offline::Documents,
    text::visible,
    trust::{Anchor, FLEET, Held, Offer, update, update_even_if_stale},
};

use super::Gate;
use crate::plan::Stale;

/// A release as its manifest names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brought {
    pub app: AppName,
    pub version: Version,
    pub release: ReleaseDigest,
    /// Of the manifest.
    pub length: u64,
}

/// A repository as it stands when the bundle's documents count.
struct Weighed {
    held: Held,
    news: bool,
    stale: bool,
}

impl Gate {
    /// Refuses what may not run; nothing is written.
    pub fn weigh(&self, brought: &Brought, documents: Option<&Documents>, stale: Stale) -> Result<(), Coded> {
        let _turn = self.turn();
        self.weigh_all(brought, documents, stale).map(drop)
    }

    /// The same once more, and what was verified is kept. `by` is who on this host wants it.
    pub fn take_bundle(
        &self,
        brought: &Brought,
        documents: Option<&Documents>,
        stale: Stale,
        by: &str,
    ) -> Result<(), Coded> {
        let _turn = self.turn();
        let weighed = self.weigh_all(brought, documents, stale)?;
        let stale = weighed.iter().any(|(_, weighed)| weighed.stale);
        if stale {
            let Brought { app, version, .. } = brought;
            self.note_break(&format!("{app}@{version} deployed by documents that had expired"), by)?;
        }
        for (app, Weighed { held, news, .. }) in weighed {
            if news {
                self.state(&app).persist(&held)?;
                self.0.pin.note_begun(&app)?;
            }
        }
        Ok(())
    }

    /// The fleet's repository and the app's; none where this host pins nothing.
    fn weigh_all(
        &self,
        brought: &Brought,
        documents: Option<&Documents>,
        stale: Stale,
    ) -> Result<Vec<(String, Weighed)>, Coded> {
        let Some(pin) = self.pinned()? else { return Ok(vec![]) };
        let Brought { app, version, release, length } = brought;
        let documents = documents.ok_or_else(|| {
            let message = format!(
                "the bundle of {app}@{version} bears no signed documents, and this host runs only what is signed. Sign \
                 it (longshore release sign {app}@{version}) and export it again"
            );
            Coded::new(Code::T02, message)
        })?;
        longshore_common::durable::create_dir_durable(&self.0.dir, 0o700)
            .map_err(|e| Coded::new(e.code(), longshore_common::chain::Chain(&e).to_string()))?;
        let fleet = self.weigh_one(FLEET, &Anchor::Pin(pin), &documents.fleet, stale)?;
        fleet.held.catalog(FLEET)?.permit(app.as_str(), version, release)?;
        let anchor = Anchor::of_fleet(&fleet.held)?;
        let own = self.weigh_one(app.as_str(), &anchor, &documents.app, stale)?;
        own.held.catalog(app.as_str())?.admit_digest(version, release, Some(*length), own.held.floor)?;
        Ok(vec![(FLEET.to_owned(), fleet), (app.to_string(), own)])
    }

    fn weigh_one(&self, app: &str, anchor: &Anchor, offer: &Offer, stale: Stale) -> Result<Weighed, Coded> {
        let (now, held) = (self.0.clock.now_ms(), self.held(app)?);
        held.iter().try_for_each(|held| self.not_ahead(app, held))?;
        let expired = |why: &Coded| why.code == Code::T04 && stale == Stale::Allowed;
        if let Some(held) = held.clone().filter(|held| held.is_newer_than(offer)) {
            let stale = match held.not_expired(app, now, false) {
                Err(why) if expired(&why) => held.not_expired(app, now, true).map(|()| true)?,
                other => other.map(|()| false).map_err(|why| hint(why, stale))?,
            };
            return Ok(Weighed { held, news: false, stale });
        }
        let (dir, held) = (&self.0.dir, held.as_ref());
        match update(app, anchor, held, offer, now, dir) {
            Err(why) if expired(&why) => {
                let held = update_even_if_stale(app, anchor, held, offer, now, dir)?;
                Ok(Weighed { held, news: true, stale: true })
            }
            Err(why) => Err(hint(why, stale)),
            Ok(new) => Ok(Weighed { news: held != Some(&new), held: new, stale: false }),
        }
    }
}

/// What to do about documents that have run out, where no controller can renew them.
fn hint(why: Coded, stale: Stale) -> Coded {
    if why.code != Code::T04 || stale == Stale::Allowed {
        return why;
    }
    let message = format!(
        "{}. Or export the bundle again; or, where no controller can any more: --stale, which is reported forever after",
        visible(&why.message)
    );
    Coded::new(why.code, message)
}
