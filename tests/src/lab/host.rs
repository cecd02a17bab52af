//! One host: power, wire, files, commands.

use std::ffi::OsStr;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use super::cgroup::Group;
use super::claim::{Claim, HOSTS_MAX};
use super::{COMMAND, ip, overwrite};
use crate::{Output, Process, Result, Trouble, Within, run, until};

/// A host boots in 2 to 8 s; twenty at once on two busy cores need more.
const BOOT: Duration = Duration::from_secs(300);
/// A command in a host, when the caller does not say otherwise.
const EXEC: Duration = Duration::from_secs(180);

pub struct Host {
    name: String,
    machine: String,
    address: Ipv4Addr,
    bridge: String,
    folder: PathBuf,
    group: Group,
    power: Mutex<Option<Booted>>,
}

struct Booted {
    nspawn: Child,
    /// The host's process 1, as this machine numbers it.
    init: u32,
}

/// What went over a host's wire, seen from the host.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    pub received: u64,
    pub sent: u64,
}

impl Host {
    /// A host that has not been switched on: its disk is an empty overlay over the root.
    pub(super) fn create(number: usize, claim: &Claim, root: &Path) -> Result<Self> {
        if number > HOSTS_MAX {
            return Err(Trouble::new(format!("a lab holds at most {HOSTS_MAX} hosts")));
        }
        let host = Self {
            name: format!("h{number}"),
            machine: claim.machine(number),
            address: claim.address(number),
            bridge: claim.bridge(),
            folder: claim.folder().join(format!("h{number}")),
            group: claim.group(number)?,
            power: Mutex::new(None),
        };
        host.lay_disk(root)?;
        Ok(host)
    }

    fn lay_disk(&self, root: &Path) -> Result<()> {
        let [upper, work, disk] = ["upper", "work", "disk"].map(|part| self.folder.join(part));
        for folder in [&upper, &work, &disk] {
            fs::create_dir_all(folder).within(|| format!("make {}", folder.display()))?;
        }
        let layers =
            format!("lowerdir={},upperdir={},workdir={}", root.display(), upper.display(), work.display());
        run(Command::new("mount").args(["-t", "overlay", "overlay", "-o", &layers]).arg(&disk), COMMAND)?
            .success()?;
        overwrite(&disk.join("etc/hostname"), &format!("{}\n", self.name))?;
        overwrite(
            &disk.join("etc/hosts"),
            &format!("127.0.0.1 localhost\n{} {}\n", self.address, self.name),
        )?;
        overwrite(&disk.join("etc/machine-id"), &format!("{}\n", uuid::Uuid::new_v4().simple()))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn ip(&self) -> Ipv4Addr {
        self.address
    }

    /// What the kernel counts and kills as this host.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Switches it on and waits until its systemd says it is up. Nothing happens when it is on.
    pub fn power_on(&self) -> Result<()> {
        let mut power = self.power.lock().expect("no holder panics");
        if power.is_none() {
            let nspawn = self.start_nspawn()?;
            // In the lock's hands at once: what fails below still leaves a host that can be switched off.
            let booted = power.insert(Booted { nspawn, init: 0 });
            booted.init = self.await_init(booted)?;
            self.raise_wire(booted.init)?;
            self.await_systemd(booted.init)?;
        }
        Ok(())
    }

    /// Cuts the power: every process dies at the same instant, the disk stays as it is. Nothing happens when off.
    pub fn power_off(&self) -> Result<()> {
        let mut power = self.power.lock().expect("no holder panics");
        if let Some(mut booted) = power.take() {
            self.group.kill()?;
            booted.nspawn.wait().within(|| format!("reap {}", self.machine))?;
            self.remove_wire()?;
        }
        Ok(())
    }

    /// Pulls the network cable. Connections stay open and silent.
    pub fn partition(&self) -> Result<()> {
        ip(["link", "set", &self.wire(), "down"]).map(drop)
    }

    pub fn heal(&self) -> Result<()> {
        ip(["link", "set", &self.wire(), "up"]).map(drop)
    }

    /// Runs a command to its end inside the host, as root.
    pub fn exec<I: IntoIterator<Item: AsRef<OsStr>>>(&self, words: I) -> Result<Output> {
        self.exec_within(EXEC, words)
    }

    pub fn exec_within<I: IntoIterator<Item: AsRef<OsStr>>>(
        &self,
        deadline: Duration,
        words: I,
    ) -> Result<Output> {
        self.spawn(words)?.wait(deadline)
    }

    /// Runs a line of shell to its end inside the host.
    pub fn shell(&self, line: &str) -> Result<Output> {
        self.exec(["sh", "-c", line])
    }

    /// Starts a command inside the host that runs beside the test.
    pub fn spawn<I: IntoIterator<Item: AsRef<OsStr>>>(&self, words: I) -> Result<Process> {
        Process::start(enter(self.init()?).args(words)).within(|| format!("on {}", self.name))
    }

    /// Copies a file of this machine into the host, with its mode.
    pub fn put(&self, local: &Path, remote: &str) -> Result<()> {
        let target = self.place(remote)?;
        fs::copy(local, &target).within(|| format!("copy {} to {}", local.display(), target.display()))?;
        Ok(())
    }

    pub fn write(&self, remote: &str, text: &str, mode: u32) -> Result<()> {
        let target = self.place(remote)?;
        overwrite(&target, text)?;
        fs::set_permissions(&target, fs::Permissions::from_mode(mode))
            .within(|| format!("chmod {}", target.display()))
    }

    pub fn read(&self, remote: &str) -> Result<String> {
        let file = self.seen_from_here(remote)?;
        fs::read_to_string(&file).within(|| format!("read {}", file.display()))
    }

    /// A file of the host as a path of this machine, its folder made.
    fn place(&self, remote: &str) -> Result<PathBuf> {
        let target = self.seen_from_here(remote)?;
        let folder = target.parent().within(|| format!("{remote} names no file"))?;
        fs::create_dir_all(folder).within(|| format!("make {}", folder.display()))?;
        Ok(target)
    }

    /// A host that is on is entered by its process 1, so that its own mounts (/run, /tmp) are seen too.
    fn seen_from_here(&self, remote: &str) -> Result<PathBuf> {
        let inside = remote.strip_prefix('/').within(|| format!("{remote} is not absolute"))?;
        let root = match self.power.lock().expect("no holder panics").as_ref() {
            Some(booted) => PathBuf::from(format!("/proc/{}/root", booted.init)),
            None => self.folder.join("disk"),
        };
        Ok(root.join(inside))
    }

    /// What went over the wire since the host was switched on.
    pub fn traffic(&self) -> Result<Traffic> {
        let count = |file: &str| {
            let path = format!("/sys/class/net/{}/statistics/{file}", self.wire());
            fs::read_to_string(&path)
                .within(|| format!("read {path}"))?
                .trim()
                .parse::<u64>()
                .within(|| format!("{path} is no number"))
        };
        // Our end of the wire sends what the host receives.
        Ok(Traffic { received: count("tx_bytes")?, sent: count("rx_bytes")? })
    }

    /// This host's process 1 as this machine numbers it; an error when the host is off.
    pub fn init(&self) -> Result<u32> {
        let power = self.power.lock().expect("no holder panics");
        power.as_ref().map(|booted| booted.init).within(|| format!("{} is switched off", self.name))
    }

    fn start_nspawn(&self) -> Result<Child> {
        let log = self.folder.join("console.log");
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(&log)
            .within(|| "open the console log".into())?;
        let errors = log.try_clone().within(|| "open the console log".into())?;
        let script = format!(
            "{} && exec setsid systemd-nspawn -q -b -D '{}' -M {} --register=no --keep-unit \
             --network-bridge={} --resolv-conf=off --link-journal=no",
            self.group.enter_script(),
            self.folder.join("disk").display(),
            self.machine,
            self.bridge,
        );
        Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .within(|| format!("start {}", self.machine))
    }

    /// The child of nspawn that is process 1 in its own namespace. (For a moment there is a helper beside it.)
    fn await_init(&self, booted: &mut Booted) -> Result<u32> {
        let nspawn = booted.nspawn.id();
        until(BOOT, format!("process 1 of {}", self.machine), || {
            if let Some(status) = booted.nspawn.try_wait().within(|| "look after nspawn".into())? {
                return Err(Trouble::new(format!(
                    "nspawn of {} ended: {status}\n{}",
                    self.machine,
                    self.console()
                )));
            }
            Ok(children(nspawn).into_iter().find(|child| is_init(*child)))
        })
    }

    fn raise_wire(&self, init: u32) -> Result<()> {
        let address = format!("{}/27", self.address);
        let script = format!("ip link set lo up && ip addr add {address} dev host0 && ip link set host0 up");
        until(BOOT, format!("the wire of {}", self.machine), || {
            let mut inside = Command::new("nsenter");
            inside.args(["-t", &init.to_string(), "-n", "sh", "-c", &script]);
            Ok((run(&mut inside, COMMAND)?.code == Some(0)).then_some(()))
        })?;
        self.heal()
    }

    /// The kernel removes the wire with the host's network namespace, but not at once.
    fn remove_wire(&self) -> Result<()> {
        let wire = Path::new("/sys/class/net").join(self.wire());
        until(COMMAND, format!("{} to go", wire.display()), || {
            if wire.exists() {
                // It may go by itself between our look and this; the next look tells.
                run(Command::new("ip").args(["link", "del", &self.wire()]), COMMAND)?;
            }
            Ok((!wire.exists()).then_some(()))
        })
    }

    fn await_systemd(&self, init: u32) -> Result<()> {
        until(BOOT, format!("systemd of {}", self.machine), || {
            let answer = run(enter(init).args(["systemctl", "is-system-running"]), COMMAND)?;
            match answer.stdout.trim() {
                "running" => Ok(Some(())),
                "degraded" => {
                    let failed = run(enter(init).args(["systemctl", "--failed", "--plain"]), COMMAND)?;
                    Err(Trouble::new(format!("{} came up degraded: {failed}", self.machine)))
                }
                _ => Ok(None),
            }
        })
        .within(|| self.console())
    }

    /// The last lines of its console.
    fn console(&self) -> String {
        let text = fs::read(self.folder.join("console.log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    fn wire(&self) -> String {
        format!("vb-{}", self.machine)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Err(trouble) = self.power_off() {
            eprintln!("switch off {}: {trouble}", self.machine);
        }
    }
}

/// A command inside the host, with an environment of its own.
fn enter(init: u32) -> Command {
    let mut command = Command::new("nsenter");
    command
        .args(["-t", &init.to_string(), "-a"])
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .env("LANG", "C.UTF-8");
    command
}

fn children(parent: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn is_init(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    status.lines().any(|line| {
        line.strip_prefix("NSpid:").is_some_and(|numbers| {
            let numbers: Vec<_> = numbers.split_whitespace().collect();
            numbers.len() == 2 && numbers[1] == "1"
        })
    })
}
