//! Moments as people write them, on the clock of a calendar's zone.

use jiff::{
    Timestamp,
    civil::{Date, DateTime, Time},
};
use longshore_common::{
    code::{Code, Coded},
    text::visible,
    time::{Millis, Span},
};

use super::{Calendar, times::moments_of};

/// `2026-12-20`: the reader of dates overlooks what comes after one.
const DATE_BYTES: usize = 10;

impl Calendar {
    /// `2026-11-29 01:45` on the clock of the zone, `2026-11-29T00:45:00Z`, `+2h` from now, or `next`: the next opening,
    /// or now while it is open. Of a time that the clocks repeat the first; one that they skip is refused.
    pub fn moment(&self, text: &str, now: Millis) -> Result<Millis, Coded> {
        let text = text.trim();
        let bad = |why: &str| Coded::new(Code::V01, format!("\"{}\" {why}", visible(text)));
        if text == "next" {
            let next = if self.is_open(now) { Some(now) } else { self.next_opening(now) };
            return next.ok_or_else(|| bad("finds no opening in the next year"));
        }
        if let Some(span) = text.strip_prefix('+') {
            return Ok(now.saturating_add(span.parse::<Span>()?.as_ms()));
        }
        if let Ok(moment) = text.parse::<Timestamp>() {
            return Ok(moment.as_millisecond());
        }
        let local = match text.parse::<Date>() {
            Ok(date) if text.len() == DATE_BYTES => Ok(date.to_datetime(Time::midnight())),
            _ => text.parse::<DateTime>(),
        };
        let local = local.map_err(|_| {
            bad("is no time: write \"2026-11-29 01:45\" (on the environment's clock), \"2026-11-29T00:45Z\", \"+2h\" or \"next\"")
        })?;
        let moments = moments_of(local, &self.zone);
        moments.into_iter().min().ok_or_else(|| {
            let zone = self.zone.iana_name().unwrap_or("the zone").to_owned();
            bad(&format!("does not exist in {zone}: the clocks are put forward over it"))
        })
    }
}
