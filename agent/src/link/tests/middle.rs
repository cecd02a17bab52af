//! Somebody between the host and its controller: an impostor with a CA of its own, and one who passes everything on
//! and changes a bit.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use longshore_common::tls::client_config;

use super::*;
use crate::link::dial;

async fn identity(fake: &Fake, dir: &Path) -> crate::identity::Pair {
    enroll(&enrolling(fake, dir, Again::Refuse)).await.unwrap();
    Folder::new(dir.join("identity")).load().unwrap().unwrap()
}

#[tokio::test]
async fn an_impostor_with_a_ca_of_its_own_hears_nothing() {
    let (fake, impostor) = (Fake::start().await, Fake::start().await);
    let dir = tempfile::tempdir().unwrap();
    let (identity, trust) = identity(&fake, dir.path()).await.live();
    let refused = dial(&impostor.main_address, client_config(identity, trust)).await.unwrap_err();
    assert_eq!(refused.code, Code::E04, "{refused}");
    assert!(refused.message.contains("wrong address or interception"), "{refused}");
}

/// Relays both ways; from when it is told to, all that comes from the host has a bit changed.
async fn tamper(to: String, from_now_on: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (host, _) = listener.accept().await.unwrap();
        let controller = TcpStream::connect(to).await.unwrap();
        let ((mut from_host, mut to_host), (mut from_controller, mut to_controller)) =
            (host.into_split(), controller.into_split());
        tokio::spawn(async move { tokio::io::copy(&mut from_controller, &mut to_host).await });
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from_host.read(&mut buffer).await {
            if from_now_on.load(Ordering::Relaxed) {
                buffer[count - 1] ^= 1;
            }
            if to_controller.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    });
    address
}

#[tokio::test]
async fn a_changed_bit_ends_the_connection_and_reaches_nobody() {
    let fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    let pair = identity(&fake, dir.path()).await;
    let (identity, trust) = pair.live();
    let from_now_on = Arc::new(AtomicBool::new(false));
    let address = tamper(fake.main_address.clone(), from_now_on.clone()).await;
    let renewals = fake.renewals();
    let renewed = async {
        let channel = dial(&address, client_config(identity, trust)).await?;
        from_now_on.store(true, Ordering::Relaxed);
        crate::link::renew::renew(Folder::new(dir.path().join("identity")), channel).await
    };
    let error = tokio::time::timeout(fake::PATIENCE, renewed).await.expect("it ends").unwrap_err();
    assert_eq!(error.code, Code::C01, "{error}");
    assert_eq!(fake.renewals(), renewals);
}
