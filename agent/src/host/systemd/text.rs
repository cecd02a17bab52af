//! The text of units, made from typed fields and never from text of others.
//!
//! Every value is quoted or escaped, so that none can begin a line, a second command, a specifier (`%`), a variable
//! (`$`) or an `ExecStart` prefix (`@ - : + !`): programs are absolute paths in quotes.

use std::{fmt::Write as _, path::Path};

use longshore_common::{
    code::Code,
    ids::AppName,
    manifest::{Manifest, Service},
    report::{Failure, StepName},
    slot::Slot,
    text::visible,
};

use crate::host::{environment::variables, fault, launch::program_path, layout::Layout};

/// Between a crash and the next start.
const RESTART_SEC: &str = "1s";
/// What connections may wait while the app is replaced; the kernel cuts it to net.core.somaxconn.
const BACKLOG: u32 = 4096;

pub fn service_name(app: &AppName) -> String {
    format!("longshore-{app}.service")
}

pub fn socket_name(app: &AppName) -> String {
    format!("longshore-{app}.socket")
}

/// Only what is worth keeping from an app and breaks none that a unit file of its own would have run.
const HARDENING: &str = "\
NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=full
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes
RestrictRealtime=yes
LockPersonality=yes
UMask=0022
";

/// The service unit of one slot. `previous` ran before it, and runs until the restart is done.
pub fn service(
    layout: &Layout,
    manifest: &Manifest,
    slot: &Slot,
    previous: Option<&Slot>,
) -> Result<String, Failure> {
    let app = &manifest.app;
    let service = &manifest.service;
    let folder = layout.slot(app, slot);
    let user = service.user.as_deref().ok_or_else(|| {
        refuse("the systemd driver needs a user; to run as root, say service.user = \"root\"")
    })?;
    let mut text = String::new();
    let mut line = |words: std::fmt::Arguments<'_>| {
        writeln!(text, "{words}").expect("writing into a string");
    };
    line(format_args!("# Written by longshore-agent, which overwrites it at every deployment of {app}."));
    line(format_args!("# Settings of your own belong in a drop-in: systemctl edit {}", service_name(app)));
    line(format_args!("[Unit]"));
    line(format_args!("Description={app} {} (deployed by Longshore)", escape(manifest.version.as_str())));
    line(format_args!("Wants=network-online.target\nAfter=network-online.target"));
    // A revert may follow at once and must not be counted; crashes are paced by RestartSec.
    line(format_args!("StartLimitIntervalSec=0"));
    line(format_args!("X-Longshore-Slot={slot}"));
    if let Some(previous) = previous.filter(|previous| *previous != slot) {
        line(format_args!("X-Longshore-Previous={previous}"));
    }
    line(format_args!("\n[Service]\nType=exec"));
    line(format_args!("User={}", plain_word("service.user", user)?));
    line(format_args!("WorkingDirectory={}", folder_path(&folder)?));
    line(format_args!("ExecStart={}", command(service, &folder)?));
    for (name, value) in variables(layout, manifest, slot, previous) {
        line(format_args!("Environment={}", assignment(&name, &value)?));
    }
    if !service.sockets.is_empty() {
        line(format_args!("Sockets={}", socket_name(app)));
    }
    line(format_args!("KillMode=control-group"));
    line(format_args!("KillSignal={}", plain_word("service.stop.signal", &service.stop.signal)?));
    line(format_args!("TimeoutStopSec={}ms", service.stop.grace.as_ms()));
    line(format_args!("TimeoutStartSec={}ms", service.start_timeout.as_ms()));
    line(format_args!("Restart=on-failure\nRestartSec={RESTART_SEC}"));
    line(format_args!("{HARDENING}\n[Install]\nWantedBy=multi-user.target"));
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
        service_name(app)
    )
    .expect("writing into a string");
    Ok(Some(text))
}

/// The value of a key in a unit that was written here.
pub fn mark<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

fn command(service: &Service, folder: &Path) -> Result<String, Failure> {
    let (program, args) =
        service.exec.split_first().ok_or_else(|| refuse("service.exec names no program"))?;
    let program = program_path(program, folder);
    let program = program.to_str().filter(|path| path.starts_with('/'));
    let program = program.ok_or_else(|| refuse("service.exec names no program by a path"))?;
    let mut words = quote(program)?;
    for arg in args {
        words.push(' ');
        words.push_str(&quote(arg)?.replace('$', "$$"));
    }
    Ok(words)
}

/// `"NAME=value"`. Nothing is substituted in it but specifiers, which are escaped.
fn assignment(name: &str, value: &str) -> Result<String, Failure> {
    let sound = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !sound {
        return Err(refuse(format!("\"{}\" is no name for a variable", visible(name))));
    }
    quote(&format!("{name}={value}"))
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
