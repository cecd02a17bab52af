//! Which dates a recurring time is on.

use std::str::FromStr;

use jiff::civil::{Date, Weekday};
use longshore_common::{
    code::{Code, Coded},
    text::visible,
};

/// One rule for dates. A recurring time has several; a date needs to fit one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Day {
    Daily,
    /// From one to the other, around the end of the week where need be; both included.
    Weekdays(Weekday, Weekday),
    /// The nth of its kind in the month, 1 to 5.
    Nth(i8, Weekday),
    /// The last of its kind in the month.
    LastOf(Weekday),
    /// The date of the month, 1 to 31.
    Date(i8),
    LastDate,
}

impl Day {
    pub fn fits(self, date: Date) -> bool {
        match self {
            Day::Daily => true,
            Day::Weekdays(from, to) => {
                let into =
                    |day: Weekday| (day.to_monday_zero_offset() - from.to_monday_zero_offset()).rem_euclid(7);
                into(date.weekday()) <= into(to)
            }
            Day::Nth(nth, weekday) => date.weekday() == weekday && (date.day() - 1) / 7 + 1 == nth,
            Day::LastOf(weekday) => date.weekday() == weekday && date.day() + 7 > date.days_in_month(),
            Day::Date(day) => date.day() == day,
            Day::LastDate => date.day() == date.days_in_month(),
        }
    }
}

const WEEK: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];
const NTH: [&str; 5] = ["first", "second", "third", "fourth", "fifth"];

fn weekday(text: &str) -> Option<Weekday> {
    WEEK.iter().find(|(name, _)| *name == text).map(|(_, day)| *day)
}

impl FromStr for Day {
    type Err = Coded;

    /// `daily`, `mon`, `mon-fri`, `first tue`, `last fri`, `15`, `last`.
    fn from_str(text: &str) -> Result<Self, Coded> {
        let read = || -> Option<Day> {
            match text {
                "daily" => return Some(Day::Daily),
                "last" => return Some(Day::LastDate),
                _ => {}
            }
            if let Ok(day @ 1..=31) = text.parse::<i8>() {
                return Some(Day::Date(day));
            }
            if let Some((nth, day)) = text.split_once(' ') {
                let day = weekday(day)?;
                if nth == "last" {
                    return Some(Day::LastOf(day));
                }
                let nth = NTH.iter().position(|name| *name == nth)?;
                return Some(Day::Nth(nth as i8 + 1, day));
            }
            let (from, to) = text.split_once('-').unwrap_or((text, text));
            Some(Day::Weekdays(weekday(from)?, weekday(to)?))
        };
        read().ok_or_else(|| {
            let message = format!(
                "\"{}\" is not a day: write \"daily\", \"mon\", \"mon-fri\", \"first tue\", \"last fri\", \"15\" or \"last\"",
                visible(text)
            );
            Coded::new(Code::V01, message)
        })
    }
}

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |day: Weekday| WEEK[day.to_monday_zero_offset() as usize].0;
        match self {
            Day::Daily => f.write_str("daily"),
            Day::Weekdays(from, to) if from == to => f.write_str(name(*from)),
            Day::Weekdays(from, to) => write!(f, "{}-{}", name(*from), name(*to)),
            Day::Nth(nth, day) => write!(f, "{} {}", NTH[*nth as usize - 1], name(*day)),
            Day::LastOf(day) => write!(f, "last {}", name(*day)),
            Day::Date(day) => write!(f, "{day}"),
            Day::LastDate => f.write_str("last"),
        }
    }
}
