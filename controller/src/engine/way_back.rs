//! Where going back leads when nobody says where: to the newest release that was live before and has nothing against it.
//!
//! Of what is newer and is passed over it is said why. Whoever names a version goes to that one.

use std::collections::BTreeMap;

use longshore_common::{
    code::{Code, Coded},
    ids::{AppName, EnvName, Version},
    wire,
};

use super::records::{LiveRecord, Record};
use crate::{
    bundle,
    rollout::{Outcome, Phase, Target},
    store::SharedStore,
    trouble::Trouble,
};

/// Of why a release was withdrawn.
const WHY_BYTES: usize = 200;

/// Whose history it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past<'a> {
    pub app: &'a AppName,
    pub env: &'a EnvName,
    pub live: Option<&'a LiveRecord>,
    /// Every rollout, the oldest first.
    pub records: &'a [Record],
    /// Releases that hosts would refuse by what is signed, and why.
    pub refused: &'a BTreeMap<Version, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WayBack {
    /// `None`: nothing is left.
    pub target: Option<Target>,
    /// What is newer, the newest first.
    passed: Vec<Passed>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Passed {
    version: Version,
    /// `was withdrawn by admin: bad licence`
    why: String,
    /// Naming it still leads there.
    may_be_named: bool,
    /// Somebody tried to go back to it last, in vain.
    tried: bool,
}

impl WayBack {
    pub(super) async fn find(store: &SharedStore, past: &Past<'_>) -> Result<Self, Trouble> {
        let mut passed = vec![];
        let before = past.live.map(|live| &live.before[..]).unwrap_or_default();
        for target in before {
            match against(store, past, target).await? {
                None => return Ok(Self { target: Some(target.clone()), passed }),
                Some(why) => passed.push(why),
            }
        }
        Ok(Self { target: None, passed })
    }

    /// For a request that does not say where. Two people who give it in one incident mean the same: beyond what came by
    /// going back, and past what somebody tried to go back to in vain, only a release that is named leads.
    pub(super) fn unsaid(&self, past: &Past<'_>) -> Result<Target, Coded> {
        let refused = |message: String| Err(Coded::new(Code::R01, message));
        let Past { app, env, .. } = past;
        let further = match self.command(past) {
            None => String::new(),
            Some(command) => format!("; or further back: {command}"),
        };
        if let Some(passed) = self.passed.iter().find(|passed| passed.tried) {
            let Passed { version, why, .. } = passed;
            let again = command(past, version);
            return refused(format!("{app}@{version} {why}. To try again: {again}{further}"));
        }
        let Some(target) = &self.target else { return refused(self.nothing(past)) };
        if let Some((came, live)) = went_back(past).zip(past.live) {
            let (version, by, id) = (&live.target.version, &came.started_by, came.header.id.short());
            let command = command(past, &target.version);
            return refused(format!(
                "{env} went back to {app}@{version} already, by rollout {id} of {by}. \
                 If {app}@{} is meant, which was live before that: {command}",
                target.version
            ));
        }
        Ok(target.clone())
    }

    /// What leads there, by name.
    pub(super) fn command(&self, past: &Past<'_>) -> Option<String> {
        self.target.as_ref().map(|target| command(past, &target.version))
    }

    /// The reason that was given, with what was passed over.
    pub(super) fn reason(&self, given: &str) -> String {
        let passed = self.said();
        match (given.is_empty(), passed.is_empty()) {
            (_, true) => given.to_owned(),
            (true, false) => format!("passed over: {passed}"),
            (false, false) => format!("{given}; passed over: {passed}"),
        }
    }

    fn nothing(&self, past: &Past<'_>) -> String {
        let Past { app, env, .. } = past;
        if self.passed.is_empty() {
            return format!("nothing was live before in {env} that {app} could go back to");
        }
        let by_name = match self.passed.iter().find(|passed| passed.may_be_named) {
            None => String::new(),
            Some(passed) => format!("; or, if it is meant nonetheless: {}", command(past, &passed.version)),
        };
        let said = self.said();
        format!(
            "nothing is left in {env} that {app} could go back to: {said}. Publish another version{by_name}"
        )
    }

    /// `1.1 was withdrawn by admin: bad licence; 1.0 was …`
    fn said(&self) -> String {
        let said = |Passed { version, why, .. }: &Passed| format!("{version} {why}");
        self.passed.iter().map(said).collect::<Vec<_>>().join("; ")
    }
}

fn command(past: &Past<'_>, version: &Version) -> String {
    let Past { app, env, .. } = past;
    format!("longshore rollout rollback {app}@{version} --to {env}")
}

async fn against(store: &SharedStore, past: &Past<'_>, target: &Target) -> Result<Option<Passed>, Trouble> {
    let passed =
        |why: String| Passed { version: target.version.clone(), why, may_be_named: false, tried: false };
    let Some((release, _)) = bundle::load(&**store, past.app, &target.version).await? else {
        return Ok(Some(passed("is not here any more".to_owned())));
    };
    if let Some(withdrawal) = &release.withdrawn {
        let why = wire::cut(&withdrawal.reason, WHY_BYTES);
        return Ok(Some(passed(format!("was withdrawn by {}: {why}", withdrawal.by))));
    }
    if let Some(why) = past.refused.get(&target.version) {
        return Ok(Some(passed(wire::cut(why, WHY_BYTES))));
    }
    Ok(taken_back(past, target).map(|record| {
        let id = record.header.id.short();
        let why = match record.rollback {
            true => format!("is where rollout {id} was to go back to, and could not"),
            false => format!("was taken back by rollout {id}"),
        };
        Passed { may_be_named: true, tried: record.rollback, ..passed(why) }
    }))
}

/// The last rollout of the release there that came to an end, if it did not leave the release live.
fn taken_back<'a>(past: &Past<'a>, target: &Target) -> Option<&'a Record> {
    let mut tried = past.records.iter().rev().filter(|record| is_trial_of(past, target, record));
    let last = tried.find(|record| outcome(record).is_some_and(|outcome| outcome != Outcome::Aborted))?;
    matches!(outcome(last), Some(Outcome::RolledBack | Outcome::Failed)).then_some(last)
}

/// A rollout that brought newcomers what is live tried nothing, and one that brought what was live other settings says
/// nothing of those that it had.
fn is_trial_of(past: &Past<'_>, target: &Target, record: &Record) -> bool {
    let header = &record.header;
    let other_settings = header.target != *target && header.from_version.as_ref() == Some(&target.version);
    header.app == *past.app
        && header.env == *past.env
        && header.target.release == target.release
        && !other_settings
        && !record.newcomers
}

fn outcome(record: &Record) -> Option<Outcome> {
    match &record.header.phase {
        Phase::Done(done) => Some(done.outcome),
        _ => None,
    }
}

/// The rollout that made live what is, where that went back.
fn went_back<'a>(past: &Past<'a>) -> Option<&'a Record> {
    let live = past.live?;
    past.records.iter().find(|record| record.header.id == live.rollout).filter(|record| record.rollback)
}
