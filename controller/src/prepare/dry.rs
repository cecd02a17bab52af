//! Templates of a release, filled for each host before any of them has it: what no settings declare is known beforehand.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use longshore_agent::host::render;
use longshore_common::text::visible;

use super::{Planner, gather::text};
use crate::{
    bundle::blocking,
    plan::Release,
    rollout::{Member, Snapshot},
    trouble::Trouble,
};

/// Different settings that are looked at; hosts with others are not judged.
const SETTINGS_MAX: usize = 256;

/// For all of it. A sane template takes well under a millisecond; of what is left nothing is said.
const PATIENCE: Duration = Duration::from_secs(2);

/// By the layers of settings that hold for a host: what templates do not find there.
pub(super) type Unrendered = BTreeMap<Vec<u16>, Vec<String>>;

impl Planner {
    /// Of templates that cannot be read here nothing is said.
    pub(super) async fn unrendered(
        &self,
        release: &Release,
        snapshot: Option<&Snapshot>,
        members: &[Member],
    ) -> Result<Unrendered, Trouble> {
        let layers: BTreeSet<&Vec<u16>> = members.iter().map(|member| &member.layers).collect();
        let resolved = layers.into_iter().take(SETTINGS_MAX).map(|layers| {
            let settings = snapshot.map(|snapshot| snapshot.resolve(layers)).unwrap_or_default();
            (layers.clone(), settings)
        });
        let resolved: Vec<_> = resolved.collect();
        let (bundle, release) = (Arc::clone(&self.bundle), release.clone());
        let filled = blocking(move || {
            let (mut found, begun) = (Unrendered::new(), Instant::now());
            for (path, config) in &release.manifest.config {
                let Some(template) = text(&bundle, &release.index, &config.template)? else { continue };
                for (layers, settings) in resolved.iter().take_while(|_| begun.elapsed() < PATIENCE) {
                    let lacks = render::lacks(&release.manifest, settings, &config.template, &template);
                    let what = lacks.map(|lacks| format!("{}: {}", visible(path), visible(&lacks)));
                    found.entry(layers.clone()).or_default().extend(what);
                }
            }
            Ok(found)
        });
        Ok(filled.await?)
    }
}
