//! A controller that lies: it has the CA's own key and the address, and hands an agent whatever it likes. The agent
//! says what is wrong with it, and its host stays as it was. What a lying stream of bytes may look like in detail is in
//! `controller/tests/transfer/hostile.rs`.

use longshore_common::digest::{BlobDigest, IndexDigest};
use longshore_proto::v1 as pb;
use prost::Message as _;

use crate::desk::{Goods, Liar};
use crate::site::{ASK, Site};

/// No host of the site.
const STRANGER: &str = "24161621-9d6c-4abe-a4d0-84510d2b066b";

/// LS-O03 and LS-E05: assignments that are old, changed, or for somebody else, and a controller in another time.
#[test]
fn stale_replayed_and_misdirected_assignments_are_refused() {
    let mut site = Site::raise();
    let three_hours = 3 * 3_600_000 + 12 * 60_000;
    let before = site.snapshot();
    let mut liar = Liar::in_place_of(&mut site, three_hours);
    assert_eq!(liar.hello.apps[0].version, "1.0");
    site.agent.as_mut().unwrap().until_it_says("LS-E05", ASK).unwrap();
    site.agent.as_mut().unwrap().until_it_says("behind the controller's", ASK).unwrap();

    let accepted = liar.generation;
    let later = liar.next_generation();
    type Spoil = fn(&mut pb::Assignment);
    let as_it_is: Spoil = |_| ();
    let rows: [(&str, u64, Spoil, &str); 3] = [
        ("stale", accepted - 1, as_it_is, "is not newer than"),
        ("replayed with other content", accepted, as_it_is, "has other content"),
        ("for another host", later, |assignment| assignment.host = STRANGER.into(), "assignment is for host"),
    ];
    for (what, generation, spoil, says) in rows {
        let refused = liar.assign(generation, b"anything", spoil);
        assert_eq!(refused.code, "LS-O03", "{what}: {refused:?}");
        assert!(refused.message.contains(says), "{what}: {refused:?}");
        assert_eq!(site.snapshot(), before, "{what}");
    }
    let history = site.agent_at("host", ["history"]).success().unwrap();
    assert!(history.contains("refused"), "{history}");
}

fn manifest_of(index: &[u8], files: u64, bytes: u64) -> Vec<u8> {
    use longshore_common::manifest::{Artifact, file::AppFile};
    let artifact = Artifact { index: IndexDigest::of(index), files, bytes };
    let file = AppFile::parse("longshore.toml", &crate::site::app_file()).unwrap();
    file.into_manifest("6.6.6".parse().unwrap(), artifact).to_bytes()
}

fn squeezed(bytes: &[u8]) -> Vec<u8> {
    longshore_common::bundle::frame::compress(3, bytes).unwrap()
}

fn entry(path: &str, link: &str) -> pb::IndexEntry {
    let blob = if link.is_empty() { BlobDigest::of(b"abc").0.to_vec() } else { vec![] };
    let size = if link.is_empty() { 3 } else { 0 };
    pb::IndexEntry {
        path: path.into(),
        executable: path == "run",
        link: link.into(),
        size,
        blob: blob.into(),
    }
}

/// Goods that fit the digests which they go by, so that only what they say gives them away.
fn goods_of(entries: Vec<pb::IndexEntry>) -> Goods {
    let (files, bytes) = (entries.len() as u64, entries.iter().map(|entry| entry.size).sum());
    let index = pb::Index { format: 1, entries }.encode_to_vec();
    let head = pb::BlockHead { blobs: vec![0], content_bytes: 3, wire_bytes: 0 };
    Goods {
        manifest: manifest_of(&index, files, bytes),
        index: squeezed(&index),
        blocks: vec![pb::BlockPiece { head: Some(head), data: squeezed(b"abc").into() }],
        ..Goods::default()
    }
}

/// LS-A0x on the host: bytes that differ, that are no artifact at all, and indexes that mean ill.
#[test]
fn what_a_lying_controller_sends_changes_nothing_on_the_host() {
    let mut site = Site::raise();
    let before = site.snapshot();
    let mut liar = Liar::in_place_of(&mut site, 0);
    let good = || goods_of(vec![entry("run", "")]);
    let block = |data: Vec<u8>| {
        let mut goods = good();
        goods.blocks[0].data = data.into();
        goods
    };
    let rows: Vec<(&str, Goods, &str, &str)> = vec![
        ("another manifest", Goods { manifest: b"{}".to_vec(), ..good() }, "LS-A01", "manifest came"),
        ("another index", Goods { index: squeezed(b"x"), ..good() }, "LS-A01", "index came"),
        ("an error page as index", Goods { index: b"<html>404".to_vec(), ..good() }, "LS-A05", "<html>"),
        (
            "an index that explodes",
            Goods { index: squeezed(&vec![0; 20 << 20]), ..good() },
            "LS-A04",
            "expanded",
        ),
        ("other bytes", block(squeezed(b"abd")), "LS-A01", "blob"),
        ("an error page as block", block(b"<html>".to_vec()), "LS-A05", "<html>"),
        ("a bomb", block(squeezed(&vec![0; 64 << 20])), "LS-A04", "more bytes than its content"),
        ("a way out", goods_of(vec![entry("../../../../escaped", "")]), "LS-A02", "leaves the release"),
        ("an absolute path", goods_of(vec![entry("/tmp/escaped-6", "")]), "LS-A02", "absolute"),
        ("a seal of its own", goods_of(vec![entry(".longshore/sealed", "")]), "LS-A02", "Longshore's own"),
        ("a link out", goods_of(vec![entry("data", "/etc/shadow")]), "LS-A03", "/etc/shadow"),
        ("one path twice", goods_of(vec![entry("x", ""), entry("x", "")]), "LS-A02", "occurs twice"),
    ];
    for (what, goods, code, says) in rows {
        let manifest = manifest_asked_for(&goods, &good());
        *liar.goods.lock().unwrap() = goods;
        let generation = liar.next_generation();
        let failed = liar.assign(generation, &manifest, |_| ());
        assert!(failed.code.starts_with(code), "{what}: {failed:?}");
        assert!(failed.message.contains(says), "{what}: {failed:?}");
        assert_eq!(site.snapshot(), before, "{what}");
    }
    assert!(!std::path::Path::new("/tmp/escaped-6").exists());
    let status = site.agent_at("host", ["status"]).success().unwrap();
    assert!(status.contains("healthy") && status.contains("LS-A02"), "{status}");
}

/// The release that is assigned: what the goods hold, or what they should have held.
fn manifest_asked_for(goods: &Goods, sound: &Goods) -> Vec<u8> {
    if goods.manifest == b"{}" { sound.manifest.clone() } else { goods.manifest.clone() }
}
