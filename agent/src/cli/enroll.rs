//! `longshore-agent enroll`.

use std::path::{Path, PathBuf};

use longshore_common::{
    chain::Chain,
    code::{Code, Coded},
    durable::{create_dir_durable, write_atomic},
    ids::HostName,
    label::Labels,
    regular::{self, Links},
    text::visible,
    time::{Clock as _, SystemClock, rounded},
};

use rustix::fs::Access;

use super::{
    Exit,
    args::{Args, Enroll, Output},
    run::runtime,
    say::say,
    show::at,
    token,
};
use crate::{
    config::{Config, Processes},
    helper::{AGENT_USER, own},
    identity::{Again, Enrolling, Joined, enroll as enrol_at},
    trust::PinFile,
};

/// More than any unit of ours, and its changes by an admin, has.
const UNIT_BYTES: usize = 64 * 1024;

pub fn enroll(args: &Args, wanted: Enroll) -> Result<Exit, Coded> {
    let token = match (&wanted.token, &wanted.token_file) {
        (Some(token), _) => return Err(token::hide(token)),
        (None, Some(file)) => token::read(file)?,
        (None, None) => unreachable!("the command line asks for one of the two"),
    };
    let mut config = Config::load_if_there(&args.config_file(), &args.root)?;
    config.labels = wanted.labels.into_iter().collect::<Labels>();
    config.driver = wanted.driver.or(config.driver);
    let enrolling = Enrolling {
        server: wanted.server,
        token,
        name: wanted.name.map_or_else(own_name, Ok)?,
        labels: config.labels.clone(),
        folder: config.identity(),
        vault: config.vault(),
        again: if wanted.again { Again::Replace } else { Again::Refuse },
    };
    may_enrol(&config)?;
    create_dir_durable(&config.data(), 0o755).map_err(|e| Coded::new(e.code(), Chain(&e).to_string()))?;
    let pins =
        enrolling.token.root.is_some() || PinFile::within(&config.vault()).load()?.root_sha256.is_some();
    let joined = runtime().block_on(enrol_at(&enrolling))?;
    own(&config, AGENT_USER)?;
    config.controllers.clone_from(&joined.controllers);
    let file = args.config_file();
    let written = write_config(&config, &file)?;
    tell(args, &joined, &config, Told { file, written, pins, again: enrolling.again });
    Ok(Exit::Done)
}

/// Asked before anything is tried, so that whoever may not hears that and not which file could not be written.
fn may_enrol(config: &Config) -> Result<(), Coded> {
    let (identity, vault) = (config.identity(), config.vault());
    for wanted in [&identity, &vault] {
        let there = wanted.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
        if rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK).is_err() {
            let message = format!(
                "{} may not be written by this user: only root enrols this host. Nothing was changed. Try with sudo, or \
                 as another user with a folder of its own: --root DIR",
                there.display()
            );
            return Err(Coded::new(Code::C02, message));
        }
    }
    Ok(())
}

/// Whether there was none before: what an admin wrote is left as it is.
fn write_config(config: &Config, file: &Path) -> Result<bool, Coded> {
    if file.exists() {
        return Ok(false);
    }
    write_config_file(config, file).map(|()| true)
}

/// Makes the folder as well.
pub fn write_config_file(config: &Config, file: &Path) -> Result<(), Coded> {
    let trouble = |e: longshore_common::durable::DurableError| Coded::new(e.code(), Chain(&e).to_string());
    if let Some(dir) = file.parent() {
        create_dir_durable(dir, 0o755).map_err(trouble)?;
    }
    write_atomic(file, config.to_toml().as_bytes(), 0o644).map_err(trouble)
}

fn own_name() -> Result<HostName, Coded> {
    rustix::system::uname().nodename().to_string_lossy().parse()
}

/// What was done beside the exchange.
struct Told {
    file: PathBuf,
    /// It was not there.
    written: bool,
    /// A root is pinned.
    pins: bool,
    again: Again,
}

fn tell(args: &Args, joined: &Joined, config: &Config, told: Told) {
    let Told { file, written, pins, again } = told;
    let Joined { host, name, controllers, expires_ms, fingerprint, waits, was } = joined;
    match args.output {
        Output::Table => {
            let left = rounded(expires_ms - SystemClock.now_ms());
            say!(
                "enrolled as {} ({host}); the certificate is good for {left} and renews itself",
                visible(name)
            );
            let (file, list) = (file.display(), controllers.join(", "));
            if written {
                say!("wrote {file}: controllers {}", visible(&list));
            } else {
                say!("{file} was there already and is as it was; the controllers are {}", visible(&list));
            }
            if !pins {
                say!("UNSIGNED: the token pins no root, so this host runs whatever the controller says");
            }
            say!("key {fingerprint}");
            if *waits {
                say!(
                    "an operator has to let this host in: compare the key, then longshore host admit {}",
                    visible(name)
                );
            }
            if let Some((id, name)) = was {
                say!(
                    "until now it was {} ({id}): if longshore host list still has that and no other machine is that host, \
                     longshore host remove {id}",
                    visible(name)
                );
            }
            say!("{}", next(args, config, again));
        }
        Output::Json => {
            let said = serde_json::json!({
                "schema": "longshore.agent.enrolled/1",
                "host": host.to_string(),
                "name": name,
                "controllers": controllers,
                "certificate_expires_at": at(*expires_ms),
                "config": file,
                "config_written": written,
                "signed": pins,
                "key": fingerprint,
                "waits": waits,
                "was": was.as_ref().map(|(id, _)| id.to_string()),
            });
            say!("{said}");
        }
    }
}

/// Whoever runs already is who it was until it starts anew.
fn next(args: &Args, config: &Config, again: Again) -> String {
    match (again, args.is_of_this_machine()) {
        (Again::Refuse, true) => format!("next: {}", begin(config.processes, installed_unit().as_deref())),
        (Again::Refuse, false) => format!("next: longshore-agent --root {} run", args.root.display()),
        (Again::Replace, true) => {
            let helper = if config.processes == Processes::Two { " longshore-helper" } else { "" };
            format!("next: systemctl restart{helper} longshore-agent; until then it is who it was")
        }
        (Again::Replace, false) => format!(
            "next: longshore-agent --root {} run, in place of the one that runs there, which is who it was",
            args.root.display()
        ),
    }
}

/// The agent's unit, from the first of systemd's folders that has it.
fn installed_unit() -> Option<String> {
    let folders = ["/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system"];
    folders.into_iter().find_map(|folder| {
        let unit = Path::new(folder).join("longshore-agent.service");
        regular::read_text(&unit, UNIT_BYTES, Links::Followed).ok()
    })
}

/// How it is started for the first time, by which unit is installed: the one for two processes has no privileges, and is
/// of no use until the identity is its own.
fn begin(processes: Processes, unit: Option<&str>) -> &'static str {
    let for_two = |unit: &str| unit.lines().any(|line| line.strip_prefix("User=") == Some(AGENT_USER));
    match (unit.map(for_two), processes) {
        (Some(true), Processes::One) => {
            "longshore-agent processes two && systemctl enable --now longshore-helper.socket longshore-agent"
        }
        (Some(true), Processes::Two) => "systemctl enable --now longshore-helper.socket longshore-agent",
        (Some(false), Processes::One) => "systemctl enable --now longshore-agent",
        (Some(false), Processes::Two) => {
            "longshore-agent processes one && systemctl enable --now longshore-agent"
        }
        (None, Processes::One | Processes::Two) => {
            "longshore-agent run, by whatever starts services here: no unit of it is installed"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the units as they are delivered.
    #[test]
    fn the_next_step_is_the_one_for_what_is_installed() {
        let two = include_str!("../../../deploy/systemd/longshore-agent.service");
        let single = include_str!("../../../deploy/systemd/longshore-agent-single.service");
        for (unit, processes, next) in [
            (
                Some(two),
                Processes::One,
                "longshore-agent processes two && systemctl enable --now longshore-helper.socket longshore-agent",
            ),
            (Some(two), Processes::Two, "systemctl enable --now longshore-helper.socket longshore-agent"),
            (Some(single), Processes::One, "systemctl enable --now longshore-agent"),
            (
                Some(single),
                Processes::Two,
                "longshore-agent processes one && systemctl enable --now longshore-agent",
            ),
            (
                None,
                Processes::One,
                "longshore-agent run, by whatever starts services here: no unit of it is installed",
            ),
        ] {
            assert_eq!(begin(processes, unit), next);
        }
    }
}
