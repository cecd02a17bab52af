//! Whether a plan that people are asked about could still start, by what the store alone says: a list cannot ask every host.
//! `begin` does, and may find more.

use longshore_common::{
    digest::ContentDigest,
    ids::{AppName, Version},
    text::visible,
};

use super::keep;
use crate::{
    bundle,
    engine::records::{self, LiveRecord},
    environments::{Applied, approve::Asked},
    plan,
    store::{Key, SharedStore},
    trouble::Trouble,
};

/// Why the plan can no longer start as it is, in a phrase each; empty: nothing is known.
pub async fn stale(store: &SharedStore, asked: &Asked) -> Result<Vec<String>, Trouble> {
    let Asked { plan: digest, app, version, env, .. } = asked;
    let Some((applied, _)) = records::get::<Applied>(store, &Key::env(env)).await? else {
        return Ok(vec![format!("environment {env} was removed")]);
    };
    let mut told = vec![];
    told.extend(withdrawn(store, app, version).await?);
    let Some(kept) = keep::row_of(store, digest).await? else {
        told.push("the plan is no longer kept".to_owned());
        return Ok(told);
    };
    // One that an earlier version of ours kept does not say.
    if let Some(saw) = kept.saw {
        let live = records::get::<LiveRecord>(store, &Key::live(env, app)).await?;
        let live = live.map(|(live, _)| plan::running(&live.target));
        told.extend(plan::live_moved(saw.live.as_ref(), live.as_ref()));
        if saw.env_file != ContentDigest::of(applied.file.as_bytes()) {
            told.push(plan::applied_anew(env));
        }
    }
    Ok(told)
}

/// That a release was withdrawn, by whom and why: no plan of it starts, however often it is made. `None`: it was not.
pub async fn withdrawn(
    store: &SharedStore,
    app: &AppName,
    version: &Version,
) -> Result<Option<String>, Trouble> {
    let release = bundle::load(&**store, app, version).await?.map(|(release, _)| release);
    Ok(release.and_then(|release| release.withdrawn).map(|withdrawal| {
        let (by, reason) = (visible(&withdrawal.by), visible(&withdrawal.reason));
        format!("{app}@{version} was withdrawn by {by}: {reason}")
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use longshore_common::digest::{IndexDigest, ReleaseDigest};
    use serde::Serialize;

    use super::*;
    use crate::{
        bundle::{Release, Withdrawal},
        plan::{Plan, tests::setup},
        rollout::{Target, tests::setup::target},
        store::{MemoryStore, Txn, record},
    };

    const ROLLOUT: &str = "0193f3a0-0000-7000-8000-000000000001";

    async fn put(store: &SharedStore, key: Key, value: &impl Serialize) {
        let value = record::encode(&key, value).unwrap();
        store.commit(Txn::new().put(key, value)).await.unwrap();
    }

    async fn apply(store: &SharedStore, file: &str) {
        let applied = Applied {
            file: file.to_owned(),
            file_name: String::new(),
            applied_ms: 0,
            applied_by: "ada".to_owned(),
        };
        put(store, Key::env(&"prod".parse().unwrap()), &applied).await;
    }

    async fn live(store: &SharedStore, target: Target) {
        let live =
            LiveRecord { target, since_ms: 0, rollout: ROLLOUT.parse().unwrap(), side: None, before: vec![] };
        put(store, Key::live(&"prod".parse().unwrap(), &"shop".parse().unwrap()), &live).await;
    }

    async fn publish(store: &SharedStore, withdrawn: Option<Withdrawal>) {
        let release = Release {
            app: "shop".parse().unwrap(),
            version: "2".parse().unwrap(),
            digest: ReleaseDigest::of(b"2"),
            index: IndexDigest([0; 32]),
            published_ms: 0,
            published_by: "ada".to_owned(),
            files: 0,
            bytes: 0,
            wire_bytes: 0,
            withdrawn,
        };
        put(store, Key::release(&release.app, &release.version), &release).await;
    }

    fn asked(plan: &Plan) -> Asked {
        Asked {
            plan: plan.digest,
            app: plan.app.clone(),
            version: plan.to.version.clone(),
            env: plan.env.clone(),
            author: "ada".parse().unwrap(),
            asked_ms: plan.made_ms,
            said: vec![],
            used: false,
        }
    }

    /// Each fact by itself, and none once it is as it was.
    #[tokio::test]
    async fn a_plan_is_stale_by_what_the_store_says() {
        let store: SharedStore = Arc::new(MemoryStore::new());
        let plan =
            keep::keep(&store, &"ada".parse().unwrap(), |_| plan::plan(&setup::world("a b"))).await.unwrap();
        let asked = asked(&plan);
        assert_eq!(stale(&store, &asked).await.unwrap(), ["environment prod was removed"]);
        apply(&store, "file").await;
        live(&store, target("1")).await;
        publish(&store, None).await;
        assert!(stale(&store, &asked).await.unwrap().is_empty());

        live(&store, target("3")).await;
        assert_eq!(stale(&store, &asked).await.unwrap(), ["what is live was 1, and is 3"]);
        live(&store, target("1")).await;
        apply(&store, "another file").await;
        let anew = "the file of environment prod was applied anew";
        assert_eq!(stale(&store, &asked).await.unwrap(), [anew]);
        apply(&store, "file").await;
        assert!(stale(&store, &asked).await.unwrap().is_empty(), "all is as it was");

        let withdrawal = Withdrawal { at_ms: 1, by: "bob".to_owned(), reason: "bad licence".to_owned() };
        assert_eq!(withdrawn(&store, &asked.app, &asked.version).await.unwrap(), None);
        publish(&store, Some(withdrawal)).await;
        let says = "shop@2 was withdrawn by bob: bad licence";
        assert_eq!(withdrawn(&store, &asked.app, &asked.version).await.unwrap().as_deref(), Some(says));
        assert_eq!(stale(&store, &asked).await.unwrap(), [says]);
        store.commit(Txn::new().delete(Key::plan(&plan.digest))).await.unwrap();
        assert_eq!(stale(&store, &asked).await.unwrap(), [says, "the plan is no longer kept"]);
    }
}
