//! What the CA's certificates and files say, what is made of files that say something else, and who needs which root.

use longshore_common::ids::OperatorName;
use x509_parser::{
    extensions::{GeneralName, KeyUsage},
    pem::Pem,
};

use super::{
    super::{
        authority::{ROOT_LIFETIME, check_server_name},
        keep::{Users, users},
    },
    *,
};
use crate::access::{self, Grants, OperatorKey, User};

fn certificates(pem: &str) -> Vec<Pem> {
    Pem::iter_from_buffer(pem.as_bytes()).map(Result::unwrap).collect()
}

fn usage(certificate: &X509Certificate<'_>) -> KeyUsage {
    *certificate.key_usage().unwrap().unwrap().value
}

fn rewrite(world: &World, name: &str, text: &str) {
    longshore_common::durable::write_atomic(&world.dir.path().join(name), text.as_bytes(), 0o600).unwrap();
}

#[test]
fn the_controllers_certificate_is_for_a_server_of_its_names() {
    let world = World::new();
    let authority = &world.enrolment.authority;
    let names = ["c.example".to_owned(), "10.0.0.1".to_owned()];
    let issued = authority.issue_controller(&pair(), &names, START).unwrap();
    assert_eq!(issued.ca, authority.id());
    let chain = certificates(&issued.chain_pem);
    assert_eq!(chain.len(), 2, "the leaf and the root");
    assert_eq!(chain[1].contents, certificates(&authority.pem())[0].contents);
    let leaf = chain[0].parse_x509().unwrap();
    let who = Identity::Controller.to_string();
    let named = &leaf.subject_alternative_name().unwrap().unwrap().value.general_names;
    assert!(matches!(
        named[..],
        [GeneralName::DNSName("c.example"), GeneralName::IPAddress(&[10, 0, 0, 1]), GeneralName::URI(uri)] if uri == who
    ));
    let extended = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.server_auth && !extended.client_auth);
    assert!(!leaf.is_ca() && usage(&leaf).digital_signature() && !usage(&leaf).key_cert_sign());
    assert_eq!(leaf.validity().not_after.timestamp() * 1000, issued.expires_ms);
    assert_eq!(leaf.subject().iter().count(), 0, "who it is stands in the URI alone");
    let serials: std::collections::BTreeSet<Vec<u8>> = (0..16)
        .map(|_| {
            let issued = authority.issue_controller(&pair(), &names, START).unwrap();
            certificates(&issued.chain_pem)[0].parse_x509().unwrap().raw_serial().to_vec()
        })
        .collect();
    assert_eq!(serials.len(), 16);
    for serial in serials {
        assert!(
            serial[0] < 0x80 && serial.len() <= 20,
            "RFC 5280: positive, of at most 20 bytes: {serial:?}"
        );
    }
}

#[test]
fn a_root_signs_leaves_only_and_for_ten_years() {
    let world = World::new();
    let root = world.enrolment.authority.roots().remove(0);
    assert_eq!(root.expires_ms, START + ROOT_LIFETIME.as_millis() as Millis);
    assert_eq!(ROOT_LIFETIME, 3650 * DAY);
    let pem = certificates(&root.pem);
    let certificate = pem[0].parse_x509().unwrap();
    assert!(certificate.is_ca() && usage(&certificate).key_cert_sign() && usage(&certificate).crl_sign());
    let constraints = certificate.basic_constraints().unwrap().unwrap().value;
    assert_eq!(constraints.path_len_constraint, Some(0));
}

#[test]
fn a_controller_is_known_by_dns_names_and_addresses() {
    for good in ["c.example", "c-1", "10.0.0.1", "::1", &"a".repeat(253)] {
        check_server_name(good).unwrap();
    }
    for bad in ["", "a_b", "a b", "grün.example", "c\u{1b}", &"a".repeat(254)] {
        let refused = check_server_name(bad).unwrap_err().to_string();
        assert!(refused.ends_with("is neither a DNS name nor an IP address"), "{refused}");
        assert!(!refused.contains('\u{1b}'), "{refused:?}");
    }
}

#[test]
fn files_of_a_ca_that_are_not_what_they_should_be_are_refused_and_named() {
    let world = World::new();
    let whole = world.enrolment.authority.pem();
    let refused = || Authority::load(world.dir.path()).unwrap_err().to_string();
    rewrite(&world, "ca.pem", "");
    assert!(refused().contains("ca.pem holds no certificate; nothing was changed"), "{}", refused());
    rewrite(&world, "ca.pem", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n");
    assert!(refused().contains("ca.pem does not read as PEM"), "{}", refused());
    rewrite(&world, "ca.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    assert!(refused().contains("ca.pem holds what is no certificate"), "{}", refused());
    rewrite(&world, "ca.pem", &whole);
    rewrite(&world, "ca-key.pem", &pair().serialize_pem());
    assert!(refused().contains("is not that of the first root"), "{}", refused());
    rewrite(&world, "ca-key.pem", "-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n");
    let damaged = refused();
    assert!(damaged.starts_with("LS-S02") && damaged.contains("ca-key.pem` is damaged"), "{damaged}");
    assert!(world.enrolment.authority.reload().is_err());
    assert_eq!(world.enrolment.authority.pem(), whole, "what does not read changes nothing");
}

/// While two roots are believed, the way to the older one goes over what it said of the newer, and over nothing else.
#[test]
fn a_chain_leads_to_the_older_root_by_what_that_root_said() {
    let world = World::new();
    let (dir, authority) = (world.dir.path(), &world.enrolment.authority);
    let old = authority.pem();
    let chain = || {
        authority.reload().unwrap();
        let chain = authority.issue_controller(&pair(), &["c.example".to_owned()], START).unwrap();
        certificates(&chain.chain_pem).into_iter().map(|pem| pem.contents).collect::<Vec<_>>()
    };
    roots::rotate(dir, START).unwrap();
    let again = roots::rotate(dir, START).unwrap_err().to_string();
    assert!(again.starts_with("a rotation is under way already"), "{again}");
    let whole = chain();
    assert_eq!(whole.len(), 4, "the leaf, the new root, what the old one said of it, and the old one");
    let (_, cross) = X509Certificate::from_der(&whole[2]).unwrap();
    let (_, root) = X509Certificate::from_der(&whole[1]).unwrap();
    assert_eq!(cross.public_key().raw, root.public_key().raw);
    assert_eq!(whole[3], certificates(&old)[0].contents);
    assert_eq!(
        authority.on_disk().unwrap(),
        authority.roots().iter().map(|root| roots::id(&root.hash)).collect::<Vec<_>>()
    );

    rewrite(&world, "ca-cross.pem", &old);
    authority.retire().unwrap();
    assert!(!dir.join("ca-cross.pem").exists());
    assert_eq!(chain().len(), 2);
}

/// As a crash in the midst of a rotation that was begun again may leave it.
#[test]
fn what_was_said_of_another_root_is_left_out() {
    let world = World::new();
    let old = world.enrolment.authority.pem();
    roots::rotate(world.dir.path(), START).unwrap();
    rewrite(&world, "ca-cross.pem", &old);
    let authority = Authority::load(world.dir.path()).unwrap();
    let chain = authority.issue_controller(&pair(), &["c.example".to_owned()], START).unwrap();
    assert_eq!(certificates(&chain.chain_pem).len(), 3);
}

#[test]
fn certificates_of_a_root_that_is_gone_open_nothing_and_older_records_are_left_to_the_handshake() {
    let world = World::new();
    let authority = &world.enrolment.authority;
    let old = authority.id();
    assert!(authority.believes(&old) && authority.believes("") && !authority.believes("00ff"));
    roots::rotate(world.dir.path(), START).unwrap();
    authority.reload().unwrap();
    assert!(authority.believes(&old) && authority.believes(&authority.id()));
    authority.retire().unwrap();
    assert!(!authority.believes(&old) && authority.believes(""));
}

impl World {
    async fn needs(&self, ca: &str, oldest: bool) -> Users {
        users(&self.store, ca, oldest, self.clock.now_ms()).await.unwrap()
    }

    async fn operator_of(&self, name: &str, ca: &str, expires_ms: Millis) {
        let mut user = User::new(name.parse::<OperatorName>().unwrap(), Grants::all(), "a test", 0);
        user.add_key(OperatorKey { key: [7; 32], expires_ms, ca: ca.into(), replaces: String::new() }, 0);
        access::create(&self.store, &user).await.unwrap();
    }
}

/// A root is kept for hosts however long they have been away, and for operators and tokens as long as they are good.
#[tokio::test]
async fn a_root_is_needed_by_hosts_and_by_what_has_not_expired() {
    let world = World::new();
    let (ca, now) = (world.enrolment.authority.id(), START);
    assert!(world.needs(&ca, true).await.is_none());
    let token = world.token(2).await;
    assert_eq!(world.needs(&ca, false).await, Users { tokens: vec![token.id.clone()], ..Users::default() });
    let host = world.enrolment.enrol(asking(&token, &key(), "web-1")).await.unwrap().host;
    world.enrolment.enrol(asking(&token, &key(), "web-2")).await.unwrap();
    let hosts = vec!["web-1".to_owned(), "web-2".to_owned()];
    let needed = Users { hosts: hosts.clone(), ..Users::default() };
    let sorted = |mut users: Users| {
        users.hosts.sort();
        users
    };
    assert_eq!(sorted(world.needs(&ca, false).await), needed, "the token is used up");
    assert!(world.needs("00ff", false).await.is_none());

    let other = world.token(1).await;
    world.operator_of("ann", &ca, now + TTL_DEFAULT.as_millis() as Millis + 1).await;
    world.operator_of("bob", "", now + TTL_DEFAULT.as_millis() as Millis).await;
    let operators = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let needed = sorted(world.needs(&ca, true).await);
    assert_eq!(
        needed,
        Users { hosts: hosts.clone(), operators: operators(&["ann", "bob"]), tokens: vec![other.id] }
    );
    assert!(!needed.is_none());
    assert_eq!(world.needs(&ca, false).await.operators, ["ann"], "records without a root are of the oldest");
    assert_eq!(world.needs("00ff", true).await.operators, ["bob"]);

    world.clock.advance(TTL_DEFAULT);
    let needed = Users { hosts: hosts.clone(), operators: operators(&["ann"]), tokens: vec![] };
    assert_eq!(sorted(world.needs(&ca, true).await), needed, "a millisecond is left to ann alone");
    world.clock.advance(HOST_LIFETIME);
    assert_eq!(sorted(world.needs(&ca, true).await), Users { hosts, ..Users::default() });

    let unnamed = |host: &mut host::Host| {
        host.keys.iter_mut().for_each(|key| key.ca.clear());
        Ok(())
    };
    host::change(&world.store, host.id, unnamed).await.unwrap();
    assert_eq!(world.needs(&ca, false).await.hosts, ["web-2"]);
    assert_eq!(world.needs("00ff", true).await.hosts, ["web-1"]);
}

#[test]
fn a_root_is_free_when_nobody_of_any_kind_needs_it() {
    let one = || vec!["one".to_owned()];
    assert!(Users::default().is_none());
    for needed in [
        Users { hosts: one(), ..Users::default() },
        Users { operators: one(), ..Users::default() },
        Users { tokens: one(), ..Users::default() },
    ] {
        assert!(!needed.is_none(), "{needed:?}");
    }
}
