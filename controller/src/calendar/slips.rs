//! What nobody can mean: a calendar that never opens, a window that never does, freezes that contradict each other.

use jiff::civil::{Date, DateTime};
use longshore_common::time::Millis;

use super::{Calendar, Freeze, Standing, Times, Window};

/// Dates and weekdays come together in all the ways there are within so many years.
const CYCLE_DAYS: i32 = 28 * 366;
/// Freezes and windows named in a sentence.
const NAMED: usize = 3;

impl Calendar {
    /// Everything in it that is a slip, seen from a moment.
    pub fn slips(&self, now: Millis) -> Vec<String> {
        if let Some(why) = self.never_opens(now) {
            return vec![format!("it never opens in the next year: {why}")];
        }
        let windows = self.windows.iter().filter_map(|window| self.shut(window, now));
        windows.chain(self.contradictions(now)).collect()
    }

    /// What keeps it closed for good: windows none of which comes, or freezes that hold whenever one does.
    fn never_opens(&self, now: Millis) -> Option<String> {
        if self.is_open(now) || self.next_opening(now).is_some() {
            return None;
        }
        let thawed = Calendar { freezes: vec![], ..self.clone() };
        let would = match thawed.is_open(now) {
            true => Some(now),
            false => thawed.next_opening(now),
        };
        Some(match would {
            Some(at) => format!("{} holds whenever it would open", self.frozen_at(at)),
            None => {
                let windows = self.windows.iter().map(|window| format!("{} ({})", window.name, window.times));
                let more = match self.windows.len().saturating_sub(NAMED) {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                let named = windows.take(NAMED).collect::<Vec<_>>().join(", ");
                format!("no window begins within it: {named}{more}")
            }
        })
    }

    /// Why a recurring window never opens though others do. One that is given by dates may be over, or far ahead.
    fn shut(&self, window: &Window, now: Millis) -> Option<String> {
        if !matches!(window.times, Times::Recurring { .. }) {
            return None;
        }
        let alone = Calendar { windows: vec![window.clone()], ..self.clone() };
        let why = alone.never_opens(now)?;
        Some(format!("window \"{}\" never opens in the next year: {why}", window.name))
    }

    /// `freeze "all" (daily)`
    fn frozen_at(&self, at: Millis) -> String {
        let Standing::Frozen(freezes) = self.standing(at) else { return "a freeze".to_owned() };
        let named = |freeze: &&Freeze| format!("freeze \"{}\" ({})", freeze.name, freeze.times);
        freezes.iter().take(NAMED).map(named).collect::<Vec<_>>().join(" or ")
    }

    /// Freezes that hold together some day and say different things of going back: nobody could tell which is meant.
    fn contradictions(&self, now: Millis) -> Vec<String> {
        let today = self.local(now).date();
        let says = |freeze: &Freeze| freeze.rollback.unwrap_or(self.rollback);
        let mut found = vec![];
        for (nth, one) in self.freezes.iter().enumerate() {
            for other in self.freezes[nth + 1..].iter().filter(|other| says(other) != says(one)) {
                if let Some(both) = meet(&one.times, &other.times, today) {
                    found.push(format!(
                        "freezes \"{}\" ({}) and \"{}\" ({}) clash: on {} both hold, and they say different things of rollback",
                        one.name,
                        one.times,
                        other.name,
                        other.times,
                        both.strftime("%Y-%m-%d at %H:%M")
                    ));
                }
            }
        }
        found
    }
}

/// The first reading of the clock, from a date on, that is of both. Times that are moments and not readings meet none.
fn meet(one: &Times, other: &Times, from: Date) -> Option<DateTime> {
    let (one, other) = (one.runs_from(from), other.runs_from(from));
    let (mut one, mut other) = (one.peekable(), other.peekable());
    loop {
        let ((begin, end), (from, to)) = (*one.peek()?, *other.peek()?);
        if begin < to && from < end {
            return Some(begin.max(from));
        }
        if end <= to {
            one.next();
        } else {
            other.next();
        }
    }
}

impl Times {
    /// Its runs from a date on, in order, for one cycle of dates and weekdays.
    fn runs_from(&self, from: Date) -> Box<dyn Iterator<Item = (DateTime, DateTime)> + '_> {
        match self {
            Times::Recurring { .. } => {
                let days = from.series(jiff::Span::new().days(1)).take(CYCLE_DAYS as usize);
                Box::new(days.filter_map(|date| self.run_of(date)))
            }
            Times::Once { from: begin, to } => {
                let is_ahead = to.date() >= from;
                Box::new(is_ahead.then_some((*begin, *to)).into_iter())
            }
            Times::Span { .. } => Box::new(std::iter::empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, calendar};

    fn slips(windows: &[&str], frozen: &[(&str, Option<bool>)]) -> Vec<String> {
        let times: Vec<&str> = frozen.iter().map(|(times, _)| *times).collect();
        let mut calendar = calendar("Europe/Berlin", windows, &times);
        for (freeze, (_, rollback)) in calendar.freezes.iter_mut().zip(frozen) {
            freeze.rollback = *rollback;
        }
        calendar.slips(at("2026-11-30T10:00Z"))
    }

    /// What keeps it closed is named, and not what happens to hold at the moment.
    #[test]
    fn what_never_opens_names_what_keeps_it_closed() {
        let frozen = slips(&["sun 01:00-02:00"], &[("daily 00:00-24:00", None)]);
        assert_eq!(
            frozen,
            ["it never opens in the next year: freeze \"f0\" (daily) holds whenever it would open"]
        );
        assert_eq!(slips(&["sun 01:00-02:00"], &[("sun 00:00-24:00", None)]).len(), 1);
        assert_eq!(
            slips(&["2020-01-01T00:00/2020-01-02T00:00"], &[("daily 00:00-24:00", None)]),
            [
                "it never opens in the next year: no window begins within it: w0 (2020-01-01 00:00 to 2020-01-02 00:00)"
            ]
        );
        assert_eq!(slips(&["mon-fri 22:00-04:00"], &[("sat 00:00-24:00", None)]), [""; 0]);
    }

    #[test]
    fn a_recurring_window_that_a_freeze_always_covers_is_named() {
        let found = slips(&["mon 09:00-10:00", "sun 01:00-02:00"], &[("sun 00:00-24:00", None)]);
        assert_eq!(
            found,
            ["window \"w1\" never opens in the next year: freeze \"f0\" (sun) holds whenever it would open"]
        );
        let past = ["mon 09:00-10:00", "2020-01-01T00:00/2020-01-02T00:00"];
        assert_eq!(slips(&past, &[]), [""; 0], "what is over may stay in the file");
    }

    #[test]
    fn freezes_that_hold_together_have_to_say_the_same_of_going_back() {
        let (yes, no) = (Some(true), Some(false));
        let christmas = "2026-12-20T00:00/2027-01-03T00:00";
        let found = slips(&[], &[(christmas, None), ("last 00:00-24:00", no)]);
        assert_eq!(
            found,
            [
                "freezes \"f0\" (2026-12-20 00:00 to 2027-01-03 00:00) and \"f1\" (last) clash: on 2026-12-31 at 00:00 \
              both hold, and they say different things of rollback"
            ]
        );
        let clash = |one: &str, other: &str| slips(&[], &[(one, yes), (other, no)]).len();
        assert_eq!(clash("fri 18:00-24:00", "last 00:00-24:00"), 1, "some month ends on a Friday");
        assert_eq!(clash("29 00:00-01:00", "first mon 00:00-24:00"), 0);
        assert_eq!(clash("fri 22:00-04:00", "sat 03:00-05:00"), 1, "over midnight");
        assert_eq!(clash("fri 22:00-04:00", "sat 04:00-05:00"), 0);
        assert_eq!(clash("mon 00:00-24:00", "tue 00:00-24:00"), 0);
        assert_eq!(clash("2020-12-20T00:00/2020-12-31T00:00", "daily 01:00-02:00"), 0, "that is over");
        let alike = slips(&[], &[(christmas, no), ("last 00:00-24:00", no)]);
        assert_eq!(alike, [""; 0]);
    }
}
