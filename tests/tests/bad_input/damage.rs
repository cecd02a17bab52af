//! LS-A01, LS-D01, LS-P01, LS-S0x: bytes that changed, disks that are full, hosts that are held, state that cannot be used.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use longshore_common::ledger::{Batch, Ledger, Options};
use longshore_tests::{Output, run, until};

use crate::site::{ASK, ROLLOUT, Site};
use crate::{Answer, check, refused};

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for item in fs::read_dir(folder).unwrap().map(|item| item.unwrap().path()) {
        if item.is_dir() { found.extend(files(&item)) } else { found.push(item) }
    }
    found
}

/// Turns bits, as a bad disk would.
fn spoil(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
    let mut options = fs::OpenOptions::new();
    std::io::Write::write_all(&mut options.write(true).truncate(true).open(path).unwrap(), &bytes).unwrap();
}

fn explained(site: &Site, words: &str) {
    let said = until(ASK, format!("`{words}` from explain"), || {
        let said = site.longshore(["rollout", "explain", "latest"]).everything();
        Ok(said.contains(words).then_some(said))
    });
    said.unwrap();
}

#[test]
fn blobs_that_rot_on_the_controller_are_found_out_and_mended() {
    let site = Site::raise();
    let known = files(&site.path("ctl/blobs/blobs"));
    site.publish("1.1", "exec sleep 1001").success().unwrap();
    for blob in files(&site.path("ctl/blobs/blobs")) {
        if !known.contains(&blob) {
            spoil(&blob);
        }
    }
    let answer = Answer { exit: 1, code: "", says: "Publish the same folder again" };
    refused(&site, "verify", &answer, || site.longshore(["release", "verify", "shop@1.1"]));
    let dir = site.text("app");
    let again = site.longshore(["release", "publish", &dir, "--version", "1.1"]);
    assert!(matches!(again.code, Some(0 | 6)), "{again}");
    site.longshore(["release", "verify", "shop@1.1"]).success().unwrap();
    site.roll_out("1.1").success().unwrap();
}

#[test]
fn blocks_that_rot_on_the_controller_are_made_anew() {
    let mut site = Site::raise();
    site.publish("1.1", "exec sleep 1001").success().unwrap();
    site.controller.take();
    files(&site.path("ctl/blobs/blocks")).iter().for_each(|block| spoil(block));
    site.serve();
    site.until_connected();
    site.roll_out("1.1").success().unwrap();
    assert_eq!(site.runs().as_deref(), Some("1.1"));
}

#[test]
fn a_held_host_takes_nothing_and_the_rollout_says_so() {
    let site = Site::raise();
    site.publish("1.1", "exec sleep 1001").success().unwrap();
    site.agent_at("host", ["hold", "disk swap\u{1b}[31m"]).success().unwrap();
    let answer = Answer { exit: 1, code: "", says: "1 refused" };
    refused(&site, "held", &answer, || site.roll_out("1.1"));
    let shown = site.longshore(["host", "list"]).success().unwrap();
    assert!(shown.contains("held") && !shown.contains('\u{1b}'), "{shown}");
    let status = site.agent_at("host", ["status"]).success().unwrap();
    assert!(status.contains("disk swap\\x1b[31m") && !status.contains('\u{1b}'), "{status}");
    site.agent_at("host", ["unhold"]).success().unwrap();
    check("let go", &Answer { exit: 0, code: "", says: "succeeded" }, &site.roll_out("1.1"));
}

/// Where the strategy waits for held hosts, both the rollout that is watched and `explain` say who holds what, and what
/// lets go; then it goes on by itself.
#[test]
fn a_rollout_that_waits_for_a_held_host_says_what_to_type() {
    let site = Site::raise();
    site.publish("1.1", "exec sleep 1001").success().unwrap();
    let waiting =
        crate::site::env_file("ahoy").replace("failure_budget = 0", "failure_budget = 0\nheld = \"wait\"");
    site.write("prod.toml", &waiting);
    site.longshore(["env", "apply", &site.text("prod.toml")]).success().unwrap();
    site.agent_at("host", ["hold", "disk swap"]).success().unwrap();
    let mut watch = longshore_tests::Process::start(&mut start_and_wait(&site)).unwrap();
    watch.until_it_says("hold held", ASK).unwrap();
    let explained = site.longshore(["rollout", "explain", "latest"]).success().unwrap();
    for word in ["disk swap", "longshore-agent unhold", "whoever looks after the hosts"] {
        assert!(explained.contains(word), "no {word:?} in {explained}");
    }
    assert_eq!(site.runs().as_deref(), Some("1.0"));
    site.agent_at("host", ["unhold"]).success().unwrap();
    watch.wait(ASK).unwrap().code_is(0).unwrap();
    assert_eq!(site.runs().as_deref(), Some("1.1"));
}

fn start_and_wait(site: &Site) -> Command {
    let mut start = crate::site::program_called("longshore");
    start.args(["rollout", "start", "shop@1.1", "--to", "prod", "--wait"]);
    start.env("LONGSHORE_CONTEXT", site.text("ctl/operator"));
    start
}

/// A file system of 64 KiB where the app's releases would lie; gone when this is.
struct Tiny(PathBuf);

impl Tiny {
    fn mount(at: PathBuf) -> Result<Self, Output> {
        fs::create_dir_all(&at).unwrap();
        let mut mount = Command::new("mount");
        let mounted = run(mount.args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(&at), ASK).unwrap();
        if mounted.code == Some(0) { Ok(Self(at)) } else { Err(mounted) }
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        if let Err(trouble) = run(Command::new("umount").arg("-l").arg(&self.0), ASK) {
            eprintln!("{trouble}");
        }
    }
}

#[test]
fn a_full_disk_is_told_in_numbers() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can mount a small disk");
        return;
    }
    let site = Site::raise();
    let tiny = match Tiny::mount(site.path("host/var/lib/longshore/apps/big")) {
        Ok(tiny) => tiny,
        Err(output) => return println!("skipped: no small disk here: {output}"),
    };
    site.write_app("1.0", "exec sleep 1001");
    let toml = crate::site::app_file().replacen("\"shop\"", "\"big\"", 1);
    site.write("app/longshore.toml", &toml);
    site.write("app/dist/large", &"0123456789abcdef".repeat(64 << 10));
    let dir = site.text("app");
    site.longshore(["release", "publish", &dir, "--version", "1.0"]).success().unwrap();
    site.longshore(["rollout", "start", "big@1.0", "--to", "prod"]).success().unwrap();
    explained(&site, "LS-D01");
    explained(&site, "free");
    assert!(!site.path("host/var/lib/longshore/apps/big/current").exists());
    assert_eq!(site.runs().as_deref(), Some("1.0"), "the other app is as it was");
    drop(tiny);
}

/// Somebody mounted another disk where the releases of an app lie: no slot could be moved there in one step.
#[test]
fn releases_on_a_disk_of_their_own_are_refused_before_anything_is_fetched() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can mount a small disk");
        return;
    }
    let site = Site::raise();
    let tiny = match Tiny::mount(site.path("host/var/lib/longshore/apps/big/releases")) {
        Ok(tiny) => tiny,
        Err(output) => return println!("skipped: no small disk here: {output}"),
    };
    site.write_app("1.0", "exec sleep 1001");
    let toml = crate::site::app_file().replacen("\"shop\"", "\"big\"", 1);
    site.write("app/longshore.toml", &toml);
    site.longshore(["release", "publish", &site.text("app"), "--version", "1.0"]).success().unwrap();
    site.longshore(["rollout", "start", "big@1.0", "--to", "prod"]).success().unwrap();
    explained(&site, "LS-D03");
    explained(&site, "different file systems");
    assert!(!site.path("host/var/lib/longshore/apps/big/current").exists());
    assert_eq!(site.runs().as_deref(), Some("1.0"), "the other app is as it was");
    drop(tiny);
}

#[test]
fn a_folder_in_use_is_left_alone() {
    let site = Site::raise();
    let pid = site.agent.as_ref().unwrap().id().to_string();
    let answer = Answer { exit: 1, code: "LS-S01", says: "in use by pid" };
    refused(&site, "a second agent", &answer, || {
        let output = site.agent_at("host", ["run"]);
        assert!(output.stderr.contains(&pid), "{output}");
        output
    });
    // The second controller is given ports of its own, so that nothing but the folder is in its way.
    let config = fs::read_to_string(site.path("ctl/controller.toml")).unwrap();
    let other = config.replace(":7440", ":7540").replace(":7443", ":7543");
    let file = site.write("second.toml", &other);
    refused(&site, "a second controller", &answer, || {
        let mut serve = crate::site::program_called("longshore-controller");
        run(serve.args(["serve", "--config", &file]), ASK).unwrap()
    });
    site.longshore(["status"]).success().unwrap();
}

#[test]
fn state_that_cannot_be_used_is_refused_and_left_as_it_is() {
    let mut site = Site::raise();
    let pids = site.pids();
    site.agent.take();
    let state = site.path("host/var/lib/longshore/state");
    let certificate = site.path("host/var/lib/longshore/identity/cert.pem");

    let ledger = Ledger::open(&state, Options::AGENT).unwrap();
    ledger.commit_blocking(Batch::new().put("future/thing", "1")).unwrap();
    ledger.close_blocking();
    let answer = Answer { exit: 1, code: "LS-S03", says: "newer version" };
    refused(&site, "newer state", &answer, || site.agent_at("host", ["run"]));
    let ledger = Ledger::open(&state, Options::AGENT).unwrap();
    ledger.commit_blocking(Batch::new().delete("future/thing")).unwrap();
    ledger.close_blocking();

    let good = fs::read_to_string(&certificate).unwrap();
    site.write("host/var/lib/longshore/identity/cert.pem", "<html>");
    let answer = Answer { exit: 1, code: "LS-S02", says: "Enrol this host again" };
    refused(&site, "damaged identity", &answer, || site.agent_at("host", ["run"]));
    site.write("host/var/lib/longshore/identity/cert.pem", &good);

    // The index alone damaged: made anew from the journal. Both: refused.
    files(&state.join("sled")).iter().for_each(|file| spoil(file));
    site.start_agent();
    site.agent.take();
    files(&state.join("sled")).iter().for_each(|file| spoil(file));
    spoil(&state.join("journal"));
    let answer = Answer { exit: 1, code: "LS-S02", says: "Restore a backup" };
    refused(&site, "damaged state", &answer, || site.agent_at("host", ["run"]));
    assert_eq!(site.pids(), pids, "the app ran through all of it");
}

/// Other values are another slot: a rollout, and a way back that takes the old values along.
#[test]
fn values_alone_are_a_rollout_and_can_be_undone() {
    let site = Site::raise();
    let slot = || fs::read_link(site.path("host/var/lib/longshore/apps/shop/current")).unwrap();
    let first = slot();
    let answer = Answer { exit: 4, code: "LS-R01", says: "nothing was live before" };
    let back =
        || site.longshore(["rollout", "rollback", "shop", "--to", "prod", "--wait", "--timeout", ROLLOUT]);
    refused(&site, "no way back", &answer, back);
    check("the same again", &Answer { exit: 6, code: "", says: "nothing-to-do" }, &site.roll_out("1.0"));
    site.longshore(["env", "apply", &site.write_env("hello")]).success().unwrap();
    site.roll_out("1.0").success().unwrap();
    assert_ne!(slot(), first);
    back().success().unwrap();
    assert_eq!(slot(), first, "the values of that time");
    site.longshore(["release", "withdraw", "shop@1.0", "--reason", "loses orders"]).success().unwrap();
    let answer = Answer { exit: 4, code: "LS-R04", says: "loses orders" };
    refused(&site, "withdrawn", &answer, || site.roll_out("1.0"));
}

/// The connection breaks without a word, and the operator's terminal goes on when the controller is back.
#[test]
fn a_watch_outlives_a_controller_that_is_killed() {
    let mut site = Site::raise();
    site.publish("1.1", "exec sleep 1001").success().unwrap();
    site.write("prod.toml", &crate::site::env_file("ahoy").replace("bake = \"100ms\"", "bake = \"1h\""));
    site.longshore(["env", "apply", &site.text("prod.toml")]).success().unwrap();
    let mut watch = longshore_tests::Process::start(&mut start_and_wait(&site)).unwrap();
    watch.until_it_says("baking", ASK).unwrap();
    site.controller.take(); // SIGKILL
    watch.until_it_says("controller away", ASK).unwrap();
    site.serve();
    watch.until_it_says("controller is back", ASK).unwrap();
    site.longshore(["rollout", "promote", "latest"]).success().unwrap();
    let ended = watch.wait(ASK).unwrap().code_is(0).unwrap();
    assert!(ended.stdout.contains("succeeded"), "{ended}");
}
