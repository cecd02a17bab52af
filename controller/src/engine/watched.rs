//! Whoever has to look again when something in the store changes is woken by it.

use std::future::Future;

use longshore_common::chain::Chain;

use super::{Engine, runner::STORE_PAUSE};
use crate::{
    store::{Prefix, WatchEvent},
    trouble::Trouble,
};

/// Until the controller stops: wakes when the watching begins, with every change under the prefix, and after a gap, for
/// what was missed.
pub(super) async fn wake_by<F: Future<Output = ()>>(
    engine: Engine,
    prefix: Prefix,
    wake: impl Fn(Engine) -> F,
) {
    let (store, stop) = (engine.inner.store.clone(), engine.inner.stop.clone());
    loop {
        let watched = async {
            let after = store.list(&prefix).await?.revision;
            let mut changes = store.watch(&prefix, after).await?;
            wake(engine.clone()).await;
            while let Some(WatchEvent::Changes(_)) = changes.next().await {
                wake(engine.clone()).await;
            }
            Ok::<(), Trouble>(())
        };
        tokio::select! {
            () = stop.cancelled() => return,
            watched = watched => if let Err(trouble) = watched {
                tracing::warn!(?prefix, trouble = %Chain(&trouble), "changes are not seen for a moment");
            },
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(STORE_PAUSE) => {}
        }
    }
}
