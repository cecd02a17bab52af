//! How what waits for signatures stands: what it changes, who has signed, who may yet, and by which command.

use longshore_common::{
    code::{Code, Coded},
    digest::ReleaseDigest,
    ids::Version,
    time::Millis,
    trust::{Held, Part, PublicKey, RootView, author, read_root},
};

use super::{
    change::{self, Change},
    pending::{Pending, SignedBy},
};

/// One change that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub app: String,
    pub id: String,
    pub changes: Vec<Change>,
    /// None: the root stays as it is.
    pub root: Option<Signatures>,
    pub list: Signatures,
    pub signed: Vec<SignedBy>,
    /// Another was taken in its place: it has to be signed again, by everybody.
    pub overtaken: bool,
    pub since_ms: Millis,
}

/// Under one document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signatures {
    pub takes: u64,
    pub have: Vec<PublicKey>,
    /// Who may sign it as well.
    pub lacking: Vec<PublicKey>,
}

impl Signatures {
    fn of(document: &[u8], root: &RootView, part: Part) -> Self {
        let (takes, keys) = root.role(part);
        let have = author::signed_by(document, keys).unwrap_or_default();
        let lacking = keys.difference(&have).copied().collect();
        Self { takes, have: have.into_iter().collect(), lacking }
    }

    pub fn enough(&self) -> bool {
        self.have.len() as u64 >= self.takes
    }
}

impl Waiting {
    pub(super) fn of(pending: &Pending, held: Option<&Held>) -> Result<Self, Coded> {
        let app = pending.app.as_str();
        let known = held.map(|held| held.root(app)).transpose()?;
        let new =
            pending.roots.last().map(|root| Ok::<_, Coded>((root, read_root(app, root)?))).transpose()?;
        // A new root is signed by those who could before, and by those who can from then on.
        let root = new.as_ref().map(|(bytes, new)| {
            let by_old = known.as_ref().map(|known| Signatures::of(bytes, known, Part::Root));
            by_old.filter(|by_old| !by_old.enough()).unwrap_or(Signatures::of(bytes, new, Part::Root))
        });
        let list = match held {
            Some(held) if pending.targets.is_empty() => held.targets.as_slice(),
            // It is not signed yet as it has to be.
            Some(held) if pending.has_stale_list(held) && !pending.roots.is_empty() => &[],
            _ => pending.targets.as_slice(),
        };
        let by = new.as_ref().map(|(_, new)| new).or(known.as_ref());
        let list = by.map(|by| Signatures::of(list, by, Part::Targets)).unwrap_or_default();
        Ok(Self {
            app: app.to_owned(),
            id: pending.id(),
            changes: pending.changes.clone(),
            root,
            list,
            signed: pending.signed.clone(),
            overtaken: pending.is_overtaken(held),
            since_ms: pending.signed.first().map_or(0, |first| first.at_ms),
        })
    }

    /// `lists 1.4.2 (9c1e5a5f)`
    pub fn what(&self) -> String {
        change::said(&self.changes)
    }

    /// For the next one who signs.
    pub fn command(&self) -> String {
        change::command(&self.app, &self.changes)
    }

    pub(super) fn lists(&self, version: &Version, release: &ReleaseDigest) -> bool {
        self.changes.iter().any(|change| {
            matches!(change, Change::Listed { version: v, release: r } if v == version && r == release)
        })
    }

    pub(super) fn delists(&self, version: &Version) -> bool {
        self.changes.iter().any(|change| matches!(change, Change::Delisted { version: v } if v == version))
    }

    /// What is still to be signed, of whom, and how.
    pub fn sentence(&self) -> String {
        let documents = self.root.iter().map(|root| ("root", root)).chain([("list", &self.list)]);
        let open = documents.filter(|(_, signatures)| !signatures.enough());
        let open: Vec<String> = open.map(|(name, signatures)| self.open(name, signatures)).collect();
        format!("{}. Next, whoever holds such a key: {}", open.join("; "), self.command())
    }

    fn open(&self, name: &str, signatures: &Signatures) -> String {
        let by = |key: &PublicKey| {
            let operator = self.signed.iter().find(|signed| signed.key == *key);
            operator.map_or_else(|| key.short(), |signed| format!("{} by {}", key.short(), signed.by))
        };
        let have: Vec<String> = signatures.have.iter().map(by).collect();
        let lacking: Vec<String> = signatures.lacking.iter().map(PublicKey::short).collect();
        let have = if have.is_empty() { "nobody".to_owned() } else { have.join(", ") };
        let (count, takes) = (signatures.have.len(), signatures.takes);
        format!("the {name} has {count} of {takes} signatures ({have}; lacking of {})", lacking.join(", "))
    }

    /// For whoever wants a release that is signed by too few.
    pub(super) fn too_few(&self, version: &Version) -> Coded {
        let Signatures { takes, have, lacking } = &self.list;
        let short = |keys: &[PublicKey]| keys.iter().map(PublicKey::short).collect::<Vec<_>>().join(", ");
        let message = format!(
            "{}@{version} has {} of {takes} required signatures (have {}; needs one of {}). Whoever holds one: {}",
            self.app,
            have.len(),
            short(have),
            short(lacking),
            self.command()
        );
        Coded::new(Code::T03, message)
    }
}
