//! Windows on days when the clocks change. A moment is in a window when the local clock reads so.

use super::*;

/// Scenario 125's window, on an ordinary Sunday.
#[test]
fn a_weekly_window_opens_once_a_week() {
    let sunday = calendar("Europe/Berlin", &["sun 01:30-02:30"], &[]);
    let found = openings(&sunday, "2026-11-22T10:00Z", 2);
    assert_eq!(found, ["11-29T00:30Z..11-29T01:30Z", "12-06T00:30Z..12-06T01:30Z"]);
    assert!(sunday.is_open(at("2026-11-29T00:30:00Z")) && !sunday.is_open(at("2026-11-29T00:29:59.999Z")));
    assert!(sunday.is_open(at("2026-11-29T01:29:59.999Z")) && !sunday.is_open(at("2026-11-29T01:30:00Z")));
}

/// Berlin skips 02:00 to 03:00: the window ends where the clock leaves it.
#[test]
fn what_the_clocks_skip_is_in_no_window() {
    let sunday = calendar("Europe/Berlin", &["sun 01:30-02:30"], &[]);
    assert_eq!(openings(&sunday, "2027-03-27T12:00Z", 1), ["03-28T00:30Z..03-28T01:00Z"]);
    let inside = calendar("Europe/Berlin", &["sun 02:10-02:50"], &[]);
    assert_eq!(openings(&inside, "2027-03-27T12:00Z", 1), ["04-04T00:10Z..04-04T00:50Z"]);
    let later = calendar("Europe/Berlin", &["sun 02:30-04:00"], &[]);
    assert_eq!(openings(&later, "2027-03-27T12:00Z", 1), ["03-28T01:00Z..03-28T02:00Z"]);
}

/// Berlin reads 02:00 to 03:00 twice: both runs of what lies in the window are in it.
#[test]
fn what_the_clocks_repeat_is_in_the_window_twice() {
    let sunday = calendar("Europe/Berlin", &["sun 01:30-02:30"], &[]);
    let found = openings(&sunday, "2026-10-24T12:00Z", 2);
    assert_eq!(found, ["10-24T23:30Z..10-25T00:30Z", "10-25T01:00Z..10-25T01:30Z"]);
}

#[test]
fn new_york_and_london_and_lord_howe_do_it_their_way() {
    let york = calendar("America/New_York", &["sun 01:30-02:30"], &[]);
    assert_eq!(openings(&york, "2026-03-07T12:00Z", 1), ["03-08T06:30Z..03-08T07:00Z"]);
    assert_eq!(
        openings(&york, "2026-10-31T12:00Z", 2),
        ["11-01T05:30Z..11-01T06:00Z", "11-01T06:30Z..11-01T07:30Z"]
    );
    let london = calendar("Europe/London", &["sun 01:30-02:30"], &[]);
    assert_eq!(openings(&london, "2026-03-28T12:00Z", 1), ["03-29T01:00Z..03-29T01:30Z"]);
    // Half an hour, on the other side of the world.
    let howe = calendar("Australia/Lord_Howe", &["sun 01:30-02:30"], &[]);
    assert_eq!(openings(&howe, "2026-10-02T12:00Z", 1), ["10-03T15:00Z..10-03T15:30Z"]);
}

/// A zone that changes at midnight, where the day itself begins at 01:00.
#[test]
fn a_midnight_that_does_not_exist_is_no_midnight() {
    let beirut = calendar("Asia/Beirut", &["sun 00:00-02:00"], &[]);
    assert_eq!(openings(&beirut, "2026-03-28T12:00Z", 1), ["03-28T22:00Z..03-28T23:00Z"]);
}

#[test]
fn a_window_may_cross_midnight_and_the_end_of_the_week() {
    let night = calendar("Europe/Berlin", &["sun 22:00-04:00"], &[]);
    assert_eq!(openings(&night, "2026-11-22T12:00Z", 1), ["11-22T21:00Z..11-23T03:00Z"]);
    assert!(night.is_open(at("2026-11-23T02:59Z")), "it is Monday, in the window of Sunday");
    let joined = calendar("UTC", &["fri-mon 00:00-24:00"], &[]);
    assert_eq!(openings(&joined, "2026-11-24T12:00Z", 1), ["11-27T00:00Z..12-01T00:00Z"]);
}

#[test]
fn days_of_the_month_are_found() {
    let from = "2026-11-22T12:00Z";
    let opens =
        |days: &str| openings(&calendar("UTC", &[&format!("{days} 01:00-02:00")], &[]), from, 1).remove(0);
    assert_eq!(opens("second tue"), "12-08T01:00Z..12-08T02:00Z");
    assert_eq!(opens("last fri"), "11-27T01:00Z..11-27T02:00Z");
    assert_eq!(opens("last"), "11-30T01:00Z..11-30T02:00Z");
    assert_eq!(opens("31"), "12-31T01:00Z..12-31T02:00Z");
    assert_eq!(opens("fifth mon"), "11-30T01:00Z..11-30T02:00Z");
}

#[test]
fn a_freeze_goes_before_every_window() {
    let calendar = calendar("UTC", &["daily 08:00-10:00"], &["2026-12-20T00:00/2026-12-27T09:00"]);
    let found = openings(&calendar, "2026-12-19T09:00Z", 3);
    assert_eq!(
        found,
        ["12-19T09:00Z..12-19T10:00Z", "12-27T09:00Z..12-27T10:00Z", "12-28T08:00Z..12-28T10:00Z"]
    );
}

#[test]
fn windows_that_touch_are_one_opening() {
    let calendar = calendar("UTC", &["daily 08:00-10:00", "daily 10:00-12:00"], &[]);
    assert_eq!(openings(&calendar, "2026-12-19T07:00Z", 1), ["12-19T08:00Z..12-19T12:00Z"]);
}

#[test]
fn what_never_opens_is_found_to_never_open() {
    let past = calendar("UTC", &["2020-01-01T00:00/2020-01-02T00:00"], &[]);
    assert_eq!(past.next_opening(at("2026-01-01T00:00Z")), None);
    let frozen = calendar("UTC", &["daily 08:00-10:00"], &["daily 07:00-11:00"]);
    assert_eq!(frozen.next_opening(at("2026-01-01T00:00Z")), None);
    assert_eq!(Calendar::default().next_change(0), None);
}
