//! What one caller may take of the ports, over real TLS: the limits of `docs/security.md`, one by one.

use super::*;

use longshore_common::tls::CONNECTIONS_PER_HOST;
use longshore_proto::v1::{blobs_client::BlobsClient, hosts_client::HostsClient};
use tokio::io::AsyncWriteExt as _;

/// Frames of HTTP/2, as far as these tests speak it.
mod frames {
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const END_HEADERS: u8 = 4;

    pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// `:method POST`, `:scheme http`, `:path` and `:authority`, by HPACK's static table and plain literals.
    pub fn request(path: &str) -> Vec<u8> {
        let mut block = vec![0x83, 0x86, 0x44, path.len() as u8];
        block.extend(path.bytes());
        block.extend([0x41, 1, b'x']);
        block
    }
}

async fn a_host(site: &Site) -> (pb::Certificate, HostKey) {
    let key = HostKey::new();
    (site.enrol(&site.token().await, &key, "web-1").await.unwrap(), key)
}

#[tokio::test]
async fn a_host_has_so_many_connections_and_no_more() {
    let site = Site::start().await;
    let (enrolled, key) = a_host(&site).await;
    let mut held = vec![];
    for _ in 0..CONNECTIONS_PER_HOST {
        held.push(site.raw(&enrolled, &key).await);
    }
    let mut more = site.raw(&enrolled, &key).await;
    site::closed(&mut more).await;
    // Others are not in the way of it, and places that are given up are free again.
    assert_eq!(site.host_names().await, ["web-1"]);
    held.truncate(CONNECTIONS_PER_HOST / 2);
    let renewed = async { while site.renew(&enrolled, &key, &HostKey::new()).await.is_err() {} };
    tokio::time::timeout(PATIENCE, renewed).await.expect("a place is free again");
    site.stop().await;
}

/// A peer that shakes hands and then says nothing, or something else, is dropped (five seconds).
#[tokio::test]
async fn whoever_says_nothing_after_the_handshake_is_dropped() {
    let site = Site::start().await;
    let (enrolled, key) = a_host(&site).await;
    let begun = std::time::Instant::now();
    let mut mute = site.handshake(&enrolled, &key).await;
    let mut other = site.handshake(&enrolled, &key).await;
    other.write_all(&[b'G'; 64]).await.unwrap();
    let ((), took) = clocked(site::closed(&mut other)).await;
    assert!(took < Duration::from_secs(4), "what is no HTTP/2 is dropped at once, not after {took:?}");
    let ((), took) = clocked(site::closed(&mut mute)).await;
    assert!(begun.elapsed() >= Duration::from_secs(5), "it has its time: {:?}", begun.elapsed());
    assert!(took < Duration::from_secs(9), "{took:?}");
    site.stop().await;
}

/// CVE-2023-44487: streams that are opened and reset faster than they can be answered.
#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let site = Site::start().await;
    let (enrolled, key) = a_host(&site).await;
    let mut stream = site.raw(&enrolled, &key).await;
    let request = frames::request("/longshore.v1.Renewal/Renew");
    let flood = async {
        for number in (1..20_000).step_by(2) {
            let mut both = frames::frame(frames::HEADERS, frames::END_HEADERS, number, &request);
            both.extend(frames::frame(frames::RST_STREAM, 0, number, &8u32.to_be_bytes()));
            if stream.write_all(&both).await.is_err() {
                return;
            }
        }
        site::closed(&mut stream).await;
    };
    tokio::time::timeout(PATIENCE, flood).await.expect("the connection is ended");
    assert_eq!(site.host_names().await, ["web-1"], "and everybody else is served");
    site.stop().await;
}

/// 8 KiB of headers, whatever they are compressed to.
#[tokio::test]
async fn long_headers_are_refused() {
    let site = Site::start().await;
    let mut hosts = HostsClient::new(site.operator().await);
    let mut request = tonic::Request::new(pb::ListHostsRequest { selector: "*".into() });
    request.metadata_mut().insert("x-long", "x".repeat(9 * 1024).parse().unwrap());
    assert!(hosts.list(request).await.is_err());
    hosts.list(pb::ListHostsRequest { selector: "*".into() }).await.expect("the next is answered");
    site.stop().await;
}

/// 1 MiB on the main port, 16 KiB where nothing large is ever meant.
#[tokio::test]
async fn large_messages_are_refused() {
    let site = Site::start().await;
    let (enrolled, key) = a_host(&site).await;
    let mut blobs = BlobsClient::new(site.host(&enrolled, &key).await);
    let fetch = |bytes: usize| pb::FetchRequest {
        app: "shop".into(),
        release: vec![0; 32].into(),
        wanted: vec![0; bytes].into(),
    };
    let refused = blobs.fetch(fetch(2 << 20)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::OutOfRange, "{refused}");
    let mut renewal =
        longshore_proto::v1::renewal_client::RenewalClient::new(site.host(&enrolled, &key).await);
    let refused = renewal.renew(pb::RenewRequest { csr_der: vec![0; 17 * 1024].into() }).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::OutOfRange, "{refused}");
    let refused = blobs.fetch(fetch(1024)).await.unwrap_err();
    assert_eq!(from_status(&refused).code, Code::C02, "and one that fits is looked at: {refused}");
    site.stop().await;
}

/// 64 calls of one connection at a time; more wait for their turn.
#[tokio::test]
async fn calls_of_one_connection_are_bounded() {
    let site = Site::start().await;
    let channel = site.operator().await;
    let mut follows = vec![];
    let follow = |channel: tonic::transport::Channel| async move {
        let request = pb::AuditRequest { from: 0, follow: true };
        longshore_proto::v1::access_client::AccessClient::new(channel).audit(request).await
    };
    for _ in 0..64 {
        follows.push(follow(channel.clone()).await.unwrap());
    }
    let one_more = tokio::time::timeout(Duration::from_millis(500), follow(channel.clone())).await;
    assert!(one_more.is_err(), "the 65th was let in");
    drop(follows);
    let next = tokio::time::timeout(PATIENCE, follow(channel)).await;
    next.expect("there is room again").unwrap();
    site.stop().await;
}

/// A burst of ten tokens that are not good, five a minute after that, of one address.
#[tokio::test]
async fn whoever_guesses_tokens_has_to_wait() {
    let site = Site::start().await;
    let mut guess: JoinToken = site.token().await.parse().unwrap();
    let begun = std::time::Instant::now();
    let mut heard = 0;
    loop {
        guess.secret = [heard; 32];
        match site.enrol(&guess.to_string(), &HostKey::new(), "web-1").await.unwrap_err().code {
            Code::C01 => break,
            code => assert_eq!(code, Code::E02),
        }
        heard += 1;
        let since = u8::try_from(begun.elapsed().as_secs() / 12).unwrap();
        assert!(heard <= 10 + since, "{heard} were heard");
    }
    assert!(heard >= 10, "only {heard} were heard");
    assert!(site.host_names().await.is_empty());
    site.stop().await;
}
