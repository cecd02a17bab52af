//! Clocks, moments in milliseconds, and durations as people write them.

use std::{
    fmt,
    str::FromStr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::{
    code::{Code, Coded},
    text::visible,
};

/// Milliseconds since 1970. The unit of every stored or sent moment.
pub type Millis = i64;

/// 9999-12-31T23:59:59.999Z.
const LAST_MS: Millis = 253_402_300_799_999;

/// A moment as somebody else tells it: between 1970 and the year 9999, so that it can be reckoned with.
pub fn told(ms: Millis) -> Millis {
    ms.clamp(0, LAST_MS)
}

pub trait Clock: Send + Sync + fmt::Debug {
    fn now_ms(&self) -> Millis;
}

/// The machine's own clock.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> Millis {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as Millis)
    }
}

/// A clock that a test moves.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<Millis>>);

impl ManualClock {
    pub fn at(now: Millis) -> Self {
        Self(Arc::new(Mutex::new(now)))
    }
    pub fn advance(&self, by: Duration) {
        *self.0.lock().expect("no holder panics") += by.as_millis() as Millis;
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> Millis {
        *self.0.lock().expect("no holder panics")
    }
}

/// A length of time, written `500ms`, `20s`, `2m`, `1h`, `7d`, or joined: `1m30s`. Whole milliseconds, at most 366 days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Duration);

/// The two largest units of a length of time, the nearest: nobody wants the seconds of three days, and a week is not six
/// days and 23 hours a second after it began.
pub fn rounded(ms: Millis) -> Span {
    let seconds = (ms.max(0) / 1000).unsigned_abs();
    let unit = match seconds {
        86_400.. => 3_600,
        3_600.. => 60,
        _ => 1,
    };
    Span::secs((seconds + unit / 2) / unit * unit)
}

impl Span {
    pub const MAX_MS: u64 = 366 * 86_400_000;

    pub const fn secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
    pub fn as_ms(self) -> Millis {
        self.0.as_millis() as Millis
    }
}

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl FromStr for Span {
    type Err = Coded;

    fn from_str(text: &str) -> Result<Self, Coded> {
        let bad = || {
            Coded::new(
                Code::V01,
                format!("\"{}\" is not a length of time: write 500ms, 20s, 2m, 1h30m or 7d", visible(text)),
            )
        };
        let mut total: u64 = 0;
        let mut rest = text;
        if rest.is_empty() {
            return Err(bad());
        }
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, tail) = tail.split_at(letters);
            let number: u64 = number.parse().map_err(|_| bad())?;
            let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?;
            total = number.checked_mul(*factor).and_then(|ms| total.checked_add(ms)).ok_or_else(bad)?;
            rest = tail;
        }
        if total > Self::MAX_MS {
            return Err(Coded::new(Code::V01, format!("\"{}\" is longer than 366 days", visible(text))));
        }
        Ok(Self::millis(total))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0.as_millis() as u64;
        if left == 0 {
            return f.pad("0s");
        }
        let mut text = String::new();
        for (unit, factor) in UNITS {
            if left >= factor {
                text.push_str(&format!("{}{unit}", left / factor));
                left %= factor;
            }
        }
        f.pad(&text)
    }
}
impl TryFrom<String> for Span {
    type Error = Coded;
    fn try_from(text: String) -> Result<Self, Coded> {
        text.parse()
    }
}
impl From<Span> for String {
    fn from(span: Span) -> String {
        span.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_they_print() {
        for text in ["500ms", "20s", "2m", "1h30m", "7d", "1m30s", "0s"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        for bad in ["", "5", "s", "5 s", "-1s", "1.5s", "999999999999999999999s", "400d", "5x"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }
}
