//! One task for each gate that is due, begun and ended as the rollout moves.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use longshore_common::{
    ids::{HostName, RolloutId},
    time::{Clock, Span},
};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::{Checks, Conclusion, Scene, look};
use crate::{
    fleet::Fleet,
    rollout::{Rollout, Stage, Verdict},
};

/// Between two looks in the watch time: a tenth of it, within these.
const AGAIN_MIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(60);

/// What checks have seen so far, by rollout and run. Not kept: whoever asks now sees it, nobody else.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<HashMap<RolloutId, BTreeMap<u32, String>>>>);

impl Seen {
    pub fn of(&self, rollout: &RolloutId) -> BTreeMap<u32, String> {
        self.0
            .lock()
            .expect("nothing panics while it holds the lock")
            .get(rollout)
            .cloned()
            .unwrap_or_default()
    }

    pub(super) fn put(&self, rollout: RolloutId, number: u32, seen: String) {
        let mut all = self.0.lock().expect("nothing panics while it holds the lock");
        all.entry(rollout).or_default().insert(number, seen);
    }

    fn forget(&self, rollout: &RolloutId, number: u32) {
        let mut all = self.0.lock().expect("nothing panics while it holds the lock");
        if let Some(runs) = all.get_mut(rollout) {
            runs.remove(&number);
            if runs.is_empty() {
                all.remove(rollout);
            }
        }
    }
}

/// What a check came to.
#[derive(Clone, Debug)]
pub struct Concluded {
    pub number: u32,
    pub conclusion: Conclusion,
}

/// The gates of one rollout that are being looked at.
pub struct Desk {
    checks: Checks,
    fleet: Fleet,
    clock: Arc<dyn Clock>,
    seen: Seen,
    looking: HashMap<u32, AbortOnDropHandle<()>>,
    /// Of each host on which tests run in the watch time: they take turns there, first come first served.
    runners: HashMap<HostName, Arc<tokio::sync::Mutex<()>>>,
    said: mpsc::Sender<Concluded>,
}

impl Desk {
    /// Conclusions come out of the receiver.
    pub fn new(
        checks: Checks,
        fleet: Fleet,
        clock: Arc<dyn Clock>,
        seen: Seen,
    ) -> (Self, mpsc::Receiver<Concluded>) {
        let (said, receiver) = mpsc::channel(crate::rollout::GATES_MAX);
        (
            Self { checks, fleet, clock, seen, looking: HashMap::new(), runners: HashMap::new(), said },
            receiver,
        )
    }

    /// Looks at what is due and at nothing else.
    pub fn keep_up(&mut self, rollout: &Rollout) {
        let due = rollout.due_gates();
        let (seen, id) = (self.seen.clone(), rollout.header.id);
        self.looking.retain(|number, _| {
            let stays = due.iter().any(|(_, _, run)| run.number == *number);
            if !stays {
                seen.forget(&id, *number);
            }
            stays
        });
        for (stage, gate, run) in due {
            if self.looking.contains_key(&run.number) {
                continue;
            }
            let (fleet, clock, seen) = (self.fleet.clone(), self.clock.clone(), self.seen.clone());
            let scene = Scene::of(rollout, stage, gate, run, fleet, clock, seen);
            let Some(check) = self.checks.by_gate.get(&gate.name).cloned() else { continue };
            let (said, number) = (self.said.clone(), run.number);
            let watch = Span::millis((run.deadline - run.since).max(0).unsigned_abs());
            let turns = gate.runner.clone().map(|runner| self.runners.entry(runner).or_default().clone());
            let task = tokio::spawn(async move {
                let conclusion = match stage {
                    Stage::Watch => again_and_again(&check, scene, turns.as_deref(), watch).await,
                    Stage::Before | Stage::After { .. } => look(&check, &scene).await,
                };
                drop(said.send(Concluded { number, conclusion }).await); // the rollout may be over
            });
            self.looking.insert(run.number, AbortOnDropHandle::new(task));
        }
    }
}

/// Until it is not as it should be. The end of the watch time ends the task.
async fn again_and_again(
    check: &super::Check,
    scene: Scene,
    turns: Option<&tokio::sync::Mutex<()>>,
    watch: Span,
) -> Conclusion {
    let pause = (watch.0 / 10).clamp(AGAIN_MIN, AGAIN_MAX);
    for times in 1u32.. {
        let turn = match turns {
            Some(turns) => Some(turns.lock().await),
            None => None,
        };
        let until = tokio::time::Instant::now() + scene.gate.deadline.0;
        let now = Scene { until, since: scene.clock.now_ms(), ..scene.clone() };
        let conclusion = look(check, &now).await;
        drop(turn);
        if conclusion.verdict != Verdict::Pass {
            return conclusion;
        }
        let often = if times == 1 { "once".to_owned() } else { format!("{times} times") };
        scene.tell(format!("passed {often}; last: {}", conclusion.note));
        tokio::time::sleep(pause).await;
    }
    unreachable!("nobody watches for four thousand million looks")
}
