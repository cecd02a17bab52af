//! `longshore.toml`, which lives in the app's own repository, read into what a manifest needs.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Artifact, AttestationKind, Check, ConfigFile, Driver, Hook, Hooks, Manifest, Probe, Requires, SCHEMA,
    Service, Stop,
    requires::read_requires,
    sides,
    test::{Test, read_tests},
};
use crate::{
    headers::Headers,
    ids::{AppName, Version, is_name},
    strict::{File, Problems, Table},
    text::visible,
    time::Span,
};

/// What the file says; with a version and an artifact it becomes a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppFile {
    pub app: AppName,
    /// The publisher may say it on the command line instead.
    pub version: Option<Version>,
    pub owner: Option<String>,
    pub support: Option<String>,
    /// The folder to pack, relative to the file.
    pub artifact_path: String,
    pub service: Service,
    pub requires: Requires,
    pub config: BTreeMap<String, ConfigFile>,
    pub probes: Vec<Probe>,
    pub hooks: Hooks,
    pub tests: Vec<Test>,
    /// Files that are attested of the release, relative to this one.
    pub attestations: BTreeMap<AttestationKind, String>,
}

const STOP_SIGNALS: [&str; 6] = ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2"];
/// Longest a hook, stop or start may take.
const STEP_MAX: Span = Span::secs(3600);
/// Probes of a release; each costs a connection a second.
const PROBES_MAX: usize = 16;
/// Held sockets of an app.
const SOCKETS_MAX: usize = 16;

const HOOK_TIMEOUT: Span = Span::secs(60);
const START_TIMEOUT: Span = Span::secs(60);
const PROBE_INTERVAL: Span = Span::secs(1);
const PROBE_TIMEOUT: Span = Span::secs(2);
const PROBE_HEALTHY_FOR: Span = Span::secs(3);
const PROBE_DEADLINE: Span = Span::secs(120);

impl AppFile {
    /// `name` is for messages only.
    pub fn parse(name: &str, text: &str) -> Result<Self, Problems> {
        File::new(name, text).read(read_file)
    }

    pub fn into_manifest(self, version: Version, artifact: Artifact) -> Manifest {
        let Self {
            app,
            version: _,
            owner,
            support,
            artifact_path: _,
            service,
            requires,
            config,
            probes,
            hooks,
            tests,
            attestations: _,
        } = self;
        Manifest {
            schema: SCHEMA.to_owned(),
            app,
            version,
            owner,
            support,
            artifact,
            service,
            requires,
            config,
            probes,
            hooks,
            tests,
            attestations: vec![],
        }
    }
}

fn read_file(root: &Table<'_>) -> Option<AppFile> {
    let app = root.table("app");
    let name = app.required("name");
    let version = app.optional("version");
    let owner = short_text(&app, "owner");
    let support = short_text(&app, "support");
    let artifact = root.table("artifact");
    let artifact_path = artifact.required("path");
    let service = read_service(root);
    let requires = read_requires(root);
    let config = read_config(root);
    let probes = read_probes(root);
    if let (Some(service), Some(probes)) = (&service, &probes) {
        sides::check(root, service, probes);
    }
    let hooks = read_hooks(root);
    let tests = read_tests(root);
    let attested = root.table("attestations");
    let attestations = AttestationKind::ALL.into_iter();
    let attestations =
        attestations.filter_map(|kind| Some((kind, attested.optional(kind.as_str())?))).collect();
    Some(AppFile {
        app: name?,
        version,
        owner,
        support,
        artifact_path: artifact_path?,
        service: service?,
        requires,
        config,
        probes: probes?,
        hooks,
        tests,
        attestations,
    })
}

fn short_text(table: &Table<'_>, key: &str) -> Option<String> {
    let text: String = table.optional(key)?;
    if text.len() > 256 || visible(&text) != text {
        table.problem_at(key, format!("{key}: at most 256 bytes of plain text"));
    }
    Some(text)
}

fn read_service(root: &Table<'_>) -> Option<Service> {
    let service = root.table("service");
    if !service.is_present() {
        root.problem_at(
            "service",
            "the file needs a table [service]; for static content write driver = \"none\" in it",
        );
        return None;
    }
    let word: String = service.or("driver", "systemd".to_owned());
    let driver = match word.as_str() {
        "systemd" => Driver::Systemd,
        "process" => Driver::Process,
        "none" => Driver::None,
        other => {
            let why = format!("service.driver: \"{}\" is none of systemd, process, none", visible(other));
            service.problem_at("driver", why);
            Driver::None
        }
    };
    let exec: Vec<String> = service.list("exec");
    let user: Option<String> = service.optional("user");
    let sockets: Vec<String> = service.list("sockets");
    let sides = sides::read(&service);
    let env = service.texts("env");
    let start_timeout = bounded(&service, "start_timeout", START_TIMEOUT);
    let stop = service.table("stop");
    let signal: String = stop.or("signal", Stop::default().signal);
    let grace = bounded(&stop, "grace", Stop::default().grace);
    if !STOP_SIGNALS.contains(&signal.as_str()) {
        let why =
            format!("service.stop.signal: \"{}\" is none of {}", visible(&signal), STOP_SIGNALS.join(", "));
        stop.problem_at("signal", why);
    }
    match driver {
        Driver::None if !exec.is_empty() => {
            service.problem_at(
                "exec",
                "service.exec: the driver \"none\" runs nothing; remove exec or name another driver",
            );
        }
        Driver::None => {}
        Driver::Systemd | Driver::Process => check_command(&service, "exec", &exec),
    }
    if driver == Driver::Systemd && user.is_none() && word == "systemd" {
        let why =
            "[service] needs the key \"user\" with the driver systemd; to run as root, say user = \"root\"";
        service.problem_at("user", why);
    }
    if user.as_ref().is_some_and(|user| !is_user_name(user)) {
        service.problem_at(
            "user",
            "service.user: a user name has 1-32 of a-z 0-9 \"_\" \"-\", starting with a letter or \"_\"",
        );
    }
    check_env(&service, &env);
    check_sockets(&service, &sockets);
    Some(Service { driver, exec, user, env, sockets, sides, stop: Stop { signal, grace }, start_timeout })
}

fn bounded(table: &Table<'_>, key: &str, default: Span) -> Span {
    let span = table.or(key, default);
    if span > STEP_MAX || span == Span::default() {
        table.problem_at(key, format!("{key}: must be longer than 0s and at most {STEP_MAX}"));
    }
    span
}

fn check_command(table: &Table<'_>, key: &str, command: &[String]) {
    let Some(program) = command.first() else {
        return table.problem_at(
            key,
            format!("{key}: name the program and its arguments, as [\"./bin/app\", \"--flag\"]"),
        );
    };
    let inside = program.strip_prefix("./").is_some_and(is_inside);
    let absolute = program.starts_with('/') && is_inside(&program[1..]);
    if !inside && !absolute {
        let why = format!(
            "{key}: \"{}\" must start with \"./\" (inside the release) or be an absolute path; there is no shell",
            visible(program)
        );
        table.problem_at(key, why);
    }
    if command.len() > 256 || command.iter().any(|word| word.len() > 4096 || word.contains('\0')) {
        table.problem_at(key, format!("{key}: at most 256 words of at most 4096 bytes, none with a NUL"));
    }
}

pub(super) fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
        && visible(path) == path
}

pub(super) fn is_user_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-')
}

fn check_env(table: &Table<'_>, env: &BTreeMap<String, String>) {
    for (name, value) in env {
        let sound = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !sound || value.contains('\0') || name.starts_with("LISTEN_") {
            let why = format!(
                "service.env: \"{}\" is no name for a variable, or its value holds a NUL",
                visible(name)
            );
            table.problem_at("env", why);
        }
    }
}

fn check_sockets(table: &Table<'_>, sockets: &[String]) {
    let unique: BTreeSet<&String> = sockets.iter().collect();
    if unique.len() < sockets.len() || sockets.len() > SOCKETS_MAX {
        table.problem_at("sockets", format!("service.sockets: at most {SOCKETS_MAX}, each once"));
    }
    for socket in sockets {
        let path = socket.starts_with('/') && is_inside(&socket[1..]) && socket.len() < 108;
        if !path && !is_address(socket) {
            let why = format!(
                "service.sockets: \"{}\" is no address:port (like 127.0.0.1:8080 or [::]:8080) and no absolute path",
                visible(socket)
            );
            table.problem_at("sockets", why);
        }
    }
}

/// A literal address with a port that is not 0.
fn is_address(text: &str) -> bool {
    text.parse::<std::net::SocketAddr>().is_ok_and(|address| address.port() != 0)
}

fn read_config(root: &Table<'_>) -> BTreeMap<String, ConfigFile> {
    let mut config = BTreeMap::new();
    for (path, table) in root.named_tables("config") {
        let template: Option<String> = table.required("template");
        if !is_inside(&path) || path.split('/').next() == Some(".longshore") {
            table.problem_at(
                "",
                format!(
                    "config.\"{}\": must be a path inside the release, like \"etc/app.toml\"",
                    visible(&path)
                ),
            );
        }
        if let Some(template) = template {
            if !is_inside(&template) {
                table.problem_at(
                    "template",
                    format!("template: \"{}\" must be a path inside the artifact", visible(&template)),
                );
            }
            config.insert(path, ConfigFile { template });
        }
    }
    config
}

fn read_probes(root: &Table<'_>) -> Option<Vec<Probe>> {
    let tables = root.tables("probe");
    let count = tables.len();
    let probes: Vec<Probe> = tables.iter().filter_map(|table| read_probe(table)).collect();
    let names: BTreeSet<&str> = probes.iter().map(|probe| probe.name.as_str()).collect();
    if names.len() < probes.len() {
        root.problem_at("probe", "[[probe]]: each needs a name of its own");
    }
    if count > PROBES_MAX {
        root.problem_at("probe", format!("[[probe]]: at most {PROBES_MAX}"));
    }
    (probes.len() == count).then_some(probes)
}

fn read_probe(table: &Table<'_>) -> Option<Probe> {
    let name: Option<String> = table.required("name");
    let http: Option<String> = table.optional("http");
    let status: Option<u16> = table.optional("status");
    let headers = read_headers(table);
    let tcp: Option<String> = table.optional("tcp");
    let run: Vec<String> = table.list("exec");
    let interval = bounded(table, "interval", PROBE_INTERVAL);
    let timeout = bounded(table, "timeout", PROBE_TIMEOUT);
    let healthy_for = table.or("healthy_for", PROBE_HEALTHY_FOR);
    let deadline = bounded(table, "deadline", PROBE_DEADLINE);
    let kind = table.one_of(&["http", "tcp", "exec"]);
    if name.as_ref().is_some_and(|name| !is_name(name)) {
        table.problem_at("name", "probe.name: use 1-63 of a-z 0-9 \"-\", starting with a letter");
    }
    if healthy_for >= deadline {
        table.problem_at(
            "deadline",
            format!("probe.deadline: {deadline} leaves no time to be healthy for {healthy_for}"),
        );
    }
    let check = match kind? {
        "http" => {
            let url = http?;
            if !is_http_url(&sides::sample(&url)) {
                let why = format!(
                    "probe.http: \"{}\" is no URL like http://127.0.0.1:8080/healthz (https is not probed)",
                    visible(&url)
                );
                table.problem_at("http", why);
            }
            if status.is_some_and(|status| !(100..=599).contains(&status)) {
                table.problem_at("status", "probe.status: a status is from 100 to 599");
            }
            Check::Http { url, status, headers }
        }
        "tcp" => {
            let address = tcp?;
            if !is_address(&sides::sample(&address)) {
                table.problem_at("tcp", format!("probe.tcp: \"{}\" is no address:port", visible(&address)));
            }
            Check::Tcp { address }
        }
        _ => {
            check_command(table, "exec", &run);
            Check::Exec { run }
        }
    };
    Some(Probe { name: name?, check, interval, timeout, healthy_for, deadline })
}

fn read_headers(table: &Table<'_>) -> Headers {
    let headers = Headers::read(table, "probe.headers");
    if table.has("headers") && !table.has("http") {
        table.problem_at("headers", "probe.headers: only a probe with \"http\" sends any");
    }
    if headers.iter().any(|(_, value)| sides::has_placeholder(value)) {
        let why = "probe.headers: {side}, {listen} and {port} are not written out here; without a Host of its own the \
                   server is told the address of the side";
        table.problem_at("headers", why);
    }
    headers
}

/// `http://` with a host, an optional port and a path of printable ASCII.
fn is_http_url(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let authority = rest.split('/').next().unwrap_or_default();
    let port = match authority.rsplit_once(':') {
        Some((_, port)) if !port.ends_with(']') => port.parse::<u16>().is_ok_and(|port| port > 0),
        _ => true,
    };
    !authority.is_empty()
        && !authority.contains('@')
        && port
        && url.len() <= 1024
        && url.bytes().all(|b| b.is_ascii_graphic())
}

fn read_hooks(root: &Table<'_>) -> Hooks {
    let hooks = root.table("hooks");
    Hooks {
        before_switch: read_hook(&hooks, "before_switch"),
        after_switch: read_hook(&hooks, "after_switch"),
        after_healthy: read_hook(&hooks, "after_healthy"),
        before_stop: read_hook(&hooks, "before_stop"),
    }
}

fn read_hook(hooks: &Table<'_>, key: &str) -> Option<Hook> {
    let table = hooks.table(key);
    if !table.is_present() {
        return None;
    }
    let run: Vec<String> = table.list("run");
    let timeout = bounded(&table, "timeout", HOOK_TIMEOUT);
    check_command(&table, "run", &run);
    Some(Hook { run, timeout })
}

#[cfg(test)]
mod edges;
#[cfg(test)]
mod tests;
