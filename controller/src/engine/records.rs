//! What the engine keeps in the store, beside assignments: rollouts, locks, what is live, how apps stand on hosts.

use longshore_common::{
    assignment::Assignment,
    digest::{PlanDigest, SnapshotDigest},
    ids::{AppName, EnvName, Generation, HostId, RolloutId, Version},
    report::{Failure, Outcome, Report},
    settings::Values,
    slot::Slot,
    time::Millis,
    traffic::Side,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::snapshots;
use crate::{
    fleet::words::AppSeen,
    plan::Check,
    rollout::{Ask, Header, HostProgress, Rollout, Target, asked_target, assignment_of},
    store::{Key, Prefix, Revision, SharedStore, key::Name, record},
    trouble::Trouble,
};

/// Names the counter of rollouts: the high bits of generations.
pub const SEQUENCE: &str = "rollouts";
/// Releases that were healthy on a host and are remembered as its way back. Hosts keep at most 20 slots.
const GOOD_MAX: usize = 20;
/// Releases that were live in an environment and are remembered for rollbacks.
const BEFORE_MAX: usize = 10;

/// Under `rollouts/<id>`: the core's header, and who wanted it and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub header: Header,
    /// The same request never makes a second rollout.
    pub request_id: String,
    pub started_by: String,
    pub reason: String,
    /// It goes back to a release that was live before.
    #[serde(default)]
    pub rollback: bool,
    /// It brings what is live to hosts that came since, or missed it, and changes no other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub newcomers: bool,
    /// The plan that it follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanDigest>,
    /// Preconditions of the plan that it was started in spite of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Overridden>,
}

/// A precondition that did not hold, and why somebody started nonetheless: `Record::started_by`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overridden {
    pub check: Check,
    /// Never empty.
    pub reason: String,
}

/// Under `active/<env>/<app>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    pub rollout: RolloutId,
    pub version: Version,
    pub request_id: String,
    pub started_by: String,
    pub since_ms: Millis,
}

/// Under `live/<env>/<app>`: what the environment runs since its last rollout that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveRecord {
    pub target: Target,
    pub since_ms: Millis,
    pub rollout: RolloutId,
    /// Of two groups of hosts: the one that has the traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// What was live before, newest first; at most `BEFORE_MAX`. A rollback goes to the first and takes it out.
    pub before: Vec<Target>,
}

/// Under `assignments/<host>/<app>`: what the host is sent, and what it was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    #[serde(flatten)]
    pub assignment: Assignment,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotDigest>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<u16>,
    /// The host goes back to what another environment gave it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub foreign: bool,
}

impl Given {
    /// What the host is owed, if this rollout asked it something.
    pub fn of(rollout: &Rollout, id: HostId, host: &HostProgress) -> Option<Given> {
        let assignment = assignment_of(rollout, id, host)?;
        let Target { snapshot, layers, .. } = asked_target(rollout, host)?;
        let foreign = host.foreign && host.ask == Some(Ask::Return);
        Some(Given { assignment, snapshot, layers, foreign })
    }

    /// What a balancer is told, if it is told something.
    pub fn of_balancer(rollout: &Rollout, id: HostId) -> Option<Given> {
        let assignment = rollout.directions(id)?;
        Some(Given { assignment, snapshot: None, layers: vec![], foreign: false })
    }

    /// As what can be assigned again.
    pub fn target(self) -> Target {
        let Given { assignment, snapshot, layers, foreign: _ } = self;
        let values = if snapshot.is_some() { Values::new() } else { assignment.settings.values };
        Target { version: assignment.version, release: assignment.release, snapshot, layers, values }
    }
}

/// Under `states/<host>/<app>`: the last report, and what the host can go back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostApp {
    pub rollout: RolloutId,
    pub generation: Generation,
    pub outcome: Outcome,
    /// What is live now.
    pub live: Option<Slot>,
    /// Releases that were healthy on the host, the last first; at most `GOOD_MAX`.
    pub good: Vec<Good>,
    pub at_ms: Millis,
}

/// A release that was healthy on a host, and the slot it lies in there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Good {
    pub slot: Slot,
    pub target: Target,
    /// Which environment gave it; `None`: it was written down before that was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<EnvName>,
}

impl LiveRecord {
    /// What is live after a rollout that came to its end.
    pub fn after(previous: Option<LiveRecord>, record: &Record, now: Millis) -> Self {
        let target = record.header.target.clone();
        let side = record.header.side_with_traffic().or(previous.as_ref().and_then(|live| live.side));
        let before = match previous {
            None => vec![],
            Some(live) if live.target == target => live.before,
            // Back at an earlier one: what came after it is no longer before it.
            Some(live) if record.rollback && live.before.contains(&target) => {
                live.before.into_iter().skip_while(|earlier| *earlier != target).skip(1).collect()
            }
            Some(live) => {
                let earlier = live.before.into_iter().filter(|earlier| *earlier != live.target);
                std::iter::once(live.target.clone()).chain(earlier).take(BEFORE_MAX).collect()
            }
        };
        Self { target, since_ms: now, rollout: record.header.id, side, before }
    }
}

impl HostApp {
    /// With a report added; `None` when it is older than what is known. `assigned` is what the report's generation
    /// asked the host to run, if that is still known, and which environment gave it that; `None`: it has gone back, and
    /// whoever gave it that then still did.
    pub fn after(
        known: Option<HostApp>,
        report: &Report,
        assigned: Option<(Target, Option<EnvName>)>,
        now: Millis,
    ) -> Option<HostApp> {
        let (mut good, older) = match known {
            Some(known) => (known.good, known.generation > report.generation),
            None => (vec![], false),
        };
        if older {
            return None;
        }
        match (&report.outcome, assigned, &report.live) {
            (Outcome::Healthy | Outcome::Unchanged, Some((target, env)), Some(slot)) => {
                let held = good.iter().find(|held| held.slot == *slot);
                let env = env.or_else(|| held.and_then(|held| held.env.clone()));
                good.retain(|held| held.slot != *slot);
                good.insert(0, Good { slot: slot.clone(), target, env });
                good.truncate(GOOD_MAX);
            }
            (Outcome::Removed, _, _) => good.clear(),
            _ => {}
        }
        Some(HostApp {
            rollout: report.rollout,
            generation: report.generation,
            outcome: brief(report.outcome.clone()),
            live: report.live.clone(),
            good,
            at_ms: now,
        })
    }

    /// What the host runs, as something that can be assigned again; `None`: nothing of the app, or nothing that was
    /// ever healthy there.
    pub fn previous(&self) -> Option<&Target> {
        self.last_good().map(|good| &good.target)
    }

    /// Which environment gave it what it runs, as far as that is known.
    pub fn given_by(&self) -> Option<&EnvName> {
        self.last_good()?.env.as_ref()
    }

    fn last_good(&self) -> Option<&Good> {
        let live = self.live.as_ref()?;
        let exact = self.good.iter().find(|good| good.slot == *live);
        exact.or(self.good.first())
    }

    /// In the words in which a host itself tells how an app stands.
    pub fn as_seen(&self, app: AppName) -> AppSeen {
        let exact = self.live.as_ref().and_then(|live| self.good.iter().find(|good| good.slot == *live));
        let well = exact.is_some() && !self.is_sick();
        AppSeen {
            app,
            generation: self.generation,
            current_slot: self.live.as_ref().map(ToString::to_string).unwrap_or_default(),
            release: exact.map(|good| good.target.release.hex()).unwrap_or_default(),
            version: self.live.as_ref().map(|live| live.version().to_owned()).unwrap_or_default(),
            running: well,
            slots: vec![],        // what of them is still on its disk, only the host knows
            failed_slots: vec![], // likewise
            verdict: if well { "healthy".to_owned() } else { String::new() },
            local: None, // likewise
            sides: vec![],
        }
    }

    /// The app is known not to serve there.
    pub fn is_sick(&self) -> bool {
        match &self.outcome {
            Outcome::Inconsistent { .. } => true,
            Outcome::Failed { .. } => {
                self.live.as_ref().is_some_and(|live| self.good.iter().all(|good| good.slot != *live))
            }
            Outcome::Staged
            | Outcome::Healthy
            | Outcome::Unchanged
            | Outcome::Reverted { .. }
            | Outcome::Refused { .. }
            | Outcome::Removed => false,
        }
    }
}

/// The outcome without its evidence, which the rollout's own record keeps.
fn brief(outcome: Outcome) -> Outcome {
    let brief = |failure: Failure| Failure {
        evidence: vec![],
        message: longshore_common::wire::cut(&failure.message, 1024),
        ..failure
    };
    match outcome {
        Outcome::Failed { failure } => Outcome::Failed { failure: brief(failure) },
        Outcome::Inconsistent { failure } => Outcome::Inconsistent { failure: brief(failure) },
        Outcome::Refused { failure } => Outcome::Refused { failure: brief(failure) },
        Outcome::Reverted { failure, to_slot, to_version } => {
            Outcome::Reverted { failure: brief(failure), to_slot, to_version }
        }
        outcome @ (Outcome::Staged | Outcome::Healthy | Outcome::Unchanged | Outcome::Removed) => outcome,
    }
}

/// A rollout as it stands in the store.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub record: Record,
    pub rollout: Rollout,
    /// Of the header: what every commit about the rollout is guarded by.
    pub revision: Revision,
}

/// What lies under a key, and the revision that wrote it.
pub async fn get<T: DeserializeOwned>(
    store: &SharedStore,
    key: &Key,
) -> Result<Option<(T, Revision)>, Trouble> {
    match store.get(key).await? {
        Some(entry) => Ok(Some((record::decode_entry(&entry)?, entry.revision))),
        None => Ok(None),
    }
}

/// The rollout with all of its hosts. Header and hosts are read one after the other: a commit between the two is
/// found by its guard.
pub async fn load(store: &SharedStore, id: &RolloutId) -> Result<Option<Loaded>, Trouble> {
    let Some((record, revision)) = get::<Record>(store, &Key::rollout(id)).await? else { return Ok(None) };
    let listing = store.list(&Prefix::rollout_hosts(id)).await?;
    let mut hosts: Vec<(HostId, HostProgress)> = vec![];
    for entry in &listing.entries {
        if let Name::RolloutHost(_, host) = entry.key.name()? {
            hosts.push((host, record::decode_entry(entry)?));
        }
    }
    let rollout = Rollout::from_parts(record.header.clone(), hosts);
    let needed = rollout.snapshots_needed();
    // What is over asks nothing of any host, and some of what it began with may have been dropped.
    let snapshots = match rollout.phase().is_done() {
        true => snapshots::load(store, needed).await?,
        false => snapshots::load_all(store, needed).await?,
    };
    let rollout = rollout.with_snapshots(snapshots);
    Ok(Some(Loaded { record, rollout, revision }))
}

/// Every rollout's record, the oldest first: their ids sort by time.
pub async fn list(store: &SharedStore) -> Result<Vec<Record>, Trouble> {
    let listing = store.list(&Prefix::rollouts()).await?;
    listing.entries.iter().map(|entry| record::decode_entry(entry).map_err(Trouble::from)).collect()
}

/// The locks that stand: which rollouts are active.
pub async fn locks(store: &SharedStore) -> Result<Vec<(EnvName, AppName, Lock)>, Trouble> {
    let mut locks = vec![];
    for entry in store.list(&Prefix::active()).await?.entries {
        if let Name::Active(env, app) = entry.key.name()? {
            locks.push((env, app, record::decode_entry(&entry)?));
        }
    }
    Ok(locks)
}

#[cfg(test)]
mod tests {
    use longshore_common::{
        code::Code,
        digest::ReleaseDigest,
        report::{Blame, StepName},
        settings::Settings,
    };

    use super::*;

    fn target(version: &str) -> Target {
        Target {
            version: version.parse().unwrap(),
            release: ReleaseDigest::of(version.as_bytes()),
            snapshot: None,
            layers: vec![],
            values: Values::new(),
        }
    }

    fn given(target: &Target) -> Option<(Target, Option<EnvName>)> {
        given_by("staging", target)
    }

    fn given_by(env: &str, target: &Target) -> Option<(Target, Option<EnvName>)> {
        Some((target.clone(), Some(env.parse().unwrap())))
    }

    fn slot(target: &Target) -> Slot {
        Slot::new(&target.version, &target.release, &Settings::default())
    }

    fn report(generation: u64, outcome: Outcome, live: Option<&Target>) -> Report {
        Report {
            app: "shop".parse().unwrap(),
            rollout: "0193f3a0-0000-7000-8000-000000000001".parse().unwrap(),
            generation: Generation(generation),
            release: ReleaseDigest::of(b"x"),
            time_ms: 0,
            outcome,
            live: live.map(slot),
            by: None,
        }
    }

    #[test]
    fn a_host_remembers_what_it_can_go_back_to() {
        let (old, new) = (target("1.0"), target("1.1"));
        let known = HostApp::after(None, &report(1, Outcome::Healthy, Some(&old)), given(&old), 1).unwrap();
        assert_eq!(known.previous(), Some(&old));
        assert_eq!(known.given_by().map(EnvName::as_str), Some("staging"));
        let failure = Failure::new(Code::B01, StepName::Probe, Blame::Version, "500");
        let outcome = Outcome::Reverted { failure, to_slot: slot(&old), to_version: old.version.clone() };
        let back = report(2, outcome, Some(&old));
        let known = HostApp::after(Some(known), &back, given(&new), 2).unwrap();
        assert_eq!((known.previous(), known.is_sick()), (Some(&old), false));
        assert!(HostApp::after(Some(known), &report(1, Outcome::Healthy, Some(&new)), None, 3).is_none());
    }

    /// It is no more of the environment that sent it back than it was before.
    #[test]
    fn what_a_host_goes_back_to_is_still_of_whom_it_had_it_from() {
        let (old, new) = (target("1.0"), target("1.1"));
        let good = |known, generation, target: &Target, assigned| {
            HostApp::after(known, &report(generation, Outcome::Healthy, Some(target)), assigned, 1).unwrap()
        };
        let of = |known: &HostApp| known.given_by().map(ToString::to_string);
        let known = good(None, 1, &old, given(&old));
        let moved = good(Some(known), 2, &new, given_by("prod", &new));
        assert_eq!(of(&moved).as_deref(), Some("prod"));
        let back = good(Some(moved), 3, &old, Some((old.clone(), None)));
        assert_eq!((back.previous(), of(&back).as_deref()), (Some(&old), Some("staging")));
        let for_good = good(Some(back), 4, &old, given_by("prod", &old));
        assert_eq!(of(&for_good).as_deref(), Some("prod"), "it was given the same by this one as well");
    }

    /// What is told of a host that is away.
    #[test]
    fn what_was_reported_last_is_told_in_the_hosts_own_words() {
        let old = target("1.0");
        let known = HostApp::after(None, &report(1, Outcome::Healthy, Some(&old)), given(&old), 1).unwrap();
        let seen = known.as_seen("shop".parse().unwrap());
        assert_eq!((seen.version.as_str(), seen.running, seen.verdict.as_str()), ("1.0", true, "healthy"));
        assert_eq!(seen.current_slot, slot(&old).to_string());
        let failure = Failure::new(Code::B01, StepName::Probe, Blame::Version, "500");
        let broken = report(2, Outcome::Inconsistent { failure }, Some(&old));
        let seen = HostApp::after(Some(known), &broken, None, 2).unwrap().as_seen("shop".parse().unwrap());
        assert_eq!((seen.version.as_str(), seen.running, seen.verdict.as_str()), ("1.0", false, ""));
    }

    #[test]
    fn nothing_live_is_nothing_to_go_back_to() {
        let old = target("1.0");
        let known = HostApp::after(None, &report(1, Outcome::Healthy, Some(&old)), given(&old), 1).unwrap();
        let known = HostApp::after(Some(known), &report(2, Outcome::Removed, None), None, 2).unwrap();
        assert_eq!(known.previous(), None);
    }
}
