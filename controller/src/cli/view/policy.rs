//! Calendars and locks.

use longshore_common::text::visible;
use longshore_proto::v1 as pb;
use serde::Serialize;

use super::some;
use crate::cli::{
    moment::Moment,
    output::{Page, View},
    style::Ink,
    table::{Facts, Table},
};

/// A moment, and how the environment's clock reads then.
#[derive(Clone, Debug, Serialize)]
pub struct Instant {
    pub at: Option<Moment>,
    pub local: String,
}

impl From<pb::Instant> for Instant {
    fn from(instant: pb::Instant) -> Self {
        let pb::Instant { ms, local } = instant;
        Self { at: Some(Moment(ms)), local }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Calendar {
    pub env: String,
    pub zone: String,
    pub at: Option<Instant>,
    pub open: bool,
    /// Why it is closed at that moment.
    pub reasons: Vec<String>,
    /// When that is no longer so, be it open in another window or closed for another reason; none: not in the next year.
    pub changes: Option<Instant>,
    /// The first is the one that the moment is in, if it is in one.
    pub openings: Vec<Opening>,
    pub windows: Vec<Rule>,
    pub freezes: Vec<Rule>,
    /// `hold`, `finish`: what happens to a wave that is switching when it closes.
    pub when_closed: String,
    /// Whether hosts may go back at that moment.
    pub rollback: bool,
    pub locks: Vec<Lock>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Opening {
    pub from: Option<Instant>,
    pub until: Option<Instant>,
    pub windows: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Rule {
    pub name: String,
    pub times: String,
    pub reason: Option<String>,
    /// Who froze it by hand; none: the environment's file.
    pub by: Option<String>,
    /// At that moment.
    pub holds: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct Lock {
    pub env: String,
    pub app: Option<String>,
    pub by: String,
    pub reason: String,
    pub since: Option<Moment>,
}

impl From<pb::LockRow> for Lock {
    fn from(row: pb::LockRow) -> Self {
        let pb::LockRow { env, app, by, reason, since_ms } = row;
        Self { env, app: some(app), by, reason, since: Moment::from_wire(since_ms) }
    }
}

impl From<pb::CalendarRule> for Rule {
    fn from(rule: pb::CalendarRule) -> Self {
        let pb::CalendarRule { name, times, reason, by, holds } = rule;
        Self { name, times, reason: some(reason), by: some(by), holds }
    }
}

impl From<pb::Calendar> for Calendar {
    fn from(calendar: pb::Calendar) -> Self {
        let pb::Calendar { env, zone, at, open, reasons, changes, openings, windows, freezes, .. } = calendar;
        let (when_closed, rollback, locks) = (calendar.when_closed, calendar.rollback, calendar.locks);
        let opening = |opening: pb::Opening| Opening {
            from: opening.from.map(Instant::from),
            until: opening.until.map(Instant::from),
            windows: opening.windows,
        };
        Self {
            env,
            zone,
            at: at.map(Instant::from),
            open,
            reasons,
            changes: changes.map(Instant::from),
            openings: openings.into_iter().map(opening).collect(),
            windows: windows.into_iter().map(Rule::from).collect(),
            freezes: freezes.into_iter().map(Rule::from).collect(),
            when_closed,
            rollback,
            locks: locks.into_iter().map(Lock::from).collect(),
        }
    }
}

const NEVER: &str = "not in the next year";

fn local(instant: Option<&Instant>) -> String {
    instant.map_or_else(|| "-".to_owned(), |instant| visible(&instant.local))
}

impl View for Calendar {
    const SCHEMA: &'static str = "longshore.cli.calendar/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let mut facts = Facts::default();
        let state = match self.open {
            true => page.style.paint(Ink::Good, &self.standing()),
            false => page.style.paint(Ink::Bad, "closed"),
        };
        facts
            .add("environment", format!("{} ({})", visible(&self.env), visible(&self.zone)))
            .add("at", local(self.at.as_ref()))
            .add("state", state);
        for reason in &self.reasons {
            facts.add("because", visible(reason));
        }
        if self.open {
            // Not when it changes: it may go on in another window.
            let closes = self.openings.first().and_then(|opening| opening.until.as_ref());
            facts.add("closes", closes.map_or(NEVER.to_owned(), |at| visible(&at.local)));
        } else {
            let changes = self.changes.as_ref().map_or(NEVER.to_owned(), |at| visible(&at.local));
            let opens = self.openings.first().map(|opening| local(opening.from.as_ref()));
            let opens = opens.unwrap_or(NEVER.to_owned());
            if opens != changes {
                facts.add("changes", format!("{changes}, and stays closed")); // a freeze ends outside of every window
            }
            facts.add("opens", opens);
        }
        if !self.open {
            let under_way = match self.when_closed.as_str() {
                "finish" => "a wave that was switching finishes; no other begins",
                _ => "hosts that were switching finish; no other begins",
            };
            facts.add("under way", under_way.to_owned());
            facts.add(
                "going back",
                if self.rollback { "allowed".to_owned() } else { "waits as well".to_owned() },
            );
        }
        for rule in &self.windows {
            facts.add("window", visible(&format!("{}: {}", rule.name, rule.times)));
        }
        for rule in &self.freezes {
            let reason = rule.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            let by = rule.by.as_deref().map(|by| format!(", by {by}")).unwrap_or_default();
            facts.add("freeze", visible(&format!("{}: {}{reason}{by}", rule.name, rule.times)));
        }
        for lock in &self.locks {
            facts.add("locked", lock.line(page));
        }
        let mut lines = facts.lines(page.style);
        lines.push(String::new());
        lines.extend(self.opening_lines(page));
        lines
    }
}

impl Calendar {
    /// `open (window nights)`
    fn standing(&self) -> String {
        match self.openings.first().map(|opening| visible(&opening.windows.join(", "))) {
            Some(windows) if !windows.is_empty() => format!("open (window {windows})"),
            Some(_) | None => "open".to_owned(),
        }
    }

    fn opening_lines(&self, page: &Page) -> Vec<String> {
        // The first of one that is open is the one that it is in.
        if self.open && self.openings.first().is_some_and(|opening| opening.until.is_none()) {
            return vec!["It stays open.".to_owned()];
        }
        let coming = self.openings.iter().skip(usize::from(self.open));
        if coming.len() == 0 {
            let again = if self.open { " again" } else { "" };
            return vec![format!("It does not open{again} in the next year.")];
        }
        let mut table = Table::new([if self.open { "OPENS AGAIN" } else { "OPENS" }, "CLOSES", "WINDOWS"]);
        for opening in coming {
            table.row([
                local(opening.from.as_ref()).into(),
                local(opening.until.as_ref()).into(),
                visible(&opening.windows.join(", ")).into(),
            ]);
        }
        table.lines(page.style)
    }
}

impl Lock {
    fn line(&self, page: &Page) -> String {
        let since = self.since.map(|at| format!(", since {}", at.date(&page.zone))).unwrap_or_default();
        let app = self.app.as_deref().map(|app| format!("{app}: ")).unwrap_or_default();
        visible(&format!("{app}{} (by {}{since})", self.reason, self.by))
    }

    fn scope(&self) -> String {
        match &self.app {
            Some(app) => visible(&format!("{app} in {}", self.env)),
            None => visible(&self.env),
        }
    }
}

/// An environment that was frozen or is no longer.
#[derive(Clone, Debug, Serialize)]
pub struct Frozen {
    pub frozen: bool,
    pub calendar: Calendar,
}

impl View for Frozen {
    const SCHEMA: &'static str = "longshore.cli.env-frozen/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let Calendar { env, open, reasons, freezes, .. } = &self.calendar;
        let (env, reasons) = (visible(env), visible(&reasons.join(" and ")));
        let holds = freezes.iter().any(|rule| rule.by.is_some() && rule.holds);
        let done = match (self.frozen, holds) {
            (true, true) => format!("Environment {env} is frozen."),
            (true, false) => format!("Environment {env} will be frozen."),
            (false, _) => format!("The freeze of environment {env} is lifted."),
        };
        let stands = match (self.frozen, *open) {
            (true, _) if holds => None,
            (true, true) => Some("It is still open: the freeze begins later.".to_owned()),
            (true, false) => Some(format!("It is closed now: {reasons}. The freeze begins later.")),
            (false, true) => None,
            (false, false) => Some(format!("It is still closed: {reasons}")),
        };
        let mut lines = vec![page.style.paint(Ink::Good, &done)];
        lines.extend(stands);
        lines.push(format!("See: longshore env calendar {env}"));
        lines
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Locked(pub Lock);

impl View for Locked {
    const SCHEMA: &'static str = "longshore.cli.env-locked/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let Locked(lock) = self;
        let line = format!("{} is locked: no rollout starts there.", lock.scope());
        vec![page.style.paint(Ink::Good, &line)]
    }
}

/// The lock that was taken away.
#[derive(Clone, Debug, Serialize)]
pub struct Unlocked(pub Lock);

impl View for Unlocked {
    const SCHEMA: &'static str = "longshore.cli.env-unlocked/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let Unlocked(lock) = self;
        let line = format!("{} is unlocked (it was {}'s).", lock.scope(), visible(&lock.by));
        vec![page.style.paint(Ink::Good, &line)]
    }
}
