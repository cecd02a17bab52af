//! Trust state that was damaged, and the ways for those who must: told by the host, on record at the controller, forever.

use longshore_tests::until;

use crate::signed::Signed;
use crate::site::ASK;

/// LS-T01: damaged is never taken for empty. Root mends it on the host, and everybody hears of it while the session lasts.
#[test]
fn damaged_trust_refuses_everything_until_root_mends_it_and_that_is_told() {
    let mut site = Signed::raise();
    // What is trusted is looked at every few beats; silence is as long as it was.
    site.0.edit("ctl/controller.toml", "every = \"10s\"", "every = \"1s\"");
    site.0.edit("ctl/controller.toml", "missed = 30", "missed = 100");
    site.0.controller.take();
    site.0.serve();
    site.0.until_connected();
    for version in ["1.0", "1.1"] {
        site.publish(version).success().unwrap();
    }
    site.roll_out("1.0").code_is(0).unwrap();
    let current = site.0.path("host/var/lib/longshore/trust/shop/current");
    std::fs::remove_file(&current).unwrap();
    let damaged = site.snapshot();

    let checked = site.ops(["trust", "check"]).code_is(1).unwrap();
    assert_eq!(
        checked.everything().matches("LS-T01 the trust state of shop is damaged").count(),
        1,
        "{checked}"
    );
    let refused = site.roll_out("1.1");
    assert!(refused.code != Some(0), "{refused}");
    let explained = site.ops(["rollout", "explain", "shop", "--to", "prod"]);
    assert!(
        refused.everything().contains("LS-T01") || explained.everything().contains("LS-T01"),
        "{explained}"
    );
    assert_eq!((site.snapshot(), site.0.runs().as_deref()), (damaged, Some("1.0")), "what runs goes on");

    let mended = site.agent(["trust", "recover", "shop"]).success().unwrap();
    assert!(mended.contains("put back to generation") && mended.contains("reported from now on"), "{mended}");
    site.agent(["trust", "recover", "shop"]).code_is(4).unwrap();
    let name = site.json(["host", "list"])["hosts"][0]["name"].as_str().unwrap().to_owned();
    let on_record = |what: &str| {
        until(ASK, "the word of it in the audit log", || {
            let told = site.ops(["audit", "list", "--method", "glass", "--target", &name]).stdout;
            Ok((told.contains("glass broken on the host") && told.contains(what)).then_some(()))
        })
        .unwrap();
    };
    on_record("trust state of shop put back");
    let shown = site.ops(["host", "show", &name]).success().unwrap();
    assert!(shown.contains("glass broken") && shown.contains("trust state of shop put back"), "{shown}");
    site.ops(["trust", "check"]).success().unwrap();

    // Another root: what was verified under the one before counts no more, and nothing of this fleet runs anew.
    let here = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let pin = "7".repeat(64);
    let wrong = site.agent(["trust", "reset", "--pin", &pin, "--i-am-on", "elsewhere"]).code_is(2).unwrap();
    assert!(wrong.everything().contains("nothing was changed"), "{wrong}");
    site.agent(["trust", "reset", "--pin", &pin, "--i-am-on", &here]).success().unwrap();
    on_record("pinned root set to 7777");
    let status = site.agent(["status"]).success().unwrap();
    assert_eq!(status.matches("glass broken").count(), 2, "{status}");
    // Whoever is root there can take the file away, and not the record of it.
    std::fs::remove_file(site.0.path("host/var/lib/longshore/identity/trust.json")).unwrap();
    site.0.agent.take();
    site.0.start_agent();
    let shown = site.ops(["host", "show", &name]).success().unwrap();
    assert_eq!(shown.matches("glass broken").count(), 2, "{shown}");
}
