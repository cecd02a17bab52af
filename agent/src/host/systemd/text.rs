//! The text of units, made from typed fields and never from text of others.
//!
//! Every value is quoted or escaped, so that none can begin a line, a second command, a specifier (`%`), a variable
//! (`$`) or an `ExecStart` prefix (`@ - : + !`): programs are absolute paths in quotes.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use longshore_common::{
    code::Code,
    digest::{hex, sha256},
    ids::AppName,
    manifest::{Manifest, Service},
    report::{Failure, StepName},
    text::visible,
};

use crate::host::{
    account::Account,
    fault,
    launch::program_path,
    layout::{ENVIRONMENT, Layout, META, Part},
};

/// Between a crash and the next start.
const RESTART_SEC: &str = "1s";
/// What connections may wait while the app is replaced; the kernel cuts it to net.core.somaxconn.
const BACKLOG: u32 = 4096;

pub fn service_name(app: &AppName, part: Part) -> String {
    format!("longshore-{app}{}.service", part.suffix())
}

pub fn socket_name(app: &AppName, part: Part) -> String {
    format!("longshore-{app}{}.socket", part.suffix())
}

/// Only what is worth keeping from an app, breaks none that a unit file of its own would have run, and costs little at
/// every start.
///
/// Not what the modes of files say already: an app with a user of its own can write neither where `ProtectSystem` nor
/// where `ProtectKernelTunables`, `-Modules` and `ProtectControlGroups` would deny it, and with `NoNewPrivileges` it does
/// not become somebody else. The mounts of the last three doubled a restart (one host: 70 ms with them, 38 without; twenty
/// on two cores: 0.95 s and 0.40 s), which is downtime where no socket is held; nearly half of what was left of systemd's
/// preparing a start went to `ProtectSystem`. An app that runs as root gets them all: [`OF_ROOT`].
const HARDENING: &str = "\
NoNewPrivileges=yes
CapabilityBoundingSet=~CAP_SYS_MODULE
PrivateTmp=yes
RestrictSUIDSGID=yes
RestrictRealtime=yes
LockPersonality=yes
UMask=0022
";

/// What only root could do.
const OF_ROOT: &str = "\
ProtectSystem=full
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
";

/// The service unit of an app.
///
/// It is the same for every slot that runs in the same way: the slot is found through a link of the app's, with its
/// program and its environment, so that moving from release to release needs no reload of all of systemd's units,
/// which costs more than the restart itself. The link's name is a digest of the unit: another unit has another link,
/// and so words of one release never meet the files of another.
pub struct ServiceUnit {
    pub text: String,
    pub link: PathBuf,
}

pub fn service(layout: &Layout, manifest: &Manifest, part: Part) -> Result<ServiceUnit, Failure> {
    let links = layout.unit_links(&manifest.app, part);
    let text = service_through(&links.join("0"), manifest, part)?;
    let link = links.join(hex(&sha256(text.as_bytes())[..4]));
    Ok(ServiceUnit { text: service_through(&link, manifest, part)?, link })
}

fn service_through(path: &Path, manifest: &Manifest, part: Part) -> Result<String, Failure> {
    let app = &manifest.app;
    let service = &manifest.service;
    let user = service.user.as_deref().ok_or_else(|| {
        refuse("the systemd driver needs a user; to run as root, say service.user = \"root\"")
    })?;
    let link = folder_path(path)?;
    let mut text = String::new();
    let mut line = |words: std::fmt::Arguments<'_>| {
        writeln!(text, "{words}").expect("writing into a string");
    };
    line(format_args!(
        "# Written by longshore-agent, which overwrites it when a release of {app} needs another."
    ));
    line(format_args!(
        "# Settings of your own belong in a drop-in: systemctl edit {}",
        service_name(app, part)
    ));
    line(format_args!("[Unit]\nDescription={app} (deployed by Longshore)"));
    line(format_args!("Wants=network-online.target\nAfter=network-online.target"));
    // A revert may follow at once and must not be counted; crashes are paced by RestartSec.
    line(format_args!("StartLimitIntervalSec=0"));
    line(format_args!("\n[Service]\nType=exec"));
    line(format_args!("User={}", plain_word("service.user", user)?));
    line(format_args!("WorkingDirectory={link}"));
    line(format_args!("EnvironmentFile={link}/{META}/{ENVIRONMENT}"));
    // What differs between sides is not in the slot's file; what is in both is the same in both.
    let own = match part {
        Part::Side(_) => manifest.service.env.clone(),
        Part::Whole | Part::Relay => Default::default(),
    };
    for (name, value) in own {
        line(format_args!("Environment={}", quote(&format!("{name}={value}"))?));
    }
    line(format_args!("ExecStart={}", command(service, path)?));
    if !service.sockets.is_empty() {
        line(format_args!("Sockets={}", socket_name(app, part)));
    }
    line(format_args!("KillMode=control-group"));
    line(format_args!("KillSignal={}", plain_word("service.stop.signal", &service.stop.signal)?));
    line(format_args!("TimeoutStopSec={}ms", service.stop.grace.as_ms()));
    line(format_args!("TimeoutStartSec={}ms", service.start_timeout.as_ms()));
    line(format_args!("Restart=on-failure\nRestartSec={RESTART_SEC}"));
    let of_root = if Account::is_root(user) { OF_ROOT } else { "" };
    line(format_args!("{HARDENING}{of_root}\n[Install]\nWantedBy=multi-user.target"));
    Ok(text)
}

/// The socket unit, which stays up while the service is replaced. None when the app has no sockets.
pub fn socket(manifest: &Manifest) -> Result<Option<String>, Failure> {
    let app = &manifest.app;
    if manifest.service.sockets.is_empty() {
        return Ok(None);
    }
    let mut text = format!(
        "# Written by longshore-agent, which overwrites it at every deployment of {app}.\n\
         [Unit]\nDescription=Sockets of {app} (deployed by Longshore)\n\n[Socket]\n"
    );
    for address in &manifest.service.sockets {
        let address = plain_path_or_address(address)?;
        writeln!(text, "ListenStream={address}").expect("writing into a string");
    }
    write!(
        text,
        "Service={}\nFileDescriptorName=longshore\nBacklog={BACKLOG}\n\n[Install]\nWantedBy=sockets.target\n",
        service_name(app, Part::Whole)
    )
    .expect("writing into a string");
    Ok(Some(text))
}

/// A program of the release is started through the link and is told its name as it is from its own folder, which
/// stays the same one when the link moves on. (`@`: the word after the path is what the program is told.)
fn command(service: &Service, link: &Path) -> Result<String, Failure> {
    let (program, args) =
        service.exec.split_first().ok_or_else(|| refuse("service.exec names no program"))?;
    let path = program_path(program, link);
    let path = path.to_str().filter(|path| path.starts_with('/'));
    let path = path.ok_or_else(|| refuse("service.exec names no program by a path"))?;
    let mut words = quote(&format!("@{path}"))?;
    for word in std::iter::once(program).chain(args) {
        words.push(' ');
        words.push_str(&quote(word)?.replace('$', "$$"));
    }
    Ok(words)
}

/// In double quotes, C-escaped, without specifiers.
fn quote(text: &str) -> Result<String, Failure> {
    if text.contains('\0') {
        return Err(refuse("a NUL cannot be in a unit"));
    }
    Ok(format!("\"{}\"", escape(text)))
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '%' => escaped.push_str("%%"),
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str("\\n"),
            '\t' => escaped.push_str("\\t"),
            '\r' => escaped.push_str("\\r"),
            c if c.is_control() => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    write!(escaped, "\\x{byte:02x}").expect("writing into a string");
                }
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// Not quoted by systemd's rules: the rest of the line is the path.
fn folder_path(folder: &Path) -> Result<String, Failure> {
    let text = folder.to_str().filter(|text| visible(text) == *text && !text.contains('\\'));
    text.map(|text| text.replace('%', "%%")).ok_or_else(|| refuse("the slot's path is not plain text"))
}

fn plain_word<'a>(what: &str, text: &'a str) -> Result<&'a str, Failure> {
    let plain = !text.is_empty()
        && text.len() <= 64
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if plain { Ok(text) } else { Err(refuse(format!("{what} \"{}\" is no plain word", visible(text)))) }
}

fn plain_path_or_address(text: &str) -> Result<String, Failure> {
    let address = text.parse::<std::net::SocketAddr>().is_ok();
    let path =
        text.starts_with('/') && !text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\');
    if address || path {
        return Ok(text.replace('%', "%%"));
    }
    Err(refuse(format!("service.sockets: \"{}\" is no address:port and no path", visible(text))))
}

fn refuse(words: impl Into<String>) -> Failure {
    fault::version(Code::V01, StepName::Start, words)
}

#[cfg(test)]
mod tests;
