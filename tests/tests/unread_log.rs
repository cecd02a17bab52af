//! A daemon whose log nobody reads any more (a journal that crashed, a pipe that was closed) works on and stops when it
//! is told to. What it would have said is lost.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use longshore_tests::programs::program;
use longshore_tests::{own_address, run, until};
use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(180);

#[test]
fn a_controller_whose_log_is_gone_stops_when_told() {
    let home = tempfile::tempdir().unwrap();
    let mut controller = serving(home.path());
    kill_process(Pid::from_child(&controller), Signal::TERM).unwrap();
    assert!(end_of(&mut controller).success(), "it stops in order");
}

#[test]
fn an_agent_whose_log_is_gone_stops_when_told() {
    let home = tempfile::tempdir().unwrap();
    let mut controller = serving(home.path());
    let root = home.path().join("host").display().to_string();
    let operator = home.path().join("ctl/operator");
    let made = run(
        Command::new(program("longshore").unwrap())
            .args(["token", "create", "--unsigned", "-o", "json"])
            .env("LONGSHORE_CONTEXT", &operator)
            .env("HOME", home.path()),
        PATIENCE,
    );
    let made: serde_json::Value = serde_json::from_str(&made.unwrap().success().unwrap()).unwrap();
    let said = |name: &str| made[name].as_str().unwrap().to_owned();
    let (token, server) = (said("token"), said("address"));
    let enroll = ["--root", &root, "enroll", "--server", &server, "--token", &token, "--driver", "process"];
    run(Command::new(program("longshore-agent").unwrap()).args(enroll), PATIENCE).unwrap().success().unwrap();

    let mut agent = unread("longshore-agent", &["--root", &root, "run"], "connected");
    kill_process(Pid::from_child(&agent), Signal::TERM).unwrap();
    assert!(end_of(&mut agent).success(), "it stops in order");
    controller.kill().unwrap();
    controller.wait().unwrap();
}

fn serving(home: &Path) -> Child {
    let dir = home.join("ctl").display().to_string();
    let address = own_address().to_string();
    let (main, enrol) = (format!("{address}:7440"), format!("{address}:7443"));
    let init = ["init", "--dir", &dir, "--name", &address, "--listen", &main, "--enrol-listen", &enrol];
    run(Command::new(program("longshore-controller").unwrap()).args(init), PATIENCE)
        .unwrap()
        .success()
        .unwrap();
    let config = format!("{dir}/controller.toml");
    unread("longshore-controller", &["serve", "--config", &config], "serving")
}

/// Runs until it has said `needle`; then nobody reads its log any more.
fn unread(name: &str, args: &[&str], needle: &str) -> Child {
    let mut command = Command::new(program(name).unwrap());
    let mut child = command.args(args).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(log.any(|line| line.unwrap().contains(needle)), "{name} ended before it said {needle}");
    child
}

fn end_of(child: &mut Child) -> ExitStatus {
    let ended = until(PATIENCE, "its end".to_owned(), || Ok(child.try_wait().unwrap()));
    if ended.is_err() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    ended.unwrap()
}
