//! Notices in the store: put there with what they tell of, taken away when they are told.

use longshore_common::{code::Code, ids::EnvName, text::visible, time::Millis};

use super::{Happening, Notice, Stakeholders};
use crate::{
    environments,
    store::{Key, Prefix, Revision, SharedStore, Txn, Write, record},
    trouble::Trouble,
};

/// Notices that are kept, told of or not. Of more the oldest that are dead go, and then new ones are not kept at all.
pub const MOST: usize = 1000;
/// Written, or taken away, in one transaction at most.
const AT_ONCE: usize = 60;

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
    let writes = writes(store, &notices).await?;
    if !writes.is_empty() {
        store.commit(Txn { guards: vec![], writes }).await?;
    }
    Ok(notices)
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
    let dead = known.iter().filter(|(notice, _)| notice.dead).take(excess.min(AT_ONCE));
    let mut writes: Vec<Write> = dead.map(|(notice, _)| Write::Delete(Key::notice(&notice.id))).collect();
    let lost = excess.saturating_sub(writes.len()).min(notices.len());
    if lost > 0 {
        tracing::error!(
            lost,
            kept = known.len(),
            "too many notices wait: new ones are lost. See: longshore notify list"
        );
    }
    for notice in notices.iter().take((notices.len() - lost).min(AT_ONCE)) {
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

/// Has notices tried again that could not be told; none named: all of them. Those that were found.
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
    let mut retried = vec![];
    for (notice, read) in wanted {
        let again = Notice { dead: false, attempts: 0, next_ms: now, ..notice };
        keep(store, &again, read).await?;
        retried.push(again);
    }
    Ok(retried)
}

/// An id, or the beginning or end of one.
fn means(text: &str, notice: &Notice) -> bool {
    let id = notice.id.to_string();
    text.len() >= 4 && (id.starts_with(text) || id.ends_with(text))
}
