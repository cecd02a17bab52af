//! The keys of the agent's ledger, made and read here only.

use longshore_common::ids::AppName;

pub const BOOT: &str = "meta/boot";
pub const SEQ: &str = "meta/seq";
pub const HOLD: &str = "meta/hold";
pub const DRAIN: &str = "meta/drain";

/// In place of an app's name, and no name that an app may have.
const HOST: &str = "-";

pub enum Key {
    /// What was accepted last; apart from the record because both may be large.
    Assignment(AppName),
    Record(AppName),
    Outbox(u64),
    /// Of an app, or of the host itself.
    History(Option<AppName>, u64),
    Boot,
    Seq,
    Hold,
    Drain,
}

pub fn assignment(app: &AppName) -> String {
    format!("assignment/{app}")
}

pub fn record(app: &AppName) -> String {
    format!("record/{app}")
}

/// Padded, so that order by key is order by number.
pub fn outbox(seq: u64) -> String {
    format!("outbox/{seq:020}")
}

pub fn history(app: Option<&AppName>, nth: u64) -> String {
    format!("{}{nth:020}", history_of(app))
}

pub fn history_of(app: Option<&AppName>) -> String {
    format!("history/{}/", app.map_or(HOST, AppName::as_str))
}

/// None for a key that this version does not write.
pub fn parse(key: &str) -> Option<Key> {
    let (kind, rest) = key.split_once('/')?;
    match (kind, rest) {
        ("assignment", app) => app.parse().ok().map(Key::Assignment),
        ("record", app) => app.parse().ok().map(Key::Record),
        ("outbox", seq) => seq.parse().ok().map(Key::Outbox),
        ("history", rest) => {
            let (app, nth) = rest.split_once('/')?;
            let app = if app == HOST { None } else { Some(app.parse().ok()?) };
            Some(Key::History(app, nth.parse().ok()?))
        }
        ("meta", "boot") => Some(Key::Boot),
        ("meta", "seq") => Some(Key::Seq),
        ("meta", "hold") => Some(Key::Hold),
        ("meta", "drain") => Some(Key::Drain),
        _ => None,
    }
}
