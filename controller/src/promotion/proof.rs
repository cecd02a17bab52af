//! What other environments have seen of a release.

use std::{collections::BTreeSet, fmt};

use longshore_common::{
    digest::ReleaseDigest,
    ids::{EnvName, RolloutId},
    time::{Millis, Span},
};

use super::Demand;

/// A rollout in another environment that came to its end there and left its release live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub env: EnvName,
    pub rollout: RolloutId,
    pub release: ReleaseDigest,
    /// From then on hosts left what they had run before.
    pub began: Millis,
    pub ended: Millis,
    /// It went back to what had been live before.
    pub rollback: bool,
    /// Gates that passed in it.
    pub passed: BTreeSet<String>,
}

/// A demand that is not met, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unproved {
    pub env: EnvName,
    pub why: Why,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    Never,
    /// It was live, but not for as long; `due` when it will have been, if it still is.
    TooShort {
        lived: Span,
        wanted: Span,
        due: Option<Millis>,
    },
    Gates {
        rollout: RolloutId,
        lacking: Vec<String>,
    },
    /// It was live, and the environment went back from it.
    WentBack {
        by: RolloutId,
    },
}

/// The demands that `release` does not meet at `now`. `runs` are those of all environments that are asked about, in
/// the order in which they ended.
pub fn unproved(demands: &[Demand], release: ReleaseDigest, runs: &[Run], now: Millis) -> Vec<Unproved> {
    let lacking = demands.iter().filter_map(|demand| {
        let there: Vec<&Run> = runs.iter().filter(|run| run.env == demand.env).collect();
        let why = lacking(demand, release, &there, now)?;
        Some(Unproved { env: demand.env.clone(), why })
    });
    lacking.collect()
}

/// Of one environment. One run that meets the demand is enough, unless the environment went back from the release
/// after it.
fn lacking(demand: &Demand, release: ReleaseDigest, there: &[&Run], now: Millis) -> Option<Why> {
    let mut found = Some(Why::Never);
    for (nth, run) in there.iter().enumerate().filter(|(_, run)| run.release == release) {
        let next = there[nth + 1..].iter().find(|later| later.release != release);
        if let Some(back) = next.filter(|later| later.rollback) {
            found = Some(Why::WentBack { by: back.rollout });
            continue;
        }
        if found.is_none() {
            continue; // proved, unless it is gone back from after that
        }
        // It is live as long as all hosts have it: another one may take days from its canary to its end.
        let until = next.map_or(now, |later| later.began);
        let lived = Span::millis((until - run.ended).max(0).unsigned_abs());
        let gates: Vec<String> =
            demand.gates.iter().filter(|gate| !run.passed.contains(*gate)).cloned().collect();
        found = if !gates.is_empty() {
            Some(Why::Gates { rollout: run.rollout, lacking: gates })
        } else if lived < demand.lived {
            let due = next.is_none().then(|| run.ended.saturating_add(demand.lived.as_ms()));
            Some(Why::TooShort { lived, wanted: demand.lived, due })
        } else {
            None
        };
        // The first run of a stretch began it: a later rollout of the same release only adds to it.
        if matches!(found, Some(Why::TooShort { .. })) && next.is_none() {
            break;
        }
    }
    found
}

impl Unproved {
    /// When waiting will have met the demand, if waiting is enough.
    pub fn due(&self) -> Option<Millis> {
        match self.why {
            Why::TooShort { due, .. } => due,
            Why::Never | Why::Gates { .. } | Why::WentBack { .. } => None,
        }
    }
}

impl fmt::Display for Unproved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let env = &self.env;
        match &self.why {
            Why::Never => write!(f, "no rollout of this release has succeeded in {env}"),
            Why::TooShort { lived, wanted, due } => {
                let lived = Span::secs(lived.0.as_secs());
                write!(f, "it was live in {env} for {lived}, and {wanted} are asked for")?;
                match due {
                    Some(_) => f.write_str("; it still is, so wait"),
                    None => f.write_str("; another release is live there now"),
                }
            }
            Why::Gates { rollout, lacking } => {
                write!(f, "in {env} these gates have not passed (rollout {rollout}): {}", lacking.join(", "))
            }
            Why::WentBack { by } => write!(f, "{env} went back from this release (rollout {by})"),
        }
    }
}
