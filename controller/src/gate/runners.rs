//! Hosts that run tests are at one test of an app at a time, whichever rollout it is of: first come, first served. Not kept:
//! a controller that is started anew lets them line up again.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use longshore_common::{
    ids::{AppName, HostName},
    time::Span,
};
use tokio::{
    sync::{Mutex as AsyncMutex, OwnedMutexGuard},
    time::{Instant, timeout},
};

use super::Scene;

/// Between two words to whoever asks who is at it.
const AGAIN: Duration = Duration::from_secs(2);

/// Cheap to clone; one for all rollouts.
#[derive(Clone, Default)]
pub struct Runners(Arc<Mutex<Lanes>>);

type Lanes = HashMap<(HostName, AppName), Arc<Lane>>;

#[derive(Default)]
struct Lane {
    turn: Arc<AsyncMutex<()>>,
    /// Whose turn it is.
    has: Mutex<Option<Has>>,
}

struct Has {
    /// `rollout 0190… (1.2 to staging, gate smoke)`
    who: String,
    since: Instant,
    until: Instant,
}

/// The runner is this test's until it is dropped.
pub(super) struct Turn {
    lane: Arc<Lane>,
    pub until: Instant,
    _turn: OwnedMutexGuard<()>,
}

impl Runners {
    /// Nobody is at it, and nobody waits for it. A test that need not wait has what is left of its time.
    pub(super) fn take_if_free(&self, runner: &HostName, scene: &Scene) -> Option<Turn> {
        let lane = self.lane(runner, &scene.app);
        let turn = lane.turn.clone().try_lock_owned().ok()?;
        Some(Turn::new(lane, turn, scene, scene.until))
    }

    /// When everybody before it is done, it has all of its time. Tells meanwhile who is at it.
    pub(super) async fn take(&self, runner: &HostName, scene: &Scene) -> Turn {
        let lane = self.lane(runner, &scene.app);
        let mut turn = pin!(lane.turn.clone().lock_owned());
        let turn = loop {
            if let Ok(turn) = timeout(AGAIN, turn.as_mut()).await {
                break turn;
            }
            if let Some(has) = lane.has().as_ref() {
                scene.tell(has.words());
            }
        };
        let until = Instant::now() + scene.gate.deadline.0;
        Turn::new(lane, turn, scene, until)
    }

    /// Who is at it.
    pub(super) fn at(&self, runner: &HostName, app: &AppName) -> Option<String> {
        self.lane(runner, app).has().as_ref().map(Has::words)
    }

    fn lane(&self, runner: &HostName, app: &AppName) -> Arc<Lane> {
        let mut lanes = self.0.lock().expect("nothing panics while it holds the lock");
        lanes.entry((runner.clone(), app.clone())).or_default().clone()
    }
}

impl Lane {
    fn has(&self) -> MutexGuard<'_, Option<Has>> {
        self.has.lock().expect("nothing panics while it holds the lock")
    }
}

impl Has {
    /// `rollout 0190… (1.2 to staging, gate smoke) has it, for 3m now and 7m more at most`
    fn words(&self) -> String {
        let seconds = |time: Duration| Span::secs(time.as_secs());
        let now = Instant::now();
        let gone = seconds(now.saturating_duration_since(self.since));
        let left = seconds(self.until.saturating_duration_since(now));
        format!("{} has it, for {gone} now and {left} more at most", self.who)
    }
}

impl Turn {
    fn new(lane: Arc<Lane>, turn: OwnedMutexGuard<()>, scene: &Scene, until: Instant) -> Self {
        let Scene { rollout, version, env, gate, .. } = scene;
        let who = format!("rollout {} ({version} to {env}, gate {})", rollout.short(), gate.name);
        *lane.has() = Some(Has { who, since: Instant::now(), until });
        Self { lane, until, _turn: turn }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.lane.has() = None;
    }
}
