//! Longshore on a lab as an operator would have it: the controller a process of this machine on the bridge's address,
//! the agents installed on the hosts by `deploy/install-agent.sh` as the unit of `deploy/`, and `longshore` to steer it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;

use crate::lab::{Host, Lab};
use crate::programs::{program, repository};
use crate::{Output, Process, Result, Trouble, Within, run, until};

/// For one command of the operator that does not wait for a rollout.
const ASK: Duration = Duration::from_secs(180);
/// For the daemon to open its store and listen.
const START: Duration = Duration::from_secs(180);
/// For all hosts to enrol, start and connect on two busy cores.
const CONNECT: Duration = Duration::from_secs(300);

/// Ports on the bridge's address; the lab has it for itself.
const MAIN_PORT: u16 = 7440;
const ENROL_PORT: u16 = 7443;

/// The keys of a lab are worth nothing; this only has to be long enough.
const PASSPHRASE: &str = "a passphrase of the lab";

/// Of a host, as `deploy/` has them.
pub const AGENT_UNITS: [&str; 4] = [
    "longshore-agent.service",
    "longshore-agent-single.service",
    "longshore-helper.service",
    "longshore-helper.socket",
];

pub struct Fleet<'a> {
    pub lab: &'a Lab,
    home: PathBuf,
    processes: Processes,
    controller: Option<Process>,
    /// Apps that have a release key.
    apps: Mutex<BTreeSet<String>>,
}

/// How the agents are installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processes {
    /// As shipped: the agent without privileges, and the helper.
    Two,
    One,
}

/// How often agents say that they are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heartbeat {
    AsShipped,
    /// A host that lost its power is missed after ten seconds, not after the half minute of production.
    Quick,
}

impl<'a> Fleet<'a> {
    /// A controller, and an enrolled and connected agent on every host, each with the label role=web. Hosts pin the
    /// fleet's root, so everything that runs is signed.
    pub fn raise(lab: &'a Lab) -> Result<Self> {
        Self::raise_with(lab, Heartbeat::Quick)
    }

    pub fn raise_with(lab: &'a Lab, heartbeat: Heartbeat) -> Result<Self> {
        Self::raise_as(lab, heartbeat, Processes::Two)
    }

    pub fn raise_as(lab: &'a Lab, heartbeat: Heartbeat, processes: Processes) -> Result<Self> {
        let home = lab.folder().join("fleet");
        let mut fleet = Self { lab, home, processes, controller: None, apps: Mutex::default() };
        fs::create_dir_all(&fleet.home).within(|| format!("make {}", fleet.home.display()))?;
        fleet.init(heartbeat)?;
        fleet.start_controller()?;
        fleet
            .longshore(["context", "add", "lab", "--from", &fleet.path("controller/operator")])?
            .success()?;
        fleet.longshore(["init"])?.success()?;
        lab.together(|host| fleet.install(host))?;
        fleet.await_connected(lab.hosts().len())?;
        Ok(fleet)
    }

    fn init(&self, heartbeat: Heartbeat) -> Result<()> {
        let address = self.lab.gateway();
        let mut init = Command::new(program("longshore-controller")?);
        init.args(["init", "--dir", &self.path("controller"), "--name", &address.to_string()]);
        init.args(["--listen", &format!("{address}:{MAIN_PORT}")]);
        init.args(["--enrol-listen", &format!("{address}:{ENROL_PORT}")]);
        run(&mut init, START)?.success()?;
        if heartbeat == Heartbeat::AsShipped {
            return Ok(());
        }
        let config = self.home.join("controller/controller.toml");
        let text = fs::read_to_string(&config).within(|| format!("read {}", config.display()))?;
        let quick = text.replace("every = \"10s\"", "every = \"1s\"").replace("missed = 3", "missed = 10");
        crate::lab::overwrite(&config, &quick)
    }

    pub fn start_controller(&mut self) -> Result<()> {
        let mut serve = Command::new(program("longshore-controller")?);
        serve.args(["serve", "--config", &self.path("controller/controller.toml")]);
        let controller = self.controller.insert(Process::start(&mut serve)?);
        controller.until_it_says("serving", START)
    }

    /// Ends it as a crash would.
    pub fn kill_controller(&mut self) -> Result<()> {
        self.controller.take().map_or(Ok(()), |mut controller| controller.kill())
    }

    /// What the controller logged since it was started.
    pub fn controller_log(&self) -> String {
        self.controller.as_ref().map_or_else(String::new, Process::so_far)
    }

    /// Its process, for measuring.
    pub fn controller_id(&self) -> Option<u32> {
        self.controller.as_ref().map(Process::id)
    }

    /// Brings our files to the host and runs the installer there, the token on its standard input.
    fn install(&self, host: &Host) -> Result<()> {
        let made = self.ask_json(["token", "create", "--label", "role=web"])?;
        let text =
            |name: &str| made[name].as_str().within(|| format!("`token create` says no {name}: {made}"));
        host.write("/root/join-token", text("token")?, 0o600)?;
        self.bring(host)?;
        let single = match self.processes {
            Processes::Two => "",
            Processes::One => "--single ",
        };
        let server = text("address")?;
        host.shell(&format!(
            "cd /root && sh ./install-agent.sh {single}--server {server} <join-token && rm join-token"
        ))?
        .success()
        .map(drop)
    }

    /// What the installer expects beside itself.
    fn bring(&self, host: &Host) -> Result<()> {
        host.put(&program("longshore-agent")?, "/root/longshore-agent")?;
        let deploy = repository().join("deploy");
        for unit in AGENT_UNITS {
            host.put(&deploy.join("systemd").join(unit), &format!("/root/{unit}"))?;
        }
        host.put(&deploy.join("install-agent.sh"), "/root/install-agent.sh")
    }

    pub fn await_connected(&self, count: usize) -> Result<()> {
        until(CONNECT, format!("{count} connected hosts"), || {
            let hosts = self.ask_json(["host", "list"])?;
            let hosts = hosts["hosts"].as_array().map(Vec::as_slice).unwrap_or_default();
            Ok((hosts.iter().filter(|host| host["connected"] == true).count() == count).then_some(()))
        })
        .within(|| self.controller_log())
    }

    /// A command of the operator, to its end.
    pub fn longshore<'w>(&self, words: impl IntoIterator<Item = &'w str>) -> Result<Output> {
        self.longshore_within(ASK, words)
    }

    pub fn longshore_within<'w>(
        &self,
        deadline: Duration,
        words: impl IntoIterator<Item = &'w str>,
    ) -> Result<Output> {
        run(self.operator()?.args(words), deadline)
    }

    /// A command of the operator that runs beside the test.
    pub fn watch<'w>(&self, words: impl IntoIterator<Item = &'w str>) -> Result<Process> {
        Process::start(self.operator()?.args(words))
    }

    /// What a command says with `-o json`.
    pub fn ask_json<'w>(&self, words: impl IntoIterator<Item = &'w str>) -> Result<Value> {
        let text = run(self.operator()?.args(words).args(["-o", "json"]), ASK)?.success()?;
        serde_json::from_str(&text).within(|| format!("not JSON: {text}"))
    }

    /// Publishes the folder in which a `longshore.toml` lies, signed; an app's first release makes its key.
    pub fn publish(&self, folder: &Path) -> Result<String> {
        self.create_app_of(folder)?;
        let folder = folder.to_str().within(|| "folders of the lab are text".into())?;
        self.longshore_within(Duration::from_secs(300), ["release", "publish", folder])?.success()
    }

    fn create_app_of(&self, folder: &Path) -> Result<()> {
        let file = folder.join("longshore.toml");
        let text = fs::read_to_string(&file).within(|| format!("read {}", file.display()))?;
        let name =
            text.parse::<toml::Table>().ok().and_then(|file| Some(file["app"]["name"].as_str()?.to_owned()));
        let name = name.within(|| format!("{} names no app", file.display()))?;
        let mut apps = self.apps.lock().expect("no holder panics");
        if !apps.contains(&name) {
            self.longshore(["app", "create", &name])?.success()?;
            apps.insert(name);
        }
        Ok(())
    }

    pub fn apply_environment(&self, text: &str) -> Result<()> {
        let file = self.home.join("environment.toml");
        crate::lab::overwrite(&file, text)?;
        self.longshore(["env", "apply", &self.path("environment.toml")])?.success().map(drop)
    }

    /// Rolls `release` (APP@VERSION) out and waits for the end; the exit code tells how it ended.
    pub fn roll_out(&self, release: &str, env: &str, deadline: Duration) -> Result<Output> {
        self.longshore_within(deadline, ["rollout", "start", release, "--to", env, "--wait"])
    }

    fn operator(&self) -> Result<Command> {
        let mut command = Command::new(program("longshore")?);
        command.env("XDG_CONFIG_HOME", self.home.join("config")).env_remove("LONGSHORE_CONTEXT");
        command.env("LONGSHORE_KEY_PASSPHRASE", PASSPHRASE);
        Ok(command)
    }

    fn path(&self, name: &str) -> String {
        self.home.join(name).display().to_string()
    }
}

impl Drop for Fleet<'_> {
    /// What the daemons had to say is worth most when the test is going down with it.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- controller\n{}", self.controller_log());
        }
    }
}

/// The last lines of a unit's log, for messages.
pub fn journal(host: &Host, unit: &str) -> Result<String> {
    let output = host.exec(["journalctl", "--no-pager", "-o", "cat", "-n", "40", "-u", unit])?;
    if output.code == Some(0) { Ok(output.stdout) } else { Err(Trouble::new(output.to_string())) }
}
