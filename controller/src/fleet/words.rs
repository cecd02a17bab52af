//! What agents say of themselves, in our own words. Everything here was cut to size and checked at the door.

use std::{net::IpAddr, time::Duration};

use longshore_common::{
    assignment::Assignment,
    code::Coded,
    digest::ReleaseDigest,
    ids::{AppName, Generation, HostId, HostName},
    label::Labels,
    report::{Failure, Report},
    settings::Secrets,
    time::Millis,
    traffic::{Directed, Looked, SideSeen},
};
use serde::{Deserialize, Serialize};

use super::Drained;
use crate::audit::Checkpoint;

/// Apps of one host of which anything is kept: a host that names ever more is not to fill the controller.
pub const APPS_MAX: usize = 256;

/// What kind of machine a host is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub os: String,
    pub kernel: String,
    pub arch: String,
    pub cpus: u32,
    pub memory_bytes: u64,
    /// Where releases lie.
    pub disk_free_bytes: u64,
    pub disk_total_bytes: u64,
    pub addresses: Vec<String>,
    /// `systemd` or `process`.
    pub driver: String,
    /// Absent of agents that do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<TrustFacts>,
}

/// How a host says that it knows what may run on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustFacts {
    /// `signed`, `unsigned`, `unsigned-allowed` or `damaged`; `unknown`: the helper there is away.
    pub state: String,
    pub root_sha256: String,
    /// 0: never.
    pub verified_ms: Millis,
    /// Every time that somebody broke the glass there, oldest first.
    #[serde(default)]
    pub breaks: Vec<String>,
    #[serde(default)]
    pub problem: String,
    /// Each of its documents that has run out, in a sentence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expired: Vec<String>,
    /// Apps, or `fleet`, whose trust state is damaged there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<String>,
    /// The same of what was verified last by a clock that was ahead there of what it says now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ahead: Vec<String>,
    /// Why nothing new begins anywhere, as the organisation signed it; empty: it may.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub frozen: String,
}

impl Facts {
    /// Whether two tell of the same machine, whatever its disk holds at the moment.
    pub fn alike(&self, other: &Facts) -> bool {
        let steady = |facts: &Facts| Facts { disk_free_bytes: 0, ..facts.clone() };
        steady(self) == steady(other)
    }

    /// The agent there may look at nothing, and so nothing that it told before need be so any more; and why, in its words.
    pub fn why_helper_away(&self) -> Option<&str> {
        let trust = self.trust.as_ref().filter(|trust| trust.state == "unknown")?;
        Some(&trust.problem)
    }
}

/// The host refuses new work, by its own admin's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostHold {
    pub reason: String,
    pub by: String,
    pub since_ms: Millis,
}

impl HostHold {
    /// `disk swap; held by ann`
    pub fn sentence(&self) -> String {
        format!("{}; held by {}", self.reason, self.by)
    }
}

/// How one app stands on a host, as the host sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppSeen {
    pub app: AppName,
    /// The highest that the host has accepted.
    pub generation: Generation,
    /// Empty: never deployed.
    pub current_slot: String,
    pub release: String,
    pub version: String,
    pub running: bool,
    pub slots: Vec<String>,
    /// Of these, as it said last: what failed when it was tried there, and was not good since.
    pub failed_slots: Vec<String>,
    pub verdict: String,
    /// Somebody on the host deployed from a bundle what was accepted last; `None`: it was assigned.
    pub local: Option<DeployedThere>,
    /// As it said last: no report tells of them. Empty: it runs on none.
    pub sides: Vec<SideSeen>,
}

/// A deployment that the host's own admin made, without the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeployedThere {
    /// The local user.
    pub by: String,
    pub at_ms: Millis,
}

/// What a host has verified, read from its disk when it was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustAnswer {
    pub facts: TrustFacts,
    pub repositories: Vec<VerifiedRepository>,
    pub time_ms: Millis,
}

/// One repository of signed documents, as a host has verified it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifiedRepository {
    pub app: String,
    /// Why it cannot be read; empty: it can.
    pub problem: String,
    pub root_version: u64,
    pub list_version: u64,
    pub releases: u64,
    pub floor: u64,
    pub verified_ms: Millis,
    pub expires_ms: Millis,
    /// Of the fleet's own; empty: it is not.
    pub frozen: String,
    pub revoked: u64,
}

/// The step in progress. Not kept: whoever watches sees it, nobody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub app: AppName,
    pub generation: Generation,
    pub step: String,
    pub bytes_done: u64,
    pub bytes_total: u64,
    pub detail: String,
}

/// One line of a hook, a probe or the app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub app: String,
    pub generation: Generation,
    pub source: String,
    pub stream: String,
    pub line: String,
    pub time_ms: Millis,
}

/// What an agent opens its session with.
#[derive(Clone, Debug)]
pub struct Hello {
    pub protocol: u32,
    pub agent_version: String,
    pub boot_id: String,
    pub boot_counter: u64,
    /// Hash of the machine's own id; empty where it has none.
    pub machine_id: String,
    pub facts: Facts,
    pub apps: Vec<AppSeen>,
    pub hold: Option<HostHold>,
    pub time_ms: Millis,
    /// Empty where it has none.
    pub recipient: String,
}

/// What an agent says.
#[derive(Clone, Debug)]
pub enum FromAgent {
    Hello(Box<Hello>),
    Heartbeat(Millis),
    /// With its number in the agent's outbox, which the acknowledgement repeats.
    Report(u64, Box<Report>),
    Progress(Progress),
    Log(LogLine),
    Answer(u64, Answer),
    Facts(Facts),
    Hold(Option<HostHold>),
}

/// What an agent is told.
#[derive(Clone, Debug)]
pub enum ToAgent {
    Welcome {
        server_time_ms: Millis,
        heartbeat_ms: u32,
        labels: Labels,
        /// 0: the agent renews its certificate in its own time.
        renew_within_ms: u32,
        /// It takes no new work, and its apps may be to stop.
        drained: Option<Drained>,
    },
    Assignment(Box<Assignment>),
    Ack(u64),
    Question(u64, Question),
    /// Of the audit log: agents keep the last ones.
    Checkpoint(Checkpoint),
    /// The last message of a session that the controller ends.
    Farewell(Coded),
}

/// Asked live, answered once or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    Ping,
    Facts,
    /// The checkpoints that it keeps.
    Checkpoints,
    /// What it has verified of signed documents.
    Trust,
    Logs {
        app: AppName,
        lines: u32,
        follow: bool,
    },
    Survey(Box<Wanted>),
    Reach {
        to: Reach,
        timeout: Duration,
    },
    /// Error lines after `since_ms` are counted.
    Usage {
        app: AppName,
        since_ms: Millis,
    },
    /// Whether the app that was found healthy by this assignment still is.
    Glance {
        app: AppName,
        generation: Generation,
    },
    Test {
        app: AppName,
        release: ReleaseDigest,
        test: String,
        generation: Generation,
        timeout: Duration,
    },
}

/// Something that a host may reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// `http://` only.
    Http {
        url: String,
        status: Option<u16>,
    },
    Tcp(String),
    Dns {
        name: String,
        address: Option<IpAddr>,
    },
}

/// What an app uses: counters that only rise while it is the same process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub running: bool,
    pub restarts: u32,
    pub cpu_ms: u64,
    pub memory_bytes: u64,
    pub error_lines: u32,
    /// Why its log could not be read: then nobody knows how many lines complain.
    pub log_unread: Option<String>,
    /// 0: none.
    pub main_pid: u64,
}

/// How an app was found in one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Glance {
    /// The host is at it, or has been told something else since: nothing can be said.
    Busy,
    /// Another word for another process; empty: there is none that could end.
    Well {
        life: String,
    },
    Unwell(Box<Failure>),
}

/// How a test of a release went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestAnswer {
    pub cases: Vec<TestCase>,
    pub passed: u32,
    pub failed: u32,
    pub skipped: u32,
    /// Empty: it could not be run.
    pub ended: String,
    pub trouble: String,
    pub good: bool,
    /// The last it said.
    pub lines: Vec<String>,
    pub not_here: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestCase {
    pub name: String,
    pub state: String,
    pub message: String,
}

/// What a release needs of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub app: AppName,
    pub commands: Vec<String>,
    /// As the manifest writes them.
    pub ports: Vec<String>,
    pub mounts: Vec<String>,
    pub users: Vec<String>,
    pub run_as: Option<String>,
    /// Those that are on the host itself.
    pub secrets: Secrets,
    /// What whoever directs traffic there has to know; `None`: nobody does.
    pub directed: Option<Directed>,
}

impl Wanted {
    /// Only how the host stands.
    pub fn nothing_for(app: AppName) -> Self {
        Self {
            app,
            commands: vec![],
            ports: vec![],
            mounts: vec![],
            users: vec![],
            run_as: None,
            secrets: Secrets::new(),
            directed: None,
        }
    }
}

/// What a host is and has at this moment; of what was asked, what is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SurveyAnswer {
    pub time_ms: Millis,
    pub facts: Facts,
    /// `None`: never deployed there.
    pub app: Option<AppSeen>,
    pub hold: Option<HostHold>,
    pub commands_missing: Vec<String>,
    /// Each with the program that listens, where that can be told.
    pub ports_taken: Vec<(String, Option<String>)>,
    pub mounts_missing: Vec<String>,
    pub users_missing: Vec<String>,
    pub run_as_problem: Option<String>,
    /// Each with why it cannot be had there, and the way out.
    pub secrets_missing: Vec<String>,
    pub traffic: Looked,
}

#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // one at a time, moved once
pub enum Answer {
    Pong {
        time_ms: Millis,
        apps: Vec<AppSeen>,
    },
    Facts(Facts),
    Survey(Box<SurveyAnswer>),
    /// Whether it was; why not.
    Reached(Result<(), String>),
    Usage(Usage),
    Glance(Glance),
    Test(Box<TestAnswer>),
    Logs(Vec<LogLine>),
    Checkpoints(Vec<Checkpoint>),
    Trust(Box<TrustAnswer>),
    /// The agent's own words for why not.
    Error(String),
}

/// What streams to whoever watches: nothing of it is kept, and a slow watcher loses some.
#[derive(Clone, Debug)]
pub struct LiveLine {
    pub host: HostId,
    pub name: HostName,
    pub what: Live,
}

#[derive(Clone, Debug)]
pub enum Live {
    Progress(Progress),
    Log(LogLine),
}
