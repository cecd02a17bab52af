//! Going back without saying where to.

use longshore_common::code::Code;

use super::{
    gates::{gated, waits_for},
    policy::fleet,
    *,
};
use crate::{
    approval::Answer,
    bundle::{self, Withdrawal},
    rollout::HoldKind,
};

async fn rolled_out(controller: &Controller, versions: &[&str]) {
    for version in versions {
        let id = controller.engine.start(request(Some(version))).await.unwrap();
        assert_eq!(controller.done(id).await, Outcome::Succeeded);
    }
}

fn back_to(version: &str) -> StartRequest {
    StartRequest { rollback: true, ..request(Some(version)) }
}

async fn refused(controller: &Controller, request: StartRequest) -> String {
    let refused = controller.engine.start(request).await.unwrap_err().coded();
    assert_eq!(refused.code, Code::R01, "{refused}");
    refused.message
}

/// Why it went where it did.
async fn gone_back(controller: &Controller, request: StartRequest) -> String {
    let id = controller.engine.start(request).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    controller.engine.view(&id).await.unwrap().record.reason
}

async fn withdraw(store: &SharedStore, version: &str) {
    let (app, version) = ("shop".parse().unwrap(), version.parse().unwrap());
    let (mut release, _) = bundle::load(&**store, &app, &version).await.unwrap().unwrap();
    release.withdrawn = Some(Withdrawal { at_ms: 1, by: "admin".into(), reason: "bad licence".into() });
    let key = Key::release(&app, &version);
    let value = record::encode(&key, &release).unwrap();
    store.commit(Txn::new().put(key, value)).await.unwrap();
}

#[tokio::test]
async fn what_was_withdrawn_is_passed_over_and_said() {
    let (agents, store, controller) = fleet(2).await;
    rolled_out(&controller, &["1.0", "1.1", "1.2"]).await;
    withdraw(&store, "1.1").await;
    assert_eq!(
        refused(&controller, back_to("1.1")).await,
        "release shop@1.1 was withdrawn by admin: bad licence. \
         Go back to another: longshore rollout rollback shop@1.0 --to production"
    );
    let asked = StartRequest { reason: "too loud".into(), ..request(None) };
    let reason = gone_back(&controller, asked).await;
    assert_eq!(reason, "too loud; passed over: 1.1 was withdrawn by admin: bad licence");
    everywhere(&agents, "1.0");
}

/// Hosts would refuse it: that is known before it is begun.
#[tokio::test]
async fn what_is_revoked_is_passed_over_and_said() {
    let (agents, _store, controller) = fleet(2).await;
    rolled_out(&controller, &["1.0", "1.1", "1.2"]).await;
    let (env, app) = ("production".parse().unwrap(), "shop".parse().unwrap());
    let before = controller.engine.lived_before(&env, &app).await.unwrap();
    let before: Vec<&str> = before.iter().map(|target| target.version.as_str()).collect();
    assert_eq!(before, ["1.1", "1.0"]);
    let why = "is revoked by the organisation: stolen key".to_owned();
    let refused = [("1.1".parse().unwrap(), why)].into();
    let reason = gone_back(&controller, StartRequest { refused, ..request(None) }).await;
    assert_eq!(reason, "passed over: 1.1 is revoked by the organisation: stolen key");
    everywhere(&agents, "1.0");
}

#[tokio::test]
async fn where_everything_was_withdrawn_nothing_is_left() {
    let (_agents, store, controller) = fleet(1).await;
    rolled_out(&controller, &["1.0", "1.1"]).await;
    withdraw(&store, "1.0").await;
    assert_eq!(
        refused(&controller, request(None)).await,
        "nothing is left in production that shop could go back to: 1.0 was withdrawn by admin: bad licence. \
         Publish another version"
    );
}

/// Two people type it in the same incident, and mean the same.
#[tokio::test]
async fn what_went_back_goes_no_further_unless_it_is_said() {
    let (agents, _store, controller) = fleet(2).await;
    rolled_out(&controller, &["1.0", "1.1", "1.2"]).await;
    assert_eq!(gone_back(&controller, request(None)).await, "");
    everywhere(&agents, "1.1");
    let again = refused(&controller, request(None)).await;
    for part in ["production went back to shop@1.1 already", "rollout rollback shop@1.0 --to production"] {
        assert!(again.contains(part), "{part} is not in {again}");
    }
    everywhere(&agents, "1.1");
    gone_back(&controller, back_to("1.0")).await;
    everywhere(&agents, "1.0");
    // After a way forward it is meant anew.
    rolled_out(&controller, &["1.2"]).await;
    gone_back(&controller, request(None)).await;
    everywhere(&agents, "1.0");
}

/// Whoever aborts the way back has said nothing of the release that it led to.
#[tokio::test]
async fn what_somebody_aborted_may_be_gone_back_to() {
    let (agents, _store, controller) = fleet(2).await;
    rolled_out(&controller, &["1.0", "1.1", "1.2"]).await;
    let later = StartRequest { at: "+2h".to_owned(), ..request(None) };
    let aborted = controller.engine.start(later).await.unwrap();
    controller.engine.steer(aborted, Event::Abort { by: "alice".into() }).await.unwrap();
    assert_eq!(controller.done(aborted).await, Outcome::Aborted);
    assert_eq!(gone_back(&controller, request(None)).await, "");
    everywhere(&agents, "1.1");
}

/// 1.1 was live once, and did not come through when it was tried again.
#[tokio::test]
async fn what_a_rollout_took_back_is_nowhere_to_go() {
    let (agents, store, controller) = fleet(2).await;
    rolled_out(&controller, &["1.0", "1.1", "1.2"]).await;
    gated(&store, "[[gate]]\nname = \"go\"\nkind = \"approval\"\nafter = \"canary\"\n").await;
    let id = controller.engine.start(request(Some("1.1"))).await.unwrap();
    waits_for(&controller, id, HoldKind::Gate).await;
    let denied = Answer::Denied;
    controller.engine.answer_gate(id, "go", &"bob".parse().unwrap(), denied, "no".into()).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::RolledBack);
    everywhere(&agents, "1.2");

    let reason = gone_back(&controller, request(None)).await;
    assert_eq!(reason, format!("passed over: 1.1 was taken back by rollout {}", id.short()));
    everywhere(&agents, "1.0");
}

/// Whoever withdraws a release while it is on its way finds it on no further host, and it is not resumed.
#[tokio::test]
async fn a_release_that_is_withdrawn_under_way_comes_on_no_further_host() {
    let (agents, store, controller) = fleet(2).await;
    rolled_out(&controller, &["1.0"]).await;
    gated(&store, "[[gate]]\nname = \"go\"\nkind = \"approval\"\nafter = \"canary\"\n").await;
    let id = controller.engine.start(request(Some("1.1"))).await.unwrap();
    waits_for(&controller, id, HoldKind::Gate).await;
    withdraw(&store, "1.1").await;
    let hold = controller.holds(id, "withdrawn").await;
    let abort = format!("longshore rollout abort {}", id.short());
    assert!(hold.ends_with(&format!("the release was withdrawn by admin: bad licence [{abort}]")), "{hold}");
    let refused = controller.engine.steer(id, Event::Resume).await.unwrap_err().coded();
    assert!(refused.message.ends_with(&abort), "{refused}");
    controller.engine.steer(id, Event::Abort { by: "alice".into() }).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::Aborted);
    everywhere(&agents, "1.0");
}
