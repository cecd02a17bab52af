//! When a calendar opens and closes.

use jiff::{Timestamp, ToSpan, civil::Date};
use longshore_common::time::Millis;

use super::{Calendar, HORIZON_DAYS, Standing, times::moments_of};

/// Days that are looked at together.
const STRIDE: i64 = 8;

/// A stretch of time in which changes may be begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    pub from: Millis,
    /// `None`: not within the horizon.
    pub until: Option<Millis>,
    /// The windows that are open at its beginning.
    pub windows: Vec<String>,
}

impl Calendar {
    /// The first moment after `at` at which it is no longer as it is then: opened, closed, or closed for another
    /// reason. `None`: not within [`HORIZON_DAYS`].
    pub fn next_change(&self, at: Millis) -> Option<Millis> {
        let now = self.standing(at);
        self.first_edge(at, |moment| self.standing(moment) != now)
    }

    /// When it opens next, if it is closed at `at`; `None` when that is not within [`HORIZON_DAYS`].
    pub fn next_opening(&self, at: Millis) -> Option<Millis> {
        self.first_edge(at, |moment| self.is_open(moment))
    }

    fn next_closing(&self, at: Millis) -> Option<Millis> {
        self.first_edge(at, |moment| !self.is_open(moment))
    }

    /// The first `count` openings from `at` on; the first is the one that `at` lies in, if it lies in one.
    pub fn openings(&self, at: Millis, count: usize) -> Vec<Opening> {
        let mut openings = vec![];
        let mut from = if self.is_open(at) { Some(at) } else { self.next_opening(at) };
        while let Some(begin) = from.filter(|_| openings.len() < count) {
            let windows = match self.standing(begin) {
                Standing::Open(windows) => windows.iter().map(|window| window.name.clone()).collect(),
                Standing::Outside | Standing::Frozen(_) => vec![],
            };
            let until = self.next_closing(begin);
            openings.push(Opening { from: begin, until, windows });
            from = until.and_then(|closed| self.next_opening(closed));
        }
        openings
    }

    /// The first moment after `at` at which something begins or ends and that is as wanted.
    fn first_edge(&self, at: Millis, wanted: impl Fn(Millis) -> bool) -> Option<Millis> {
        if self.is_always_open() {
            return None;
        }
        let start = self.local(at).date();
        for stride in 0..HORIZON_DAYS.div_euclid(STRIDE) + 1 {
            let first = start.checked_add((stride * STRIDE).days()).ok()?;
            let edge = self.edges(first).into_iter().find(|edge| *edge > at && wanted(*edge));
            if edge.is_some() {
                return edge;
            }
        }
        None
    }

    /// Every moment of some days at which something may begin or end, in order: where the clock reads an edge of a
    /// window or a freeze, where it is put forward or back, and the edges that are moments themselves.
    fn edges(&self, first: Date) -> Vec<Millis> {
        // A run that begins on the day before may end within; one that begins on the last day may end after it.
        let dates = (-1..STRIDE).filter_map(|day| first.checked_add(day.days()).ok());
        let all = || {
            let windows = self.windows.iter().map(|window| &window.times);
            windows.chain(self.freezes.iter().map(|freeze| &freeze.times))
        };
        let mut edges: Vec<Millis> = dates
            .flat_map(|date| all().flat_map(move |times| times.edges_on(date)))
            .flat_map(|local| moments_of(local, &self.zone))
            .collect();
        let (begin, end) = (
            midday(first.checked_sub(2.days()).unwrap_or(first)),
            midday(first.checked_add((STRIDE + 1).days()).unwrap_or(first)),
        );
        edges.extend(all().flat_map(|times| times.fixed_edges()).filter(|edge| (begin..end).contains(edge)));
        if let Ok(from) = Timestamp::from_millisecond(begin) {
            let transitions =
                self.zone.following(from).map(|transition| transition.timestamp().as_millisecond());
            edges.extend(transitions.take_while(|moment| *moment < end));
        }
        // What lies beyond the last of these days may have something before it that is found with the days after.
        let last = first.checked_add((STRIDE - 1).days()).unwrap_or(first);
        edges.retain(|edge| self.local(*edge).date() <= last);
        edges.sort_unstable();
        edges.dedup();
        edges
    }
}

/// No zone is further from UTC than this leaves room for.
fn midday(date: Date) -> Millis {
    let noon = date.at(12, 0, 0, 0);
    jiff::tz::Offset::UTC.to_timestamp(noon).map_or(0, Timestamp::as_millisecond)
}
