//! Enrolment and sessions against a controller made by hand, over real TLS on port 0.

mod fake;
mod helper;
mod middle;
mod sessions;

use std::path::Path;

use longshore_common::{code::Code, join::JoinToken, label::Labels};

use crate::{
    identity::{Again, Enrolling, Folder, enroll},
    trust::PinFile,
};
use fake::Fake;

fn enrolling(fake: &Fake, folder: &Path, again: Again) -> Enrolling {
    Enrolling {
        server: fake.enrol_address.clone(),
        token: fake.token(),
        name: "web-1".parse().unwrap(),
        labels: Labels::from([("role".into(), "web".into())]),
        folder: folder.join("identity"),
        vault: folder.join("identity"),
        again,
    }
}

#[tokio::test]
async fn a_token_becomes_an_identity_once() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let joined = enroll(&enrolling(&fake, dir.path(), Again::Refuse)).await.unwrap();
    assert_eq!((joined.host, joined.name.as_str()), (fake::host(), "web-1"));
    assert_eq!(joined.controllers, std::slice::from_ref(&fake.main_address));
    let pair = Folder::new(dir.path().join("identity")).load().unwrap().unwrap();
    assert_eq!(pair.host, fake::host());
    let files: Vec<String> = std::fs::read_dir(dir.path().join("identity"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("key-"))
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");

    let error = enroll(&enrolling(&fake, dir.path(), Again::Refuse)).await.unwrap_err();
    assert_eq!(error.code, Code::R01);
    enroll(&enrolling(&fake, dir.path(), Again::Replace)).await.unwrap();
    assert_eq!(fake.enrolments(), 2);
}

#[tokio::test]
async fn a_controller_of_another_ca_hears_nothing() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut wanted = enrolling(&fake, dir.path(), Again::Refuse);
    wanted.token = JoinToken { ca: [9; 32], ..wanted.token };
    let error = enroll(&wanted).await.unwrap_err();
    assert_eq!(error.code, Code::E04, "{error}");
    assert_eq!(fake.enrolments(), 0);
    assert!(Folder::new(wanted.folder).load().unwrap().is_none());
}

/// A token of another fleet, or one that is good no more, does not tie a host that never joined to that fleet.
#[tokio::test]
async fn an_enrolment_that_comes_to_nothing_pins_nothing() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let wanted = enrolling(&fake, dir.path(), Again::Refuse);
    let pinned = || PinFile::within(&wanted.vault).load().unwrap().root_sha256;
    let elsewhere = Enrolling {
        token: JoinToken { ca: [9; 32], root: Some([1; 32]), ..wanted.token.clone() },
        ..wanted.clone()
    };
    enroll(&elsewhere).await.unwrap_err();
    assert_eq!(pinned(), None);

    let here = JoinToken { root: Some([2; 32]), ..wanted.token.clone() };
    enroll(&Enrolling { token: here, ..wanted.clone() }).await.unwrap();
    assert_eq!(pinned(), Some([2; 32]));
    // Once it belongs to a fleet, neither another's token nor a failure changes that.
    let again = Enrolling { again: Again::Replace, ..elsewhere };
    assert_eq!(enroll(&again).await.unwrap_err().code, Code::T02);
    let again = Enrolling { token: JoinToken { root: Some([2; 32]), ..again.token }, ..again };
    assert_eq!(enroll(&again).await.unwrap_err().code, Code::E04);
    assert_eq!(pinned(), Some([2; 32]));
}

#[tokio::test]
async fn the_key_survives_a_lost_reply() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::new(dir.path().to_owned());
    let first = folder.new_key().unwrap().serialize_pem();
    assert_eq!(folder.new_key().unwrap().serialize_pem(), first);
}

#[tokio::test]
async fn a_controller_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::start().await;
    let mut wanted = enrolling(&fake, dir.path(), Again::Refuse);
    wanted.server = "127.0.0.1:1".into();
    let error = enroll(&wanted).await.unwrap_err();
    assert_eq!(error.code, Code::C01);
    assert!(error.message.contains("127.0.0.1:1"), "{error}");
}
