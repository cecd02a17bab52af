//! Hostile and odd indexes, each with the code it must be refused with.

use proptest::prelude::*;

use super::*;

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

/// Entries as an adversary would encode them: in the given order, unchecked.
fn encoded(entries: &[Entry]) -> Vec<u8> {
    pb::Index { format: FORMAT, entries: entries.iter().map(pb::IndexEntry::from).collect() }.encode_to_vec()
}

#[test]
fn hostile_indexes_are_refused_with_their_code() {
    use Code::*;
    let deep = |depth: usize| vec!["d"; depth].join("/");
    let chain: Vec<Entry> =
        (0..60).map(|n| link(&format!("l{n:02}"), &format!("l{:02}", (n + 1) % 60))).collect();
    let table: Vec<(Vec<Entry>, Code, &str)> = vec![
        (
            vec![file("../../etc/cron.d/x")],
            A02,
            "entry 1 \"../../etc/cron.d/x\" leaves the release directory",
        ),
        (vec![file("a/../b")], A02, "leaves"),
        (vec![file("/etc/passwd")], A02, "absolute"),
        (vec![file("")], A02, "empty"),
        (vec![file("a//b")], A02, "empty"),
        (vec![file("./a")], A02, "\".\""),
        (vec![file("a/")], A02, "empty"),
        (vec![file("a\u{1b}[2J")], A02, "a\\x1b[2J"),
        (vec![file("a\0b")], A02, "control"),
        (vec![file("a\u{85}b")], A02, "control"),
        (vec![file(&"a".repeat(256))], A04, "component of 256"),
        (vec![file(&vec!["a".repeat(200); 6].join("/"))], A04, "path of 1205"),
        (vec![file(&deep(2000)[..1000])], A04, "path components (max 32)".split(" (").next().unwrap()),
        (vec![file(&deep(33))], A04, "33 path components"),
        (vec![file("a"), file("a")], A02, "entry 2 \"a\" occurs twice"),
        (vec![file("b"), file("a")], A05, "not sorted"),
        (vec![file("README"), file("readme")], A02, "case alone"),
        (vec![file("Ä/a"), file("ä/b")], A02, "case alone"),
        (vec![file("Lib/a"), file("lib/b")], A02, "case alone"),
        (vec![file("a"), file("a-b"), file("a/b")], A02, "both a folder and a file"),
        (vec![link("a", "b"), file("a/b"), file("b/c")], A02, "both a folder and a file"),
        (vec![file(".longshore/sealed")], A02, "Longshore's own"),
        (vec![file(".Longshore")], A02, "Longshore's own"),
        (vec![link("data", "/etc/shadow")], A03, "is a symlink to \"/etc/shadow\""),
        (
            vec![link("a", "b"), link("b", "/etc/shadow")],
            A03,
            "entry 1 \"a\" is a symlink to \"b\", by way of \"b\", a symlink to \"/etc/shadow\", an absolute path",
        ),
        (vec![link("a/b", "../../x")], A03, "leaves the release"),
        (vec![link("a/up", ".."), link("b", "a/up/../..")], A03, "leaves the release"),
        (vec![link("a", "b/../../x"), file("b/c")], A03, "leaves"),
        (vec![link("a", "")], A05, "neither a file nor a link"),
        (vec![link("a", ".longshore/values.json")], A03, "own folder"),
        (vec![link("a", "b\u{7}")], A03, "control"),
        (vec![link("a", "a")], A03, "circles"),
        (chain, A03, "circles"),
        (vec![sized("a", 8 << 30), sized("b", 1)], A04, "over 8 GiB"),
        (vec![sized("a", u64::MAX), sized("b", u64::MAX)], A04, "over 8 GiB"),
    ];
    for (entries, code, says) in table {
        let error = Index::decode(&encoded(&entries)).expect_err(says);
        assert_eq!(error.code, code, "{error}");
        assert!(error.message.contains(says), "{error} does not say {says:?}");
        assert!(!error.message.contains('\u{1b}'));
    }
}

#[test]
fn bytes_that_are_no_index_are_refused() {
    let good = Index::new(vec![file("a"), link("b", "a")]).unwrap().encode();
    let extra = [&good[..], &[0x7a, 1, 0]].concat(); // field 15, unknown
    let other_format = pb::Index { format: 2, entries: vec![] }.encode_to_vec();
    for bytes in [&b"<html>"[..], &good[..good.len() - 1], &extra, &other_format] {
        assert_eq!(Index::decode(bytes).unwrap_err().code, Code::A05);
    }
    let two_sizes = vec![sized("a", 1), {
        let mut entry = sized("b", 1);
        let Kind::File { blob, .. } = &mut entry.kind else { unreachable!() };
        blob.size = 2;
        entry
    }];
    assert_eq!(Index::decode(&encoded(&two_sizes)).unwrap_err().code, Code::A05);
    let many: Vec<_> = (0..=limits::ENTRIES).map(|n| file(&format!("{n:06}"))).collect();
    assert_eq!(Index::decode(&encoded(&many)).unwrap_err().code, Code::A04);
    assert_eq!(Index::decode(&vec![0; limits::INDEX_BYTES + 1]).unwrap_err().code, Code::A04);
}

#[test]
fn entangled_links_cost_no_minutes() {
    let target = |n: usize| format!("{}l{n:05}", "d/../".repeat(150));
    let mut entries: Vec<_> = (0..20_000).map(|n| link(&format!("l{n:05}"), &target(n + 1))).collect();
    entries.push(file("l20000"));
    let started = std::time::Instant::now();
    assert!(Index::new(entries).is_err());
    assert!(started.elapsed().as_secs() < 180);
}

#[test]
fn links_inside_the_release_are_welcome() {
    let entries = vec![
        file("lib/libssl.so.3.0"),
        link("lib/libssl.so.3", "libssl.so.3.0"),
        link("lib/libssl.so", "./libssl.so.3"),
        link("bin/lib", "../lib"),
        link("logs", "not/there/yet"),
        link("here", "."),
    ];
    let index = Index::new(entries).unwrap();
    assert_eq!(Index::decode(&index.encode()).unwrap(), index);
}

#[test]
fn distinct_blobs_are_numbered_as_they_first_appear() {
    let index = Index::new(vec![sized("c", 1), sized("a", 2), sized("b", 1), sized("d", 2)]).unwrap();
    assert_eq!(index.blobs().iter().map(|b| b.size).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(index.bytes(), 6);
}

fn any_path() -> impl Strategy<Value = String> {
    prop::collection::vec("[a-dA-D.é-]{1,4}", 1..5).prop_map(|names| names.join("/"))
}

proptest! {
    #[test]
    fn what_is_accepted_survives_its_encoding(paths in prop::collection::vec((any_path(), 0..9u64), 0..40)) {
        let entries: Vec<_> = paths.iter().map(|(path, size)| sized(path, *size)).collect();
        if let Ok(index) = Index::new(entries.clone()) {
            prop_assert_eq!(&Index::decode(&index.encode()).unwrap(), &index);
            let shuffled = entries.into_iter().rev().collect();
            prop_assert_eq!(Index::new(shuffled).unwrap().digest(), index.digest());
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Index::decode(&bytes);
    }

    /// A link that is accepted leads inside, by the file system's own word.
    #[test]
    fn accepted_links_stay_inside(targets in prop::collection::vec("(\\.\\./|[ab]/){0,4}[abc]", 3)) {
        let names = ["a/x", "b/c", "c"];
        let mut entries: Vec<_> = names.iter().zip(&targets).map(|(n, t)| link(n, t)).collect();
        entries.push(file("a/file"));
        if Index::new(entries).is_ok() {
            let outer = tempfile::tempdir().unwrap();
            let root = outer.path().join("root");
            for folder in ["a", "b"] {
                std::fs::create_dir_all(root.join(folder)).unwrap();
            }
            for (name, target) in names.iter().zip(&targets) {
                std::os::unix::fs::symlink(target, root.join(name)).unwrap();
                if let Ok(real) = root.join(name).canonicalize() {
                    prop_assert!(real.starts_with(root.canonicalize().unwrap()), "{name} -> {target}: {real:?}");
                }
            }
        }
    }
}
