//! LS-E0x: tokens that are not good, controllers that are not ours, hosts that were removed.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use longshore_tests::{run, until};

use crate::site::{ASK, Site};
use crate::{Answer, refused};

const REFUSED: i32 = 4;

/// Scenario 63, the strict half: refused, and never listed.
#[test]
fn tokens_that_are_not_good_make_no_host() {
    let site = Site::raise();
    let answer = |code, says| Answer { exit: REFUSED, code, says };

    let expired = site.token(&["--ttl", "1s"]);
    let made = Instant::now();
    until(ASK, "the end of a token", || Ok((made.elapsed() > Duration::from_millis(1100)).then_some(())))
        .unwrap();
    refused(&site, "expired", &answer("LS-E01", "expired"), || site.enrol("other", &expired));

    let used = site.token(&[]);
    site.enrol("third", &used).success().unwrap();
    // Where machines have an id, this is the same machine with another key.
    let has_id = fs::read("/etc/machine-id").is_ok_and(|id| !id.is_empty());
    let code = if has_id { "LS-E03" } else { "LS-E02" };
    refused(&site, "used", &answer(code, "used by"), || site.enrol("other", &used));

    let good = site.token(&[]);
    let parts: Vec<&str> = good.split('.').collect();
    let [word, id, secret, ca] = parts[..] else { panic!("a token of another form: {} parts", parts.len()) };
    let other = |text: &str| match text.strip_prefix('A') {
        Some(rest) => format!("B{rest}"),
        None => format!("A{}", &text[1..]),
    };
    for (what, token, expected) in [
        ("unknown secret", format!("{word}.{id}.{}.{ca}", other(secret)), answer("LS-E02", "unknown here")),
        ("unknown id", format!("{word}.tk_0000000000.{secret}.{ca}"), answer("LS-E02", "unknown here")),
        ("another CA", format!("{word}.{id}.{secret}.{}", other(ca)), answer("LS-E04", "wrong address")),
        (
            "cut",
            good[..good.len() - 9].to_owned(),
            Answer { exit: 2, code: "LS-V01", says: "longshore token create" },
        ),
        ("no token", "\u{1b}[31m".to_owned(), Answer { exit: 2, code: "LS-V01", says: "not a join token" }),
    ] {
        refused(&site, what, &expected, || {
            let output = site.enrol("other", &token);
            assert!(!output.everything().contains(secret), "the secret is shown: {what}");
            output
        });
    }
    assert!(!site.path("other/var/lib/longshore/identity/cert.pem").exists());
    // Those that reached the controller are on record; what the agent itself found out never left its host.
    let denied = site.longshore(["audit", "list", "--denied", "-n", "1000"]).success().unwrap();
    for code in ["LS-E01", code, "LS-E02"] {
        assert!(denied.contains(code) && denied.contains("Enrolment/Enroll"), "{code}: {denied}");
    }
    assert!(!denied.contains(secret) && !denied.contains("LS-E04"), "{denied}");
    let hosts = site.longshore(["host", "list", "-o", "json"]).success().unwrap();
    assert_eq!(hosts.matches("\"id\"").count(), 2, "only those that came with good ones: {hosts}");
    site.enrol("other", &good).success().unwrap(); // and a good one is good after all of that
}

/// Before `longshore init` there is nothing that a host could check releases against: that has to be meant.
#[test]
fn a_token_for_hosts_that_check_nothing_has_to_be_asked_for() {
    let site = Site::bare();
    let answer = Answer { exit: REFUSED, code: "", says: "longshore init" };
    crate::check("no root", &answer, &site.longshore(["token", "create"]));
    let none = site.longshore(["token", "list", "-o", "json"]).success().unwrap();
    let none: serde_json::Value = serde_json::from_str(&none).unwrap();
    assert_eq!(none["tokens"], serde_json::json!([]));
    site.longshore(["token", "create", "--unsigned"]).success().unwrap();
}

#[test]
fn a_host_that_is_enrolled_keeps_its_identity() {
    let site = Site::raise();
    let token = site.token(&[]);
    let answer = Answer { exit: REFUSED, code: "LS-R01", says: "enrolled already" };
    refused(&site, "enrolled already", &answer, || site.enrol("host", &token));
}

#[test]
fn a_removed_host_is_cut_off_and_what_it_runs_runs_on() {
    let mut site = Site::raise();
    let name = site.longshore(["host", "list", "-o", "json"]).success().unwrap();
    let name: serde_json::Value = serde_json::from_str(&name).unwrap();
    let name = name["hosts"][0]["name"].as_str().unwrap().to_owned();
    let before = site.snapshot();
    site.longshore(["host", "remove", &name]).success().unwrap();
    site.agent.as_mut().unwrap().until_it_says("LS-E06", ASK).unwrap();
    let status = site.agent_at("host", ["status"]).success().unwrap();
    assert!(status.contains("healthy") && status.contains("LS-E06"), "{status}");
    // A new process fares no better with the old certificate.
    site.agent.take();
    let mut agent = crate::site::program_called("longshore-agent");
    agent.args(["--root", &site.text("host"), "run"]);
    let agent = site.agent.insert(longshore_tests::Process::start(&mut agent).unwrap());
    agent.until_it_says("LS-E06", ASK).unwrap();
    assert_eq!(site.snapshot(), before);
}

/// Where every user of the machine can look, the token is not: not in `ps` while the agent works, not in a log, not in
/// a file of either side.
#[test]
fn a_token_is_nowhere_but_with_whoever_has_it() {
    let site = Site::bare();
    let token = site.token(&["--uses", "2"]);
    let secret = token.split('.').nth(2).unwrap().to_owned();

    // A port that takes the connection and says nothing: the agent waits, and can be looked at.
    let mute = std::net::TcpListener::bind((site.address.as_str(), 0)).unwrap();
    let mut enrolling = crate::site::program_called("longshore-agent");
    let server = mute.local_addr().unwrap().to_string();
    enrolling.args(["--root", &site.text("other"), "enroll", "--server", &server, "--token", &token]);
    let waiting = longshore_tests::Process::start(&mut enrolling).unwrap();
    let pid = waiting.id();
    let arguments = || fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    until(ASK, "the agent's second start", || {
        let arguments = String::from_utf8_lossy(&arguments()).into_owned();
        Ok((arguments.contains("--token-file") && !arguments.contains(&secret)).then_some(()))
    })
    .unwrap();
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains(&secret), "in its environment");
    drop(waiting);

    let mut enroll = crate::site::program_called("longshore-agent");
    let server = format!("{}:7443", site.address);
    enroll.args(["--root", &site.text("host"), "enroll", "--server", &server, "--token", &token]);
    let enrolled = run(&mut enroll, ASK).unwrap();
    assert!(enrolled.code == Some(0) && !enrolled.everything().contains(&secret), "it enrols as well");
    let said = site.controller.as_ref().unwrap().so_far();
    assert!(said.contains("enrolled") && !said.contains(&secret), "in the controller's log: {said}");
    let mut looked_at = 0;
    files(&site.path(""), &mut |path| {
        looked_at += 1;
        let held = fs::read(path).unwrap_or_default();
        let found = held.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "in {}", path.display());
    });
    assert!(looked_at > 10, "{looked_at} files");
}

fn files(folder: &std::path::Path, look: &mut impl FnMut(&std::path::Path)) {
    // What has gone away since it was listed holds nothing.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            files(&entry.path(), look);
        } else if kind.is_file() {
            look(&entry.path());
        }
    }
}

/// LS-E06: the disk was copied, and two machines have one key. Both wait for an operator; what runs, runs on.
#[test]
fn a_cloned_disk_is_found_out() {
    let mut site = Site::raise();
    let before = site.snapshot();
    // While nobody writes there: what goes away between listing and copying is an error to cp.
    site.agent.take();
    run(Command::new("cp").arg("-a").args([site.path("host"), site.path("clone")]), ASK)
        .unwrap()
        .success()
        .unwrap();
    site.start_agent();
    let mut agent = crate::site::program_called("longshore-agent");
    agent.args(["--root", &site.text("clone"), "run"]);
    let mut clone = longshore_tests::Process::start(&mut agent).unwrap();
    clone.until_it_says("LS-E06", ASK).unwrap();
    site.agent.as_mut().unwrap().until_it_says("longshore host admit", ASK).unwrap();
    drop(clone);
    assert_eq!(site.snapshot(), before, "the first is as it was");
    assert!(!site.agent.as_mut().unwrap().has_ended().unwrap());
}
