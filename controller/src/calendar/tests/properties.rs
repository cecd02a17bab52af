//! What holds for every calendar, zone and moment.

use jiff::ToSpan;
use proptest::{prelude::*, test_runner::Config};

use super::*;

const ZONES: [&str; 8] = [
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "America/New_York",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Asia/Beirut",
    "Pacific/Apia",
];
const MINUTE: Millis = 60_000;

fn day() -> impl Strategy<Value = Day> {
    prop_oneof![
        2 => Just(Day::Daily),
        4 => (0i8..7, 0i8..7).prop_map(|(from, to)| {
            let day = |n| jiff::civil::Weekday::from_monday_zero_offset(n).unwrap();
            Day::Weekdays(day(from), day(to))
        }),
        1 => (1i8..=5, 0i8..7).prop_map(|(nth, n)| {
            Day::Nth(nth, jiff::civil::Weekday::from_monday_zero_offset(n).unwrap())
        }),
        1 => (1i8..=31).prop_map(Day::Date),
        1 => Just(Day::LastDate),
    ]
}

/// Mostly at the hours at which clocks change.
fn moment_of_day() -> impl Strategy<Value = u16> {
    prop_oneof![3 => (0u16..24).prop_map(|quarter| quarter * 15), 1 => 0u16..MINUTES_OF_DAY]
}

fn some_times() -> impl Strategy<Value = Times> {
    let recurring = (proptest::collection::vec(day(), 1..3), moment_of_day(), moment_of_day())
        .prop_filter("a window has a length", |(_, from, to)| from != to)
        .prop_map(|(days, from, to)| Times::Recurring { days, from, to });
    let once = (0i64..400, 1i64..80).prop_map(|(day, hours)| {
        let from = jiff::civil::date(2026, 1, 1).at(1, 30, 0, 0).checked_add(day.days()).unwrap();
        Times::Once { from, to: from.checked_add(hours.hours()).unwrap() }
    });
    prop_oneof![4 => recurring, 1 => once]
}

fn some_calendar() -> impl Strategy<Value = Calendar> {
    let windows = proptest::collection::vec(some_times(), 0..3);
    let freezes = proptest::collection::vec(some_times(), 0..2);
    (0..ZONES.len(), windows, freezes).prop_map(|(zone, windows, freezes)| {
        let windows = windows.into_iter().map(|times| Window { name: "w".to_owned(), times }).collect();
        let freezes = freezes.into_iter().map(|times| Freeze {
            name: "f".to_owned(),
            reason: String::new(),
            by: None,
            times,
            rollback: None,
        });
        Calendar {
            zone: TimeZone::get(ZONES[zone]).unwrap(),
            windows,
            freezes: freezes.collect(),
            ..Calendar::default()
        }
    })
}

/// Of 2026, half of them near the changes of the clocks.
fn moment() -> impl Strategy<Value = Millis> {
    let changes = [
        "2026-03-08T06:00Z",
        "2026-03-29T00:00Z",
        "2026-10-25T00:00Z",
        "2026-11-01T05:00Z",
        "2026-04-04T14:00Z",
    ];
    prop_oneof![
        (0i64..365 * 1440).prop_map(|minute| at("2026-01-01T00:00Z") + minute * MINUTE),
        (0..changes.len(), -2000i64..2000).prop_map(move |(nth, minute)| at(changes[nth]) + minute * MINUTE),
    ]
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, cases: 400, ..Config::default() })]

    /// An opening is open from its first moment to its last, and closed on both sides.
    #[test]
    fn openings_are_open_and_their_edges_are_edges(calendar in some_calendar(), from in moment()) {
        let mut last = from - 1;
        for opening in calendar.openings(from, 3) {
            prop_assert!(opening.from > last);
            prop_assert!(calendar.is_open(opening.from), "{opening:?}");
            prop_assert!(opening.from == from || !calendar.is_open(opening.from - MINUTE) || !calendar.is_open(opening.from - 1));
            prop_assert!(opening.from == from || !calendar.is_open(opening.from - 1), "{opening:?}");
            let Some(until) = opening.until else { break };
            prop_assert!(calendar.is_open(until - 1) && !calendar.is_open(until), "{opening:?}");
            last = until;
        }
    }

    /// Between now and the next opening every minute is closed: no opening is passed over.
    #[test]
    fn no_opening_is_passed_over(calendar in some_calendar(), from in moment()) {
        let until = calendar.next_opening(from).filter(|_| !calendar.is_open(from));
        let until = until.unwrap_or(from).min(from + 10 * 1440 * MINUTE);
        let mut minute = from;
        while minute < until {
            prop_assert!(!calendar.is_open(minute), "open at {}", utc(minute));
            minute += MINUTE;
        }
    }

    /// Nothing changes before the next change.
    #[test]
    fn nothing_changes_before_the_next_change(calendar in some_calendar(), from in moment()) {
        let until = calendar.next_change(from).unwrap_or(from).min(from + 10 * 1440 * MINUTE);
        let stands = calendar.standing(from);
        let mut minute = from;
        while minute < until {
            prop_assert_eq!(&calendar.standing(minute), &stands);
            minute += MINUTE;
        }
        if let Some(change) = calendar.next_change(from) {
            prop_assert_ne!(&calendar.standing(change), &stands);
        }
    }
}
