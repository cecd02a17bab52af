//! The twin's sides and its traffic. What would tear traffic is a fault of the core and fails the test at once.

use longshore_common::{
    code::Code,
    ids::AppName,
    report::{Blame, Failure, StepName},
    slot::Slot,
    time::Millis,
    traffic::{Directions, Side, Traffic},
};

use super::{App, Flaw, SimHost, World, failure};
use crate::plan::{Balance, HookPoint, Needs, Running, Seen, Shown, Split};

/// By no clock: the twin has none.
pub const WARM_UNTIL_MS: Millis = 1_000;

/// Everything that is set up to run.
pub(super) fn all_running(app: &mut App) -> impl Iterator<Item = &mut Running> {
    let Seen { running, sides, .. } = &mut app.seen;
    [running, &mut sides.blue, &mut sides.green].into_iter().filter_map(Option::as_mut)
}

impl SimHost {
    /// A service that runs beside itself.
    pub fn beside(hooks: impl IntoIterator<Item = HookPoint>) -> Needs {
        Needs { sides: true, ..Self::service(hooks) }
    }

    /// Whoever directs traffic goes away, or comes back.
    pub fn director_away(&self, away: bool) {
        self.world().director_away = away;
    }

    /// Whoever directs traffic has forgotten what it was told, as HAProxy does when it is started again.
    pub fn forget_traffic(&self, app: &AppName) {
        if let Some(App { seen, .. }) = self.world().apps.get_mut(app)
            && let Shown::As(split) = &mut seen.sides.traffic
        {
            split.green = 50;
        }
        if let Some(App { seen, .. }) = self.world().apps.get_mut(app)
            && let Some(balance) = &mut seen.balance
        {
            balance.shown = false;
        }
    }

    /// The side's process ends.
    pub fn kill_side(&self, app: &AppName, side: Side) {
        let mut world = self.world();
        let sides = world.apps.get_mut(app).map(|app| &mut app.seen.sides);
        if let Some(running) = sides.and_then(|sides| sides.on_mut(side).as_mut()) {
            running.up = false;
        }
    }

    /// The time is over for which a side was to be kept warm.
    pub fn warm_is_over(&self, app: &AppName) {
        if let Some(app) = self.world().apps.get_mut(app) {
            app.seen.sides.warm_over = true;
        }
    }
}

impl World {
    pub(super) fn start_side(&mut self, app: &AppName, slot: &Slot, side: Side) -> Result<(), Failure> {
        let sides = self.app(app).seen.sides;
        assert!(self.app(app).seen.is_sealed(slot), "only a sealed slot may run");
        assert_ne!(sides.home_of(slot), Some(side.other()), "{slot} runs on {} already", side.other());
        let replaced = sides.on(side).is_some_and(|old| old.up && old.slot != *slot);
        assert!(!replaced || sides.share(side) == Some(0), "{side} has traffic and was started over");
        let running = Running { slot: slot.clone(), up: false, main: format!("unit {side}") };
        self.change(app, |app| *app.seen.sides.on_mut(side) = Some(running))?;
        if self.has_flaw(slot.version(), Flaw::Start) {
            return Err(failure(Code::U01, StepName::Start, Blame::Version, "exited with 1"));
        }
        self.change(app, |app| app.seen.sides.on_mut(side).as_mut().expect("set above").up = true)
    }

    /// Two effects, as where weights are set one after the other.
    pub(super) fn shift(
        &mut self,
        app: &AppName,
        slot: &Slot,
        side: Side,
        traffic: &Traffic,
    ) -> Result<(), Failure> {
        let sides = self.app(app).seen.sides;
        assert!(sides.is_up(side, slot), "traffic may only go to what runs");
        assert!(!self.has_flaw(slot.version(), Flaw::Probe), "traffic may only go to what is healthy");
        if self.director_away || self.has_flaw(slot.version(), Flaw::Traffic) {
            return Err(failure(Code::L01, StepName::Traffic, Blame::Environment, "haproxy is away"));
        }
        let split = Split::of(traffic, side, traffic.share);
        let others = (100 - traffic.share > 0).then_some(side.other());
        assert!(
            others.is_none_or(|other| sides.on(other).is_some_and(|running| running.up)),
            "traffic stays with a side that does not run"
        );
        let between = sides.share(side).unwrap_or(0).midpoint(traffic.share);
        if sides.on(side.other()).is_some_and(|running| running.up) {
            let between = Split::of(traffic, side, between);
            self.change(app, |app| app.seen.sides.traffic = Shown::As(between))?;
        }
        self.change(app, |app| {
            app.seen.sides.traffic = Shown::As(split);
            app.seen.sides.warm_over = false;
            app.seen.sides.warm_until_ms = WARM_UNTIL_MS;
        })
    }

    /// An effect for every server that changes.
    pub(super) fn direct(&mut self, app: &AppName, directions: &Directions) -> Result<(), Failure> {
        if self.director_away {
            return Err(failure(Code::L01, StepName::Traffic, Blame::Environment, "haproxy is away"));
        }
        for _ in &directions.servers {
            self.change(app, |app| app.seen.balance.iter_mut().for_each(|balance| balance.shown = false))?;
        }
        self.change(app, |app| app.seen.balance = Some(Balance { told: directions.clone(), shown: true }))
    }

    pub(super) fn stop_side(&mut self, app: &AppName, side: Side) -> Result<(), Failure> {
        self.change(app, |app| *app.seen.sides.on_mut(side) = None)
    }
}
