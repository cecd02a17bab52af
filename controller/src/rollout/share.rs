//! Amounts of hosts: a count, or a percentage of some group.

use std::{fmt, str::FromStr};

use longshore_common::{
    code::{Code, Coded},
    text::visible,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number of hosts, written `3` or `"25%"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    Count(u32),
    /// 0 to 100.
    Percent(u8),
}

impl Share {
    /// Of `total` hosts, rounded up, so that a share above nothing is at least one host. Never more than `total`.
    pub fn of(self, total: usize) -> usize {
        match self {
            Share::Count(count) => (count as usize).min(total),
            Share::Percent(percent) => (total * usize::from(percent)).div_ceil(100),
        }
    }

    /// Of `total` hosts, rounded down but at least one: for limits, where rounding up would allow more than was said.
    pub fn at_most(self, total: usize) -> usize {
        match self {
            Share::Count(count) => (count as usize).max(1),
            Share::Percent(percent) => (total * usize::from(percent) / 100).max(1),
        }
    }

    pub fn is_zero(self) -> bool {
        matches!(self, Share::Count(0) | Share::Percent(0))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Share::Count(count) => write!(f, "{count}"),
            Share::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl FromStr for Share {
    type Err = Coded;

    fn from_str(text: &str) -> Result<Self, Coded> {
        let bad = |why: &str| Coded::new(Code::V01, format!("\"{}\" {why}", visible(text)));
        match text.strip_suffix('%') {
            Some(digits) => match digits.parse() {
                Ok(percent @ 0..=100) => Ok(Share::Percent(percent)),
                Ok(_) | Err(_) => {
                    Err(bad("is not a percentage of hosts: write a whole number from 1% to 100%"))
                }
            },
            None => text
                .parse()
                .map(Share::Count)
                .map_err(|_| bad("is not an amount of hosts: write a count, 3, or a percentage, \"25%\"")),
        }
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Share::Count(count) => to.serialize_u32(*count),
            Share::Percent(_) => to.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Share;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a count of hosts, 3, or a percentage, \"25%\"")
            }
            fn visit_u64<E: de::Error>(self, count: u64) -> Result<Share, E> {
                u32::try_from(count)
                    .map(Share::Count)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(count), &self))
            }
            fn visit_i64<E: de::Error>(self, count: i64) -> Result<Share, E> {
                u32::try_from(count)
                    .map(Share::Count)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(count), &self))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Share, E> {
                text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        from.deserialize_any(Visitor)
    }
}

/// How many failures are allowed: where both limits are given, both hold; where none is, this sets no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowance {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// 0 to 100, of the group it is for, rounded down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
}

impl Allowance {
    pub const fn count(count: u32) -> Self {
        Self { count: Some(count), percent: None }
    }
    pub const fn percent(percent: u8) -> Self {
        Self { count: None, percent: Some(percent) }
    }

    /// Failures that may happen among `total` hosts; one more spends the budget.
    pub fn of(self, total: usize) -> Option<usize> {
        let count = self.count.map(|count| count as usize);
        let percent = self.percent.map(|percent| total * usize::from(percent.min(100)) / 100);
        match (count, percent) {
            (Some(count), Some(percent)) => Some(count.min(percent)),
            (limit, None) | (None, limit) => limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_as_they_print() {
        for text in ["0", "3", "0%", "25%", "100%"] {
            assert_eq!(text.parse::<Share>().unwrap().to_string(), text);
        }
        for bad in ["", "%", "101%", "-1", "2.5%", "many", "99999999999"] {
            let why = bad.parse::<Share>().unwrap_err().message;
            assert_eq!(why.contains("from 1% to 100%"), bad.ends_with('%'), "{why}");
        }
        assert_eq!(serde_json::from_str::<Share>("\"10%\"").unwrap(), Share::Percent(10));
        assert_eq!(serde_json::from_str::<Share>("7").unwrap(), Share::Count(7));
        assert!(serde_json::from_str::<Share>("-7").is_err());
        assert!(serde_json::from_str::<Share>("\"170%\"").is_err());
    }

    #[test]
    fn waves_round_up_and_limits_round_down() {
        assert_eq!(Share::Percent(10).of(5), 1);
        assert_eq!(Share::Percent(50).of(5), 3);
        assert_eq!(Share::Count(9).of(5), 5);
        assert_eq!(Share::Percent(10).at_most(5), 1);
        assert_eq!(Share::Percent(50).at_most(5), 2);
    }

    #[test]
    fn of_two_limits_the_lower_holds() {
        let both = Allowance { count: Some(3), percent: Some(10) };
        assert_eq!((both.of(10), both.of(100)), (Some(1), Some(3)));
        assert_eq!(Allowance::default().of(100), None);
    }
}
