//! What needs a clock of its own: expiry, clearing, renewal of the controller's certificate. What goes over the wire
//! is tried in `daemon::tests`.

mod certificates;
mod door;
mod edges;
mod recorded;

use std::{collections::BTreeMap, net::SocketAddr, os::unix::fs::PermissionsExt, sync::Arc, time::Duration};

use longshore_common::{
    code::Code,
    join::JoinToken,
    recovery::words,
    time::{Clock, ManualClock, Millis},
    tls::Identity,
};
use rcgen::{
    CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData as _, SigningKey as _,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{
    Authority, Door,
    authority::{BACKDATE, CONTROLLER_LIFETIME, HOST_LIFETIME},
    enrol::{AskedKey, Asking, Enrolled, Enrolment},
    init::{Wanted, init},
    leaf::Leaf,
    recover::Recovering,
    roots,
    token::{self, Narrowed, NewToken, TTL_DEFAULT},
};
use crate::{
    fleet::host::{self, BarredKind, KEYS_MAX},
    store::{MemoryStore, SharedStore},
    trouble::Trouble,
};

const START: Millis = 1_700_000_000_000;
const DAY: Duration = Duration::from_secs(86_400);

struct World {
    enrolment: Enrolment,
    clock: ManualClock,
    store: SharedStore,
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(START);
        let store: SharedStore = Arc::new(MemoryStore::new());
        let authority = Arc::new(Authority::load_or_create(dir.path(), START).unwrap());
        let door = Door::new(store.clone(), Arc::new(clock.clone()));
        let enrolment = Enrolment { store: store.clone(), authority, clock: Arc::new(clock.clone()), door };
        Self { enrolment, clock, store, dir }
    }

    async fn token(&self, uses: u32) -> JoinToken {
        let wanted = NewToken {
            uses,
            ttl: TTL_DEFAULT,
            labels: BTreeMap::new(),
            created_by: "alice".into(),
            narrowed: Narrowed::default(),
        };
        let ca = self.enrolment.authority.hash();
        token::create(&self.store, ca, wanted, self.clock.now_ms()).await.unwrap().0
    }
}

fn csr(key: &KeyPair) -> Vec<u8> {
    CertificateParams::default().serialize_request(key).unwrap().der().to_vec()
}

fn key() -> AskedKey {
    AskedKey::from_csr(&csr(&KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap())).unwrap()
}

fn asking(token: &JoinToken, key: &AskedKey, name: &str) -> Asking {
    Asking {
        token: token.clone(),
        key: key.clone(),
        name: name.parse().unwrap(),
        labels: BTreeMap::new(),
        machine_id: String::new(),
        from: SocketAddr::from(([10, 0, 0, 9], 1)),
    }
}

#[tokio::test]
async fn a_token_has_an_end_and_says_how_long_ago() {
    let world = World::new();
    let token = world.token(1).await;
    world.clock.advance(TTL_DEFAULT + Duration::from_secs(14 * 60));
    let refused = world.enrolment.enrol(asking(&token, &key(), "web-1")).await.unwrap_err().coded();
    assert_eq!(refused.code, Code::E01);
    assert!(refused.message.contains("expired 14m ago"), "{refused}");
    assert!(host::list(&world.store).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_token_of_many_uses_has_exactly_as_many_however_many_come_at_once() {
    let world = World::new();
    let token = world.token(5).await;
    let enrolment = Arc::new(world.enrolment);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..12 {
        let (enrolment, asking) = (enrolment.clone(), asking(&token, &key(), &format!("web-{n}")));
        tasks.spawn(async move { enrolment.enrol(asking).await.is_ok() });
    }
    let let_in = tasks.join_all().await.into_iter().filter(|ok| *ok).count();
    assert_eq!((let_in, host::list(&world.store).await.unwrap().len()), (5, 5));
}

#[tokio::test]
async fn two_hosts_of_one_name_get_two_names() {
    let world = World::new();
    let token = world.token(2).await;
    for _ in 0..2 {
        world.enrolment.enrol(asking(&token, &key(), "web-1")).await.unwrap();
    }
    let mut names: Vec<String> =
        host::list(&world.store).await.unwrap().into_iter().map(|host| host.name.to_string()).collect();
    names.sort();
    assert_eq!(names[0], "web-1");
    assert!(names[1].starts_with("web-1-") && names[1].len() == "web-1-".len() + 8, "{names:?}");
}

#[tokio::test]
async fn a_host_holds_few_keys_and_no_expired_ones() {
    let world = World::new();
    let token = world.token(1).await;
    let mut held = key();
    let id = world.enrolment.enrol(asking(&token, &held, "web-1")).await.unwrap().host.id;
    for _ in 0..6 {
        let next = key();
        let host = world.enrolment.renew(id, held.spki, &next).await.unwrap().host;
        assert!(host.keys.len() <= KEYS_MAX);
        assert!(host.key(&held.spki).is_some() && host.key(&next.spki).is_some());
        held = next;
    }
    world.clock.advance(HOST_LIFETIME + DAY);
    let next = key();
    let host = world.enrolment.renew(id, held.spki, &next).await.unwrap().host;
    assert_eq!(host.keys.iter().map(|key| key.spki).collect::<Vec<_>>(), [next.spki]);
}

#[test]
fn only_a_key_that_the_asker_holds_and_only_of_our_kind() {
    let other_kind = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    assert!(AskedKey::from_csr(&csr(&other_kind)).unwrap_err().message.contains("ECDSA P-256"));
    let mut forged = csr(&KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap());
    let last = forged.len() - 1;
    forged[last] ^= 1;
    for bad in [forged, vec![], vec![0x30; 64]] {
        assert_eq!(AskedKey::from_csr(&bad).unwrap_err().code, Code::V01);
    }
}

/// Of the request only the key counts.
#[tokio::test]
async fn a_certificate_says_what_we_say() {
    let world = World::new();
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut greedy = CertificateParams::new(vec!["controller.example".to_owned()]).unwrap();
    greedy.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = AskedKey::from_csr(greedy.serialize_request(&pair).unwrap().der()).unwrap();
    let token = world.token(1).await;
    let enrolled = world.enrolment.enrol(asking(&token, &key, "web-1")).await.unwrap();

    let pem = x509_parser::pem::parse_x509_pem(enrolled.issued.chain_pem.as_bytes()).unwrap().1;
    let (_, certificate) = X509Certificate::from_der(&pem.contents).unwrap();
    assert!(!certificate.is_ca());
    let usage = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth);
    let names = &certificate.subject_alternative_name().unwrap().unwrap().value.general_names;
    let expected = Identity::Host(enrolled.host.id).to_string();
    assert!(matches!(names[..], [x509_parser::extensions::GeneralName::URI(uri)] if uri == expected));
    let validity = certificate.validity();
    assert_eq!(validity.not_before.timestamp() * 1000, START - BACKDATE.as_millis() as Millis);
    assert_eq!(validity.not_after.timestamp() * 1000, START + HOST_LIFETIME.as_millis() as Millis);
}

#[test]
fn the_controllers_certificate_is_replaced_at_half_of_its_life() {
    let world = World::new();
    let mut leaf = Leaf::new(world.enrolment.authority.clone(), vec!["c.example".into()], START).unwrap();
    let half = CONTROLLER_LIFETIME.as_millis() as Millis / 2;
    assert!(!leaf.renew_if_due(START + half - 2000).unwrap());
    assert!(leaf.renew_if_due(START + half).unwrap());
    assert_eq!(leaf.expires_ms(), START + half + CONTROLLER_LIFETIME.as_millis() as Millis);
}

#[test]
fn keys_are_for_their_owner_only_and_init_runs_once() {
    let dir = tempfile::tempdir().unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let wanted = Wanted {
        dir: dir.path().join("c"),
        listen: any,
        enrol_listen: any,
        names: vec!["c.example".into()],
        operator: "alice".parse().unwrap(),
    };
    let made = init(wanted.clone(), START).unwrap();
    for key in [made.config.identity_dir().join("ca-key.pem"), made.operator_dir.join("key.pem")] {
        let mode = std::fs::metadata(&key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", key.display());
    }
    let again = init(wanted.clone(), START).unwrap_err();
    assert!(again.to_string().contains("nothing was changed"), "{again}");
    // A run that was cut short before its last file is begun again, with the same CA.
    std::fs::remove_file(&made.config_path).unwrap();
    assert_eq!(init(wanted, START).unwrap().ca_hash, made.ca_hash);
}

#[test]
fn the_authority_comes_back_as_it_was() {
    let world = World::new();
    let again = Authority::load_or_create(world.dir.path(), START + 1).unwrap();
    assert_eq!(again.hash(), world.enrolment.authority.hash());
}

/// What a host signs to come back.
fn recovering(host: &str, held: &KeyPair, next: &KeyPair, recoveries: u32) -> Recovering {
    let (csr_der, host, nonce) = (csr(next), host.parse().unwrap(), [5; 32]);
    let signature = held.sign(&words(&nonce, &host, recoveries, &csr_der)).unwrap();
    Recovering {
        host,
        nonce,
        key: AskedKey::from_csr(&csr_der).unwrap(),
        csr_der,
        held_der: held.subject_public_key_info(),
        recoveries,
        signature,
    }
}

fn pair() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

/// Within ninety days, with the key that is bound, and only the host that knows its count.
#[tokio::test]
async fn a_host_comes_back_from_an_expired_certificate_and_its_copy_does_not() {
    let world = World::new();
    let (held, next) = (pair(), pair());
    let asked = AskedKey::from_csr(&csr(&held)).unwrap();
    let id = world.enrolment.enrol(asking(&world.token(1).await, &asked, "web-1")).await.unwrap().host.id;
    let id = id.to_string();
    let refused = |result: Result<Enrolled, Trouble>| result.unwrap_err().coded();

    let early = refused(world.enrolment.recover(recovering(&id, &held, &next, 0)).await);
    assert_eq!(early.code, Code::E05, "{early}");
    world.clock.advance(HOST_LIFETIME + 30 * DAY);
    let mut forged = recovering(&id, &held, &next, 0);
    forged.signature = recovering(&id, &next, &next, 0).signature;
    assert_eq!(refused(world.enrolment.recover(forged).await).code, Code::C02);
    let mut replayed = recovering(&id, &held, &next, 0);
    replayed.nonce = [6; 32];
    assert_eq!(refused(world.enrolment.recover(replayed).await).code, Code::C02, "signed for another nonce");

    let back = world.enrolment.recover(recovering(&id, &held, &next, 0)).await.unwrap();
    assert_eq!(back.host.recoveries, 1);
    let again = world.enrolment.recover(recovering(&id, &held, &next, 0)).await.unwrap();
    assert_eq!(again.host.recoveries, 1, "a lost answer costs nothing");

    // The same disk once more, started later: its key is the old one, its count is behind.
    let copy = refused(world.enrolment.recover(recovering(&id, &held, &pair(), 0)).await);
    assert_eq!(copy.code, Code::E06, "{copy}");
    assert!(copy.message.contains("has come back 0 times by its own count, and 1 times by ours"), "{copy}");
    let (host, _) = host::get(&world.store, &id.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(host.barred.map(|barred| barred.kind), Some(BarredKind::Cloned));
    let both = refused(world.enrolment.recover(recovering(&id, &held, &next, 1)).await);
    assert_eq!(both.code, Code::E06, "neither of the two: {both}");
}

#[tokio::test]
async fn after_ninety_days_there_is_no_way_back() {
    let world = World::new();
    let held = pair();
    let asked = AskedKey::from_csr(&csr(&held)).unwrap();
    let id = world.enrolment.enrol(asking(&world.token(1).await, &asked, "web-1")).await.unwrap().host.id;
    world.clock.advance(HOST_LIFETIME + 91 * DAY);
    let late = world.enrolment.recover(recovering(&id.to_string(), &held, &pair(), 0)).await;
    let late = late.unwrap_err().coded();
    assert_eq!(late.code, Code::E06, "{late}");
    assert!(late.message.contains("expired 91 days ago"), "{late}");
}

/// At every moment of a rotation there is one root that signs, with its key, and the older one is believed until the
/// end.
#[test]
fn a_rotation_adds_a_root_and_retiring_takes_the_older_one_away() {
    let world = World::new();
    let (dir, authority) = (world.dir.path(), &world.enrolment.authority);
    let old = authority.hash();
    assert!(roots::retire(dir).unwrap_err().to_string().contains("one root only"));
    let new = roots::rotate(dir, START).unwrap();
    assert!(authority.reload().unwrap() && !authority.reload().unwrap());
    assert_eq!((authority.hash(), authority.is_rotating()), (new, true));
    assert!(authority.knows(&old) && authority.knows(&new) && !authority.knows(&[0; 32]));
    let keys = || {
        let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with("ca-key")).count()
    };
    assert_eq!(keys(), 1, "the old root signs nothing any more");
    authority.retire().unwrap();
    assert_eq!((authority.is_rotating(), authority.knows(&old)), (false, false));
    let again = Authority::load(dir).unwrap();
    assert_eq!((again.hash(), again.pem()), (new, authority.pem()));
}

/// A crash at any write of a rotation leaves the old state or the new.
#[test]
fn a_rotation_that_was_cut_short_is_no_rotation() {
    let world = World::new();
    let (dir, authority) = (world.dir.path(), &world.enrolment.authority);
    let (old, before) = (authority.hash(), std::fs::read(dir.join("ca.pem")).unwrap());
    let old_key = std::fs::read(dir.join("ca-key.pem")).unwrap();
    roots::rotate(dir, START).unwrap();
    // As it is on the disk just before `ca.pem` is written.
    longshore_common::durable::write_atomic(&dir.join("ca.pem"), &before, 0o644).unwrap();
    longshore_common::durable::write_atomic(&dir.join("ca-key.pem"), &old_key, 0o600).unwrap();
    let cut = Authority::load(dir).unwrap();
    assert_eq!((cut.hash(), cut.is_rotating()), (old, false));
    roots::rotate(dir, START).expect("begun again");
}
