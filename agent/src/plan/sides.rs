//! What is seen of an app's two sides and of its traffic.

use longshore_common::{
    slot::Slot,
    time::{Millis, Span},
    traffic::{BackendName, Director, Side, Traffic},
};
use serde::{Deserialize, Serialize};

use super::model::{Running, Seen};

/// Both sides of an app, looked at afresh. Of an app without sides: empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sides {
    pub blue: Option<Running>,
    pub green: Option<Running>,
    pub traffic: Shown,
    /// The time is over for which the side without traffic was to stay warm.
    pub warm_over: bool,
    /// How long connections to a side may take to end before it is stopped; none where we never directed any.
    #[serde(default)]
    pub drain: Span,
    /// When that is, by the host's clock; 0: there is no such time. For those who look; nothing is decided by it.
    pub warm_until_ms: Millis,
}

/// Where connections go, as whoever directs them shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shown {
    /// We never directed any.
    #[default]
    Never,
    /// It was directed, and cannot be asked now.
    Unknown,
    As(Split),
}

/// Who directs and how new connections are shared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    pub director: Director,
    pub backend: BackendName,
    /// Percent of new connections that go to green; the rest goes to blue.
    pub green: u8,
}

impl Split {
    /// `share` percent to `side`.
    pub fn of(traffic: &Traffic, side: Side, share: u8) -> Self {
        let green = match side {
            Side::Green => share,
            Side::Blue => 100 - share,
        };
        Self { director: traffic.director, backend: traffic.backend.clone(), green }
    }

    pub fn share(&self, side: Side) -> u8 {
        match side {
            Side::Green => self.green,
            Side::Blue => 100 - self.green,
        }
    }
}

impl Sides {
    pub fn on(&self, side: Side) -> Option<&Running> {
        match side {
            Side::Blue => self.blue.as_ref(),
            Side::Green => self.green.as_ref(),
        }
    }

    pub fn on_mut(&mut self, side: Side) -> &mut Option<Running> {
        match side {
            Side::Blue => &mut self.blue,
            Side::Green => &mut self.green,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.blue.is_none() && self.green.is_none()
    }

    /// The side that was last told to run this slot.
    pub fn home_of(&self, slot: &Slot) -> Option<Side> {
        Side::BOTH.into_iter().find(|side| self.on(*side).is_some_and(|running| running.slot == *slot))
    }

    /// It runs there, now.
    pub fn is_up(&self, side: Side, slot: &Slot) -> bool {
        self.on(side).is_some_and(|running| running.up && running.slot == *slot)
    }

    /// Percent of new connections; `None` when it cannot be told.
    pub fn share(&self, side: Side) -> Option<u8> {
        match &self.traffic {
            Shown::Never => Some(0),
            Shown::Unknown => None,
            Shown::As(split) => Some(split.share(side)),
        }
    }

    pub fn shows(&self, split: &Split) -> bool {
        matches!(&self.traffic, Shown::As(shown) if shown == split)
    }

    /// Where a release that is on neither side is tried: the side with less traffic, and of equal ones the one on
    /// which `current` does not run.
    pub(super) fn idle(&self, current: Option<&Slot>) -> Side {
        let shares = Side::BOTH.map(|side| self.share(side).unwrap_or(100));
        match shares {
            [blue, green] if blue != green => {
                if blue < green {
                    Side::Blue
                } else {
                    Side::Green
                }
            }
            _ => current.and_then(|slot| self.home_of(slot)).map_or(Side::Blue, Side::other),
        }
    }
}

impl Seen {
    pub(super) fn has_sides(&self, slot: &Slot) -> bool {
        self.slots.get(slot).is_some_and(|needs| needs.sides)
    }
}

/// Of an assignment that names nobody who directs: our own sockets.
pub(super) fn own_sockets() -> Traffic {
    Traffic {
        director: Director::Socket,
        backend: "app".parse().expect("a plain word"),
        share: 100,
        drain: Span::secs(10),
    }
}
