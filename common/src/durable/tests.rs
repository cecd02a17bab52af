//! What is on the disk after each operation, and what each says when it fails.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tempfile::tempdir;

use super::*;

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_is_replaced_with_its_mode_and_leaves_nothing_behind() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("state");
    write_atomic(&path, b"one", 0o644).unwrap();
    write_atomic(&path, b"two", 0o440).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"two");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o440);
    assert_eq!(names(dir.path()), ["state"]);
}

#[test]
fn an_error_names_the_step_and_the_path() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("missing/state");
    let error = write_atomic(&path, b"", 0o600).unwrap_err();
    assert_eq!(error.to_string(), format!("create `{}`", path.display()));
    assert_eq!(error.source.kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_file_that_is_not_committed_was_never_there() {
    let dir = tempdir().unwrap();
    let mut file = AtomicFile::create(&dir.path().join("blob"), 0o444).unwrap();
    file.write_all(b"half").unwrap();
    drop(file);
    assert!(names(dir.path()).is_empty());
}

#[test]
fn commit_new_keeps_what_is_there() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("blob");
    write_atomic(&path, b"first", 0o444).unwrap();
    let mut file = AtomicFile::create(&path, 0o444).unwrap();
    file.write_all(b"second").unwrap();
    assert!(file.commit_new().unwrap_err().is_taken());
    assert_eq!(fs::read(&path).unwrap(), b"first");
    assert_eq!(names(dir.path()), ["blob"]);
}

#[test]
fn folders_are_made_with_their_parents_and_twice_is_once() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("a/b/c");
    create_dir_durable(&path, 0o750).unwrap();
    create_dir_durable(&path, 0o700).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o750);
}

#[test]
fn a_folder_is_not_made_over_a_file() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("file");
    write_atomic(&path, b"", 0o600).unwrap();
    let error = create_dir_durable(&path, 0o700).unwrap_err();
    assert_eq!(error.step, Step::Create);
}

#[test]
fn a_link_is_never_missing_while_it_is_replaced() {
    let dir = tempdir().unwrap();
    let link = dir.path().join("current");
    symlink_atomic(Path::new("r0"), &link).unwrap();
    let (done, reads) = (AtomicBool::new(false), AtomicU32::new(0));
    let mut release = 0;
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                fs::read_link(&link).expect("the link is there at every moment");
                reads.fetch_add(1, Ordering::Relaxed);
            }
        });
        // Also where the reader is let run late.
        while (release < 199 || reads.load(Ordering::Relaxed) < 100) && !reader.is_finished() {
            release += 1;
            symlink_atomic(Path::new(&format!("r{release}")), &link).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    assert_eq!(fs::read_link(&link).unwrap(), Path::new(&format!("r{release}")));
    assert_eq!(names(dir.path()), ["current"]);
}

#[test]
fn renames_replace_or_refuse_as_asked() {
    let dir = tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    write_atomic(&a, b"a", 0o600).unwrap();
    write_atomic(&b, b"b", 0o600).unwrap();
    assert!(rename_new_durable(&a, &b).unwrap_err().is_taken());
    assert_eq!(names(dir.path()), ["a", "b"]);
    rename_durable(&a, &b).unwrap();
    assert_eq!(fs::read(&b).unwrap(), b"a");
    assert_eq!(names(dir.path()), ["b"]);
}

#[test]
fn removing_what_is_not_there_is_done_already() {
    let dir = tempdir().unwrap();
    remove_durable(&dir.path().join("nothing")).unwrap();
    remove_dir_durable(&dir.path().join("nothing")).unwrap();
    let tree = dir.path().join("tree");
    create_dir_durable(&tree.join("deep"), 0o700).unwrap();
    write_atomic(&tree.join("deep/file"), b"", 0o400).unwrap();
    remove_dir_durable(&tree).unwrap();
    assert!(names(dir.path()).is_empty());
}

#[test]
fn leftovers_go_and_the_rest_stays() {
    let dir = tempdir().unwrap();
    write_atomic(&dir.path().join("state"), b"", 0o600).unwrap();
    write_atomic(&dir.path().join(format!("{TEMP_PREFIX}1-1")), b"", 0o600).unwrap();
    create_dir_durable(&dir.path().join(format!("{TEMP_PREFIX}1-2/deep")), 0o700).unwrap();
    remove_leftovers(dir.path()).unwrap();
    assert_eq!(names(dir.path()), ["state"]);
}

#[test]
fn the_second_who_locks_hears_who_was_first() {
    let dir = tempdir().unwrap();
    let lock = lock_dir(dir.path()).unwrap();
    let error = lock_dir(dir.path()).unwrap_err();
    let pid = std::process::id();
    let dir_name = dir.path().display();
    assert_eq!(error.to_string(), format!("`{dir_name}` is in use by pid {pid}"));
    assert_eq!(error.coded().code, Code::S01);
    drop(lock);
    lock_dir(dir.path()).expect("free again");
}

#[test]
fn a_file_system_answers_for_itself() {
    let dir = tempdir().unwrap();
    assert!(free_bytes(dir.path()).unwrap() > 0);
    assert!(same_filesystem(dir.path(), dir.path()).unwrap());
    assert!(!same_filesystem(dir.path(), Path::new("/proc")).unwrap());
    sync_fs(dir.path()).unwrap();
}

#[test]
fn a_full_disk_is_an_error_with_a_number_in_it() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("not-there-yet");
    let failed = |kind: io::ErrorKind| DurableError::new(Step::Write, &path, kind);
    let (full, said) = (failed(io::ErrorKind::StorageFull), format!("write `{}`", path.display()));
    let free = full.free.expect("the folder can be asked");
    assert_eq!((full.code(), full.to_string()), (Code::D01, format!("{said} ({free} bytes free)")));
    let over = failed(io::ErrorKind::QuotaExceeded);
    assert_eq!((over.code(), over.to_string()), (Code::D01, said.clone()));
    assert_eq!(failed(io::ErrorKind::NotFound).to_string(), said);
}
