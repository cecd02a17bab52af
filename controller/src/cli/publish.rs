//! A folder and its `longshore.toml` into a release: pack, upload what the controller lacks, publish.
//!
//! Files are read again while they are uploaded and must still be what was packed. A cut connection is opened again and
//! only what is still missing is sent.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use longshore_common::{
    bundle::{
        self, Blob, frame,
        frame::FrameWriter,
        limits,
        pack::{PackError, Packed, pack, reread},
    },
    code::{Code, Coded},
    digest::BlobDigest,
    ids::Version,
    manifest::{Artifact, Attestation, AttestationKind, Manifest, file::AppFile},
    offline::ATTESTATION_BYTES,
    regular::{self, Links},
    strict::Problems,
    text::visible,
    wire::{CODE_KEY, from_status},
};
use longshore_proto::v1::{self as pb, releases_client::ReleasesClient, upload_piece::Piece};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, transport::Channel};

/// Times that an upload is begun again after a cut, each after twice the pause before.
const ATTEMPTS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Pieces between the thread that compresses and the connection: at most 1 MiB.
const PIECES_AHEAD: usize = 8;
/// Bytes of `longshore.toml`.
const APP_FILE_BYTES: usize = 1 << 20;
/// The name of an app's file in its folder.
pub const APP_FILE: &str = "longshore.toml";

/// What is to be published.
#[derive(Clone, Debug)]
pub struct Options {
    /// `longshore.toml`, or the folder that it lies in.
    pub file: PathBuf,
    /// In place of the file's own.
    pub version: Option<Version>,
    /// What is attested of it, in place of what the file names.
    pub attestations: BTreeMap<AttestationKind, PathBuf>,
}

/// How far it is. Said from any thread, often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Bytes of the folder read so far.
    Packing { done: u64, total: u64 },
    /// What was found in the folder, and how much of it the controller lacks.
    Packed { files: u64, bytes: u64, missing_blobs: u64, missing_bytes: u64 },
    /// Bytes of the missing content sent so far.
    Uploading { done: u64, total: u64 },
    /// The connection was cut; it goes on after a pause.
    Again { attempt: u32, cause: String },
    /// All is there; the controller makes the blocks.
    Publishing,
}

pub type Progress = Arc<dyn Fn(Event) + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// `longshore.toml` is wrong; all of it is said at once.
    #[error("{0}")]
    File(Problems),
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The controller could not be reached, or not for long enough.
    #[error("{0}")]
    Unreachable(Coded),
    /// The controller, or a rule of ours, says no.
    #[error("{0}")]
    Refused(Coded),
}

impl PublishError {
    pub fn code(&self) -> Code {
        match self {
            PublishError::File(_) => Code::M01,
            PublishError::Pack(error) => error.code(),
            PublishError::Unreachable(coded) | PublishError::Refused(coded) => coded.code,
        }
    }
}

impl From<Status> for PublishError {
    fn from(status: Status) -> Self {
        let coded = from_status(&status);
        let decided = status.metadata().contains_key(CODE_KEY);
        match coded.code {
            Code::C01 | Code::S04 => PublishError::Unreachable(coded),
            Code::X01 if !decided => PublishError::Unreachable(Coded::new(Code::C01, coded.message)),
            _ => PublishError::Refused(coded),
        }
    }
}

/// Publishes and returns what the controller now holds. `created` is false when it was there already.
pub async fn publish(
    channel: Channel,
    options: Options,
    progress: Progress,
) -> Result<pb::Release, PublishError> {
    publish_manifest(channel, options, progress).await.map(|(release, _)| release)
}

/// As [`publish`], with the manifest's bytes as they were made here: what a key signs.
pub async fn publish_manifest(
    channel: Channel,
    options: Options,
    progress: Progress,
) -> Result<(pb::Release, Vec<u8>), PublishError> {
    let offer = {
        let progress = Arc::clone(&progress);
        unblocked(move || prepare(&options, &progress)).await?
    };
    let offer = Arc::new(offer);
    let mut client = ReleasesClient::new(channel);
    let mut pause = FIRST_PAUSE;
    for attempt in 1.. {
        match try_once(&mut client, &offer, &progress).await {
            Err(PublishError::Unreachable(cause)) if attempt < ATTEMPTS => {
                progress(Event::Again { attempt, cause: cause.message });
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            done => return done.map(|release| (release, offer.manifest.to_bytes())),
        }
    }
    unreachable!("the last attempt returns")
}

struct Offer {
    packed: Packed,
    manifest: Manifest,
    attestations: Vec<Vec<u8>>,
}

fn prepare(options: &Options, progress: &Progress) -> Result<Offer, PublishError> {
    let path = if options.file.is_dir() { options.file.join(APP_FILE) } else { options.file.clone() };
    let file = AppFile::parse(&path.to_string_lossy(), &read_text(&path)?).map_err(PublishError::File)?;
    let Some(version) = options.version.clone().or_else(|| file.version.clone()) else {
        let message =
            format!("no version: write version = \"…\" under [app] in {}, or give --version", path.display());
        return Err(PublishError::Refused(Coded::new(Code::V01, message)));
    };
    let beside = path.parent().unwrap_or(Path::new(".")).to_owned();
    let folder = beside.join(&file.artifact_path);
    let mut attested: BTreeMap<AttestationKind, PathBuf> =
        file.attestations.iter().map(|(kind, name)| (*kind, beside.join(name))).collect();
    attested.extend(options.attestations.clone());
    let packed = pack(&folder, &|done, total| progress(Event::Packing { done, total }))?;
    let digest = packed.index.digest();
    let artifact =
        Artifact { index: digest, files: packed.index.entries().len() as u64, bytes: packed.index.bytes() };
    let mut manifest = file.into_manifest(version, artifact);
    let mut attestations = vec![];
    for (kind, path) in attested {
        let bytes = read_attestation(&path)?;
        manifest.attestations.push(Attestation::recognise(kind, &bytes).map_err(PublishError::Refused)?);
        attestations.push(bytes);
    }
    bundle::fit(&manifest, &packed.index, &digest).map_err(PublishError::Refused)?;
    Ok(Offer { packed, manifest, attestations })
}

fn read_attestation(path: &Path) -> Result<Vec<u8>, PublishError> {
    regular::read(path, ATTESTATION_BYTES, Links::Followed).map_err(|source| unread(path, source, Code::A04))
}

fn read_text(path: &Path) -> Result<String, PublishError> {
    regular::read_text(path, APP_FILE_BYTES, Links::Followed)
        .map_err(|source| unread(path, source, Code::M01))
}

/// `too_large` is the code for a file that is.
fn unread(path: &Path, source: io::Error, too_large: Code) -> PublishError {
    if source.kind() == io::ErrorKind::FileTooLarge {
        let message = format!("read {}: {source}", visible(&path.to_string_lossy()));
        return PublishError::Refused(Coded::new(too_large, message));
    }
    PublishError::Pack(PackError::Io { path: path.into(), source })
}

async fn try_once(
    client: &mut ReleasesClient<Channel>,
    offer: &Arc<Offer>,
    progress: &Progress,
) -> Result<pb::Release, PublishError> {
    let index = &offer.packed.index;
    let missing = ask_missing(client, index.blobs()).await?;
    let missing_bytes = missing.iter().map(|number| index.blobs()[*number].size).sum();
    progress(Event::Packed {
        files: index.entries().len() as u64,
        bytes: index.bytes(),
        missing_blobs: missing.len() as u64,
        missing_bytes,
    });
    if !missing.is_empty() {
        upload(client, offer, missing, missing_bytes, progress).await?;
    }
    progress(Event::Publishing);
    let frame = frame::compress(limits::UPLOAD_LEVEL, &index.encode())
        .map_err(|e| PublishError::Refused(Coded::new(Code::X01, format!("zstd: {e}"))))?;
    let attestations = offer.attestations.iter().map(|bytes| bytes.clone().into()).collect();
    let manifest = offer.manifest.to_bytes().into();
    let request = pb::PublishRequest { manifest, index: frame.into(), attestations };
    Ok(client.publish(request).await?.into_inner())
}

/// Numbers of the blobs that the controller lacks.
async fn ask_missing(
    client: &mut ReleasesClient<Channel>,
    blobs: &[Blob],
) -> Result<Vec<usize>, PublishError> {
    let mut lacking = std::collections::HashSet::new();
    for some in blobs.chunks(limits::MISSING_DIGESTS) {
        let blobs = some.iter().map(|blob| blob.digest.0.to_vec().into()).collect();
        for digest in client.missing(pb::MissingRequest { blobs }).await?.into_inner().blobs {
            lacking.insert(BlobDigest::try_from(&digest[..]).map_err(PublishError::Refused)?);
        }
    }
    let numbers = blobs.iter().enumerate().filter(|(_, blob)| lacking.contains(&blob.digest));
    Ok(numbers.map(|(number, _)| number).collect())
}

/// Sends blobs and waits until all of them are durable at the controller.
async fn upload(
    client: &mut ReleasesClient<Channel>,
    offer: &Arc<Offer>,
    missing: Vec<usize>,
    total: u64,
    progress: &Progress,
) -> Result<(), PublishError> {
    let count = missing.len() as u64;
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    let (offer, progress) = (Arc::clone(offer), Arc::clone(progress));
    let reading = tokio::spawn(unblocked(move || {
        let sources = offer.packed.sources();
        let sent = AtomicU64::new(0);
        for number in missing {
            let blob = &offer.packed.index.blobs()[number];
            let told = |bytes| {
                let done = sent.fetch_add(bytes, Ordering::Relaxed) + bytes;
                progress(Event::Uploading { done, total });
            };
            match send_blob(&sources[number], blob, &sender, &told) {
                Ok(()) => {}
                Err(Stopped::Gone) => return Ok(()), // the connection knows why
                Err(Stopped::Failed(error)) => return Err(error.into()),
            }
        }
        Ok(())
    }));
    let acknowledged = acknowledge(client, receiver).await;
    match reading.await {
        Ok(read) => read?,
        Err(died) => {
            return Err(PublishError::Refused(Coded::new(Code::X01, format!("reading ended: {died}"))));
        }
    }
    match acknowledged? {
        stored if stored == count => Ok(()),
        stored => Err(PublishError::Unreachable(Coded::new(
            Code::C01,
            format!("the upload was cut: {stored} of {count} blobs arrived"),
        ))),
    }
}

async fn acknowledge(
    client: &mut ReleasesClient<Channel>,
    pieces: mpsc::Receiver<pb::UploadPiece>,
) -> Result<u64, PublishError> {
    let mut answers = client.upload(ReceiverStream::new(pieces)).await?.into_inner();
    let mut stored = 0;
    while let Some(pb::UploadProgress { blobs, bytes: _ }) = answers.message().await? {
        stored = blobs;
    }
    Ok(stored)
}

/// Why a blob was not sent.
enum Stopped {
    Gone,
    Failed(PackError),
}

fn send_blob(
    source: &Path,
    blob: &Blob,
    sender: &mpsc::Sender<pb::UploadPiece>,
    told: &dyn Fn(u64),
) -> Result<(), Stopped> {
    let mut gone = false;
    let mut send = |piece: Piece| {
        gone = gone || sender.blocking_send(pb::UploadPiece { piece: Some(piece) }).is_err();
        if gone { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    };
    let failed = |source_error| PackError::Io { path: source.into(), source: source_error };
    let sent = (|| {
        send(Piece::Head(pb::BlobHead { blob: blob.digest.0.to_vec().into(), size: blob.size }))
            .map_err(failed)?;
        let mut writer = FrameWriter::new(limits::UPLOAD_LEVEL, blob.size).map_err(failed)?;
        let mut size = 0;
        reread(source, blob, |content| {
            size += content.len() as u64;
            if size > blob.size {
                return Err(PackError::Changed { path: source.into() });
            }
            told(content.len() as u64);
            writer.write(content, |wire| send_wire(wire, &mut send)).map_err(failed)
        })?;
        writer.finish(|wire| send_wire(wire, &mut send)).map_err(failed)
    })();
    match sent {
        Err(_) if gone => Err(Stopped::Gone),
        sent => sent.map_err(Stopped::Failed),
    }
}

fn send_wire(wire: &[u8], send: &mut impl FnMut(Piece) -> io::Result<()>) -> io::Result<()> {
    if wire.is_empty() { Ok(()) } else { send(Piece::Data(wire.to_vec().into())) }
}

async fn unblocked<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PublishError> + Send + 'static,
) -> Result<T, PublishError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(died) => Err(PublishError::Refused(Coded::new(Code::X01, format!("publishing ended: {died}")))),
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Packing { done, total } => write!(f, "packing {done}/{total}"),
            Event::Packed { files, missing_blobs, .. } => {
                write!(f, "{files} files, {missing_blobs} blobs to upload")
            }
            Event::Uploading { done, total } => write!(f, "uploading {done}/{total}"),
            Event::Again { attempt, cause } => write!(f, "cut ({cause}); attempt {}", attempt + 1),
            Event::Publishing => f.write_str("publishing"),
        }
    }
}

#[cfg(test)]
mod tests {
    use longshore_common::{chain::Chain, durable::write_atomic};

    use super::*;

    #[test]
    fn what_is_no_small_file_is_not_published() {
        let dir = tempfile::tempdir().unwrap();
        let (pipe, large) = (dir.path().join("pipe"), dir.path().join("large"));
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).unwrap();
        write_atomic(&large, &vec![b'#'; ATTESTATION_BYTES + 1], 0o600).unwrap();
        for (path, code, says) in [
            (pipe.as_path(), [Code::V01, Code::V01], "it is a FIFO"),
            (Path::new("/dev/zero"), [Code::V01, Code::V01], "it is a device"),
            (large.as_path(), [Code::M01, Code::A04], "it has 4194305 bytes; at most "),
        ] {
            let refusals = [read_text(path).unwrap_err(), read_attestation(path).unwrap_err()];
            assert_eq!([refusals[0].code(), refusals[1].code()], code);
            for refusal in &refusals {
                let told = Chain(refusal).to_string();
                assert!(told.contains(says), "{told}");
            }
        }
    }
}
