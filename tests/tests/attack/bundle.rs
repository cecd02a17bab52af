//! A release in a file: to a host whose controller is gone, to one that never had any, and hostile ones to both.

use std::fs;

use longshore_tests::until;

use crate::signed::Signed;
use crate::site::{ASK, program_called};

/// Scenario 80: from a file, a folder and a relative folder, with the same files, hooks and probes as through the
/// controller; reported when the controller is back, which changes it only by something new.
#[test]
fn a_release_comes_by_hand_while_the_controller_is_gone() {
    let mut site = Signed::raise();
    site.publish("1.0").success().unwrap();
    site.roll_out("1.0").code_is(0).unwrap();
    site.publish("1.1").success().unwrap();
    let file = site.0.text("shop-1.1.lsb");
    let exported = site.ops(["release", "export", "shop@1.1", "--into", &file]).success().unwrap();
    assert!(exported.contains("verified by the root that this machine pins"), "{exported}");
    let again = site.0.text("again.lsb");
    site.ops(["release", "export", "shop@1.1", "--into", &again]).success().unwrap();
    assert_eq!(fs::read(&file).unwrap(), fs::read(&again).unwrap(), "the same release is the same bytes");
    site.publish("1.2").success().unwrap();
    let folder = site.0.text("shop-1.2");
    site.ops(["release", "export", "shop@1.2", "--folder", &folder]).success().unwrap();
    assert!(site.0.path("shop-1.2/files/run").is_file());

    site.0.controller.take();
    let deployed = site.agent(["deploy", "--bundle", &file]).success().unwrap();
    assert!(deployed.contains("shop@1.1 is live and healthy"), "{deployed}");
    assert_eq!(site.0.runs().as_deref(), Some("1.1"));
    site.agent(["deploy", "--bundle", &file]).code_is(6).unwrap();
    let mut relative = program_called("longshore-agent");
    relative.args(["--root", &site.0.text("host"), "deploy", "--bundle", "./shop-1.2"]);
    let relative = longshore_tests::run(relative.current_dir(site.0.path("")), ASK).unwrap();
    relative.success().unwrap();
    assert_eq!(site.0.runs().as_deref(), Some("1.2"));
    until(ASK, "the bundles to be gone", || {
        let left = fs::read_dir(site.0.path("host/var/lib/longshore/bundles")).unwrap().count();
        Ok((left == 0).then_some(()))
    })
    .unwrap();
    let status = site.agent(["status"]).success().unwrap();
    assert!(status.contains("shop: deployed here by") && status.contains("from a bundle"), "{status}");

    site.0.serve();
    until(ASK, "the host to say so", || {
        let shown = site.ops(["host", "show", "-o", "json", &host_name(&site)]);
        Ok(shown.stdout.contains("deployed_there\": {").then_some(()))
    })
    .unwrap();
    let shown = site.ops(["host", "show", &host_name(&site)]).success().unwrap();
    assert!(shown.contains("1.2") && shown.contains("deployed on the host by"), "{shown}");
    let audit = site.ops(["audit", "list"]).success().unwrap();
    assert!(audit.contains("deployed on the host: shop"), "{audit}");
    assert_eq!(site.0.runs().as_deref(), Some("1.2"), "nothing old is imposed again");
    site.publish("1.3").success().unwrap();
    site.roll_out("1.3").code_is(0).unwrap();
    assert_eq!(site.0.runs().as_deref(), Some("1.3"));
    let status = site.agent(["status"]).success().unwrap();
    assert!(!status.contains("deployed here by"), "{status}");
}

fn host_name(site: &Signed) -> String {
    let hosts = site.json(["host", "list"]);
    hosts["hosts"][0]["name"].as_str().unwrap().to_owned()
}

/// No network, no controller, no agent that runs, and never enrolled: the pinned root is all it needs.
#[test]
fn a_host_that_never_saw_a_controller_runs_what_is_signed() {
    let site = Signed(crate::site::Site::bare());
    site.ops(["init"]).success().unwrap();
    site.ops(["app", "create", "shop"]).success().unwrap();
    site.publish("1.0").success().unwrap();
    let file = site.0.text("shop.lsb");
    site.ops(["release", "export", "shop@1.0", "--into", &file]).success().unwrap();
    let root = fs::read_to_string(site.0.path("ctl/operator/keys/fleet.pin")).unwrap();
    let here = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let pin = ["trust", "reset", "--pin", root.trim(), "--i-am-on", &here];
    site.agent(pin).success().unwrap();
    let unnamed = site.agent(["deploy", "--bundle", &file]);
    assert!(unnamed.code == Some(2) && unnamed.everything().contains("--env"), "{unnamed}");
    let values = site.0.write("values.toml", "[values]\ngreeting = \"ahoy\"\n");
    let deploy = ["deploy", "--bundle", &file, "--env", "prod", "--env-values", &values];
    let deployed = site.agent(deploy).success().unwrap();
    assert!(deployed.contains("shop@1.0 is live and healthy"), "{deployed}");
    assert_eq!(site.0.runs().as_deref(), Some("1.0"));
    assert!(!site.0.pids().is_empty(), "it outlives the one who deployed it");
    // A second time there is nothing to do, and what was given is remembered.
    site.agent(["deploy", "--bundle", &file]).code_is(6).unwrap();
}

/// Each refused with its code, by a real agent, and not one byte of the host is another one afterwards.
#[test]
fn hostile_bundles_are_refused_and_leave_the_host_as_it_is() {
    let site = Signed::raise();
    site.publish("1.0").success().unwrap();
    site.roll_out("1.0").code_is(0).unwrap();
    site.publish("1.1").success().unwrap();
    let export = |version: &str| {
        let file = site.0.text(&format!("{version}.lsb"));
        let release = format!("shop@{version}");
        site.ops(["release", "export", &release, "--into", &file]).success().unwrap();
        fs::read(&file).unwrap()
    };
    let (old, good) = (export("1.0"), export("1.1"));
    // What came last is what the host has seen: then the floor is above 1.0.
    site.ops(["release", "sign", "shop@1.1", "--security"]).success().unwrap();
    let raised = export("1.1");
    let mut flipped = good.clone();
    let at = flipped.len() - 60;
    flipped[at] ^= 1;
    let stranger = {
        let other = Signed(crate::site::Site::bare());
        other.ops(["init"]).success().unwrap();
        other.ops(["app", "create", "shop"]).success().unwrap();
        other.publish("1.1").success().unwrap();
        let file = other.0.text("x.lsb");
        other.ops(["release", "export", "shop@1.1", "--into", &file]).success().unwrap();
        fs::read(&file).unwrap()
    };
    site.bring_up_to_date();
    let before = site.snapshot();
    let rows: Vec<(&str, Vec<u8>, &str)> = vec![
        ("truncated", good[..good.len() / 2].to_vec(), "LS-A05"),
        ("an error page", b"<html><body>502</body></html>".to_vec(), "LS-A05"),
        ("empty", vec![], "LS-A05"),
        ("a bit flipped", flipped, "LS-A0"),
        ("twice the same", [&good[..], &good[..]].concat(), "LS-A05"),
        ("another fleet's", stranger, "LS-T02"),
    ];
    for (what, bytes, code) in rows {
        let file = site.0.path("hostile.lsb");
        fs::File::create(&file).and_then(|mut f| std::io::Write::write_all(&mut f, &bytes)).unwrap();
        let output = site.agent(["deploy", "--bundle", &file.display().to_string()]);
        assert!(output.code != Some(0) && output.everything().contains(code), "{what}: {output}");
        assert_eq!(site.snapshot(), before, "{what}");
    }
    let file = site.0.path("raised.lsb");
    fs::File::create(&file).and_then(|mut f| std::io::Write::write_all(&mut f, &raised)).unwrap();
    site.agent(["deploy", "--bundle", &file.display().to_string()]).success().unwrap();
    let before = site.snapshot();
    let file = site.0.path("old.lsb");
    fs::File::create(&file).and_then(|mut f| std::io::Write::write_all(&mut f, &old)).unwrap();
    let output = site.agent(["deploy", "--bundle", &file.display().to_string()]);
    assert!(output.code == Some(4) && output.everything().contains("LS-T05"), "{output}");
    assert_eq!(site.snapshot(), before, "below the floor");
}
