//! `status`, and how a controller was reached.

use longshore_common::text::visible;
use longshore_proto::v1 as pb;
use serde::Serialize;

use crate::cli::{
    moment::Moment,
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
    pub round_trip_ms: u64,
}

impl Status {
    pub fn new(reply: pb::StatusReply, context: &str, address: &str, round_trip_ms: u64) -> Self {
        let pb::StatusReply { version, time_ms, revision, hosts, connected, active_rollouts } = reply;
        Self {
            context: context.to_owned(),
            address: address.to_owned(),
            version,
            time: Moment(time_ms),
            revision,
            hosts,
            connected,
            active_rollouts,
            round_trip_ms,
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
        let skew = self.time.0 - page.now.0;
        if skew.abs() > SKEW_MS {
            facts.add("clock", format!("the controller's differs from this machine's by {} s", skew / 1_000));
        }
        facts.lines(page.style)
    }
}
