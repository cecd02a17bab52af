//! One of the two sides on which an app runs on a host.

use longshore_common::{text::visible, traffic::SideSeen};
use longshore_proto::v1 as pb;
use serde::Serialize;

use crate::cli::{moment::Moment, output::Page};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostSide {
    /// blue or green.
    pub side: String,
    pub version: String,
    pub slot: String,
    pub running: bool,
    /// Percent of new connections; none: whoever directs them cannot be asked.
    pub share: Option<u8>,
    /// Its unit, or its process id.
    pub main_process: String,
    /// Without traffic, it stays up until then as an instant way back; none: it does not.
    pub warm_until_at: Option<Moment>,
    #[serde(skip)]
    seen: SideSeen,
}

/// What cannot be read is left out.
pub fn sides(messages: Vec<pb::SideState>) -> Vec<HostSide> {
    messages.into_iter().filter_map(|message| SideSeen::try_from(message).ok()).map(HostSide::from).collect()
}

impl From<SideSeen> for HostSide {
    fn from(seen: SideSeen) -> Self {
        Self {
            side: seen.side.to_string(),
            version: seen.slot.version().to_owned(),
            slot: seen.slot.to_string(),
            running: seen.up,
            share: seen.share,
            main_process: seen.main.clone(),
            warm_until_at: seen.warm_until_ms.map(Moment),
            seen,
        }
    }
}

impl HostSide {
    /// `green 1.1: 100% of the traffic`
    pub fn standing(&self, page: &Page) -> String {
        let clock = |until| {
            let until = Moment(until);
            let shown =
                || format!("{} ({})", until.clock_or_date(&page.zone, page.now), until.relative(page.now));
            (until > page.now).then(shown)
        };
        visible(&format!("{} {}: {}", self.side, self.version, self.seen.standing(clock)))
    }

    /// The same, with the app and what runs there.
    pub fn line(&self, app: &str, page: &Page) -> String {
        format!("{} {}; {}", visible(app), self.standing(page), visible(&self.main_process))
    }
}
