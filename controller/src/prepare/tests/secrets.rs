//! Sealed secrets that hosts could not open, said by the plan.

use super::*;
use crate::{
    engine::records,
    fleet::Host,
    sealed::{self, Head, NewRow},
};

/// A host that came after a secret was sealed: the plan is there, with all else that it says, and names host, secret and
/// what to type.
#[tokio::test]
async fn a_sealed_secret_that_a_host_cannot_open_is_found_beforehand() {
    let site = Site::start(2).await;
    let key = Key::host(&site.agents[0].host.id);
    let (mut first, _) = records::get::<Host>(&site.planner.store, &key).await.unwrap().unwrap();
    first.recipient = "age1qqq".into();
    site.planner
        .store
        .commit(Txn::new().put(key.clone(), record::encode(&key, &first).unwrap()))
        .await
        .unwrap();
    let text = b"age-encryption.org/v1\n".to_vec();
    let rows = vec![NewRow { host: first.id, recipient: first.recipient.clone(), text }];
    let env = "production".parse().unwrap();
    let head = Head { name: "db".into(), env, hosts: 0, at_ms: 1, by: "alice".into(), unnamed: None };
    let digest = sealed::keep(&site.planner.store, head, rows).await.unwrap().hex();
    let secrets = format!("[secrets]\ndb = {{ sealed = \"{digest}\" }}\n");
    site.apply(&format!("{FILE}{secrets}")).await;

    let plan = site.plan("1.0").await;
    let told: Vec<_> = plan
        .failed
        .iter()
        .flat_map(|failed| {
            failed.hosts.iter().map(|fault| format!("{}: {}: {}", failed.check, fault.host, fault.what))
        })
        .collect();
    assert_eq!(
        told,
        [
            "secrets: web-001: secret db was not encrypted for its key: longshore secret encrypt --env production db"
        ]
    );
    let (code, message) = refusal(site.begin(What::Wish(wish("1.0")), &[]).await);
    assert!(code == Code::R04 && message.contains("web-001: secret db"), "{message}");

    // Nor does it keep the others from theirs, where hosts that do not fit are left out.
    site.apply(&format!("{FILE}unfit = \"skip\"\n{secrets}")).await;
    assert_eq!(site.begin(What::Wish(wish("1.0")), &[]).await.unwrap(), Outcome::Succeeded);
}
