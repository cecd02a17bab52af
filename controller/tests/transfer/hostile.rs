//! A controller that lies. Nothing outside the staging tree is ever written, and afterwards it is gone.

use std::sync::{Arc, Mutex};

use longshore_agent::plan::Wanted;
use longshore_common::{
    bundle::{Blob, Entry, Index, Kind, frame},
    code::Code,
    digest::{BlobDigest, IndexDigest, ReleaseDigest},
    manifest::{Artifact, Manifest, file::AppFile},
    settings::Settings,
    slot::Slot,
};
use longshore_proto::v1::{
    self as pb,
    blobs_server::{Blobs, BlobsServer},
};
use prost::Message as _;
use tokio_stream::Iter;
use tonic::{Request, Response, Status, transport::Server};

use super::dock::{Dock, app, channel, content, serve, snapshot};

/// What the liar says next.
#[derive(Clone, Default)]
pub struct Script {
    pub manifest: Vec<u8>,
    pub index: Vec<u8>,
    pieces: Vec<pb::BlockPiece>,
}

struct Liar(Arc<Mutex<Script>>);

type Said<T> = Iter<std::vec::IntoIter<Result<T, Status>>>;

fn say<T>(messages: Vec<T>) -> Response<Said<T>> {
    Response::new(tokio_stream::iter(messages.into_iter().map(Ok).collect::<Vec<_>>()))
}

#[tonic::async_trait]
impl Blobs for Liar {
    async fn manifest(&self, _: Request<pb::ManifestRequest>) -> Result<Response<pb::ManifestReply>, Status> {
        let manifest = self.0.lock().unwrap().manifest.clone().into();
        Ok(Response::new(pb::ManifestReply { manifest }))
    }
    async fn sealed(&self, _: Request<pb::SealedRequest>) -> Result<Response<pb::SealedReply>, Status> {
        Err(Status::not_found("nothing was sealed"))
    }
    type IndexStream = Said<pb::Piece>;
    async fn index(&self, _: Request<pb::IndexRequest>) -> Result<Response<Self::IndexStream>, Status> {
        Ok(say(vec![pb::Piece { data: self.0.lock().unwrap().index.clone().into() }]))
    }
    async fn trust(
        &self,
        _request: Request<pb::TrustRequest>,
    ) -> Result<Response<pb::TrustDocuments>, Status> {
        Err(Status::unimplemented("nothing is signed here"))
    }

    type FetchStream = Said<pb::BlockPiece>;
    async fn fetch(&self, _: Request<pb::FetchRequest>) -> Result<Response<Self::FetchStream>, Status> {
        Ok(say(self.0.lock().unwrap().pieces.clone()))
    }
}

fn manifest_of(index: &[u8], files: u64, bytes: u64) -> Manifest {
    let file = "[app]\nname = \"shop\"\n[artifact]\npath = \"d\"\n[service]\ndriver = \"none\"\n";
    let artifact = Artifact { index: IndexDigest::of(index), files, bytes };
    AppFile::parse("longshore.toml", file).unwrap().into_manifest("1.0".parse().unwrap(), artifact)
}

fn wanted(manifest: &[u8]) -> Wanted {
    let (version, release) = ("1.0".parse().unwrap(), ReleaseDigest::of(manifest));
    Wanted {
        slot: Slot::new(&version, &release, &Settings::default()),
        version,
        release,
        settings: Settings::default(),
    }
}

fn piece(blobs: Option<Vec<u32>>, data: Vec<u8>) -> pb::BlockPiece {
    let head = blobs.map(|blobs| pb::BlockHead { blobs, content_bytes: 0, wire_bytes: 0 });
    pb::BlockPiece { head, data: data.into() }
}

fn an_index() -> (Index, Vec<u8>) {
    let contents = [content(1, 40_000), content(2, 40_000)];
    let entry = |path: &str, bytes: &Vec<u8>| Entry {
        path: path.into(),
        kind: Kind::File {
            executable: false,
            blob: Blob { digest: BlobDigest::of(bytes), size: bytes.len() as u64 },
        },
    };
    (Index::new(vec![entry("a", &contents[0]), entry("b", &contents[1])]).unwrap(), contents.concat())
}

pub struct Row {
    pub script: Script,
    wanted: Wanted,
    pub code: Code,
    pub says: &'static str,
}

fn rows() -> Vec<Row> {
    let (index, both) = an_index();
    let bytes = index.encode();
    let manifest = manifest_of(&bytes, 2, 80_000).to_bytes();
    let good = Script {
        manifest: manifest.clone(),
        index: frame::compress(3, &bytes).unwrap(),
        pieces: vec![piece(Some(vec![0, 1]), frame::compress(3, &both).unwrap())],
    };
    let block = |pieces: Vec<pb::BlockPiece>| Script { pieces, ..good.clone() };
    let wire = frame::compress(3, &both).unwrap();
    let mut flipped = both.clone();
    flipped[79_999] ^= 1;
    let more = [&both[..], b"more"].concat();
    let mut table = vec![
        (Script { manifest: b"{}".to_vec(), ..good.clone() }, Code::A01, "manifest came"),
        (Script { index: frame::compress(3, b"").unwrap(), ..good.clone() }, Code::A01, "index came"),
        (Script { index: b"<html>".to_vec(), ..good.clone() }, Code::A05, "<html>"),
        (
            Script { index: frame::compress(3, &vec![0; 20 << 20]).unwrap(), ..good.clone() },
            Code::A04,
            "expanded",
        ),
        (block(vec![piece(Some(vec![0, 1]), frame::compress(3, &flipped).unwrap())]), Code::A01, "blob 1"),
        (block(vec![piece(Some(vec![0, 1]), frame::compress(3, &more).unwrap())]), Code::A04, "more content"),
        (
            block(vec![piece(Some(vec![0, 1]), frame::compress(3, &vec![0; 99 << 20]).unwrap())]),
            Code::A01,
            "blob 0",
        ),
        (block(vec![piece(Some(vec![0, 1]), [&wire[..], b"x"].concat())]), Code::A05, "follow the end"),
        (block(vec![piece(Some(vec![1, 0]), wire.clone())]), Code::A05, "other blobs"),
        (block(vec![piece(None, wire.clone())]), Code::A05, "without its head"),
        (
            block(vec![piece(Some(vec![0, 1]), wire.clone()), piece(Some(vec![2]), wire.clone())]),
            Code::A04,
            "more than was asked",
        ),
        (
            block(vec![piece(Some(vec![0, 1]), wire[..99].to_vec()), piece(Some(vec![2]), wire.clone())]),
            Code::A05,
            "cut off",
        ),
        (block(vec![piece(Some(vec![0, 1]), b"<html>".to_vec())]), Code::A05, "<html>"),
    ]
    .into_iter()
    .map(|(script, code, says)| Row { script, wanted: wanted(&manifest), code, says })
    .collect::<Vec<_>>();
    table.extend(hostile_indexes());
    table
}

/// Indexes with the right digest that mean ill.
pub fn hostile_indexes() -> Vec<Row> {
    let file = |path: &str| pb::IndexEntry {
        path: path.into(),
        size: 3,
        blob: BlobDigest::of(b"abc").0.to_vec().into(),
        ..Default::default()
    };
    let link = |path: &str, target: &str| pb::IndexEntry {
        path: path.into(),
        link: target.into(),
        ..Default::default()
    };
    let row = |entries: Vec<pb::IndexEntry>, code, says| {
        let (files, bytes) = (entries.len() as u64, entries.iter().map(|e| e.size).sum());
        let index = pb::Index { format: 1, entries }.encode_to_vec();
        let manifest = manifest_of(&index, files, bytes).to_bytes();
        let script = Script {
            manifest: manifest.clone(),
            index: frame::compress(3, &index).unwrap(),
            pieces: vec![piece(Some(vec![0]), frame::compress(3, b"abc").unwrap())],
        };
        Row { script, wanted: wanted(&manifest), code, says }
    };
    vec![
        row(vec![file("../../../../escaped")], Code::A02, "leaves the release directory"),
        row(vec![file("/tmp/escaped")], Code::A02, "absolute"),
        row(vec![file(".longshore/sealed")], Code::A02, "Longshore's own"),
        row(vec![link("data", "/etc/shadow")], Code::A03, "/etc/shadow"),
        row(vec![link("a", "../.."), file("a/escaped")], Code::A02, "both a folder and a file"),
        row(vec![file("x"), file("x")], Code::A02, "occurs twice"),
        row(vec![file("README"), file("readme")], Code::A02, "case"),
        row(vec![file("a/./b")], Code::A02, "empty or \".\" component"),
        row(vec![file("a//b")], Code::A02, "empty or \".\" component"),
        row(vec![file("a\u{1b}[2Jb")], Code::A02, "control character"),
        row(vec![file("a\nb")], Code::A02, "control character"),
        row(vec![file("a\0b")], Code::A02, "control character"),
        row(vec![file(&"a/".repeat(2000))], Code::A04, ""),
        row(vec![file(&["x"; 33].join("/"))], Code::A04, "33 path components"),
        row(vec![file(&"x".repeat(256))], Code::A04, "256"),
        row(vec![link("up", "a/../../..")], Code::A03, "symlink"),
        row(vec![link("loop", "/proc/self/root")], Code::A03, "symlink"),
        row((0..100_001).map(|n| file(&format!("f{n:06}"))).collect(), Code::A04, "100000"),
    ]
}

/// Scenario 73, in our words (there are no archives: an index names every file): whatever leaves the release, means
/// something else than a file or a link inside, or grows beyond its bounds is refused, and nothing is written.
#[tokio::test]
async fn lies_are_found_out_and_leave_nothing() {
    let dock = Dock::open().await;
    let script = Arc::new(Mutex::new(Script::default()));
    let liar = serve(Server::builder().add_service(BlobsServer::new(Liar(script.clone())))).await;
    for (number, Row { script: lies, wanted, code, says }) in rows().into_iter().enumerate() {
        let disk = dock.disk(&format!("row-{number}"));
        disk.make_app(&app()).unwrap();
        let before = snapshot(dock.folder.path());
        *script.lock().unwrap() = lies;
        let error = dock.fetch_over(channel(liar), &disk, &wanted).await.unwrap_err();
        assert_eq!(error.coded().code, code, "row {number}: {error}");
        assert!(error.coded().message.contains(says), "row {number}: {error} does not say {says:?}");
        assert!(!error.is_retryable(), "row {number}");
        assert_eq!(snapshot(dock.folder.path()), before, "row {number} left something behind");
    }
    assert!(!std::path::Path::new("/tmp/escaped").exists());
}

/// Scenario 74: a download that is cut short is found out, and what is half is no file of a slot.
#[tokio::test]
async fn a_stream_that_just_ends_is_a_cut_and_what_came_is_kept() {
    let dock = Dock::open().await;
    let (index, both) = an_index();
    let bytes = index.encode();
    let manifest = manifest_of(&bytes, 2, 80_000).to_bytes();
    let wire = frame::compress(3, &both).unwrap();
    for keep in [0, wire.len() / 2, wire.len() - 1] {
        let pieces = match keep {
            0 => vec![],
            keep => vec![piece(Some(vec![0, 1]), wire[..keep].to_vec())],
        };
        let script =
            Script { manifest: manifest.clone(), index: frame::compress(3, &bytes).unwrap(), pieces };
        let liar =
            serve(Server::builder().add_service(BlobsServer::new(Liar(Arc::new(Mutex::new(script)))))).await;
        let disk = dock.disk(&format!("keep-{keep}"));
        let wanted = wanted(&manifest);
        let error = dock.fetch_over(channel(liar), &disk, &wanted).await.unwrap_err();
        assert!(error.is_retryable(), "{error}");
        assert!(disk.staged(&app(), &wanted.slot).join(".longshore/index").exists());
    }
}
