//! One update: what is held and what is offered, in; what is held from now on, out. Nothing is written.

use std::{collections::BTreeSet, path::Path};

use super::{
    CLOCK_BACK_MS, FRESH_LIFE_MS, Held, Offer, Part, PublicKey, ROOT_HOPS, Result, RootView,
    author::{expires_ms, signers},
    catalog::Catalog,
    offer::claimed_version,
    read_root, roughly,
    strict::{check_targets, parse, unfit},
    tuf,
};
use crate::{
    code::{Code, Coded},
    digest::{hex, sha256},
    time::Millis,
};

/// What a first root is believed by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// Its SHA-256, told by somebody who is trusted: of the fleet's repository.
    Pin([u8; 32]),
    /// The organisation's keys, as the fleet's verified repository names them: of an app's repository.
    Organisation { threshold: u64, keys: BTreeSet<PublicKey> },
}

impl Anchor {
    /// The anchor that a verified fleet repository is for all apps.
    pub fn of_fleet(fleet: &Held) -> Result<Self> {
        let root = fleet.root(super::FLEET)?;
        let (threshold, keys) = root.role(Part::Root);
        Ok(Anchor::Organisation { threshold, keys: keys.clone() })
    }

    /// An app's root names the organisation's keys as the fleet's does: all of them, and how many it takes.
    pub fn fits(&self, app: &str, root: &RootView) -> Result<()> {
        let Anchor::Organisation { threshold, keys } = self else { return Ok(()) };
        let (of_root, named) = root.role(Part::Root);
        if named == keys && of_root == *threshold {
            return Ok(());
        }
        let why = format!(
            "does not name the organisation's keys as the fleet does; on the operator's machine: longshore trust rotate \
             {app}"
        );
        Err(unfit(app, Part::Root, &why))
    }
}

/// As [`update`], whatever has expired: for whoever is about to sign anew what has. Nothing may run by it.
pub fn update_even_if_expired(
    app: &str,
    anchor: &Anchor,
    held: Option<&Held>,
    offer: &Offer,
    now_ms: Millis,
    scratch: &Path,
) -> Result<Held> {
    examine(app, anchor, held, offer, now_ms, scratch).map(|(held, _)| held)
}

/// As [`update`], with what only says that a list is current allowed to have expired: for a host that its admin
/// brings a release by hand, when no controller can say so any more. Who may sign and what is listed must still hold.
pub fn update_even_if_stale(
    app: &str,
    anchor: &Anchor,
    held: Option<&Held>,
    offer: &Offer,
    now_ms: Millis,
    scratch: &Path,
) -> Result<Held> {
    let (new, expiries) = examine(app, anchor, held, offer, now_ms, scratch)?;
    not_expired(app, &lasting(expiries), now_ms)?;
    Ok(new)
}

/// Verifies `offer` for `app`. `scratch` is a folder on our own disk in which a folder may be made and removed.
pub fn update(
    app: &str,
    anchor: &Anchor,
    held: Option<&Held>,
    offer: &Offer,
    now_ms: Millis,
    scratch: &Path,
) -> Result<Held> {
    let (new, expiries) = examine(app, anchor, held, offer, now_ms, scratch)?;
    not_expired(app, &expiries, now_ms)?;
    Ok(new)
}

type Expiries = [(Part, Millis); 4];

/// Without what the controller signs.
fn lasting(expiries: Expiries) -> Vec<(Part, Millis)> {
    expiries.into_iter().filter(|(part, _)| part.is_lasting()).collect()
}

fn examine(
    app: &str,
    anchor: &Anchor,
    held: Option<&Held>,
    offer: &Offer,
    now_ms: Millis,
    scratch: &Path,
) -> Result<(Held, Expiries)> {
    offer.bounded(app)?;
    check_targets(app, &offer.targets)?;
    let mut roots = offer.roots.clone();
    roots.sort_by_key(|root| claimed_version(root));
    for root in &roots {
        read_root(app, root)?;
    }
    let begin = match held {
        Some(held) => begin_from_held(app, held, &roots, now_ms)?,
        None => begin_from_anchor(app, anchor, &roots)?,
    };
    let followed = tuf::follow(app, &begin, held, offer.by_name(), scratch);
    let repository = followed.map_err(|why| with_signers(app, why, &begin, &roots, offer))?;
    let new = assemble(app, &begin, held, &roots, offer, repository.root().signed.version.get(), now_ms)?;
    let root = new.root(app)?;
    anchor.fits(app, &root)?;
    if let Some(held) = held {
        never_back(app, held, &new)?;
    }
    let floor = new.catalog(app)?.min_seq;
    Ok((Held { floor: floor.max(new.floor), ..new }, tuf::expiries(&repository)))
}

/// Whose signatures a list has and whose it lacks, for people: who is to sign is what they ask next.
fn with_signers(app: &str, why: Coded, begin: &[u8], roots: &[Vec<u8>], offer: &Offer) -> Coded {
    let few = matches!(why.code, Code::T02 | Code::T03) && why.message.starts_with("targets.json");
    let newest = roots.last().map_or(begin, Vec::as_slice);
    let told = few.then(|| {
        let root = read_root(app, newest).ok()?;
        let have = signers(&root, Part::Targets, &offer.targets).ok()?;
        let (takes, keys) = root.role(Part::Targets);
        let names = |keys: &mut dyn Iterator<Item = &PublicKey>| {
            keys.map(|key| format!("{}…", key.short())).collect::<Vec<_>>().join(", ")
        };
        let lacking = names(&mut keys.iter().filter(|key| !have.contains(key)));
        Some(match have.len() {
            0 => Coded::new(
                Code::T02,
                format!(
                    "targets.json of {app}, its list of releases, is not signed by a key that is trusted for it (needs \
                     {takes} of {app}'s keys: {lacking}). What waits for them: longshore trust status"
                ),
            ),
            count => Coded::new(
                Code::T03,
                format!(
                    "targets.json of {app} has {count} of {takes} required signatures (have {}; needs one of \
                     {lacking}). How: longshore trust status",
                    names(&mut have.iter())
                ),
            ),
        })
    });
    told.flatten().unwrap_or(why)
}

/// The trusted root to begin from, when something is held: the newest of them. The clock must not have gone back.
fn begin_from_held(app: &str, held: &Held, roots: &[Vec<u8>], now_ms: Millis) -> Result<Vec<u8>> {
    if now_ms < held.latest_ms - CLOCK_BACK_MS {
        let message = format!(
            "this machine's clock is {} before the last time that {app} was verified here; set it \
             (timedatectl) and try again",
            roughly(held.latest_ms - now_ms)
        );
        return Err(Coded::new(Code::T04, message));
    }
    for root in roots {
        let version = claimed_version(root);
        if held.roots.get(&version).is_some_and(|known| known != root) {
            return Err(unfit(
                app,
                Part::Root,
                &format!("v{version} is not the one that was seen here before"),
            ));
        }
    }
    Ok(held.roots.values().next_back().expect("what is held has a root").clone())
}

fn begin_from_anchor(app: &str, anchor: &Anchor, roots: &[Vec<u8>]) -> Result<Vec<u8>> {
    match anchor {
        Anchor::Pin(pin) => {
            let pinned = roots.iter().find(|root| sha256(root) == *pin);
            pinned.cloned().ok_or_else(|| {
                let message = format!(
                    "the server offers no root with the sha256 that this host pins ({}…): it is another fleet's, \
                     or was made anew. Nothing was believed",
                    &hex(pin)[..16]
                );
                Coded::new(Code::T02, message)
            })
        }
        Anchor::Organisation { .. } => {
            let newest = roots.last().cloned();
            let newest = newest.ok_or_else(|| unfit(app, Part::Root, "was not offered"))?;
            anchor.fits(app, &read_root(app, &newest)?)?;
            Ok(newest)
        }
    }
}

/// What is held afterwards, with the roots in a row up to the one that was reached.
fn assemble(
    app: &str,
    begin: &[u8],
    held: Option<&Held>,
    roots: &[Vec<u8>],
    offer: &Offer,
    reached: u64,
    now_ms: Millis,
) -> Result<Held> {
    let mut all = held.map(|held| held.roots.clone()).unwrap_or_default();
    let first = claimed_version(begin);
    all.insert(first, begin.to_vec());
    for root in roots {
        let version = claimed_version(root);
        if version > reached {
            return Err(unfit(app, Part::Root, &format!("v{version} does not follow v{reached}")));
        }
        if version > first {
            all.insert(version, root.clone());
        }
    }
    while all.len() > ROOT_HOPS {
        all.pop_first();
    }
    Ok(Held {
        roots: all,
        timestamp: offer.timestamp.clone(),
        snapshot: offer.snapshot.clone(),
        targets: offer.targets.clone(),
        floor: held.map_or(0, |held| held.floor),
        latest_ms: held.map_or(now_ms, |held| held.latest_ms.max(now_ms)),
    })
}

/// The same version is the same bytes, and the list never becomes older while the same keys sign it.
fn never_back(app: &str, held: &Held, new: &Held) -> Result<()> {
    let (was, is) = (held.root(app)?, new.root(app)?);
    let kept = |part| was.role(part).1 == is.role(part).1;
    let parts = [
        (Part::Timestamp, &held.timestamp, &new.timestamp),
        (Part::Snapshot, &held.snapshot, &new.snapshot),
        (Part::Targets, &held.targets, &new.targets),
    ];
    for (part, old, new) in parts {
        if !kept(part) {
            continue;
        }
        let (old_version, new_version) = (claimed_version(old), claimed_version(new));
        if new_version < old_version {
            let message = format!(
                "{app}: rollback refused: the server offered {part} v{new_version}, v{old_version} has been seen here. {}",
                tuf::if_put_back(app)
            );
            return Err(Coded::new(Code::T05, message));
        }
        if new_version == old_version && old != new {
            let next = match part {
                Part::Targets => format!(
                    "If the server was put back to an older copy and {app} was signed for since, on the machine that did: \
                     longshore trust rotate {app}"
                ),
                _ => tuf::if_put_back(app),
            };
            let message = format!(
                "{part}.json of {app} v{new_version} is not the one that was seen here under this number; nothing was \
                 believed. {next}"
            );
            return Err(Coded::new(Code::T02, message));
        }
    }
    Ok(())
}

/// The part is told whose renewal comes first.
fn not_expired(app: &str, expiries: &[(Part, Millis)], now_ms: Millis) -> Result<()> {
    let Some(first) = expired(app, expiries, now_ms).into_iter().next() else { return Ok(()) };
    let (what, renewal) = (first.what(now_ms), first.renewal());
    let message =
        format!("{what}. Running apps are unaffected; new releases are refused. Renew it: {renewal}");
    Err(Coded::new(Code::T04, message))
}

/// In the order in which they can be renewed: while a root or a list has run out, the controller says of nothing that it
/// is current.
fn expired(app: &str, expiries: &[(Part, Millis)], now_ms: Millis) -> Vec<Expired> {
    let mut expired: Vec<Expired> = expiries
        .iter()
        .filter(|(_, at)| *at <= now_ms)
        .map(|(part, at)| Expired { app: app.to_owned(), part: *part, since_ms: *at })
        .collect();
    expired.sort_by_key(|expired| (!expired.part.is_lasting(), expired.since_ms));
    if expired.first().is_some_and(|first| first.part.is_lasting()) {
        expired.retain(|expired| expired.part.is_lasting());
    }
    expired
}

/// A document that has run out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Whose.
    pub app: String,
    pub part: Part,
    pub since_ms: Millis,
}

impl Expired {
    /// Which, since when.
    pub fn what(&self, now_ms: Millis) -> String {
        let Self { app, part, since_ms } = self;
        format!("{part}.json of {app} expired {} ago ({})", roughly(now_ms - since_ms), minute(*since_ms))
    }

    /// By which command, by whom.
    pub fn renewal(&self) -> String {
        format!("{} ({})", self.part.remedy(&self.app), self.part.who(&self.app))
    }

    /// Both, in a sentence that stays true.
    pub fn dated(&self) -> String {
        let Self { app, part, since_ms } = self;
        format!("{part}.json of {app} expired at {}; renew it: {}", minute(*since_ms), self.renewal())
    }
}

fn minute(at_ms: Millis) -> impl std::fmt::Display {
    jiff::Timestamp::from_millisecond(at_ms).unwrap_or_default().strftime("%Y-%m-%dT%H:%MZ")
}

impl Held {
    /// Whether what is held still holds. `stale`: what only says that the list is current may have expired.
    pub fn not_expired(&self, app: &str, now_ms: Millis, stale: bool) -> Result<()> {
        let expiries = self.expiries();
        match stale {
            true => not_expired(app, &lasting(expiries), now_ms),
            false => not_expired(app, &expiries, now_ms),
        }
    }

    /// What of it has run out, and has to be renewed, in that order.
    pub fn expired(&self, app: &str, now_ms: Millis) -> Vec<Expired> {
        expired(app, &self.expiries(), now_ms)
    }

    /// When the controller signed, by its own clock, that this is current: it is no earlier than that.
    pub fn said_current_ms(&self) -> Millis {
        expires_ms(&self.timestamp) - FRESH_LIFE_MS
    }

    /// When each document runs out.
    pub fn expiries(&self) -> [(Part, Millis); 4] {
        let root = self.roots.values().next_back().map_or(&[][..], Vec::as_slice);
        [
            (Part::Timestamp, expires_ms(&self.timestamp)),
            (Part::Snapshot, expires_ms(&self.snapshot)),
            (Part::Targets, expires_ms(&self.targets)),
            (Part::Root, expires_ms(root)),
        ]
    }

    /// Whether `offer` has nothing that is newer than what is held: then what is held decides, and the offer is not
    /// even looked at.
    pub fn is_newer_than(&self, offer: &Offer) -> bool {
        let newest = offer.roots.iter().map(|root| claimed_version(root)).max().unwrap_or(0);
        newest <= self.root_version()
            && claimed_version(&offer.targets) <= claimed_version(&self.targets)
            && claimed_version(&offer.timestamp) < claimed_version(&self.timestamp)
    }

    /// The newest root, read.
    pub fn root(&self, app: &str) -> Result<RootView> {
        let bytes = self.roots.values().next_back().expect("what is held has a root");
        read_root(app, bytes)
    }

    /// What may run, as of when this was verified.
    pub fn catalog(&self, app: &str) -> Result<Catalog> {
        Catalog::read(app, parse(app, Part::Targets, &self.targets)?)
    }
}
