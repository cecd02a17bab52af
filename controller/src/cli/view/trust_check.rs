//! What hosts say that they have verified, and what is wrong with it.

use std::collections::BTreeSet;

use longshore_common::{
    digest::hex,
    text::visible,
    time::{Millis, told},
    trust::{FLEET, OLD_MS, roughly},
};
use longshore_proto::v1 as pb;
use serde::Serialize;

use super::{some, trust::LOST};
use crate::{
    cli::{
        moment::{Moment, count},
        output::{Page, View},
        style::Ink,
        table::{Cell, Table},
    },
    trust::foreign_root,
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
    /// Each document that has run out there: which, since when, who renews it and how.
    pub expired: Vec<String>,
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
    /// `newest` is the fleet's list at the controller; `root`: its first root, none if nothing is signed; `pin`: what this
    /// machine knows the fleet by.
    pub fn new(
        replies: Vec<pb::CheckTrustReply>,
        newest: Option<u64>,
        root: Option<[u8; 32]>,
        pin: Option<[u8; 32]>,
    ) -> Self {
        let hosts: Vec<HostTrusts> = replies.into_iter().map(HostTrusts::from).collect();
        let root = root.map(|root| hex(&root));
        let warnings = hosts.iter().flat_map(|host| host.warnings(newest, root.as_deref()));
        let mut warnings: Vec<String> = warnings.collect();
        if root.is_none() {
            let pinned = pin.is_some() || hosts.iter().any(|host| host.root_sha256.is_some());
            let never = "nothing is signed: hosts run what the controller says. longshore init";
            warnings.push(if pinned { LOST } else { never }.to_owned());
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
            expired: vec![],
            problem: Some(problem),
        };
        let Some(pb::TrustAnswer { facts, repositories, time_ms }) = answer else {
            return nothing(if silent { "no answer".to_owned() } else { error });
        };
        let pb::TrustFacts {
            state,
            root_sha256,
            verified_ms,
            breaks,
            problem,
            expired,
            damaged: _,
            ahead: _,
            frozen: _,
        } = facts.unwrap_or_default();
        Self {
            host,
            name,
            state: some(state),
            root_sha256: some(root_sha256),
            age_ms: (verified_ms > 0).then(|| told(time_ms) - told(verified_ms)),
            repositories: repositories.into_iter().map(VerifiedThere::from).collect(),
            breaks,
            expired,
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

    fn warnings(&self, newest: Option<u64>, root: Option<&str>) -> Vec<String> {
        let name = &self.name;
        let Some(state) = self.state.as_deref() else {
            return vec![format!("{name}: {}", self.problem.as_deref().unwrap_or("no answer"))];
        };
        let mut warnings = vec![];
        match state {
            "signed" | "unsigned-allowed" => {
                warnings.extend(self.problem.iter().map(|problem| format!("{name}: {problem}")));
            }
            "unsigned" => warnings.push(format!(
                "{name}: UNSIGNED: it runs whatever the controller says; enrol it again with a token that pins a root"
            )),
            _ => warnings.push(format!("{name}: {}", self.problem.as_deref().unwrap_or("its trust state is damaged"))),
        }
        if let (Some(pinned), Some(root)) = (self.root_sha256.as_deref(), root)
            && pinned != root
        {
            warnings.push(format!("{name}: {}", foreign_root(pinned, root, name)));
        }
        warnings.extend(self.expired.iter().map(|expired| format!("{name}: {expired}")));
        // What has run out says why it is old.
        if let Some(age) = self.age_ms.filter(|age| *age > OLD_MS && self.expired.is_empty()) {
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

/// A host that looks and finds nothing new writes that down once an hour: less than that says nothing.
const NOTED_EVERY_MS: Millis = 3_600_000;

fn ago(age: Millis) -> String {
    if age <= NOTED_EVERY_MS { "in the last hour".to_owned() } else { format!("{} ago", roughly(age)) }
}

impl View for TrustCheck {
    const SCHEMA: &'static str = "longshore.cli.trust-check/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let mut table = Table::new(["HOST", "TRUST", "VERIFIED", "FLEET LIST", "APPS", "NOTE"]);
        for host in &self.hosts {
            let state = host.state.as_deref().unwrap_or("no answer");
            let ink = if state == "signed" { Ink::Good } else { Ink::Warn };
            let age = host.age_ms.map(ago).unwrap_or_default();
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

#[cfg(test)]
mod tests {
    use super::*;

    /// One that has just looked is not said to have looked five minutes ago.
    #[test]
    fn an_age_is_told_as_well_as_it_is_known() {
        assert_eq!(ago(300_000), "in the last hour");
        assert_eq!(ago(3 * 3_600_000), "3 h ago");
    }
}
