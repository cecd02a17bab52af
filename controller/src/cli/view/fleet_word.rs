//! What the organisation's key says to every host.

use longshore_common::{text::visible, trust::Catalog};
use serde::Serialize;

use crate::cli::{
    moment::count,
    output::{Page, View},
    signing::Overtaken,
    style::Ink,
    table::Facts,
};

/// Hosts that are named; the rest are counted.
const NAMED: usize = 10;

/// Which hosts know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    pub hosts: usize,
    /// Away, silent, or without a pinned root.
    pub behind: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct FleetSays {
    /// Why nothing new begins anywhere.
    pub frozen: Option<String>,
    pub revoked: Vec<RevokedRelease>,
    /// Of the fleet's own list.
    pub list_version: u64,
    /// It was so before; nothing was signed.
    pub before: bool,
    /// Which signatures are missing, if any: until then no host hears of it.
    pub waiting: Option<String>,
    /// What others had signed for its place: it does not count any more.
    pub overtaken: Vec<Overtaken>,
    /// Hosts that have verified this list.
    pub known_to: usize,
    /// Hosts that have not, or did not answer: they learn of it when they next look, at the latest after an hour.
    pub not_known_to: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct RevokedRelease {
    pub digest: String,
    pub reason: String,
}

impl FleetSays {
    pub fn new(catalog: &Catalog, before: bool, waiting: Option<String>, heard: Heard) -> Self {
        let revoked = catalog.revoked.iter();
        let revoked =
            revoked.map(|(digest, reason)| RevokedRelease { digest: digest.hex(), reason: reason.clone() });
        Self {
            frozen: catalog.frozen.clone(),
            revoked: revoked.collect(),
            list_version: catalog.version,
            before,
            waiting,
            overtaken: vec![],
            known_to: heard.hosts,
            not_known_to: heard.behind,
        }
    }
}

impl View for FleetSays {
    const SCHEMA: &'static str = "longshore.cli.fleet/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let head = match &self.frozen {
            _ if self.waiting.is_some() => {
                page.style.paint(Ink::Warn, "Signed here, and not by enough keys yet: nothing has changed")
            }
            Some(reason) => page.style.paint(Ink::Warn, &format!("The fleet is FROZEN: {}", visible(reason))),
            None => "The fleet is not frozen".to_owned(),
        };
        let mut lines = vec![head];
        if self.before {
            lines.push("It was so before: nothing was signed".to_owned());
        }
        let mut facts = Facts::default();
        for revoked in &self.revoked {
            facts.add("revoked", format!("{:.16}… {}", visible(&revoked.digest), visible(&revoked.reason)));
        }
        match &self.waiting {
            Some(waiting) => {
                facts.add("waiting", format!("no host hears of it before: {}", visible(waiting)));
            }
            None => {
                facts.add("known to", count(self.known_to, "host"));
            }
        }
        if !self.not_known_to.is_empty() {
            let named: Vec<String> = self.not_known_to.iter().take(NAMED).map(|name| visible(name)).collect();
            let more = self.not_known_to.len().saturating_sub(NAMED);
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            facts.add("not yet to", format!("{}{more}: when they next look", named.join(", ")));
        }
        lines.extend(facts.lines(page.style).into_iter().map(|line| format!("  {line}")));
        lines.extend(self.overtaken.iter().map(|other| other.line(page.style)));
        lines
    }
}
