//! What is signed, by whom, and how long it holds.

use longshore_common::{
    digest::hex,
    text::visible,
    trust::{DAY_MS, DUE_MS, FLEET, Part, SOON_MS, URGENT_MS, author, read_root, roughly},
};
use longshore_proto::v1 as pb;
use serde::Serialize;

use crate::cli::{
    moment::{Moment, count},
    output::{Page, View},
    signing::{Holder, KeyRing},
    style::Ink,
    table::{Cell, Facts, Table},
};

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
    /// "file" or "ssh-agent".
    pub held_by: String,
}

impl Keys {
    pub fn new(ring: &KeyRing) -> Self {
        let keys = ring.keys().into_iter();
        let keys = keys.map(|key| Key {
            name: key.name,
            public_key: key.public.to_string(),
            held_by: match key.holder {
                Holder::File => "file".to_owned(),
                Holder::SshAgent => "ssh-agent".to_owned(),
            },
        });
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
        let mut table = Table::new(["KEY", "HELD BY", "PUBLIC"]);
        for key in &self.keys {
            table.row([
                visible(&key.name).into(),
                visible(&key.held_by).into(),
                visible(&key.public_key).into(),
            ]);
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
    /// When each document runs out, the first first.
    pub expiries: Vec<Expiry>,
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

/// When one document runs out.
#[derive(Clone, Debug, Serialize)]
pub struct Expiry {
    pub app: String,
    /// root, targets or timestamp.
    pub document: String,
    pub expires_at: Moment,
    /// Negative: it has expired.
    pub seconds_left: i64,
    /// ok; soon, due or urgent (30, 14, 7 days before); expired.
    pub level: Level,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    Ok,
    Soon,
    Due,
    Urgent,
    Expired,
}

impl Level {
    /// The controller renews its own two by itself every hour: below five days it does not, and that is urgent.
    fn of(part: Part, left_ms: i64) -> Self {
        let renews_itself = matches!(part, Part::Timestamp | Part::Snapshot);
        match left_ms {
            left if left <= 0 => Level::Expired,
            left if renews_itself && left > WARN_FRESH_MS => Level::Ok,
            left if renews_itself || left <= URGENT_MS => Level::Urgent,
            left if left <= DUE_MS => Level::Due,
            left if left <= SOON_MS => Level::Soon,
            _ => Level::Ok,
        }
    }

    fn ink(self) -> Ink {
        match self {
            Level::Ok => Ink::Plain,
            Level::Soon | Level::Due => Ink::Warn,
            Level::Urgent | Level::Expired => Ink::Bad,
        }
    }
}

impl TrustStatus {
    /// With what runs out when.
    pub fn of(repositories: Vec<Repository>, mut warnings: Vec<String>, now: Moment) -> Self {
        let sound = repositories.iter().filter(|repository| repository.problem.is_none());
        let mut expiries: Vec<Expiry> = sound.flat_map(|repository| repository.expiries(now)).collect();
        expiries.sort_by_key(|expiry| expiry.expires_at.0);
        warnings.extend(expiries.iter().filter_map(Expiry::warning));
        Self { repositories, expiries, warnings }
    }

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
        warnings.extend(repositories.iter().flat_map(Repository::warnings));
        Self::of(repositories, warnings, now)
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
    fn expiries(&self, now: Moment) -> [Expiry; 3] {
        let expiry = |part: Part, at: Moment| Expiry {
            app: self.app.clone(),
            document: part.to_string(),
            expires_at: at,
            seconds_left: (at.0 - now.0).div_euclid(1000),
            level: Level::of(part, at.0 - now.0),
        };
        [
            expiry(Part::Root, self.root_expires_at),
            expiry(Part::Targets, self.list_expires_at),
            expiry(Part::Timestamp, self.fresh_until),
        ]
    }

    fn warnings(&self) -> Vec<String> {
        let app = &self.app;
        if let Some(problem) = &self.problem {
            return vec![format!("{app}: {problem}")];
        }
        let pending = self.pending.then(|| {
            format!(
                "{app}: something waits for signatures: longshore release sign {app}@VERSION, or longshore trust \
                 rotate {app}"
            )
        });
        pending.into_iter().collect()
    }
}

impl Expiry {
    /// What to do, where it is time to.
    fn warning(&self) -> Option<String> {
        let left = self.seconds_left * 1000;
        let when = match self.level {
            Level::Ok => return None,
            Level::Soon => format!("expires in {}", roughly(left)),
            Level::Due => format!("expires in {}: renew it now", roughly(left)),
            Level::Urgent => format!("EXPIRES IN {}: new releases are refused after that", roughly(left)),
            Level::Expired => format!("EXPIRED {} ago: new releases are refused", roughly(-left)),
        };
        let part = Part::ALL.into_iter().find(|part| part.as_str() == self.document)?;
        Some(format!("{}: {part} {when}: {}", self.app, part.remedy(&self.app)))
    }
}

impl View for TrustStatus {
    const SCHEMA: &'static str = "longshore.cli.trust-status/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let mut table = Table::new(["APP", "RELEASES", "FLOOR", "TAKES", "ROOT", "LIST", "CURRENT UNTIL"]);
        let left =
            |part, at: Moment| Cell::new(Level::of(part, at.0 - page.now.0).ink(), at.relative(page.now));
        for repository in &self.repositories {
            table.row([
                visible(&repository.app).into(),
                repository.releases.to_string().into(),
                repository.min_seq.to_string().into(),
                visible(&repository.takes).into(),
                left(Part::Root, repository.root_expires_at),
                left(Part::Targets, repository.list_expires_at),
                left(Part::Timestamp, repository.fresh_until),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_out_is_told_thirty_fourteen_and_seven_days_ahead() {
        let repository = |days: i64| Repository {
            app: "shop".into(),
            root_version: 1,
            list_version: 1,
            releases: 1,
            min_seq: 0,
            takes: "1 of 1".into(),
            root_expires_at: Moment(700 * DAY_MS),
            list_expires_at: Moment(days * DAY_MS + 1000),
            fresh_until: Moment(7 * DAY_MS),
            pending: false,
            problem: None,
        };
        let told = |days| TrustStatus::of(vec![repository(days)], vec![], Moment(0));
        assert_eq!(told(31).warnings, Vec::<String>::new());
        for (days, level, says) in [
            (29, Level::Soon, "shop: targets expires in 29 d: longshore trust rotate shop"),
            (13, Level::Due, "shop: targets expires in 13 d: renew it now: longshore trust rotate shop"),
            (6, Level::Urgent, "shop: targets EXPIRES IN 6 d: new releases are refused after that"),
            (-3, Level::Expired, "shop: targets EXPIRED 2 d ago: new releases are refused"),
        ] {
            let status = told(days);
            assert_eq!(status.expiries.iter().map(|e| e.level).max_by_key(|l| *l as u8), Some(level));
            assert!(status.warnings[0].starts_with(says), "{:?}", status.warnings);
            assert_eq!(status.warnings.len(), 1);
        }
        let list = &told(29).expiries[1];
        assert_eq!((list.document.as_str(), list.seconds_left), ("targets", 29 * 86_400 + 1));
        assert_eq!(Level::of(Part::Timestamp, 4 * DAY_MS), Level::Urgent);
    }
}
