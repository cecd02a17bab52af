//! When an environment may be changed: windows, freezes and what they mean at a moment. Pure: a calendar and a moment
//! in, an answer out; zones come in resolved, and nothing here looks at a clock.
//!
//! There is one model of time for all of it. A [`Times`] is a set of moments, said on the local clock of the
//! calendar's zone: recurring (`mon-fri`, `22:00` to `04:00`) or once. A *window* is a `Times` in which changes are
//! begun; with no window at all every moment is one. A *freeze* is a `Times` in which none is, whatever the windows
//! say. A moment is in a `Times` exactly when the local clock reads so: an hour that the clocks skip is in none, an hour
//! that they repeat is in both of its runs.
//!
//! `day` says which dates, `times` which moments, `search` when that changes, `say` why a moment is closed.

mod close;
mod day;
mod read;
mod say;
mod search;
mod slips;
#[cfg(test)]
mod tests;
mod times;

use jiff::tz::TimeZone;
use longshore_common::time::Millis;

pub use crate::rollout::UnderWay;
pub use day::Day;
pub use say::whole_seconds;
pub use search::Opening;
pub use times::{MINUTES_OF_DAY, Times};

/// How far ahead openings are looked for: a window that does not open in this time counts as one that never does.
pub const HORIZON_DAYS: i64 = 400;

/// Times in which changes are begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Unique among the windows of its calendar.
    pub name: String,
    pub times: Times,
}

/// Times in which nothing is begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freeze {
    /// Unique among the freezes of its calendar.
    pub name: String,
    pub reason: String,
    /// Who froze it by hand; `None`: the environment's file says so.
    pub by: Option<String>,
    pub times: Times,
    /// What it says of going back; `None`: as the calendar says.
    pub rollback: Option<bool>,
}

impl Freeze {
    /// It was to a moment, as one by hand is, and that has come.
    pub fn is_over(&self, at: Millis) -> bool {
        matches!(self.times, Times::Span { to: Some(to), .. } if to <= at)
    }
}

/// When one environment may be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    pub zone: TimeZone,
    /// None: every moment that is not frozen.
    pub windows: Vec<Window>,
    pub freezes: Vec<Freeze>,
    /// What happens to what is under way when it closes.
    pub when_closed: UnderWay,
    /// Whether hosts may go back while it is closed.
    pub rollback: bool,
}

impl Default for Calendar {
    /// Always open.
    fn default() -> Self {
        Self {
            zone: TimeZone::UTC,
            windows: vec![],
            freezes: vec![],
            when_closed: UnderWay::Hold,
            rollback: true,
        }
    }
}

/// How a moment stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing<'a> {
    /// In these windows; none where the calendar has none.
    Open(Vec<&'a Window>),
    /// In no window.
    Outside,
    /// In these freezes; never empty.
    Frozen(Vec<&'a Freeze>),
}

impl Calendar {
    pub fn standing(&self, at: Millis) -> Standing<'_> {
        let local = self.local(at);
        let frozen: Vec<&Freeze> =
            self.freezes.iter().filter(|freeze| freeze.times.hold(local, at)).collect();
        if !frozen.is_empty() {
            return Standing::Frozen(frozen);
        }
        let open: Vec<&Window> = self.windows.iter().filter(|window| window.times.hold(local, at)).collect();
        if open.is_empty() && !self.windows.is_empty() { Standing::Outside } else { Standing::Open(open) }
    }

    /// Whether the moment is in these times.
    pub fn is_in(&self, times: &Times, at: Millis) -> bool {
        times.hold(self.local(at), at)
    }

    pub fn is_open(&self, at: Millis) -> bool {
        matches!(self.standing(at), Standing::Open(_))
    }

    /// Whether hosts may go back at this moment: always while it is open; while it is closed as the calendar says, and a
    /// freeze that says otherwise goes first.
    pub fn may_go_back(&self, at: Millis) -> bool {
        match self.standing(at) {
            Standing::Open(_) => true,
            Standing::Outside => self.rollback,
            Standing::Frozen(freezes) => {
                freezes.iter().all(|freeze| freeze.rollback.unwrap_or(self.rollback))
            }
        }
    }

    /// It can never be closed.
    pub fn is_always_open(&self) -> bool {
        self.windows.is_empty() && self.freezes.is_empty()
    }
}
