//! Operators with roles, over real TLS: let in, kept out, cut off; and the record of it.

use super::*;

use longshore_common::tls::LiveIdentity;
use longshore_proto::v1::{
    access_client::AccessClient, change_user_request::Act, hosts_client::HostsClient,
    rollouts_client::RolloutsClient,
};
use tonic::transport::Channel;

use crate::audit::{Chained, Verifier, What};

/// Makes an operator and connects as them.
async fn operator(site: &Site, name: &str, grants: &[&str]) -> Channel {
    let key = HostKey::new();
    let request = pb::AddUserRequest {
        name: name.into(),
        grants: grants.iter().map(|&grant| grant.to_owned()).collect(),
        csr_der: key.csr().into(),
        ttl_ms: 0,
    };
    let reply = AccessClient::new(site.operator().await).add_user(request).await.unwrap().into_inner();
    let pem = key.pair.serialize_pem();
    let identity = LiveIdentity::new(&reply.certificate_pem, pem.as_bytes()).unwrap();
    site.with_identity(identity).await
}

async fn change(site: &Site, name: &str, act: Act) {
    let request = pb::ChangeUserRequest { name: name.into(), act: Some(act) };
    AccessClient::new(site.operator().await).change_user(request).await.unwrap();
}

async fn log(site: &Site) -> Vec<String> {
    let request = pb::AuditRequest { from: 0, follow: false };
    let mut pages = AccessClient::new(site.operator().await).audit(request).await.unwrap().into_inner();
    let mut lines = vec![];
    while let Some(page) = pages.message().await.unwrap() {
        lines.extend(page.lines);
    }
    lines
}

fn start(app: &str, env: &str) -> pb::StartRolloutRequest {
    pb::StartRolloutRequest {
        app: app.into(),
        version: "1".into(),
        env: env.into(),
        request_id: uuid::Uuid::new_v4().to_string(),
        ..Default::default()
    }
}

#[tokio::test]
async fn roles_are_held_against_every_call_and_its_scope() {
    let site = Site::start().await;
    let bob = operator(&site, "bob", &["deployer:shop@staging"]).await;
    let code = |status: tonic::Status| from_status(&status).code;

    HostsClient::new(bob.clone()).list(pb::ListHostsRequest::default()).await.unwrap();
    let token = HostsClient::new(bob.clone()).create_token(pb::CreateTokenRequest::default()).await;
    let why = from_status(&token.unwrap_err());
    assert_eq!(why.code, Code::C02);
    assert!(
        why.message
            .contains("lacks the permission \"hosts\" for the whole fleet (has: deployer:shop@staging)")
    );
    let mut rollouts = RolloutsClient::new(bob);
    assert_eq!(code(rollouts.start(start("shop", "production")).await.unwrap_err()), Code::C02);
    assert_eq!(code(rollouts.start(start("blog", "staging")).await.unwrap_err()), Code::C02);
    let allowed = code(rollouts.start(start("shop", "staging")).await.unwrap_err());
    assert_ne!(allowed, Code::C02, "let in; there is no such environment");
    site.stop().await;
}

#[tokio::test]
async fn a_locked_or_removed_operator_fails_on_the_next_call_of_an_open_connection() {
    let site = Site::start().await;
    let mut bob = AccessClient::new(operator(&site, "bob", &["viewer"]).await);
    assert_eq!(bob.who_am_i(pb::WhoAmIRequest {}).await.unwrap().into_inner().grants, ["viewer"]);
    change(&site, "bob", Act::Lock("left".into())).await;
    let why = from_status(&bob.who_am_i(pb::WhoAmIRequest {}).await.unwrap_err());
    assert!(why.message.contains("operator bob was locked by alice: left"), "{why}");
    change(&site, "bob", Act::Unlock(pb::Nothing {})).await;
    bob.who_am_i(pb::WhoAmIRequest {}).await.unwrap();
    let request = pb::RemoveUserRequest { name: "bob".into() };
    AccessClient::new(site.operator().await).remove_user(request).await.unwrap();
    let why = from_status(&bob.who_am_i(pb::WhoAmIRequest {}).await.unwrap_err());
    assert!(why.message.contains("operator bob is not known here"), "{why}");
    site.stop().await;
}

#[tokio::test]
async fn what_was_let_through_refused_and_done_is_recorded_over_a_restart() {
    let site = Site::start().await;
    site.token().await;
    let bob = operator(&site, "bob", &["viewer"]).await;
    let denied = HostsClient::new(bob).remove(pb::RemoveHostRequest { host: "web-1".into() }).await;
    assert!(denied.is_err());
    let site = site.restart().await;

    let lines = log(&site).await;
    let mut verifier = Verifier::new([]).unwrap();
    lines.iter().try_for_each(|line| verifier.line(line)).unwrap();
    let entries: Vec<Chained> = lines.iter().map(|line| Chained::parse(line).unwrap()).collect();
    let at = |wanted: &str| {
        let found = entries.iter().find(
            |entry| matches!(&entry.what, What::Allowed { method, .. } | What::Denied { method, .. } if method == wanted),
        );
        found.unwrap_or_else(|| panic!("no {wanted} in {lines:#?}")).clone()
    };
    let token = at("Hosts/CreateToken");
    assert_eq!(token.what.actor(), "alice");
    assert!(entries.iter().any(|e| matches!(&e.what, What::Ended { of, code: None, .. } if *of == token.i)));
    let removal = at("Hosts/Remove");
    assert!(matches!(&removal.what, What::Denied { actor, target, code, .. }
        if actor == "bob" && target == "host web-1" && code == "LS-C02"));
    site.stop().await;
}
