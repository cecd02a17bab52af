//! Hosts, one and many.

use std::collections::BTreeMap;

use longshore_common::{report::DRAINED, text::visible};
use longshore_proto::v1 as pb;
use serde::Serialize;

use super::{
    env::Unbrought,
    host_apps::apps_table,
    host_facts::HostFacts,
    host_stands::{HostBarred, HostDrain, HostHold, HostRejoin, TrafficNote},
    labels,
    side::{self, HostSide},
    some,
    unwell::FoundUnwell,
};
use crate::cli::{
    moment::{Moment, bytes},
    output::{Page, View},
    style::Ink,
    table::{Cell, Facts, Table},
};

#[derive(Clone, Debug, Serialize)]
pub struct HostList {
    pub hosts: Vec<Host>,
    /// Why there are none, where they were asked for by a selector.
    #[serde(skip)]
    pub unmatched: Option<Unmatched>,
}

/// A selector that matches no host.
#[derive(Clone, Debug)]
pub struct Unmatched {
    pub selector: String,
    /// Hosts that there are.
    pub of: usize,
}

#[derive(Clone, Debug, Serialize)]
pub struct Host {
    pub id: String,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub connected: bool,
    pub last_seen_at: Option<Moment>,
    /// When the controller started, if it has not heard of the host since: then it was seen last at `last_seen_at` or
    /// later.
    pub unheard_since: Option<Moment>,
    pub agent_version: String,
    pub address: String,
    pub facts: Option<HostFacts>,
    /// Set while an admin on the host holds it.
    pub hold: Option<HostHold>,
    /// Set while an operator wants no new work on it.
    pub drained: Option<HostDrain>,
    /// Set while load balancers wait for its apps, after it was undrained.
    pub rejoining: Option<HostRejoin>,
    pub apps: Vec<HostApp>,
    /// Of these apps, those that are none of its own: it directs the traffic of other hosts.
    #[serde(skip)]
    pub directs: Vec<String>,
    /// What is live in its environments and is not brought to it yet.
    pub unbrought: Vec<Unbrought>,
    /// Found by rollouts after the switch that an app's verdict is of.
    pub unwell: Vec<FoundUnwell>,
    /// What load balancers send it, where its labels or what it runs have changed that.
    pub traffic: Vec<TrafficNote>,
    pub enrolled_at: Moment,
    pub certificate_expires_at: Option<Moment>,
    /// SHA-256 of its newest public key, in hex: `longshore-agent status` shows the same.
    pub key: Option<String>,
    /// Set while it is served nothing until an operator decides.
    pub barred: Option<HostBarred>,
}

#[derive(Clone, Debug, Serialize)]
pub struct HostApp {
    pub app: String,
    /// None when never deployed.
    pub version: Option<String>,
    pub release: Option<String>,
    pub slot: Option<String>,
    /// none: its helper, which alone may look, is away.
    pub running: Option<bool>,
    /// Of the last switch: healthy, unhealthy or inconclusive; none before the first judgement.
    pub verdict: Option<String>,
    pub generation: u64,
    pub slots: Vec<String>,
    /// Of these: what failed when it was tried there, and was not good since.
    pub failed_slots: Vec<String>,
    /// Somebody on the host deployed it from a bundle; none: the controller assigned it.
    pub deployed_there: Option<DeployedThere>,
    /// Blue, then green; empty: it runs on none, or the host is away.
    pub sides: Vec<HostSide>,
}

/// A deployment by the host's own admin.
#[derive(Clone, Debug, Serialize)]
pub struct DeployedThere {
    pub by: String,
    pub at: Option<Moment>,
}

impl From<pb::ListHostsReply> for HostList {
    fn from(reply: pb::ListHostsReply) -> Self {
        Self { hosts: reply.hosts.into_iter().map(Host::from).collect(), unmatched: None }
    }
}

impl From<pb::Host> for Host {
    fn from(host: pb::Host) -> Self {
        let pb::Host {
            id,
            name,
            labels,
            connected,
            last_seen_ms,
            unheard_since_ms,
            agent_version,
            address,
            facts,
            hold,
            apps,
            enrolled_ms,
            certificate_expires_ms,
            drained,
            barred,
            rejoining,
            key,
            unbrought,
            unwell,
            traffic,
            directs,
            told: _, // of the answer to whoever labels it
        } = host;
        // One that enrolled and never connected has said nothing yet.
        let facts = facts.filter(|facts| !facts.os.is_empty()).map(HostFacts::from);
        let mut apps: Vec<HostApp> = apps.into_iter().map(HostApp::from).collect();
        if facts.as_ref().is_some_and(HostFacts::is_helper_away) {
            apps.iter_mut().for_each(HostApp::doubt);
        }
        Self {
            id,
            name,
            labels,
            connected,
            last_seen_at: Moment::from_wire(last_seen_ms),
            unheard_since: Moment::from_wire(unheard_since_ms),
            agent_version,
            address,
            facts,
            hold: hold.filter(|hold| hold.held).map(HostHold::from),
            drained: drained.map(HostDrain::from),
            rejoining: rejoining.map(HostRejoin::from),
            apps,
            directs,
            unbrought: unbrought.into_iter().map(Unbrought::from).collect(),
            unwell: unwell.into_iter().map(FoundUnwell::from).collect(),
            traffic: traffic.into_iter().map(TrafficNote::from).collect(),
            enrolled_at: Moment(enrolled_ms),
            certificate_expires_at: Moment::from_wire(certificate_expires_ms),
            key: some(key),
            barred: barred.map(HostBarred::from),
        }
    }
}

impl From<pb::AppState> for HostApp {
    fn from(state: pb::AppState) -> Self {
        let pb::AppState {
            app,
            generation,
            current_slot,
            release,
            version,
            running,
            slots,
            verdict,
            local_by,
            local_ms,
            sides,
            failed_slots,
        } = state;
        let at = Moment::from_wire(local_ms);
        Self {
            app,
            version: some(version),
            release: some(release),
            slot: some(current_slot),
            running: Some(running),
            verdict: some(verdict),
            generation,
            slots,
            failed_slots,
            deployed_there: some(local_by).map(|by| DeployedThere { by, at }),
            sides: side::sides(sides),
        }
    }
}

impl HostApp {
    /// Nobody could look since it was told.
    fn doubt(&mut self) {
        self.running = None;
        self.sides.clear();
    }

    /// What is live was not assigned.
    fn local_note(&self, page: &Page) -> Option<String> {
        let local = self.deployed_there.as_ref()?;
        let since = local.at.map(|at| format!(", {}", at.relative(page.now))).unwrap_or_default();
        let note = visible(&format!(
            "{}: deployed on the host by {}{since}, from a bundle; the next rollout there changes it",
            self.app, local.by
        ));
        Some(page.style.paint(Ink::Warn, &note))
    }
}

impl Host {
    /// The one word of trust that a list has room for.
    fn unsigned(&self) -> Option<&'static str> {
        match self.facts.as_ref()?.trust.as_ref()?.state.as_str() {
            "unsigned" => Some("connected, UNSIGNED"),
            "damaged" => Some("connected, trust damaged"),
            "unknown" => Some("connected, helper away"),
            _ => None,
        }
    }

    fn standing(&self) -> Cell {
        if let Some(barred) = &self.barred {
            return match barred.kind.as_str() {
                "waiting" => Cell::new(Ink::Warn, "waits for admit"),
                _ => Cell::new(Ink::Bad, "paused: a clone?"),
            };
        }
        if self.drained.is_some() {
            return match self.connected {
                true => Cell::new(Ink::Warn, "drained"),
                false => Cell::new(Ink::Bad, "away, drained"),
            };
        }
        if self.rejoining.is_some() {
            return match self.connected {
                true => Cell::new(Ink::Warn, "rejoining"),
                false => Cell::new(Ink::Bad, "away, rejoining"),
            };
        }
        match (&self.hold, self.connected) {
            (Some(_), true) => Cell::new(Ink::Warn, "held"),
            (Some(_), false) => Cell::new(Ink::Bad, "away, held"),
            (None, true) => match self.unsigned() {
                Some(word) => Cell::new(Ink::Warn, word),
                None => Cell::new(Ink::Good, "connected"),
            },
            (None, false) if self.facts.as_ref().is_some_and(HostFacts::is_helper_away) => {
                Cell::new(Ink::Bad, "away, as its helper is")
            }
            (None, false) => Cell::new(Ink::Bad, "away"),
        }
    }

    fn way_out(&self, barred: &HostBarred) -> String {
        let admit = format!("longshore host admit {}", visible(&self.name));
        match barred.kind.as_str() {
            "waiting" => format!("compare the key with longshore-agent status there, then: {admit}"),
            _ => format!("enrol the copy anew (longshore-agent enroll --again there), then: {admit}"),
        }
    }

    fn seen(&self, now: Moment) -> String {
        match (self.last_seen_at, self.unheard_since) {
            // By the clock of this machine it may have spoken in a moment yet to come.
            (Some(at), _) if self.connected => at.min(now).relative(now),
            (None, _) if self.connected => "now".to_owned(),
            (None, _) => "never".to_owned(),
            (Some(_), Some(start)) => format!("not since the controller's start {}", start.relative(now)),
            (Some(at), None) => at.relative(now),
        }
    }
}

impl View for HostList {
    const SCHEMA: &'static str = "longshore.cli.host-list/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        if let Some(Unmatched { selector, of }) = self.unmatched.as_ref().filter(|unmatched| unmatched.of > 0)
        {
            let there = if *of == 1 { "there is 1 host".to_owned() } else { format!("there are {of} hosts") };
            let selector = visible(selector);
            return vec![format!(
                "No host matches the selector \"{selector}\"; {there}. See: longshore host list"
            )];
        }
        if self.hosts.is_empty() {
            return vec!["No hosts. Enrol one: longshore token create".to_owned()];
        }
        let mut table = Table::new(["HOST", "STATE", "SEEN", "APPS", "LABELS"]);
        for host in &self.hosts {
            table.row([
                visible(&host.name).into(),
                host.standing(),
                host.seen(page.now).into(),
                host.brief().into(),
                labels(&host.labels).into(),
            ]);
        }
        table.lines(page.style)
    }
}

impl View for Host {
    const SCHEMA: &'static str = "longshore.cli.host/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let mut facts = Facts::default();
        let state = if self.connected {
            match self.seen(page.now) {
                now if now == "now" => "connected".to_owned(),
                ago => format!("connected, heard of {ago}"),
            }
        } else {
            match self.unheard_since {
                Some(start) => {
                    format!("away, not seen since the controller started {}", start.relative(page.now))
                }
                None => format!("away, seen {}", self.seen(page.now)),
            }
        };
        facts.add("host", visible(&self.name)).add("id", visible(&self.id)).add("state", state);
        if let Some(barred) = &self.barred {
            let since = barred.since.map(|at| format!(", {}", at.relative(page.now))).unwrap_or_default();
            facts.add("paused", visible(&format!("{}{since}", barred.reason)));
            facts.add("", self.way_out(barred));
        }
        if let Some(drained) = &self.drained {
            let since = drained.since.map(|at| format!(", {}", at.relative(page.now))).unwrap_or_default();
            let stop = match drained.stop_at {
                None => String::new(),
                // Sooner than they had to, mostly.
                Some(_) if self.connected && self.apps.iter().all(|app| app.running == Some(false)) => {
                    "; its apps are stopped".to_owned()
                }
                Some(at) if drained.waits => {
                    let by = at.clock_or_date(&page.zone, page.now);
                    format!("; its apps stop when load balancers have let go of it, and by {by}")
                }
                Some(at) if at > page.now => {
                    format!("; its apps stop by {}", at.clock_or_date(&page.zone, page.now))
                }
                Some(_) if self.connected => "; its apps stop now".to_owned(),
                Some(_) => "; its apps are stopped".to_owned(),
            };
            facts.add("drained", visible(&format!("by {}{since}: {}{stop}", drained.by, drained.reason)));
            facts.add("", format!("to take it back: longshore host undrain {}", visible(&self.name)));
        }
        if let Some(HostRejoin { by, since, until }) = &self.rejoining {
            let since = since.map(|at| format!(", {}", at.relative(page.now))).unwrap_or_default();
            let by_then = until.map(|at| {
                let by = at.clock_or_date(&page.zone, page.now);
                format!("; if they are not by {by}, it is drained again")
            });
            facts.add(
                "rejoining",
                visible(&format!(
                    "undrained by {by}{since}: load balancers send it connections when its apps are healthy{}",
                    by_then.unwrap_or_default()
                )),
            );
        }
        // The host may not have heard yet that it is undrained.
        let is_over = |hold: &HostHold| self.rejoining.is_some() && hold.reason.starts_with(DRAINED);
        if let Some(hold) = self.hold.as_ref().filter(|hold| !is_over(hold)) {
            let since = hold.since.map(|at| format!(", {}", at.relative(page.now))).unwrap_or_default();
            facts.add("held", visible(&format!("by {}{since}: {}", hold.by, hold.reason)));
        }
        for TrafficNote { env, app, note } in &self.traffic {
            facts.add("traffic", visible(&format!("{app} of {env}: {note}")));
        }
        for left in &self.unbrought {
            let since = left.since.map(|at| format!(" ({})", at.relative(page.now))).unwrap_or_default();
            let Unbrought { env, app, why, .. } = left;
            facts.add("not brought", visible(&format!("{app} of {env}: {why}{since}")));
        }
        facts
            .add("labels", labels(&self.labels))
            .add("address", visible(&self.address))
            .add("agent", visible(&self.agent_version))
            .add("enrolled", self.enrolled_at.date(&page.zone))
            .add_some("key", self.key.as_deref().map(visible))
            .add_some(
                "certificate",
                self.certificate_expires_at.map(|at| match at.0 > page.now.0 {
                    true => format!("expires {}", at.relative(page.now)),
                    false => format!("EXPIRED {}; the host gets another by itself", at.relative(page.now)),
                }),
            );
        if let Some(known) = &self.facts {
            let disk = format!("{} free of {}", bytes(known.disk_free_bytes), bytes(known.disk_total_bytes));
            facts
                .add("system", visible(&format!("{}, {}, {}", known.os, known.kernel, known.arch)))
                .add("machine", format!("{} CPUs, {} memory, {disk}", known.cpus, bytes(known.memory_bytes)))
                .add("driver", visible(&known.driver))
                .add_some("trust", known.trust.as_ref().map(|trust| trust.line(page.now)));
            for expired in known.trust.iter().flat_map(|trust| &trust.expired) {
                facts.add("expired", visible(expired));
            }
            for broken in known.trust.iter().flat_map(|trust| &trust.breaks) {
                facts.add("glass broken", visible(broken));
            }
        }
        let mut lines = facts.lines(page.style);
        if !self.apps.is_empty() {
            lines.push(String::new());
            lines.extend(apps_table(&self.apps, &self.directs, self.connected).lines(page.style));
            let sides =
                self.apps.iter().flat_map(|app| app.sides.iter().map(|side| side.line(&app.app, page)));
            lines.extend(sides);
            lines.extend(self.apps.iter().filter_map(|app| app.local_note(page)));
            lines.extend(self.unwell.iter().map(|found| found.line(page)));
        }
        lines
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct HostRemoved {
    pub host: String,
}

impl View for HostRemoved {
    const SCHEMA: &'static str = "longshore.cli.host-removed/1";

    fn lines(&self, _page: &Page) -> Vec<String> {
        let host = visible(&self.host);
        vec![format!(
            "{host} is removed: its certificate is refused from now on. What it runs goes on running."
        )]
    }
}
