//! The operator's keys against a whole controller: made, used, shared between two people, exchanged.

use super::*;

use std::collections::BTreeSet;

use longshore_common::{
    digest::ReleaseDigest,
    ids::AppName,
    trust::{FLEET, Part},
};
use longshore_proto::v1::trust_client::TrustClient;
use tokio::time::Instant;

use crate::cli::signing::{
    Changes, Floor, KeyRing, ORG, Passphrase, Signed, Signer, create_app, init, rotate, sign_release,
    withdraw,
};

const ENOUGH: Signed = Signed::Enough { overtaken: vec![] };

fn ring(site: &Site, of: &str) -> KeyRing {
    KeyRing::at(site.folder().join(of), Passphrase::new(Some("correct horse".into()), None))
}

fn app() -> AppName {
    "shop".parse().unwrap()
}

#[tokio::test]
async fn keys_are_made_used_shared_and_exchanged() {
    let site = Site::start().await;
    let client = site.client().await;
    let (ada, bob) = (ring(&site, "ada"), ring(&site, "bob"));
    let by = Instant::now() + Duration::from_secs(600);
    let at = |ring| Signer { client: &client, ring, by };
    let (root, created) = init(&at(&ada)).await.unwrap();
    assert!(created);
    assert_eq!(init(&at(&ada)).await.unwrap(), (root, false));
    let strange = init(&at(&bob)).await.unwrap_err();
    assert_eq!(strange.code, Some(Code::N02), "{strange:?}");
    bob.set_pin(root).unwrap();

    create_app(&at(&ada), &app(), &[], 1).await.unwrap();
    let sign = async |ring, version: &str, of: &[u8], floor| {
        let version = version.parse().unwrap();
        sign_release(&at(ring), &app(), &version, ReleaseDigest::of(of), of.len() as u64, floor).await
    };
    assert_eq!(sign(&ada, "1.0", b"one", None).await.unwrap(), ENOUGH);
    assert_eq!(sign(&ada, "1.0", b"one", None).await.unwrap(), Signed::Before);
    assert_eq!(sign(&ada, "1.0", b"evil", None).await.unwrap_err().code, Some(Code::N02));
    assert!(sign(&bob, "1.1", b"two", None).await.unwrap_err().message.contains("no key that may sign"));

    let bobs = bob.create("bob").unwrap().public;
    let two = Changes { add: vec![bobs], remove: vec![], threshold: Some(2) };
    assert!(matches!(rotate(&at(&ada), "shop", &two).await.unwrap(), Signed::Waiting(_)));
    assert_eq!(rotate(&at(&bob), "shop", &two).await.unwrap(), ENOUGH);
    assert!(matches!(sign(&ada, "1.1", b"two", Some(Floor)).await.unwrap(), Signed::Waiting(_)));
    assert_eq!(sign(&bob, "1.1", b"two", Some(Floor)).await.unwrap(), ENOUGH);

    let held = at(&ada).verified("shop").await.unwrap().unwrap();
    let list = held.catalog("shop").unwrap();
    assert_eq!((list.releases.len(), list.min_seq, held.root_version()), (2, 2, 2));

    let version = "1.1".parse().unwrap();
    assert!(matches!(withdraw(&at(&ada), &app(), &version).await.unwrap(), Signed::Waiting(_)));
    assert_eq!(withdraw(&at(&bob), &app(), &version).await.unwrap(), ENOUGH);
    let held = at(&bob).verified("shop").await.unwrap().unwrap();
    assert_eq!(held.catalog("shop").unwrap().releases.len(), 1);
    site.stop().await;
}

/// The organisation's key is exchanged, then each app's root names the new one. In between nothing new of an app is
/// believed, and only a machine that has seen the app's root gives it the new key: whoever has the old one could have
/// signed another.
#[tokio::test]
async fn the_organisations_key_is_exchanged_and_each_app_follows() {
    let site = Site::start().await;
    let client = site.client().await;
    let (ada, eve) = (ring(&site, "ada"), ring(&site, "eve"));
    let by = Instant::now() + Duration::from_secs(600);
    let at = |ring| Signer { client: &client, ring, by };
    let (root, _) = init(&at(&ada)).await.unwrap();
    create_app(&at(&ada), &app(), &[], 1).await.unwrap();
    let sign = async |version: &str| {
        let (of, version) = (version.as_bytes().to_vec(), version.parse().unwrap());
        sign_release(&at(&ada), &app(), &version, ReleaseDigest::of(&of), of.len() as u64, None).await
    };
    assert_eq!(sign("1.0").await.unwrap(), ENOUGH);

    let old = ada.keys().into_iter().find(|key| key.name == ORG).unwrap().public;
    let new = ada.create("org-2").unwrap().public;
    let exchange = Changes { add: vec![new], remove: vec![old], threshold: None };
    assert_eq!(rotate(&at(&ada), FLEET, &exchange).await.unwrap(), ENOUGH);
    let refusal = sign("1.1").await.unwrap_err();
    assert_eq!(refusal.code, Some(Code::T02));
    assert!(refusal.message.contains("longshore trust rotate shop"), "{refusal:?}");
    let status = TrustClient::new(site.operator().await).status(pb::TrustStatusRequest {}).await.unwrap();
    let problem = status.into_inner().repositories.remove(1).problem;
    assert!(problem.contains("longshore trust rotate shop"), "{problem}");

    // A machine that has the keys and has never seen the app's root.
    eve.set_pin(root).unwrap();
    for key in std::fs::read_dir(ada.folder()).unwrap().map(|entry| entry.unwrap().path()) {
        if key.extension().is_some_and(|kind| kind == "key") {
            std::fs::copy(&key, eve.folder().join(key.file_name().unwrap())).unwrap();
        }
    }
    let refusal = rotate(&at(&eve), "shop", &Changes::default()).await.unwrap_err();
    assert_eq!(refusal.code, Some(Code::T02), "{refusal:?}");

    assert_eq!(rotate(&at(&ada), "shop", &Changes::default()).await.unwrap(), ENOUGH);
    assert_eq!(sign("1.1").await.unwrap(), ENOUGH);
    let held = at(&ada).verified("shop").await.unwrap().unwrap();
    assert_eq!(held.root("shop").unwrap().role(Part::Root), (1, &BTreeSet::from([new])));
    assert_eq!(rotate(&at(&eve), "shop", &Changes::default()).await.unwrap(), ENOUGH);
    site.stop().await;
}

/// Two commands of one person at a time, as when two jobs publish: each signs on top of what the other has signed.
#[tokio::test]
async fn whoever_signs_while_another_does_waits_for_that() {
    let site = Site::start().await;
    let client = site.client().await;
    let ada = ring(&site, "ada");
    let by = Instant::now() + Duration::from_secs(600);
    let at = |by| Signer { client: &client, ring: &ada, by };
    init(&at(by)).await.unwrap();
    create_app(&at(by), &app(), &[], 1).await.unwrap();
    let sign = async |version: &str, by| {
        let (of, version) = (version.as_bytes().to_vec(), version.parse().unwrap());
        sign_release(&at(by), &app(), &version, ReleaseDigest::of(&of), of.len() as u64, None).await
    };
    let signed = tokio::join!(sign("1.0", by), sign("1.1", by), sign("1.2", by));
    assert_eq!(signed, (Ok(ENOUGH), Ok(ENOUGH), Ok(ENOUGH)));
    let held = at(by).verified("shop").await.unwrap().unwrap();
    assert_eq!(held.catalog("shop").unwrap().releases.len(), 3);

    let other = ada.lock().unwrap().unwrap();
    let late = sign("1.3", Instant::now()).await.unwrap_err();
    assert_eq!((late.code, late.exit.number()), (Some(Code::S01), 5), "{late:?}");
    assert!(late.message.contains(&format!("pid {}", std::process::id())), "{late:?}");
    drop(other);
    assert_eq!(sign("1.3", by).await, Ok(ENOUGH));
    site.stop().await;
}
