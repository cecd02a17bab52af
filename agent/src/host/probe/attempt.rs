//! One attempt of one probe.

use longshore_common::{
    loopback::on_own_loopback,
    manifest::{Check, Probe},
};
use std::{net::Ipv4Addr, path::PathBuf};
use tokio::{net::TcpStream, time::timeout};

use super::http;
use crate::host::{
    evidence::LastLines,
    launch::LaunchSpec,
    reexec::SelfExec,
    tree::{self, Ended},
};

/// Where and as whom probes look.
#[derive(Clone, Debug)]
pub struct Scene {
    pub me: SelfExec,
    /// Probes that are programs run in it.
    pub slot: PathBuf,
    pub user: Option<String>,
    pub env: std::collections::BTreeMap<String, String>,
    /// What 127.0.0.1 means, where several agents share a machine.
    pub own_loopback: Option<Ipv4Addr>,
}

/// The error is one short sentence.
pub async fn once(probe: &Probe, scene: &Scene) -> Result<(), String> {
    let here =
        |address: &str| scene.own_loopback.map_or(address.to_owned(), |own| on_own_loopback(address, own));
    let limit = probe.timeout.0;
    let late = || format!("no answer within {}", probe.timeout);
    match &probe.check {
        Check::Http { url, status } => {
            timeout(limit, http::get(&here(url), *status)).await.map_err(|_| late())?
        }
        Check::Tcp { address } => {
            let address = here(address);
            let connected = timeout(limit, TcpStream::connect(&address)).await.map_err(|_| late())?;
            connected.map(drop).map_err(|e| format!("connect to {address}: {e}"))
        }
        Check::Exec { run } => exec(run, probe, scene).await,
    }
}

async fn exec(run: &[String], probe: &Probe, scene: &Scene) -> Result<(), String> {
    let mut spec =
        LaunchSpec::of(run, &scene.slot, scene.user.as_deref()).map_err(|fault| fault.to_string())?;
    spec.env.extend(scene.env.clone());
    let mut lines = LastLines::default();
    let each = |_, line: String| lines.push(&line);
    let ended =
        tree::run(&scene.me, &spec, probe.timeout.0, each).await.map_err(|fault| fault.to_string())?;
    let said = lines.last().map_or(String::new(), |line| format!(": {line}"));
    match ended {
        Ended::Exit(0) => Ok(()),
        Ended::TimedOut => Err(format!("did not end within {}{said}", probe.timeout)),
        Ended::Exit(_) | Ended::Signal(_) => Err(format!("{ended}{said}")),
    }
}
