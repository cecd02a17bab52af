//! A set of moments, said on a local clock.

use std::fmt;

use jiff::{
    Timestamp,
    civil::{Date, DateTime, Time},
    tz::{AmbiguousOffset, TimeZone},
};
use longshore_common::time::Millis;

use super::{Calendar, Day};

/// The minute at which a day ends.
pub const MINUTES_OF_DAY: u16 = 24 * 60;

/// A set of moments: those at which the local clock reads so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Times {
    /// On every date that fits one of the days, from a minute of the day until before another; where `to` is not after
    /// `from`, until that of the next date.
    Recurring { days: Vec<Day>, from: u16, to: u16 },
    /// From a date and time until before another; `from` is before `to`.
    Once { from: DateTime, to: DateTime },
    /// From a moment until before another, whatever the local clock; no end: until somebody ends it.
    Span { from: Millis, to: Option<Millis> },
}

impl Times {
    /// Whether the moment `at`, at which the local clock reads `local`, is one of them.
    pub(super) fn hold(&self, local: DateTime, at: Millis) -> bool {
        match self {
            Times::Recurring { .. } => {
                let today = local.date();
                let dates = [Some(today), today.yesterday().ok()];
                let mut runs = dates.into_iter().flatten().filter_map(|date| self.run_of(date));
                runs.any(|(from, to)| from <= local && local < to)
            }
            Times::Once { from, to } => *from <= local && local < *to,
            Times::Span { from, to } => *from <= at && to.is_none_or(|to| at < to),
        }
    }

    /// The run that begins on a date, on the local clock; `None` when none does.
    pub(super) fn run_of(&self, date: Date) -> Option<(DateTime, DateTime)> {
        let Times::Recurring { days, from, to } = self else { return None };
        if !days.iter().any(|day| day.fits(date)) {
            return None;
        }
        let end = if to <= from { date.tomorrow().ok()? } else { date };
        Some((on(date, *from)?, on(end, *to)?))
    }

    /// Where the local clock enters or leaves them because of a run that begins on this date.
    pub(super) fn edges_on(&self, date: Date) -> Vec<DateTime> {
        match self {
            Times::Recurring { .. } => self.run_of(date).map_or(vec![], |(from, to)| vec![from, to]),
            Times::Once { from, to } => [*from, *to].into_iter().filter(|edge| edge.date() == date).collect(),
            Times::Span { .. } => vec![],
        }
    }

    /// Edges that are moments and not readings of a clock.
    pub(super) fn fixed_edges(&self) -> impl Iterator<Item = Millis> {
        let (from, to) = match self {
            Times::Span { from, to } => (Some(*from), *to),
            Times::Recurring { .. } | Times::Once { .. } => (None, None),
        };
        from.into_iter().chain(to)
    }
}

/// The minute of the date; the last is the first of the next date.
fn on(date: Date, minute: u16) -> Option<DateTime> {
    if minute >= MINUTES_OF_DAY {
        return Some(date.tomorrow().ok()?.to_datetime(Time::midnight()));
    }
    Some(date.at((minute / 60) as i8, (minute % 60) as i8, 0, 0))
}

/// Every moment at which the clock of the zone reads this: none where it is skipped, two where it is repeated.
pub(super) fn moments_of(local: DateTime, zone: &TimeZone) -> Vec<Millis> {
    let offsets = match zone.to_ambiguous_zoned(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => vec![offset],
        AmbiguousOffset::Gap { .. } => vec![],
        AmbiguousOffset::Fold { before, after } => vec![before, after],
    };
    let moments = offsets.into_iter().filter_map(|offset| offset.to_timestamp(local).ok());
    moments.map(Timestamp::as_millisecond).collect()
}

impl Calendar {
    /// What the clock of the zone reads at this moment. Moments beyond the years that are known read as the last one.
    pub fn local(&self, at: Millis) -> DateTime {
        let at =
            Timestamp::from_millisecond(at).unwrap_or(if at < 0 { Timestamp::MIN } else { Timestamp::MAX });
        self.zone.to_datetime(at)
    }
}

fn clock(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Times::Recurring { days, from, to } => {
                let days: Vec<String> = days.iter().map(Day::to_string).collect();
                f.write_str(&days.join(", "))?;
                match (*from, *to) {
                    (0, MINUTES_OF_DAY) => Ok(()),
                    (from, to) => write!(f, " {} to {}", clock(from), clock(to)),
                }
            }
            Times::Once { from, to } => {
                write!(f, "{} to {}", from.strftime("%Y-%m-%d %H:%M"), to.strftime("%Y-%m-%d %H:%M"))
            }
            Times::Span { from: _, to: None } => f.write_str("until somebody ends it"),
            Times::Span { from, to: Some(to) } => {
                let utc = |at: Millis| {
                    Timestamp::from_millisecond(at).unwrap_or_default().strftime("%Y-%m-%d %H:%M")
                };
                write!(f, "{} to {} UTC", utc(*from), utc(*to))
            }
        }
    }
}
