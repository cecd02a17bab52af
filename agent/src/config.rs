//! `agent.toml`: read once at the start, every problem in it named at once.

use std::{
    io::ErrorKind,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use longshore_common::{
    code::{Code, Coded},
    label::{Labels, check_label},
    regular::{self, Links},
    strict::{FILE_BYTES, File, Table},
    time::Span,
};

use crate::{host::direct::Directors, host::process::Lives, local::Readers, run::Limits};

/// Below the root folder, which is `/` on a real host.
const FILE: &str = "etc/longshore/agent.toml";
const STATE: &str = "var/lib/longshore";
const SOCKET: &str = "run/longshore/agent.sock";
const HOLD: &str = "etc/longshore/HOLD";
/// Where secrets may lie that the file says nothing of.
const SECRETS: &str = "etc/longshore/secrets";

/// All valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `host:port` of main ports, best first; never empty.
    pub controllers: Vec<String>,
    /// Everything of ours lies below it; `/` unless several agents share a machine.
    pub root: PathBuf,
    /// The local socket.
    pub socket: PathBuf,
    pub readers: Readers,
    /// How the agent is divided. Never guessed: what the file says is what is there.
    pub processes: Processes,
    /// Told to the controller at enrolment and in every hello.
    pub labels: Labels,
    /// What runs services whose manifest says `systemd`; None: systemd where it is there, else our own supervisor.
    pub driver: Option<Runner>,
    /// How long apps of the process driver live.
    pub apps: Lives,
    /// What 127.0.0.1 means for apps of this agent; see `longshore_common::loopback`.
    pub loopback: Option<Ipv4Addr>,
    pub limits: Limits,
    /// Folders, below the root, whose files a controller may name as secrets.
    pub secret_folders: Vec<PathBuf>,
    /// systemd's credentials of this process; not of the file.
    pub credentials: Option<PathBuf>,
    /// Where HAProxy and nginx are told where traffic goes.
    pub directors: Directors,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Processes {
    /// One that does everything: in containers, in the demo, and where nobody grants two units.
    #[default]
    One,
    /// The agent without privileges, and the helper: see `helper`.
    Two,
}

impl Processes {
    pub fn as_str(self) -> &'static str {
        match self {
            Processes::One => "one",
            Processes::Two => "two",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runner {
    Systemd,
    Process,
}

impl Runner {
    /// systemd, where it is what runs this machine.
    pub fn detect() -> Self {
        if Path::new("/run/systemd/system").is_dir() { Runner::Systemd } else { Runner::Process }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Runner::Systemd => "systemd",
            Runner::Process => "process",
        }
    }
}

impl Config {
    /// For an agent below `root`, with everything else as it is by default.
    pub fn new(root: PathBuf, controllers: Vec<String>) -> Self {
        Self {
            controllers,
            socket: root.join(SOCKET),
            root,
            readers: Readers::default(),
            processes: Processes::default(),
            labels: Labels::new(),
            driver: None,
            apps: Lives::default(),
            loopback: None,
            limits: Limits::default(),
            secret_folders: vec![SECRETS.into()],
            credentials: None,
            directors: Directors::default(),
        }
    }

    pub fn file_below(root: &Path) -> PathBuf {
        root.join(FILE)
    }

    pub fn socket_below(root: &Path) -> PathBuf {
        root.join(SOCKET)
    }

    pub fn identity(&self) -> PathBuf {
        self.root.join(STATE).join("identity")
    }

    /// What only root may see and write: the key that opens secrets, and what is pinned.
    pub fn vault(&self) -> PathBuf {
        match self.processes {
            Processes::One => self.identity(),
            Processes::Two => self.root.join(STATE).join("helper"),
        }
    }

    pub fn helper_socket(&self) -> PathBuf {
        self.root.join(crate::helper::SOCKET)
    }

    /// What is kept of the controller's audit log, by whoever hears of it.
    pub fn checkpoints(&self) -> PathBuf {
        match self.processes {
            Processes::One => self.root.join(STATE),
            Processes::Two => self.identity(),
        }
        .join("audit-checkpoints.json")
    }

    pub fn state(&self) -> PathBuf {
        self.root.join(STATE).join("state")
    }

    /// While it is there, this host takes no new work.
    pub fn hold_file(&self) -> PathBuf {
        self.root.join(HOLD)
    }

    /// Where verified documents lie.
    pub fn trust(&self) -> PathBuf {
        self.root.join(STATE).join("trust")
    }

    /// Where releases lie.
    pub fn data(&self) -> PathBuf {
        self.root.join(STATE)
    }

    /// Says what to do when there is no such file.
    pub fn load(path: &Path, root: &Path) -> Result<Self, Coded> {
        let read = regular::read_text(path, FILE_BYTES, Links::Followed);
        let text = read.map_err(|error| match error.kind() {
            ErrorKind::NotFound => Coded::new(
                Code::N01,
                format!(
                    "no configuration at `{}`: is this host enrolled? On the controller: longshore token create; \
                     then here: longshore-agent enroll",
                    path.display()
                ),
            ),
            // What is there and no file of ours is wrong, and not only out of reach.
            ErrorKind::InvalidInput | ErrorKind::InvalidData | ErrorKind::FileTooLarge => {
                Coded::new(Code::M01, format!("read `{}`: {error}", path.display()))
            }
            _ => Coded::new(Code::S04, format!("read `{}`: {error}", path.display())),
        })?;
        Self::parse(&path.display().to_string(), &text, root)
    }

    /// The file's, or what holds without one. A link to nowhere is no missing file.
    pub fn load_if_there(path: &Path, root: &Path) -> Result<Self, Coded> {
        match path.symlink_metadata().is_ok() {
            true => Self::load(path, root),
            false => Ok(Self::new(root.to_owned(), vec![])),
        }
    }

    pub fn parse(name: &str, text: &str, root: &Path) -> Result<Self, Coded> {
        File::new(name, text).read(|table| read(table, root)).map_err(Coded::from)
    }

    /// The file that says this; defaults are left out.
    pub fn to_toml(&self) -> String {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let controllers: Vec<String> = self.controllers.iter().map(|address| quoted(address)).collect();
        let mut text = format!(
            "# Main ports of the controllers, best first.\ncontrollers = [{}]\n",
            controllers.join(", ")
        );
        if self.processes == Processes::Two {
            text.push_str("processes = \"two\"\n");
        }
        if let Some(driver) = self.driver {
            text.push_str(&format!("driver = {}\n", quoted(driver.as_str())));
        }
        if self.apps == Lives::WithAgent {
            text.push_str("apps = \"with-agent\"\n");
        }
        if let Some(loopback) = self.loopback {
            text.push_str(&format!("loopback = {}\n", quoted(&loopback.to_string())));
        }
        if !self.labels.is_empty() {
            text.push_str("\n[labels]\n");
            for (key, value) in &self.labels {
                text.push_str(&format!("{} = {}\n", quoted(key), quoted(value)));
            }
        }
        text
    }
}

fn read(table: &Table<'_>, root: &Path) -> Option<Config> {
    let controllers: Vec<String> = table.list("controllers");
    if controllers.is_empty() {
        table.problem_at(
            "controllers",
            "controllers: needs at least one address, like \"deploy.example:7440\"",
        );
    }
    for address in controllers.iter().filter(|address| !is_address(address)) {
        let shown = longshore_common::text::visible(address);
        table.problem_at(
            "controllers",
            format!("controllers: \"{shown}\" is not host:port, like \"deploy.example:7440\""),
        );
    }
    let config = Config {
        socket: table.optional::<String>("socket").map_or_else(|| root.join(SOCKET), PathBuf::from),
        readers: choice(table, "readers", &[("owner", Readers::Owner), ("everyone", Readers::Everyone)])
            .unwrap_or_default(),
        processes: choice(table, "processes", &[("one", Processes::One), ("two", Processes::Two)])
            .unwrap_or_default(),
        labels: labels(table),
        driver: choice(table, "driver", &[("systemd", Runner::Systemd), ("process", Runner::Process)]),
        apps: choice(table, "apps", &[("outlive", Lives::Outlive), ("with-agent", Lives::WithAgent)])
            .unwrap_or_default(),
        loopback: loopback(table),
        limits: limits(table),
        secret_folders: secret_folders(table),
        credentials: None,
        directors: directors(table),
        root: root.to_owned(),
        controllers,
    };
    Some(config)
}

fn is_address(text: &str) -> bool {
    let sound = |host: &str| {
        !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(c))
    };
    text.rsplit_once(':')
        .is_some_and(|(host, port)| sound(host) && port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn choice<T: Copy>(table: &Table<'_>, key: &str, known: &[(&str, T)]) -> Option<T> {
    let text: String = table.optional(key)?;
    let found = known.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    if found.is_none() {
        let names: Vec<String> = known.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let shown = longshore_common::text::visible(&text);
        table.problem_at(key, format!("{key}: \"{shown}\" is not one of {}", names.join(", ")));
    }
    found
}

fn labels(table: &Table<'_>) -> Labels {
    let labels = table.texts("labels");
    for (key, value) in &labels {
        // A line put at the end of the file lies below `[labels]`, and would change nothing.
        if key == "processes" && ["one", "two"].contains(&value.as_str()) {
            table.problem_at("labels", format!("\"{key}\" is no label: put the line above [labels]"));
        }
        if let Err(bad) = check_label(key, value) {
            table.problem_at("labels", bad.message);
        }
    }
    labels
}

fn loopback(table: &Table<'_>) -> Option<Ipv4Addr> {
    let text: String = table.optional("loopback")?;
    let address = text.parse::<Ipv4Addr>().ok().filter(Ipv4Addr::is_loopback);
    if address.is_none() {
        let shown = longshore_common::text::visible(&text);
        table.problem_at("loopback", format!("loopback: \"{shown}\" is not an address of 127.0.0.0/8"));
    }
    address
}

fn secret_folders(table: &Table<'_>) -> Vec<PathBuf> {
    let given: Vec<String> = table.list("secret_folders");
    let mut folders = vec![];
    for text in &given {
        let below = text.strip_prefix('/').unwrap_or_default();
        let plain = below.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if plain {
            folders.push(PathBuf::from(below));
        } else {
            let shown = longshore_common::text::visible(text);
            table.problem_at(
                "secret_folders",
                format!("secret_folders: \"{shown}\" is no absolute path of a folder"),
            );
        }
    }
    if given.is_empty() { vec![SECRETS.into()] } else { folders }
}

fn directors(root: &Table<'_>) -> Directors {
    let table = root.table("traffic");
    let default = Directors::default();
    let path = |key: &str, default: PathBuf| {
        let path = table.optional::<String>(key).map_or(default, PathBuf::from);
        if !path.is_absolute() {
            table.problem_at(key, format!("traffic.{key}: must be an absolute path"));
        }
        path
    };
    let haproxy = path("haproxy", default.haproxy);
    let nginx_folder = path("nginx_folder", default.nginx_folder);
    let nginx: Vec<String> = table.list("nginx");
    if nginx.first().is_some_and(|program| !program.starts_with('/')) {
        table.problem_at("nginx", "traffic.nginx: the program must be an absolute path");
    }
    Directors { haproxy, nginx: if nginx.is_empty() { default.nginx } else { nginx }, nginx_folder }
}

fn limits(root: &Table<'_>) -> Limits {
    let table = root.table("limits");
    let Limits { parallel, fetch_attempts, fetch_backoff, fetch_deadline, step_deadline } = Limits::default();
    let count = |key: &str, default: u32, most: u32| {
        let given: u32 = table.or(key, default);
        if given == 0 || given > most {
            table.problem_at(key, format!("limits.{key}: expected a whole number from 1 to {most}"));
        }
        given
    };
    let span = |key: &str, default: Duration| table.or(key, Span(default)).0;
    Limits {
        parallel: count("parallel", parallel as u32, 64) as usize,
        fetch_attempts: count("fetch_attempts", fetch_attempts, 1000),
        fetch_backoff: span("fetch_backoff", fetch_backoff),
        fetch_deadline: span("fetch_deadline", fetch_deadline),
        step_deadline: span("step_deadline", step_deadline),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_none_is_named_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), 0o600.into()).unwrap();
        std::os::unix::fs::symlink("nowhere", at("lost")).unwrap();
        let large = vec![b'#'; FILE_BYTES + 1];
        longshore_common::durable::write_atomic(&at("large"), &large, 0o600).unwrap();
        for (name, says) in [
            ("pipe", "it is a FIFO"),
            ("lost", "it is a link to nowhere"),
            ("large", "at most 65536 are read"),
        ] {
            let refusal = Config::load_if_there(&at(name), dir.path()).unwrap_err();
            assert!(refusal.code == Code::M01 && refusal.message.contains(says), "{name}: {refusal}");
        }
        assert_eq!(Config::load(&at("none"), dir.path()).unwrap_err().code, Code::N01);
        Config::load_if_there(&at("none"), dir.path()).unwrap();
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let mut config = Config::new("/srv".into(), vec!["a.example:7440".into(), "[::1]:7".into()]);
        config.labels.insert("role".into(), "web".into());
        config.driver = Some(Runner::Process);
        config.apps = Lives::WithAgent;
        config.processes = Processes::Two;
        config.loopback = Some(Ipv4Addr::new(127, 3, 2, 1));
        assert_eq!(Config::parse("agent.toml", &config.to_toml(), Path::new("/srv")).unwrap(), config);
        assert_eq!(config.socket, Path::new("/srv/run/longshore/agent.sock"));
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let text = "controllers = [\"nowhere\"]\ndriver = \"docker\"\nsecret_folders = [\"/\"]\nloopback = \"10.0.0.1\"\nroto = 1\n[labels]\n\"a b\" = \"c\"\n[limits]\nparallel = 0\nfetch_deadline = \"soon\"\n";
        let problems = Config::parse("agent.toml", text, Path::new("/")).unwrap_err();
        let lines: Vec<&str> = problems.message.lines().collect();
        assert_eq!(lines.len(), 8, "{problems}");
        assert!(lines[0].starts_with("agent.toml:1:"), "{problems}");
        for expected in [
            "is not host:port",
            "\"systemd\", \"process\"",
            "127.0.0.0/8",
            "secret_folders: \"/\"",
            "unknown key \"roto\"",
            "label \"a b=c\"",
            "from 1 to 64",
            "is not a length of time",
        ] {
            assert!(problems.message.contains(expected), "{expected} in {problems}");
        }
    }

    #[test]
    fn a_line_that_slipped_below_the_labels_is_no_label() {
        let text = "controllers = [\"a:7440\"]\n[labels]\nrole = \"web\"\nprocesses = \"two\"\n";
        let problems = Config::parse("agent.toml", text, Path::new("/")).unwrap_err();
        let expected = "\"processes\" is no label: put the line above [labels]";
        assert!(problems.message.contains(expected), "{problems}");
    }

    #[test]
    fn the_documented_file_is_valid() {
        let page = include_str!("../../docs/agent.md");
        let (_, rest) = page.split_once("```toml\n").unwrap();
        let (text, _) = rest.split_once("```").unwrap();
        let config = Config::parse("agent.toml", text, Path::new("/")).unwrap();
        assert_eq!(config.limits, Limits::default(), "the page shows the defaults");
    }

    #[test]
    fn a_file_without_controllers_says_so() {
        let problems = Config::parse("agent.toml", "", Path::new("/")).unwrap_err();
        assert!(problems.message.contains("needs at least one address"), "{problems}");
    }
}
