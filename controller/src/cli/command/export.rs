//! `release export` and `release attestation`: a release into one file, or a folder, that hosts without a network can
//! use. What was written is read back and verified before it gets its name.

use std::{
    fs::{DirBuilder, File},
    io::{BufReader, IsTerminal as _, Seek as _, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use longshore_common::{
    bundle::{Blob, Index, Kind, fit, split::BlobSink},
    chain::Chain,
    code::{Code, Coded},
    digest::{ReleaseDigest, hex},
    durable::{self, AtomicFile},
    manifest::{AttestationKind, Manifest},
    offline::{FILES, HEAD_FILE, Head, Reader, Writer},
    text::visible,
    time::{Clock as _, Span, SystemClock},
    trust::{Anchor, FLEET, update},
};
use longshore_proto::v1 as pb;
use tokio::time::{Instant, timeout_at};
use tonic::Streaming;

use super::{Desk, deadline};
use crate::cli::{
    args::{ExportArgs, ReleaseName},
    client::Client,
    exit::Exit,
    failure::Failure,
    view::export::Exported,
};

pub async fn run(desk: &Desk, args: ExportArgs) -> Result<Exit, Failure> {
    let ExportArgs { release, into, folder, timeout } = args;
    let by = deadline(timeout);
    let name = format!("{}@{}", release.app, release.version);
    let target = folder.clone().or(into).unwrap_or_else(|| default_name(&release));
    if folder.is_some() && target.exists() {
        return Err(Failure::usage(format!("{} is there already", shown(&target)))
            .next("name a folder that is not there yet"));
    }
    let (client, ring) = desk.signing().await?;
    let pin = ring.pin()?;
    let request = pb::ShowReleaseRequest { app: release.app.clone(), version: release.version.clone() };
    let pieces = client.answer(by, client.releases().export(request)).await?;
    let file = receive(&client, pieces, &target, by).await?;
    let done = tokio::task::spawn_blocking(move || {
        let sound = verify(&file, &release, pin)?;
        let bytes = file.file().metadata().map_err(|e| failed(&target, &e))?.len();
        let path = match folder {
            None => {
                file.commit().map_err(|e| Failure::new(Exit::Failed, Chain(&e).to_string()))?;
                target
            }
            Some(folder) => {
                unpack(&file, &folder)?;
                folder
            }
        };
        Ok::<_, Failure>((sound, bytes, path))
    });
    let (sound, bytes, path) =
        done.await.map_err(|died| Failure::new(Exit::Failed, format!("the export ended: {died}")))??;
    let Sound { digest, signed, holds_until_ms } = sound;
    let path = path.display().to_string();
    desk.output.print(&Exported::new(name, digest.hex(), path, bytes, signed, holds_until_ms))?;
    Ok(Exit::Done)
}

pub async fn attestation(
    desk: &Desk,
    release: ReleaseName,
    kind: AttestationKind,
    timeout: Span,
) -> Result<Exit, Failure> {
    let by = deadline(timeout);
    let client = desk.client().await?;
    let ReleaseName { app, version } = release;
    let request = pb::ShowReleaseRequest { app: app.clone(), version: version.clone() };
    let manifest = client.answer(by, client.releases().show(request)).await?.manifest;
    let manifest = Manifest::from_bytes(&manifest)?;
    let named = manifest.attestations.into_iter().find(|named| named.kind == kind).ok_or_else(|| {
        Failure::coded(Code::N01, visible(&format!("{app}@{version} was published without its {kind}")))
    })?;
    let request = pb::AttestationRequest { app, version, sha256: named.sha256.as_bytes().to_vec().into() };
    let mut pieces = client.answer(by, client.releases().attestation(request)).await?;
    let mut bytes = vec![];
    while let Some(piece) = next(&client, &mut pieces, by).await? {
        bytes.extend_from_slice(&piece.data);
        if bytes.len() as u64 > named.bytes {
            break;
        }
    }
    if longshore_common::digest::ContentDigest::of(&bytes) != named.sha256 {
        return Err(Failure::coded(Code::A01, format!("the {kind} that came is not the one that is signed")));
    }
    let text = String::from_utf8_lossy(&bytes);
    let reader = if std::io::stdout().is_terminal() { Reads::Terminal } else { Reads::Program };
    desk.output.say(&lines_for(reader, &text))?;
    Ok(Exit::Done)
}

/// Who reads what is printed.
#[derive(Clone, Copy, Debug)]
enum Reads {
    Terminal,
    Program,
}

/// The file as it is, which may be held against its digest; on a terminal, which obeys what is in it, made safe.
fn lines_for(reader: Reads, text: &str) -> Vec<String> {
    let safe = |line: &str| line.split('\t').map(visible).collect::<Vec<_>>().join("\t");
    match reader {
        Reads::Terminal => text.lines().map(safe).collect(),
        Reads::Program => text.lines().map(str::to_owned).collect(),
    }
}

fn default_name(release: &ReleaseName) -> PathBuf {
    // Neither can hold a `/`, or the controller would not know the release.
    PathBuf::from(format!("{}-{}.lsb", release.app, release.version).replace('/', "_"))
}

async fn next(
    client: &Client,
    pieces: &mut Streaming<pb::Piece>,
    by: Instant,
) -> Result<Option<pb::Piece>, Failure> {
    match timeout_at(by, pieces.message()).await {
        Ok(next) => next.map_err(|status| client.explain(status)),
        Err(_) => Err(client.too_late()),
    }
}

/// Into a file that has no name yet.
async fn receive(
    client: &Client,
    mut pieces: Streaming<pb::Piece>,
    target: &Path,
    by: Instant,
) -> Result<AtomicFile, Failure> {
    // A folder is made from a file beside it.
    let named = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => target.to_owned(),
        _ => Path::new(".").join(target),
    };
    let mut file =
        AtomicFile::create(&named, 0o644).map_err(|e| Failure::new(Exit::Failed, Chain(&e).to_string()))?;
    while let Some(piece) = next(client, &mut pieces, by).await? {
        file.write_all(&piece.data).map_err(|e| failed(target, &e))?;
    }
    Ok(file)
}

struct Sound {
    digest: ReleaseDigest,
    /// None: nothing is signed in this fleet.
    signed: Option<bool>,
    holds_until_ms: Option<i64>,
}

/// As every host will: what was asked for, whole, and signed by what this machine pins.
fn verify(file: &AtomicFile, release: &ReleaseName, pin: Option<[u8; 32]>) -> Result<Sound, Failure> {
    let (head, reader) = open(file)?;
    let manifest = Manifest::from_bytes(&head.manifest)?;
    if (manifest.app.as_str(), manifest.version.as_str()) != (&*release.app, &*release.version) {
        let message =
            format!("the controller sent {}@{}; nothing was written", manifest.app, manifest.version);
        return Err(Failure::coded(Code::A01, message));
    }
    head.attested(&manifest)?;
    let index = head.index(&manifest.artifact.index)?;
    fit(&manifest, &index, &manifest.artifact.index)?;
    reader.verify(&index)?;
    let digest = ReleaseDigest::of(&head.manifest);
    let Some(documents) = &head.documents else {
        return match pin {
            None => Ok(Sound { digest, signed: None, holds_until_ms: None }),
            Some(_) => Err(Failure::coded(
                Code::T02,
                "what the controller sent bears no signed documents; nothing was written",
            )),
        };
    };
    let Some(pin) = pin else { return Ok(Sound { digest, signed: Some(false), holds_until_ms: None }) };
    let (now, scratch) = (SystemClock.now_ms(), scratch()?);
    let fleet = update(FLEET, &Anchor::Pin(pin), None, &documents.fleet, now, scratch.path())?;
    fleet.catalog(FLEET)?.permit(&release.app, &manifest.version, &digest)?;
    let anchor = Anchor::of_fleet(&fleet)?;
    let app = update(&release.app, &anchor, None, &documents.app, now, scratch.path())?;
    let length = Some(head.manifest.len() as u64);
    app.catalog(&release.app)?.admit_digest(&manifest.version, &digest, length, app.floor)?;
    let ends = fleet.expiries().into_iter().chain(app.expiries()).map(|(_, at)| at).min();
    Ok(Sound { digest, signed: Some(true), holds_until_ms: ends })
}

/// A folder of this call's own, gone when it is dropped.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0)); // an empty folder in the temporary one is nobody's loss
    }
}

fn scratch() -> Result<Scratch, Failure> {
    let name = format!("longshore-export-{}", hex(&rand::random::<[u8; 8]>()));
    scratch_at(std::env::temp_dir().join(name))
}

/// One that is there already is somebody else's, who could change what is verified in it.
fn scratch_at(path: PathBuf) -> Result<Scratch, Failure> {
    DirBuilder::new().mode(0o700).create(&path).map_err(|e| failed(&path, &e))?;
    Ok(Scratch(path))
}

fn open(file: &AtomicFile) -> Result<(Head, Reader<BufReader<File>>), Failure> {
    let path = file.temp_path();
    let begun = file.file().try_clone().and_then(|mut file| file.rewind().map(|()| file));
    Ok(Reader::open(BufReader::new(begun.map_err(|e| failed(path, &e))?))?)
}

/// The bundle as a folder. Its head is written last: without it, it is no bundle.
fn unpack(file: &AtomicFile, folder: &Path) -> Result<(), Failure> {
    let (head, reader) = open(file)?;
    let manifest = Manifest::from_bytes(&head.manifest)?;
    let index = head.index(&manifest.artifact.index)?;
    let files = folder.join(FILES);
    let folders =
        index.entries().iter().filter_map(|entry| files.join(&entry.path).parent().map(Path::to_owned));
    for parent in folders.chain([files.clone()]) {
        std::fs::create_dir_all(&parent).map_err(|e| failed(&parent, &e))?;
    }
    let mut unpacked = Unpacked { index: &index, files: &files, open: None };
    reader.blobs(&index, &mut unpacked, &|| Ok(()))?;
    for entry in index.entries() {
        if let Kind::Link { target } = &entry.kind {
            let path = files.join(&entry.path);
            std::os::unix::fs::symlink(target, &path).map_err(|e| failed(&path, &e))?;
        }
    }
    let ended = Writer::begin(Vec::new(), &head).and_then(Writer::end).expect("a vector takes everything");
    durable::write_atomic(&folder.join(HEAD_FILE), &ended, 0o644)
        .map_err(|e| Failure::new(Exit::Failed, Chain(&e).to_string()))
}

/// Writes every blob to each of its paths.
struct Unpacked<'a> {
    index: &'a Index,
    files: &'a Path,
    open: Option<(PathBuf, AtomicFile)>,
}

impl BlobSink for Unpacked<'_> {
    type Error = Coded;

    fn begin(&mut self, _: u32, blob: &Blob) -> Result<(), Coded> {
        let entry = self.index.entries().iter().find(|entry| entry.blob() == Some(blob));
        let entry = entry.expect("every blob of an index has an entry");
        let mode = if matches!(entry.kind, Kind::File { executable: true, .. }) { 0o755 } else { 0o644 };
        let path = self.files.join(&entry.path);
        let file =
            AtomicFile::create(&path, mode).map_err(|e| Coded::new(e.code(), Chain(&e).to_string()))?;
        self.open = Some((path, file));
        Ok(())
    }

    fn write(&mut self, content: &[u8]) -> Result<(), Coded> {
        let (path, file) = self.open.as_mut().expect("a blob was begun");
        file.write_all(content).map_err(|e| Coded::new(Code::S04, format!("write {}: {e}", shown(path))))
    }

    fn end(&mut self, _: u32, blob: &Blob) -> Result<(), Coded> {
        let (path, file) = self.open.take().expect("a blob was begun");
        file.commit().map_err(|e| Coded::new(e.code(), Chain(&e).to_string()))?;
        for entry in self.index.entries().iter().filter(|entry| entry.blob() == Some(blob)) {
            let other = self.files.join(&entry.path);
            if other != path {
                std::fs::copy(&path, &other)
                    .map_err(|e| Coded::new(Code::S04, format!("write {}: {e}", shown(&other))))?;
            }
        }
        Ok(())
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("{}: {error}", shown(path)))
}

fn shown(path: &Path) -> String {
    visible(&path.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn what_is_verified_lies_in_a_folder_that_nobody_has_put_there() {
        let temporary = tempfile::tempdir().unwrap();
        let at = |name: &str| temporary.path().join(name);
        let own = scratch_at(at("own")).unwrap();
        assert_eq!(std::fs::metadata(own.path()).unwrap().permissions().mode() & 0o777, 0o700);
        drop(own);
        assert!(!at("own").exists());
        std::fs::create_dir(at("theirs")).unwrap();
        symlink("theirs", at("link")).unwrap();
        for there in ["theirs", "link"] {
            assert!(scratch_at(at(there)).is_err(), "{there}");
        }
        assert!(at("theirs").is_dir() && at("link").is_symlink());
    }

    #[test]
    fn what_is_attested_says_nothing_to_a_terminal() {
        let text = "{\n\t\"a\": \"\u{9b}2J\u{1b}[2J\"\n}\n";
        assert_eq!(lines_for(Reads::Program, text), ["{", "\t\"a\": \"\u{9b}2J\u{1b}[2J\"", "}"]);
        assert_eq!(lines_for(Reads::Terminal, text), ["{", "\t\"a\": \"\\u{9b}2J\\x1b[2J\"", "}"]);
    }
}
