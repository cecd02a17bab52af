//! `release withdraw`: what is so now, and what is left to do.

use longshore_common::text::visible;
use longshore_proto::v1 as pb;
use serde::Serialize;

use super::release::Release;
use crate::cli::{
    moment::count,
    output::{Page, View},
    signing::Overtaken,
    style::Ink,
};

#[derive(Clone, Debug, Serialize)]
pub struct Withdrawn {
    #[serde(flatten)]
    pub release: Release,
    /// Which signatures are missing to take it off the list, if any: until then hosts take it.
    pub waiting: Option<String>,
    /// What others had signed for its place: it does not count any more.
    pub overtaken: Vec<Overtaken>,
    /// Absent where nothing is signed, or signatures are missing.
    pub heard: Option<Heard>,
    /// Rollouts that were putting it on hosts.
    pub stopped: Vec<Stopped>,
    /// Where hosts run it, by their last reports.
    pub live: Vec<Live>,
}

/// Hosts that had the app signed before, and whether they know.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Heard {
    pub hosts: u32,
    /// Names of those that did not answer, or did not get the new list.
    pub behind: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Stopped {
    pub rollout: String,
    pub env: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Live {
    pub env: String,
    pub hosts: u32,
}

impl From<pb::Rollout> for Stopped {
    fn from(rollout: pb::Rollout) -> Self {
        Self { rollout: rollout.id, env: rollout.env }
    }
}

impl From<pb::ReleaseOnHosts> for Live {
    fn from(pb::ReleaseOnHosts { env, hosts }: pb::ReleaseOnHosts) -> Self {
        Self { env, hosts }
    }
}

impl View for Withdrawn {
    const SCHEMA: &'static str = "longshore.cli.release/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let mut facts = self.release.facts(page);
        if let Some(Heard { hosts, behind }) = &self.heard {
            let behind = match behind.is_empty() {
                true => String::new(),
                false => format!("; not yet, and when they return: {}", behind.join(", ")),
            };
            facts.add("told", visible(&format!("{}{behind}", count(*hosts as usize, "host"))));
        }
        for Stopped { rollout, env } in &self.stopped {
            let id = rollout.get(..13).unwrap_or(rollout);
            facts.add(
                "stopped",
                visible(&format!("the rollout to {env}; put hosts back: longshore rollout abort {id}")),
            );
        }
        for Live { env, hosts } in &self.live {
            let app = &self.release.app;
            let back = match self.stopped.iter().any(|stopped| stopped.env == *env) {
                true => String::new(),
                false => format!("; go back: longshore rollout rollback {app} --to {env}"),
            };
            facts.add("runs", visible(&format!("in {env} on {}{back}", count(*hosts as usize, "host"))));
        }
        let mut lines = facts.lines(page.style);
        if let Some(waiting) = &self.waiting {
            let name = self.release.name();
            let head =
                format!("{name} is withdrawn, and still signed: more keys have to take it off the list");
            lines.push(page.style.paint(Ink::Warn, &head));
            lines.push(format!("  {}", visible(waiting)));
        }
        lines.extend(self.overtaken.iter().map(|other| other.line(page.style)));
        lines
    }
}
