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
use tokio::{sync::mpsc, time::Instant};
use tokio_util::task::AbortOnDropHandle;

use super::{Checks, Conclusion, OwnFiles, Runners, Scene, look, runners::Turn};
use crate::{
    fleet::Fleet,
    rollout::{GateWord, Rollout, Stage, Verdict},
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

/// What is said of a gate.
#[derive(Clone, Debug)]
pub enum Said {
    Word { number: u32, word: GateWord },
    Concluded(Concluded),
}

/// The gates of one rollout that are being looked at.
pub struct Desk {
    checks: Checks,
    fleet: Fleet,
    clock: Arc<dyn Clock>,
    seen: Seen,
    /// Never read for a gate.
    own: OwnFiles,
    looking: HashMap<u32, AbortOnDropHandle<()>>,
    /// Those of all rollouts.
    runners: Runners,
    said: mpsc::Sender<Said>,
}

impl Desk {
    /// What is said of them comes out of the receiver.
    pub fn new(
        checks: Checks,
        fleet: Fleet,
        clock: Arc<dyn Clock>,
        seen: Seen,
        own: OwnFiles,
        runners: Runners,
    ) -> (Self, mpsc::Receiver<Said>) {
        let (said, receiver) = mpsc::channel(crate::rollout::GATES_MAX);
        (Self { checks, fleet, clock, seen, own, looking: HashMap::new(), runners, said }, receiver)
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
            let (own, runner, waited) = (self.own.clone(), gate.runner.clone(), run.waits);
            let line = runner.map(|runner| Line { runners: self.runners.clone(), runner });
            let task = tokio::spawn(async move {
                let conclusion = match (own.refused(&check), stage, line) {
                    (Some(why), _, _) => Conclusion::new(Verdict::NoData, why),
                    (None, Stage::Watch, line) => again_and_again(&check, scene, line, watch).await,
                    (None, Stage::Before | Stage::After { .. }, None) => look(&check, &scene).await,
                    (None, Stage::Before | Stage::After { .. }, Some(line)) => {
                        let turn = line.wait(&scene, waited, &said).await;
                        look(&check, &Scene { until: turn.until, ..scene }).await
                    }
                };
                // The rollout may be over.
                drop(said.send(Said::Concluded(Concluded { number, conclusion })).await);
            });
            self.looking.insert(run.number, AbortOnDropHandle::new(task));
        }
    }
}

/// Where the tests of one runner line up.
struct Line {
    runners: Runners,
    runner: HostName,
}

impl Line {
    /// Until the runner is free. That it waits for it is said, and when that is over: `waited` it has if that was so when
    /// the controller was another.
    async fn wait(&self, scene: &Scene, waited: bool, said: &mpsc::Sender<Said>) -> Turn {
        let word = |word| Said::Word { number: scene.number, word };
        let free = self.runners.take_if_free(&self.runner, scene);
        let turn = match free {
            Some(turn) if !waited => return turn,
            Some(mut turn) => {
                turn.until = Instant::now() + scene.gate.deadline.0;
                turn
            }
            None => {
                if let Some(at) = self.runners.at(&self.runner, &scene.app) {
                    scene.tell(at);
                }
                drop(said.send(word(GateWord::Waits)).await); // the rollout may be over
                self.runners.take(&self.runner, scene).await
            }
        };
        drop(said.send(word(GateWord::Begins)).await);
        turn
    }
}

/// Until it is not as it should be. The end of the watch time ends the task.
async fn again_and_again(check: &super::Check, scene: Scene, line: Option<Line>, watch: Span) -> Conclusion {
    let pause = (watch.0 / 10).clamp(AGAIN_MIN, AGAIN_MAX);
    for times in 1u32.. {
        let turn = match &line {
            Some(Line { runners, runner }) => Some(runners.take(runner, &scene).await),
            None => None,
        };
        let until = Instant::now() + scene.gate.deadline.0;
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
