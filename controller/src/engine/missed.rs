//! Hosts that missed it: they were of the rollout that made live what is, and away or held until it was over, or left
//! out of it because they were drained. When they are back they are brought it as newcomers are (`newcomers`), once.
//!
//! What somebody did there by hand stands, and so does every verdict: a host on which the release failed,
//! that was left out, or that runs something else than it did then, waits for a rollout of an operator.

use longshore_common::{
    ids::{AppName, EnvName},
    slot::Slot,
};

use super::{
    Engine,
    newcomers::{ONLY_NEWCOMERS, THEN},
    records::{self, Given, HostApp, LiveRecord, Record},
    states,
};
use crate::{
    fleet::{Connected, Host, words::AppSeen},
    rollout::{HostProgress, HostState, Outcome, Phase, Target},
    store::Key,
    trouble::Trouble,
};

/// How a host stands to what is live, by the rollouts that were made since the one that made it so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// None of them had it.
    New,
    /// The last that was to bring it what is live ended well without it. This is its part in that one.
    Missed(Box<HostProgress>),
    /// It has it, had its try, or is not to have it by itself.
    Settled,
}

impl Claim {
    /// With one more rollout, a later one, that the host was of.
    fn after(self, record: &Record, known: &HostProgress, live: &LiveRecord) -> Self {
        let header = &record.header;
        let outcome = if let Phase::Done(done) = &header.phase { Some(done.outcome) } else { None };
        let ended_well = matches!(outcome, Some(Outcome::Succeeded | Outcome::NothingToDo));
        let kept = match &known.state {
            HostState::Excluded { .. } if known.is_out_for_drain() => {
                if ended_well && header.target == live.target && !record.newcomers {
                    return Self::Missed(Box::new(known.clone()));
                }
                true // it was others' turn
            }
            // It may be mended by now; or it was others' turn.
            HostState::Excluded { reason } => reason.contains(THEN) || reason == ONLY_NEWCOMERS,
            // Whoever ends one that has not begun there has said no, and so has a host that declines it.
            _ if record.newcomers => {
                known.is_untouched() && !known.declined && outcome != Some(Outcome::Aborted)
            }
            // No verdict on what is live.
            state if header.target != live.target => {
                known.is_untouched() || (*state == HostState::RolledBack && known.failure.is_none())
            }
            _ if ended_well && known.misses_out() => return Self::Missed(Box::new(known.clone())),
            _ => known.is_untouched() && header.id != live.rollout,
        };
        if kept { self } else { Self::Settled }
    }
}

/// Whether it runs what is live, by what it was asked last and says itself. That is so of most hosts, and is
/// found without a look at the store.
pub(super) fn runs_what_is_live(asked: &Given, connected: &Connected, live: &LiveRecord) -> bool {
    let Given { assignment, snapshot, layers: _, foreign: _ } = asked;
    if assignment.release != live.target.release {
        // It was to run another since, and kept or has again what it had.
        let seen = connected.apps.iter().find(|seen| seen.app == assignment.app);
        return seen.is_some_and(|seen| seen.release == live.target.release.hex());
    }
    *snapshot == live.target.snapshot && current_slot(connected, &assignment.app) == Some(assignment.slot())
}

/// Whether a host that no rollout had since, is to have what is live by itself: it was asked nothing here, or it was of the
/// environment before, and runs what it was asked to then. One that is away is taken at the controller's word.
pub(super) fn came_anew(asked: Option<&Given>, connected: Option<Connected>, live: &LiveRecord) -> bool {
    let Some(Given { assignment, .. }) = asked else { return true };
    let runs_it = |connected: &Connected| {
        let by_hand = |seen: &AppSeen| seen.app == assignment.app && seen.local.is_some();
        current_slot(connected, &assignment.app) == Some(assignment.slot())
            && !connected.apps.iter().any(by_hand)
    };
    assignment.rollout < live.rollout && connected.as_ref().is_none_or(runs_it) // ids sort by time
}

fn current_slot(connected: &Connected, app: &AppName) -> Option<Slot> {
    let seen = connected.apps.iter().find(|seen| seen.app == *app)?;
    seen.current_slot.parse().ok()
}

/// Nobody there deployed or went back by hand: it runs what it ran then, and that is not what is live.
fn runs_what_it_ran(
    then: &HostProgress,
    connected: &Connected,
    state: Option<&HostApp>,
    live: &LiveRecord,
    app: &AppName,
) -> bool {
    if connected.apps.iter().any(|seen| seen.app == *app && seen.local.is_some()) {
        return false;
    }
    let runs: Option<&Target> = match current_slot(connected, app) {
        None => None,
        Some(slot) => {
            let good = state.and_then(|state| state.good.iter().find(|good| good.slot == slot));
            let Some(good) = good else { return false }; // nothing that we gave it
            Some(&good.target)
        }
    };
    runs == then.previous.as_ref() && runs != Some(&live.target.on_host(&then.layers))
}

impl Engine {
    /// Rollouts of the app there since the one that made live what is, that one first.
    pub(super) async fn since(
        &self,
        env: &EnvName,
        app: &AppName,
        live: &LiveRecord,
    ) -> Result<Vec<Record>, Trouble> {
        let mut since = records::list(&self.inner.store).await?;
        since.retain(|Record { header, .. }| {
            header.env == *env && header.app == *app && header.id >= live.rollout // ids sort by time
        });
        Ok(since)
    }

    /// Of these rollouts, the oldest first, those since the host came from another environment, of which it is no more and
    /// that has asked it something: what it was before that is over.
    pub(super) async fn since_it_came<'r>(
        &self,
        since: &'r [Record],
        asked: Option<&Given>,
        env: &EnvName,
        host: &Host,
    ) -> Result<&'r [Record], Trouble> {
        let elsewhere = asked.map(|given| &given.assignment).filter(|assignment| assignment.env != *env);
        let Some(elsewhere) = elsewhere else { return Ok(since) };
        if self.selector(&elsewhere.env).await?.is_some_and(|selector| host.fits(&selector)) {
            return Ok(since); // it is of both
        }
        let before = since.partition_point(|record| record.header.id <= elsewhere.rollout); // ids sort by time
        Ok(&since[before..])
    }

    /// How the host stands by these rollouts, the oldest first.
    pub(super) async fn claim(
        &self,
        since: &[Record],
        live: &LiveRecord,
        host: &Host,
    ) -> Result<Claim, Trouble> {
        let mut claim = Claim::New;
        for record in since {
            let key = Key::rollout_host(&record.header.id, &host.id);
            if let Some((known, _)) = records::get::<HostProgress>(&self.inner.store, &key).await? {
                claim = claim.after(record, &known, live);
            }
        }
        Ok(claim)
    }

    /// Whether it can be brought now what it missed, and was asked nothing since that we would not know of.
    pub(super) async fn still_misses(
        &self,
        then: &HostProgress,
        asked: Option<&Given>,
        since: &[Record],
        live: &LiveRecord,
        host: &Host,
        app: &AppName,
    ) -> Result<bool, Trouble> {
        let connected = self.inner.fleet.presence().connected(&host.id);
        let Some(connected) = connected.filter(|connected| connected.hold.is_none()) else {
            return Ok(false);
        };
        let of = |record: &Record, asked: &Given| {
            let header = &record.header;
            let before =
                header.id == live.rollout && asked.assignment.generation.sequence() < header.sequence;
            before || header.id == asked.assignment.rollout
        };
        let known = asked.is_none_or(|asked| since.iter().any(|record| of(record, asked)));
        if !known || host.rejoining.is_some() {
            return Ok(false);
        }
        let (state, _) = states::known(&self.inner.store, &host.id, app).await?;
        Ok(runs_what_it_ran(then, &connected, state.as_ref(), live, app))
    }

    /// Of the rollouts that begin later, the one that moves the host: planned from what the host runs now.
    pub(super) async fn is_planned(
        &self,
        scheduled: &[Record],
        host: &Host,
    ) -> Result<Option<String>, Trouble> {
        for Record { header, .. } in scheduled {
            let key = Key::rollout_host(&header.id, &host.id);
            let known = records::get::<HostProgress>(&self.inner.store, &key).await?;
            if known.is_some_and(|(known, _)| !known.is_out()) {
                let (app, version, short) = (&header.app, &header.target.version, header.id.short());
                return Ok(Some(format!(
                    "rollout {short} of {app}@{version}, which begins later, moves it. \
                     See: longshore rollout explain {short}"
                )));
            }
        }
        Ok(None)
    }
}
