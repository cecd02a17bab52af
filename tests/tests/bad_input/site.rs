//! One controller and one agent as an operator has them: our own programs, real TLS, a real disk and a supervised
//! process, all below one temporary folder.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use longshore_common::digest::{hex, sha256};
use longshore_tests::programs::program;
use longshore_tests::{Output, Process, own_address, run, until};
use serde_json::Value;
use tempfile::TempDir;

/// For one command; a debug build on two busy cores is slow, and now and then the machine stands still.
pub const ASK: Duration = Duration::from_secs(180);
/// For a rollout, as its command is told. Less than what the command has.
pub const ROLLOUT: &str = "150s";

/// What the probe of these apps runs.
const PROBE: &str = "test -e run";

pub struct Site {
    pub folder: TempDir,
    pub address: String,
    pub controller: Option<Process>,
    pub agent: Option<Process>,
}

impl Site {
    /// Everything runs, the environment `prod` is there, and the host runs shop@1.0.
    pub fn raise() -> Self {
        let mut site = Self::bare();
        site.join_host();
        site.longshore(["env", "apply", &site.write_env("ahoy")]).success().unwrap();
        site.publish("1.0", "exec sleep 1000").success().unwrap();
        site.roll_out("1.0").code_is(0).unwrap();
        assert_eq!(site.runs().as_deref(), Some("1.0"));
        site
    }

    /// A controller alone.
    pub fn bare() -> Self {
        // An address of this test's own, so that fixed ports are free on it.
        let address = own_address().to_string();
        let folder = tempfile::Builder::new().prefix("bad-input-").tempdir().unwrap();
        let mut site = Self { folder, address, controller: None, agent: None };
        let (main, enrol) = (format!("{}:7440", site.address), format!("{}:7443", site.address));
        let dir = site.text("ctl");
        let init =
            ["init", "--dir", &dir, "--name", &site.address, "--listen", &main, "--enrol-listen", &enrol];
        run(program_called("longshore-controller").args(init), ASK).unwrap().success().unwrap();
        // A host that is there is not taken for silent because the machine stood still.
        site.edit("ctl/controller.toml", "missed = 3", "missed = 30");
        site.serve();
        site
    }

    pub fn serve(&mut self) {
        let controller = self.controller.insert(Process::start(&mut self.serve_command()).unwrap());
        controller.until_it_says("serving", ASK).unwrap();
    }

    pub fn serve_command(&self) -> Command {
        let mut serve = program_called("longshore-controller");
        serve.args(["serve", "--config", &self.text("ctl/controller.toml")]);
        serve
    }

    fn join_host(&mut self) {
        let token = self.token(&["--label", "role=web"]);
        self.enrol("host", &token).success().unwrap();
        self.start_agent();
    }

    pub fn start_agent(&mut self) {
        let mut agent = program_called("longshore-agent");
        agent.args(["--root", &self.text("host"), "run"]);
        let agent = self.agent.insert(Process::start(&mut agent).unwrap());
        agent.until_it_says("connected", ASK).unwrap();
    }

    /// Until the controller has the host's session. What the agent has said of it may be of a session before.
    pub fn until_connected(&self) {
        until(ASK, "the host to be connected", || {
            let hosts = self.longshore(["host", "list", "-o", "json"]);
            Ok(hosts.stdout.contains("\"connected\": true").then_some(()))
        })
        .unwrap();
    }

    pub fn token(&self, more: &[&str]) -> String {
        let made = self
            .longshore([&["token", "create", "--unsigned", "-o", "json"], more].concat())
            .success()
            .unwrap();
        let made: Value = serde_json::from_str(&made).unwrap();
        made["token"].as_str().unwrap().to_owned()
    }

    /// Enrols what lies below `root` with a token.
    pub fn enrol(&self, root: &str, token: &str) -> Output {
        let file = self.write("token", token);
        let server = format!("{}:7443", self.address);
        self.agent_at(root, ["enroll", "--server", &server, "--token-file", &file, "--driver", "process"])
    }

    pub fn longshore<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> Output {
        let mut command = program_called("longshore");
        command.args(args).env("LONGSHORE_CONTEXT", self.text("ctl/operator")).env("HOME", self.path(""));
        run(command.env_remove("XDG_CONFIG_HOME"), ASK).unwrap()
    }

    pub fn agent_at<I: AsRef<OsStr>>(&self, root: &str, args: impl IntoIterator<Item = I>) -> Output {
        let mut command = program_called("longshore-agent");
        run(command.args(["--root", &self.text(root)]).args(args), ASK).unwrap()
    }

    pub fn roll_out(&self, version: &str) -> Output {
        let release = format!("shop@{version}");
        self.longshore(["rollout", "start", &release, "--to", "prod", "--wait", "--timeout", ROLLOUT])
    }

    /// Publishes shop; `then` is what its program does.
    pub fn publish(&self, version: &str, then: &str) -> Output {
        self.write_app(version, then);
        self.longshore(["release", "publish", &self.text("app"), "--version", version])
    }

    pub fn write_app(&self, version: &str, then: &str) {
        if self.path("app").exists() {
            fs::remove_dir_all(self.path("app")).unwrap();
        }
        let program = self.write("app/dist/run", &format!("#!/bin/sh\necho this is {version}\n{then}\n"));
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
        self.write("app/longshore.toml", &app_file());
    }

    pub fn write_env(&self, greeting: &str) -> String {
        self.write("prod.toml", &env_file(greeting))
    }

    /// The version that `current` leads to.
    pub fn runs(&self) -> Option<String> {
        let slot = fs::read_link(self.path("host/var/lib/longshore/apps/shop/current")).ok()?;
        let slot = slot.file_name()?.to_str()?;
        slot.rsplit_once('-').map(|(version, _)| version.to_owned())
    }

    /// The process of the app, whose working folder is the live slot. A probe that looks just now works there as well and
    /// is not meant, nor is our own program on its way to become one.
    pub fn pids(&self) -> Vec<u32> {
        let below = self.path("host");
        let here = processes().into_iter().filter(|(_, cwd)| cwd.starts_with(&below)).map(|(pid, _)| pid);
        here.filter(|pid| is_of_an_app(*pid)).collect()
    }

    /// What must not change when something is refused: every file of the apps and of the identity by content, mode
    /// and place, and the processes that run.
    pub fn snapshot(&self) -> BTreeMap<PathBuf, String> {
        let mut seen = BTreeMap::new();
        for part in ["apps", "identity"] {
            note(&self.path("host/var/lib/longshore").join(part), &mut seen);
        }
        seen.insert("processes".into(), format!("{:?}", self.pids()));
        // What the app wrote and what its supervisor noted is theirs.
        seen.retain(|path, _| !path.iter().any(|part| part == "run"));
        seen
    }

    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = fs::File::create(&path).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        path.display().to_string()
    }

    /// Puts other words into a file.
    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "no {from:?} in {text}");
        self.write(name, &text.replace(from, to));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        drop((self.agent.take(), self.controller.take()));
        // Supervisors and apps outlive their agent; they are those that work below our folder or were started for it.
        let ours = self.text("");
        let ended = until(ASK, "the end of what ran on the host", || {
            let left: Vec<u32> = all_pids().into_iter().filter(|pid| belongs(*pid, &ours)).collect();
            for pid in &left {
                if let Some(pid) = rustix::process::Pid::from_raw(*pid as i32) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL); // it may have ended
                }
            }
            Ok(left.is_empty().then_some(()))
        });
        if let Err(trouble) = ended {
            eprintln!("{trouble}");
        }
    }
}

pub fn program_called(name: &str) -> Command {
    Command::new(program(name).unwrap())
}

/// Every deadline in it is longer than a machine stands still: none is what a test waits for.
pub fn app_file() -> String {
    let user = if rustix::process::geteuid().is_root() { "user = \"root\"" } else { "" };
    format!(
        "[app]\nname = \"shop\"\n[artifact]\npath = \"dist\"\n[service]\nexec = [\"./run\"]\n{user}\n\
         [[probe]]\nname = \"there\"\nexec = [\"/bin/sh\", \"-c\", \"{PROBE}\"]\ninterval = \"100ms\"\n\
         timeout = \"60s\"\nhealthy_for = \"300ms\"\ndeadline = \"120s\"\n"
    )
}

/// As above: a host that takes long to answer or to switch has not failed.
pub fn env_file(greeting: &str) -> String {
    format!(
        "[environment]\nname = \"prod\"\nselector = \"role=web\"\n[rollout]\ncanary = 1\ncanary_bake = \"100ms\"\n\
         wave = 1\nmax_unavailable = 1\nbake = \"100ms\"\nfailure_budget = 0\nprogress_deadline = \"5m\"\n\
         [plan]\ndeadline = \"60s\"\n[values]\ngreeting = \"{greeting}\"\n"
    )
}

/// What is there by content, mode and place. What goes away while it is looked at was not there.
pub fn note(path: &Path, seen: &mut BTreeMap<PathBuf, String>) {
    let Ok(about) = fs::symlink_metadata(path) else { return };
    let kind = if about.is_symlink() {
        fs::read_link(path).map_or_else(|error| error.to_string(), |to| to.display().to_string())
    } else if about.is_dir() {
        let items = fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
        items.for_each(|item| note(&item.path(), seen));
        String::new()
    } else {
        fs::read(path).map_or_else(|error| error.to_string(), |bytes| hex(&sha256(&bytes)))
    };
    seen.insert(path.to_owned(), format!("{:o} {kind}", about.mode()));
}

fn all_pids() -> Vec<u32> {
    let items = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    items.filter_map(|item| item.file_name().to_str()?.parse().ok()).collect()
}

fn processes() -> Vec<(u32, PathBuf)> {
    let cwd = |pid: u32| Some((pid, fs::read_link(format!("/proc/{pid}/cwd")).ok()?));
    all_pids().into_iter().filter_map(cwd).collect()
}

/// Whoever ends while it is looked at is of nobody.
fn is_of_an_app(pid: u32) -> bool {
    let args = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let args = String::from_utf8_lossy(&args);
    !args.is_empty() && !args.contains(PROBE) && !args.contains("__launch")
}

fn belongs(pid: u32, ours: &str) -> bool {
    let cwd = fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(ours));
    let args = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    (cwd || String::from_utf8_lossy(&args).contains(ours)) && pid != std::process::id()
}
