//! What a plan is made from: everything that was gathered, as data.

use std::{collections::BTreeMap, sync::Arc};

use longshore_common::{
    bundle::Index,
    digest::ContentDigest,
    ids::{EnvName, HostName, Version},
    manifest::Manifest,
    time::{Millis, Span},
    traffic::Looked,
};

use super::{Approval, CalendarNote, Check, Demanded, PlanPolicy};
use crate::rollout::{Behind, Member, Snapshots, Spec, Target};

#[derive(Clone, Debug)]
pub struct World {
    pub made_ms: Millis,
    pub made_by: String,
    pub env: EnvName,
    pub env_file: ContentDigest,
    pub policy: PlanPolicy,
    pub spec: Spec,
    /// The load balancers before the hosts; `None`: there are none that we direct.
    pub behind: Option<Behind>,
    /// The last rollout of the app there gave the traffic to one of two groups.
    pub had_groups: bool,
    /// Each of them, and what it said of itself.
    pub balancers: Vec<(HostName, Surveyed)>,
    pub target: Target,
    /// Those that the target, what is live and what hosts run name.
    pub snapshots: Snapshots,
    pub release: Release,
    /// Of the whole artifact in blocks.
    pub wire_bytes: u64,
    /// Why the release may not be rolled out any more.
    pub withdrawn: Option<String>,
    pub live: Option<Target>,
    /// Releases that hosts run or may hold in a slot, by version, as far as they are here still.
    pub known: BTreeMap<Version, Release>,
    /// What there is against releases that hosts run, by version.
    pub against: BTreeMap<Version, Against>,
    /// Every host of the environment, once.
    pub hosts: Vec<Candidate>,
    /// Hosts outside of the environment on which its tests run.
    pub runners: Vec<Runner>,
    /// Which other rollout moves the app there, in words.
    pub busy: Option<String>,
    pub overlaps: Vec<Overlap>,
    /// Rollouts of the app in the environment that succeeded, the newest first.
    pub past: Vec<Past>,
    /// Config templates by path: as in the live release, as in the new one.
    pub templates: BTreeMap<String, (Option<String>, Option<String>)>,
    /// Of each gate that operators open, by its name, how many have to and who may, in words.
    pub asked: BTreeMap<String, String>,
    pub calendar: Vec<CalendarNote>,
    pub promotion: Vec<Demanded>,
    pub approval: Option<Approval>,
    /// Preconditions that were judged elsewhere and do not hold, each in a sentence.
    pub unmet: Vec<(Check, String)>,
}

/// What is in a release.
#[derive(Clone, Debug)]
pub struct Release {
    pub manifest: Arc<Manifest>,
    pub index: Arc<Index>,
}

/// Why nobody should go back to a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Against {
    /// It was withdrawn, for this reason, and hosts would take it nonetheless.
    Withdrawn(String),
    /// Hosts refuse it: they run what is signed, and it is not any more.
    Refused(String),
}

/// A host of the environment and what it said of itself.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub member: Member,
    pub surveyed: Surveyed,
    /// What templates of the release do not find in its settings, each in a sentence.
    pub unrendered: Vec<String>,
    /// By whom, and how, what it runs was found unwell there after its switch; nothing says that it is well again.
    pub unwell: Option<String>,
    /// Sealed secrets of its settings that it cannot open, each in a sentence with the way out.
    pub unopened: Vec<String>,
}

/// A host that is lent the release for a test, and starts nothing of it.
#[derive(Clone, Debug)]
pub struct Runner {
    pub host: Candidate,
    /// Those that do not go on without its test; never empty.
    pub gates: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Surveyed {
    Answered(Box<Survey>),
    /// Connected, and it could not say: an older agent. What it said when it connected is known.
    Unasked {
        why: String,
        machine: Option<Machine>,
    },
    /// Silent. What it said last is known, if it was ever here, and why it went, if it said so.
    Unknown {
        why: Option<String>,
        machine: Option<Machine>,
    },
}

/// What kind of machine a host is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    pub arch: String,
    /// `debian 12`
    pub os: String,
    pub memory_bytes: u64,
    /// Where releases lie.
    pub disk_free_bytes: u64,
}

/// What a host said now. Of what it was asked for, what it lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    pub machine: Machine,
    /// Its clock minus ours.
    pub clock_offset_ms: Millis,
    /// What is live, as a slot; empty: nothing of the app.
    pub live_slot: String,
    /// Sealed slots.
    pub slots: Vec<String>,
    pub hold: Option<String>,
    pub commands_missing: Vec<String>,
    /// Each with the program that listens, where that can be told.
    pub ports_taken: Vec<(String, Option<String>)>,
    pub mounts_missing: Vec<String>,
    pub users_missing: Vec<String>,
    pub run_as_problem: Option<String>,
    /// Each with why it cannot be had there, and the way out.
    pub secrets_missing: Vec<String>,
    /// Why it takes nothing new of the app, whoever signed it, and the way out.
    pub trust_problem: Option<String>,
    /// Of whoever directs traffic there.
    pub traffic: Looked,
}

/// Another environment that has some of the same hosts, and the app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    pub env: EnvName,
    /// Never empty.
    pub hosts: Vec<HostName>,
}

/// A rollout that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    pub took: Span,
    /// At least one.
    pub waves: u32,
    /// For time alone: bakes, steps of traffic, and the watch after them.
    pub waited: Span,
}

impl Surveyed {
    /// What is known of the machine, however long ago it was said.
    pub fn machine(&self) -> Option<&Machine> {
        match self {
            Surveyed::Answered(survey) => Some(&survey.machine),
            Surveyed::Unasked { machine, .. } | Surveyed::Unknown { machine, .. } => machine.as_ref(),
        }
    }

    pub fn answer(&self) -> Option<&Survey> {
        match self {
            Surveyed::Answered(survey) => Some(survey),
            Surveyed::Unasked { .. } | Surveyed::Unknown { .. } => None,
        }
    }
}
