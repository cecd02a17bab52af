//! `status`, and how a controller was reached.

use longshore_common::text::visible;
use longshore_proto::v1 as pb;
use serde::Serialize;

use super::short;
use crate::cli::{
    moment::{Moment, count},
    output::{Page, View},
    table::Facts,
};

#[derive(Clone, Debug, Serialize)]
pub struct Status {
    pub context: String,
    pub address: String,
    pub version: String,
    pub time: Moment,
    pub revision: u64,
    pub hosts: u32,
    pub connected: u32,
    pub active_rollouts: u32,
    /// Notices that could not be told to somebody, and are not tried any more.
    pub dead_notices: u32,
    /// Notices that are still to be told: just made, or tried in vain so far.
    pub waiting_notices: u32,
    /// Rollouts that are to begin later, the first to begin first.
    pub scheduled: Vec<Scheduled>,
    pub round_trip_ms: u64,
    /// The one that signs first; more than one while the CA is rotated.
    pub roots: Vec<Root>,
    /// What of the signed documents has run out, or is about to, with who renews it and how.
    pub running_out: Vec<String>,
}

/// A rollout that is to begin later, or waits in line since then.
#[derive(Clone, Debug, Serialize)]
pub struct Scheduled {
    pub rollout: String,
    pub app: String,
    pub version: String,
    pub env: String,
    pub by: String,
    pub at: Moment,
}

impl From<pb::Scheduled> for Scheduled {
    fn from(row: pb::Scheduled) -> Self {
        let pb::Scheduled { rollout, app, version, env, by, at_ms } = row;
        Self { rollout, app, version, env, by, at: Moment(at_ms) }
    }
}

impl Scheduled {
    fn sentence(&self, page: &Page) -> String {
        let Self { rollout, app, version, env, by, at } = self;
        let short = short(rollout);
        let when = match at.0 > page.now.0 {
            true => format!("begins {} (rollout {short})", at.relative(page.now)),
            false => format!("waits in line: longshore rollout explain {short}"),
        };
        visible(&format!("{app}@{version} to {env} by {by} {when}"))
    }
}

/// A root of the controller's CA, and who needs it.
#[derive(Clone, Debug, Serialize)]
pub struct Root {
    pub sha256: String,
    pub expires_at: Moment,
    pub signs: bool,
    pub hosts: u32,
    /// Some of them.
    pub host_names: Vec<String>,
    pub operators: Vec<String>,
    pub tokens: u32,
}

impl From<pb::Root> for Root {
    fn from(root: pb::Root) -> Self {
        let pb::Root { sha256, expires_ms, signs, hosts, host_names, operators, tokens } = root;
        Self { sha256, expires_at: Moment(expires_ms), signs, hosts, host_names, operators, tokens }
    }
}

impl Root {
    /// Who has not renewed under the newer one.
    fn needed_by(&self) -> String {
        let mut parts = vec![];
        if self.hosts > 0 {
            parts.push(format!("{} ({})", count(self.hosts as usize, "host"), self.host_names.join(", ")));
        }
        if !self.operators.is_empty() {
            let operators = count(self.operators.len(), "operator");
            parts.push(format!("{operators} ({}: longshore login)", self.operators.join(", ")));
        }
        if self.tokens > 0 {
            parts.push(count(self.tokens as usize, "token"));
        }
        visible(&parts.join(", "))
    }
}

impl Status {
    pub fn new(
        reply: pb::StatusReply,
        context: &str,
        address: &str,
        round_trip_ms: u64,
        running_out: Vec<String>,
    ) -> Self {
        let pb::StatusReply {
            version,
            time_ms,
            revision,
            hosts,
            connected,
            active_rollouts,
            dead_notices,
            waiting_notices,
            scheduled,
            roots,
        } = reply;
        Self {
            context: context.to_owned(),
            address: address.to_owned(),
            version,
            time: Moment(time_ms),
            revision,
            hosts,
            connected,
            active_rollouts,
            dead_notices,
            waiting_notices,
            scheduled: scheduled.into_iter().map(Scheduled::from).collect(),
            round_trip_ms,
            roots: roots.into_iter().map(Root::from).collect(),
            running_out,
        }
    }
}

/// Beyond this the clocks of the two sides make times in answers misleading.
const SKEW_MS: i64 = 5_000;

impl View for Status {
    const SCHEMA: &'static str = "longshore.cli.status/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let mut facts = Facts::default();
        facts
            .add("controller", format!("{} (context {})", visible(&self.address), visible(&self.context)))
            .add("version", visible(&self.version))
            .add("hosts", format!("{} of {} connected", self.connected, self.hosts))
            .add("rollouts", format!("{} active", self.active_rollouts))
            .add("revision", self.revision.to_string())
            .add("answered in", format!("{} ms", self.round_trip_ms));
        for root in &self.roots {
            let short = root.sha256.get(..16).unwrap_or_default();
            let state = match root.signs {
                true => format!("expires {}", root.expires_at.relative(page.now)),
                false => format!("on its way out; still needed by {}", root.needed_by()),
            };
            facts.add("CA", visible(&format!("{short}…, {state}")));
        }
        for document in &self.running_out {
            facts.add("signed", visible(document));
        }
        for scheduled in &self.scheduled {
            facts.add("scheduled", scheduled.sentence(page));
        }
        if self.dead_notices > 0 {
            let notices = count(self.dead_notices as usize, "notice");
            facts.add("notices", format!("{notices} could not be told: longshore notify list --dead"));
        }
        if self.waiting_notices > 0 {
            let wait = if self.waiting_notices == 1 { "waits" } else { "wait" };
            let notices = count(self.waiting_notices as usize, "notice");
            facts.add("notices", format!("{notices} {wait} to be told: longshore notify list"));
        }
        let skew = self.time.0 - page.now.0;
        if skew.abs() > SKEW_MS {
            facts.add("clock", format!("the controller's differs from this machine's by {} s", skew / 1_000));
        }
        facts.lines(page.style)
    }
}
