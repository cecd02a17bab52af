//! A whole controller on free ports, spoken to over real TLS: who gets in, who does not, and a fleet driven by hand.

mod access;
mod identity;
mod limits;
mod messages;
mod permission;
mod signing;
mod site;

use std::{collections::BTreeMap, time::Duration};

use longshore_common::{
    code::Code,
    join::JoinToken,
    tls::{LiveServerTrust, ca_hash},
    wire::from_status,
};
use longshore_proto::v1 as pb;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};

use crate::{
    fleet::words::{FromAgent, ToAgent},
    testing::{HandAgent, clocked},
};
use site::{HostKey, Site};

/// What does not come within this time does not come.
const PATIENCE: Duration = Duration::from_secs(120);

/// Scenario 62, and row 15 of the bad inputs: a token is used once, by one key.
#[tokio::test]
async fn a_token_enrols_one_key_once() {
    let site = Site::start().await;
    let token = site.token().await;
    let (first, second) = (HostKey::new(), HostKey::new());
    let certificate = site.enrol(&token, &first, "web-1").await.unwrap();
    assert_eq!(certificate.name, "web-1");
    assert_eq!(certificate.controllers, [format!("127.0.0.1:{}", site.addresses().main.port())]);

    let again = site.enrol(&token, &first, "web-1").await.unwrap();
    assert_eq!(again.host_id, certificate.host_id, "a lost reply costs nothing");

    let used = site.enrol(&token, &second, "web-2").await.unwrap_err();
    assert_eq!(used.code, Code::E02, "{used}");
    assert!(used.message.contains("already used by web-1 at 127.0.0.1"), "{used}");

    let mut forged: JoinToken = token.parse().unwrap();
    forged.secret[0] ^= 1;
    let unknown = site.enrol(&forged.to_string(), &second, "web-2").await.unwrap_err();
    assert_eq!(unknown.code, Code::E02, "{unknown}");
    assert!(!unknown.message.contains(&token[20..40]), "{unknown}");

    assert_eq!(site.host_names().await, ["web-1"]);
    site.stop().await;
}

#[tokio::test]
async fn a_machine_that_lost_its_key_is_told_so() {
    let site = Site::start().await;
    let token = site.token().await;
    site.enrol_machine(&token, &HostKey::new(), "web-1", "m1").await.unwrap();
    let refused = site.enrol_machine(&token, &HostKey::new(), "web-1", "m1").await.unwrap_err();
    assert_eq!(refused.code, Code::E03, "{refused}");
    site.stop().await;
}

/// Row 15: another CA than the token's is refused before a word is said.
#[tokio::test]
async fn another_controller_is_not_told_the_token() {
    let (site, other) = (Site::start().await, Site::start().await);
    let token = site.token().await;
    let mut misdirected: JoinToken = token.parse().unwrap();
    let refused = other.enrol(&token, &HostKey::new(), "web-1").await.unwrap_err();
    assert!(refused.message.contains("wrong address or interception"), "{refused}");
    // Even with its pin forged to fit, a token of one controller is worth nothing at another.
    misdirected.ca = ca_hash(other.ca().as_bytes()).unwrap();
    let refused = other.enrol(&misdirected.to_string(), &HostKey::new(), "web-1").await.unwrap_err();
    assert_eq!(refused.code, Code::E02, "{refused}");
    site.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_renewed_key_counts_and_so_does_the_one_before() {
    let site = Site::start().await;
    let (first, second) = (HostKey::new(), HostKey::new());
    let enrolled = site.enrol(&site.token().await, &first, "web-1").await.unwrap();
    let renewed = site.renew(&enrolled, &first, &second).await.unwrap();
    assert_eq!(renewed.host_id, enrolled.host_id);
    for (certificate, key) in [(&renewed, &second), (&enrolled, &first)] {
        site.renew(certificate, key, &HostKey::new()).await.unwrap();
    }
    site.stop().await;
}

/// Row 17, the removed half; and its sessions are cut within a second.
#[tokio::test]
async fn a_removed_host_is_a_stranger_at_once() {
    let site = Site::start().await;
    let key = HostKey::new();
    let enrolled = site.enrol(&site.token().await, &key, "web-1").await.unwrap();
    let (_say, mut heard) = site.open_session(&enrolled, &key).await;
    assert!(matches!(heard.recv().await, Some(ToAgent::Welcome { .. })));

    site.hosts().await.remove(pb::RemoveHostRequest { host: "web-1".into() }).await.unwrap();
    let (why, took) = clocked(identity::farewell(&mut heard)).await;
    assert_eq!(why.code, Code::E06);
    assert!(took < Duration::from_secs(1), "it took {took:?}");
    let refused = site.renew(&enrolled, &key, &HostKey::new()).await.unwrap_err();
    assert_eq!(refused.code, Code::E06, "{refused}");
    assert!(refused.message.contains("longshore token create"), "{refused}");
    site.stop().await;
}

/// A session whose agent died without a word gives way to its successor.
#[tokio::test]
async fn a_dead_session_gives_way() {
    let site = Site::start().await;
    let key = HostKey::new();
    let enrolled = site.enrol(&site.token().await, &key, "web-1").await.unwrap();
    let (_silent, _heard) = site.open_session(&enrolled, &key).await;
    site.wait_connected(1).await;
    let (_say, mut heard) = site.open_session(&enrolled, &key).await;
    assert!(matches!(heard.recv().await, Some(ToAgent::Welcome { .. })));
    site.stop().await;
}

#[tokio::test]
async fn a_stranger_cannot_send_much() {
    let site = Site::start().await;
    let large = "x".repeat(20 * 1024);
    let refused =
        site.enrol_machine(&site.token().await, &HostKey::new(), "web-1", &large).await.unwrap_err();
    assert!(matches!(refused.code, Code::V01 | Code::A04), "{refused}");
    site.stop().await;
}

/// The whole way over the wire, with the controller stopped and started in the midst. Scenario 121: on another
/// address each time, and nobody enrols again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_goes_on_with_the_next_controller() {
    let mut site = Site::start().await;
    let labels = BTreeMap::from([("env".to_owned(), "prod".to_owned())]);
    let token = site.token_with(5, labels).await;
    let mut fleet = vec![];
    for name in ["web-1", "web-2", "web-3", "web-4", "web-5"] {
        let key = HostKey::new();
        let enrolled = site.enrol(&token, &key, name).await.unwrap();
        fleet.push((site.agent(&enrolled, &["1.2"]), enrolled, key));
    }
    site.connect(&fleet).await;
    site.apply_environment().await;
    for (version, outcome) in [("1.0", "succeeded"), ("1.1", "succeeded"), ("1.2", "rolled-back")] {
        site.publish(version).await;
        let id = site.start_rollout(version).await;
        site = site.restart().await;
        site.connect(&fleet).await;
        assert_eq!(site.outcome(&id).await, outcome, "{version}");
    }
    for (agent, ..) in &fleet {
        assert_eq!(agent.runs("shop").as_deref(), Some("1.1"));
        agent.check();
    }
    let explained = site.explain("latest").await;
    let first = explained.first_failure.expect("it failed").failure.expect("with words");
    assert_eq!(first.evidence, ["thread main panicked"]);
    site.stop().await;
}

/// Strangers that open connections and say nothing keep nobody out.
#[tokio::test]
async fn half_open_handshakes_keep_nobody_out() {
    let site = Site::start().await;
    let token = site.token().await;
    let mut mute = vec![];
    for _ in 0..50 {
        mute.push(tokio::net::TcpStream::connect(site.addresses().enrol).await.unwrap());
        mute.push(tokio::net::TcpStream::connect(site.addresses().main).await.unwrap());
    }
    let key = HostKey::new();
    let (enrolled, took) = clocked(site.enrol(&token, &key, "web-1")).await;
    enrolled.unwrap();
    assert!(took < Duration::from_secs(3), "before any of the others is dropped: {took:?}");
    site.stop().await;
}

/// A watcher is told that the controller stops, and does not hold it up.
#[tokio::test]
async fn a_watcher_does_not_hold_up_the_end() {
    let site = Site::start().await;
    let key = HostKey::new();
    let labels = BTreeMap::from([("env".to_owned(), "prod".to_owned())]);
    site.enrol(&site.token_with(1, labels).await, &key, "web-1").await.unwrap();
    site.apply_environment().await;
    site.publish("1.0").await;
    let id = site.start_rollout("1.0").await;
    let mut updates = site.watch(&id).await;
    assert!(updates.next().await.unwrap().is_ok());
    let ((), took) = clocked(site.stop()).await;
    assert!(took < Duration::from_secs(4), "it took {took:?}");
    let mut last = updates.next().await;
    while let Some(Ok(_)) = last {
        last = updates.next().await;
    }
    let status = last.expect("a word at the end").unwrap_err();
    assert_eq!(from_status(&status).code, Code::C01, "{status}");
}

/// What ends because the controller does must not look like the end of the lines.
#[tokio::test]
async fn whoever_follows_is_told_that_the_controller_stops() {
    let site = Site::start().await;
    site.enrol(&site.token().await, &HostKey::new(), "web-1").await.unwrap();
    let channel = site.operator().await;
    let wanted = pb::LogsRequest { app: "shop".into(), host: "web-1".into(), lines: 1, follow: true };
    let logs = pb::hosts_client::HostsClient::new(channel.clone()).logs(wanted).await.unwrap();
    let wanted = pb::AuditRequest { from: 0, follow: true };
    let audit = pb::access_client::AccessClient::new(channel).audit(wanted).await.unwrap();
    let (mut logs, mut audit) = (logs.into_inner(), audit.into_inner());
    let silent = logs.next().await.unwrap().unwrap();
    assert!(silent.error.contains("not connected"), "{silent:?}");
    audit.next().await.unwrap().unwrap();
    site.stop().await;
    let lines = logs.filter_map(|line| line.err()).next().await.expect("a word at the end");
    let entries = audit.filter_map(|page| page.err()).next().await.expect("a word at the end");
    for last in [lines, entries] {
        assert_eq!(from_status(&last).code, Code::C01, "{last}");
    }
}
