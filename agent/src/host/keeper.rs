//! Who keeps the processes of a release's own programs together, its hooks, tests and probes: systemd, each in a
//! transient unit, where it runs this machine; else a subreaper of ours. None of them is a child of this process.

use std::time::Duration;

use longshore_common::ids::AppName;

use super::{
    Stream,
    launch::{Fault, LaunchSpec},
    reexec::SelfExec,
    systemd::{Bus, transient},
    tree::{self, Ended},
};

#[derive(Clone, Debug)]
pub enum Keeper {
    /// A subreaper.
    Tree(SelfExec),
    /// Transient units.
    Systemd(Bus),
}

/// What a program is of an app. One of a kind runs at a time: what a process of ours that died left running is found by
/// its name and stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    Hook,
    Test,
    /// By its name.
    Probe(&'a str),
}

impl Keeper {
    /// Runs it to its end or for `limit`, and gives every line to `each` as it comes. Dropped half way, all that it
    /// started is killed.
    pub async fn run(
        &self,
        app: &AppName,
        kind: Kind<'_>,
        spec: &LaunchSpec,
        limit: Duration,
        each: impl FnMut(Stream, String),
    ) -> Result<Ended, Fault> {
        match self {
            Keeper::Tree(me) => tree::run(me, spec, limit, each).await,
            Keeper::Systemd(bus) => {
                let unit = match kind {
                    Kind::Hook => transient::Unit::of_app(format!("longshore-hook.{app}.service"), "hook"),
                    Kind::Test => transient::Unit::of_app(format!("longshore-test.{app}.service"), "test"),
                    Kind::Probe(name) => {
                        transient::Unit::of_app(format!("longshore-probe.{app}.{name}.service"), "probe")
                    }
                };
                transient::run(bus, &unit, spec, limit, each).await
            }
        }
    }
}
