//! Who may call what, for every method there is: hosts, operators, strangers. The calls are made from the table of
//! methods, which `access::tests` holds against the protocol.

use super::*;

use longshore_common::{code::Coded, tls::pinned_client_config};
use longshore_proto::{
    codec::WireCodec,
    v1::{blobs_client::BlobsClient, controller_client::ControllerClient, releases_client::ReleasesClient},
};
use tonic::{Request, Status, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel};

use crate::access::{METHODS, Method, Who};

/// Calls a method with an empty message, whatever it takes and answers. The refusal; `None`: it was let in, whatever
/// came of it then.
async fn refusal(channel: &Channel, method: &Method) -> Option<Coded> {
    let path: PathAndQuery = format!("/longshore.v1.{method}").parse().unwrap();
    let mut client = Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let message = Request::new(tokio_stream::once(pb::Nothing {}));
    let codec = WireCodec::<pb::Nothing, pb::Nothing>::default();
    let answered = match client.streaming(message, path, codec).await {
        Ok(reply) => tokio::time::timeout(PATIENCE, reply.into_inner().message()).await,
        Err(status) => Ok(Err(status)),
    };
    let refused = |status: Status| Some(from_status(&status)).filter(|coded| coded.code == Code::C02);
    answered.expect("an answer in time").err().and_then(refused)
}

#[tokio::test]
async fn hosts_do_what_is_for_hosts_and_operators_the_rest() {
    let site = Site::start().await;
    let key = HostKey::new();
    let enrolled = site.enrol(&site.token().await, &key, "web-1").await.unwrap();
    let (host, operator) = (site.host(&enrolled, &key).await, site.operator().await);

    for method in METHODS.iter().filter(|method| matches!(method.who, Who::Operator(_))) {
        let refused = refusal(&host, method).await;
        let refused = refused.unwrap_or_else(|| panic!("a host was let in to {method}"));
        assert!(refused.message.contains("it is for operators"), "{method}: {refused}");
        assert_eq!(refusal(&operator, method).await, None, "{method}");
    }
    for method in METHODS.iter().filter(|method| method.who == Who::Agent) {
        let refused = refusal(&operator, method).await;
        let refused = refused.unwrap_or_else(|| panic!("an operator was let in to {method}"));
        assert!(refused.message.contains("it is for hosts"), "{method}: {refused}");
        assert_eq!(refusal(&host, method).await, None, "{method}");
    }
    site.stop().await;
}

/// What a host may not say is not taken in first, however much it may be: of a publication, many megabytes.
#[tokio::test]
async fn a_host_is_refused_before_its_message_is_taken_in() {
    let site = Site::start().await;
    let key = HostKey::new();
    let enrolled = site.enrol(&site.token().await, &key, "web-1").await.unwrap();
    let mut client = Grpc::new(site.host(&enrolled, &key).await);
    client.ready().await.unwrap();
    let never = Request::new(tokio_stream::pending::<pb::Nothing>());
    let path = PathAndQuery::from_static("/longshore.v1.Releases/Publish");
    let codec = WireCodec::<pb::Nothing, pb::Nothing>::default();
    let answered = tokio::time::timeout(PATIENCE, client.streaming(never, path, codec)).await;
    let refused = from_status(&answered.expect("its message is waited for").unwrap_err());
    assert_eq!(refused.code, Code::C02, "{refused}");
    let (lines, who) = (access::log(&site).await, format!("host {}", enrolled.host_id));
    let recorded =
        |line: &String| ["denied", &who, "Releases/Publish", "LS-C02"].iter().all(|word| line.contains(word));
    assert!(lines.iter().any(recorded), "{lines:#?}");
    site.stop().await;
}

/// Nor of an operator who may publish nothing.
#[tokio::test]
async fn who_may_not_publish_is_refused_before_the_message_is_taken_in() {
    let site = Site::start().await;
    let eve = site.with_identity(site.machine_operator("eve", "viewer")).await;
    let mut client = Grpc::new(eve);
    client.ready().await.unwrap();
    let never = Request::new(tokio_stream::pending::<pb::Nothing>());
    let path = PathAndQuery::from_static("/longshore.v1.Releases/Publish");
    let codec = WireCodec::<pb::Nothing, pb::Nothing>::default();
    let answered = tokio::time::timeout(PATIENCE, client.streaming(never, path, codec)).await;
    let refused = from_status(&answered.expect("its message is waited for").unwrap_err());
    assert_eq!(refused.code, Code::C02, "{refused}");
    let lines = access::log(&site).await;
    let recorded =
        |line: &&String| ["denied", "eve", "Releases/Publish"].iter().all(|word| line.contains(word));
    assert_eq!(lines.iter().filter(recorded).count(), 1, "{lines:#?}");
    site.stop().await;
}

/// Of those who may, so many at a time, and of one of them fewer.
#[tokio::test]
async fn so_many_publications_are_taken_in_at_a_time() {
    let site = Site::start().await;
    let publish = |channel: &Channel| {
        let mut client = Grpc::new(channel.clone());
        Box::pin(async move {
            client.ready().await.unwrap();
            let never = Request::new(tokio_stream::pending::<pb::Nothing>());
            let path = PathAndQuery::from_static("/longshore.v1.Releases/Publish");
            let codec = WireCodec::<pb::Nothing, pb::Nothing>::default();
            client.streaming(never, path, codec).await.map(drop)
        })
    };
    let alice = site.operator().await;
    let [bob, sue] =
        [site.add_operator("bob", &["deployer"]).await, site.add_operator("sue", &["deployer"]).await];

    let first = futures_util::future::select_all((0..4).map(|_| publish(&alice)));
    let (answered, _, alices) =
        tokio::time::timeout(PATIENCE, first).await.expect("one is refused, the others wait");
    let refused = from_status(&answered.unwrap_err());
    assert_eq!(refused.code, Code::C01, "{refused}");
    assert!(
        refused.message.contains("3 releases are being published by operator alice, which is all"),
        "{refused}"
    );
    let others = (0..3).flat_map(|_| [publish(&bob), publish(&sue)]);
    let first = futures_util::future::select_all(alices.into_iter().chain(others));
    let (answered, ..) = tokio::time::timeout(PATIENCE, first).await.expect("there are eight for all");
    let refused = from_status(&answered.unwrap_err());
    assert!(refused.message.contains("8 releases are being published at the moment"), "{refused}");
    site.stop().await;
}

/// Without a certificate there is no connection to the main port, and on the other port nothing but enrolment.
#[tokio::test]
async fn strangers_may_only_enrol() {
    let site = Site::start().await;
    let pin = site.token().await.parse::<JoinToken>().unwrap().ca;
    let main = site::dial(site.addresses().main, pinned_client_config(pin)).await;
    if let Ok(channel) = main {
        // TLS 1.3 tells a client of its missing certificate with the first answer.
        let reply = ControllerClient::new(channel).status(pb::StatusRequest {}).await;
        assert!(reply.is_err(), "a stranger was answered");
    }
    let enrol = site::dial(site.addresses().enrol, pinned_client_config(pin)).await.unwrap();
    let mut client = Grpc::new(enrol);
    for method in METHODS.iter().filter(|method| method.who != Who::Stranger) {
        client.ready().await.unwrap();
        let path = format!("/longshore.v1.{method}").parse().unwrap();
        let codec = WireCodec::<pb::Nothing, pb::Nothing>::default();
        let reply = client.unary(Request::new(pb::Nothing {}), path, codec).await.unwrap_err();
        assert_eq!(reply.code(), tonic::Code::Unimplemented, "{method}: {reply}");
    }
    site.stop().await;
}

/// Scenario 72: a host sees its own assignments, and the bytes that they name. Another, with a certificate as good,
/// gets neither.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rogue_host_sees_nothing_of_what_is_assigned_to_others() {
    let site = Site::start().await;
    let labels = BTreeMap::from([("env".to_owned(), "prod".to_owned())]);
    let (key, rogue_key) = (HostKey::new(), HostKey::new());
    let enrolled = site.enrol(&site.token_with(1, labels).await, &key, "web-1").await.unwrap();
    let rogue = site.enrol(&site.token().await, &rogue_key, "rogue").await.unwrap();
    let fleet = [(site.agent(&enrolled, &[]), enrolled, key)];
    site.connect(&fleet).await;
    site.apply_environment().await;
    site.publish("1.0").await;
    let rollout = site.start_rollout("1.0").await;
    assert_eq!(site.outcome(&rollout).await, "succeeded");

    let show = pb::ShowReleaseRequest { app: "shop".into(), version: "1.0".into() };
    let shown = ReleasesClient::new(site.operator().await).show(show).await.unwrap().into_inner();
    let release = longshore_common::digest::sha256(&shown.manifest).to_vec();
    let [(_, certificate, key)] = &fleet;
    let mut own = BlobsClient::new(site.host(certificate, key).await);
    let mut other = BlobsClient::new(site.host(&rogue, &rogue_key).await);
    let manifest = pb::ManifestRequest { app: "shop".into(), release: release.clone().into() };
    let index = pb::IndexRequest { app: "shop".into(), release: release.clone().into() };
    let fetch = pb::FetchRequest { app: "shop".into(), release: release.into(), wanted: vec![1].into() };
    let trust = pb::TrustRequest { app: "shop".into(), roots_after: 0 };
    let sealed = pb::SealedRequest { digest: vec![7; 32].into() };
    own.manifest(manifest.clone()).await.expect("its own");
    own.index(index.clone()).await.expect("its own");
    own.fetch(fetch.clone()).await.expect("its own");
    let refused = [
        ("manifest", other.manifest(manifest).await.unwrap_err()),
        ("index", other.index(index).await.unwrap_err()),
        ("blocks", other.fetch(fetch).await.unwrap_err()),
        ("signed documents", other.trust(trust).await.unwrap_err()),
    ];
    for (what, status) in refused {
        let refused = from_status(&status);
        assert_eq!(refused.code, Code::C02, "{what}: {refused}");
        assert!(refused.message.contains("not assigned to this host"), "{what}: {refused}");
    }
    let nothing = from_status(&other.sealed(sealed).await.unwrap_err());
    assert!(matches!(nothing.code, Code::C02 | Code::N01 | Code::K01), "{nothing}");
    let lines = access::log(&site).await;
    let who = format!("host {}", rogue.host_id);
    for method in ["Blobs/Manifest", "Blobs/Index", "Blobs/Fetch", "Blobs/Trust"] {
        let recorded = lines
            .iter()
            .any(|line| ["denied", &who, method, "LS-C02"].iter().all(|word| line.contains(word)));
        assert!(recorded, "no {method} of {who} in {lines:#?}");
    }
    // Nor is it told anything: after its welcome there is nothing but what goes to everybody.
    let (_say, mut heard) = site.open_session(&rogue, &rogue_key).await;
    assert!(matches!(heard.recv().await, Some(ToAgent::Welcome { .. })));
    while let Ok(Some(message)) = tokio::time::timeout(Duration::from_millis(300), heard.recv()).await {
        assert!(matches!(message, ToAgent::Checkpoint(_) | ToAgent::Welcome { .. }), "{message:?}");
    }
    site.stop().await;
}

/// Names are labels: a host that takes the name of one that was removed inherits nothing (CVE-2016-9639 of Salt).
#[tokio::test]
async fn a_name_that_is_used_again_is_another_host() {
    let site = Site::start().await;
    let (first, second) = (HostKey::new(), HostKey::new());
    let one = site.enrol(&site.token().await, &first, "web-1").await.unwrap();
    site.hosts().await.remove(pb::RemoveHostRequest { host: "web-1".into() }).await.unwrap();
    let two = site.enrol(&site.token().await, &second, "web-1").await.unwrap();
    assert_eq!((two.name.as_str(), site.host_names().await.as_slice()), ("web-1", &["web-1".to_owned()][..]));
    assert_ne!(one.host_id, two.host_id);
    // Nor does its old key open what is the new one's.
    let refused = site.renew(&one, &first, &HostKey::new()).await.unwrap_err();
    assert_eq!(refused.code, Code::E06, "{refused}");
    site.stop().await;
}
