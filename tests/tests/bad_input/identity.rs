//! Identities in trouble, by our own programs: a disk that was copied, a host that has to be let in, and a CA that is
//! exchanged under a fleet that runs.

use std::process::Command;

use longshore_tests::{Process, run, until};
use serde_json::Value;

use crate::site::{ASK, Site, program_called};

fn json(site: &Site, words: &[&str]) -> Value {
    let said = site.longshore([words, &["-o", "json"]].concat()).success().unwrap();
    serde_json::from_str(&said).unwrap()
}

fn agent_below(site: &Site, root: &str) -> Process {
    let mut agent = program_called("longshore-agent");
    agent.args(["--root", &site.text(root), "run"]);
    Process::start(&mut agent).unwrap()
}

/// LS-E06: which of the two is the host nobody can say; an operator decides, and one command is the way out.
#[test]
fn a_cloned_disk_pauses_both_until_an_operator_decides() {
    let mut site = Site::bare();
    let token = site.token(&[]);
    site.enrol("host", &token).success().unwrap();
    let copied = Command::new("cp").args(["-a", &site.text("host"), &site.text("copy")]).status().unwrap();
    assert!(copied.success());
    site.start_agent();
    let mut copy = agent_below(&site, "copy");
    for agent in [site.agent.as_mut().unwrap(), &mut copy] {
        agent.until_it_says("LS-E06", ASK).unwrap();
        agent.until_it_says("connected twice with one key", ASK).unwrap();
    }
    let shown = json(&site, &["host", "list"]);
    assert_eq!(shown["hosts"][0]["barred"]["kind"], "cloned", "{shown}");
    let name = shown["hosts"][0]["name"].as_str().unwrap().to_owned();
    let told = site.longshore(["host", "show", &name]).success().unwrap();
    assert!(told.contains(&format!("longshore host admit {name}")), "{told}");

    drop(copy);
    site.longshore(["host", "admit", &name]).success().unwrap();
    site.longshore(["host", "admit", &name]).code_is(6).unwrap();
    let agent = site.agent.as_mut().unwrap();
    agent.until_it_says("certificate renewed", ASK).unwrap();
    until(ASK, "the host's return with a key of its own", || {
        let host = &json(&site, &["host", "list"])["hosts"][0];
        Ok((host["connected"] == true && host["key"] != shown["hosts"][0]["key"]).then_some(()))
    })
    .unwrap();
    // The copy has the old key still, and that opens nothing any more.
    let mut copy = agent_below(&site, "copy");
    copy.until_it_says("has other keys by now", ASK).unwrap();
    assert_eq!(json(&site, &["host", "list"])["hosts"][0]["connected"], true);
}

/// LS-E07: both sides show the same fingerprint, and nothing is served before somebody has compared them.
#[test]
fn a_host_that_has_to_be_let_in_waits() {
    let mut site = Site::bare();
    let token = site.token(&["--require-approval", "--name", "*"]);
    let joined = site.enrol("host", &token).success().unwrap();
    assert!(joined.contains("longshore host admit"), "{joined}");
    let mut agent = agent_below(&site, "host");
    agent.until_it_says("LS-E07", ASK).unwrap();
    let status = site.agent_at("host", ["status", "-o", "json"]).success().unwrap();
    let status: Value = serde_json::from_str(&status).unwrap();
    let key = status["key"].as_str().unwrap();
    let shown = json(&site, &["host", "list"]);
    let name = shown["hosts"][0]["name"].as_str().unwrap();
    assert_eq!(
        (&shown["hosts"][0]["key"], &shown["hosts"][0]["barred"]["kind"]),
        (&key.into(), &"waiting".into())
    );
    let other = site.longshore(["host", "admit", name, "--key", "0000"]);
    assert!(other.code == Some(4) && other.everything().contains("LS-E03"), "{other}");
    site.longshore(["host", "admit", name, "--key", &key[..16]]).success().unwrap();
    agent.until_it_says("connected", ASK).unwrap();
    site.agent = Some(agent);
}

/// Scenario 64: another root, while an app runs and nobody enrols again.
#[test]
fn another_ca_takes_over_while_everything_runs() {
    let mut site = Site::raise();
    let (app, key) = (site.pids(), json(&site, &["host", "list"])["hosts"][0]["key"].clone());
    ca(&site, &["rotate"]).success().unwrap();
    reload(&mut site);
    site.agent.as_mut().unwrap().until_it_says("certificate renewed", ASK).unwrap();
    until(ASK, "the host under the new root", || {
        let roots = &json(&site, &["status"])["roots"];
        Ok((roots[1]["hosts"] == 0 && roots[0]["hosts"] == 1).then_some(()))
    })
    .unwrap();
    site.longshore(["login"]).success().unwrap();
    until(ASK, "the end of the old root", || {
        Ok((json(&site, &["status"])["roots"].as_array().unwrap().len() == 1).then_some(()))
    })
    .unwrap();
    let after = json(&site, &["host", "list"]);
    assert_ne!(after["hosts"][0]["key"], key);
    assert_eq!(site.pids(), app, "the app never noticed");

    // Neither side remembers the old one: both are started anew, and a release goes through.
    site.controller.take();
    site.agent.take();
    site.serve();
    site.start_agent();
    site.publish("1.1", "exec sleep 1001").success().unwrap();
    site.roll_out("1.1").code_is(0).unwrap();
    assert_eq!(site.runs().as_deref(), Some("1.1"));
}

/// A rotation that is ended by hand, while a host is away that has not renewed: it is shut out and says why, the one that
/// has renewed stays, and nothing happens without the word.
#[test]
fn whoever_has_not_renewed_is_shut_out_when_the_old_root_is_retired() {
    let mut site = Site::raise();
    let (app, token) = (site.pids(), site.token(&[]));
    let retire = ca(&site, &["retire", "--shut-out"]).code_is(1).unwrap();
    assert!(retire.stderr.contains("there is one root only, and it stays"), "{retire}");
    site.enrol("late", &token).success().unwrap();
    let mut late = agent_below(&site, "late");
    late.until_it_says("connected", ASK).unwrap();
    drop(late);
    ca(&site, &["rotate"]).success().unwrap();
    reload(&mut site);
    site.agent.as_mut().unwrap().until_it_says("certificate renewed", ASK).unwrap();
    site.longshore(["login"]).success().unwrap();
    until(ASK, "the host under the new root", || {
        let roots = &json(&site, &["status"])["roots"];
        Ok((roots[0]["hosts"] == 1 && roots[1]["hosts"] == 1).then_some(()))
    })
    .unwrap();

    let believed = || std::fs::read(site.path("ctl/identity/ca.pem")).unwrap();
    let before = believed();
    ca(&site, &["retire"]).code_is(2).unwrap();
    assert_eq!(believed(), before);
    ca(&site, &["retire", "--shut-out"]).success().unwrap();
    reload(&mut site);
    until(ASK, "the end of the old root", || {
        Ok((json(&site, &["status"])["roots"].as_array().unwrap().len() == 1).then_some(()))
    })
    .unwrap();
    let mut late = agent_below(&site, "late");
    late.until_it_says("LS-E04", ASK).unwrap();
    until(ASK, "the one of the two to be connected, with nobody else", || {
        let hosts = json(&site, &["host", "list"])["hosts"].as_array().unwrap().clone();
        Ok((hosts.iter().filter(|host| host["connected"] == true).count() == 1).then_some(()))
    })
    .unwrap();
    assert_eq!(site.pids(), app, "the app never noticed");
    // The way back is the one that was said.
    drop(late);
    let (server, file) = (format!("{}:7443", site.address), site.write("again", &site.token(&[])));
    let again = ["enroll", "--again", "--server", &server, "--token-file", &file];
    let said = site.agent_at("late", again).success().unwrap();
    let mut back = agent_below(&site, "late");
    back.until_it_says("connected", ASK).unwrap();
    // And nobody has to know who it was before.
    let (_, was) = said.split_once("longshore host remove ").expect(&said);
    site.longshore(["host", "remove", was.lines().next().unwrap()]).success().unwrap();
    let hosts = json(&site, &["host", "list"])["hosts"].as_array().unwrap().clone();
    assert_eq!(hosts.len(), 2, "{hosts:#?}");
}

fn ca(site: &Site, words: &[&str]) -> longshore_tests::Output {
    let mut ca = program_called("longshore-controller");
    run(ca.arg("ca").args(words).args(["--config", &site.text("ctl/controller.toml")]), ASK).unwrap()
}

fn reload(site: &mut Site) {
    let controller = site.controller.as_mut().unwrap();
    let pid = rustix::process::Pid::from_raw(controller.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    controller.until_it_says("SIGHUP: reading certificates", ASK).unwrap();
}
