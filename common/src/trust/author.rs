//! Makes and signs the documents. The operator's command line makes roots and lists; the controller only the two that
//! say what is current.
//!
//! A document without signatures is made first; each key adds its own.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    num::NonZeroU64,
};

use serde::Serialize;
use serde_json::{Value, json};
use tough::{
    TargetName,
    schema::{
        Hashes, Metafile, Role, RoleKeys, Root, Signature, Signed, Snapshot, Target, Targets, Timestamp,
    },
};

use super::{
    Catalog, DAY_MS, FRESH_LIFE_MS, Held, Offer, Part, PublicKey, ROOT_LIFE_MS, Result, RootView, SigningKey,
    TARGETS_LIFE_MS,
    catalog::{About, AboutRelease, target_name},
    offer::claimed_version,
    strict::{OURS, parse, role_type, unfit},
};
use crate::{code::Coded, digest::sha256, time::Millis};

const SPEC: &str = "1.0.31";

/// Who may sign what for an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootDraft {
    pub app: String,
    pub version: u64,
    /// The organisation's keys, and how many of them a new root takes.
    pub org: (u64, BTreeSet<PublicKey>),
    /// The release keys, and how many of them a list takes.
    pub release: (u64, BTreeSet<PublicKey>),
    /// The controller's.
    pub online: PublicKey,
}

impl RootDraft {
    /// What `root` says, as the version after it: to be changed.
    pub fn after(root: &RootView) -> Self {
        let own = |part| {
            let (threshold, keys) = root.role(part);
            (threshold, keys.clone())
        };
        let online = own(Part::Timestamp).1.first().copied().expect("every role has a key");
        let (app, version) = (root.app.clone(), root.version + 1);
        Self { app, version, org: own(Part::Root), release: own(Part::Targets), online }
    }
}

/// A root document without signatures.
pub fn root(draft: &RootDraft, now_ms: Millis) -> Vec<u8> {
    let RootDraft { app, version, org, release, online } = draft;
    let online = (1, BTreeSet::from([*online]));
    let of = |part| match part {
        Part::Root => org,
        Part::Targets => release,
        Part::Snapshot | Part::Timestamp => &online,
    };
    let mut keys = HashMap::new();
    let mut roles = HashMap::new();
    for part in Part::ALL {
        let (threshold, names) = of(part);
        let ids = names.iter().map(|key| key.id().to_vec().into());
        keys.extend(names.iter().map(|key| (key.id().to_vec().into(), key.to_tuf())));
        let role = RoleKeys { keyids: ids.collect(), threshold: number(*threshold), _extra: HashMap::new() };
        roles.insert(role_type(part), role);
    }
    unsigned(Root {
        spec_version: SPEC.to_owned(),
        consistent_snapshot: true,
        version: number(*version),
        expires: until(now_ms + ROOT_LIFE_MS),
        keys,
        roles,
        _extra: our_words(json!({ "app": app })),
    })
}

/// A list of releases without signatures, holding from now on.
pub fn targets(catalog: &Catalog, now_ms: Millis) -> Vec<u8> {
    let Catalog { app, version, expires_ms: _, min_seq, next_seq, frozen, revoked, releases } = catalog;
    let listed = releases.values().map(|listed| {
        let name = TargetName::new(target_name(app, listed.seq)).expect("app names are plain");
        let about = AboutRelease { seq: listed.seq, version: listed.version.clone() };
        let target = Target {
            length: listed.length,
            hashes: hashes(listed.digest.0),
            custom: HashMap::from([("longshore".to_owned(), value(&about))]),
            _extra: HashMap::new(),
        };
        (name, target)
    });
    let (frozen, revoked) = (frozen.clone(), revoked.clone());
    let about = About { app: app.clone(), min_seq: *min_seq, next_seq: *next_seq, frozen, revoked };
    unsigned(Targets {
        spec_version: SPEC.to_owned(),
        version: number(*version),
        expires: until(now_ms + TARGETS_LIFE_MS),
        targets: listed.collect(),
        delegations: None,
        _extra: our_words(value(&about)),
    })
}

/// A list that lists nothing yet.
pub fn empty_catalog(app: &str) -> Catalog {
    let releases = Default::default();
    Catalog {
        app: app.to_owned(),
        version: 1,
        expires_ms: 0,
        min_seq: 0,
        next_seq: 1,
        frozen: None,
        revoked: BTreeMap::new(),
        releases,
    }
}

/// The two documents that say that `targets` is current, signed by `online`; and the whole as an offer. What is
/// `held` says which versions are taken.
pub fn freshen(
    held: Option<&Held>,
    new_roots: Vec<Vec<u8>>,
    targets: Vec<u8>,
    online: &SigningKey,
    now_ms: Millis,
) -> Result<Offer> {
    let of = |bytes: Option<&Vec<u8>>| bytes.map_or(0, |bytes| claimed_version(bytes));
    let still_good = held.filter(|held| {
        let known: Option<Signed<Snapshot>> = serde_json::from_slice(&held.snapshot).ok();
        let fresh = known
            .is_some_and(|known| known.signed.expires.as_millisecond() > now_ms + FRESH_LIFE_MS - DAY_MS);
        fresh && held.targets == targets && new_roots.is_empty()
    });
    let snapshot = match still_good {
        Some(held) => held.snapshot.clone(),
        None => snapshot(of(held.map(|held| &held.snapshot)) + 1, &targets, online, now_ms)?,
    };
    let timestamp = timestamp(of(held.map(|held| &held.timestamp)) + 1, &snapshot, online, now_ms)?;
    Ok(Offer { roots: new_roots, timestamp, snapshot, targets })
}

/// What is `held`, said to be current by two new documents. Their numbers are past all that was signed before now, also
/// by a controller whose folder has been put back to an older copy since: they follow the clock.
pub fn renew(held: &Held, online: &SigningKey, now_ms: Millis) -> Result<Offer> {
    let now = u64::try_from(now_ms / 1000).unwrap_or(0);
    let past = |document: &[u8]| claimed_version(document).saturating_add(1).max(now);
    let snapshot = snapshot(past(&held.snapshot), &held.targets, online, now_ms)?;
    let timestamp = timestamp(past(&held.timestamp), &snapshot, online, now_ms)?;
    Ok(Offer { roots: vec![], timestamp, snapshot, targets: held.targets.clone() })
}

fn snapshot(version: u64, targets: &[u8], online: &SigningKey, now_ms: Millis) -> Result<Vec<u8>> {
    let mut document = Snapshot::new(SPEC.to_owned(), number(version), until(now_ms + FRESH_LIFE_MS));
    document.meta.insert("targets.json".to_owned(), metafile(targets));
    sign(&unsigned(document), online)
}

fn timestamp(version: u64, snapshot: &[u8], online: &SigningKey, now_ms: Millis) -> Result<Vec<u8>> {
    let mut document = Timestamp::new(SPEC.to_owned(), number(version), until(now_ms + FRESH_LIFE_MS));
    document.meta.insert("snapshot.json".to_owned(), metafile(snapshot));
    sign(&unsigned(document), online)
}

/// The document with `key`'s signature added, or replaced.
pub fn sign(document: &[u8], key: &SigningKey) -> Result<Vec<u8>> {
    sign_by(document, key.public(), |message| Ok(key.sign(message)))
}

/// As [`sign`], for a key that lies elsewhere: `sign` has it sign these bytes.
pub fn sign_by<E: From<Coded>>(
    document: &[u8],
    key: PublicKey,
    sign: impl FnOnce(&[u8]) -> std::result::Result<Vec<u8>, E>,
) -> std::result::Result<Vec<u8>, E> {
    let message = message_of(document)?;
    let mut whole: Value = parse("a repository", Part::Targets, document)?;
    let made = Signature { keyid: key.id().to_vec().into(), sig: sign(&message)?.into() };
    let made = value(&made);
    if let Some(signatures) = whole.get_mut("signatures").and_then(Value::as_array_mut) {
        signatures.retain(|known| known["keyid"] != made["keyid"]);
        signatures.push(made);
    }
    Ok(serde_json::to_vec(&whole).expect("a document is plain JSON"))
}

/// A list as it reads, whoever signed it: to compare what waits for signatures with what is about to be signed.
pub fn read_catalog(app: &str, document: &[u8]) -> Result<Catalog> {
    Catalog::read(app, parse(app, Part::Targets, document)?)
}

/// `waiting`, when it says the same as `new` in all but when it runs out: another signature is better than another
/// document.
pub fn like(waiting: &[u8], new: &[u8]) -> Option<Vec<u8>> {
    let said = |document: &[u8]| {
        let mut whole: Value = serde_json::from_slice(document).ok()?;
        let mut signed = whole.get_mut("signed")?.take();
        signed.as_object_mut()?.remove("expires");
        Some(signed)
    };
    (said(waiting)? == said(new)?).then(|| waiting.to_vec())
}

/// The version that the document says it has; 0 when it says none.
pub fn version(document: &[u8]) -> u64 {
    claimed_version(document)
}

/// When the document says that it runs out; 0 when it says nothing.
pub fn expires_ms(document: &[u8]) -> Millis {
    let whole: Option<Value> = serde_json::from_slice(document).ok();
    let text = whole.and_then(|whole| whole["signed"]["expires"].as_str().map(str::to_owned));
    text.and_then(|text| text.parse::<jiff::Timestamp>().ok()).map_or(0, |at| at.as_millisecond())
}

/// Which of the keys that `root` names for `part` have signed the document. For telling people; nothing is believed
/// by it.
pub fn signers(root: &RootView, part: Part, document: &[u8]) -> Result<BTreeSet<PublicKey>> {
    signed_by(document, root.role(part).1)
}

/// Which of `keys` have signed the document.
pub fn signed_by(document: &[u8], keys: &BTreeSet<PublicKey>) -> Result<BTreeSet<PublicKey>> {
    Ok(signatures_of(document, keys)?.into_keys().collect())
}

/// The document with the signatures by `keys` that `other` has and it lacks. Both say the same.
pub fn joined(document: &[u8], other: &[u8], keys: &BTreeSet<PublicKey>) -> Result<Vec<u8>> {
    let mut more = signatures_of(other, keys)?;
    more.retain(|key, _| !signatures_of(document, &BTreeSet::from([*key])).is_ok_and(|own| !own.is_empty()));
    let mut whole: Value = parse("a repository", Part::Targets, document)?;
    if let Some(signatures) = whole.get_mut("signatures").and_then(Value::as_array_mut) {
        for made in more.values().map(value) {
            signatures.retain(|known| known["keyid"] != made["keyid"]);
            signatures.push(made);
        }
    }
    Ok(serde_json::to_vec(&whole).expect("a document is plain JSON"))
}

/// Those that are good.
fn signatures_of(document: &[u8], keys: &BTreeSet<PublicKey>) -> Result<BTreeMap<PublicKey, Signature>> {
    let message = message_of(document)?;
    let mut whole: Value = parse("a repository", Part::Targets, document)?;
    let made: Vec<Signature> = serde_json::from_value(whole["signatures"].take()).unwrap_or_default();
    let good = |key: &PublicKey| {
        let by_it = made.iter().filter(|made| made.keyid.as_ref() == key.id());
        by_it.into_iter().find(|made| key.verifies(&message, made.sig.as_ref())).cloned()
    };
    Ok(keys.iter().filter_map(|key| Some((*key, good(key)?))).collect())
}

/// What a document says, without who signed it: two of which this is the same can share their signatures.
pub fn words(document: &[u8]) -> Result<Vec<u8>> {
    message_of(document)
}

/// The bytes that are signed: the canonical JSON of what the document says.
fn message_of(document: &[u8]) -> Result<Vec<u8>> {
    let whole: Value = parse("a repository", Part::Targets, document)?;
    let canonical = match whole["signed"]["_type"].as_str() {
        Some("root") => canonical::<Root>(document)?,
        Some("snapshot") => canonical::<Snapshot>(document)?,
        Some("timestamp") => canonical::<Timestamp>(document)?,
        _ => canonical::<Targets>(document)?,
    };
    Ok(canonical)
}

fn canonical<T: Role + serde::de::DeserializeOwned>(document: &[u8]) -> Result<Vec<u8>> {
    let read: Signed<T> = parse("a repository", Part::Targets, document)?;
    let form = read.signed.canonical_form();
    // JSON has numbers that its canonical form has not.
    form.map_err(|_| unfit("a repository", Part::Targets, "holds what cannot be signed, such as a fraction"))
}

fn unsigned<T: Role>(signed: T) -> Vec<u8> {
    // By way of a sorted value, so that the same words are the same bytes.
    serde_json::to_vec(&value(&Signed { signed, signatures: vec![] })).expect("a document is plain JSON")
}

fn value(of: &impl Serialize) -> Value {
    serde_json::to_value(of).expect("our words are plain JSON")
}

fn our_words(words: Value) -> HashMap<String, Value> {
    HashMap::from([(OURS.to_owned(), words)])
}

fn metafile(bytes: &[u8]) -> Metafile {
    Metafile {
        length: Some(bytes.len() as u64),
        hashes: Some(hashes(sha256(bytes))),
        version: number(claimed_version(bytes)),
        _extra: HashMap::new(),
    }
}

fn hashes(sha256: [u8; 32]) -> Hashes {
    Hashes { sha256: sha256.to_vec().into(), _extra: HashMap::new() }
}

/// Versions and thresholds begin at 1.
fn number(of: u64) -> NonZeroU64 {
    NonZeroU64::new(of.max(1)).expect("at least 1")
}

/// In whole seconds, as every implementation reads them.
fn until(ms: Millis) -> jiff::Timestamp {
    jiff::Timestamp::from_second(ms / 1000).unwrap_or(jiff::Timestamp::MAX)
}
