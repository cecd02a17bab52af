//! Days as they are written, and why a moment is closed.

use super::*;

#[test]
fn days_read_as_they_print() {
    for text in
        ["daily", "mon", "mon-fri", "fri-mon", "first tue", "fifth sun", "last fri", "1", "31", "last"]
    {
        assert_eq!(text.parse::<Day>().unwrap().to_string(), text);
    }
    for bad in ["", "monday", "0", "32", "mon-", "sixth mon", "last day", "tue first", "-1"] {
        assert!(bad.parse::<Day>().is_err(), "{bad}");
    }
}

#[test]
fn a_closed_moment_says_why() {
    let mut calendar = calendar(
        "Europe/Berlin",
        &["sun 01:30-02:30", "mon-thu 22:00-04:00"],
        &["2026-12-20T00:00/2026-12-27T00:00"],
    );
    let now = at("2026-11-24T12:00Z");
    assert_eq!(
        calendar.reasons(now),
        ["outside the windows w0 (sun 01:30 to 02:30), w1 (mon-thu 22:00 to 04:00)"]
    );
    assert_eq!(
        calendar.reasons(at("2026-12-20T00:45Z")),
        ["frozen by \"f0\": stock-taking (2026-12-20 00:00 to 2026-12-27 00:00)"]
    );
    assert_eq!(calendar.reasons(at("2026-11-24T22:00Z")), Vec::<String>::new());
    calendar.freezes.push(Freeze {
        name: "by hand".to_owned(),
        reason: "an audit".to_owned(),
        by: Some("ann".to_owned()),
        times: Times::Span { from: now, to: Some(at("2026-11-29T01:00Z")) },
        rollback: Some(false),
    });
    assert_eq!(calendar.reasons(now), ["frozen by ann: an audit (until Sun 2026-11-29 02:00 CET)"]);
    let by_hand = &calendar.freezes[1];
    let berlin = "Tue 2026-11-24 13:00 CET to Sun 2026-11-29 02:00 CET";
    assert_eq!(calendar.say_times(&by_hand.times), berlin, "on the clock of the others");
    let ahead = Times::Span { from: at("2026-11-29T01:00Z"), to: None };
    assert_eq!(calendar.say_times(&ahead), "from Sun 2026-11-29 02:00 CET until somebody lifts it");
    let over = at("2026-11-29T01:00Z");
    assert!(!by_hand.is_over(over - 1) && by_hand.is_over(over));
    assert!(!calendar.may_go_back(now) && calendar.may_go_back(at("2026-12-20T00:45Z")));
    assert_eq!(calendar.say_moment(calendar.next_opening(now).unwrap()), "Sun 2026-11-29 02:00 CET");
}

#[test]
fn moments_are_read_on_the_clock_of_the_zone() {
    let calendar = calendar("Europe/Berlin", &["sun 01:30-02:30"], &[]);
    let now = at("2026-11-22T10:00Z");
    let read = |text: &str| calendar.moment(text, now).map(utc).map_err(|error| error.message);
    assert_eq!(read("2026-11-29 01:45").unwrap(), "11-29T00:45Z");
    assert_eq!(read("2026-11-29T00:45Z").unwrap(), "11-29T00:45Z");
    assert_eq!(read("2026-11-29").unwrap(), "11-28T23:00Z");
    assert_eq!(read("+2h").unwrap(), "11-22T12:00Z");
    assert_eq!(read("next").unwrap(), "11-29T00:30Z");
    assert_eq!(read("2026-10-25 02:30").unwrap(), "10-25T00:30Z", "the first of two");
    assert!(read("2027-03-28 02:30").unwrap_err().contains("does not exist in Europe/Berlin"));
    for bad in ["", "tomorrow", "25:00", "2026-13-01", "+soon", "2026-11-29 25:00"] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_closed_environment_says_who_can_open_it() {
    let calendar = calendar("Europe/Berlin", &["sun 01:30-02:30"], &[]);
    let env = "production".parse().unwrap();
    let closed = calendar.closed(&env, at("2026-11-22T10:00Z")).unwrap();
    assert_eq!(
        closed.reason,
        "outside the window w0 (sun 01:30 to 02:30); it opens Sun 2026-11-29 01:30 CET"
    );
    assert_eq!(closed.command, "longshore env calendar production");
    assert_eq!(calendar.closed(&env, at("2026-11-29T00:30Z")), None);
}
