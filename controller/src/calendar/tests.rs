//! Moments against windows, over changes of the clocks, and what always holds.

mod clocks;
mod properties;
mod words;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use longshore_common::time::Millis;

use super::*;

/// `00:30` as its minute.
fn minute(text: &str) -> u16 {
    let (hour, minute) = text.split_once(':').unwrap();
    hour.parse::<u16>().unwrap() * 60 + minute.parse::<u16>().unwrap()
}

/// `sun 01:30-02:30`, or `2026-12-20T00:00/2026-12-27T00:00`.
fn times(text: &str) -> Times {
    if let Some((from, to)) = text.split_once('/') {
        let moment = |text: &str| text.parse::<DateTime>().unwrap();
        return Times::Once { from: moment(from), to: moment(to) };
    }
    let (days, clock) = text.rsplit_once(' ').unwrap();
    let (from, to) = clock.split_once('-').unwrap();
    let days = days.split(", ").map(|day| day.parse().unwrap()).collect();
    Times::Recurring { days, from: minute(from), to: minute(to) }
}

pub(super) fn calendar(zone: &str, windows: &[&str], frozen: &[&str]) -> Calendar {
    let window = |(nth, text): (usize, &&str)| Window { name: format!("w{nth}"), times: times(text) };
    let freeze = |(nth, text): (usize, &&str)| Freeze {
        name: format!("f{nth}"),
        reason: "stock-taking".to_owned(),
        by: None,
        times: times(text),
        rollback: None,
    };
    Calendar {
        zone: TimeZone::get(zone).unwrap(),
        windows: windows.iter().enumerate().map(window).collect(),
        freezes: frozen.iter().enumerate().map(freeze).collect(),
        ..Calendar::default()
    }
}

/// `2026-11-22T10:00Z`
pub(super) fn at(text: &str) -> Millis {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

fn utc(at: Millis) -> String {
    Timestamp::from_millisecond(at).unwrap().strftime("%m-%dT%H:%MZ").to_string()
}

/// The openings from a moment on, as `from..until`.
fn openings(calendar: &Calendar, from: &str, count: usize) -> Vec<String> {
    let said = |opening: Opening| {
        format!("{}..{}", utc(opening.from), opening.until.map_or("never".to_owned(), utc))
    };
    calendar.openings(at(from), count).into_iter().map(said).collect()
}
