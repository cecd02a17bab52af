//! Stopping the world: a signed freeze, revoked releases, a file on the host.

use std::fs;

use longshore_tests::until;

use crate::signed::Signed;
use crate::site::ASK;

#[test]
fn a_signed_freeze_reaches_every_host_and_nothing_new_begins_until_it_is_lifted() {
    let site = Signed::raise();
    site.publish("1.0").success().unwrap();
    site.roll_out("1.0").code_is(0).unwrap();
    site.publish("1.1").success().unwrap();
    let file = site.0.text("shop.lsb");
    site.ops(["release", "export", "shop@1.1", "--into", &file]).success().unwrap();
    let frozen = site.ops(["fleet", "freeze", "--reason", "key stolen"]).success().unwrap();
    assert!(frozen.contains("FROZEN: key stolen") && frozen.contains("1 host"), "{frozen}");
    site.ops(["fleet", "freeze", "--reason", "key stolen"]).code_is(6).unwrap();
    let checked = site.ops(["trust", "check"]).success().unwrap();
    assert!(checked.contains("frozen: key stolen"), "{checked}");
    let before = site.snapshot();
    let refused = site.roll_out("1.1").code_is(4).unwrap();
    assert!(refused.everything().contains("frozen"), "{refused}");
    // And by hand it is no other, although the bundle is older than the freeze.
    let by_hand = site.agent(["deploy", "--bundle", &file]);
    assert!(by_hand.code == Some(4) && by_hand.everything().contains("the fleet is frozen"), "{by_hand}");
    assert_eq!(site.snapshot(), before);
    site.ops(["fleet", "unfreeze"]).success().unwrap();
    site.roll_out("1.1").code_is(0).unwrap();
}

#[test]
fn a_revoked_release_is_refused_by_every_host_whoever_signed_it() {
    let site = Signed::raise();
    site.publish("1.0").success().unwrap();
    site.roll_out("1.0").code_is(0).unwrap();
    site.publish("1.1").success().unwrap();
    let file = site.0.text("shop.lsb");
    site.ops(["release", "export", "shop@1.1", "--into", &file]).success().unwrap();
    let revoked =
        site.ops(["fleet", "revoke", "shop@1.1", "--reason", "built by a thief"]).success().unwrap();
    assert!(revoked.contains("built by a thief"), "{revoked}");
    site.bring_up_to_date();
    let before = site.snapshot();
    let refused = site.roll_out("1.1").code_is(4).unwrap();
    assert!(refused.everything().contains("LS-T05"), "{refused}");
    let by_hand = site.agent(["deploy", "--bundle", &file]);
    assert!(
        by_hand.code == Some(4) && by_hand.everything().contains("is revoked by the organisation"),
        "{by_hand}"
    );
    assert_eq!(site.snapshot(), before);
    assert_eq!(site.json(["fleet", "status"])["revoked"][0]["digest"], site.digest_of("1.1"));
    let digest = site.digest_of("1.1");
    site.ops(["fleet", "unrevoke", &digest]).success().unwrap();
    site.roll_out("1.1").code_is(0).unwrap();
}

#[test]
fn a_file_on_the_host_stops_new_work_without_the_agent() {
    let site = Signed::raise();
    site.publish("1.0").success().unwrap();
    let file = site.0.text("shop.lsb");
    site.ops(["release", "export", "shop@1.0", "--into", &file]).success().unwrap();
    let hold = site.0.write("host/etc/longshore/HOLD", "raid is rebuilt\n");
    let status = site.agent(["status"]).success().unwrap();
    assert!(status.contains("raid is rebuilt"), "{status}");
    until(ASK, "the controller to hear of it", || {
        Ok(site.ops(["host", "list"]).stdout.contains("held").then_some(()))
    })
    .unwrap();
    let held = site.agent(["deploy", "--bundle", &file, "--env", "prod"]).code_is(4).unwrap();
    assert!(held.everything().contains("LS-P01") && held.everything().contains("--despite-hold"), "{held}");
    assert_eq!(site.0.runs(), None);
    site.agent(["deploy", "--bundle", &file, "--env", "prod", "--despite-hold"]).success().unwrap();
    assert_eq!(site.0.runs().as_deref(), Some("1.0"));
    fs::remove_file(hold).unwrap();
    until(ASK, "the controller to hear of it", || {
        Ok((!site.ops(["host", "list"]).stdout.contains("held")).then_some(()))
    })
    .unwrap();
}
