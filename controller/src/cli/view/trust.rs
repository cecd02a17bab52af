//! What is signed, by whom, and how long it holds.

#[cfg(test)]
mod tests;

use longshore_common::{
    digest::hex,
    text::visible,
    trust::{DAY_MS, DUE_MS, FLEET, Part, SOON_MS, URGENT_MS, author, read_root, roughly},
};
use longshore_proto::v1 as pb;
use serde::Serialize;

use super::trust_waiting::Waiting;
use crate::cli::{
    moment::{Moment, count},
    output::{Page, View},
    signing::{Holder, KeyRing, Overtaken},
    style::Ink,
    table::{Cell, Facts, Table},
};

/// The controller renews its two by itself every hour; below this it does not.
const WARN_FRESH_MS: i64 = 5 * DAY_MS;

/// Said where this machine or a host pins a root, and the controller has none.
pub const LOST: &str = "the controller has lost the fleet's signed documents, and hosts that pin its root take nothing new. \
                        On the machine that signed last: longshore trust refresh; where that is refused, the \
                        controller's own key was lost as well: put its folder trust back from a copy, start it, and then \
                        the same";

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
        facts.add("root", visible(&self.root_sha256)).add("keys", visible(&self.keys));
        if self.created {
            facts
                .add(
                    "keep",
                    "a copy of that folder, and its passphrase, where no computer is: without them no key can be changed",
                )
                .add("next", "longshore app create APP, then longshore release publish signs by itself");
        } else {
            facts.add(
                "next",
                "longshore trust status; to sign from here: longshore key create NAME, and give what longshore key list \
                 prints of it to whoever lets it sign (app create --key, trust rotate --add-key)",
            );
        }
        let facts = facts.lines(page.style).into_iter().map(|line| format!("  {line}"));
        std::iter::once(head).chain(facts).collect()
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct AppMade {
    pub app: String,
    pub public_key: String,
    /// As messages name it.
    pub key_id: String,
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
        let head = match &self.waiting {
            None => {
                let head = format!("Releases of {app} are signed from now on; a release takes {takes}");
                page.style.paint(Ink::Good, &head)
            }
            Some(_) => {
                let head = format!(
                    "The keys of {app} are signed here, and not by enough yet; a release will take {takes}"
                );
                page.style.paint(Ink::Warn, &head)
            }
        };
        let mut lines = vec![head];
        lines.push(format!(
            "  your key  {} (in messages: {})",
            visible(&self.public_key),
            visible(&self.key_id)
        ));
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
    /// As messages name it.
    pub id: String,
    pub public_key: String,
    /// "file" or "ssh-agent".
    pub held_by: String,
}

impl Keys {
    pub fn new(ring: &KeyRing) -> Self {
        let keys = ring.keys().into_iter();
        let keys = keys.map(|key| Key {
            name: key.name,
            id: key.public.short(),
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
        let mut table = Table::new(["NAME", "KEY", "HELD BY", "PUBLIC"]);
        for key in &self.keys {
            table.row([
                visible(&key.name).into(),
                visible(&key.id).into(),
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
    /// What others had signed for its place: it does not count any more.
    pub overtaken: Vec<Overtaken>,
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
            (None, false) => {
                let head = page.style.paint(Ink::Good, &format!("{what}: signed"));
                let overtaken = self.overtaken.iter().map(|other| other.line(page.style));
                std::iter::once(head).chain(overtaken).collect()
            }
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
    #[serde(serialize_with = "unless_never")]
    pub root_expires_at: Moment,
    #[serde(serialize_with = "unless_never")]
    pub list_expires_at: Moment,
    #[serde(serialize_with = "unless_never")]
    pub fresh_until: Moment,
    /// Something waits for signatures.
    pub pending: bool,
    pub waiting: Vec<Waiting>,
    pub problem: Option<String>,
}

/// An app whose first keys wait for signatures has no documents yet that could run out.
fn unless_never<S: serde::Serializer>(at: &Moment, serializer: S) -> Result<S::Ok, S::Error> {
    Moment::from_wire(at.0).serialize(serializer)
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
        let sound = repositories.iter().filter(|of| of.problem.is_none() && !of.is_begun());
        let mut expiries: Vec<Expiry> = sound.flat_map(|repository| repository.expiries(now)).collect();
        expiries.sort_by_key(|expiry| expiry.expires_at.0);
        // While a root or a list has run out, the controller signs nothing of it anew: that is what has to be renewed.
        let blocked = |expiry: &Expiry| {
            let lasting = |other: &&Expiry| other.app == expiry.app && other.document != expiry.document;
            expiry.document == Part::Timestamp.as_str()
                && expiries.iter().filter(lasting).any(|other| other.level == Level::Expired)
        };
        warnings.extend(expiries.iter().filter(|expiry| !blocked(expiry)).filter_map(Expiry::warning));
        Self { repositories, expiries, warnings }
    }

    /// `pin` is what this machine knows the fleet by, `seen` of what it has verified documents.
    pub fn new(reply: pb::TrustStatusReply, pin: Option<[u8; 32]>, seen: &[String], now: Moment) -> Self {
        let mut warnings = vec![];
        let there = |app: &str| reply.repositories.iter().any(|repository| repository.app == app);
        match pin {
            None if reply.repositories.is_empty() => {
                warnings
                    .push("nothing is signed: hosts run what the controller says. longshore init".to_owned());
            }
            Some(_) if !there(FLEET) => warnings.push(LOST.to_owned()),
            _ => {
                let lost = seen.iter().filter(|app| !there(app));
                warnings.extend(lost.map(|app| {
                    format!(
                        "{app}: was signed, and the controller has lost it. To hand it back what was seen here: longshore \
                         trust refresh"
                    )
                }));
            }
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

/// What of the signed documents has run out, or is about to, with who renews it and how.
pub fn running_out(reply: pb::TrustStatusReply, now: Moment) -> Vec<String> {
    TrustStatus::of(reply.repositories.into_iter().map(Repository::from).collect(), vec![], now).warnings
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
            problem,
            waiting,
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
            pending: !waiting.is_empty(),
            waiting: waiting.into_iter().map(Waiting::from).collect(),
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
        self.waiting.iter().map(|waiting| waiting.warning(app)).collect()
    }

    /// An app whose first keys wait for signatures.
    fn is_begun(&self) -> bool {
        self.root_version == 0
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
        Some(format!("{}: {part} {when}: {} ({})", self.app, part.remedy(&self.app), part.who(&self.app)))
    }
}

impl View for TrustStatus {
    const SCHEMA: &'static str = "longshore.cli.trust-status/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let mut table = Table::new(["APP", "RELEASES", "FLOOR", "TAKES", "ROOT", "LIST", "CURRENT UNTIL"]);
        let left =
            |part, at: Moment| Cell::new(Level::of(part, at.0 - page.now.0).ink(), at.relative(page.now));
        for repository in &self.repositories {
            if repository.is_begun() {
                let [app, no] = [visible(&repository.app), "-".to_owned()].map(Cell::from);
                table.row([app, no.clone(), no.clone(), no.clone(), no.clone(), no.clone(), no]);
                continue;
            }
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
