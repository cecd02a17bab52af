//! Our verifier of signed documents as a program, for suites that other people wrote: one request as JSON on standard
//! input, one answer as JSON on standard output. See `tests/interop`.

use std::{
    collections::BTreeSet,
    error::Error,
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use longshore_common::{
    code::Coded,
    digest::{ReleaseDigest, sha256},
    durable::write_atomic,
    time::Millis,
    trust::{Anchor, Catalog, FLEET, Held, Listed, Offer, SigningKey, TrustState, author, update},
};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Request {
    /// Verifies the documents in `offer` against what `state` holds, and keeps what was verified.
    Verify(Verify),
    /// Whether what `state` holds lets a manifest run.
    Admit { state: PathBuf, app: String, version: String, manifest: String },
    /// Writes the documents of an organisation with one app into `into`, in two generations of keys.
    Make { into: PathBuf, now_ms: Millis },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Verify {
    state: PathBuf,
    app: String,
    offer: PathBuf,
    now_ms: Millis,
    /// SHA-256 of the first root, in hex. Without it the fleet's keys count, as `state` holds them.
    pin: Option<ReleaseDigest>,
    /// Where what is held afterwards is written to, under the names that TUF's clients use.
    held: Option<PathBuf>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let answer = match serde_json::from_str(&text)? {
        Request::Verify(request) => verify(&request)?,
        Request::Admit { state, app, version, manifest } => {
            let held = held(&state, &app)?;
            let admitted = held.catalog(&app).and_then(|catalog| {
                catalog.admit(&version.parse()?, manifest.as_bytes(), held.floor).map(|listed| listed.seq)
            });
            admitted.map_or_else(refused, |seq| json!({ "seq": seq }))
        }
        Request::Make { into, now_ms } => make(&into, now_ms)?,
    };
    println!("{answer}");
    Ok(())
}

fn refused(error: Coded) -> Value {
    json!({ "refused": error.code.to_string(), "message": error.message })
}

fn held(state: &Path, app: &str) -> Result<Held, Box<dyn Error>> {
    Ok(TrustState::new(state, app).load()?.ok_or_else(|| format!("nothing is held of {app}"))?)
}

fn verify(request: &Verify) -> Result<Value, Box<dyn Error>> {
    let Verify { state, app, offer, now_ms, pin, held: copy } = request;
    let anchor = match pin {
        Some(pin) => Anchor::Pin(pin.0),
        None => Anchor::of_fleet(&held(state, FLEET)?)?,
    };
    let kept = TrustState::new(state, app);
    let before = kept.load()?;
    let scratch = tempfile::tempdir()?;
    let new = match update(app, &anchor, before.as_ref(), &read_offer(offer)?, *now_ms, scratch.path()) {
        Ok(new) => new,
        Err(error) => return Ok(refused(error)),
    };
    kept.persist(&new)?;
    if let Some(folder) = copy {
        let root = new.roots.values().next_back().ok_or("it holds no root")?;
        let parts = [("root", root), ("timestamp", &new.timestamp), ("snapshot", &new.snapshot)];
        for (name, bytes) in parts.into_iter().chain([("targets", &new.targets)]) {
            write_atomic(&folder.join(format!("{name}.json")), bytes, 0o644)?;
        }
    }
    Ok(json!({ "root": new.root_version(), "floor": new.floor }))
}

/// Every `<n>.root.json`, and the other three; what is missing is offered as nothing.
fn read_offer(folder: &Path) -> io::Result<Offer> {
    let mut roots = vec![];
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.to_str().is_some_and(|name| name.ends_with(".root.json")) {
            roots.push(fs::read(&path)?);
        }
    }
    let read = |name: &str| fs::read(folder.join(name)).or_else(none_is_empty);
    Ok(Offer {
        roots,
        timestamp: read("timestamp.json")?,
        snapshot: read("snapshot.json")?,
        targets: read("targets.json")?,
    })
}

fn none_is_empty(error: io::Error) -> io::Result<Vec<u8>> {
    if error.kind() == io::ErrorKind::NotFound { Ok(vec![]) } else { Err(error) }
}

/// Two of three keys sign releases; then one of them, and the organisation's key, are replaced.
fn make(into: &Path, now_ms: Millis) -> Result<Value, Box<dyn Error>> {
    let key = |seed: u8| SigningKey::from_seed([seed; 32]);
    let keys = |seeds: &[u8]| seeds.iter().map(|seed| key(*seed).public()).collect::<BTreeSet<_>>();
    let signed = |document: Vec<u8>, seeds: &[u8]| {
        seeds.iter().try_fold(document, |document, seed| author::sign(&document, &key(*seed)))
    };
    let manifest = "{\"a\":\"manifest\"}";
    let listed = Listed {
        seq: 1,
        version: "1.0".parse()?,
        digest: ReleaseDigest(sha256(manifest.as_bytes())),
        length: manifest.len() as u64,
    };
    let shop = Catalog { next_seq: 2, releases: [(1, listed)].into(), ..author::empty_catalog("shop") };
    for (app, release, threshold, catalog) in
        [(FLEET, vec![1], 1, author::empty_catalog(FLEET)), ("shop", vec![2, 3, 4], 2, shop)]
    {
        let first = author::RootDraft {
            app: app.to_owned(),
            version: 1,
            org: (1, keys(&[1])),
            release: (threshold, keys(&release)),
            online: key(9).public(),
        };
        let (next_release, by) = if app == FLEET { (vec![5], vec![5]) } else { (vec![2, 3, 6], vec![3, 6]) };
        let next = author::RootDraft {
            version: 2,
            org: (1, keys(&[5])),
            release: (threshold, keys(&next_release)),
            ..first.clone()
        };
        let roots =
            vec![signed(author::root(&first, now_ms), &[1])?, signed(author::root(&next, now_ms), &[1, 5])?];
        let targets = signed(author::targets(&catalog, now_ms), &by)?;
        let offer = author::freshen(None, roots, targets, &key(9), now_ms)?;
        write(&into.join(app), &offer)?;
    }
    Ok(json!({ "manifest": manifest, "target": "shop.1.release.json" }))
}

/// As a server of TUF's documents has them: what is not the timestamp is asked for by its version.
fn write(folder: &Path, offer: &Offer) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let mut files: Vec<(String, &Vec<u8>)> =
        (1..).zip(&offer.roots).map(|(version, root)| (format!("{version}.root.json"), root)).collect();
    files.push(("timestamp.json".to_owned(), &offer.timestamp));
    files.push(("1.snapshot.json".to_owned(), &offer.snapshot));
    files.push(("1.targets.json".to_owned(), &offer.targets));
    for (name, bytes) in files {
        write_atomic(&folder.join(name), bytes, 0o644)?;
    }
    Ok(())
}
