//! Why a moment is closed, in words.

use jiff::{Timestamp, Zoned};
use longshore_common::time::Millis;

use super::{Calendar, Freeze, Standing, Times};

/// Windows named in a sentence; the rest are counted.
const NAMED: usize = 3;

/// The moment in seconds. A part of one is a whole one: whoever waits until then has waited long enough.
pub fn whole_seconds(at: Millis) -> i64 {
    at.div_euclid(1000) + i64::from(at.rem_euclid(1000) > 0)
}

impl Calendar {
    /// `Sun 2026-11-29 01:30 CET`, on the clock of the zone. Seconds are said where there are some.
    pub fn say_moment(&self, at: Millis) -> String {
        let seconds = whole_seconds(at);
        let at = Timestamp::from_second(seconds).unwrap_or_default();
        let clock = if seconds.rem_euclid(60) == 0 { "%H:%M" } else { "%H:%M:%S" };
        Zoned::new(at, self.zone.clone()).strftime(&format!("%a %Y-%m-%d {clock} %Z")).to_string()
    }

    /// When it holds, with moments on the clock of the zone.
    pub fn say_times(&self, times: &Times) -> String {
        match times {
            Times::Span { from, to: Some(to) } => {
                format!("{} to {}", self.say_moment(*from), self.say_moment(*to))
            }
            Times::Span { from, to: None } => {
                format!("from {} until somebody lifts it", self.say_moment(*from))
            }
            Times::Recurring { .. } | Times::Once { .. } => times.to_string(),
        }
    }

    /// Why nothing may be begun at this moment, one sentence for each reason; none while it is open.
    pub fn reasons(&self, at: Millis) -> Vec<String> {
        match self.standing(at) {
            Standing::Open(_) => vec![],
            Standing::Outside => vec![self.say_outside()],
            Standing::Frozen(freezes) => freezes.into_iter().map(|freeze| self.say_freeze(freeze)).collect(),
        }
    }

    fn say_outside(&self) -> String {
        let named: Vec<String> = self
            .windows
            .iter()
            .take(NAMED)
            .map(|window| format!("{} ({})", window.name, window.times))
            .collect();
        let more = match self.windows.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let windows = if self.windows.len() == 1 { "window" } else { "windows" };
        format!("outside the {windows} {}{more}", named.join(", "))
    }

    fn say_freeze(&self, freeze: &Freeze) -> String {
        let Freeze { name, reason, by, times, rollback: _ } = freeze;
        let by = by.as_deref().map(|by| format!(" by {by}")).unwrap_or_default();
        let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let until = match times {
            Times::Span { to: Some(to), .. } => format!("until {}", self.say_moment(*to)),
            times => times.to_string(),
        };
        match freeze.by {
            Some(_) => format!("frozen{by}{reason} ({until})"),
            None => format!("frozen by \"{name}\"{reason} ({until})"),
        }
    }
}
