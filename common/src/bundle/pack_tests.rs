//! Folders, plain and odd.

use std::{
    fs::{File, Permissions},
    io::Write as _,
    os::unix::{fs::PermissionsExt as _, fs::symlink, net::UnixListener},
    time::{Duration, SystemTime},
};

use super::*;

fn put(root: &Path, path: &str, content: &[u8], mode: u32) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = File::create(&path).unwrap();
    file.write_all(content).unwrap();
    file.set_permissions(Permissions::from_mode(mode)).unwrap();
}

fn quiet() -> impl Fn(u64, u64) + Sync {
    |_, _| {}
}

#[test]
fn one_folder_gives_one_digest_whatever_its_times_modes_and_order() {
    let files: [(&str, &[u8], u32); 5] = [
        ("bin/app", b"program", 0o755),
        ("a-b", b"x", 0o644),
        ("a/b", b"x", 0o600),
        ("share/empty", b"", 0o664),
        ("share/ünï", b"text", 0o444),
    ];
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (path, content, mode) in files {
        put(one.path(), path, content, mode);
    }
    symlink("app", one.path().join("bin/link")).unwrap();
    fs::create_dir_all(two.path().join("bin")).unwrap();
    symlink("app", two.path().join("bin/link")).unwrap();
    for (path, content, mode) in files.into_iter().rev() {
        put(two.path(), path, content, mode & 0o744);
        let old = SystemTime::now() - Duration::from_secs(1_000_000);
        File::open(two.path().join(path)).unwrap().set_modified(old).unwrap();
    }
    fs::create_dir(two.path().join("empty-folder")).unwrap();
    let (one, two) = (pack(one.path(), &quiet()).unwrap(), pack(two.path(), &quiet()).unwrap());
    assert_eq!(one.index.digest(), two.index.digest());
    let paths: Vec<_> = one.index.entries().iter().map(|e| e.path.as_str()).collect();
    assert_eq!(paths, ["a-b", "a/b", "bin/app", "bin/link", "share/empty", "share/ünï"]);
    // The name of this very folder, on every machine and in every version.
    assert_eq!(one.index.digest().short(), "bcb31520");
}

#[test]
fn the_owner_may_execute_or_not_and_nothing_else_counts() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "no", b"1", 0o655);
    put(folder.path(), "yes", b"2", 0o700);
    let packed = pack(folder.path(), &quiet()).unwrap();
    let flags: Vec<bool> = packed
        .index
        .entries()
        .iter()
        .map(|e| matches!(e.kind, Kind::File { executable: true, .. }))
        .collect();
    assert_eq!(flags, [false, true]);
}

#[test]
fn what_a_release_may_not_hold_is_refused_by_name() {
    type Make = fn(&Path);
    let table: [(&str, Code, Make); 7] = [
        ("fifo", Code::A03, |root| {
            rustix::fs::mknodat(
                rustix::fs::CWD,
                root.join("fifo"),
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::RWXU,
                0,
            )
            .unwrap()
        }),
        ("socket", Code::A03, |root| drop(UnixListener::bind(root.join("socket")).unwrap())),
        ("setuid", Code::A03, |root| put(root, "setuid", b"", 0o4755)),
        ("out", Code::A03, |root| symlink("../elsewhere", root.join("out")).unwrap()),
        ("absolute", Code::A03, |root| symlink("/etc/passwd", root.join("absolute")).unwrap()),
        (".longshore", Code::A02, |root| put(root, ".longshore/x", b"", 0o644)),
        ("\\x1b", Code::A02, |root| put(root, "a\u{1b}b", b"", 0o644)),
    ];
    for (name, code, make) in table {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "plain", b"1", 0o644);
        make(folder.path());
        let error = pack(folder.path(), &quiet()).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(pack(empty.path(), &quiet()).unwrap_err().code(), Code::V01);
    let gone = empty.path().join("gone");
    assert!(matches!(pack(&gone, &quiet()), Err(PackError::Io { .. })));
}

#[test]
fn a_file_that_changes_while_it_is_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "growing", &[0; 600_000], 0o644);
    let path = folder.path().join("growing");
    let grow = |_, _| File::options().append(true).open(&path).unwrap().write_all(b"more").unwrap();
    let error = pack(folder.path(), &grow).unwrap_err();
    assert!(matches!(&error, PackError::Changed { path } if path.ends_with("growing")), "{error}");
}

#[test]
fn a_file_that_changed_since_it_was_packed_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "a", b"before", 0o644);
    put(folder.path(), "b", b"before", 0o644);
    let packed = pack(folder.path(), &quiet()).unwrap();
    let sources = packed.sources();
    assert_eq!(sources.len(), 1);
    assert!(sources[0].ends_with("a"));
    let blob = packed.index.blobs()[0];
    reread(&sources[0], &blob, |_| Ok(())).unwrap();
    put(folder.path(), "a", b"behind", 0o644);
    assert!(matches!(reread(&sources[0], &blob, |_| Ok(())), Err(PackError::Changed { .. })));
}

/// What is put in a file's place between the two readings neither holds the publisher up nor leads elsewhere.
#[test]
fn what_took_a_files_place_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "a", b"before", 0o644);
    let packed = pack(folder.path(), &quiet()).unwrap();
    let (path, blob) = (packed.sources().remove(0), packed.index.blobs()[0]);
    let elsewhere = folder.path().join("b");
    fs::rename(&path, &elsewhere).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, 0o600.into()).unwrap();
    let why = |path: &Path| match reread(path, &blob, |_| Ok(())) {
        Err(PackError::Io { source, .. }) => source.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(why(&path).starts_with("it is a FIFO"), "{}", why(&path));
    fs::remove_file(&path).unwrap();
    symlink("b", &path).unwrap();
    assert!(why(&path).starts_with("it is a link"), "{}", why(&path));
}

#[test]
fn progress_reaches_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..50u8 {
        put(folder.path(), &format!("{n}"), &vec![n; 10_000], 0o644);
    }
    let most = AtomicU64::new(0);
    let progress = |done, total| {
        assert_eq!(total, 500_000);
        most.fetch_max(done, Ordering::Relaxed);
    };
    pack(folder.path(), &progress).unwrap();
    assert_eq!(most.into_inner(), 500_000);
}
