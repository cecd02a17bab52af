//! Identities in trouble, over real TLS: expired, copied, waiting, revoked, and a CA that is rotated.

use super::*;

use std::sync::Arc;

use longshore_common::{
    code::Coded,
    digest::hex,
    recovery::words,
    tls::{LiveIdentity, anonymous_client_config},
};
use longshore_proto::v1::{
    access_client::AccessClient, controller_client::ControllerClient, enrolment_client::EnrolmentClient,
    hosts_client::HostsClient,
};
use rcgen::{PublicKeyData as _, SigningKey as _};

use crate::{
    audit::{Chained, What},
    cli::operator,
    identity::{Authority, roots},
};

/// A session's end, in time, with the word that was said.
pub(super) async fn farewell(heard: &mut mpsc::Receiver<ToAgent>) -> Coded {
    let last = tokio::time::timeout(PATIENCE, async {
        while let Some(message) = heard.recv().await {
            if let ToAgent::Farewell(why) = message {
                return Some(why);
            }
        }
        None
    });
    last.await.expect("it ends in time").expect("with a word")
}

async fn show(site: &Site, host: &str) -> pb::Host {
    let request = pb::ShowHostRequest { host: host.into() };
    site.hosts().await.show(request).await.unwrap().into_inner()
}

async fn admit(site: &Site, host: &str, key: &str) -> Result<pb::AdmitHostReply, Coded> {
    let request = pb::AdmitHostRequest { host: host.into(), key: key.into() };
    let reply = site.hosts().await.admit(request).await;
    reply.map(tonic::Response::into_inner).map_err(|status| from_status(&status))
}

async fn audited(site: &Site, what: &str) -> bool {
    let request = pb::AuditRequest { from: 0, follow: false };
    let mut pages = AccessClient::new(site.operator().await).audit(request).await.unwrap().into_inner();
    while let Some(page) = pages.message().await.unwrap() {
        if page.lines.iter().any(|line| line.contains(what)) {
            return true;
        }
    }
    false
}

/// Events of the log on the disk that begin so.
fn recorded(site: &Site, event: &str) -> Vec<String> {
    let dir = site.config().audit_dir();
    // A file that is being replaced has a name for a moment only.
    let files = std::fs::read_dir(dir).unwrap();
    let files = files.filter_map(|file| std::fs::read_to_string(file.unwrap().path()).ok());
    let lines = files.flat_map(|text| text.lines().filter_map(Chained::parse).collect::<Vec<_>>());
    let events = lines.filter_map(|entry| match entry.what {
        What::Event { event, .. } => Some(event),
        _ => None,
    });
    events.filter(|said| said.starts_with(event)).collect()
}

/// What a host whose certificate has expired says.
async fn recover(
    site: &Site,
    certificate: &pb::Certificate,
    held: &HostKey,
    next: &HostKey,
    recoveries: u32,
) -> Result<pb::Certificate, Coded> {
    let trust = LiveServerTrust::new(site.ca().as_bytes()).unwrap();
    let channel = site::dial(site.addresses().enrol, anonymous_client_config(trust)).await.unwrap();
    let mut client = EnrolmentClient::new(channel);
    let nonce = client.challenge(pb::ChallengeRequest {}).await.unwrap().into_inner().nonce;
    let (csr, id) = (next.csr(), certificate.host_id.parse().unwrap());
    let signed = held.pair.sign(&words(nonce[..].try_into().unwrap(), &id, recoveries, &csr)).unwrap();
    let request = pb::RecoverRequest {
        host_id: certificate.host_id.clone(),
        nonce,
        csr_der: csr.into(),
        key_der: held.pair.subject_public_key_info().into(),
        recoveries,
        signature: signed.into(),
    };
    let reply = client.recover(request).await;
    reply.map(|reply| reply.into_inner()).map_err(|status| from_status(&status))
}

/// Row 17, the cloned half: nobody can say which of the two is the host, so both wait until an operator has looked.
#[tokio::test]
async fn one_identity_in_two_places_is_paused_until_an_operator_decides() {
    let site = Site::start().await;
    let key = HostKey::new();
    let enrolled = site.enrol(&site.token().await, &key, "web-1").await.unwrap();
    let agent = site.agent(&enrolled, &[]);
    let (say, heard) = site.open_session(&enrolled, &key).await;
    let older = tokio::spawn(agent.converse(say, heard));
    site.wait_connected(1).await;

    let (say, mut heard) = site.open_session(&enrolled, &key).await;
    let why = farewell(&mut heard).await;
    drop((say, heard)); // a host has four connections at most
    assert_eq!(why.code, Code::E06);
    assert!(why.message.contains("connected twice with one key (127.0.0.1:"), "{why}");
    assert!(why.message.contains("longshore host admit web-1"), "{why}");
    let last = tokio::time::timeout(PATIENCE, older).await.expect("the older ends too").unwrap();
    assert!(matches!(last, Some(ToAgent::Farewell(why)) if why.code == Code::E06));
    let shown = show(&site, "web-1").await;
    assert_eq!((shown.connected, shown.barred.unwrap().kind.as_str()), (false, "cloned"));
    let refused = site.renew(&enrolled, &key, &HostKey::new()).await.unwrap_err();
    assert_eq!(refused.code, Code::E06, "neither session nor renewal: {refused}");
    assert!(audited(&site, "paused as a possible copy").await);

    assert!(admit(&site, "web-1", "").await.unwrap().changed);
    assert!(!admit(&site, "web-1", "").await.unwrap().changed);
    // The one that comes first is asked for another key, by which the copy is locked out.
    let (say, mut heard) = site.open_session(&enrolled, &key).await;
    let Some(ToAgent::Welcome { renew_within_ms: 1.., .. }) = heard.recv().await else { panic!("not asked") };
    let next = HostKey::new();
    let renewed = site.renew(&enrolled, &key, &next).await.unwrap();
    drop((say, heard)); // as an agent does that comes again with its new key
    let (_say, mut heard) = site.open_session(&renewed, &next).await;
    let first = heard.recv().await;
    assert!(matches!(first, Some(ToAgent::Welcome { renew_within_ms: 0, .. })), "{first:?}");
    site.wait_connected(1).await;
    let copy = site.renew(&enrolled, &key, &HostKey::new()).await.unwrap_err();
    assert!(copy.message.contains("has other keys by now"), "{copy}");
    site.stop().await;
}

/// Scenario 63, the mild half: enrolled, listed, and served nothing. The strict one is that without a good token there
/// is no host at all.
#[tokio::test]
async fn a_host_that_has_to_be_let_in_is_nobody_until_then() {
    let site = Site::start().await;
    let request = pb::CreateTokenRequest { uses: 2, ask: true, ..Default::default() };
    let token = site.hosts().await.create_token(request).await.unwrap().into_inner().token;
    let key = HostKey::new();
    let enrolled = site.enrol(&token, &key, "web-1").await.unwrap();
    assert!(enrolled.waits);
    let refused = site.renew(&enrolled, &key, &HostKey::new()).await.unwrap_err();
    assert_eq!(refused.code, Code::E07, "{refused}");
    let shown = show(&site, "web-1").await;
    assert_eq!(shown.barred.unwrap().kind, "waiting");

    let wrong = admit(&site, "web-1", "00ff").await.unwrap_err();
    assert_eq!(wrong.code, Code::E03, "{wrong}");
    let fingerprint = hex(&longshore_common::digest::sha256(&key.pair.subject_public_key_info()));
    assert_eq!(shown.key, fingerprint);
    assert!(admit(&site, "web-1", &fingerprint[..16]).await.unwrap().changed);
    let (_say, mut heard) = site.open_session(&enrolled, &key).await;
    assert!(matches!(heard.recv().await, Some(ToAgent::Welcome { .. })));
    site.stop().await;
}

#[tokio::test]
async fn a_token_is_for_the_names_and_networks_that_it_says() {
    let site = Site::start().await;
    let make = |name: &str, networks: &[&str]| pb::CreateTokenRequest {
        uses: 1,
        name: name.into(),
        networks: networks.iter().map(|network| (*network).to_owned()).collect(),
        ..Default::default()
    };
    let mut hosts = site.hosts().await;
    let token =
        hosts.create_token(make("web-*", &["127.0.0.0/8", "::1/128"])).await.unwrap().into_inner().token;
    let refused = site.enrol(&token, &HostKey::new(), "db-1").await.unwrap_err();
    assert_eq!(refused.code, Code::C02, "{refused}");
    assert!(refused.message.contains("for hosts called web-*, not db-1"), "{refused}");
    site.enrol(&token, &HostKey::new(), "web-1").await.expect("nothing was used up");
    let token = hosts.create_token(make("", &["10.1.0.0/16"])).await.unwrap().into_inner().token;
    let refused = site.enrol(&token, &HostKey::new(), "web-2").await.unwrap_err();
    assert!(refused.message.contains("good from 10.1.0.0/16, not from 127.0.0.1"), "{refused}");
    for bad in [make("we\u{1b}b", &[]), make("", &["10.1.0.0"]), make("", &["10.1.0.0/33"])] {
        assert_eq!(from_status(&hosts.create_token(bad).await.unwrap_err()).code, Code::V01);
    }
    assert_eq!(site.host_names().await, ["web-1"]);
    site.stop().await;
}

#[tokio::test]
async fn recovery_is_for_expired_certificates_only() {
    let site = Site::start().await;
    let (key, next) = (HostKey::new(), HostKey::new());
    let enrolled = site.enrol(&site.token().await, &key, "web-1").await.unwrap();
    let early = recover(&site, &enrolled, &key, &next, 0).await.unwrap_err();
    assert_eq!(early.code, Code::E05, "{early}");
    let forged = recover(&site, &enrolled, &HostKey::new(), &next, 0).await.unwrap_err();
    assert_eq!(forged.code, Code::E06, "a key that was never this host's: {forged}");
    site.stop().await;
}

/// A removed host's connections end, whatever runs over them, and so do a locked operator's.
#[tokio::test]
async fn revocation_cuts_what_is_under_way_within_a_second() {
    let site = Site::start().await;
    let key = HostKey::new();
    let enrolled = site.enrol(&site.token().await, &key, "web-1").await.unwrap();
    let mut raw = site.raw(&enrolled, &key).await;

    let reply = site.add_operator("bob", &["auditor"]).await;
    let mut follow = AccessClient::new(reply)
        .audit(pb::AuditRequest { from: 0, follow: true })
        .await
        .unwrap()
        .into_inner();
    assert!(follow.message().await.unwrap().is_some());

    site.hosts().await.remove(pb::RemoveHostRequest { host: "web-1".into() }).await.unwrap();
    let ((), took) = clocked(site::closed(&mut raw)).await;
    assert!(took < Duration::from_secs(1), "the host's took {took:?}");

    let lock = pb::ChangeUserRequest {
        name: "bob".into(),
        act: Some(pb::change_user_request::Act::Lock("left".into())),
    };
    AccessClient::new(site.operator().await).change_user(lock).await.unwrap();
    let ended = async { while let Ok(Some(_)) = follow.message().await {} };
    let (ended, took) = clocked(tokio::time::timeout(PATIENCE, ended)).await;
    ended.expect("cut");
    assert!(took < Duration::from_secs(1), "the operator's took {took:?}");
    site.stop().await;
}

/// Scenario 64: everybody has another key and certificate in the end, and is who they were. Two roots at once, nobody
/// enrols again, and the older goes by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ca_is_rotated_without_anybody_enrolling_again() {
    let site = Site::start().await;
    let (key, next) = (HostKey::new(), HostKey::new());
    let token = site.token_with(2, BTreeMap::new()).await;
    let enrolled = site.enrol(&token, &key, "web-1").await.unwrap();
    let (say, mut heard) = site.open_session(&enrolled, &key).await;
    assert!(matches!(heard.recv().await, Some(ToAgent::Welcome { renew_within_ms: 0, .. })));
    let old_ca = site.ca();

    let identity = site.config().identity_dir();
    let new = roots::rotate(&identity, site::now()).unwrap();
    assert!(roots::rotate(&identity, site::now()).unwrap_err().to_string().contains("under way"));
    site.reload();
    // Whoever is connected stays, and is told.
    let asked = async {
        loop {
            if let Some(ToAgent::Welcome { renew_within_ms: 1.., .. }) = heard.recv().await {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.expect("asked to renew");
    // A host with the old root only still believes the controller, whose certificate the new one signed.
    let renewed = site.renew(&enrolled, &key, &next).await.unwrap();
    assert_eq!(ca_hash(&renewed.ca_pem).unwrap(), new);
    assert_eq!((&renewed.host_id, &renewed.name), (&enrolled.host_id, &enrolled.name));
    // So does one that enrols now, with a token that pins the old root.
    let second = HostKey::new();
    let late = site.enrol(&token, &second, "web-2").await.unwrap();
    let status =
        ControllerClient::new(site.operator().await).status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.roots.len(), 2);
    assert_eq!((status.roots[1].hosts, status.roots[1].operators.as_slice()), (1, &["alice".to_owned()][..]));

    // The host comes back with its new key, the operator logs in: then nobody needs the old one.
    drop((say, heard));
    let (_say, mut heard) = site.open_session(&renewed, &next).await;
    assert!(matches!(heard.recv().await, Some(ToAgent::Welcome { renew_within_ms: 0, .. })));
    let fresh = site.login().await;
    let only_new = Authority::load(&identity).unwrap().roots()[0].pem.clone();
    let retired = async {
        loop {
            site.reload();
            let trust = LiveServerTrust::new(only_new.as_bytes()).unwrap();
            let client = longshore_common::tls::client_config(Arc::clone(&fresh), trust);
            let channel = site::dial(site.addresses().main, client).await.unwrap();
            let status = ControllerClient::new(channel).status(pb::StatusRequest {}).await.unwrap();
            if status.into_inner().roots.len() == 1 {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, retired).await.expect("the old root is retired in time");
    let said = ["the CA has another root", "the CA's rotation has ended"];
    assert_eq!(recorded(&site, "the CA"), said, "once each, whoever looked how often");
    // The old one opens nothing any more.
    let read = |name: &str| std::fs::read(site.operator_dir().join(name)).unwrap();
    let stale = LiveIdentity::new(&read(operator::CERTIFICATE), &read(operator::KEY)).unwrap();
    let trust = LiveServerTrust::new(old_ca.as_bytes()).unwrap();
    let stale = longshore_common::tls::client_config(stale, trust);
    assert!(site::dial(site.addresses().main, stale).await.is_err(), "its root vouches for nobody");
    drop(late);
    site.stop().await;
}

/// `ca retire --shut-out`, while a host and an operator have not renewed: both are cut, with what is under way over their
/// connections, and nothing brings them back but to be enrolled again. Whoever has renewed notices nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retiring_a_root_by_hand_cuts_those_of_it_and_nobody_else() {
    let site = Site::start().await;
    let token = site.token_with(2, BTreeMap::new()).await;
    let (swift, late, next) = (HostKey::new(), HostKey::new(), HostKey::new());
    let first = site.enrol(&token, &swift, "web-1").await.unwrap();
    let second = site.enrol(&token, &late, "web-2").await.unwrap();
    let identity = site.config().identity_dir();
    roots::rotate(&identity, site::now()).unwrap();
    site.reload();
    let renewed = until_of_two_roots(&site, &first, &swift, &next).await;
    let fresh = site.login().await;
    let (_say, mut heard) = site.open_session(&renewed, &next).await;
    assert!(matches!(heard.recv().await, Some(ToAgent::Welcome { renew_within_ms: 0, .. })));
    let mut cut = site.raw(&second, &late).await;
    let stale = site.operator().await;
    let mut follow = AccessClient::new(stale.clone())
        .audit(pb::AuditRequest { from: 0, follow: true })
        .await
        .unwrap()
        .into_inner();
    assert!(follow.message().await.unwrap().is_some());

    roots::retire(&identity).unwrap();
    site.reload();
    site::closed(&mut cut).await;
    let ended = async { while let Ok(Some(_)) = follow.message().await {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("the operator's is cut as well");
    assert!(AccessClient::new(stale).who_am_i(pb::WhoAmIRequest {}).await.is_err(), "nor any other call");

    let only_new = Authority::load(&identity).unwrap().roots()[0].pem.clone();
    let trust = LiveServerTrust::new(only_new.as_bytes()).unwrap();
    let client = longshore_common::tls::client_config(fresh, trust);
    let channel = site::dial(site.addresses().main, client).await.unwrap();
    let hosts = pb::ListHostsRequest::default();
    let hosts = HostsClient::new(channel).list(hosts).await.unwrap().into_inner().hosts;
    let connected = hosts.iter().map(|host| (host.name.as_str(), host.connected));
    assert_eq!(connected.collect::<BTreeMap<_, _>>(), BTreeMap::from([("web-1", true), ("web-2", false)]));
    let said = ["the CA has another root", "the CA's older root was retired by hand"];
    assert_eq!(recorded(&site, "the CA"), said);
    // What was done while no controller ran is on record from its next start on.
    let (folder, made) = site.halt().await;
    roots::rotate(&identity, site::now()).unwrap();
    let site = Site::serve(folder, made).await;
    let third = async {
        while recorded(&site, "the CA").len() < 3 {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(PATIENCE, third).await.expect("on record in time");
    assert_eq!(recorded(&site, "the CA")[2], "the CA has another root");

    site.stop().await;
}

/// Renews until the certificate is of the new root: the controller takes that up a moment after it was told.
async fn until_of_two_roots(
    site: &Site,
    enrolled: &pb::Certificate,
    key: &HostKey,
    next: &HostKey,
) -> pb::Certificate {
    let taken_up = async {
        loop {
            let status = ControllerClient::new(site.operator().await).status(pb::StatusRequest {}).await;
            if status.unwrap().into_inner().roots.len() == 2 {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, taken_up).await.expect("the new root is taken up");
    site.renew(enrolled, key, next).await.unwrap()
}

/// What somebody in between could show: a certificate of another CA, one that has expired, one of ours that was made
/// for something else. None of them opens the main port, and none passes for the controller.
#[tokio::test]
async fn foreign_expired_and_misused_certificates_open_nothing() {
    let (site, other) = (Site::start().await, Site::start().await);
    let key = HostKey::new();
    let enrolled = site.enrol(&site.token().await, &key, "web-1").await.unwrap();
    let as_host = |chain: &[u8]| LiveIdentity::new(chain, key.pair.serialize_pem().as_bytes()).unwrap();
    let opens = async |site: &Site, identity: Arc<LiveIdentity>| {
        let trust = LiveServerTrust::new(site.ca().as_bytes()).unwrap();
        let client = longshore_common::tls::client_config(identity, trust);
        // TLS 1.3 tells a client of its refused certificate with the first answer.
        let Ok(channel) = site::dial(site.addresses().main, client).await else { return false };
        ControllerClient::new(channel).status(pb::StatusRequest {}).await.is_err_and(|status| {
            from_status(&status).code == Code::C02 // an answer: the connection stands
        })
    };
    assert!(opens(&site, as_host(&enrolled.certificate_pem)).await, "its own is good for a connection");
    assert!(!opens(&other, as_host(&enrolled.certificate_pem)).await, "of another CA");

    let authority = Authority::load(&site.config().identity_dir()).unwrap();
    let who = longshore_common::tls::Identity::Host(enrolled.host_id.parse().unwrap());
    let an_hour = Duration::from_secs(3600);
    let past = authority.issue_client(&who, &key.pair, an_hour, site::now() - 2 * 3_600_000).unwrap();
    assert!(!opens(&site, as_host(past.chain_pem.as_bytes())).await, "expired");
    let future = authority.issue_client(&who, &key.pair, an_hour, site::now() + 3_600_000).unwrap();
    assert!(!opens(&site, as_host(future.chain_pem.as_bytes())).await, "not yet valid");

    // A rogue host in the controller's place: its certificate is of the right CA, and for clients only.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let rogue = longshore_common::tls::open_server_config(as_host(&enrolled.certificate_pem));
    let accepted = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        tokio_rustls::TlsAcceptor::from(rogue).accept(tcp).await.is_ok()
    });
    let trust = LiveServerTrust::new(site.ca().as_bytes()).unwrap();
    let client = longshore_common::tls::client_config(as_host(&enrolled.certificate_pem), trust);
    assert!(site::dial(address, client).await.is_err(), "a host passed for the controller");
    assert!(!accepted.await.unwrap());
    site.stop().await;
    other.stop().await;
}
