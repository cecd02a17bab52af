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
    /// Only where a release is revoked by this.
    #[serde(skip)]
    pub revoking: Option<Revoking>,
}

/// A release that is revoked at this moment.
#[derive(Clone, Debug)]
pub struct Revoking {
    pub digest: String,
    /// Where it goes on; `None`: that could not be found out.
    pub live: Option<Vec<LiveThere>>,
}

/// An environment in which it is live.
#[derive(Clone, Debug)]
pub struct LiveThere {
    pub app: String,
    pub version: String,
    pub env: String,
}

impl Revoking {
    /// What it means, and what is left to do: nothing that runs is stopped by it.
    fn lines(&self, page: &Page) -> Vec<String> {
        let head = format!("Release {:.16}… is revoked: no host begins it any more", visible(&self.digest));
        let mut lines = vec![page.style.paint(Ink::Warn, &head)];
        let Some(live) = &self.live else { return lines };
        if live.is_empty() {
            lines.push("It is live in no environment".to_owned());
        }
        lines.extend(live.iter().map(|LiveThere { app, version, env }| {
            let line = format!(
                "{app}@{version} is live in {env} and runs on there. Go back: longshore rollout rollback {app} --to {env}, \
                 or roll out another"
            );
            page.style.paint(Ink::Warn, &visible(&line))
        }));
        lines
    }
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
            revoking: None,
        }
    }
}

impl View for FleetSays {
    const SCHEMA: &'static str = "longshore.cli.fleet/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let warn = |text: &str| page.style.paint(Ink::Warn, text);
        let mut lines = match (&self.waiting, &self.frozen, &self.revoking) {
            (Some(_), ..) => vec![warn("Signed here, and not by enough keys yet: nothing has changed")],
            (None, Some(reason), _) => vec![warn(&format!("The fleet is FROZEN: {}", visible(reason)))],
            (None, None, None) => vec!["The fleet is not frozen".to_owned()],
            (None, None, Some(_)) => vec![],
        };
        if let (None, Some(revoking)) = (&self.waiting, &self.revoking) {
            lines.extend(revoking.lines(page));
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::moment::Moment;

    fn says(revoking: Option<Revoking>, frozen: Option<&str>) -> Vec<String> {
        let says = FleetSays {
            frozen: frozen.map(str::to_owned),
            revoked: vec![],
            list_version: 4,
            before: false,
            waiting: None,
            overtaken: vec![],
            known_to: 2,
            not_known_to: vec![],
            revoking,
        };
        says.lines(&Page::plain(Moment(0)))
    }

    /// Whoever revokes a release is told what goes on running, and of a freeze only where there is one.
    #[test]
    fn whoever_revokes_is_told_where_it_is_live() {
        let revoking = |live: Vec<LiveThere>| Some(Revoking { digest: "9c".repeat(32), live: Some(live) });
        let there = LiveThere { app: "shop".into(), version: "1.4.2".into(), env: "production".into() };
        let told = says(revoking(vec![there]), None);
        assert_eq!(
            told[..2],
            [
                "Release 9c9c9c9c9c9c9c9c… is revoked: no host begins it any more",
                "shop@1.4.2 is live in production and runs on there. Go back: longshore rollout rollback shop --to production, \
                 or roll out another"
            ]
        );
        assert_eq!(says(revoking(vec![]), None)[1], "It is live in no environment");
        assert!(says(revoking(vec![]), Some("an incident"))[0].contains("FROZEN: an incident"));
        assert_eq!(says(None, None)[0], "The fleet is not frozen");
    }
}
