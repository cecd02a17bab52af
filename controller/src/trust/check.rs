//! Asked before a rollout begins: would hosts run this release?

use std::sync::Arc;

use longshore_common::{
    code::{Code, Coded},
    digest::{hex, sha256},
    ids::{AppName, Version},
    text::visible,
    trust::{Expired, FLEET, Held},
};

use super::{Asked, Signed, TrustDesk, at_desk};
use crate::{
    bundle::{self, BundleStore, Withdrawal, blocking},
    store::SharedStore,
    trouble::Trouble,
};

/// Of a host that pins another root than this fleet's, both in hex.
pub fn foreign_root(pinned: &str, ours: &str, host: &str) -> String {
    format!(
        "pins the root {pinned:.16}…, this fleet's is {ours:.16}…: it takes nothing new. Fix on that host: \
         longshore-agent trust reset --pin {ours} --i-am-on {host}"
    )
}

#[derive(Clone)]
pub struct TrustCheck {
    pub desk: Arc<TrustDesk>,
    pub store: SharedStore,
    pub bundle: Arc<BundleStore>,
}

impl TrustCheck {
    /// Which signed documents have run out by which hosts would take a release of this app: each with who renews it, and
    /// how. They stop nothing from going back to what was good.
    pub async fn expired(&self, app: &AppName) -> Result<Vec<String>, Trouble> {
        let app = app.clone();
        let told =
            at_desk(&self.desk, move |desk| Ok(desk.expired(&app)?.iter().map(Expired::dated).collect()));
        Ok(told.await?)
    }

    /// Hex of the SHA-256 of the fleet's first root, which hosts pin; `None`: nothing is signed here.
    pub async fn root(&self) -> Result<Option<String>, Coded> {
        let first = |held: Held| held.roots.into_values().next();
        at_desk(&self.desk, move |desk| Ok(desk.held(FLEET)?.and_then(first).map(|root| hex(&sha256(&root)))))
            .await
    }

    /// How releases stand with those who sign, in the order in which it was asked.
    pub async fn signed(&self, app: &AppName, releases: Vec<Asked>) -> Result<Vec<Signed>, Trouble> {
        let app = app.clone();
        Ok(at_desk(&self.desk, move |desk| desk.signed(&app, &releases)).await?)
    }

    /// A release that is not there at all is somebody else's to refuse.
    pub async fn check(&self, app: &AppName, version: &Version) -> Result<(), Trouble> {
        let Some((release, _)) = bundle::load(&*self.store, app, version).await? else { return Ok(()) };
        let (store, digest) = (Arc::clone(&self.bundle), release.digest);
        let length = blocking(move || Ok(store.named.manifest(&digest)?.len() as u64)).await?;
        let (asked, wanted) = (app.clone(), version.clone());
        let admitted = at_desk(&self.desk, move |desk| desk.admit(&asked, &wanted, &digest, length)).await;
        Ok(admitted.map_err(|why| match &release.withdrawn {
            None => why,
            Some(withdrawn) => {
                let Withdrawal { by, reason, at_ms: _ } = withdrawn;
                let message =
                    format!("{app}@{version} was withdrawn by {by}: {}; roll out another", visible(reason));
                Coded::new(Code::T05, message)
            }
        })?)
    }
}
