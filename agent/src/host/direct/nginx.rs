//! nginx: an upstream file of ours, its own test of it, a reload; the file of before when the test fails.
//!
//! What nginx has loaded cannot be asked. So the file counts together with what was kept after the reload: where they
//! differ, a crash came between the two, and it is directed anew.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use longshore_common::{
    durable::{remove_durable, write_atomic},
    report::Failure,
    text::visible,
    traffic::{BackendName, Looked, Server, Side},
};

use super::{Addresses, Directors, failure};
use crate::host::{
    launch::LaunchSpec,
    systemd::{Bus, transient},
    tree::Ended,
};

/// A test reads files and resolves names; a reload is one signal.
const PATIENCE: Duration = Duration::from_secs(20);
/// For a plan, which gives the whole host a few seconds to answer.
const LOOK: Duration = Duration::from_secs(3);
/// Each call in a unit runs in one of its own: a plan may look while traffic moves.
static CALLS: AtomicU32 = AtomicU32::new(0);
/// Of what it complains, the last.
const SAID_BYTES: usize = 1024;

#[derive(Clone, Debug)]
pub struct Nginx<'a> {
    pub directors: &'a Directors,
    pub upstream: &'a BackendName,
    /// Where systemd runs things, nginx runs in a unit of its own: the agent's limits are not for it.
    pub bus: Option<&'a Bus>,
}

impl Nginx<'_> {
    fn file(&self) -> PathBuf {
        self.directors.nginx_folder.join(format!("{}.conf", self.upstream))
    }

    /// Whether the file says this.
    pub fn says(&self, green: u8, addresses: &Addresses) -> bool {
        fs::read_to_string(self.file()).is_ok_and(|text| text == self.text(green, addresses))
    }

    /// Gives green its percentage of new connections and blue the rest. On a failure the file is as it was.
    pub async fn split(&self, green: u8, addresses: &Addresses) -> Result<(), Failure> {
        self.load(&self.text(green, addresses)).await
    }

    /// Whether the file says these weights.
    pub fn shows(&self, servers: &[Server]) -> bool {
        fs::read_to_string(self.file()).is_ok_and(|text| text == self.list(servers))
    }

    /// Gives every server its weight. On a failure the file is as it was.
    pub async fn direct(&self, servers: &[Server]) -> Result<(), Failure> {
        self.load(&self.list(servers)).await
    }

    /// Whether it could be told, before anything begins. Nothing is changed.
    pub async fn look(&self) -> Looked {
        let (mut problems, mut notes) = (vec![], vec![]);
        let folder = &self.directors.nginx_folder;
        if !folder.is_dir() {
            let folder = folder.display();
            problems.push(format!(
                "nginx: there is no folder {folder} to write its upstream to: make it, and include it"
            ));
        }
        match tokio::time::timeout(LOOK, self.call(&["-T"])).await {
            Err(_) => {
                let shown = self.shown(&["-T"]);
                notes.push(format!(
                    "{shown} did not end within {} s: whether nginx runs was not seen",
                    LOOK.as_secs()
                ));
            }
            Ok(Err(Failure { message, .. })) => problems.push(message),
            Ok(Ok((ended, said))) if !ended.succeeded() => {
                let (said, shown) = (in_a_row(last(&said)), self.shown(&["-T"]));
                problems.push(format!("{shown} failed with {ended}: {said}"));
            }
            Ok(Ok((_, said))) => problems.extend(pid_file(&said).and_then(stopped)),
        }
        Looked { problems, notes }
    }

    async fn load(&self, text: &str) -> Result<(), Failure> {
        let path = self.file();
        let before = read(&path)?;
        let disk = |e: longshore_common::durable::DurableError| {
            failure(format!("write {}: {}", path.display(), longshore_common::chain::Chain(&e)))
        };
        write_atomic(&path, text.as_bytes(), 0o644).map_err(disk)?;
        let done = match self.run(&["-t"]).await {
            Ok(()) => self.run(&["-s", "reload"]).await,
            refused => refused,
        };
        if let Err(why) = done {
            match before {
                Some(text) => write_atomic(&path, text.as_bytes(), 0o644),
                None => remove_durable(&path),
            }
            .map_err(disk)?;
            return Err(why);
        }
        Ok(())
    }

    fn head(&self) -> String {
        format!(
            "# Written by longshore-agent, which overwrites it when traffic moves.\nupstream {} {{\n",
            self.upstream
        )
    }

    fn list(&self, servers: &[Server]) -> String {
        let mut text = self.head();
        for Server { name, address, weight, if_up: _ } in servers {
            // Whoever sends it without an address, or to be looked at, is refused at the door.
            let address = address.as_deref().unwrap_or("127.0.0.1:1");
            let share = if *weight == 0 { "down".to_owned() } else { format!("weight={weight}") };
            text.push_str(&format!("    server {address} {share}; # {name}\n"));
        }
        text + "}\n"
    }

    fn text(&self, green: u8, addresses: &Addresses) -> String {
        let mut text = self.head();
        for (side, share) in [(Side::Blue, 100 - green), (Side::Green, green)] {
            let address = addresses.of(side);
            let address =
                if address.starts_with('/') { format!("unix:{address}") } else { address.to_owned() };
            let share = if share == 0 { "down".to_owned() } else { format!("weight={share}") };
            text.push_str(&format!("    server {address} {share}; # {side}\n"));
        }
        text + "}\n"
    }

    async fn run(&self, args: &[&str]) -> Result<(), Failure> {
        let (ended, said) = self.call(args).await?;
        match ended.succeeded() {
            true => Ok(()),
            false => {
                let (said, shown) = (in_a_row(last(&said)), self.shown(args));
                Err(failure(format!("{shown} failed with {ended}: {said}")))
            }
        }
    }

    fn shown(&self, args: &[&str]) -> String {
        let words = self.directors.nginx.iter().map(String::as_str).chain(args.iter().copied());
        words.collect::<Vec<_>>().join(" ")
    }

    /// How it ended, and all that it said.
    async fn call(&self, args: &[&str]) -> Result<(Ended, String), Failure> {
        let (program, always) =
            self.directors.nginx.split_first().ok_or_else(|| failure("traffic.nginx names no program"))?;
        let shown = self.shown(args);
        let args: Vec<String> =
            always.iter().cloned().chain(args.iter().map(|arg| (*arg).to_owned())).collect();
        match self.bus {
            Some(bus) => in_unit(bus, program, args).await.map_err(|e| failure(format!("{shown}: {e}"))),
            None => alone(program, args).await.map_err(|e| failure(format!("{shown}: {e}"))),
        }
    }
}

fn read(path: &Path) -> Result<Option<String>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failure(format!("read {}: {e}", path.display()))),
    }
}

async fn alone(program: &str, args: Vec<String>) -> io::Result<(Ended, String)> {
    let mut command = tokio::process::Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    match tokio::time::timeout(PATIENCE, command.spawn()?.wait_with_output()).await {
        Ok(output) => {
            let output = output?;
            let said = [&output.stdout[..], &output.stderr[..]].concat();
            let ended = Ended::Exit(output.status.code().unwrap_or(-1));
            Ok((ended, String::from_utf8_lossy(&said).into_owned()))
        }
        Err(_) => Ok((Ended::TimedOut, String::new())),
    }
}

async fn in_unit(bus: &Bus, program: &str, args: Vec<String>) -> Result<(Ended, String), String> {
    let exec: Vec<String> = std::iter::once(program.to_owned()).chain(args).collect();
    let spec = LaunchSpec::of(&exec, Path::new("/"), Some("root")).map_err(|fault| fault.to_string())?;
    let mut said = String::new();
    let each = |_, line: String| {
        said.push_str(&line);
        said.push('\n');
    };
    let unit = transient::Unit::of_machine(unit_name(), "look at nginx");
    let ended = transient::run(bus, &unit, &spec, PATIENCE, each).await.map_err(|fault| fault.to_string())?;
    Ok((ended, said))
}

/// With a dot, which no app's name has: whatever has the unit's name is stopped.
fn unit_name() -> String {
    format!("longshore-nginx.{}.service", CALLS.fetch_add(1, Ordering::Relaxed))
}

/// Where its configuration says that its process id is; none where only nginx itself was built to know.
fn pid_file(configuration: &str) -> Option<PathBuf> {
    let words = configuration.lines().find_map(|line| line.trim().strip_prefix("pid "))?;
    let path = PathBuf::from(words.split(';').next()?.trim());
    path.is_absolute().then_some(path)
}

fn stopped(pid_file: PathBuf) -> Option<String> {
    let pid = fs::read_to_string(&pid_file).ok().and_then(|text| text.trim().parse::<u32>().ok());
    let runs = pid.is_some_and(|pid| Path::new("/proc").join(pid.to_string()).exists());
    (!runs).then(|| format!("nginx does not run (by {}): start it", pid_file.display()))
}

/// Several lines in one sentence.
fn in_a_row(said: &str) -> String {
    said.lines()
        .map(|line| visible(line.trim()))
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}

fn last(said: &str) -> &str {
    let start = said.len().saturating_sub(SAID_BYTES);
    said[said.ceil_char_boundary(start)..].trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> Addresses {
        Addresses { blue: "127.0.0.1:8081".into(), green: "/run/shop/green.sock".into() }
    }

    fn directors(folder: &Path, program: &str) -> Directors {
        Directors { nginx: vec![program.to_owned()], nginx_folder: folder.to_owned(), ..Directors::default() }
    }

    #[test]
    fn no_app_has_the_unit_of_a_call() {
        let name = unit_name();
        let app = name.strip_prefix("longshore-").and_then(|rest| rest.strip_suffix(".service")).unwrap();
        assert!(app.parse::<longshore_common::ids::AppName>().is_err(), "{name}");
    }

    #[test]
    fn several_lines_are_told_as_one_sentence() {
        let said = "nginx: [emerg] unexpected \"}\"\n\n  nginx: configuration file test failed\x1b[2J\n";
        assert_eq!(
            in_a_row(said),
            "nginx: [emerg] unexpected \"}\"; nginx: configuration file test failed\\x1b[2J"
        );
    }

    #[test]
    fn whether_it_runs_is_seen_by_its_pid_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nginx.pid");
        let found = pid_file(&format!("user root;\n  pid {};\nevents {{}}\n", file.display())).unwrap();
        assert_eq!(found, file);
        assert_eq!(pid_file("events {}\n"), None);
        assert!(stopped(file.clone()).unwrap().contains("does not run"));
        write_atomic(&file, std::process::id().to_string().as_bytes(), 0o644).unwrap();
        assert_eq!(stopped(file), None);
    }

    #[tokio::test]
    async fn what_nginx_could_not_be_told_is_named_beforehand() {
        let folder = tempfile::tempdir().unwrap();
        let upstream: BackendName = "shop".parse().unwrap();
        let bad = directors(&folder.path().join("gone"), "/bin/false");
        let looked = Nginx { directors: &bad, upstream: &upstream, bus: None }.look().await;
        assert_eq!(looked.problems.len(), 2, "{looked:?}");
        assert!(looked.problems[0].contains("there is no folder"), "{looked:?}");
        assert!(looked.problems[1].contains("/bin/false -T failed with exit status 1"), "{looked:?}");
        let good = directors(folder.path(), "/bin/true");
        assert_eq!(
            Nginx { directors: &good, upstream: &upstream, bus: None }.look().await,
            Looked::default()
        );
    }

    /// The rest of the host's answer does not wait for it.
    #[tokio::test]
    async fn one_that_hangs_is_not_looked_at_for_long() {
        let folder = tempfile::tempdir().unwrap();
        let upstream: BackendName = "shop".parse().unwrap();
        let nginx = ["/bin/sh", "-c", "exec sleep 1000"].map(str::to_owned).into();
        let hangs = Directors { nginx, ..directors(folder.path(), "") };
        let look = async { Nginx { directors: &hangs, upstream: &upstream, bus: None }.look().await };
        let looked = tokio::time::timeout(PATIENCE, look).await.expect("it is given up");
        assert!(
            looked.problems.is_empty() && looked.notes[0].contains("did not end within 3 s"),
            "{looked:?}"
        );
    }

    #[tokio::test]
    async fn a_file_that_nginx_refuses_is_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let upstream: BackendName = "shop".parse().unwrap();
        let good = directors(folder.path(), "/bin/true");
        let nginx = Nginx { directors: &good, upstream: &upstream, bus: None };
        nginx.split(25, &addresses()).await.unwrap();
        let text = fs::read_to_string(folder.path().join("shop.conf")).unwrap();
        assert!(text.contains("server 127.0.0.1:8081 weight=75;"), "{text}");
        assert!(text.contains("server unix:/run/shop/green.sock weight=25;"), "{text}");
        let bad = directors(folder.path(), "/bin/false");
        let nginx = Nginx { directors: &bad, ..nginx };
        let failure = nginx.split(100, &addresses()).await.unwrap_err();
        assert!(failure.message.contains("/bin/false -t failed with exit status 1"), "{}", failure.message);
        assert!(nginx.says(25, &addresses()) && !nginx.says(100, &addresses()));
    }
}
