//! Check and fetch, where the release came to this host in a bundle: nobody is asked for anything.

use std::fs::File;

use longshore_common::{
    code::Code,
    ids::AppName,
    report::{Failure, StepName},
    settings::Reference,
};

use super::RealHost;
use crate::{
    host::{
        Sink, fault,
        fetch::{self, FetchError},
        requires::{self, Machine},
    },
    plan::Wanted,
};

impl RealHost {
    /// The bundle that brought the release, if one lies here.
    pub(super) async fn bundle_of(&self, app: &AppName, wanted: &Wanted) -> Result<Option<File>, Failure> {
        let (shelf, app, release) = (self.shelf.clone(), app.clone(), wanted.release);
        self.disk(move |_| {
            shelf.open(&app, &release).map_err(|e| fault::host(e.code, StepName::Fetch, e.message))
        })
        .await
    }

    /// What the bundle's documents say was verified when it came; whether the release may run is asked again.
    pub(super) async fn check_bundle(
        &self,
        app: &AppName,
        wanted: &Wanted,
        bundle: File,
    ) -> Result<(), Failure> {
        self.signed(app, wanted, StepName::Check).await?;
        self.sealed_is_reached(wanted).await?;
        let (app, wanted_here, gate, runner) = (app.clone(), wanted.clone(), self.gate.clone(), self.runner);
        let form = self.supply.form();
        self.disk(move |layout| {
            let manifest = fetch::read_bundled_manifest((form, &bundle), &app, &wanted_here)
                .map_err(|e: FetchError| e.failure(StepName::Check))?;
            gate.allow_manifest(&manifest).map_err(|e| fault::host(e.code, StepName::Check, e.message))?;
            layout.clean_staging(&app, Some(&wanted_here.slot))?;
            requires::check(&manifest, &Machine::look(layout.state(), runner))
        })
        .await?;
        self.secrets.open(&self.supply, &wanted.settings.secrets, StepName::Check).await.map(drop)
    }

    pub(super) async fn fetch_bundle(
        &self,
        app: &AppName,
        wanted: &Wanted,
        bundle: File,
        sink: &Sink,
    ) -> Result<(), Failure> {
        let fetched =
            fetch::unpack_bundle((self.supply.form(), bundle), &self.layout, app, wanted, sink).await;
        fetched.map_err(|e: FetchError| e.failure(StepName::Fetch))
    }

    /// Its release lies in a slot.
    pub(super) async fn drop_bundle(&self, app: &AppName, wanted: &Wanted) -> Result<(), Failure> {
        let (shelf, app, release) = (self.shelf.clone(), app.clone(), wanted.release);
        self.disk(move |_| {
            shelf.remove(&app, &release).map_err(|e| fault::host(e.code, StepName::Stage, e.message))
        })
        .await
    }

    /// A secret that the controller keeps cannot be had while it is away; waiting for it would be no answer to
    /// somebody who deploys by hand because it is.
    async fn sealed_is_reached(&self, wanted: &Wanted) -> Result<(), Failure> {
        let sealed = |reference: &Reference| matches!(reference, Reference::Sealed { .. });
        let names: Vec<&str> = wanted
            .settings
            .secrets
            .iter()
            .filter(|(_, reference)| sealed(reference))
            .map(|(name, _)| name.as_str())
            .collect();
        if names.is_empty() || self.supply.is_connected().await {
            return Ok(());
        }
        let message = format!(
            "the secrets {} are kept by the controller, which is away. Give them as files or credentials of this host: \
             --env-values",
            names.join(", ")
        );
        Err(fault::host(Code::K01, StepName::Check, message))
    }
}
