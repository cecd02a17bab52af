//! The operator's keys against a whole controller: made, used, shared between two people, exchanged.

use super::*;

use longshore_common::{digest::ReleaseDigest, ids::AppName};
use tokio::time::Instant;

use crate::cli::signing::{
    Changes, Floor, KeyRing, Passphrase, Signed, Signer, create_app, init, rotate, sign_release, withdraw,
};

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
    let by = Instant::now() + Duration::from_secs(60);
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
    assert_eq!(sign(&ada, "1.0", b"one", None).await.unwrap(), Signed::Enough);
    assert_eq!(sign(&ada, "1.0", b"one", None).await.unwrap(), Signed::Before);
    assert_eq!(sign(&ada, "1.0", b"evil", None).await.unwrap_err().code, Some(Code::N02));
    assert!(sign(&bob, "1.1", b"two", None).await.unwrap_err().message.contains("no key that may sign"));

    let bobs = bob.create("bob").unwrap().public;
    let two = Changes { add: vec![bobs], remove: vec![], threshold: Some(2) };
    assert!(matches!(rotate(&at(&ada), "shop", &two).await.unwrap(), Signed::Waiting(_)));
    assert_eq!(rotate(&at(&bob), "shop", &two).await.unwrap(), Signed::Enough);
    assert!(matches!(sign(&ada, "1.1", b"two", Some(Floor)).await.unwrap(), Signed::Waiting(_)));
    assert_eq!(sign(&bob, "1.1", b"two", Some(Floor)).await.unwrap(), Signed::Enough);

    let held = at(&ada).verified("shop").await.unwrap().unwrap();
    let list = held.catalog("shop").unwrap();
    assert_eq!((list.releases.len(), list.min_seq, held.root_version()), (2, 2, 2));

    let version = "1.1".parse().unwrap();
    assert!(matches!(withdraw(&at(&ada), &app(), &version).await.unwrap(), Signed::Waiting(_)));
    assert_eq!(withdraw(&at(&bob), &app(), &version).await.unwrap(), Signed::Enough);
    let held = at(&bob).verified("shop").await.unwrap().unwrap();
    assert_eq!(held.catalog("shop").unwrap().releases.len(), 1);
    site.stop().await;
}
