//! Keys: two people, one that was stolen, one that an ssh-agent holds, and what is attested.

use std::process::Command;

use longshore_tests::run;

use crate::signed::Signed;
use crate::site::{ASK, Site};

#[test]
fn with_a_threshold_of_two_a_release_runs_when_the_second_has_seen_the_same_digest() {
    let site = Signed(Site::bare());
    site.ops(["init"]).success().unwrap();
    let bob = site.second_operator();
    site.as_operator(&bob, ["key", "create", "bob"]).success().unwrap();
    let keys = site.as_operator(&bob, ["key", "list", "-o", "json"]).success().unwrap();
    let keys: serde_json::Value = serde_json::from_str(&keys).unwrap();
    let bobs = keys["keys"][0]["public_key"].as_str().unwrap().to_owned();
    let create = ["app", "create", "shop", "--key", &bobs, "--threshold", "2"];
    let created = site.ops(create).success().unwrap();
    assert!(created.contains("waiting"), "{created}");
    // The first list takes both as well.
    let joined = site.as_operator(&bob, ["app", "create", "shop"]).success().unwrap();
    assert!(joined.contains("2 of 2 keys") && !joined.contains("waiting"), "{joined}");
    let site = site.with_host();
    let published = site.publish("1.0").success().unwrap();
    assert!(published.contains("not by enough keys yet"), "{published}");
    let refused = site.roll_out("1.0").code_is(4).unwrap();
    assert!(refused.everything().contains("LS-T03"), "{refused}");
    let planned = site.ops(["plan", "shop@1.0", "--to", "prod"]).code_is(4).unwrap().everything();
    assert!(
        planned.contains("- signed: ") && planned.contains("1 of 2 required signatures"),
        "a plan says it before: {planned}"
    );
    let listed = site.json(["release", "list"]);
    assert_eq!(listed["releases"][0]["signing"]["state"], "waiting", "{listed}");
    let digest = site.digest_of("1.0");
    assert!(published.contains(&digest), "whoever published it sees the digest: {published}");
    let other = "0".repeat(64);
    let mismatch = site.as_operator(&bob, ["release", "sign", "shop@1.0", "--digest", &other]);
    assert!(mismatch.code == Some(1) && mismatch.everything().contains(&digest), "{mismatch}");
    let signed =
        site.as_operator(&bob, ["release", "sign", "shop@1.0", "--digest", &digest]).success().unwrap();
    assert!(signed.contains(&digest[..8]), "{signed}");
    site.roll_out("1.0").code_is(0).unwrap();
    let status = site.json(["trust", "status"]);
    assert_eq!(status["repositories"][1]["takes"], "2 of 2");
    assert_eq!(status["warnings"].as_array().unwrap().len(), 0, "{status}");
    assert_eq!(status["expiries"][0]["level"], "ok");
    assert_eq!(site.json(["release", "show", "shop@1.0"])["release"]["signing"]["state"], "signed");
}

/// Whatever waits for the second: `trust status` names what, who has signed, and the command, which is typed just so.
#[test]
fn what_waits_is_told_with_the_command_that_the_second_types() {
    let site = Signed(Site::bare());
    site.ops(["init"]).success().unwrap();
    let bob = site.second_operator();
    site.as_operator(&bob, ["key", "create", "bob"]).success().unwrap();
    let keys = site.as_operator(&bob, ["key", "list", "-o", "json"]).success().unwrap();
    let keys: serde_json::Value = serde_json::from_str(&keys).unwrap();
    let (bobs, bobs_id) = (keys["keys"][0]["public_key"].as_str().unwrap(), &keys["keys"][0]["id"]);
    let waits = |app: &str| {
        let status = site.json(["trust", "status"]);
        let repositories = status["repositories"].as_array().unwrap();
        let own = repositories.iter().find(|of| of["app"] == app).unwrap_or_else(|| panic!("{status}"));
        own["waiting"].as_array().unwrap().clone()
    };
    let by_bob = |app: &str, what: &str| {
        let waiting = waits(app);
        let found = waiting.iter().find(|waiting| waiting["what"].as_str().unwrap().starts_with(what));
        let found = found.unwrap_or_else(|| panic!("no \"{what}\" in {waiting:?}"));
        let next = found["next"].as_str().unwrap();
        let longshore = crate::site::program_called("longshore");
        let path =
            std::path::Path::new(longshore.get_program()).parent().unwrap().to_str().unwrap().to_owned();
        let mut shell = Command::new("sh");
        shell.args(["-c", next]).env("PATH", format!("{path}:{}", std::env::var("PATH").unwrap()));
        shell.env("LONGSHORE_CONTEXT", &bob).env("HOME", site.0.path(""));
        shell.env("LONGSHORE_KEY_PASSPHRASE", crate::signed::PASSPHRASE).env_remove("XDG_CONFIG_HOME");
        run(&mut shell, ASK).unwrap().success().unwrap_or_else(|e| panic!("{next}: {e}"))
    };
    site.ops(["app", "create", "shop", "--key", bobs, "--threshold", "2"]).success().unwrap();
    let lacking = &waits("shop")[0]["list"]["lacking"];
    assert_eq!(lacking.as_array().unwrap(), std::slice::from_ref(bobs_id));
    by_bob("shop", "begins with key");
    site.publish("1.0").success().unwrap();
    site.publish("1.1").success().unwrap();
    assert_eq!(waits("shop").len(), 2, "one does not take the other's place");
    by_bob("shop", "lists 1.0");
    let left = waits("shop");
    assert_eq!((left.len(), &left[0]["overtaken"]), (1, &true.into()), "{left:?}");
    site.ops(["release", "sign", "shop@1.1"]).success().unwrap();
    site.ops(["release", "sign", "shop@1.0", "--security"]).success().unwrap();
    by_bob("shop", "lets nothing older than 1.0 run");
    // A change of keys outlives what is released meanwhile.
    site.ops(["trust", "rotate", "shop", "--add-key", &"17".repeat(32)]).success().unwrap();
    let id = waits("shop")[0]["id"].as_str().unwrap().to_owned();
    let dropped = site.ops(["trust", "drop", "shop", &id, "--reason", "not wanted"]).success().unwrap();
    assert!(dropped.contains("lists 1.1"), "{dropped}");
    by_bob("shop", "adds key");
    assert_eq!(waits("shop").len(), 0);
    site.ops(["release", "withdraw", "shop@1.0", "--reason", "loses orders"]).success().unwrap();
    let state = || site.json(["release", "show", "shop@1.0"])["release"]["signing"]["state"].clone();
    assert_eq!(state(), "delisting");
    by_bob("shop", "takes 1.0 off the list");
    assert_eq!(state(), "delisted");
    let audit = site.ops(["audit", "list"]).success().unwrap();
    for part in ["lists 1.0 (", "lets nothing older than 1.0 run", "adds key ", "drop", "not wanted"] {
        assert!(audit.contains(part), "no \"{part}\" in {audit}");
    }
    // The organisation's own words as well.
    site.ops(["trust", "rotate", "fleet", "--add-key", bobs, "--threshold", "2"]).success().unwrap();
    by_bob("fleet", "adds key");
    site.ops(["fleet", "freeze", "--reason", "bob's key? it's gone"]).success().unwrap();
    by_bob("fleet", "freezes the fleet");
    assert_eq!(site.json(["fleet", "status"])["frozen"], "bob's key? it's gone");
    let keys = site.ops(["trust", "keys", "fleet"]).success().unwrap();
    assert!(keys.contains(bobs_id.as_str().unwrap()) && keys.contains(bobs), "{keys}");
}

/// Whoever wants it afterwards hears that it was withdrawn and why, and not that somebody should sign it.
#[test]
fn what_was_withdrawn_is_told_as_that() {
    let site = Signed::raise();
    site.publish("1.0").success().unwrap();
    let withdraw = || site.ops(["release", "withdraw", "shop@1.0", "--reason", "loses orders"]);
    withdraw().success().unwrap();
    withdraw().code_is(6).unwrap();
    let refused = site.roll_out("1.0").code_is(4).unwrap().everything();
    assert!(refused.contains("LS-T05") && refused.contains("loses orders"), "{refused}");
    assert!(!refused.contains("release sign"), "{refused}");
    let planned = site.ops(["plan", "shop@1.0", "--to", "prod"]).code_is(4).unwrap().everything();
    assert!(planned.contains("- withdrawn: ") && !planned.contains("- signed: "), "{planned}");
}

#[test]
fn what_only_a_removed_key_signs_is_refused() {
    let site = Signed::raise();
    site.publish("1.0").success().unwrap();
    let bob = site.second_operator();
    site.as_operator(&bob, ["key", "create", "bob"]).success().unwrap();
    let keys = site.as_operator(&bob, ["key", "list", "-o", "json"]).success().unwrap();
    let keys: serde_json::Value = serde_json::from_str(&keys).unwrap();
    let bobs = keys["keys"][0]["public_key"].as_str().unwrap();
    site.ops(["trust", "rotate", "shop", "--add-key", bobs]).success().unwrap();
    site.publish("1.1").success().unwrap();
    site.roll_out("1.1").code_is(0).unwrap();
    site.ops(["trust", "rotate", "shop", "--remove-key", bobs]).success().unwrap();
    // Bob's machine still has the key, and the controller what it publishes.
    site.0.write_app("1.2", "exec sleep 1000");
    let app = site.0.text("app");
    let published = site.as_operator(&bob, ["release", "publish", &app, "--version", "1.2"]);
    assert_eq!(published.code, Some(4), "{published}");
    assert!(published.everything().contains("NOT SIGNED"), "{published}");
    site.bring_up_to_date();
    let before = site.snapshot();
    let refused = site.roll_out("1.2").code_is(4).unwrap();
    assert!(refused.everything().contains("LS-T02"), "{refused}");
    assert_eq!(site.snapshot(), before);
}

/// The agent of Debian's openssh-client, with a key that never leaves it.
#[test]
fn an_ssh_agent_signs_for_the_organisation_and_for_releases() {
    let Ok(made) = run(Command::new("ssh-agent").arg("-V").env_remove("SSH_AUTH_SOCK"), ASK) else {
        panic!("this test needs ssh-agent: apt-get install openssh-client")
    };
    drop(made);
    let site = Signed(Site::bare());
    let socket = site.0.text("ssh-agent.sock");
    let mut agent = Command::new("ssh-agent");
    let mut agent = longshore_tests::Process::start(agent.args(["-D", "-a", &socket])).unwrap();
    // Its socket may be there before anybody listens at it.
    longshore_tests::until(ASK, "the ssh-agent to answer", || {
        let listed = run(Command::new("ssh-add").arg("-l").env("SSH_AUTH_SOCK", &socket), ASK)?;
        Ok((listed.code != Some(2)).then_some(()))
    })
    .unwrap();
    let with_agent = [("SSH_AUTH_SOCK", socket.as_str()), ("LONGSHORE_KEY_PASSPHRASE", "")];
    for name in ["org", "shop"] {
        let key = site.0.text(&format!("id_{name}"));
        let make = ["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", &key];
        run(Command::new("ssh-keygen").args(make), ASK).unwrap().success().unwrap();
        run(Command::new("ssh-add").arg(&key).env("SSH_AUTH_SOCK", &socket), ASK).unwrap().success().unwrap();
        // From now on only the agent has it.
        std::fs::remove_file(&key).unwrap();
        site.ops_with(["key", "add", name, "--ssh-agent", name], &with_agent).success().unwrap();
    }
    let listed = site.ops_with(["key", "list"], &with_agent).success().unwrap();
    assert_eq!(listed.matches("ssh-agent").count(), 2, "{listed}");
    site.ops_with(["init"], &with_agent).success().unwrap();
    site.ops_with(["app", "create", "shop"], &with_agent).success().unwrap();
    let site = site.with_host();
    site.0.write_app("1.0", "exec sleep 1000");
    let publish = ["release", "publish", &site.0.text("app"), "--version", "1.0"];
    let published = site.ops_with(publish, &with_agent).success().unwrap();
    assert!(published.contains("signed"), "{published}");
    site.roll_out("1.0").code_is(0).unwrap();
    // A spare key in a file: where one of two is enough, an agent that is away keeps nobody from signing.
    let with_both = [("SSH_AUTH_SOCK", socket.as_str())];
    site.ops(["key", "create", "spare"]).success().unwrap();
    let spare = site.key_called("spare");
    site.ops_with(["trust", "rotate", "shop", "--add-key", &spare], &with_both).success().unwrap();
    agent.kill().unwrap();
    site.0.write_app("1.1", "exec sleep 1000");
    let publish = ["release", "publish", &site.0.text("app"), "--version", "1.1"];
    let published = site.ops_with(publish, &with_both);
    assert!(published.everything().contains("key shop did not sign"), "{published}");
    assert!(published.success().unwrap().contains("signed"));
    site.roll_out("1.1").code_is(0).unwrap();
    // Where no other key is there, that is an error.
    let gone = site.ops_with(["fleet", "freeze", "--reason", "x"], &with_agent).code_is(3).unwrap();
    assert!(gone.everything().contains("ssh-add -l"), "{gone}");
}

#[test]
fn a_host_may_demand_what_is_attested_of_a_release() {
    let site = Signed::raise();
    site.0.write(
        "host/etc/longshore/policy.toml",
        "allow_root_apps = [\"shop\"]\nrequire_attestations = [\"sbom\", \"provenance\"]\n",
    );
    site.publish("1.0").success().unwrap();
    let plain = site.0.text("plain.lsb");
    site.ops(["release", "export", "shop@1.0", "--into", &plain]).success().unwrap();
    let refused = site.agent(["deploy", "--bundle", &plain, "--env", "prod"]).code_is(4).unwrap();
    assert!(refused.everything().contains("LS-P02"), "{refused}");
    let sbom = site
        .0
        .write("sbom.json", "{\"bomFormat\":\"CycloneDX\",\"specVersion\":\"1.6\",\"components\":[]}\n");
    let statement = "{\"_type\":\"https://in-toto.io/Statement/v1\",\"subject\":[],\"predicateType\":\"https://slsa.dev/provenance/v1\",\"predicate\":{}}\n";
    let provenance = site.0.write("provenance.json", statement);
    site.0.write_app("1.1", "exec sleep 1000");
    let app = site.0.text("app");
    let publish = ["release", "publish", &app, "--version", "1.1", "--sbom", &sbom, "--provenance"];
    let wrong = site.ops(publish.iter().copied().chain([sbom.as_str()]));
    assert!(wrong.code == Some(2) && wrong.everything().contains("in-toto"), "{wrong}");
    site.ops(publish.iter().copied().chain([provenance.as_str()])).success().unwrap();
    let shown = site.ops(["release", "show", "shop@1.1"]).success().unwrap();
    assert!(shown.contains("CycloneDX") && shown.contains("in-toto"), "{shown}");
    site.ops(["release", "verify", "shop@1.1"]).success().unwrap();
    let printed = site.ops(["release", "attestation", "shop@1.1", "provenance"]).success().unwrap();
    assert_eq!(printed, statement);
    site.roll_out("1.1").code_is(0).unwrap();
    // An environment may demand it as well: then the host is not even asked.
    let demanding =
        crate::site::env_file("ahoy").replace("[rollout]", "require_attestations = [\"sbom\"]\n[rollout]");
    site.ops(["env", "apply", &site.0.write("prod.toml", &demanding)]).success().unwrap();
    let refused = site.roll_out("1.0").code_is(4).unwrap();
    assert!(
        refused.everything().contains("LS-P02") && refused.everything().contains("prod takes only"),
        "{refused}"
    );
    // It travels with the release.
    let file = site.0.text("shop.lsb");
    site.ops(["release", "export", "shop@1.1", "--into", &file]).success().unwrap();
    site.agent(["deploy", "--bundle", &file]).code_is(6).unwrap();
}
