//! Asked before a rollout begins: would hosts run this release?

use std::sync::Arc;

use longshore_common::{
    code::{Code, Coded},
    ids::{AppName, Version},
    text::visible,
};

use super::{TrustDesk, at_desk};
use crate::{
    bundle::{self, BundleStore, Withdrawal, blocking},
    store::SharedStore,
    trouble::Trouble,
};

#[derive(Clone)]
pub struct TrustCheck {
    pub desk: Arc<TrustDesk>,
    pub store: SharedStore,
    pub bundle: Arc<BundleStore>,
}

impl TrustCheck {
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
