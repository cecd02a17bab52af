//! Acts that one person alone may not do: one proposes, another who may do the same confirms, and then it is done.
//!
//! Which acts those are is said in one place, `[two_persons]` of `controller.toml`, by permission or by method. Giving
//! the same command as somebody else did confirms it as well.

use longshore_common::{
    code::{Code, Coded},
    digest::{hex, sha256},
    ids::OperatorName,
    text::visible,
    time::Millis,
};
use serde::{Deserialize, Serialize};

use super::{
    User,
    role::{Permission, Scope},
    table::{METHODS, Method, Who},
};
use crate::{
    store::{Key, Prefix, SharedStore, Txn, record},
    trouble::Trouble,
};

/// How long a proposal waits for somebody to confirm it, and then for its maker to repeat it.
pub const GOOD_MS: Millis = 3_600_000;
/// Proposals that wait at a time.
const PROPOSALS_MAX: usize = 100;
/// What one is kept of: enough for any of ours, and within a record.
const TARGET_BYTES: usize = 4096;

/// What two people decide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TwoPersons(Vec<Rule>);

/// As it is written: `users` for all that this permission allows to change, `Hosts/Remove` for one method.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    All(Permission),
    One(&'static Method),
}

impl TwoPersons {
    pub fn parse(texts: &[String]) -> Result<Self, Coded> {
        texts.iter().map(|text| Rule::parse(text)).collect::<Result<_, _>>().map(Self)
    }

    pub fn asks(&self, method: &Method) -> bool {
        self.0.iter().any(|rule| match rule {
            Rule::All(permission) => method.who == Who::Operator(*permission) && !method.only_looks(),
            Rule::One(one) => **one == *method,
        })
    }
}

impl Rule {
    fn parse(text: &str) -> Result<Self, Coded> {
        let changing =
            |method: &&Method| matches!(method.who, Who::Operator(needs) if needs != Permission::Read);
        let methods = || METHODS.iter().filter(changing);
        if let Some(method) = methods().find(|method| method.to_string() == text) {
            return Ok(Rule::One(method));
        }
        let mut permissions = methods().filter_map(|method| match method.who {
            Who::Operator(needs) => Some(needs),
            Who::Agent | Who::Stranger => None,
        });
        permissions.find(|needs| needs.to_string() == text).map(Rule::All).ok_or_else(|| {
            let message = format!(
                "\"{}\" is nothing that two people could decide: write a permission that changes something (users, \
                 hosts, policy, deploy, publish, approve) or a method, such as Hosts/Remove",
                visible(text)
            );
            Coded::new(Code::V01, message)
        })
    }
}

/// Somebody wants to do something, and may not alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    pub id: String,
    /// As the table of methods has it.
    pub method: String,
    /// What it touches, as the audit log has it.
    pub target: String,
    /// What whoever confirms it needs as well.
    pub scope: Scope,
    pub by: OperatorName,
    pub at_ms: Millis,
    #[serde(default)]
    pub confirmed_by: Option<OperatorName>,
}

impl Proposal {
    fn is_over(&self, now: Millis) -> bool {
        now >= self.at_ms + GOOD_MS
    }

    /// Only somebody else who may do the same.
    pub fn may_confirm(&self, user: &User) -> Result<(), Coded> {
        if let Some(needs) = self.needs() {
            user.allow(needs, &self.scope)?;
        }
        self.is_anothers(&user.name)
    }

    fn is_anothers(&self, by: &OperatorName) -> Result<(), Coded> {
        if self.by != *by {
            return Ok(());
        }
        let message = format!("proposal {} is your own; somebody else has to confirm it", self.id);
        Err(Coded::new(Code::W02, message))
    }

    fn needs(&self) -> Option<Permission> {
        let method = METHODS.iter().find(|method| method.to_string() == self.method)?;
        match method.who {
            Who::Operator(needs) => Some(needs),
            Who::Agent | Who::Stranger => None,
        }
    }
}

/// Whether the act may be done now: then by whom it was confirmed. The inner error says what it waits for.
pub async fn settle(
    store: &SharedStore,
    method: &Method,
    target: &str,
    scope: &Scope,
    by: &OperatorName,
    now: Millis,
) -> Result<Result<OperatorName, Coded>, Trouble> {
    if target.len() > TARGET_BYTES {
        let message = format!("{target:.80}… is too long to be decided by two people; do it in parts");
        return Err(Trouble::refused(Code::A04, message));
    }
    let id = hex(&sha256(format!("{method}\0{target}").as_bytes())[..6]);
    let key = Key::proposal(&id)?;
    let found = store.get(&key).await?;
    let revision = found.as_ref().map(|entry| entry.revision);
    let known: Option<Proposal> = found.as_ref().map(record::decode_entry).transpose()?;
    let known = known.filter(|proposal| !proposal.is_over(now));
    // An id is short, for people to type: whoever chooses words can find two acts of one, and only one was
    // agreed to.
    if known.as_ref().is_some_and(|known| known.method != method.to_string() || known.target != target) {
        let message = format!(
            "another act of the same id, proposal {id}, waits for a second person; nothing was changed. Say \
             it in other words, or wait until that is done or an hour old"
        );
        return Ok(Err(Coded::new(Code::W02, message)));
    }
    let partner = known.as_ref().and_then(|known| match &known.confirmed_by {
        _ if known.by != *by => Some(&known.by),
        Some(other) => Some(other),
        None => None,
    });
    if let (Some(partner), Some(revision)) = (partner, revision) {
        store.commit(Txn::new().unchanged(key.clone(), revision).delete(key)).await?;
        return Ok(Ok(partner.clone()));
    }
    if known.is_none() {
        let proposal = Proposal {
            id: id.clone(),
            method: method.to_string(),
            target: target.to_owned(),
            scope: scope.clone(),
            by: by.clone(),
            at_ms: now,
            confirmed_by: None,
        };
        propose(store, &proposal, revision.is_some(), now).await?;
    }
    let message = format!(
        "two people decide this ({method}, {}): it waits for another, as proposal {id}. Nothing was changed. \
         Somebody else who may do it: longshore proposal confirm {id}; then give this command again, within an hour",
        visible(target)
    );
    Ok(Err(Coded::new(Code::W02, message)))
}

async fn propose(
    store: &SharedStore,
    proposal: &Proposal,
    replaces: bool,
    now: Millis,
) -> Result<(), Trouble> {
    let mut waiting = 0;
    let mut txn = Txn::new();
    let key = Key::proposal(&proposal.id)?;
    for entry in store.list(&Prefix::proposals()).await?.entries {
        let known: Proposal = record::decode_entry(&entry)?;
        if !known.is_over(now) {
            waiting += 1;
        } else if entry.key != key {
            txn = txn.delete(entry.key);
        }
    }
    if waiting >= PROPOSALS_MAX {
        let message = format!("{PROPOSALS_MAX} proposals wait already: longshore proposal list");
        return Err(Trouble::refused(Code::A04, message));
    }
    if !replaces {
        txn = txn.absent(key.clone());
    }
    store.commit(txn.put(key.clone(), record::encode(&key, proposal)?)).await?;
    Ok(())
}

/// Those that wait, oldest first.
pub async fn list(store: &SharedStore, now: Millis) -> Result<Vec<Proposal>, Trouble> {
    let listing = store.list(&Prefix::proposals()).await?;
    let all: Vec<Proposal> = listing.entries.iter().map(record::decode_entry).collect::<Result<_, _>>()?;
    let mut waiting: Vec<Proposal> = all.into_iter().filter(|proposal| !proposal.is_over(now)).collect();
    waiting.sort_by_key(|proposal| proposal.at_ms);
    Ok(waiting)
}

/// The one of that id that waits.
pub async fn find(store: &SharedStore, id: &str, now: Millis) -> Result<Proposal, Trouble> {
    let found = list(store, now).await?.into_iter().find(|proposal| proposal.id == id);
    found.ok_or_else(|| {
        let message = format!("no proposal {} waits. See: longshore proposal list", visible(id));
        Trouble::refused(Code::N01, message)
    })
}

/// Its maker may do it from now on.
pub async fn confirm(
    store: &SharedStore,
    id: &str,
    by: &OperatorName,
    now: Millis,
) -> Result<Proposal, Trouble> {
    let mut proposal = find(store, id, now).await?;
    proposal.is_anothers(by)?;
    let key = Key::proposal(&proposal.id)?;
    let entry = store.get(&key).await?;
    let Some(revision) = entry.map(|entry| entry.revision) else { return find(store, id, now).await };
    proposal.confirmed_by = Some(by.clone());
    let value = record::encode(&key, &proposal)?;
    store.commit(Txn::new().unchanged(key.clone(), revision).put(key, value)).await?;
    Ok(proposal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{access::table, store::MemoryStore};

    fn rules(texts: &[&str]) -> Result<TwoPersons, Coded> {
        TwoPersons::parse(&texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn rules_name_permissions_and_methods_that_change_something() {
        let rules_read = rules(&["users", "Hosts/Remove"]).unwrap();
        let asks = |path: &str| rules_read.asks(table::find(&format!("/longshore.v1.{path}")).unwrap());
        assert!(asks("Access/RemoveUser") && asks("Access/ChangeUser") && asks("Hosts/Remove"));
        assert!(!asks("Hosts/Drain") && !asks("Access/Login") && !asks("Rollouts/Start"));
        assert!(!asks("Access/ListUsers"), "whoever looks decides nothing");
        let all = rules(&["users", "hosts", "publish", "deploy", "policy", "approve"]).unwrap();
        let looks: Vec<String> =
            METHODS.iter().filter(|method| method.only_looks()).map(ToString::to_string).collect();
        assert_eq!(looks, ["Hosts/ListTokens", "Releases/Missing", "Access/ListUsers"]);
        assert!(METHODS.iter().all(|method| !method.only_looks() || !all.asks(method)));
        for bad in ["", "read", "Hosts/List", "Hosts/Nothing", "Session/Open", "us\u{1b}ers"] {
            let refused = rules(&[bad]).unwrap_err();
            assert!(!refused.message.contains('\u{1b}'), "{refused}");
        }
    }

    #[tokio::test]
    async fn one_proposes_another_confirms_and_then_it_is_done_once() {
        let store: SharedStore = std::sync::Arc::new(MemoryStore::new());
        let (ann, bob) = ("ann".parse().unwrap(), "bob".parse().unwrap());
        let method = table::find("/longshore.v1.Hosts/Remove").unwrap();
        let act = async |by: &OperatorName, target: &str, now| {
            settle(&store, method, target, &Scope::Fleet, by, now).await.unwrap()
        };
        let waits = act(&ann, "host web-1", 0).await.unwrap_err();
        assert_eq!(waits.code, Code::W02, "{waits}");
        let id = list(&store, 0).await.unwrap()[0].id.clone();
        assert!(waits.message.contains(&format!("longshore proposal confirm {id}")), "{waits}");
        assert!(act(&ann, "host web-1", 1).await.is_err(), "saying it twice confirms nothing");
        assert_eq!(confirm(&store, &id, &ann, 1).await.unwrap_err().coded().code, Code::W02);
        confirm(&store, &id, &bob, 1).await.unwrap();
        assert!(act(&ann, "host web-2", 2).await.is_err(), "another host is another act");
        assert_eq!(act(&ann, "host web-1", 2).await, Ok(bob.clone()));
        assert!(act(&ann, "host web-1", 3).await.is_err(), "confirmed once, done once");
        // The same command by another counts as well; an hour later it does not.
        assert_eq!(act(&bob, "host web-1", 4).await, Ok(ann.clone()));
        assert!(act(&ann, "host web-3", 5).await.is_err());
        assert!(act(&bob, "host web-3", 5 + GOOD_MS).await.is_err());
        assert_eq!(confirm(&store, "00ff", &bob, 5).await.unwrap_err().coded().code, Code::N01);
    }

    /// Two targets of one id can be found in seconds by whoever chooses both.
    #[tokio::test]
    async fn what_was_confirmed_lets_nothing_else_through_that_has_its_id() {
        let store: SharedStore = std::sync::Arc::new(MemoryStore::new());
        let (ann, bob): (OperatorName, OperatorName) = ("ann".parse().unwrap(), "bob".parse().unwrap());
        let method = table::find("/longshore.v1.Hosts/Remove").unwrap();
        let act = async |by: &OperatorName, now| {
            settle(&store, method, "host web-1", &Scope::Fleet, by, now).await.unwrap()
        };
        act(&ann, 0).await.unwrap_err();
        let mut twin = list(&store, 0).await.unwrap().remove(0);
        twin.target = "host web-9".into();
        let key = Key::proposal(&twin.id).unwrap();
        store.commit(Txn::new().put(key.clone(), record::encode(&key, &twin).unwrap())).await.unwrap();
        confirm(&store, &twin.id, &bob, 1).await.unwrap();
        for by in [&ann, &bob] {
            let waits = act(by, 2).await.unwrap_err();
            assert!(waits.code == Code::W02 && waits.message.contains("another act"), "{waits}");
        }
        assert_eq!(find(&store, &twin.id, 2).await.unwrap().target, "host web-9", "it goes on waiting");
        assert!(act(&ann, GOOD_MS).await.unwrap_err().message.contains("longshore proposal confirm"));
    }
}
