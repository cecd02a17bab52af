//! Every kind of reference against a real folder, and everything that must not be taken for a secret.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use longshore_common::{
    digest::SealedDigest,
    durable::{create_dir_durable, write_atomic},
};

use super::*;

struct Fixture {
    folder: tempfile::TempDir,
    sources: Sources,
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let sources = Sources::of(&Config::new(folder.path().into(), vec![])).unwrap();
    for below in ["etc/longshore/secrets", STORE, "etc/other"] {
        create_dir_durable(&folder.path().join(below), 0o755).unwrap();
    }
    Fixture { folder, sources }
}

impl Fixture {
    fn put(&self, below: &str, bytes: &[u8], mode: u32) {
        write_atomic(&self.folder.path().join(below), bytes, mode).unwrap();
    }

    fn open(&self, reference: Reference, answer: Option<sealed::Answer>) -> Result<String, String> {
        let secrets = Secrets::from([("pw".to_owned(), reference)]);
        let answers = answer.map(|answer| ("pw".to_owned(), answer)).into_iter().collect();
        let opened = self.sources.open_all(&secrets, &answers, StepName::Check);
        opened.map(|opened| opened["pw"].text().to_owned()).map_err(|failure| {
            assert_eq!(failure.code, "LS-K01");
            assert!(failure.message.starts_with("secret pw: "), "{}", failure.message);
            assert!(!failure.message.contains("hunter2"), "{}", failure.message);
            failure.message
        })
    }

    fn file(&self, path: &str) -> Result<String, String> {
        self.open(Reference::File { path: path.into(), rev: 0 }, None)
    }

    fn credential(&self, name: &str) -> Result<String, String> {
        self.open(Reference::Credential { name: name.into(), rev: 0 }, None)
    }
}

fn says(found: Result<String, String>, words: &str) {
    let why = found.expect_err(words);
    assert!(why.contains(words), "{words}: {why}");
}

/// What a plan asks for: nothing is rendered, and all that is missing is named at once.
#[tokio::test]
async fn what_cannot_be_had_is_known_beforehand() {
    let f = fixture();
    f.put("etc/longshore/secrets/db", b"hunter2\n", 0o600);
    f.put("etc/other/key", b"hunter2\n", 0o600);
    let file = |path: &str| Reference::File { path: path.into(), rev: 0 };
    let secrets = Secrets::from([
        ("db".to_owned(), file("/etc/longshore/secrets/db")),
        ("key".to_owned(), file("/etc/other/key")),
        ("sealed".to_owned(), Reference::Sealed { digest: SealedDigest([1; 32]) }),
        ("token".to_owned(), Reference::Credential { name: "token".into(), rev: 0 }),
    ]);
    let missing = f.sources.missing(&secrets).await;
    assert_eq!(missing.len(), 2, "{missing:?}");
    assert!(missing[0].starts_with("secret key: /etc/other/key is in none of the folders"), "{missing:?}");
    assert!(missing[1].starts_with("secret token: this host has no credential token"), "{missing:?}");
}

#[test]
fn a_file_of_the_admin_is_read_without_its_last_newline() {
    let f = fixture();
    f.put("etc/longshore/secrets/db", b"hunter2\n", 0o600);
    assert_eq!(f.file("/etc/longshore/secrets/db").unwrap(), "hunter2");
    f.put("etc/longshore/secrets/key", b"line 1\nline 2\r\n", 0o640);
    assert_eq!(f.file("/etc/longshore/secrets/key").unwrap(), "line 1\nline 2");
}

#[test]
fn a_controller_may_not_name_any_file_it_likes() {
    let f = fixture();
    f.put("etc/other/shadow", b"hunter2", 0o600);
    says(f.file("/etc/other/shadow"), "none of the folders that this host allows (/etc/longshore/secrets)");
    says(f.file("/etc/longshore/secrets"), "none of the folders");
    says(f.file("/etc/longshore/secrets-not/x"), "none of the folders");
    symlink(f.folder.path().join("etc/other/shadow"), f.folder.path().join("etc/longshore/secrets/db"))
        .unwrap();
    says(f.file("/etc/longshore/secrets/db"), "goes through a link");
    symlink(f.folder.path().join("etc/other"), f.folder.path().join("etc/longshore/secrets/sub")).unwrap();
    says(f.file("/etc/longshore/secrets/sub/shadow"), "goes through a link");
}

#[test]
fn what_others_may_read_or_write_is_no_secret() {
    let f = fixture();
    let db = "/etc/longshore/secrets/db";
    says(f.file(db), "there is no ");
    f.put(&db[1..], b"hunter2", 0o644);
    says(f.file(db), "chmod 0600");
    f.put(&db[1..], b"hunter2", 0o660);
    says(f.file(db), "can be written by others");
    f.put(&db[1..], b"hunter2", 0o600);
    let folder = f.folder.path().join("etc/longshore/secrets");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    says(f.file(db), "a folder on the way");
}

#[test]
fn what_is_no_text_of_a_fitting_size_is_no_secret() {
    let f = fixture();
    let db = "/etc/longshore/secrets/db";
    for (bytes, why) in [
        (&b""[..], "empty"),
        (b"\n", "empty"),
        (b"a\0b", "zero byte"),
        (&[0xff, 0xfe], "no UTF-8"),
        (&[b'x'; crate::identity::PLAIN_BYTES + 1], "larger than"),
    ] {
        f.put(&db[1..], bytes, 0o600);
        says(f.file(db), why);
    }
    fs::remove_file(f.folder.path().join(&db[1..])).unwrap();
    create_dir_durable(&f.folder.path().join(&db[1..]), 0o700).unwrap();
    says(f.file(db), "no plain file");
    let pipe = f.folder.path().join("etc/longshore/secrets/pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).unwrap();
    says(f.file("/etc/longshore/secrets/pipe"), "no plain file");
}

#[test]
fn credentials_of_systemd_go_before_those_of_the_folder() {
    let mut f = fixture();
    says(f.credential("db"), "this host has no credential db");
    f.put("etc/longshore/credentials/db", b"ours", 0o600);
    assert_eq!(f.credential("db").unwrap(), "ours");
    let systemd = tempfile::tempdir().unwrap();
    write_atomic(&systemd.path().join("db"), b"systemd's", 0o400).unwrap();
    let base: &Path = systemd.path();
    f.sources.credentials.insert(0, Credentials { base: base.into(), folder: "".into() });
    assert_eq!(f.credential("db").unwrap(), "systemd's");
}

/// Where the helper is a process of its own, it is the one that looks.
#[test]
fn a_credential_is_asked_of_the_unit_that_looks_for_it() {
    let mut f = fixture();
    says(f.credential("db"), "LoadCredential=db:… in longshore-agent.service");
    let config = Config { processes: Processes::Two, ..Config::new(f.folder.path().into(), vec![]) };
    f.sources = Sources::of(&config).unwrap();
    says(f.credential("db"), "LoadCredential=db:… in longshore-helper.service");
    says(f.file("/etc/other/key"), "and restart longshore-helper.service");
}

#[test]
fn what_was_sealed_for_this_host_opens_here_and_nothing_else() {
    let f = fixture();
    let sealed = || Reference::Sealed { digest: SealedDigest([3; 32]) };
    let answer = |recipient: &str| {
        let recipient: age::x25519::Recipient = recipient.parse().unwrap();
        sealed::Answer::Text(age::encrypt(&recipient, b"hunter2\n").unwrap().into())
    };
    assert_eq!(f.open(sealed(), Some(answer(&f.sources.opener.recipient()))).unwrap(), "hunter2");
    let other = fixture();
    says(f.open(sealed(), Some(answer(&other.sources.opener.recipient()))), "another key than this host's");
    says(f.open(sealed(), Some(sealed::Answer::Text(b"hunter2"[..].into()))), "damaged");
    says(f.open(sealed(), Some(sealed::Answer::None("nothing was sealed".into()))), "nothing was sealed");
}

#[test]
fn all_that_is_missing_is_named_at_once() {
    let f = fixture();
    let missing = |name: &str| Reference::Credential { name: name.into(), rev: 0 };
    let secrets = Secrets::from([("a".into(), missing("x")), ("b".into(), missing("y"))]);
    let failure = f.sources.open_all(&secrets, &BTreeMap::new(), StepName::Check).unwrap_err();
    assert!(failure.message.contains("secret a: ") && failure.message.contains("; secret b: "));
}
