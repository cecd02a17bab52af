//! Indexes exactly at a limit and one beyond it, and what callers look up in them.

use longshore_proto::v1 as pb;
use prost::Message as _;

use super::{Blob, Entry, Index, Kind, limits};
use crate::{code::Code, digest::BlobDigest, manifest::MANIFEST_BYTES, offline};

fn file(path: &str) -> Entry {
    sized(path, 3)
}

fn sized(path: &str, size: u64) -> Entry {
    let digest = BlobDigest::of(&size.to_le_bytes());
    Entry { path: path.into(), kind: Kind::File { executable: false, blob: Blob { digest, size } } }
}

fn link(path: &str, target: &str) -> Entry {
    Entry { path: path.into(), kind: Kind::Link { target: target.into() } }
}

/// The refusal's code and words; nothing when it is taken.
fn refusal(entries: Vec<Entry>) -> Option<(Code, String)> {
    Index::new(entries).err().map(|error| (error.code, error.message))
}

#[test]
fn a_path_may_be_as_long_and_deep_as_the_limits() {
    let deep = |depth: usize| vec!["d"; depth].join("/");
    let long = |bytes: usize| {
        let path = vec!["n".repeat(200); 5].join("/") + "/";
        format!("{path}{}", "n".repeat(bytes - path.len()))
    };
    for (fits, beyond) in [
        (deep(limits::PATH_DEPTH), deep(limits::PATH_DEPTH + 1)),
        (long(limits::PATH_BYTES), long(limits::PATH_BYTES + 1)),
        ("n".repeat(limits::NAME_BYTES), "n".repeat(limits::NAME_BYTES + 1)),
    ] {
        assert_eq!(refusal(vec![file(&fits)]), None);
        assert_eq!(refusal(vec![file(&beyond)]).unwrap().0, Code::A04);
    }
}

#[test]
fn limits_are_what_the_docs_say() {
    let sizes = [
        limits::ARTIFACT_BYTES,
        limits::INDEX_BYTES as u64,
        limits::BLOCK_CONTENT_BYTES,
        limits::PIECE_BYTES as u64,
        limits::PUBLISH_BYTES as u64,
    ];
    let attested = (offline::ATTESTATIONS * offline::ATTESTATION_BYTES) as u64;
    assert_eq!(sizes, [8_589_934_592, 16_777_216, 8_388_608, 262_144, 17_825_792 + attested]);
    assert_eq!((offline::ATTESTATION_BYTES, offline::BUNDLE_BYTES), (4_194_304, 2_147_483_648));
    assert_eq!(MANIFEST_BYTES, 65_536);
}

#[test]
fn a_message_shows_so_much_of_a_path_and_says_that_there_is_more() {
    let bad = |length: usize| refusal(vec![file(&format!("{}\u{7}", "n".repeat(length)))]).unwrap().1;
    assert!(bad(119).contains(&format!("\"{}\\x07\"", "n".repeat(119))), "{}", bad(119));
    assert!(bad(120).contains(&format!("\"{}…\"", "n".repeat(120))), "{}", bad(120));
}

#[test]
fn an_artifact_may_be_as_large_as_the_limits() {
    let whole = |last: u64| vec![sized("a", limits::ARTIFACT_BYTES - 1), sized("b", last)];
    assert_eq!(refusal(whole(1)), None);
    assert_eq!(refusal(whole(2)).unwrap().0, Code::A04);
    let many = |count: usize| (0..count).map(|n| file(&format!("{n:06}"))).collect::<Vec<_>>();
    assert_eq!(refusal(many(limits::ENTRIES)), None);
    assert_eq!(refusal(many(limits::ENTRIES + 1)).unwrap().0, Code::A04);
    let encoded = Index::new(many(limits::ENTRIES)).unwrap().encode();
    assert_eq!(Index::decode(&encoded).unwrap().entries().len(), limits::ENTRIES);
    // As long as an index may be, and none: it is read.
    assert_eq!(Index::decode(&vec![0; limits::INDEX_BYTES]).unwrap_err().code, Code::A05);
}

#[test]
fn links_may_be_as_long_deep_and_many_as_the_limits() {
    let target = |bytes: usize| "a/../".repeat(bytes / 5) + &"n".repeat(bytes % 5);
    assert_eq!(refusal(vec![link("l", &target(limits::PATH_BYTES))]), None);
    assert_eq!(refusal(vec![link("l", &target(limits::PATH_BYTES + 1))]).unwrap().0, Code::A04);
    let deep = |depth: usize| vec!["d"; depth].join("/");
    assert_eq!(refusal(vec![link("l", &deep(limits::PATH_DEPTH))]), None);
    let (code, says) = refusal(vec![link("l", &deep(limits::PATH_DEPTH + 1))]).unwrap();
    assert!(code == Code::A04 && says.contains("deeper than a path may be"), "{says}");
    // The first link's target is followed over every other one.
    let chain =
        |hops: usize| (0..=hops).map(|n| link(&format!("l{n:02}"), &format!("l{:02}", n + 1))).collect();
    assert_eq!(refusal(chain(limits::LINK_HOPS)), None);
    assert_eq!(refusal(chain(limits::LINK_HOPS + 1)).unwrap().0, Code::A03);
}

#[test]
fn entries_out_of_order_and_twice_are_numbered_as_people_count() {
    let encoded = |entries: &[Entry]| {
        pb::Index { format: 1, entries: entries.iter().map(pb::IndexEntry::from).collect() }.encode_to_vec()
    };
    for (entries, says) in [
        ([file("a"), file("c"), file("b")], "entry 3 \"b\" is not in order"),
        ([file("a"), file("b"), file("b")], "entry 3 \"b\" occurs twice"),
    ] {
        let error = Index::decode(&encoded(&entries)).unwrap_err();
        assert!(error.message.contains(says), "{error}");
    }
}

#[test]
fn a_link_is_nothing_but_a_link_and_a_file_nothing_but_a_file() {
    let entry = |change: fn(&mut pb::IndexEntry), of: &Entry| {
        let mut entry = pb::IndexEntry::from(of);
        change(&mut entry);
        Index::decode(&pb::Index { format: 1, entries: vec![entry] }.encode_to_vec())
    };
    let (link, file) = (link("l", "x"), file("f"));
    entry(|_| (), &link).unwrap();
    entry(|entry| entry.executable = true, &file).unwrap();
    let refused = [
        entry(|entry| entry.executable = true, &link),
        entry(|entry| entry.size = 1, &link),
        entry(|entry| entry.blob = vec![7; 32].into(), &link),
        entry(|entry| entry.link = "x".into(), &file),
        entry(|entry| entry.blob.clear(), &file),
        entry(|entry| entry.blob = vec![7; 31].into(), &file),
    ];
    for (at, result) in refused.into_iter().enumerate() {
        let refusal = result.unwrap_err();
        assert_eq!(refusal.code, Code::A05, "row {at}");
        assert!(refusal.message.starts_with("entry 1 of the index"), "row {at}: {refusal}");
    }
}

#[test]
fn an_index_is_looked_up_by_path_folder_and_blob() {
    let entries = vec![sized("bin/a", 1), sized("lib-x", 2), sized("lib/a", 1), link("z", "lib")];
    let index = Index::new(entries.clone()).unwrap();
    assert_eq!(index.entries(), entries);
    assert_eq!(index.find("lib/a"), Some(&entries[2].kind));
    assert_eq!(index.find("z"), Some(&entries[3].kind));
    assert_eq!((index.find("lib"), index.find("zz")), (None, None));
    let folders = ["bin", "lib", "li", "lib-x", "z", "zz", "", "a"].map(|path| index.has_folder(path));
    assert_eq!(folders, [true, true, false, false, false, false, false, false]);
    let blobs = index.blobs().to_vec();
    assert_eq!(blobs.iter().map(|blob| blob.size).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(index.numbers(), blobs.iter().zip(0..).map(|(blob, n)| (blob.digest, n)).collect());
    assert_eq!((entries[0].blob(), entries[3].blob()), (Some(&blobs[0]), None));
    assert_eq!(index.bytes(), 4);
}
