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
    assert!(!calendar.may_go_back(now) && calendar.may_go_back(at("2026-12-20T00:45Z")));
    assert_eq!(calendar.say_moment(calendar.next_opening(now).unwrap()), "Sun 2026-11-29 02:00 CET");
}
