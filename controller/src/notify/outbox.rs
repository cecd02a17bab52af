//! Notices in the store: put there with what they tell of, taken away when they are told.

use std::collections::{BTreeMap, BTreeSet};

use longshore_common::{code::Code, ids::EnvName, text::visible, time::Millis};
use uuid::Uuid;

use super::{Address, Happening, Kind, Notice, Stakeholders};
use crate::{
    environments,
    store::{Key, Prefix, Revision, SharedStore, Txn, Write, record},
    trouble::Trouble,
};

/// Notices that are kept, told of or not. Of more the oldest that are dead go, and then new ones are not kept at all.
pub const MOST: usize = 1000;
/// Written in one transaction at most, and taken away for them: a rollout's own writes have to fit beside them.
const AT_ONCE: usize = 60;
const ROOM_AT_ONCE: usize = 40;
/// Receivers of one kind of thing in an environment: a rollout that begins and ends at once tells of both.
pub const RECEIVERS: usize = AT_ONCE / 2;

/// All notices, the oldest first, and the revisions that wrote them.
pub async fn list(store: &SharedStore) -> Result<Vec<(Notice, Revision)>, Trouble> {
    let listing = store.list(&Prefix::notices()).await?;
    let decode = |entry| Ok((record::decode_entry::<Notice>(entry)?, entry.revision));
    listing.entries.iter().map(decode).collect()
}

/// Tells everybody who wants to hear of it.
pub async fn tell(store: &SharedStore, happening: &Happening, now: Millis) -> Result<(), Trouble> {
    tell_some(store, happening, None, now).await.map(|_| ())
}

/// Tells one way of telling, or all. The notices that were made.
pub async fn tell_some(
    store: &SharedStore,
    happening: &Happening,
    teller: Option<&str>,
    now: Millis,
) -> Result<Vec<Notice>, Trouble> {
    let stakeholders = environments::load(store, &happening.env).await?.0.stakeholders;
    let mut notices = happening.notices(&stakeholders, now);
    notices.retain(|notice| teller.is_none_or(|name| notice.teller == name));
    let mut made = vec![];
    for chunk in notices.chunks(AT_ONCE) {
        let writes = writes(store, chunk).await?;
        let kept = writes.iter().filter(|write| matches!(write, Write::Put(..))).count();
        made.extend_from_slice(&chunk[..kept]);
        if !writes.is_empty() {
            store.commit(Txn { guards: vec![], writes }).await?;
        }
    }
    Ok(made)
}

/// What a transaction has to hold for people to be told of `happenings` in an environment. Nothing when its file cannot
/// be read: a rollout does not fail for it.
pub async fn writes_of(
    store: &SharedStore,
    env: &EnvName,
    happenings: &[Happening],
    now: Millis,
) -> Result<Vec<Write>, Trouble> {
    if happenings.is_empty() {
        return Ok(vec![]);
    }
    let stakeholders = match environments::load(store, env).await {
        Ok((environment, _)) => environment.stakeholders,
        Err(Trouble::Refused(why)) => {
            tracing::error!(%env, %why, "nobody is told");
            Stakeholders::default()
        }
        Err(trouble) => return Err(trouble),
    };
    let notices: Vec<Notice> =
        happenings.iter().flat_map(|happening| happening.notices(&stakeholders, now)).collect();
    writes(store, &notices).await
}

async fn writes(store: &SharedStore, notices: &[Notice]) -> Result<Vec<Write>, Trouble> {
    if notices.is_empty() {
        return Ok(vec![]);
    }
    let known = list(store).await?;
    let excess = (known.len() + notices.len()).saturating_sub(MOST);
    let dead = known.iter().filter(|(notice, _)| notice.dead).take(excess.min(ROOM_AT_ONCE));
    let mut writes: Vec<Write> = dead.map(|(notice, _)| Write::Delete(Key::notice(&notice.id))).collect();
    let kept = (notices.len() - excess.saturating_sub(writes.len()).min(notices.len())).min(AT_ONCE);
    let lost = notices.len() - kept;
    if lost > 0 {
        tracing::error!(
            lost,
            kept = known.len(),
            "too many notices wait: new ones are lost. See: longshore notify list"
        );
    }
    for notice in &notices[..kept] {
        let key = Key::notice(&notice.id);
        let value = record::encode(&key, notice)?;
        writes.push(Write::Put(key, value));
    }
    Ok(writes)
}

/// It was told.
pub async fn told(store: &SharedStore, notice: &Notice) -> Result<(), Trouble> {
    store.commit(Txn::new().delete(Key::notice(&notice.id))).await?;
    Ok(())
}

/// It was not told; how it stands then.
pub async fn keep(store: &SharedStore, notice: &Notice, read: Revision) -> Result<(), Trouble> {
    let key = Key::notice(&notice.id);
    let txn = Txn::new().unchanged(key.clone(), read).put(key.clone(), record::encode(&key, notice)?);
    match store.commit(txn).await.map_err(Trouble::from) {
        Err(trouble) if trouble.is_conflict() => Ok(()), // somebody asked for it to be tried again
        result => result.map(|_| ()),
    }
}

/// Has notices tried again that could not be told; none named: all of them. Each goes to whom the environment's file
/// tells now. How those that were found stand then.
pub async fn retry(store: &SharedStore, ids: &[String], now: Millis) -> Result<Vec<Notice>, Trouble> {
    let known = list(store).await?;
    for text in ids {
        if !known.iter().any(|(notice, _)| means(text, notice)) {
            let message = format!("no notice \"{}\". See: longshore notify list", visible(text));
            return Err(Trouble::refused(Code::N01, message));
        }
    }
    let wanted = known.into_iter().filter(|(notice, _)| match ids.is_empty() {
        true => notice.dead,
        false => ids.iter().any(|text| means(text, notice)),
    });
    let mut desks: BTreeMap<EnvName, Stakeholders> = BTreeMap::new();
    let mut told: BTreeSet<(Millis, String, Address)> = BTreeSet::new();
    let mut retried = vec![];
    for (notice, read) in wanted {
        if !desks.contains_key(&notice.env) {
            desks.insert(notice.env.clone(), stakeholders(store, &notice.env).await?);
        }
        let mut again = addressed(&notice, &desks[&notice.env], now);
        again.retain(|again| told.insert((again.made_ms, again.subject.clone(), again.address.clone())));
        let key = Key::notice(&notice.id);
        let mut txn = Txn::new().unchanged(key.clone(), read);
        if again.iter().all(|again| again.id != notice.id) {
            txn = txn.delete(key);
        }
        for again in &again {
            let key = Key::notice(&again.id);
            let value = record::encode(&key, again)?;
            txn = txn.put(key, value);
        }
        match store.commit(txn).await.map_err(Trouble::from) {
            Err(trouble) if trouble.is_conflict() => {} // it was told, or somebody else had it tried again
            committed => committed.map(|_| retried.extend(again))?,
        }
    }
    Ok(retried)
}

/// Nobody, where there is no such environment any more.
async fn stakeholders(store: &SharedStore, env: &EnvName) -> Result<Stakeholders, Trouble> {
    match environments::load(store, env).await {
        Ok((environment, _)) => Ok(environment.stakeholders),
        Err(Trouble::Refused(_)) => Ok(Stakeholders::default()),
        Err(trouble) => Err(trouble),
    }
}

/// The notice once more, to its receiver where that is told still: the same person at the address that they have now, or
/// the same address; else to everybody whom its way of telling has now. Dead, where there is no such way any more.
fn addressed(notice: &Notice, stakeholders: &Stakeholders, now: Millis) -> Vec<Notice> {
    let again = Notice { dead: false, attempts: 0, next_ms: now, ..notice.clone() };
    let Some(teller) = stakeholders.tell.iter().find(|teller| teller.name == notice.teller) else {
        let Notice { env, teller, .. } = notice;
        let error =
            format!("{env} has no [[stakeholders.tell]] \"{}\" any more: nobody is told", visible(teller));
        return vec![Notice { dead: true, error, ..notice.clone() }];
    };
    let each = teller.address.each();
    let contact = notice.person.as_ref().and_then(|person| stakeholders.contacts.get(person));
    let same = contact.map(|address| Address::Email { to: vec![address.clone()] });
    let same = same.filter(|same| each.contains(same));
    let same = same.or_else(|| each.contains(&notice.address).then(|| notice.address.clone()));
    let receivers = same.map_or(each, |same| vec![same]);
    let ids = std::iter::once(notice.id).chain(std::iter::repeat_with(Uuid::now_v7));
    let to = |(address, id): (Address, Uuid)| Notice {
        person: stakeholders.person(&address),
        id,
        address,
        ..again.clone()
    };
    receivers.into_iter().zip(ids).map(to).collect()
}

/// What nobody can have meant by an environment's ways of telling: more receivers than can be told of one thing.
pub fn problems(stakeholders: &Stakeholders) -> Vec<String> {
    let too_many = |kind: &Kind| {
        let tellers = stakeholders.tell.iter().filter(|teller| teller.wants(*kind));
        let receivers: usize = tellers.map(|teller| teller.address.each().len()).sum();
        (receivers > RECEIVERS).then(|| {
            format!(
                "stakeholders.tell: {receivers} receivers are told of \"{}\"; at most {RECEIVERS}: \
                 name a mailing list",
                kind.as_str()
            )
        })
    };
    let kinds = Kind::ALL.iter().filter(|kind| **kind != Kind::Test);
    kinds.filter_map(too_many).take(1).collect()
}

/// An id, or the beginning or end of one.
fn means(text: &str, notice: &Notice) -> bool {
    let id = notice.id.to_string();
    text.len() >= 4 && (id.starts_with(text) || id.ends_with(text))
}
