//! A plan, as it is kept and shown. Everything in it is data; nothing refers to anything outside.

use longshore_common::{
    digest::{ContentDigest, PlanDigest, ReleaseDigest},
    ids::{AppName, EnvName, HostId, HostName, Version},
    time::{Millis, Span},
};
use serde::{Deserialize, Serialize};

use super::{
    check::Check,
    files::FilePaths,
    traffic::{Bound, Traffic},
};

/// Of the JSON that a plan is kept and sent as.
pub const SCHEMA: &str = "longshore.plan/1";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Always `SCHEMA`.
    pub schema: String,
    /// Of [`Plan::binding`].
    pub digest: PlanDigest,
    pub made_ms: Millis,
    pub made_by: String,
    pub app: AppName,
    pub env: EnvName,
    /// What the hosts are to run.
    pub to: Running,
    /// What the environment runs since its last rollout that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<Running>,
    pub env_file: ContentDigest,
    /// In the order in which they are moved, then those that are not, by name. Every host of the environment is here once.
    pub hosts: Vec<HostPlan>,
    pub waves: Vec<Wave>,
    /// Key of the label that tells failure domains apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<String>,
    pub changes: Vec<Changed>,
    pub files: FileChange,
    /// The sum over all hosts.
    pub fetch: Fetch,
    /// What must hold between waves, in the order in which it is met.
    pub gates: Vec<Gate>,
    /// Load balancers and groups; `None`: the environment says nothing of traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    /// Windows, freezes and locks that apply.
    #[serde(default)]
    pub calendar: Vec<CalendarNote>,
    /// Where the release has to have proved itself before, in the order of the environment's file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub promotion: Vec<Demanded>,
    /// `None`: the environment asks for no approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    pub duration: Duration,
    pub back: Back,
    /// Preconditions that do not hold. Empty: the plan may start.
    pub failed: Vec<Failed>,
    /// What does not stop it and is worth knowing; one sentence each.
    pub remarks: Vec<String>,
}

/// A release with the settings that it is rendered with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    pub version: Version,
    pub release: ReleaseDigest,
    /// Tells its settings apart without saying them.
    pub settings: ContentDigest,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPlan {
    pub id: HostId,
    pub name: HostName,
    /// Its value of the label `spread`; `None` without such a label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    #[serde(flatten)]
    pub part: Part,
    pub change: Change,
    /// Of the release's settings: the layers that hold for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<u16>,
    /// What it runs, as something that it can be put back to; `None`: nothing of the app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Running>,
    pub standing: Standing,
    pub fetch: Fetch,
    /// Whether the release before is unpacked there still; `None`: there is none, or nobody can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_in_slot: Option<bool>,
    /// What is worth knowing of this host: why it is left out, what it lacks, who holds it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A host's part in the rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "part")]
pub enum Part {
    Wave {
        /// From 0.
        wave: u32,
    },
    /// It keeps what it has.
    Skipped {
        /// Never empty.
        because: Vec<Check>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Runs nothing of the app yet.
    Install,
    Update,
    /// The same release with other settings.
    Settings,
    /// Runs exactly this.
    Unchanged,
    Skipped,
}

/// How much of what a plan says of a host is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "standing")]
pub enum Standing {
    /// It answered now.
    Asked,
    /// It is connected and could not say; what it said when it connected is used.
    Unasked { why: String },
    /// It did not answer in time, or is not connected.
    Unknown,
}

/// What a host has to get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// Unpacked, without what it holds already.
    pub bytes: u64,
    /// About as much over the network.
    pub wire_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    /// From 0.
    pub number: u32,
    /// Distinct domains, sorted; with `spread` never more than one. Empty without `spread`.
    pub domains: Vec<String>,
    pub bake: Span,
    pub blast: Blast,
}

/// How much is at stake when a wave begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blast {
    /// Hosts of the wave.
    pub hosts: u32,
    /// Of all hosts that take part, this wave and those before it; 1 to 100.
    pub percent_so_far: u8,
    /// Of them, this wave alone; 1 to 100.
    pub percent: u8,
}

/// One thing of manifest or settings that differs between the live release and the new one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// `service.exec`, `values.workers`, `hosts "zone=a": secrets.db`. Of a secret never more than where it is found.
    pub path: String,
    /// As JSON, or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// How the artifacts differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    pub added: u32,
    pub changed: u32,
    pub removed: u32,
    pub same: u32,
    /// Which they are, as far as there is room.
    #[serde(default, skip_serializing_if = "FilePaths::is_empty")]
    pub paths: FilePaths,
    /// Config templates that differ, line by line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<TextChange>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextChange {
    pub path: String,
    /// As `diff -u` shows them, each beginning with ` `, `+`, `-` or `@`; empty when there is too much to show.
    pub lines: Vec<String>,
}

/// Something that must hold before the rollout goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// After which waves, from 0, rising; empty: before the first.
    pub after: Vec<u32>,
    /// `bake`, `promotion`, or the name of a gate in the environment's file.
    pub name: String,
    /// What it looks at, in words.
    pub what: String,
    pub opens: Opens,
    /// Longest that it takes; `None`: it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Span>,
}

/// Who or what opens a gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "opens", content = "who")]
pub enum Opens {
    /// Time alone.
    Time,
    /// A check that passes.
    Check,
    /// Whoever is named.
    People(String),
}

/// A window, freeze or lock that applies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalendarNote {
    /// `window`, `freeze`, `lock`, `scheduled`: another rollout that is to begin later.
    pub kind: String,
    /// One sentence.
    pub what: String,
    /// The rollout could not begin now.
    pub closed: bool,
    /// When that changes, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<Millis>,
}

/// An environment in which the same release has to have succeeded, and how that stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demanded {
    pub env: EnvName,
    /// How long it has to have been live there.
    pub lived: Span,
    /// Gates that have to have passed there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<String>,
    /// What is lacking, in one sentence; `None`: the demand is met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacking: Option<String>,
    /// When waiting alone will have met it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<Millis>,
}

/// What has to be given to this very digest before it may start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    pub count: u32,
    /// Who may give it, in words.
    pub by: String,
    /// The author of the plan may not.
    pub expires_after: Option<Span>,
}

/// How long it is likely to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duration {
    /// Bakes, steps of traffic, the watch, and the time that probes have to be good for: it cannot be quicker.
    pub least: Span,
    /// Learnt from earlier rollouts; never less than the least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<(Span, Span)>,
    /// From how many; 0: it cannot be said.
    pub learnt_from: u32,
}

/// How it would be undone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Back {
    /// By release, the one of most hosts first. Hosts that are not moved are not counted.
    pub to: Vec<BackTo>,
    /// What going back does not bring back; one sentence each.
    pub lost: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackTo {
    /// `None`: the app is removed where it was not before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    pub hosts: u32,
    /// Hosts that have it unpacked: they need neither network nor controller.
    pub in_slot: u32,
    /// Hosts that could not be asked.
    pub unknown: u32,
    /// Why hosts do not take it any more, whatever they hold: they keep what the rollout brought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// A precondition that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    pub check: Check,
    /// One sentence.
    pub what: String,
    /// Where; empty when it is not about hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<Fault>,
    /// The environment lets an operator start in spite of it.
    pub may_override: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    pub host: HostName,
    /// What it lacks.
    pub what: String,
}

/// What a plan is named by. Two plans with the same binding are the same plan.
#[derive(Debug, Serialize)]
pub struct Binding<'a> {
    pub schema: &'a str,
    pub app: &'a AppName,
    pub env: &'a EnvName,
    pub to: &'a Running,
    pub live: Option<&'a Running>,
    pub env_file: &'a ContentDigest,
    /// Who is moved from what in which wave.
    pub hosts: Vec<(&'a HostId, &'a Part, Option<&'a Running>, &'a [u16])>,
    pub gates: &'a [Gate],
    pub approval: Option<&'a Approval>,
    /// Who directs the traffic, and which group gets the release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Bound<'a>>,
}

impl Plan {
    pub fn binding(&self) -> Binding<'_> {
        let hosts = self.hosts.iter();
        let hosts = hosts.map(|host| (&host.id, &host.part, host.from.as_ref(), &host.layers[..]));
        Binding {
            schema: &self.schema,
            app: &self.app,
            env: &self.env,
            to: &self.to,
            live: self.live.as_ref(),
            env_file: &self.env_file,
            hosts: hosts.collect(),
            gates: &self.gates,
            approval: self.approval.as_ref(),
            traffic: self.traffic.as_ref().map(Traffic::binding),
        }
    }

    /// What names it.
    pub fn digest_of_binding(&self) -> PlanDigest {
        let json = serde_json::to_vec(&self.binding()).expect("a binding holds nothing that JSON cannot say");
        PlanDigest::of(&json)
    }

    /// Every host runs it already, and no traffic moves to it.
    pub fn is_nothing_to_do(&self) -> bool {
        let unchanged = |host: &HostPlan| matches!(host.change, Change::Unchanged);
        let moves = self.traffic.as_ref().is_some_and(Traffic::moves);
        self.hosts.iter().all(|host| unchanged(host) || matches!(host.change, Change::Skipped))
            && !(moves && self.hosts.iter().any(unchanged))
    }
}
