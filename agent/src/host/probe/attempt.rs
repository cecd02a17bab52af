//! One attempt of one probe.

use longshore_common::{
    ids::AppName,
    manifest::{Check, Probe},
};
use std::{net::Ipv4Addr, path::PathBuf};
use tokio::time::timeout;

use super::Reach;
use crate::{
    host::{
        evidence::LastLines,
        keeper::{Keeper, Kind},
        launch::LaunchSpec,
        tree::Ended,
    },
    supply::Supply,
};

/// Where and as whom probes look.
#[derive(Clone, Debug)]
pub struct Scene {
    pub app: AppName,
    pub keeper: Keeper,
    /// Who looks at what is on the network.
    pub supply: Supply,
    /// Probes that are programs run in it.
    pub slot: PathBuf,
    pub user: Option<String>,
    pub env: std::collections::BTreeMap<String, String>,
    /// What 127.0.0.1 means, where several agents share a machine.
    pub own_loopback: Option<Ipv4Addr>,
}

/// The error is one short sentence.
pub async fn once(probe: &Probe, scene: &Scene) -> Result<(), String> {
    if let Check::Exec { run } = &probe.check {
        return exec(run, probe, scene).await;
    }
    let Some(reach) = Reach::of(&probe.check, scene.own_loopback) else {
        return Err("this version does not know how to look".to_owned());
    };
    let looked = timeout(probe.timeout.0, scene.supply.reach(reach)).await;
    looked.unwrap_or_else(|_| Err(format!("no answer within {}", probe.timeout)))
}

async fn exec(run: &[String], probe: &Probe, scene: &Scene) -> Result<(), String> {
    let mut spec =
        LaunchSpec::of(run, &scene.slot, scene.user.as_deref()).map_err(|fault| fault.to_string())?;
    spec.env.extend(scene.env.clone());
    let mut lines = LastLines::default();
    let each = |_, line: String| lines.push(&line);
    let kind = Kind::Probe(&probe.name);
    let ended = scene.keeper.run(&scene.app, kind, &spec, probe.timeout.0, each).await;
    let ended = ended.map_err(|fault| fault.to_string())?;
    let said = lines.last().map_or(String::new(), |line| format!(": {line}"));
    match ended {
        Ended::Exit(0) => Ok(()),
        Ended::TimedOut => Err(format!("did not end within {}{said}", probe.timeout)),
        Ended::Exit(_) | Ended::Signal(_) => Err(format!("{ended}{said}")),
    }
}
