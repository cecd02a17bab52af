//! The `Environments` service.

use std::{collections::BTreeMap, sync::Arc};

use longshore_common::{
    code::Code,
    ids::{AppName, EnvName},
    time::Clock,
    wire::parse,
};
use longshore_proto::v1::{self as pb, environments_server::Environments};
use tonic::{Request, Response, Status};

use super::{about::About, admitted_about, admitted_in_vain, glance_at, invalid, operator, refuse, words};
use crate::{
    bundle::{self, Withdrawal},
    config::{Environment, Tell},
    engine::{
        Engine, Lacking,
        records::{self, LiveRecord},
    },
    environments::{
        self, Applied,
        reach::taken,
        shared::shared,
        unknown::unknown,
        unmatched::{emptied, unmatched},
    },
    fleet::{Host, host},
    identity::Door,
    prepare::against_live,
    store::{Key, Prefix, Revision, SharedStore, key::Name, record},
    trouble::Trouble,
    trust::TrustCheck,
};

pub struct EnvironmentsService {
    pub store: SharedStore,
    pub clock: Arc<dyn Clock>,
    pub engine: Engine,
    /// By what people can be told.
    pub tell: Tell,
    pub check: TrustCheck,
    pub door: Door,
}

/// What every environment's row is made from.
struct Surroundings {
    hosts: Vec<Host>,
    live: BTreeMap<EnvName, Vec<pb::LiveRelease>>,
}

/// An environment as it is before a file is applied.
struct Before {
    /// `None`: there is none, or a later version than that which took it in cannot read it.
    environment: Option<Environment>,
    revision: Option<Revision>,
    /// As it was applied; empty: there is none.
    file: String,
}

impl EnvironmentsService {
    async fn surroundings(&self) -> Result<Surroundings, Trouble> {
        let mut live: BTreeMap<EnvName, Vec<pb::LiveRelease>> = BTreeMap::new();
        let unbrought = self.engine.unbrought().await?;
        for entry in self.store.list(&Prefix::live()).await?.entries {
            if let Name::Live(env, app) = entry.key.name()? {
                let LiveRecord { target, since_ms, .. } = record::decode_entry(&entry)?;
                let left = unbrought.iter().filter(|left| left.env == env && left.app == app).cloned();
                let left = left.map(words::unbrought_message).collect();
                live.entry(env).or_default().push(pb::LiveRelease {
                    app: app.to_string(),
                    version: target.version.to_string(),
                    digest: target.release.hex(),
                    since_ms,
                    lacking: vec![],
                    withdrawn: String::new(),
                    unbrought: left,
                });
            }
        }
        Ok(Surroundings { hosts: host::list(&self.store).await?, live })
    }

    /// By whom and why; empty: it was not.
    async fn withdrawn(&self, live: &pb::LiveRelease) -> Result<String, Trouble> {
        let found = bundle::load(&*self.store, &live.app.parse()?, &live.version.parse()?).await?;
        let withdrawal = found.and_then(|(release, _)| release.withdrawn);
        Ok(withdrawal.map(|Withdrawal { by, reason, .. }| format!("by {by}: {reason}")).unwrap_or_default())
    }

    async fn show_one(&self, env: &EnvName) -> Result<pb::Environment, Trouble> {
        let (applied, _) = environments::get(&self.store, env).await?;
        let (environment, mut around) = (applied.read()?, self.surroundings().await?);
        for live in around.live.get_mut(env).into_iter().flatten() {
            self.add_lacking(live, &environment, &around.hosts).await?;
            live.withdrawn = self.withdrawn(live).await?;
        }
        Ok(row(&applied, &environment, &around))
    }

    /// Hosts that are to run it and run something else, by their last report, and what brings it there.
    async fn add_lacking(
        &self,
        live: &mut pb::LiveRelease,
        environment: &Environment,
        hosts: &[Host],
    ) -> Result<(), Trouble> {
        let app: AppName = live.app.parse()?;
        let key = Key::live(&environment.name, &app);
        let Some((record, _)) = records::get::<LiveRecord>(&self.store, &key).await? else { return Ok(()) };
        let lacking = self.engine.lacking(environment, &app, &record, hosts).await?;
        if lacking.is_empty() {
            return Ok(());
        }
        let against = against_live(&self.check, &app, &record.target).await?;
        for Lacking { name, left } in lacking {
            let left = left.map(|left| left.with(against.as_deref(), &record.target.version));
            let told = live.unbrought.iter().any(|told| told.host == name.as_str());
            live.unbrought.extend(left.filter(|_| !told).map(words::unbrought_message));
            live.lacking.push(name.to_string());
        }
        Ok(())
    }

    /// What is applied in the place of this file, and what applying the file is about.
    async fn beside(&self, file: &Environment) -> Result<(Before, About), Trouble> {
        let found = environments::find(&self.store, &file.name).await?;
        let hosts = host::list(&self.store).await?;
        let (applied, revision) = found.unzip();
        let environment = applied.as_ref().and_then(|applied| applied.read().ok());
        let about = match &taken(environment.as_ref(), file, &hosts)[..] {
            [] => About::environment(&file.name),
            changes => About::hosts_of(&file.name, changes),
        };
        let file = applied.map(|applied| applied.file).unwrap_or_default();
        Ok((Before { environment, revision, file }, about))
    }

    /// That all its hosts are of other environments.
    async fn shared(&self, environment: &Environment, hosts: &[Host]) -> Result<Option<String>, Trouble> {
        let all = environments::list(&self.store).await?;
        let others: Vec<Environment> = all.iter().filter_map(|applied| applied.read().ok()).collect();
        Ok(shared(environment, &others, hosts))
    }

    async fn show_all(&self) -> Result<Vec<pb::Environment>, Trouble> {
        let around = self.surroundings().await?;
        let all = environments::list(&self.store).await?;
        all.iter().map(|applied| Ok(row(applied, &applied.read()?, &around))).collect()
    }
}

fn row(applied: &Applied, environment: &Environment, around: &Surroundings) -> pb::Environment {
    let hosts = around.hosts.iter().filter(|host| host.belongs(&environment.selector)).count();
    pb::Environment {
        name: environment.name.to_string(),
        selector: environment.selector.to_string(),
        file: applied.file.clone(),
        live: around.live.get(&environment.name).cloned().unwrap_or_default(),
        hosts: hosts as u32,
    }
}

#[tonic::async_trait]
impl Environments for EnvironmentsService {
    async fn apply(
        &self,
        request: Request<pb::ApplyEnvironmentRequest>,
    ) -> Result<Response<pb::ApplyEnvironmentReply>, Status> {
        let pb::ApplyEnvironmentRequest { file, file_name } = request.get_ref();
        // A file that does not read is refused in full below, with every problem.
        let read = Environment::parse(file_name, file).ok();
        glance_at(&self.door, &request, read.as_ref().map(|file| About::environment(&file.name))).await?;
        let (before, about) = match &read {
            Some(file) => {
                let (before, about) = self.beside(file).await.map_err(refuse)?;
                (Some(before), Some(about))
            }
            None => (None, None),
        };
        let is_applied = before.as_ref().is_some_and(|before| before.file == *file);
        let admission = match about {
            // If somebody applies another one meanwhile, this is refused below.
            Some(about) if is_applied => admitted_in_vain(&self.door, &request, about).await?,
            about => admitted_about(&self.door, &request, about).await?,
        };
        let own = self.engine.own_files();
        let problems = read.map(|environment| own.problems(&environment.gates)).unwrap_or_default();
        if !problems.is_empty() {
            return Err(refuse(Trouble::refused(Code::M01, problems.join("\n"))));
        }
        let pb::ApplyEnvironmentRequest { file, file_name } = request.into_inner();
        let by = admission.name();
        let now = self.clock.now_ms();
        let as_seen =
            |revision: Option<Revision>| before.as_ref().is_none_or(|before| before.revision == revision);
        let applied =
            environments::apply_where(&self.store, &self.tell, &file_name, &file, by, now, as_seen).await;
        let (environment, changed) = applied.map_err(refuse)?;
        let hosts = host::list(&self.store).await.map_err(refuse)?;
        let is_new = before.as_ref().is_some_and(|before| before.revision.is_none());
        let shared = match is_new {
            true => self.shared(&environment, &hosts).await.map_err(refuse)?,
            false => None,
        };
        let earlier = before.and_then(|before| before.environment);
        let emptied = earlier.and_then(|earlier| emptied(&earlier, &environment, &hosts));
        let mut warnings: Vec<String> = emptied.into_iter().chain(shared).collect();
        warnings.extend(unmatched(&environment, &hosts));
        warnings.extend(unknown(&self.store, &environment).await.map_err(refuse)?);
        let environment = self.show_one(&environment.name).await.map_err(refuse)?;
        Ok(Response::new(pb::ApplyEnvironmentReply { environment: Some(environment), changed, warnings }))
    }

    async fn list(
        &self,
        request: Request<pb::ListEnvironmentsRequest>,
    ) -> Result<Response<pb::ListEnvironmentsReply>, Status> {
        operator(&self.door, &request).await?;
        let environments = self.show_all().await.map_err(refuse)?;
        Ok(Response::new(pb::ListEnvironmentsReply { environments }))
    }

    async fn show(
        &self,
        request: Request<pb::ShowEnvironmentRequest>,
    ) -> Result<Response<pb::Environment>, Status> {
        operator(&self.door, &request).await?;
        let env = parse("env", &request.into_inner().env).map_err(invalid)?;
        Ok(Response::new(self.show_one(&env).await.map_err(refuse)?))
    }

    async fn remove(
        &self,
        request: Request<pb::RemoveEnvironmentRequest>,
    ) -> Result<Response<pb::RemoveEnvironmentReply>, Status> {
        operator(&self.door, &request).await?;
        let env = parse("env", &request.into_inner().env).map_err(invalid)?;
        environments::remove::remove(&self.store, &env).await.map_err(refuse)?;
        Ok(Response::new(pb::RemoveEnvironmentReply {}))
    }
}
