//! The apps of a host: in a list all of them on one line, of one host a table.

use longshore_common::text::visible;

use super::host::{Host, HostApp};
use crate::cli::{
    style::Ink,
    table::{Cell, Table},
};

impl Host {
    /// `shop 1.1, blog 2.0 (found unwell)`: a verdict is of the switch, what was found later counts more.
    pub(super) fn brief(&self) -> String {
        let found =
            |app: &HostApp| app.running == Some(true) && self.unwell.iter().any(|found| found.app == app.app);
        let briefs = self.apps.iter().map(|app| match found(app) {
            true => format!("{} (found unwell)", app.brief()),
            false => app.brief(),
        });
        briefs.collect::<Vec<_>>().join(", ")
    }
}

/// Of a host that is away, or whose helper is, nobody knows whether an app runs: what is told is what it said last. That a slot is
/// unpacked says nothing of whether its release ever came to healthy there, but of one that failed it is said.
pub(super) fn apps_table(apps: &[HostApp], connected: bool) -> Table {
    let mut table = Table::new(["APP", "VERSION", "RUNS", "VERDICT", "SLOT", "UNPACKED"]);
    for app in apps {
        let verdict = app.verdict.as_deref().unwrap_or_default();
        let ink = if verdict == "healthy" { Ink::Good } else { Ink::Warn };
        table.row([
            visible(&app.app).into(),
            visible(app.version.as_deref().unwrap_or_default()).into(),
            match (connected, app.running) {
                (false, _) | (true, None) => Cell::new(Ink::Faint, "unknown"),
                (true, Some(true)) => Cell::new(Ink::Plain, "yes"),
                (true, Some(false)) => Cell::new(Ink::Bad, "no"),
            },
            Cell::new(ink, visible(verdict)),
            visible(app.slot.as_deref().unwrap_or_default()).into(),
            unpacked(app).into(),
        ]);
    }
    table
}

/// `1.2-aabbccdd, 1.3-00112233 (failed here)`
fn unpacked(app: &HostApp) -> String {
    let failed = |slot: &String| if app.failed_slots.contains(slot) { " (failed here)" } else { "" };
    app.slots.iter().map(|slot| visible(slot) + failed(slot)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use longshore_proto::v1 as pb;

    use super::*;
    use crate::cli::style::Style;

    #[test]
    fn a_slot_that_failed_there_is_not_like_the_others() {
        let app: HostApp = pb::AppState {
            app: "shop".into(),
            slots: vec!["1.2-aabbccdd".into(), "1.3-00112233".into()],
            failed_slots: vec!["1.3-00112233".into()],
            ..pb::AppState::default()
        }
        .into();
        let lines = apps_table(&[app], true).lines(Style::PLAIN);
        assert!(lines[1].ends_with("1.2-aabbccdd, 1.3-00112233 (failed here)"), "{lines:?}");
    }
}
