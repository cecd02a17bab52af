//! What is signed, by whom, and how long it holds.

use longshore_common::{
    digest::hex,
    text::visible,
    trust::{DAY_MS, FLEET, Part, author, read_root, roughly},
};
use longshore_proto::v1 as pb;
use serde::Serialize;

use crate::cli::{
    moment::{Moment, count},
    output::{Page, View},
    signing::KeyRing,
    style::Ink,
    table::{Cell, Facts, Table},
};

/// Below this much life left, roots and lists should be renewed.
const WARN_MS: i64 = 30 * DAY_MS;
/// The controller renews its two by itself every hour; below this it does not.
const WARN_FRESH_MS: i64 = 5 * DAY_MS;

#[derive(Clone, Debug, Serialize)]
pub struct FleetRoot {
    pub root_sha256: String,
    pub created: bool,
    /// Where the keys for this controller lie.
    pub keys: String,
}

impl View for FleetRoot {
    const SCHEMA: &'static str = "longshore.cli.fleet-root/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let head = match self.created {
            true => page.style.paint(Ink::Good, "The fleet has a root: from now on what runs is signed"),
            false => "This machine knows the fleet by its root".to_owned(),
        };
        let mut facts = Facts::default();
        facts.add("root", visible(&self.root_sha256)).add("keys", visible(&self.keys)).add(
            "keep",
            "a copy of that folder, and its passphrase, where no computer is: without them no key can be changed",
        );
        if self.created {
            facts.add("next", "longshore app create APP, then longshore release publish signs by itself");
        }
        let facts = facts.lines(page.style).into_iter().map(|line| format!("  {line}"));
        std::iter::once(head).chain(facts).collect()
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct AppMade {
    pub app: String,
    pub public_key: String,
    pub threshold: u64,
    pub keys: usize,
    /// Which signatures are missing, if any.
    pub waiting: Option<String>,
}

impl View for AppMade {
    const SCHEMA: &'static str = "longshore.cli.app-made/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let app = visible(&self.app);
        let takes = format!("{} of {}", self.threshold, count(self.keys, "key"));
        let head = format!("Releases of {app} are signed from now on; a release takes {takes}");
        let mut lines = vec![page.style.paint(Ink::Good, &head)];
        lines.push(format!("  your key  {}", visible(&self.public_key)));
        lines.extend(self.waiting.iter().map(|waiting| format!("  waiting   {}", visible(waiting))));
        lines
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Keys {
    pub folder: String,
    pub keys: Vec<Key>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Key {
    pub name: String,
    pub public_key: String,
}

impl Keys {
    pub fn new(ring: &KeyRing) -> Self {
        let keys = ring.keys().into_iter();
        let keys = keys.map(|key| Key { name: key.name, public_key: key.public.to_string() });
        Self { folder: ring.folder().display().to_string(), keys: keys.collect() }
    }
}

impl View for Keys {
    const SCHEMA: &'static str = "longshore.cli.keys/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        if self.keys.is_empty() {
            return vec![format!(
                "No keys in {}. Make one: longshore key create NAME",
                visible(&self.folder)
            )];
        }
        let mut table = Table::new(["KEY", "PUBLIC"]);
        for key in &self.keys {
            table.row([visible(&key.name).into(), visible(&key.public_key).into()]);
        }
        table.lines(page.style)
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    pub what: String,
    /// It was signed before; nothing was done.
    pub before: bool,
    pub waiting: Option<String>,
}

impl View for Outcome {
    const SCHEMA: &'static str = "longshore.cli.signed/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let what = visible(&self.what);
        match (&self.waiting, self.before) {
            (Some(waiting), _) => {
                vec![
                    page.style.paint(Ink::Warn, &format!("{what}: signed here, and not enough yet")),
                    format!("  {}", visible(waiting)),
                ]
            }
            (None, true) => vec![format!("{what}: signed before; nothing to do")],
            (None, false) => vec![page.style.paint(Ink::Good, &format!("{what}: signed"))],
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct TrustStatus {
    pub repositories: Vec<Repository>,
    /// What needs doing, with the command; none when all is well.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Repository {
    pub app: String,
    pub root_version: u64,
    pub list_version: u64,
    pub releases: usize,
    pub min_seq: u64,
    /// Such as "1 of 2".
    pub takes: String,
    pub root_expires_at: Moment,
    pub list_expires_at: Moment,
    pub fresh_until: Moment,
    /// Something waits for signatures.
    pub pending: bool,
    pub problem: Option<String>,
}

impl TrustStatus {
    /// `pin` is what this machine knows the fleet by.
    pub fn new(reply: pb::TrustStatusReply, pin: Option<[u8; 32]>, now: Moment) -> Self {
        let mut warnings = vec![];
        if reply.repositories.is_empty() {
            warnings.push("nothing is signed: hosts run what the controller says. longshore init".to_owned());
        }
        let fleet = reply.repositories.iter().find(|repository| repository.app == FLEET);
        if let Some(fleet) = fleet {
            match pin {
                None => warnings.push("this machine pins no root: longshore trust pin SHA256".to_owned()),
                Some(pin) if pin[..] != fleet.root_sha256[..] => warnings.push(format!(
                    "the controller shows another fleet's root ({}…) than this machine pins",
                    &hex(&fleet.root_sha256).chars().take(16).collect::<String>()
                )),
                Some(_) => {}
            }
        }
        let repositories = reply.repositories.into_iter().map(Repository::from).collect::<Vec<_>>();
        warnings.extend(repositories.iter().flat_map(|repository| repository.warnings(now)));
        Self { repositories, warnings }
    }
}

impl From<pb::TrustRepository> for Repository {
    fn from(repository: pb::TrustRepository) -> Self {
        let pb::TrustRepository {
            app,
            root_sha256: _,
            root,
            targets,
            snapshot_expires_ms,
            timestamp_expires_ms,
            pending,
            problem,
        } = repository;
        let view = read_root(&app, &root).ok();
        let list = author::read_catalog(&app, &targets).ok();
        let takes = view.as_ref().map(|view| {
            let (threshold, keys) = view.role(Part::Targets);
            format!("{threshold} of {}", keys.len())
        });
        Self {
            root_version: view.as_ref().map_or(0, |view| view.version),
            root_expires_at: Moment(view.as_ref().map_or(0, |view| view.expires_ms)),
            list_version: list.as_ref().map_or(0, |list| list.version),
            list_expires_at: Moment(list.as_ref().map_or(0, |list| list.expires_ms)),
            releases: list.as_ref().map_or(0, |list| list.releases.len()),
            min_seq: list.as_ref().map_or(0, |list| list.min_seq),
            takes: takes.unwrap_or_default(),
            fresh_until: Moment(snapshot_expires_ms.min(timestamp_expires_ms)),
            pending,
            problem: super::some(problem),
            app,
        }
    }
}

impl Repository {
    fn warnings(&self, now: Moment) -> Vec<String> {
        let app = &self.app;
        if let Some(problem) = &self.problem {
            return vec![format!("{app}: {problem}")];
        }
        let parts = [
            (Part::Root, self.root_expires_at, WARN_MS),
            (Part::Targets, self.list_expires_at, WARN_MS),
            (Part::Timestamp, self.fresh_until, WARN_FRESH_MS),
        ];
        let soon = parts.into_iter().filter_map(|(part, at, warn)| {
            let left = at.0 - now.0;
            let when = match left {
                left if left > warn => return None,
                left if left > 0 => format!("expires in {}", roughly(left)),
                left => format!("EXPIRED {} ago", roughly(-left)),
            };
            let remedy = match part {
                Part::Timestamp | Part::Snapshot => part.remedy(app),
                Part::Root | Part::Targets => format!("longshore trust rotate {app}"),
            };
            Some(format!("{app}: {part} {when}: {remedy}"))
        });
        let pending = self.pending.then(|| format!("{app}: something waits for signatures: longshore release sign {app}@VERSION, or longshore trust rotate {app}"));
        soon.chain(pending).collect()
    }
}

impl View for TrustStatus {
    const SCHEMA: &'static str = "longshore.cli.trust-status/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let mut table = Table::new(["APP", "RELEASES", "FLOOR", "TAKES", "ROOT", "LIST", "CURRENT UNTIL"]);
        let left = |at: Moment, warn: i64| {
            let ink = if at.0 - page.now.0 > warn { Ink::Plain } else { Ink::Warn };
            Cell::new(ink, at.relative(page.now))
        };
        for repository in &self.repositories {
            table.row([
                visible(&repository.app).into(),
                repository.releases.to_string().into(),
                repository.min_seq.to_string().into(),
                visible(&repository.takes).into(),
                left(repository.root_expires_at, WARN_MS),
                left(repository.list_expires_at, WARN_MS),
                left(repository.fresh_until, WARN_FRESH_MS),
            ]);
        }
        let mut lines = if self.repositories.is_empty() { vec![] } else { table.lines(page.style) };
        lines.extend(
            self.warnings
                .iter()
                .map(|warning| page.style.paint(Ink::Warn, &format!("! {}", visible(warning)))),
        );
        lines
    }
}
