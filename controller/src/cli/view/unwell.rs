//! An app that was found unwell on a host after its switch.

use longshore_common::text::visible;
use longshore_proto::v1 as pb;
use serde::Serialize;

use super::short;
use crate::cli::{moment::Moment, output::Page, style::Ink};

#[derive(Clone, Debug, Serialize)]
pub struct FoundUnwell {
    pub app: String,
    pub why: String,
    /// By this rollout, which looked again.
    pub rollout: String,
    pub since: Option<Moment>,
}

impl From<pb::FoundUnwell> for FoundUnwell {
    fn from(found: pb::FoundUnwell) -> Self {
        let pb::FoundUnwell { app, why, rollout, since_ms } = found;
        Self { app, why, rollout, since: Moment::from_wire(since_ms) }
    }
}

impl FoundUnwell {
    /// `shop: found unwell 5m ago by rollout 0190ab12, its verdict is of the switch before that: LS-B01 …`
    pub(super) fn line(&self, page: &Page) -> String {
        let since = self.since.map(|at| format!(" {}", at.relative(page.now))).unwrap_or_default();
        let Self { app, why, rollout, .. } = self;
        let by = short(rollout);
        let line =
            format!("{app}: found unwell{since} by rollout {by}, its verdict is of the switch before: {why}");
        page.style.paint(Ink::Warn, &visible(&line))
    }
}
