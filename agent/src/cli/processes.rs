//! `longshore-agent processes`: one process or two.

use longshore_common::code::{Code, Coded};

use super::{
    Exit,
    args::{Args, Output, Processes},
    say::say,
};
use crate::{
    config::{Config, Processes as Division},
    helper::{divide, unite},
};

pub fn processes(args: &Args, wanted: Processes) -> Result<Exit, Coded> {
    let file = args.config_file();
    let before = Config::load(&file, &args.root)?.processes;
    let Some(division) = wanted.wanted else {
        tell(args.output, before, false);
        return Ok(Exit::Done);
    };
    if !rustix::process::geteuid().is_root() {
        return Err(Coded::new(Code::C02, "only root may do this. Nothing was changed. Try with sudo"));
    }
    let changed = match division {
        Division::Two => divide(&file, &args.root, &wanted.user)?,
        Division::One => unite(&file, &args.root)?,
    };
    tell(args.output, division, changed);
    Ok(if changed { Exit::Done } else { Exit::NothingToDo })
}

fn tell(output: Output, division: Division, changed: bool) {
    let count = division.as_str();
    match (output, changed) {
        (Output::Json, _) => {
            let said = serde_json::json!({
                "schema": "longshore.agent.processes/1",
                "processes": count,
                "changed": changed,
            });
            say!("{said}");
        }
        (Output::Table, false) => say!("processes: {count}"),
        (Output::Table, true) if division == Division::Two => {
            say!(
                "processes: two from the next start on. Next: systemctl enable --now longshore-helper.socket && \
                  systemctl restart longshore-agent, with the units of both"
            );
        }
        (Output::Table, true) => {
            say!(
                "processes: one from the next start on. Next: systemctl disable --now longshore-helper.socket, and \
                  longshore-agent-single.service in the place of longshore-agent.service"
            );
        }
    }
}
