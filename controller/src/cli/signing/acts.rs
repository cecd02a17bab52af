//! What is signed: the fleet's root, an app's keys, a release, a withdrawal, a change of keys.

use std::collections::BTreeSet;

use longshore_common::{
    code::Code,
    digest::{ReleaseDigest, sha256},
    ids::{AppName, Version},
    text::visible,
    time::{Clock as _, Millis, SystemClock},
    trust::{
        Catalog, Expired, FLEET, Held, Listed, Part, PublicKey, ROOT_LIFE_MS, RootView, TARGETS_LIFE_MS,
        author, author::RootDraft,
    },
};

use serde::Serialize;

use super::{Holder, KeyRing, ORG, Signer, first_root, next_list};
use crate::cli::{exit::Exit, failure::Failure, moment::count};

/// Releases that a fleet's list revokes; each is in every host's documents.
const REVOKED_MAX: usize = 1000;

/// What became of something that was signed here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signed {
    /// Hosts will believe it.
    Enough {
        /// What waited for its place, and does not count any more.
        overtaken: Vec<Overtaken>,
    },
    /// It was said already.
    Before,
    /// More keys have to sign; what is missing, as the controller says.
    Waiting(String),
}

/// What somebody signed, and has to sign again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Overtaken {
    pub what: String,
    /// The command.
    pub next: String,
}

/// The organisation's key and the fleet's root. What hosts are to pin, and whether it was there before.
pub async fn init(signer: &Signer<'_>) -> Result<([u8; 32], bool), Failure> {
    let _alone = signer.alone().await?;
    if let Some(pin) = signer.ring.pin()?
        && let Some(held) = signer.verified(FLEET).await?
    {
        debug_assert_eq!(first_root(&held), pin);
        return Ok((pin, false));
    }
    if super::fleet_root(signer.client, signer.by).await?.is_some() {
        return Err(Failure::coded(
            Code::N02,
            "this fleet has a root already, and this machine does not know it",
        )
        .next("ask whoever made it for its SHA-256, then: longshore trust pin SHA256"));
    }
    let online = signer.online().await?;
    // A run that was cut short made the key; its passphrase is asked for, and it goes on.
    let known = signer.ring.keys().into_iter().find(|key| key.name == ORG);
    let key = match known {
        Some(known) => known,
        None => signer.ring.create(ORG)?,
    };
    let org = (1, BTreeSet::from([key.public]));
    let draft = RootDraft { app: FLEET.into(), version: 1, org: org.clone(), release: org, online };
    let root = signer.ring.sign(&key, &author::root(&draft, now()))?;
    let list = signer.ring.sign(&key, &author::targets(&author::empty_catalog(FLEET), now()))?;
    let pin = sha256(&root);
    signer.submit(FLEET, vec![root], list).await?;
    signer.ring.set_pin(pin)?;
    Ok((pin, true))
}

/// Who signs an app from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppKeys {
    /// The one that signs here.
    pub own: PublicKey,
    pub threshold: u64,
    pub keys: usize,
}

/// Release keys for an app: one that is made here, and those of others. Whoever holds one of those types `app create`
/// with the app alone, and signs what waits.
pub async fn create_app(
    signer: &Signer<'_>,
    app: &AppName,
    others: &[PublicKey],
    threshold: u64,
) -> Result<(AppKeys, Signed), Failure> {
    let _alone = signer.alone().await?;
    let name = app.as_str();
    if name == FLEET || name == ORG {
        return Err(Failure::usage(format!("\"{name}\" is taken: call the app something else")));
    }
    let fleet = signer.verified(FLEET).await?.ok_or_else(no_fleet)?;
    if signer.verified(name).await?.is_some() {
        return Err(Failure::coded(Code::N02, format!("{name} has release keys already"))
            .next(format!("to change them: longshore trust rotate {name} --add-key PUBLIC")));
    }
    let fleet_root = fleet.root(FLEET)?;
    let waits = Waits::of(signer, name).await?;
    let joined = match others.is_empty() {
        true => waits.roots.iter().find_map(|root| asked_to_join(signer.ring, &fleet_root, name, root)),
        false => None,
    };
    let (own, release) = match joined {
        Some(joined) => joined,
        None => {
            let known = signer.ring.keys().into_iter().find(|key| key.name == name);
            let own = match known {
                Some(known) => known.public,
                None => signer.ring.create(name)?.public,
            };
            (own, (threshold, others.iter().copied().chain([own]).collect::<BTreeSet<PublicKey>>()))
        }
    };
    let (threshold, keys) = (release.0, release.1.len());
    if threshold == 0 || threshold > keys as u64 {
        return Err(Failure::usage(format!("{threshold} of {keys} keys cannot sign: give more --key")));
    }
    let (org_threshold, org) = fleet_root.role(Part::Root);
    let draft = RootDraft {
        app: name.to_owned(),
        version: 1,
        org: (org_threshold, org.clone()),
        release,
        online: signer.online().await?,
    };
    let root = waits.root_or(author::root(&draft, now()));
    let root = sign_with_any(signer.ring, org, root)?;
    let list = waits.list_or(author::targets(&author::empty_catalog(name), now()));
    let list = sign_with(signer.ring, &draft.release.1, list)?;
    let signed = signer.submit(name, vec![root], list).await.map_err(|why| match why.code {
        Some(Code::T02) if signer.ring.among(org).is_empty() => why.next(format!(
            "a new app takes the organisation's key (longshore trust keys fleet), and none lies in {}; whoever has it: \
             longshore app create {name} --key {own}; after that you, the same without --key",
            signer.ring.folder().display()
        )),
        _ => why,
    })?;
    Ok((AppKeys { own, threshold, keys }, signed))
}

/// The keys of a root that waits, if the organisation signed it and one of them lies here.
fn asked_to_join(
    ring: &KeyRing,
    fleet: &RootView,
    app: &str,
    waiting: &[u8],
) -> Option<(PublicKey, (u64, BTreeSet<PublicKey>))> {
    let root = longshore_common::trust::read_root(app, waiting).ok()?;
    let (takes, org) = fleet.role(Part::Root);
    let signed = author::signers(&root, Part::Root, waiting).ok()?;
    let enough = root.role(Part::Root) == (takes, org) && signed.len() as u64 >= takes;
    let (threshold, keys) = root.role(Part::Targets);
    let own = ring.among(keys).into_iter().next().filter(|_| enough)?;
    Some((own.public, (threshold, keys.clone())))
}

/// Lists a release. `length` is that of the manifest whose bytes have the digest.
pub async fn sign_release(
    signer: &Signer<'_>,
    app: &AppName,
    version: &Version,
    digest: ReleaseDigest,
    length: u64,
    floor: Option<Floor>,
) -> Result<Signed, Failure> {
    let _alone = signer.alone().await?;
    let held = app_of(signer, app).await?;
    let mut catalog = next_list(app.as_str(), &held)?;
    let listed = catalog.by_version(version).cloned();
    let seq = match listed {
        Some(listed) if listed.digest != digest => {
            let message =
                format!("{app}@{version} is signed already, as another release ({})", listed.digest.short());
            return Err(Failure::coded(Code::N02, message));
        }
        // A list that has run out is signed anew by this.
        Some(_) if floor.is_none() && author::expires_ms(&held.targets) > now() => return Ok(Signed::Before),
        Some(listed) => listed.seq,
        None => catalog.next_seq,
    };
    catalog.next_seq = catalog.next_seq.max(seq + 1);
    catalog.releases.insert(seq, Listed { seq, version: version.clone(), digest, length });
    if let Some(Floor) = floor {
        catalog.min_seq = catalog.min_seq.max(seq);
    }
    sign_list(signer, app, &held, &catalog).await
}

/// Nothing older may run any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor;

/// Takes a release off the list.
pub async fn withdraw(signer: &Signer<'_>, app: &AppName, version: &Version) -> Result<Signed, Failure> {
    let _alone = signer.alone().await?;
    let held = app_of(signer, app).await?;
    let mut catalog = next_list(app.as_str(), &held)?;
    let Some(seq) = catalog.by_version(version).map(|listed| listed.seq) else { return Ok(Signed::Before) };
    catalog.releases.remove(&seq);
    sign_list(signer, app, &held, &catalog).await
}

/// What the organisation's key says to every host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FleetWord {
    /// Nothing new begins, for this reason.
    Freeze(String),
    Unfreeze,
    /// This release may begin nowhere, for this reason.
    Revoke(ReleaseDigest, String),
    Unrevoke(ReleaseDigest),
}

/// Signs the fleet's own list with this said in it. What becomes of it, and the list that says it.
pub async fn say_to_fleet(signer: &Signer<'_>, word: &FleetWord) -> Result<(Signed, Catalog), Failure> {
    let _alone = signer.alone().await?;
    let held = signer.verified(FLEET).await?.ok_or_else(no_fleet)?;
    let before = held.catalog(FLEET)?;
    let mut catalog = next_list(FLEET, &held)?;
    match word {
        FleetWord::Freeze(reason) => catalog.frozen = Some(reason.clone()),
        FleetWord::Unfreeze => catalog.frozen = None,
        FleetWord::Revoke(release, reason) => {
            if catalog.revoked.len() >= REVOKED_MAX && !catalog.revoked.contains_key(release) {
                let message = format!("{REVOKED_MAX} releases are revoked already; raise a floor instead");
                return Err(Failure::coded(Code::A04, message)
                    .next("longshore release sign APP@VERSION --security: nothing older may run"));
            }
            catalog.revoked.insert(*release, reason.clone());
        }
        FleetWord::Unrevoke(release) => drop(catalog.revoked.remove(release)),
    }
    if (&before.frozen, &before.revoked) == (&catalog.frozen, &catalog.revoked) {
        return Ok((Signed::Before, before));
    }
    let fleet: AppName = FLEET.parse().expect("a name");
    let signed = sign_list(signer, &fleet, &held, &catalog).await?;
    Ok((signed, catalog))
}

/// What the fleet's own list says now, verified.
pub async fn fleet_list(signer: &Signer<'_>) -> Result<Catalog, Failure> {
    let _alone = signer.alone().await?;
    Ok(signer.verified(FLEET).await?.ok_or_else(no_fleet)?.catalog(FLEET)?)
}

/// The digest that a release was signed under, if it was.
pub async fn signed_digest(
    signer: &Signer<'_>,
    app: &AppName,
    version: &Version,
) -> Result<Option<ReleaseDigest>, Failure> {
    let _alone = signer.alone().await?;
    let Some(held) = signer.verified(app.as_str()).await? else { return Ok(None) };
    Ok(held.catalog(app.as_str())?.by_version(version).map(|listed| listed.digest))
}

/// Signs a list: the one that waits, where it says the same, so that signatures add up; else a new one.
async fn sign_list(
    signer: &Signer<'_>,
    app: &AppName,
    held: &Held,
    catalog: &Catalog,
) -> Result<Signed, Failure> {
    let root = held.root(app.as_str())?;
    let (_, keys) = root.role(Part::Targets);
    let waits = Waits::of(signer, app.as_str()).await?;
    let list = waits.list_or(author::targets(catalog, now()));
    let list = sign_with(signer.ring, keys, list)?;
    signer.submit(app.as_str(), vec![], list).await
}

/// What is to be different in an app's root, or the fleet's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Release keys; of the fleet, the organisation's.
    pub add: Vec<PublicKey>,
    pub remove: Vec<PublicKey>,
    pub threshold: Option<u64>,
}

/// A new root: with these changes, the organisation's keys as the fleet has them, and the controller's key as it is.
pub async fn rotate(signer: &Signer<'_>, app: &str, changes: &Changes) -> Result<Signed, Failure> {
    let _alone = signer.alone().await?;
    let fleet = signer.verified(FLEET).await?.ok_or_else(no_fleet)?;
    let held = signer.verified_to_rotate(app, &fleet).await?.ok_or_else(|| no_keys(app))?;
    let before = held.root(app)?;
    let mut draft = RootDraft::after(&before);
    draft.online = signer.online().await?;
    let (threshold, keys) = &mut draft.release;
    keys.extend(&changes.add);
    keys.retain(|key| !changes.remove.contains(key));
    *threshold = changes.threshold.unwrap_or(*threshold);
    if *threshold == 0 || *threshold > keys.len() as u64 {
        let left = count(keys.len(), "key");
        let takes = match threshold {
            0 => format!("nobody would have to sign, and {left} could"),
            takes => format!("{takes} would have to sign, and {left} could"),
        };
        return Err(Failure::usage(format!(
            "{takes}: give --threshold, or another --add-key. Nothing was changed"
        )));
    }
    if app == FLEET {
        draft.org = draft.release.clone();
    } else {
        let root = fleet.root(FLEET)?;
        let (threshold, keys) = root.role(Part::Root);
        draft.org = (threshold, keys.clone());
    }
    let signers: BTreeSet<PublicKey> = before.role(Part::Root).1 | &draft.org.1;
    let waits = Waits::of(signer, app).await?;
    let root = waits.root_or(author::root(&draft, now()));
    // Who brings only the list's signature leaves the root as it waits.
    let root = match waits.roots.contains(&root) {
        true => sign_with_any(signer.ring, &signers, root)?,
        false => sign_with(signer.ring, &signers, root)?,
    };
    let list = renewed_list(signer, &waits, &held, &before, &draft)?;
    signer.submit(app, vec![root], list).await
}

/// The list signed anew, by whoever may sign it from now on and lies here.
fn renewed_list(
    signer: &Signer<'_>,
    waits: &Waits,
    held: &Held,
    before: &RootView,
    draft: &RootDraft,
) -> Result<Vec<u8>, Failure> {
    let same_keys = before.role(Part::Targets).1 == &draft.release.1;
    let none_here = signer.ring.among(&draft.release.1).is_empty();
    if same_keys && none_here {
        return Ok(vec![]);
    }
    let catalog = next_list(&draft.app, held)?;
    let list = waits.list_or(author::targets(&catalog, now()));
    sign_with(signer.ring, &draft.release.1, list)
}

/// What waits for signatures at the controller.
struct Waits {
    roots: Vec<Vec<u8>>,
    lists: Vec<Vec<u8>>,
}

impl Waits {
    async fn of(signer: &Signer<'_>, app: &str) -> Result<Self, Failure> {
        let pending = signer.get(app).await?.pending;
        let roots = pending.iter().filter_map(|pending| pending.roots.last());
        let lists = pending.iter().map(|pending| &pending.targets).filter(|list| !list.is_empty());
        Ok(Self {
            roots: roots.map(|root| root.to_vec()).collect(),
            lists: lists.map(|list| list.to_vec()).collect(),
        })
    }

    fn root_or(&self, ours: Vec<u8>) -> Vec<u8> {
        agreed(&self.roots, ours, ROOT_LIFE_MS)
    }

    fn list_or(&self, ours: Vec<u8>) -> Vec<u8> {
        agreed(&self.lists, ours, TARGETS_LIFE_MS)
    }
}

/// What waits, when it says just what would be signed here and holds no longer: so signatures add up, and whoever
/// keeps it cannot slip anything in.
fn agreed(waiting: &[Vec<u8>], ours: Vec<u8>, life_ms: Millis) -> Vec<u8> {
    let sound = |waiting: &&Vec<u8>| (now()..=now() + life_ms).contains(&author::expires_ms(waiting));
    let same = waiting.iter().filter(sound).find_map(|waiting| author::like(waiting, &ours));
    same.unwrap_or(ours)
}

/// What of the fleet's and the app's documents operators have to renew before hosts take anything new.
pub async fn expired(signer: &Signer<'_>, app: &AppName, now_ms: Millis) -> Result<Vec<Expired>, Failure> {
    let _alone = signer.alone().await?;
    let mut expired = vec![];
    for name in [FLEET, app.as_str()] {
        let held = signer.verified(name).await?;
        expired.extend(held.map(|held| held.expired(name, now_ms)).unwrap_or_default());
    }
    expired.retain(|expired| expired.part.is_lasting());
    Ok(expired)
}

async fn app_of(signer: &Signer<'_>, app: &AppName) -> Result<Held, Failure> {
    signer.verified(app.as_str()).await?.ok_or_else(|| no_keys(app.as_str()))
}

/// As [`sign_with`], but there may be none here: then the signatures that are there have to do.
fn sign_with_any(
    ring: &KeyRing,
    allowed: &BTreeSet<PublicKey>,
    document: Vec<u8>,
) -> Result<Vec<u8>, Failure> {
    if ring.among(allowed).is_empty() { Ok(document) } else { sign_with(ring, allowed, document) }
}

/// Signed with every key of `allowed` that lies on this machine, or that an ssh-agent has now; at least one does. How many
/// it takes is the controller's to say, and that of every host.
fn sign_with(
    ring: &KeyRing,
    allowed: &BTreeSet<PublicKey>,
    mut document: Vec<u8>,
) -> Result<Vec<u8>, Failure> {
    let here = ring.among(allowed);
    if here.is_empty() {
        let names: Vec<String> = allowed.iter().map(PublicKey::short).collect();
        return Err(Failure::new(
            Exit::Refused,
            format!("no key that may sign this lies in {}", ring.folder().display()),
        )
        .next(format!("it takes one of {}; see: longshore key list", names.join(", "))));
    }
    let (mut signed, mut away) = (false, vec![]);
    for key in here {
        match ring.sign(&key, &document) {
            Ok(more) => (document, signed) = (more, true),
            Err(why) if key.holder == Holder::SshAgent => away.push(why),
            Err(why) => return Err(why),
        }
    }
    match away.pop() {
        Some(why) if !signed => Err(why),
        Some(why) => {
            eprintln!("longshore: {}; the other keys did sign", why.message);
            Ok(document)
        }
        None => Ok(document),
    }
}

fn no_fleet() -> Failure {
    Failure::coded(Code::N01, "this fleet has no root yet").next("make it: longshore init")
}

fn no_keys(app: &str) -> Failure {
    let app = visible(app);
    Failure::coded(Code::N01, format!("{app} has no release keys yet"))
        .next(format!("make one: longshore app create {app}"))
}

fn now() -> Millis {
    SystemClock.now_ms()
}
