//! The program as it is typed: what each mistake says, with which exit code, and that nothing changed.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use longshore_common::join::JoinToken;
use tempfile::TempDir;

/// A test that waits longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(120);

fn agent(root: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longshore-agent"));
    command.arg("--root").arg(root).stdin(Stdio::null());
    command
}

fn token() -> String {
    JoinToken { id: "tk_1".into(), secret: [7; 32], ca: [9; 32], root: None }.to_string()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Every file below a folder with its content; the key that enrolment makes first is no change of state.
fn state_of(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false if entry.file_name() == "key-new.pem" => {}
                false => drop(found.insert(entry.path(), std::fs::read(entry.path()).unwrap())),
            }
        }
    }
    found
}

/// Words, exit code, and what is said on standard error.
#[test]
fn every_mistake_has_its_answer() {
    let bad_file = "controllers = [\"nowhere\"]\ndrivre = \"systemd\"\n";
    let secret = token();
    let cases: [(&str, &str, u8, &[&str]); 9] = [
        ("", "status", 3, &["LS-C01", "no agent listens", "systemctl start"]),
        ("", "history", 3, &["LS-C01"]),
        ("", "revert shop", 3, &["LS-C01"]),
        ("", "run", 4, &["LS-N01", "agent.toml", "longshore token create"]),
        (
            bad_file,
            "run",
            2,
            &["LS-M01", ":1:15: ", "is not host:port", ":2:1: ", "did you mean \"driver\"?"],
        ),
        (bad_file, "status", 2, &["LS-M01"]),
        (
            "controllers = [\"127.0.0.1:1\"]\n",
            "run",
            4,
            &["LS-N01", "not enrolled", "longshore-agent enroll"],
        ),
        ("", "enroll --server 127.0.0.1:1 --token-file /dev/null", 2, &["LS-V01", "not a join token"]),
        ("", &format!("enroll --server 127.0.0.1:1 --token {secret}"), 3, &["LS-C01", "127.0.0.1:1"]),
    ];
    for (file, words, code, expected) in cases {
        let root = TempDir::new().unwrap();
        if !file.is_empty() {
            let path = root.path().join("etc/longshore/agent.toml");
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            longshore_common::durable::write_atomic(&path, file.as_bytes(), 0o644).unwrap();
        }
        let before = state_of(root.path());
        let output = agent(root.path()).args(words.split(' ')).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(i32::from(code)), "{words}: {said}");
        for part in expected {
            assert!(said.contains(part), "{words}: {part} in {said}");
        }
        assert!(!said.contains(&secret[10..]), "the token's secret is never said: {said}");
        assert_eq!(state_of(root.path()), before, "{words}");
    }
}

#[test]
fn wrong_words_are_usage() {
    let root = TempDir::new().unwrap();
    for words in ["", "deplyo", "revert Shop", "revert shop nonsense", "hold", "logs", "status --frobnicate"]
    {
        let words: Vec<&str> = words.split(' ').filter(|word| !word.is_empty()).collect();
        let output = agent(root.path()).args(&words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", said(&output));
    }
}

#[test]
fn every_command_shows_examples() {
    let root = TempDir::new().unwrap();
    for command in ["enroll", "run", "status", "history", "logs", "hold", "unhold", "revert"] {
        let output = agent(root.path()).args([command, "--help"]).output().unwrap();
        let help = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && help.contains("Examples:"), "{command}: {help}");
    }
}

#[test]
fn errors_can_be_read_by_programs() {
    let root = TempDir::new().unwrap();
    let output = agent(root.path()).args(["status", "-o", "json"]).output().unwrap();
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((error["code"].as_str(), error["exit"].as_u64()), (Some("LS-C01"), Some(3)));
}

/// Before and after it, as `longshore` does.
#[test]
fn mistakes_can_be_read_by_programs() {
    let root = TempDir::new().unwrap();
    for (words, message) in [
        ("-o json deplyo", "unrecognized subcommand 'deplyo'"),
        ("status --frobnicate -o json", "unexpected argument '--frobnicate' found"),
        ("-o json trust", "the command is not complete"),
    ] {
        let output = agent(root.path()).args(words.split(' ')).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words}: {}", said(&output));
        let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(error["schema"], "longshore.agent.error/1", "{words}");
        assert!(error["code"].is_null(), "{error}");
        assert_eq!((error["message"].as_str(), error["exit"].as_u64()), (Some(message), Some(2)));
        assert!(error["next"].to_string().contains("Usage: longshore-agent"), "{error}");
    }
}

#[test]
fn a_token_does_not_stay_in_the_process_list() {
    let root = TempDir::new().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap(); // accepts, and never says a word
    let address = silent.local_addr().unwrap().to_string();
    let mut enrolling =
        agent(root.path()).args(["enroll", "--server", &address, "--token", &token()]).spawn().unwrap();
    let shown = format!("/proc/{}/cmdline", enrolling.id());
    let begun = Instant::now();
    loop {
        let words = std::fs::read_to_string(&shown).unwrap().replace('\0', " ");
        if words.contains("--token-file -") {
            assert!(!words.contains("lsj1."), "{words}");
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "still {words}");
        std::thread::yield_now();
    }
    enrolling.kill().unwrap();
    enrolling.wait().unwrap();
}

/// Whoever may not write there hears that it takes root, and not that some file could not be written.
#[test]
fn only_root_breaks_the_glass() {
    use std::os::unix::{fs::PermissionsExt as _, process::CommandExt as _};
    let root = tempfile::tempdir().unwrap();
    let state = root.path().join("var/lib/longshore");
    std::fs::create_dir_all(&state).unwrap();
    for folder in [root.path(), state.as_path()] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o555)).unwrap();
    }
    let before = state_of(root.path());
    let here = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let pin = "7".repeat(64);
    let tries: [&[&str]; 2] =
        [&["trust", "recover", "shop"], &["trust", "reset", "--pin", &pin, "--i-am-on", &here]];
    for words in tries {
        let mut command = agent(root.path());
        if rustix::process::geteuid().is_root() {
            command.uid(65534).gid(65534);
        }
        let output = command.args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(4), "{words:?}: {}", said(&output));
        assert!(said(&output).contains("LS-C02") && said(&output).contains("sudo"), "{}", said(&output));
        assert_eq!(state_of(root.path()), before);
    }
    std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(state, std::fs::Permissions::from_mode(0o755)).unwrap();
}
