//! `[calendar]`: when hosts may be changed. The words of the file become a [`Calendar`]; what it means is said there.

use jiff::{
    civil::{Date, DateTime, Time},
    tz::TimeZone,
};
use longshore_common::{
    code::Coded,
    strict::{Guard, Read, Table},
    text::visible,
};

use super::words::word;
use crate::calendar::{Calendar, Day, Freeze, MINUTES_OF_DAY, Times, UnderWay, Window};

/// Windows, and freezes, that one file may have.
const MOST: usize = 32;
const NAME_BYTES: usize = 64;
const REASON_BYTES: usize = 256;
/// `2026-12-20`: the reader of dates overlooks what comes after one.
const DATE_BYTES: usize = 10;

const WHEN_CLOSED: [(&str, UnderWay); 2] = [("hold", UnderWay::Hold), ("finish", UnderWay::Finish)];
const ROLLBACK: [(&str, bool); 2] = [("always", true), ("when-open", false)];

pub(super) fn calendar(root: &Table<'_>) -> Calendar {
    let table = root.table("calendar");
    let calendar = Calendar {
        zone: zone(&table),
        windows: windows(&table),
        freezes: freezes(&table),
        when_closed: word(&table, "calendar", "when_closed", UnderWay::Hold, &WHEN_CLOSED),
        rollback: word(&table, "calendar", "rollback", true, &ROLLBACK),
    };
    clashes(&table, &calendar);
    calendar
}

fn zone(table: &Guard<'_>) -> TimeZone {
    let Some(name) = table.optional::<String>("zone") else { return TimeZone::UTC };
    TimeZone::get(&name).unwrap_or_else(|_| {
        let shown = visible(&name);
        table.problem_at(
            "zone",
            format!("calendar.zone: \"{shown}\" is no time zone that is known here: write \"Europe/Berlin\" or \"UTC\""),
        );
        TimeZone::UTC
    })
}

fn windows(table: &Guard<'_>) -> Vec<Window> {
    let mut windows: Vec<Window> = vec![];
    for entry in table.tables("window") {
        let name = name(&entry, "calendar.window", windows.iter().map(|window| window.name.as_str()));
        if let Some(times) = times(&entry, "calendar.window") {
            windows.push(Window { name, times });
        }
    }
    if windows.len() > MOST {
        table.problem_at("window", format!("calendar.window: at most {MOST}"));
    }
    windows
}

fn freezes(table: &Guard<'_>) -> Vec<Freeze> {
    let mut freezes: Vec<Freeze> = vec![];
    for entry in table.tables("freeze") {
        let name = name(&entry, "calendar.freeze", freezes.iter().map(|freeze| freeze.name.as_str()));
        let reason: String = entry.or("reason", String::new());
        if reason.len() > REASON_BYTES {
            entry.problem_at("reason", format!("calendar.freeze.reason: at most {REASON_BYTES} bytes"));
        }
        let says = entry.optional::<String>("rollback").is_some();
        let rollback = says.then(|| word(&entry, "calendar.freeze", "rollback", true, &ROLLBACK));
        if let Some(times) = times(&entry, "calendar.freeze") {
            freezes.push(Freeze { name, reason, by: None, times, rollback });
        }
    }
    if freezes.len() > MOST {
        table.problem_at("freeze", format!("calendar.freeze: at most {MOST}"));
    }
    freezes
}

/// The entry's name; two of one name are told apart by nobody.
fn name<'a>(entry: &Guard<'_>, group: &str, mut known: impl Iterator<Item = &'a str>) -> String {
    let name: String = entry.required("name").unwrap_or_default();
    if name.len() > NAME_BYTES || name.chars().any(char::is_control) {
        entry.problem_at("name", format!("{group}.name: at most {NAME_BYTES} bytes that can be printed"));
    } else if !name.is_empty() && known.any(|other| other == name) {
        entry.problem_at("name", format!("{group}.name: there is a \"{}\" already", visible(&name)));
    }
    name
}

/// `days`, and `from` and `to` as times of the day; or `from` and `to` as dates.
fn times(entry: &Guard<'_>, group: &str) -> Option<Times> {
    let days: Vec<Day> = entry.list("days");
    let (from, to) = (entry.optional::<Edge>("from"), entry.optional::<Edge>("to"));
    match (from, to) {
        (None, None) if !days.is_empty() => Some(Times::Recurring { days, from: 0, to: MINUTES_OF_DAY }),
        (Some(Edge::Clock(from)), Some(Edge::Clock(to))) => recurring(entry, group, days, from, to),
        (Some(Edge::Clock(from)), None) if absent(entry, "to") => {
            recurring(entry, group, days, from, MINUTES_OF_DAY)
        }
        (None, Some(Edge::Clock(to))) if absent(entry, "from") => recurring(entry, group, days, 0, to),
        (Some(Edge::Moment(from)), Some(Edge::Moment(to))) => once(entry, group, &days, from.0, to.1),
        (Some(Edge::Moment(_)), Some(Edge::Clock(_))) | (Some(Edge::Clock(_)), Some(Edge::Moment(_))) => {
            entry.problem_at("to", format!("{group}: from and to are both times of the day, or both dates"));
            None
        }
        (Some(Edge::Moment(_)), None) if absent(entry, "to") => {
            entry.problem_at("from", format!("{group}.to: say when it ends as well"));
            None
        }
        (None, Some(Edge::Moment(_))) if absent(entry, "from") => {
            entry.problem_at("to", format!("{group}.from: say when it begins as well"));
            None
        }
        (None, None) if absent(entry, "from") && absent(entry, "to") && absent(entry, "days") => {
            entry.problem_at("name", format!("{group} says no time: give days, from and to, or two dates"));
            None
        }
        _ => None, // said already
    }
}

fn absent(entry: &Guard<'_>, key: &str) -> bool {
    !entry.has(key)
}

fn recurring(entry: &Guard<'_>, group: &str, mut days: Vec<Day>, from: u16, to: u16) -> Option<Times> {
    if from == to {
        entry.problem_at(
            "to",
            format!("{group}.to: is the same as from, so it never begins; a whole day is 00:00 to 24:00"),
        );
        return None;
    }
    if from == MINUTES_OF_DAY {
        entry.problem_at("from", format!("{group}.from: a day begins at 00:00; 24:00 is its end"));
        return None;
    }
    if days.is_empty() {
        days.push(Day::Daily);
    }
    Some(Times::Recurring { days, from, to })
}

fn once(entry: &Guard<'_>, group: &str, days: &[Day], from: DateTime, to: DateTime) -> Option<Times> {
    if !days.is_empty() {
        entry
            .problem_at("days", format!("{group}.days: with dates there are no days; give times of the day"));
        return None;
    }
    if from >= to {
        entry.problem_at("to", format!("{group}.to: is not after from, so it never begins"));
        return None;
    }
    Some(Times::Once { from, to })
}

/// Two freezes that hold at once and say different things of going back: nobody could tell which is meant.
fn clashes(table: &Guard<'_>, calendar: &Calendar) {
    for (nth, one) in calendar.freezes.iter().enumerate() {
        for other in &calendar.freezes[nth + 1..] {
            let (Times::Once { from, to }, Times::Once { from: begin, to: end }) = (&one.times, &other.times)
            else {
                continue;
            };
            let says = |freeze: &Freeze| freeze.rollback.unwrap_or(calendar.rollback);
            if from < end && begin < to && says(one) != says(other) {
                let names = (visible(&one.name), visible(&other.name));
                let both = from.max(begin).strftime("%Y-%m-%d %H:%M");
                table.problem_at(
                    "freeze",
                    format!(
                        "calendar.freeze: \"{}\" and \"{}\" clash: from {both} on both hold, and they say different things of rollback",
                        names.0, names.1
                    ),
                );
            }
        }
    }
}

/// Where a time begins or ends, as it is written.
#[derive(Clone, Copy, Debug)]
enum Edge {
    /// Minute of the day.
    Clock(u16),
    /// As a beginning, and as an end: a date alone begins with its first minute and ends after its last.
    Moment((DateTime, DateTime)),
}

impl Read for Edge {
    const EXPECTED: &'static str =
        "a time of the day, \"22:00\", or a date, \"2026-12-20\" or \"2026-12-20 18:00\"";
    fn read(value: &toml::de::DeValue<'_>) -> Result<Self, Option<String>> {
        let text = String::read(value)?;
        let bad = || Some(format!("\"{}\" is not {}", visible(&text), Self::EXPECTED));
        if let Some(minute) = minute(&text) {
            return Ok(Edge::Clock(minute));
        }
        if let (Ok(date), true) = (text.parse::<Date>(), text.len() == DATE_BYTES) {
            let begin = date.to_datetime(Time::midnight());
            let end = date.tomorrow().map_err(|_| bad())?.to_datetime(Time::midnight());
            return Ok(Edge::Moment((begin, end)));
        }
        let moment: DateTime = text.parse().map_err(|_| bad())?;
        Ok(Edge::Moment((moment, moment)))
    }
}

fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    if hour.len() != 2 || minute.len() != 2 {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let sound = (hour < 24 && minute < 60) || (hour == 24 && minute == 0);
    sound.then_some(hour * 60 + minute)
}

impl Read for Day {
    const EXPECTED: &'static str = "a day in quotes, like \"mon-fri\"";
    fn read(value: &toml::de::DeValue<'_>) -> Result<Self, Option<String>> {
        String::read(value)?.parse().map_err(|error: Coded| Some(error.message))
    }
}
