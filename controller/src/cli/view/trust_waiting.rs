//! What waits for signatures, whose keys may sign, and what was given up.

use longshore_common::{
    text::visible,
    trust::{FLEET, Part, read_root},
};
use longshore_proto::v1 as pb;
use serde::Serialize;

use super::some;
use crate::cli::{
    moment::{Moment, count},
    output::{Page, View},
    signing::{KnownKey, Overtaken},
    style::{Ink, Style},
    table::Table,
};

/// A change that somebody signed, and too few.
#[derive(Clone, Debug, Serialize)]
pub struct Waiting {
    pub id: String,
    /// Such as "lists 1.4.2 (9c1e5a5f)".
    pub what: String,
    pub since: Option<Moment>,
    /// None: the root stays as it is.
    pub root: Option<Signatures>,
    pub list: Option<Signatures>,
    /// Another was taken in its place: everybody has to sign it again, or it is dropped.
    pub overtaken: bool,
    /// The command for whoever signs next.
    pub next: String,
    #[serde(skip)]
    pub sentence: String,
}

/// Under one document.
#[derive(Clone, Debug, Serialize)]
pub struct Signatures {
    pub takes: u64,
    pub have: Vec<Signer>,
    /// Ids of the keys that may sign as well: longshore key list, trust keys.
    pub lacking: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Signer {
    /// The id of the key.
    pub key: String,
    /// The operator who brought the signature.
    pub by: Option<String>,
}

impl From<pb::TrustWaiting> for Waiting {
    fn from(waiting: pb::TrustWaiting) -> Self {
        let pb::TrustWaiting { id, what, command, sentence, root, list, overtaken, since_ms } = waiting;
        let since = Moment::from_wire(since_ms);
        let (root, list) = (root.map(Signatures::from), list.map(Signatures::from));
        Self { id, what, since, root, list, overtaken, next: command, sentence }
    }
}

impl From<pb::TrustSignatures> for Signatures {
    fn from(signatures: pb::TrustSignatures) -> Self {
        let pb::TrustSignatures { takes, have, lacking } = signatures;
        let have = have.into_iter().map(|signer| Signer { key: signer.key, by: some(signer.by) });
        Self { takes, have: have.collect(), lacking }
    }
}

impl Waiting {
    /// What needs doing.
    pub fn warning(&self, app: &str) -> String {
        let Self { id, what, sentence, .. } = self;
        let head = format!("{app}: {what}");
        if self.overtaken {
            return format!(
                "{head}: that was overtaken, {}: another was taken in its place. Sign it again: {}, or: longshore trust drop \
                 {app} {id} --reason …",
                self.signers(),
                self.next
            );
        }
        format!(
            "{head}: that waits for signatures: {sentence}. To give it up: longshore trust drop {app} {id} --reason …"
        )
    }

    fn signers(&self) -> String {
        let signatures = self.root.iter().chain(&self.list);
        let mut names: Vec<String> = signatures.flat_map(|of| &of.have).map(Signer::name).collect();
        names.sort();
        names.dedup();
        match names.as_slice() {
            [] => "signed by nobody".to_owned(),
            names => format!("signed by {}", names.join(", ")),
        }
    }
}

impl Signer {
    fn name(&self) -> String {
        match &self.by {
            Some(by) => format!("{} ({by})", self.key),
            None => self.key.clone(),
        }
    }
}

impl Overtaken {
    /// For whoever overtook it.
    pub fn line(&self, style: Style) -> String {
        let Self { what, next } = self;
        let line = format!("! overtaken by this, and to be signed again by everybody: {what}: {next}");
        style.paint(Ink::Warn, &visible(&line))
    }
}

/// `trust drop`.
#[derive(Clone, Debug, Serialize)]
pub struct Dropped {
    pub app: String,
    pub dropped: Vec<Waiting>,
}

impl Dropped {
    pub fn new(app: String, reply: pb::DropTrustReply) -> Self {
        Self { app, dropped: reply.dropped.into_iter().map(Waiting::from).collect() }
    }
}

impl View for Dropped {
    const SCHEMA: &'static str = "longshore.cli.trust-dropped/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let app = visible(&self.app);
        if self.dropped.is_empty() {
            return vec![format!("{app}: nothing of it was overtaken; nothing to do")];
        }
        let lines = self.dropped.iter().map(|waiting| {
            let line =
                format!("{app}: dropped: {} ({})", visible(&waiting.what), visible(&waiting.signers()));
            page.style.paint(Ink::Warn, &line)
        });
        lines.collect()
    }
}

/// `trust keys`.
#[derive(Clone, Debug, Serialize)]
pub struct TrustKeys {
    pub keys: Vec<TrustedKey>,
}

#[derive(Clone, Debug, Serialize)]
pub struct TrustedKey {
    /// The app; "fleet": the organisation, which signs every root.
    pub app: String,
    /// As messages show it.
    pub id: String,
    pub public_key: String,
    /// Such as "1 of 2": how many of the app's keys have to sign.
    pub takes: String,
    /// What it is called on this machine, if it lies here.
    pub here: Option<String>,
}

impl TrustKeys {
    /// Those of `app`, or all.
    pub fn new(reply: pb::TrustStatusReply, app: Option<&str>, here: &[KnownKey]) -> Self {
        let wanted = reply.repositories.iter().filter(|of| app.is_none_or(|app| of.app == app));
        let mut rows = vec![];
        for repository in wanted {
            let Ok(root) = read_root(&repository.app, &repository.root) else { continue };
            let (takes, keys) = root.role(Part::Targets);
            rows.extend(keys.iter().map(|key| TrustedKey {
                app: repository.app.clone(),
                id: key.short(),
                public_key: key.to_string(),
                takes: format!("{takes} of {}", keys.len()),
                here: here.iter().find(|known| known.public == *key).map(|known| known.name.clone()),
            }));
        }
        Self { keys: rows }
    }
}

impl View for TrustKeys {
    const SCHEMA: &'static str = "longshore.cli.trust-keys/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        if self.keys.is_empty() {
            return vec!["Nothing is signed in this fleet. Make its root: longshore init".to_owned()];
        }
        let mut table = Table::new(["APP", "KEY", "TAKES", "HERE AS", "PUBLIC"]);
        for key in &self.keys {
            table.row([
                visible(&key.app).into(),
                visible(&key.id).into(),
                visible(&key.takes).into(),
                visible(key.here.as_deref().unwrap_or("-")).into(),
                visible(&key.public_key).into(),
            ]);
        }
        let organisation = self.keys.iter().any(|key| key.app == FLEET);
        let mut lines = table.lines(page.style);
        if organisation {
            let fleet = self.keys.iter().filter(|key| key.app == FLEET).count();
            lines.push(format!("{FLEET}: the organisation, whose {} signs every root", count(fleet, "key")));
        }
        lines
    }
}
