//! Our side of the benchmark: releases, environment, rollouts, and what agents cost.

use std::path::Path;
use std::time::Duration;

use longshore_tests::fleet::Fleet;
use longshore_tests::lab::Host;
use longshore_tests::{Result, Within};

const ROLLOUT: Duration = Duration::from_secs(600);

/// All hosts at once, as the script does it; what is declared healthy is healthy at the first answer.
pub const ENVIRONMENT: &str = r#"
[environment]
name = "bench"
selector = "role=web"

[rollout]
canary = 0
wave = "100%"
bake = "0s"
max_unavailable = "100%"
"#;

/// Of Debian's base system. Apps have a user of their own; the script's unit has the same.
pub const USER: &str = "www-data";

/// An app that holds its socket open across restarts, or binds it anew each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Socket {
    Held,
    Bound,
}

impl Socket {
    pub fn app(self) -> &'static str {
        match self {
            Socket::Held => "held",
            Socket::Bound => "bound",
        }
    }

    pub fn port(self) -> u16 {
        match self {
            Socket::Held => 8080,
            Socket::Bound => 8081,
        }
    }

    fn service(self) -> String {
        let port = self.port();
        match self {
            Socket::Held => format!("exec = [\"./bin/app\"]\nsockets = [\"0.0.0.0:{port}\"]"),
            Socket::Bound => format!("exec = [\"./bin/app\", \"--listen\", \"0.0.0.0:{port}\"]"),
        }
    }
}

/// The app's file, beside the folder `dist`.
pub fn app_file(socket: Socket, version: &str) -> String {
    format!(
        "[app]\nname = \"{}\"\nversion = \"{version}\"\n\n[artifact]\npath = \"dist\"\n\n\
         [service]\n{}\nuser = \"{USER}\"\n\n\
         [[probe]]\nname = \"http\"\nhttp = \"http://127.0.0.1:{}/\"\ninterval = \"50ms\"\ntimeout = \"2s\"\n\
         healthy_for = \"1ms\"\ndeadline = \"60s\"\n",
        socket.app(),
        socket.service(),
        socket.port(),
    )
}

pub fn deploy(fleet: &Fleet<'_>, socket: Socket, version: &str) -> Result<()> {
    fleet.roll_out(&format!("{}@{version}", socket.app()), "bench", ROLLOUT)?.success().map(drop)
}

/// The same release again: refused with "nothing to do", having asked.
pub fn deploy_unchanged(fleet: &Fleet<'_>, socket: Socket, version: &str) -> Result<()> {
    fleet.roll_out(&format!("{}@{version}", socket.app()), "bench", ROLLOUT)?.code_is(6).map(drop)
}

pub fn roll_back(fleet: &Fleet<'_>, socket: Socket) -> Result<()> {
    let words = ["rollout", "rollback", socket.app(), "--to", "bench", "--wait"];
    fleet.longshore_within(ROLLOUT, words)?.success().map(drop)
}

pub fn ask_all(fleet: &Fleet<'_>) -> Result<()> {
    fleet.longshore(["host", "ping"])?.success().map(drop)
}

/// What one agent and its helper cost their host, as the host's kernel counts it.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Cost {
    pub pss_kib: u64,
    pub rss_peak_kib: u64,
    pub cpu_us: u64,
}

impl Cost {
    pub fn of_agent(host: &Host) -> Result<Self> {
        // The control groups count what ended threads used as well.
        let script = "set -e; a=/proc/$(systemctl show -P MainPID longshore-agent)
            h=/proc/$(systemctl show -P MainPID longshore-helper)
            awk '/^Pss:/{kib+=$2} END{print kib}' $a/smaps_rollup $h/smaps_rollup
            awk '/^VmHWM:/{kib+=$2} END{print kib}' $a/status $h/status
            find /sys/fs/cgroup -path '*/longshore-[ah]*.service/cpu.stat' -exec cat {} + |
                awk '/^usage_usec/{us+=$2} END{print us}'";
        let text = host.shell(script)?.success()?;
        let numbers: Vec<u64> = text.lines().filter_map(|line| line.trim().parse().ok()).collect();
        match numbers[..] {
            [pss_kib, rss_peak_kib, cpu_us] => Ok(Self { pss_kib, rss_peak_kib, cpu_us }),
            _ => None.within(|| format!("no figures of the agent on {}: {text}", host.name())),
        }
    }
}

/// Writes `longshore.toml` beside what it deploys, and publishes.
pub fn publish(fleet: &Fleet<'_>, folder: &Path, socket: Socket, version: &str) -> Result<()> {
    use std::io::Write;
    let file = folder.join("longshore.toml");
    let written =
        std::fs::File::create(&file).and_then(|mut f| f.write_all(app_file(socket, version).as_bytes()));
    written.within(|| format!("write {}", file.display()))?;
    fleet.publish(folder).map(drop)
}
