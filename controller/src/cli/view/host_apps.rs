//! The apps of a host: in a list all of them on one line, of one host a table.

use longshore_common::text::visible;

use super::host::{Host, HostApp};
use crate::cli::{
    style::Ink,
    table::{Cell, Table},
};

impl HostApp {
    /// `shop 1.1`, with what is wrong where something is.
    pub fn brief(&self) -> String {
        let version = self.version.as_deref().unwrap_or("not deployed");
        let trouble = match (&self.version, self.running, self.verdict.as_deref()) {
            (None, _, _) => String::new(),
            (_, None, _) => " (unknown)".to_owned(),
            (_, Some(false), _) => " (down)".to_owned(),
            (_, Some(true), Some("healthy") | None) => String::new(),
            (_, Some(true), Some(verdict)) => format!(" ({verdict})"),
        };
        visible(&format!("{} {version}{trouble}", self.app))
    }
}

impl Host {
    /// `shop 1.1, blog 2.0 (found unwell)`: a verdict is of the switch, what was found later counts more. Of a load balancer
    /// `directs es, shop`: that it runs none of that is no fault.
    pub(super) fn brief(&self) -> String {
        let found =
            |app: &HostApp| app.running == Some(true) && self.unwell.iter().any(|found| found.app == app.app);
        let (directed, own): (Vec<&HostApp>, Vec<&HostApp>) =
            self.apps.iter().partition(|app| self.directs.contains(&app.app));
        let briefs = own.into_iter().map(|app| match found(app) {
            true => format!("{} (found unwell)", app.brief()),
            false => app.brief(),
        });
        let names: Vec<String> = directed.into_iter().map(|app| visible(&app.app)).collect();
        let directs = (!names.is_empty()).then(|| format!("directs {}", names.join(", ")));
        briefs.chain(directs).collect::<Vec<_>>().join(", ")
    }
}

/// Of a host that is away, or whose helper is, nobody knows whether an app runs: what is told is what it said last. That a slot is
/// unpacked says nothing of whether its release ever came to healthy there, but of one that failed it is said.
pub(super) fn apps_table(apps: &[HostApp], directs: &[String], connected: bool) -> Table {
    let mut table = Table::new(["APP", "VERSION", "RUNS", "VERDICT", "SLOT", "UNPACKED"]);
    for app in apps {
        let verdict = app.verdict.as_deref().unwrap_or_default();
        let ink = if verdict == "healthy" { Ink::Good } else { Ink::Warn };
        table.row([
            visible(&app.app).into(),
            visible(app.version.as_deref().unwrap_or_default()).into(),
            match (connected, app.running) {
                _ if directs.contains(&app.app) => "directs it".into(),
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
    fn a_balancer_directs_what_it_does_not_run() {
        let app = |app: &str, version: &str| pb::AppState {
            app: app.into(),
            version: version.into(),
            running: true,
            ..pb::AppState::default()
        };
        let apps = vec![app("es", ""), app("node-exporter", "1.8"), app("shop", "")];
        let directs = vec!["es".to_owned(), "shop".to_owned()];
        let host: Host = pb::Host { apps, directs, ..pb::Host::default() }.into();
        assert_eq!(host.brief(), "node-exporter 1.8, directs es, shop");
        let lines = apps_table(&host.apps, &host.directs, true).lines(Style::PLAIN);
        assert!(lines[1].contains("directs it") && !lines[2].contains("directs it"), "{lines:?}");
    }

    #[test]
    fn a_slot_that_failed_there_is_not_like_the_others() {
        let app: HostApp = pb::AppState {
            app: "shop".into(),
            slots: vec!["1.2-aabbccdd".into(), "1.3-00112233".into()],
            failed_slots: vec!["1.3-00112233".into()],
            ..pb::AppState::default()
        }
        .into();
        let lines = apps_table(&[app], &[], true).lines(Style::PLAIN);
        assert!(lines[1].ends_with("1.2-aabbccdd, 1.3-00112233 (failed here)"), "{lines:?}");
    }
}
