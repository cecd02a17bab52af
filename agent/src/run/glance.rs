//! Whether an app that was found healthy still is: for a controller that watches a release after its switch.

use std::time::Duration;

use longshore_common::{
    code::Code,
    ids::{AppName, Generation},
    report::{Failure, Outcome, StepName},
    slot::Slot,
};
use serde::{Deserialize, Serialize};

use super::{Crew, Standing};
use crate::{
    host::{Host, fault},
    plan::Record,
};

/// Probes have timeouts of their own; this is for whoever has none, or a host that does not answer itself.
const DEADLINE: Duration = Duration::from_secs(20);

/// What was seen in one look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Glance {
    /// It is being changed, was stopped on purpose, or what was asked about is not what is live.
    Busy {},
    /// Another word for another process; empty: there is none that could end.
    Well {
        life: String,
    },
    Unwell {
        failure: Failure,
    },
}

impl<H: Host> Crew<H> {
    /// One attempt of each probe of what is live. Nothing is changed by it, nor written down.
    pub async fn glance(&self, app: &AppName, generation: Generation) -> Glance {
        let Some(slot) = settled(&self.standing(app).await, generation) else { return Glance::Busy {} };
        let late = || {
            let words = format!("it could not be looked at within {DEADLINE:?}");
            Err(fault::host(Code::U01, StepName::Probe, words))
        };
        let looked = tokio::time::timeout(DEADLINE, self.host().glance(app, &slot)).await;
        // What fails while it is changed says nothing of it.
        if settled(&self.standing(app).await, generation).as_ref() != Some(&slot) {
            return Glance::Busy {};
        }
        match looked.unwrap_or_else(|_| late()) {
            Ok(life) => Glance::Well { life },
            Err(failure) => Glance::Unwell { failure },
        }
    }
}

/// What is live, if it was found healthy by this assignment and nothing is under way.
fn settled(standing: &Standing, generation: Generation) -> Option<Slot> {
    let Record { accepted, concluded, order, halt, .. } = &standing.record;
    let asked = accepted.as_ref().is_some_and(|assignment| assignment.generation == generation);
    let well = concluded.as_ref().is_some_and(|concluded| {
        concluded.generation == generation
            && matches!(concluded.outcome, Outcome::Healthy | Outcome::Unchanged)
    });
    let quiet = standing.activity.step.is_none() && order.is_none() && halt.is_none();
    if !(asked && well && quiet) {
        return None;
    }
    standing.seen.as_ref().ok()?.current.clone()
}
