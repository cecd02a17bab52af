//! Environments.

use std::collections::BTreeMap;

use longshore_common::text::visible;
use longshore_proto::v1 as pb;
use serde::Serialize;

use super::some;
use crate::cli::{
    moment::Moment,
    output::{Page, View},
    style::Ink,
    table::{Facts, Table},
};

/// Hosts that a line names; the rest are counted.
const NAMED: usize = 5;

#[derive(Clone, Debug, Serialize)]
pub struct Environment {
    pub name: String,
    pub selector: String,
    pub hosts: u32,
    pub live: Vec<Live>,
    /// The TOML as it was applied.
    pub file: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Live {
    pub app: String,
    pub version: String,
    pub digest: String,
    pub since: Option<Moment>,
    /// Hosts that are to run it and run something else, by their last report; only where one environment is shown.
    pub lacking: Vec<String>,
    /// By whom it was withdrawn, and why; only where one environment is shown.
    pub withdrawn: Option<String>,
    /// Newcomers that are not brought it yet; where one environment is shown, also others that lack it.
    pub unbrought: Vec<Unbrought>,
}

/// A host that is to run what is live in an environment and is not brought it, or not yet.
#[derive(Clone, Debug, Serialize)]
pub struct Unbrought {
    pub env: String,
    pub app: String,
    /// By name.
    pub host: String,
    /// And the next step.
    pub why: String,
    pub since: Option<Moment>,
}

impl From<pb::Unbrought> for Unbrought {
    fn from(left: pb::Unbrought) -> Self {
        let pb::Unbrought { env, app, host, why, since_ms } = left;
        Self { env, app, host, why, since: Moment::from_wire(since_ms) }
    }
}

/// Those with the same reason together: `not brought to web-5, web-6: LS-K01 …`
fn unbrought(left: &[Unbrought]) -> Vec<String> {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for one in left {
        reasons.entry(&one.why).or_default().push(&one.host);
    }
    let line =
        |(why, hosts): (&str, Vec<&str>)| visible(&format!("not brought to {}: {why}", some_of(&hosts)));
    reasons.into_iter().map(line).collect()
}

fn some_of(hosts: &[&str]) -> String {
    let more = match hosts.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    hosts.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ") + &more
}

impl From<pb::Environment> for Environment {
    fn from(env: pb::Environment) -> Self {
        let pb::Environment { name, selector, file, live, hosts } = env;
        Self { name, selector, hosts, live: live.into_iter().map(Live::from).collect(), file }
    }
}

impl From<pb::LiveRelease> for Live {
    fn from(live: pb::LiveRelease) -> Self {
        let pb::LiveRelease { app, version, digest, since_ms, lacking, unbrought, withdrawn } = live;
        let unbrought = unbrought.into_iter().map(Unbrought::from).collect();
        Self {
            app,
            version,
            digest,
            since: Moment::from_wire(since_ms),
            lacking,
            withdrawn: some(withdrawn),
            unbrought,
        }
    }
}

impl View for Environment {
    const SCHEMA: &'static str = "longshore.cli.env/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let mut facts = Facts::default();
        facts
            .add("environment", visible(&self.name))
            .add("selector", visible(&self.selector))
            .add("hosts", self.hosts.to_string());
        if self.live.is_empty() {
            facts.add("live", "nothing yet");
        }
        for live in &self.live {
            let since = live.since.map(|at| format!(", since {}", at.date(&page.zone))).unwrap_or_default();
            facts.add("live", visible(&format!("{}@{}{since}", live.app, live.version)));
            if let Some(withdrawn) = &live.withdrawn {
                facts.add("", page.style.paint(Ink::Warn, &visible(&format!("WITHDRAWN {withdrawn}"))));
            }
            let lacking: Vec<&str> = live.lacking.iter().map(String::as_str).collect();
            if !lacking.is_empty() {
                let whose = if lacking.len() == 1 { "its last report" } else { "their last reports" };
                facts.add("", visible(&format!("not on {}, by {whose}", some_of(&lacking))));
            }
            for line in unbrought(&live.unbrought) {
                facts.add("", line);
            }
        }
        let mut lines = facts.lines(page.style);
        lines.push(String::new());
        lines.extend(self.file.lines().map(visible));
        lines
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct EnvironmentList {
    pub environments: Vec<Environment>,
}

impl From<pb::ListEnvironmentsReply> for EnvironmentList {
    fn from(reply: pb::ListEnvironmentsReply) -> Self {
        Self { environments: reply.environments.into_iter().map(Environment::from).collect() }
    }
}

impl View for EnvironmentList {
    const SCHEMA: &'static str = "longshore.cli.env-list/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        if self.environments.is_empty() {
            return vec!["No environments. Make one: longshore env apply FILE".to_owned()];
        }
        let mut table = Table::new(["ENVIRONMENT", "SELECTOR", "HOSTS", "LIVE"]);
        for env in &self.environments {
            let live = env.live.iter().map(|live| visible(&format!("{}@{}", live.app, live.version)));
            table.row([
                visible(&env.name).into(),
                visible(&env.selector).into(),
                env.hosts.to_string().into(),
                live.collect::<Vec<_>>().join(", ").into(),
            ]);
        }
        table.lines(page.style)
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Applied {
    pub environment: Environment,
    pub changed: bool,
    /// What the file names and is not there (hosts, people, sealed secrets), and what comes of it.
    pub warnings: Vec<String>,
}

impl View for Applied {
    const SCHEMA: &'static str = "longshore.cli.env-applied/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let Environment { name, selector, hosts, .. } = &self.environment;
        let (name, selector) = (visible(name), visible(selector));
        let mut lines = match self.changed {
            true => vec![page.style.paint(
                Ink::Good,
                &format!(
                    "Environment {name} is applied: {} \"{selector}\"",
                    match hosts {
                        1 => "1 host matches".to_owned(),
                        hosts => format!("{hosts} hosts match"),
                    }
                ),
            )],
            false => vec![format!("Environment {name} is unchanged: nothing to do")],
        };
        lines.extend(self.warnings.iter().map(|warning| page.style.paint(Ink::Warn, &visible(warning))));
        lines
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct EnvironmentRemoved {
    pub environment: String,
}

impl View for EnvironmentRemoved {
    const SCHEMA: &'static str = "longshore.cli.env-removed/1";

    fn lines(&self, _page: &Page) -> Vec<String> {
        vec![format!("Environment {} is removed. Its rollouts stay on record.", visible(&self.environment))]
    }
}
