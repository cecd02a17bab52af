//! Everything that a plan is made from, read and asked at one time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use longshore_common::{
    bundle::{Index, Kind, frame::FrameReader},
    code::{Code, Coded},
    digest::ContentDigest,
    ids::{AppName, HostId, HostName, OperatorName, Version},
    manifest::Manifest,
    settings::{Reference, Values},
    time::Span,
};

use super::{Planner, Wish, directed, lacking, policy};
use crate::{
    approval::People,
    bundle::{self, BundleError, BundleStore, Release as Published, blocking},
    config::Environment,
    engine::{
        self, Lent,
        records::{self, LiveRecord, Record},
    },
    environments,
    fleet::{Host, host},
    plan::{self, Candidate, Check, Gains, Overlap, Past, Release, Runner, Stay, Surveyed, World},
    rollout::{Member, Outcome, Phase, Snapshot, Target},
    sealed,
    store::{Key, SharedStore},
    trouble::Trouble,
};

/// Releases that hosts hold and that are looked into; of others their bytes count as not there.
const KNOWN_MAX: usize = 40;
/// Bytes of a config template that is shown with its differences.
const TEMPLATE_BYTES: u64 = 64 * 1024;
/// Rollouts that are learnt from.
const PAST_MAX: usize = 10;

impl Planner {
    /// As `by` would start it; and who there is to agree to it.
    pub(super) async fn gather(
        &self,
        wish: &Wish,
        by: &OperatorName,
    ) -> Result<(World, Environment, People), Trouble> {
        let Wish { app, version, env } = wish;
        let store = &self.store;
        let (applied, _) = environments::get(store, env).await?;
        let environment = applied.read()?;
        let (published, _) =
            bundle::load(&**store, app, version).await?.ok_or_else(|| bundle::unknown(app, version))?;
        let release = self.open(&published).await?;
        environment.attested(&release.manifest)?;
        let live =
            records::get::<LiveRecord>(store, &Key::live(env, app)).await?.map(|(live, _)| live.target);
        let fleet = host::list(store).await?;
        let names: BTreeSet<HostName> = fleet.iter().map(|host| host.name.clone()).collect();
        let away: BTreeSet<HostName> = {
            let presence = self.fleet.presence();
            let away = |host: &&Host| presence.connected(&host.id).is_none();
            fleet.iter().filter(away).map(|host| host.name.clone()).collect()
        };
        let hosts: Vec<Host> =
            fleet.iter().filter(|host| host.belongs(&environment.selector)).cloned().collect();
        let snapshot = environment.snapshot(app);
        let target = Target {
            version: published.version.clone(),
            release: published.digest,
            snapshot: snapshot.as_ref().map(Snapshot::digest),
            layers: vec![],
            values: Values::new(),
        };
        let (members, mut snapshots, behind) =
            self.engine.settled(&environment, app, &target, snapshot.clone(), &BTreeSet::new()).await?;
        let first = live.is_none() && engine::nothing_runs(&members);
        let (lent, mut problems) = self.engine.to_lend(&environment, app, snapshot.as_ref()).await?;
        let everybody = members.iter().chain(lent.iter().map(|lent| &lent.member));
        let layers: BTreeMap<HostId, &[u16]> =
            everybody.map(|member| (member.id, &member.layers[..])).collect();
        // Of what is sealed, the controller itself knows who can open it.
        let secrets_of = |host: &HostId| {
            let settings = snapshot.as_ref().zip(layers.get(host)).map(|(all, layers)| all.resolve(layers));
            let mut secrets = settings.map(|settings| settings.secrets).unwrap_or_default();
            secrets.retain(|_, reference| !matches!(reference, Reference::Sealed { .. }));
            secrets
        };
        let (root, deadline) = (self.signed.root().await?, environment.plan.deadline.0);
        let routing = environment.spec.traffic.as_ref();
        let sides = routing.and_then(|routing| directed::sides(routing, &release.manifest.service));
        let balancing = async {
            let Some((routing, behind)) = routing.zip(behind.as_ref()) else { return vec![] };
            let of = |host: &&Host| behind.balancers.iter().any(|(id, _)| *id == host.id);
            let balancers: Vec<Host> = fleet.iter().filter(of).cloned().collect();
            let directions = directed::hosts(routing, behind, &members);
            self.ask_balancers(app, &balancers, directions, deadline).await
        };
        let manifest = &release.manifest;
        let asking = self.ask_all(manifest, &hosts, secrets_of, root.as_deref(), sides, deadline);
        let runners: Vec<Host> = lent.iter().map(|lent| lent.host.clone()).collect();
        let lending = self.ask_all(manifest, &runners, secrets_of, root.as_deref(), None, deadline);
        let (answers, balancers, on_runners) = tokio::join!(asking, balancing, lending);
        let mut surveyed: BTreeMap<_, Surveyed> = hosts.iter().map(|host| host.id).zip(answers).collect();
        // A host that was enrolled between the two readings has not been asked.
        let unrendered = self.unrendered(&release, snapshot.as_ref(), &members).await?;
        let mut unwell = self.unwell(app, &members).await?;
        let mut unopened = match &snapshot {
            Some(snapshot) => sealed::unopened(store, env, snapshot, &members).await?,
            None => BTreeMap::new(),
        };
        let candidates: Vec<Candidate> = members
            .into_iter()
            .map(|member| Candidate {
                surveyed: surveyed
                    .remove(&member.id)
                    .unwrap_or(Surveyed::Unknown { why: None, machine: None }),
                unrendered: unrendered.get(&member.layers).cloned().unwrap_or_default(),
                unwell: unwell.remove(&member.id),
                unopened: unopened.remove(&member.id).unwrap_or_default(),
                member,
            })
            .collect();
        let runners = self.runners(&release, snapshot.as_ref(), lent, on_runners).await?;
        let known = self.known(app, live.as_ref(), &candidates).await?;
        let against = self.against(app, &candidates).await?;
        let before = live.as_ref().and_then(|live| known.get(&live.version));
        let of_live: Vec<_> = live.iter().filter_map(|live| live.snapshot).collect();
        snapshots.extend(engine::snapshots::load(store, of_live).await?);
        let templates = self.templates(before, &release).await?;
        let now = self.now();
        let rollouts = records::list(store).await?;
        let calendar = policy::standing(store, &environment, app, now).await?;
        let mut unmet = policy::unmet(&calendar);
        problems.extend(lacking::lacking(&environment, &release.manifest, &names, &away));
        unmet.extend(problems.into_iter().map(|problem| (Check::Runner, problem)));
        let people = environments::approve::people(store, app, env).await?;
        let unopenable = lacking::unopenable(&environment, &people, by)?;
        unmet.extend(unopenable.into_iter().map(|problem| (Check::Approvers, problem)));
        let own = self.engine.own_files().problems(&environment.gates);
        unmet.extend(own.into_iter().map(|problem| {
            let out = format!("change the file of {env}, and then: longshore env apply FILE");
            (Check::GateFile, format!("{problem}; {out}"))
        }));
        if published.withdrawn.is_none() {
            unmet.extend(self.unsigned(app, version).await?.map(|why| (Check::Signed, why)));
            let expired = self.signed.expired(app).await?;
            unmet.extend(expired.into_iter().map(|why| (Check::Signed, why)));
        }
        let spec = environment.spec.clone();
        let world = World {
            made_ms: now,
            made_by: by.to_string(),
            env: env.clone(),
            env_file: ContentDigest::of(applied.file.as_bytes()),
            policy: environment.plan.clone(),
            target,
            snapshots,
            wire_bytes: published.wire_bytes,
            withdrawn: published
                .withdrawn
                .map(|withdrawn| format!("{} ({})", withdrawn.reason, withdrawn.by)),
            known,
            against,
            busy: self.engine.busy(env, app).await?,
            overlaps: overlaps(store, &environment, app, &hosts).await?,
            past: past(&rollouts, wish),
            templates,
            asked: policy::asked(&environment.gates),
            promotion: policy::promotion(&environment, app, published.digest, &rollouts, now),
            approval: policy::approval(&environment.approval),
            unmet,
            calendar,
            spec: if first { spec.for_the_first_release() } else { spec },
            behind,
            had_groups: had_groups(&rollouts, wish),
            balancers,
            hosts: candidates,
            runners,
            release,
            live,
        };
        Ok((world, environment, people))
    }

    /// As the plan judges them.
    async fn runners(
        &self,
        release: &Release,
        snapshot: Option<&Snapshot>,
        lent: Vec<Lent>,
        answers: Vec<Surveyed>,
    ) -> Result<Vec<Runner>, Trouble> {
        let members: Vec<Member> = lent.iter().map(|lent| lent.member.clone()).collect();
        let unrendered = self.unrendered(release, snapshot, &members).await?;
        let runner = |(Lent { member, gates, host: _ }, surveyed): (Lent, Surveyed)| {
            let unrendered = unrendered.get(&member.layers).cloned().unwrap_or_default();
            // What it runs of the app is no concern of the test's. Of those that cannot open what is sealed, `to_lend`
            // says so.
            let host = Candidate { member, surveyed, unrendered, unopened: vec![], unwell: None };
            Runner { host, gates }
        };
        Ok(lent.into_iter().zip(answers).map(runner).collect())
    }

    /// Why hosts would not take the release.
    async fn unsigned(&self, app: &AppName, version: &Version) -> Result<Option<String>, Trouble> {
        match self.signed.check(app, version).await {
            Ok(()) => Ok(None),
            Err(Trouble::Refused(why)) => Ok(Some(why.message)),
            Err(trouble) => Err(trouble),
        }
    }

    /// The release's manifest; `None`: it is not here any more.
    pub async fn manifest(&self, app: &AppName, version: &Version) -> Result<Option<Manifest>, Trouble> {
        let Some((published, _)) = bundle::load(&*self.store, app, version).await? else { return Ok(None) };
        let (bundle, digest) = (Arc::clone(&self.bundle), published.digest);
        Ok(Some(blocking(move || Ok(Manifest::from_bytes(&bundle.named.manifest(&digest)?)?)).await?))
    }

    async fn open(&self, published: &Published) -> Result<Release, Trouble> {
        let (bundle, digest, index) = (Arc::clone(&self.bundle), published.digest, published.index);
        let release = blocking(move || {
            let manifest = Manifest::from_bytes(&bundle.named.manifest(&digest)?)?;
            Ok(Release { manifest: Arc::new(manifest), index: bundle.named.index(&index)? })
        });
        Ok(release.await?)
    }

    /// Releases of which hosts have something, as far as they are here still.
    async fn known(
        &self,
        app: &AppName,
        live: Option<&Target>,
        hosts: &[Candidate],
    ) -> Result<BTreeMap<Version, Release>, Trouble> {
        let mut versions: BTreeSet<Version> = live.iter().map(|live| live.version.clone()).collect();
        for host in hosts {
            versions.extend(host.member.previous.iter().map(|target| target.version.clone()));
            let slots = host.surveyed.answer().map(|survey| &survey.slots[..]).unwrap_or_default();
            versions.extend(slots.iter().filter_map(|slot| slot.rsplit_once('-')?.0.parse().ok()));
        }
        let mut known = BTreeMap::new();
        for version in versions.into_iter().take(KNOWN_MAX) {
            let Some((published, _)) = bundle::load(&*self.store, app, &version).await? else { continue };
            match self.open(&published).await {
                Ok(release) => drop(known.insert(version, release)),
                Err(trouble) => {
                    let trouble = longshore_common::chain::Chain(&trouble).to_string();
                    tracing::warn!(%app, %version, trouble, "a release cannot be read: what hosts hold of it is not counted");
                }
            }
        }
        Ok(known)
    }

    /// The text of each config template on both sides. What is no text, or too long to read, is left out.
    async fn templates(
        &self,
        before: Option<&Release>,
        after: &Release,
    ) -> Result<BTreeMap<String, (Option<String>, Option<String>)>, Trouble> {
        let (bundle, before, after) = (Arc::clone(&self.bundle), before.cloned(), after.clone());
        let read = blocking(move || {
            let mut templates = BTreeMap::new();
            let Some(before) = before else { return Ok(templates) };
            let of = |release: &Release| -> BTreeSet<String> {
                release.manifest.config.values().map(|config| config.template.clone()).collect()
            };
            for path in of(&before).union(&of(&after)) {
                let sides = (text(&bundle, &before.index, path)?, text(&bundle, &after.index, path)?);
                templates.insert(path.clone(), sides);
            }
            Ok(templates)
        });
        Ok(read.await?)
    }
}

/// `None`: it is not there, is no text, or too long to be looked through.
pub(super) fn text(bundle: &BundleStore, index: &Index, path: &str) -> Result<Option<String>, BundleError> {
    let Some(Kind::File { blob, .. }) = index.find(path) else { return Ok(None) };
    if blob.size > TEMPLATE_BYTES {
        return Ok(None);
    }
    let mut reader = FrameReader::new().map_err(|error| Coded::new(Code::X01, format!("zstd: {error}")))?;
    let mut bytes = vec![];
    bundle.blobs.read(&mut reader, blob, |chunk| {
        bytes.extend_from_slice(chunk);
        Ok(())
    })?;
    Ok(String::from_utf8(bytes).ok())
}

/// Other environments that run the app on some of the same hosts.
async fn overlaps(
    store: &SharedStore,
    own: &Environment,
    app: &AppName,
    hosts: &[Host],
) -> Result<Vec<Overlap>, Trouble> {
    let mut found = vec![];
    for applied in environments::list(store).await? {
        let Ok(other) = applied.read() else { continue }; // its own commands say what is wrong with it
        if other.name == own.name {
            continue;
        }
        let common: Vec<HostName> =
            hosts.iter().filter(|host| host.belongs(&other.selector)).map(|host| host.name.clone()).collect();
        let runs = store.get(&Key::live(&other.name, app)).await?.is_some()
            || store.get(&Key::active(&other.name, app)).await?.is_some();
        if runs && !common.is_empty() {
            found.push(Overlap { env: other.name, hosts: common });
        }
    }
    Ok(found)
}

/// What balancers were told last was told them of groups.
fn had_groups(rollouts: &[Record], wish: &Wish) -> bool {
    let of_this = |record: &&Record| record.header.app == wish.app && record.header.env == wish.env;
    rollouts.iter().rev().find(of_this).is_some_and(|record| record.header.groups().is_some())
}

/// Rollouts of the app in the environment that went forward and succeeded, the newest first.
fn past(rollouts: &[Record], wish: &Wish) -> Vec<Past> {
    let of_this = |record: &&Record| {
        record.header.app == wish.app
            && record.header.env == wish.env
            && !record.rollback
            && !record.newcomers
    };
    rollouts.iter().rev().filter(of_this).filter_map(took).take(PAST_MAX).collect()
}

fn took(record: &Record) -> Option<Past> {
    let header = &record.header;
    let Phase::Done(done) = &header.phase else { return None };
    if done.outcome != Outcome::Succeeded || header.waves == 0 {
        return None;
    }
    let took = header.under_way()?.clamp(0, Span::MAX_MS as i64);
    let careful = header.careful_waves.max(u32::from(!header.spec.canary.is_zero()));
    let bake = |wave| if wave < careful { header.spec.canary_bake } else { header.spec.bake };
    // Its hosts are not looked through for waves that changed nothing.
    let stays: Vec<Stay> = (0..header.waves).map(|wave| Stay { bake: bake(wave), changes: true }).collect();
    let gains = Gains::of_group(header.groups().map(|(balancing, _)| !balancing.moves));
    let waited = plan::waiting(&header.spec, &stays, gains);
    Some(Past { took: Span::millis(took as u64), waves: header.waves, waited })
}
