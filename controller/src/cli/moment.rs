//! A moment in time, as people read it (their own clock, with its zone, since an environment has a clock of its own) and as
//! JSON says it (RFC 3339, UTC).

use jiff::{Timestamp, tz::TimeZone};
pub use longshore_common::text::bytes;
use longshore_common::time::{Millis, told};
use serde::{Serialize, Serializer};

/// Milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub Millis);

impl Moment {
    /// The wire says 0 for "never".
    pub fn from_wire(ms: i64) -> Option<Self> {
        (ms != 0).then_some(Self(told(ms)))
    }

    fn timestamp(self) -> Timestamp {
        Timestamp::from_millisecond(self.0).unwrap_or_default()
    }

    /// `10:31:02`: in front of a line of what is told as it happens, where every line has one.
    pub fn clock(self, zone: &TimeZone) -> String {
        self.timestamp().to_zoned(zone.clone()).strftime("%H:%M:%S").to_string()
    }

    /// The same of what may be long past: further than half a day from `now`, the date.
    pub fn stamp(self, zone: &TimeZone, now: Moment) -> String {
        if (self.0 - now.0).abs() >= HALF_A_DAY_MS { self.date(zone) } else { self.clock(zone) }
    }

    /// `2026-11-22 10:31 UTC`
    pub fn date(self, zone: &TimeZone) -> String {
        self.timestamp().to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M %Z").to_string()
    }

    /// `10:31:02 UTC`; further than half a day from `now`, where that alone says little, `2026-11-22 10:31 UTC`.
    pub fn clock_or_date(self, zone: &TimeZone, now: Moment) -> String {
        if (self.0 - now.0).abs() >= HALF_A_DAY_MS {
            return self.date(zone);
        }
        self.timestamp().to_zoned(zone.clone()).strftime("%H:%M:%S %Z").to_string()
    }

    /// `12s ago`, `in 3m`; a second either way is `now`. What has just been said to be in 30 minutes is not in 29m59s.
    pub fn relative(self, now: Moment) -> String {
        let ahead = self.0 - now.0;
        match ahead {
            -1_000..=1_000 => "now".to_owned(),
            ahead if ahead > 0 => format!("in {}", coarse(ahead + 999)),
            ahead => format!("{} ago", coarse(-ahead)),
        }
    }
}

const HALF_A_DAY_MS: Millis = 12 * 3_600_000;

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.timestamp())
    }
}

/// The two largest units at most: `4s`, `2m10s`, `3h5m`, `6d2h`; the nearest, so that a week is not `6d23h` a second
/// after it was given.
pub fn coarse(ms: Millis) -> String {
    let seconds = longshore_common::time::rounded(ms).as_ms() / 1_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let pair = |large: i64, unit: &str, small: i64, sub: &str| match small {
        0 => format!("{large}{unit}"),
        small => format!("{large}{unit}{small}{sub}"),
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => pair(minutes, "m", seconds % 60, "s"),
        (0, hours, minutes) => pair(hours, "h", minutes, "m"),
        (days, hours, _) => pair(days, "d", hours, "h"),
    }
}

/// Time that something took: tenths below a minute, else as `coarse`.
pub fn took(ms: Millis) -> String {
    if ms < 60_000 { format!("{}.{}s", ms.max(0) / 1_000, ms.max(0) % 1_000 / 100) } else { coarse(ms) }
}

/// `1 host`, `3 hosts`.
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_people_say_them() {
        let now = Moment(1_000_000);
        assert_eq!(Moment(1_000_500).relative(now), "now");
        assert_eq!(Moment(988_000).relative(now), "12s ago");
        assert_eq!(Moment(1_190_000).relative(now), "in 3m10s");
        assert_eq!(Moment(2_799_400).relative(now), "in 30m");
        assert_eq!(Moment(2_799_400).clock_or_date(&TimeZone::UTC, now), "00:46:39 UTC");
        let tomorrow = Moment(87_400_000);
        assert_eq!(
            tomorrow.clock_or_date(&TimeZone::UTC, now),
            "1970-01-02 00:16 UTC",
            "its clock is that of now"
        );
        assert_eq!(coarse(7_200_000), "2h");
        assert_eq!(coarse(7 * 86_400_000 - 1_500), "7d");
        assert_eq!(coarse(3_599_000), "59m59s");
        assert_eq!(coarse(180_000_000), "2d2h");
        assert_eq!(took(4_260), "4.2s");
        assert_eq!(took(61_000), "1m1s");
        assert_eq!(Moment(0).clock(&TimeZone::UTC), "00:00:00");
        assert_eq!(serde_json::to_string(&Moment(1_500)).unwrap(), "\"1970-01-01T00:00:01.5Z\"");
    }

    #[test]
    fn sizes_read_as_people_say_them() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(4_096), "4.1 KB");
        assert_eq!(bytes(37_000_000), "37.0 MB");
        assert_eq!(count(1, "host"), "1 host");
        assert_eq!(count(0, "host"), "0 hosts");
    }
}
