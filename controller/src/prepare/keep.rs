//! Plans in the store: a small record that lists read, and the plan itself in pages, since a record is bounded and a
//! plan of a large fleet is not small.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use longshore_common::{
    code::{Code, Coded},
    digest::{ContentDigest, PlanDigest},
    ids::{AppName, EnvName, OperatorName, RolloutId, Version},
    text::visible,
    time::Millis,
};
use serde::{Deserialize, Serialize};

use crate::{
    engine::records,
    environments::approve,
    plan::{Check, Part, Plan, Running},
    store::{Key, Prefix, SharedStore, TXN_OPS_MAX, Txn, record},
    trouble::Trouble,
};

/// Plans that are kept of one app in one environment.
pub const PLANS_KEPT: usize = 30;
/// Bytes of a page before it is written as text; a record is at most 16 KiB.
const PAGE_BYTES: usize = 11 * 1024;
/// Pages are deflated once and read now and then.
const LEVEL: i32 = 5;
/// Bytes of a plan as JSON; 10 000 hosts take about 5 MB.
const PLAN_BYTES: usize = 256 * 1024 * 1024;
/// New attempts when two write the same plan at once.
const ATTEMPTS: u32 = 8;

/// Under `plans/<digest>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub digest: PlanDigest,
    pub app: AppName,
    pub env: EnvName,
    pub version: Version,
    pub made_ms: Millis,
    /// Whoever made it first.
    pub made_by: String,
    /// That it moves.
    pub hosts: u32,
    pub waves: u32,
    pub failed: Vec<Check>,
    pub pages: u32,
    /// People have to agree to it.
    #[serde(default)]
    pub asks: bool,
    /// That was started by it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutId>,
    /// Of what it saw, what can be compared without reading it; none: it was kept before this was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saw: Option<Saw>,
}

/// What a plan was made from, as far as the store alone says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saw {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<Running>,
    pub env_file: ContentDigest,
}

/// Under `plan-pages/<digest>/<number>`.
#[derive(Debug, Serialize, Deserialize)]
struct Page {
    data: String,
}

/// Stores the plan. Where the same was made before, it stays whoever's it was; what is not binding is that of now. `plan_of`
/// says it as the plan of its author; its digest is the same whoever that is.
pub(super) async fn keep(
    store: &SharedStore,
    by: &OperatorName,
    plan_of: impl Fn(&OperatorName) -> Plan,
) -> Result<Plan, Trouble> {
    let mut plan = plan_of(by);
    for attempt in 0.. {
        let key = Key::plan(&plan.digest);
        let (before, read) = records::get::<Kept>(store, &key).await?.unzip();
        if let Some(before) = before.as_ref().filter(|before| before.made_by != plan.made_by) {
            plan = plan_of(&before.made_by.parse::<OperatorName>()?);
        }
        let pages = pages(&plan)?;
        let kept =
            Kept { rollout: before.and_then(|before| before.rollout), ..row(&plan, pages.len() as u32) };
        write_pages(store, &plan.digest, &pages).await?;
        let txn = Txn::new().as_read(key.clone(), read).put(key.clone(), record::encode(&key, &kept)?);
        match store.commit(txn).await.map_err(Trouble::from) {
            Ok(_) => break,
            Err(trouble) if trouble.is_conflict() && attempt < ATTEMPTS => {}
            Err(trouble) => return Err(trouble),
        }
    }
    forget_old(store, &plan).await?;
    Ok(plan)
}

fn row(plan: &Plan, pages: u32) -> Kept {
    let moved = plan.hosts.iter().filter(|host| matches!(host.part, Part::Wave { .. })).count();
    Kept {
        digest: plan.digest,
        app: plan.app.clone(),
        env: plan.env.clone(),
        version: plan.to.version.clone(),
        made_ms: plan.made_ms,
        made_by: plan.made_by.clone(),
        hosts: moved as u32,
        waves: plan.waves.len() as u32,
        failed: plan.failed.iter().map(|failed| failed.check).collect(),
        pages,
        asks: plan.approval.is_some(),
        rollout: None,
        saw: Some(Saw { live: plan.live.clone(), env_file: plan.env_file }),
    }
}

fn pages(plan: &Plan) -> Result<Vec<Page>, Trouble> {
    let json = serde_json::to_vec(plan).expect("a plan holds nothing that JSON cannot say");
    let packed = zstd::bulk::compress(&json, LEVEL)
        .map_err(|error| Coded::new(Code::X01, format!("zstd: {error}")))?;
    Ok(packed.chunks(PAGE_BYTES).map(|chunk| Page { data: BASE64.encode(chunk) }).collect())
}

/// Before the record that names them, so that what is named is whole.
async fn write_pages(store: &SharedStore, digest: &PlanDigest, pages: &[Page]) -> Result<(), Trouble> {
    let numbered: Vec<(u32, &Page)> = (0..).zip(pages).collect();
    for chunk in numbered.chunks(TXN_OPS_MAX) {
        let mut txn = Txn::new();
        for (number, page) in chunk {
            let key = Key::plan_page(digest, *number);
            let value = record::encode(&key, page)?;
            txn = txn.put(key, value);
        }
        store.commit(txn).await?;
    }
    Ok(())
}

/// Drops the oldest plans of the app in the environment, beyond those that are kept. The record goes first. One of which
/// people have spoken, and which has not started, stays: whoever may only look makes plans as well.
async fn forget_old(store: &SharedStore, newest: &Plan) -> Result<(), Trouble> {
    let of_this = |kept: &Kept| kept.app == newest.app && kept.env == newest.env;
    let asked = approve::list(store).await?.into_iter();
    let spoken: BTreeSet<PlanDigest> =
        asked.filter(|asked| !asked.used && !asked.said.is_empty()).map(|asked| asked.plan).collect();
    let old: Vec<Kept> = list(store).await?.into_iter().filter(of_this).skip(PLANS_KEPT).collect();
    for kept in old.into_iter().filter(|kept| !spoken.contains(&kept.digest)) {
        store.commit(Txn::new().delete(Key::plan(&kept.digest))).await?;
        for chunk in store.list(&Prefix::plan_pages(&kept.digest)).await?.entries.chunks(TXN_OPS_MAX) {
            let txn = chunk.iter().fold(Txn::new(), |txn, entry| txn.delete(entry.key.clone()));
            store.commit(txn).await?;
        }
    }
    Ok(())
}

pub(super) async fn list(store: &SharedStore) -> Result<Vec<Kept>, Trouble> {
    let listing = store.list(&Prefix::plans()).await?;
    let mut kept: Vec<Kept> = listing.entries.iter().map(record::decode_entry).collect::<Result<_, _>>()?;
    kept.sort_by_key(|kept| (std::cmp::Reverse(kept.made_ms), kept.digest));
    Ok(kept)
}

pub(super) async fn find(store: &SharedStore, text: &str) -> Result<Plan, Trouble> {
    if let Ok(digest) = text.parse::<PlanDigest>() {
        return load(store, &digest).await?.ok_or_else(|| unknown(text).into());
    }
    let kept = list(store).await?;
    let sound = text.len() >= 4 && text.chars().all(|c| c.is_ascii_hexdigit());
    let mut fitting = match text {
        "latest" => kept.iter().take(1).collect::<Vec<_>>(),
        _ => {
            kept.iter().filter(|kept| sound && kept.digest.hex().starts_with(&text.to_lowercase())).collect()
        }
    };
    match (fitting.pop(), fitting.pop()) {
        (Some(one), None) => load(store, &one.digest).await?.ok_or_else(|| unknown(text).into()),
        (Some(_), Some(_)) => Err(Trouble::refused(
            Code::V01,
            format!("more than one plan is meant by {text}; give more of its digest"),
        )),
        (None, _) => Err(unknown(text).into()),
    }
}

/// The record that lists read.
pub(super) async fn row_of(store: &SharedStore, digest: &PlanDigest) -> Result<Option<Kept>, Trouble> {
    Ok(records::get::<Kept>(store, &Key::plan(digest)).await?.map(|(kept, _)| kept))
}

async fn load(store: &SharedStore, digest: &PlanDigest) -> Result<Option<Plan>, Trouble> {
    let Some(kept) = row_of(store, digest).await? else { return Ok(None) };
    let damaged = |why: &str| {
        let message =
            format!("plan {} cannot be read ({why}); make it again: longshore plan", digest.short());
        Coded::new(Code::S02, message)
    };
    let mut packed = vec![];
    for number in 0..kept.pages {
        let page = records::get::<Page>(store, &Key::plan_page(digest, number)).await?;
        let (page, _) = page.ok_or_else(|| damaged("a page is gone"))?;
        packed.extend(BASE64.decode(&page.data).map_err(|_| damaged("a page is damaged"))?);
    }
    let json = zstd::bulk::decompress(&packed, PLAN_BYTES).map_err(|_| damaged("it does not unpack"))?;
    let plan: Plan = serde_json::from_slice(&json).map_err(|error| damaged(&error.to_string()))?;
    if plan.digest != *digest || plan.digest_of_binding() != *digest {
        return Err(damaged("its digest is another").into());
    }
    Ok(Some(plan))
}

/// Notes which rollout was started by a plan. Only lists show it, so a conflict is not worth another attempt.
pub(super) async fn started(
    store: &SharedStore,
    digest: &PlanDigest,
    rollout: RolloutId,
) -> Result<(), Trouble> {
    let key = Key::plan(digest);
    let Some((kept, revision)) = records::get::<Kept>(store, &key).await? else { return Ok(()) };
    let kept = Kept { rollout: Some(rollout), ..kept };
    let txn = Txn::new().unchanged(key.clone(), revision).put(key.clone(), record::encode(&key, &kept)?);
    match store.commit(txn).await.map_err(Trouble::from) {
        Err(trouble) if !trouble.is_conflict() => Err(trouble),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn unknown(text: &str) -> Coded {
    let shown = visible(text);
    let message = format!(
        "no plan \"{shown}\" was made here, or it is no longer kept. \
         See: longshore plan list; make one: longshore plan APP@VERSION --to ENV"
    );
    Coded::new(Code::N01, message)
}
