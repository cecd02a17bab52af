//! Apps: what there is of each, and where it runs. Put together from releases, environments and hosts.

use std::collections::BTreeMap;

use longshore_common::text::visible;
use longshore_proto::v1 as pb;
use serde::Serialize;

use super::release::Release;
use crate::cli::{
    moment::Moment,
    output::{Page, View},
    style::Ink,
    table::{Cell, Facts, Table},
};

#[derive(Clone, Debug, Serialize)]
pub struct App {
    pub app: String,
    /// Those that were not withdrawn; never none.
    pub releases: usize,
    /// Of those, the one that was published last.
    pub latest: Option<Release>,
    pub live: Vec<AppLive>,
}

#[derive(Clone, Debug, Serialize)]
pub struct AppLive {
    pub env: String,
    pub version: String,
    pub since: Option<Moment>,
}

#[derive(Clone, Debug, Serialize)]
pub struct AppList {
    pub apps: Vec<App>,
}

impl AppList {
    pub fn new(releases: pb::ListReleasesReply, environments: pb::ListEnvironmentsReply) -> Self {
        let mut apps: BTreeMap<String, App> = BTreeMap::new();
        for release in releases.releases.into_iter().map(Release::from) {
            let name = release.app.clone();
            let app = apps.entry(name.clone()).or_insert_with(|| App {
                app: name,
                releases: 0,
                latest: None,
                live: vec![],
            });
            if release.withdrawn {
                continue;
            }
            app.releases += 1;
            if app.latest.as_ref().is_none_or(|latest| latest.published_at <= release.published_at) {
                app.latest = Some(release);
            }
        }
        for environment in environments.environments {
            for live in environment.live {
                let pb::LiveRelease { app, version, since_ms, .. } = live;
                let here =
                    AppLive { env: environment.name.clone(), version, since: Moment::from_wire(since_ms) };
                if let Some(app) = apps.get_mut(&app) {
                    app.live.push(here);
                }
            }
        }
        Self { apps: apps.into_values().collect() }
    }
}

impl View for AppList {
    const SCHEMA: &'static str = "longshore.cli.app-list/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        if self.apps.is_empty() {
            return vec![
                "No apps. Publish one: longshore release publish, beside a longshore.toml".to_owned(),
            ];
        }
        let mut table = Table::new(["APP", "RELEASES", "LATEST", "PUBLISHED", "LIVE"]);
        for app in &self.apps {
            let latest = app.latest.as_ref();
            let live: Vec<String> =
                app.live.iter().map(|live| visible(&format!("{} {}", live.env, live.version))).collect();
            table.row([
                visible(&app.app).into(),
                app.releases.to_string().into(),
                latest.map(|release| visible(&release.version)).unwrap_or_default().into(),
                latest.map(|release| release.published_at.relative(page.now)).unwrap_or_default().into(),
                live.join(", ").into(),
            ]);
        }
        table.lines(page.style)
    }
}

/// One app, environment by environment and host by host.
#[derive(Clone, Debug, Serialize)]
pub struct AppDetail {
    #[serde(flatten)]
    pub app: App,
    pub hosts: Vec<AppHost>,
}

#[derive(Clone, Debug, Serialize)]
pub struct AppHost {
    pub host: String,
    pub name: String,
    /// Otherwise the rest is what it said last.
    pub connected: bool,
    pub version: String,
    pub verdict: String,
    /// Why a rollout found it unwell after the switch that the verdict is of; none: none did.
    pub unwell: Option<String>,
}

impl AppDetail {
    pub fn new(app: App, hosts: pb::ListHostsReply) -> Self {
        let mut rows = vec![];
        for host in hosts.hosts {
            let pb::Host { id, name, connected, apps, unwell, .. } = host;
            if let Some(state) = apps.into_iter().find(|state| state.app == app.app) {
                let pb::AppState { version, verdict, .. } = state;
                let unwell = unwell.into_iter().find(|found| found.app == app.app).map(|found| found.why);
                rows.push(AppHost { host: id, name, connected, version, verdict, unwell });
            }
        }
        Self { app, hosts: rows }
    }
}

impl View for AppDetail {
    const SCHEMA: &'static str = "longshore.cli.app/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let mut facts = Facts::default();
        facts.add("app", visible(&self.app.app)).add("releases", self.app.releases.to_string());
        if let Some(latest) = &self.app.latest {
            let when = latest.published_at.relative(page.now);
            facts.add(
                "latest",
                visible(&format!("{}, published {when} by {}", latest.version, latest.published_by)),
            );
        }
        for live in &self.app.live {
            let since = live.since.map(|at| format!(", since {}", at.date(&page.zone))).unwrap_or_default();
            facts.add("live in", visible(&format!("{}: {}{since}", live.env, live.version)));
        }
        let mut lines = facts.lines(page.style);
        if self.hosts.is_empty() {
            return lines;
        }
        let mut table = Table::new(["HOST", "STATE", "VERSION", "VERDICT"]);
        for host in &self.hosts {
            let (ink, verdict) = match (&host.unwell, host.verdict.as_str()) {
                (Some(_), _) => (Ink::Warn, "found unwell"),
                (None, "healthy") => (Ink::Good, "healthy"),
                (None, verdict) => (Ink::Warn, verdict),
            };
            table.row([
                visible(&host.name).into(),
                if host.connected { "connected".into() } else { Cell::new(Ink::Warn, "away") },
                visible(&host.version).into(),
                Cell::new(ink, visible(verdict)),
            ]);
        }
        lines.push(String::new());
        lines.extend(table.lines(page.style));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(version: &str, published_ms: i64, withdrawn: bool) -> pb::Release {
        pb::Release {
            app: "shop".into(),
            version: version.into(),
            published_ms,
            withdrawn,
            ..Default::default()
        }
    }

    /// The host's own verdict is of its switch.
    #[test]
    fn an_app_that_was_found_unwell_on_a_host_is_not_healthy_there() {
        let app = App { app: "shop".into(), releases: 1, latest: None, live: vec![] };
        let state = pb::AppState { app: "shop".into(), verdict: "healthy".into(), ..Default::default() };
        let found = pb::FoundUnwell { app: "shop".into(), why: "LS-B01 no".into(), ..Default::default() };
        let host = pb::Host { apps: vec![state], unwell: vec![found], ..Default::default() };
        let detail = AppDetail::new(app, pb::ListHostsReply { hosts: vec![host] });
        assert_eq!(detail.hosts[0].unwell.as_deref(), Some("LS-B01 no"));
        let lines = detail.lines(&Page::plain(Moment(0)));
        assert!(lines.last().unwrap().ends_with("found unwell"), "{lines:?}");
    }

    /// What was withdrawn is neither counted nor the latest, whatever the order.
    #[test]
    fn an_app_is_what_may_still_be_rolled_out() {
        let releases = vec![release("1.1", 2, false), release("1.2", 3, true), release("1.0", 1, false)];
        let live = pb::LiveRelease { app: "shop".into(), version: "1.0".into(), ..Default::default() };
        let elsewhere = pb::LiveRelease { app: "gone".into(), ..Default::default() };
        let env = pb::Environment { name: "prod".into(), live: vec![live, elsewhere], ..Default::default() };
        let list = AppList::new(
            pb::ListReleasesReply { releases },
            pb::ListEnvironmentsReply { environments: vec![env] },
        );
        let [app] = &list.apps[..] else { panic!("{list:?}") };
        let latest = app.latest.as_ref().map(|release| release.version.as_str());
        assert_eq!((app.releases, latest, app.live.len()), (2, Some("1.1"), 1));
    }
}
