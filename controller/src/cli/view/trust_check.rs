//! What hosts say that they have verified, and what is wrong with it.

use std::collections::BTreeSet;

use longshore_common::{
    text::visible,
    time::Millis,
    trust::{FLEET, OLD_MS, roughly},
};
use longshore_proto::v1 as pb;
use serde::Serialize;

use super::some;
use crate::cli::{
    moment::{Moment, count},
    output::{Page, View},
    style::Ink,
    table::{Cell, Table},
};

#[derive(Clone, Debug, Serialize)]
pub struct TrustCheck {
    pub hosts: Vec<HostTrusts>,
    /// What needs doing; none when all is well.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct HostTrusts {
    pub host: String,
    pub name: String,
    /// signed, unsigned, unsigned-allowed, damaged; none: it did not answer.
    pub state: Option<String>,
    pub root_sha256: Option<String>,
    /// Since what it has verified was last brought up to date, by its own clock; the oldest of its repositories.
    pub age_ms: Option<Millis>,
    pub repositories: Vec<VerifiedThere>,
    /// Every time that somebody broke the glass there, oldest first.
    pub breaks: Vec<String>,
    /// Why there is no answer, or what is damaged.
    pub problem: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct VerifiedThere {
    pub app: String,
    pub root_version: u64,
    pub list_version: u64,
    pub releases: u64,
    pub floor: u64,
    pub verified_at: Option<Moment>,
    /// When the first of its documents runs out.
    pub expires_at: Option<Moment>,
    /// Of the fleet's own: why nothing new begins.
    pub frozen: Option<String>,
    pub revoked: u64,
    pub problem: Option<String>,
}

impl TrustCheck {
    /// `newest` is the fleet's list at the controller; `signed`: it has a root at all.
    pub fn new(replies: Vec<pb::CheckTrustReply>, newest: Option<u64>, signed: bool) -> Self {
        let hosts: Vec<HostTrusts> = replies.into_iter().map(HostTrusts::from).collect();
        let mut warnings: Vec<String> = hosts.iter().flat_map(|host| host.warnings(newest)).collect();
        if !signed {
            warnings.push("nothing is signed: hosts run what the controller says. longshore init".to_owned());
        }
        Self { hosts, warnings }
    }
}

impl From<pb::CheckTrustReply> for HostTrusts {
    fn from(reply: pb::CheckTrustReply) -> Self {
        let pb::CheckTrustReply { host, name, silent, error, answer } = reply;
        let nothing = |problem| Self {
            host: host.clone(),
            name: name.clone(),
            state: None,
            root_sha256: None,
            age_ms: None,
            repositories: vec![],
            breaks: vec![],
            problem: Some(problem),
        };
        let Some(pb::TrustAnswer { facts, repositories, time_ms }) = answer else {
            return nothing(if silent { "no answer".to_owned() } else { error });
        };
        let pb::TrustFacts { state, root_sha256, verified_ms, breaks, problem } = facts.unwrap_or_default();
        Self {
            host,
            name,
            state: some(state),
            root_sha256: some(root_sha256),
            age_ms: (verified_ms > 0).then(|| time_ms - verified_ms),
            repositories: repositories.into_iter().map(VerifiedThere::from).collect(),
            breaks,
            problem: some(problem),
        }
    }
}

impl From<pb::VerifiedRepository> for VerifiedThere {
    fn from(row: pb::VerifiedRepository) -> Self {
        let pb::VerifiedRepository {
            app,
            problem,
            root_version,
            list_version,
            releases,
            floor,
            verified_ms,
            expires_ms,
            frozen,
            revoked,
        } = row;
        Self {
            app,
            root_version,
            list_version,
            releases,
            floor,
            verified_at: Moment::from_wire(verified_ms),
            expires_at: Moment::from_wire(expires_ms),
            frozen: some(frozen),
            revoked,
            problem: some(problem),
        }
    }
}

impl HostTrusts {
    fn fleet(&self) -> Option<&VerifiedThere> {
        self.repositories.iter().find(|row| row.app == FLEET)
    }

    fn warnings(&self, newest: Option<u64>) -> Vec<String> {
        let name = &self.name;
        let Some(state) = self.state.as_deref() else {
            return vec![format!("{name}: {}", self.problem.as_deref().unwrap_or("no answer"))];
        };
        let mut warnings = vec![];
        match state {
            "signed" | "unsigned-allowed" => {}
            "unsigned" => warnings.push(format!(
                "{name}: UNSIGNED: it runs whatever the controller says; enrol it again with a token that pins a root"
            )),
            _ => warnings.push(format!("{name}: {}", self.problem.as_deref().unwrap_or("its trust state is damaged"))),
        }
        if let Some(age) = self.age_ms.filter(|age| *age > OLD_MS) {
            warnings.push(format!(
                "{name}: what it has verified is {} old: does its controller hand out what is current?",
                roughly(age)
            ));
        }
        if let (Some(fleet), Some(newest)) = (self.fleet(), newest)
            && fleet.list_version < newest
        {
            warnings.push(format!(
                "{name}: knows the fleet's list v{}, v{newest} is signed: a freeze or a revocation may not have come",
                fleet.list_version
            ));
        }
        for row in &self.repositories {
            warnings.extend(row.problem.iter().map(|problem| format!("{name}: {problem}")));
        }
        // The host's own state is mostly that of one of its repositories.
        let mut said = BTreeSet::new();
        warnings.retain(|warning| said.insert(warning.clone()));
        warnings
    }
}

impl View for TrustCheck {
    const SCHEMA: &'static str = "longshore.cli.trust-check/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let mut table = Table::new(["HOST", "TRUST", "VERIFIED", "FLEET LIST", "APPS", "NOTE"]);
        for host in &self.hosts {
            let state = host.state.as_deref().unwrap_or("no answer");
            let ink = if state == "signed" { Ink::Good } else { Ink::Warn };
            let age = host.age_ms.map(|age| format!("{} ago", roughly(age))).unwrap_or_default();
            let fleet = host.fleet();
            let list = fleet.map(|fleet| format!("v{}", fleet.list_version)).unwrap_or_default();
            let frozen = fleet.and_then(|fleet| fleet.frozen.as_deref()).map(|why| format!("frozen: {why}"));
            let broken = (!host.breaks.is_empty())
                .then(|| format!("glass broken: {}", count(host.breaks.len(), "time")));
            let note: Vec<String> = frozen.into_iter().chain(broken).collect();
            let apps = host.repositories.iter().filter(|row| row.app != FLEET).count();
            table.row([
                visible(&host.name).into(),
                Cell::new(ink, visible(state)),
                age.into(),
                list.into(),
                apps.to_string().into(),
                visible(&note.join("; ")).into(),
            ]);
        }
        let mut lines = table.lines(page.style);
        lines.extend(
            self.warnings
                .iter()
                .map(|warning| page.style.paint(Ink::Warn, &format!("! {}", visible(warning)))),
        );
        lines
    }
}
