//! Publishing: what is sent, what is refused, what a cut costs.

use std::{
    fs,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use longshore_common::{
    bundle::{frame, pack::PackError},
    code::Code,
    ids::OperatorName,
    manifest::Manifest,
    time::SystemClock,
};
use longshore_controller::{
    bundle::{Collected, Offered, Publisher, collect},
    cli::publish::{Event, PublishError},
};
use longshore_proto::v1::{self as pb, releases_client::ReleasesClient};

use super::{
    dock::{Cutter, Dock, Way, assert_same, channel, content, put},
    hostile::{Row, hostile_indexes},
};

fn files(seed: u64) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("bin/app", content(1, 300_000)),
        ("share/a", content(2, 50_000)),
        ("share/b", content(2, 50_000)),
        ("share/empty", vec![]),
        ("version", content(seed, 20)),
    ]
}

fn missing_blobs(events: &Mutex<Vec<Event>>) -> Vec<u64> {
    let events = events.lock().unwrap();
    events
        .iter()
        .filter_map(|event| match event {
            Event::Packed { missing_blobs, .. } => Some(*missing_blobs),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn only_what_the_controller_lacks_is_sent() {
    let dock = Dock::open().await;
    let told = Arc::new(Mutex::new(vec![]));
    for (version, seed) in [("1.0", 10), ("1.1", 11), ("1.1", 11)] {
        let source = dock.source(version, &files(seed));
        let keep = told.clone();
        let keep = move |event| keep.lock().unwrap().push(event);
        let release = dock.publish_over(dock.operator(), &source, keep).await.unwrap();
        assert_eq!((release.files, release.bytes), (5, 400_020));
        assert!(release.wire_bytes > 0 && release.wire_bytes < release.bytes);
    }
    assert_eq!(missing_blobs(&told), [4, 1, 0]);
}

#[tokio::test]
async fn a_release_never_changes() {
    let dock = Dock::open().await;
    let source = dock.source("1.0", &files(10));
    let first = dock.publish(&source).await.unwrap();
    assert!(first.created);
    let again = dock.publish(&source).await.unwrap();
    assert_eq!((again.created, &again.digest), (false, &first.digest));
    put(&source.join("dist/version"), b"other");
    let Err(PublishError::Refused(refused)) = dock.publish(&source).await else { panic!("taken") };
    assert_eq!(refused.code, Code::N02);
    assert!(refused.message.contains("exists with other content"), "{refused}");
    let mut client = ReleasesClient::new(dock.operator());
    let list = client.list(pb::ListReleasesRequest { app: String::new() }).await.unwrap().into_inner();
    assert_eq!(list.releases.len(), 1);
    assert_eq!(list.releases[0].digest, first.digest);
}

#[tokio::test]
async fn a_release_without_all_its_blobs_does_not_exist() {
    let dock = Dock::open().await;
    let source = dock.source("1.0", &files(10));
    let packed = longshore_common::bundle::pack::pack(&source.join("dist"), &|_, _| {}).unwrap();
    let file = fs::read_to_string(source.join("longshore.toml")).unwrap();
    let file = longshore_common::manifest::file::AppFile::parse("longshore.toml", &file).unwrap();
    let artifact = longshore_common::manifest::Artifact {
        index: packed.index.digest(),
        files: 5,
        bytes: packed.index.bytes(),
    };
    let manifest = file.into_manifest("1.0".parse().unwrap(), artifact);
    let index = frame::compress(3, &packed.index.encode()).unwrap();
    let refused = offer(&dock, manifest.to_bytes(), index.clone()).await.unwrap_err();
    assert_eq!(refused.code, Code::R01);
    assert!(refused.message.contains("4 of 4 blobs"), "{refused}");

    let mut lying = manifest.clone();
    lying.artifact.bytes += 1;
    // Only who writes the bytes by hand gets so far.
    let text = String::from_utf8(manifest.to_bytes()).unwrap();
    let ours = text.replace("\"app\":\"shop\"", "\"app\":\"agent\"");
    assert_ne!(ours, text);
    let table: Vec<(Vec<u8>, Vec<u8>, Code)> = vec![
        (ours.into_bytes(), index.clone(), Code::M01),
        (lying.to_bytes(), index.clone(), Code::M01),
        (b"{}".to_vec(), index.clone(), Code::M01),
        ([&manifest.to_bytes()[..], b" "].concat(), index.clone(), Code::M01),
        (vec![b' '; 70 * 1024], index.clone(), Code::M01),
        (manifest.to_bytes(), b"<html>".to_vec(), Code::A05),
        (manifest.to_bytes(), frame::compress(3, b"\x08\x01").unwrap(), Code::A01),
        (manifest.to_bytes(), frame::compress(3, &vec![0; 17 << 20]).unwrap(), Code::A04),
    ];
    for (row, (manifest, index, code)) in table.into_iter().enumerate() {
        assert_eq!(offer(&dock, manifest, index).await.unwrap_err().code, code, "row {row}");
    }
    assert_nothing_is_published(&dock).await;
}

async fn assert_nothing_is_published(dock: &Dock) {
    let mut client = ReleasesClient::new(dock.operator());
    let list = client.list(pb::ListReleasesRequest { app: "shop".into() }).await.unwrap().into_inner();
    assert!(list.releases.is_empty());
}

/// A publisher of its own making may send any index; what no host would take is refused at the door.
#[tokio::test]
async fn a_hostile_index_is_refused_at_the_door() {
    let dock = Dock::open().await;
    for Row { script, code, says, .. } in hostile_indexes() {
        let refused = offer(&dock, script.manifest, script.index).await.unwrap_err();
        assert_eq!(refused.code, code, "{refused}");
        assert!(refused.message.contains(says), "{refused} does not say {says:?}");
    }
    assert_nothing_is_published(&dock).await;
}

async fn offer(dock: &Dock, manifest: Vec<u8>, index: Vec<u8>) -> Result<(), longshore_common::code::Coded> {
    let publisher =
        Publisher { store: dock.store.clone(), bundle: dock.bundle.clone(), clock: Arc::new(SystemClock) };
    let by: OperatorName = "ann".parse().unwrap();
    let offered = Offered { manifest, index_frame: index, attestations: vec![] };
    publisher.publish(&by, offered).await.map(drop).map_err(|trouble| trouble.coded())
}

#[tokio::test]
async fn a_file_that_changes_during_the_upload_is_an_error() {
    let dock = Dock::open().await;
    let source = dock.source("1.0", &files(10));
    let path = source.join("dist/share/a");
    let twin = source.join("dist/share/b");
    let change = move |event| {
        if matches!(event, Event::Packed { .. }) {
            put(&path, b"changed");
            put(&twin, b"changed");
        }
    };
    let error = dock.publish_over(dock.operator(), &source, change).await.unwrap_err();
    let PublishError::Pack(PackError::Changed { path }) = &error else { panic!("{error}") };
    assert!(path.ends_with("share/a"));
}

#[tokio::test]
async fn a_cut_upload_goes_on_with_what_is_still_missing() {
    let dock = Dock::open().await;
    let many: Vec<(String, Vec<u8>)> =
        (0..40).map(|n| (format!("data/{n:02}"), content(n, 20_000))).collect();
    let many: Vec<(&str, Vec<u8>)> =
        many.iter().map(|(path, bytes)| (path.as_str(), bytes.clone())).collect();
    let source = dock.source("1.0", &many);
    let cutter = Cutter::before(dock.operator_address(), Way::ToServer).await;
    cutter.cut_after(200_000);
    let told = Arc::new(Mutex::new(vec![]));
    let (keep, uncut) = (told.clone(), Arc::new(cutter));
    let address = uncut.address;
    let keep = move |event| {
        if matches!(event, Event::Again { .. }) {
            uncut.cut_after(0);
        }
        keep.lock().unwrap().push(event);
    };
    let release = dock.publish_over(channel(address), &source, keep).await.unwrap();
    assert!(release.created);
    let missing = missing_blobs(&told);
    assert_eq!((missing.len(), missing[0]), (2, 40), "{missing:?}");
    assert!(missing[1] < 35, "what came whole before the cut was kept: {missing:?}");
    let (disk, wanted) = (dock.disk("one"), dock.assign(&release).await);
    dock.deploy(&disk, &wanted).await.unwrap();
    assert_same(&disk, &wanted, &source);
}

#[tokio::test]
async fn hostile_uploads_leave_nothing_behind() {
    let dock = Dock::open().await;
    let good = content(5, 5000);
    let wire = frame::compress(3, &good).unwrap();
    let name = |bytes: &[u8]| longshore_common::digest::BlobDigest::of(bytes).0.to_vec();
    let head =
        |blob: Vec<u8>, size: u64| pb::upload_piece::Piece::Head(pb::BlobHead { blob: blob.into(), size });
    let data = |bytes: &[u8]| pb::upload_piece::Piece::Data(bytes.to_vec().into());
    let bomb = frame::compress(3, &vec![0; 64 << 20]).unwrap();
    let table = vec![
        (vec![head(name(b"other"), 5000), data(&wire)], "LS-A01"),
        (vec![head(name(&good), 4999), data(&wire)], "LS-A04"),
        (vec![head(name(&good), 5001), data(&wire)], "LS-A01"),
        (vec![head(name(&good), 5000), data(&bomb)], "LS-A04"),
        (vec![head(name(&good), 5000), data(b"<html>")], "LS-A05"),
        (vec![head(name(&good), 5000), data(&[&wire[..], b"x"].concat())], "LS-A05"),
        (vec![head(name(&good), 5000), data(&wire[..100]), head(name(&good), 5000)], "LS-A05"),
        (vec![data(&wire)], "LS-A05"),
        (vec![head(vec![1; 31], 5000)], "LS-V01"),
        (vec![head(name(&good), u64::MAX)], "LS-A04"),
    ];
    for (row, (pieces, code)) in table.into_iter().enumerate() {
        let pieces: Vec<_> = pieces.into_iter().map(|piece| pb::UploadPiece { piece: Some(piece) }).collect();
        let mut client = ReleasesClient::new(dock.operator());
        let mut answers = client.upload(tokio_stream::iter(pieces)).await.unwrap().into_inner();
        let refused = loop {
            match answers.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("row {row} was taken"),
                Err(status) => break longshore_common::wire::from_status(&status),
            }
        };
        assert_eq!(refused.code.to_string(), code, "row {row}: {refused}");
    }
    let cut = vec![pb::UploadPiece { piece: Some(head(name(&good), 5000)) }];
    let mut client = ReleasesClient::new(dock.operator());
    let mut answers = client.upload(tokio_stream::iter(cut)).await.unwrap().into_inner();
    while answers.message().await.unwrap().is_some() {}
    let missing = dock.bundle.blobs.missing(&[longshore_common::digest::BlobDigest::of(&good)]).unwrap();
    assert_eq!(missing.len(), 1, "nothing of it counts as a blob");
    // Whoever has answered may still be tidying up.
    let left = || fs::read_dir(dock.folder.path().join("bundle/tmp")).unwrap().count();
    let gone = async {
        while left() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), gone).await.expect("nothing of it is left");
}

#[tokio::test]
async fn what_no_release_names_is_collected_after_its_grace() {
    let dock = Dock::open().await;
    let kept = dock.source("1.0", &files(10));
    dock.publish(&kept).await.unwrap();
    let lost = content(99, 10_000);
    upload(&dock, &lost).await;
    let digest = longshore_common::digest::BlobDigest::of(&lost);
    let path = dock.bundle.blobs.path(&digest);

    let grace = Duration::from_secs(3600);
    assert_eq!(collect(&*dock.store, &dock.bundle, grace).await.unwrap(), Collected::default());
    age(&path, 2 * grace);
    // Somebody is told that it is there: it counts as used.
    assert!(dock.bundle.blobs.missing(&[digest]).unwrap().is_empty());
    assert_eq!(collect(&*dock.store, &dock.bundle, grace).await.unwrap().blobs, 0);
    age(&path, 2 * grace);
    assert_eq!(collect(&*dock.store, &dock.bundle, grace).await.unwrap().blobs, 1);
    assert!(!path.exists());

    // However old, what a release names stays; withdrawn or not.
    let mut client = ReleasesClient::new(dock.operator());
    let withdraw =
        pb::WithdrawReleaseRequest { app: "shop".into(), version: "1.0".into(), reason: "bad".into() };
    assert!(client.withdraw(withdraw).await.unwrap().into_inner().withdrawn);
    assert_eq!(collect(&*dock.store, &dock.bundle, Duration::ZERO).await.unwrap().blobs, 0);
    let name = pb::ShowReleaseRequest { app: "shop".into(), version: "1.0".into() };
    let verified = client.verify(name).await.unwrap().into_inner();
    assert_eq!((verified.blobs, verified.damaged.len()), (4, 0));
}

#[tokio::test]
async fn nothing_is_collected_on_a_doubt() {
    let dock = Dock::open().await;
    dock.publish(&dock.source("1.0", &files(10))).await.unwrap();
    dock.publish(&dock.source("1.1", &files(11))).await.unwrap();
    for index in fs::read_dir(dock.folder.path().join("bundle/indexes")).unwrap() {
        fs::remove_file(index.unwrap().path()).unwrap();
    }
    let reopened =
        longshore_controller::bundle::BundleStore::open(&dock.folder.path().join("bundle"), 1 << 30).unwrap();
    assert!(collect(&*dock.store, &reopened, Duration::ZERO).await.is_err());
    let blob = longshore_common::digest::BlobDigest::of(&content(1, 300_000));
    assert!(dock.bundle.blobs.path(&blob).exists());
}

#[tokio::test]
async fn a_damaged_blob_is_found_and_mended_by_publishing_again() {
    let dock = Dock::open().await;
    let source = dock.source("1.0", &files(10));
    dock.publish(&source).await.unwrap();
    let blob = longshore_common::digest::BlobDigest::of(&content(2, 50_000));
    let path = dock.bundle.blobs.path(&blob);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    put(&path, &bytes);
    let mut client = ReleasesClient::new(dock.operator());
    let name = pb::ShowReleaseRequest { app: "shop".into(), version: "1.0".into() };
    let verified = client.verify(name.clone()).await.unwrap().into_inner();
    assert_eq!(verified.damaged, ["share/a"]);
    assert!(!dock.publish(&source).await.unwrap().created);
    assert!(client.verify(name).await.unwrap().into_inner().damaged.is_empty());
}

/// Each takes a thread or much memory for long, and whoever may look may ask for it.
#[tokio::test]
async fn so_many_read_an_artifact_whole_at_a_time() {
    let dock = Dock::open().await;
    dock.publish(&dock.source("1.0", &files(10))).await.unwrap();
    let mut client = ReleasesClient::new(dock.operator());
    let name = || pb::ShowReleaseRequest { app: "shop".into(), version: "1.0".into() };
    let ann: OperatorName = "ann".parse().unwrap();
    let held: Vec<_> = (0..3).map(|_| dock.whole.take(&ann).unwrap()).collect();
    for refused in [
        client.verify(name()).await.map(drop).unwrap_err(),
        client.export(name()).await.map(drop).unwrap_err(),
    ] {
        let why = longshore_common::wire::from_status(&refused);
        assert!(why.code == Code::C01 && why.message.contains("by operator ann"), "{why}");
    }
    drop(held);
    client.verify(name()).await.unwrap();
    let mut pieces = client.export(name()).await.unwrap().into_inner();
    while pieces.message().await.unwrap().is_some() {}
}

#[tokio::test]
async fn show_says_what_was_published() {
    let dock = Dock::open().await;
    let release = dock.publish(&dock.source("1.0", &files(10))).await.unwrap();
    dock.assign(&release).await;
    let mut client = ReleasesClient::new(dock.operator());
    let name = pb::ShowReleaseRequest { app: "shop".into(), version: "1.0".into() };
    let shown = client.show(name.clone()).await.unwrap().into_inner();
    assert!(shown.live.is_empty(), "it was told to, and has not said that it does");
    dock.runs().await;
    let shown = client.show(name).await.unwrap().into_inner();
    let manifest = Manifest::from_bytes(&shown.manifest).unwrap();
    assert_eq!(manifest.digest().hex(), release.digest);
    assert_eq!((shown.live.len(), shown.live[0].env.as_str(), shown.live[0].hosts), (1, "test", 1));
    let unknown = pb::ShowReleaseRequest { app: "shop".into(), version: "9".into() };
    let status = client.show(unknown).await.unwrap_err();
    assert_eq!(longshore_common::wire::from_status(&status).code, Code::N01);
}

async fn upload(dock: &Dock, bytes: &[u8]) {
    let blob = longshore_common::digest::BlobDigest::of(bytes).0.to_vec().into();
    let pieces = [
        pb::upload_piece::Piece::Head(pb::BlobHead { blob, size: bytes.len() as u64 }),
        pb::upload_piece::Piece::Data(frame::compress(3, bytes).unwrap().into()),
    ];
    let pieces = pieces.map(|piece| pb::UploadPiece { piece: Some(piece) });
    let mut client = ReleasesClient::new(dock.operator());
    let mut answers = client.upload(tokio_stream::iter(pieces)).await.unwrap().into_inner();
    while answers.message().await.unwrap().is_some() {}
}

fn age(path: &std::path::Path, by: Duration) {
    fs::File::open(path).unwrap().set_modified(SystemTime::now() - by).unwrap();
}
