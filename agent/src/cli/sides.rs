//! The two sides of an app: which has the traffic, and until when the other is warm.

use jiff::tz::TimeZone;
use longshore_common::{
    text::visible,
    time::{Millis, rounded},
    traffic::SideSeen,
};
use longshore_proto::v1 as pb;
use serde_json::{Value, json};

use super::{
    say::say,
    show::{at, moment},
};

/// A line for each side, none for an app without.
pub(super) fn tell(app: &str, sides: &[pb::SideState], now: Millis) {
    let zone = TimeZone::system();
    let more = |until| format!("{}, for {} more", moment(until, &zone), rounded(until - now));
    let clock = |until: Millis| (until > now).then(|| more(until));
    for (place, side) in read(sides).enumerate() {
        let space = if place == 0 { "\n" } else { "" };
        let SideSeen { side: name, slot, main, .. } = &side;
        let (app, main) = (visible(app), visible(main));
        say!("{space}{app} {name} {}: {}; {main}", slot.version(), side.standing(clock));
    }
}

/// Empty of an app without.
pub(super) fn json(sides: &[pb::SideState]) -> Value {
    let rows = read(sides).map(|seen| {
        let SideSeen { side, slot, up, share, main, warm_until_ms } = seen;
        json!({
            "side": side.as_str(),
            "version": slot.version(),
            "slot": slot.to_string(),
            "running": up,
            "share": share,
            "main_process": main,
            "warm_until_at": warm_until_ms.and_then(at),
        })
    });
    rows.collect()
}

/// The agent beside us says what we can read.
fn read(sides: &[pb::SideState]) -> impl Iterator<Item = SideSeen> {
    sides.iter().filter_map(|side| SideSeen::try_from(side.clone()).ok())
}
