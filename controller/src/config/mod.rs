//! The files that people write for the controller: `controller.toml` (here) and an environment's file (`env`).
//!
//! Each is read once, strictly: every problem at once, with line and column. After that nothing looks at the file
//! again, and nothing reads the process's environment.

pub mod env;
pub mod tell;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use longshore_common::{
    strict::{Bytes, File, Guard, Problems, Table},
    time::Span,
};

use crate::{
    access::TwoPersons, bundle::BLOCK_CACHE_BYTES, fleet::Heartbeat, identity::authority::check_server_name,
};

pub use env::Environment;
pub use tell::Tell;

/// Where agents and operators connect, unless the file says otherwise.
pub const MAIN_PORT: u16 = 7440;
/// Where hosts enrol, unless the file says otherwise.
pub const ENROL_PORT: u16 = 7443;
/// Names that one certificate carries.
const NAMES_MAX: usize = 32;

/// Everything that the daemon needs to know, all of it valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// For agents and operators, who show certificates. Port 0: any free one.
    pub listen: SocketAddr,
    /// For hosts that enrol.
    pub enrol_listen: SocketAddr,
    /// Identity, state and blobs lie below it. Absolute.
    pub data: PathBuf,
    /// DNS names and addresses by which others reach this machine; never empty. The first goes into commands and
    /// replies.
    pub names: Vec<String>,
    pub heartbeat: Heartbeat,
    /// What blocks that were made once may take on disk before the least used goes.
    pub block_cache_bytes: u64,
    pub tell: Tell,
    /// What operators may do only in twos.
    pub two_persons: TwoPersons,
}

impl Config {
    /// As `longshore-controller init` sets it up.
    pub fn new(data: PathBuf, listen: SocketAddr, enrol_listen: SocketAddr, names: Vec<String>) -> Self {
        Self {
            listen,
            enrol_listen,
            data,
            names,
            heartbeat: Heartbeat::default(),
            block_cache_bytes: BLOCK_CACHE_BYTES,
            tell: Tell::default(),
            two_persons: TwoPersons::default(),
        }
    }

    /// `name` is for messages only.
    pub fn parse(name: &str, text: &str) -> Result<Self, Problems> {
        File::new(name, text).read(read)
    }

    /// The file that reads back as this.
    pub fn to_text(&self) -> String {
        let names: Vec<String> = self.names.iter().map(|name| format!("{name:?}")).collect();
        format!(
            "# longshore-controller serve --config <this file>\n\n\
             # Agents and operators, with certificates.\n\
             listen = \"{}\"\n\
             # Hosts that join, with a token.\n\
             enrol_listen = \"{}\"\n\
             # Identity, state and blobs.\n\
             data = {:?}\n\
             # DNS names and addresses by which others reach this machine; the first goes into commands.\n\
             names = [{}]\n\n\
             [heartbeat]\n\
             every = \"{}\"\n\
             # Missed ones after which a host is unknown.\n\
             missed = {}\n\n\
             [blobs]\n\
             # What ready-made blocks may take on disk, in bytes or as \"4GiB\"; the least used go first.\n\
             block_cache = {}\n",
            self.listen,
            self.enrol_listen,
            self.data.display().to_string(),
            names.join(", "),
            Span(self.heartbeat.every),
            self.heartbeat.missed,
            self.block_cache_bytes,
        )
    }

    pub fn identity_dir(&self) -> PathBuf {
        self.data.join("identity")
    }

    pub fn state_dir(&self) -> PathBuf {
        self.data.join("state")
    }

    pub fn audit_dir(&self) -> PathBuf {
        self.data.join("audit")
    }

    /// Signed documents, and the controller's own key for them.
    pub fn trust_dir(&self) -> PathBuf {
        self.data.join("trust")
    }

    pub fn blobs_dir(&self) -> PathBuf {
        self.data.join("blobs")
    }
}

/// Faster ones cost more than they tell; tests and the demo use the fastest.
const BEAT_MIN: Span = Span::millis(100);
const BEAT_MAX: Span = Span::secs(300);

fn read(root: &Table<'_>) -> Option<Config> {
    let listen = address(root, "listen", MAIN_PORT);
    let enrol_listen = address(root, "enrol_listen", ENROL_PORT);
    let data = data_dir(root);
    let names = names(root);
    let heartbeat = heartbeat(&root.table("heartbeat"));
    let blobs = root.table("blobs");
    let Bytes(block_cache_bytes) = blobs.or("block_cache", Bytes(BLOCK_CACHE_BYTES));
    let tell = tell::tell(root);
    let two_persons = two_persons(&root.table("two_persons"));
    if listen == enrol_listen && listen.port() != 0 {
        root.problem_at(
            "enrol_listen",
            "enrol_listen: is the same as listen; enrolment needs a port of its own",
        );
    }
    Some(Config {
        listen,
        enrol_listen,
        data: data?,
        names: names?,
        heartbeat,
        block_cache_bytes,
        tell,
        two_persons,
    })
}

fn two_persons(table: &Guard<'_>) -> TwoPersons {
    TwoPersons::parse(&table.list("acts")).unwrap_or_else(|why| {
        table.problem_at("acts", format!("two_persons.acts: {}", why.message));
        TwoPersons::default()
    })
}

fn address(root: &Table<'_>, key: &str, port: u16) -> SocketAddr {
    let default = SocketAddr::from(([0, 0, 0, 0], port));
    let Some(text) = root.optional::<String>(key) else { return default };
    text.parse().unwrap_or_else(|_| {
        let shown = longshore_common::text::visible(&text);
        root.problem_at(
            key,
            format!("{key}: \"{shown}\" is not an address: write \"0.0.0.0:{port}\" or \"[::]:{port}\""),
        );
        default
    })
}

fn data_dir(root: &Table<'_>) -> Option<PathBuf> {
    let text: String = root.required("data")?;
    if !Path::new(&text).is_absolute() {
        root.problem_at("data", "data: must be an absolute path");
    }
    Some(text.into())
}

fn names(root: &Table<'_>) -> Option<Vec<String>> {
    let names: Vec<String> = root.list("names");
    if names.is_empty() {
        root.problem_at("names", "the file needs the key \"names\": the DNS names or addresses of this machine, the first of them for commands");
        return None;
    }
    if names.len() > NAMES_MAX {
        root.problem_at("names", format!("names: at most {NAMES_MAX}"));
    }
    for name in &names {
        if let Err(error) = check_server_name(name) {
            root.problem_at("names", format!("names: {error}"));
        }
    }
    Some(names)
}

fn heartbeat(table: &Guard<'_>) -> Heartbeat {
    let default = Heartbeat::default();
    let every = table.or("every", Span(default.every));
    if !(BEAT_MIN..=BEAT_MAX).contains(&every) {
        table.problem_at("every", format!("heartbeat.every: must be {BEAT_MIN} to {BEAT_MAX}"));
    }
    let missed = table.or("missed", default.missed);
    if !(1..=100).contains(&missed) {
        table.problem_at("missed", "heartbeat.missed: must be 1 to 100");
    }
    Heartbeat { every: every.0.max(Duration::from_millis(1)), missed: missed.max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Config {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Config::new(
            "/var/lib/longshore-controller".into(),
            any,
            any,
            vec!["c.example".into(), "10.0.0.1".into()],
        )
    }

    #[test]
    fn what_init_writes_reads_back() {
        assert_eq!(Config::parse("controller.toml", &example().to_text()).unwrap(), example());
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let text = "listen = \"nowhere\"\ndata = \"var\"\nnames = [\"a b\"]\nheartbaet = 1\n[heartbeat]\nevery = \"1ms\"\n";
        let problems = Config::parse("c.toml", text).unwrap_err().to_string();
        for line in [
            "c.toml:1:10: listen: \"nowhere\" is not an address: write \"0.0.0.0:7440\" or \"[::]:7440\"",
            "c.toml:2:8: data: must be an absolute path",
            "c.toml:3:9: names: \"a b\" is neither a DNS name nor an IP address",
            "c.toml:4:1: unknown key \"heartbaet\" in the file; did you mean \"heartbeat\"?",
            "c.toml:6:9: heartbeat.every: must be 100ms to 5m",
        ] {
            assert!(problems.contains(line), "{line}\nis not in\n{problems}");
        }
        assert_eq!(problems.lines().count(), 5, "{problems}");
    }
}
