//! The `Settings` service: what hosts are rendered with, and secrets that only they can open.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use longshore_common::{
    code::{Code, Coded},
    digest::SealedDigest,
    ids::{AppName, EnvName, HostId, HostName},
    label::Labels,
    settings::{Reference, check_name},
    time::Clock,
    wire::parse,
};
use longshore_proto::v1::{self as pb, seal_piece::Piece, settings_server::Settings};
use tonic::{Extensions, Request, Response, Status, Streaming};

use super::{coded, detail, glance, invalid, operator, refuse};
use crate::{
    access::{self, Places},
    config::Environment,
    environments,
    fleet::{Host, host},
    identity::Door,
    rollout::{Layer, Scope, Snapshot},
    sealed::{self, Head, NO_ENV, NewRow, ROWS_MAX, TEXT_BYTES},
    store::SharedStore,
    trouble::Trouble,
};

/// Between two pieces of one call.
const PIECE_DEADLINE: Duration = Duration::from_secs(30);
/// Secrets that are taken in at a time, and of one operator: one for 20,000 hosts has up to 170 MB, all of which is held
/// before anybody decides about it. Who sends slowly holds a place for long, so that each has one alone.
const SEALING: usize = 4;
const SEALING_OF_ONE: usize = 1;

pub struct SettingsService {
    pub store: SharedStore,
    pub clock: Arc<dyn Clock>,
    pub door: Door,
    /// [`SettingsService::places`]
    pub sealing: Places,
}

impl SettingsService {
    /// For secrets that are taken in.
    pub fn places() -> Places {
        Places::new("secrets are being taken in", SEALING, SEALING_OF_ONE)
    }

    async fn environment(&self, env: &str) -> Result<(Environment, Vec<Host>), Trouble> {
        let env: EnvName = parse("env", env).map_err(Coded::from)?;
        let (environment, _) = environments::load(&self.store, &env).await?;
        let hosts = host::list(&self.store).await?;
        let fitting =
            hosts.into_iter().filter(|host| environments::gives_settings_to(&environment, host)).collect();
        Ok((environment, fitting))
    }

    async fn shown(&self, request: pb::ShowSettingsRequest) -> Result<pb::ShowSettingsReply, Trouble> {
        let pb::ShowSettingsRequest { env, app, host } = request;
        let app: AppName = parse("app", &app).map_err(Coded::from)?;
        let (environment, hosts) = self.environment(&env).await?;
        let one = match host.is_empty() {
            true => None,
            false => Some(member(&environment, &hosts, &host::find(&self.store, &host).await?)?),
        };
        let host = one.as_ref().map(|host| host.name.to_string()).unwrap_or_default();
        let (env, app_name) = (environment.name.to_string(), app.to_string());
        let Some(snapshot) = environment.snapshot(&app) else {
            let (snapshot, rows) = (String::new(), vec![]);
            return Ok(pb::ShowSettingsReply { env, app: app_name, host, snapshot, rows });
        };
        let holding = match &one {
            Some(host) => snapshot.holding(&host.name, &host.id, &host.labels),
            None => general(&snapshot),
        };
        let rows = rows(&snapshot, &holding);
        Ok(pb::ShowSettingsReply { env, app: app_name, host, snapshot: snapshot.digest().hex(), rows })
    }

    async fn recipients_of(&self, request: pb::RecipientsRequest) -> Result<pb::RecipientsReply, Trouble> {
        let pb::RecipientsRequest { env, host } = request;
        if env.is_empty() && !host.is_empty() {
            let hosts = vec![recipient(&host::find(&self.store, &host).await?)];
            return Ok(pb::RecipientsReply { env, hosts });
        }
        let (environment, hosts) = self.environment(&env).await?;
        let hosts = match host.is_empty() {
            true => hosts,
            false => vec![member(&environment, &hosts, &host::find(&self.store, &host).await?)?],
        };
        Ok(pb::RecipientsReply { env, hosts: hosts.iter().map(recipient).collect() })
    }

    async fn checked(&self, env: &str) -> Result<pb::CheckSecretsReply, Trouble> {
        let (environment, hosts) = self.environment(env).await?;
        let mut secrets = vec![];
        let mut known: BTreeMap<_, sealed::Shut> = BTreeMap::new();
        for (app, layer) in environment.declared_layers() {
            let of: Vec<&Host> = hosts.iter().filter(|host| holds(&layer, host)).collect();
            for (name, reference) in &layer.settings.secrets {
                let mut row = pb::CheckedSecret {
                    name: name.clone(),
                    app: app.as_ref().map(AppName::to_string).unwrap_or_default(),
                    declared: layer.scope.to_string(),
                    reference: reference.to_string(),
                    hosts: of.len() as u32,
                    shut: vec![],
                    known: true,
                    checkable: false,
                };
                if let Reference::Sealed { digest } = reference {
                    if !known.contains_key(digest) {
                        known.insert(*digest, sealed::shut(&self.store, digest).await?);
                    }
                    let standing = &known[digest];
                    row.checkable = true;
                    row.known = standing.head.is_some();
                    row.shut = of
                        .iter()
                        .filter(|host| standing.is_shut_for(host))
                        .map(|host| recipient(host))
                        .collect();
                }
                secrets.push(row);
            }
        }
        Ok(pb::CheckSecretsReply { env: environment.name.to_string(), hosts: hosts.len() as u32, secrets })
    }

    /// The door is asked about what came in: two people agree to this ciphertext and to no other.
    async fn sealed(&self, call: &Extensions, taken: Taken) -> Result<pb::SealReply, Trouble> {
        let names = self.names(&taken.rows).await?;
        let target = detail::seal(taken.env(), &taken.name, &taken.digest, &names);
        let by = self.door.operator(call, &taken.scope(), target).await?.name().to_string();
        let Taken { env, name, rows, .. } = taken;
        let hosts = rows.len() as u32;
        let at_ms = self.clock.now_ms();
        let head = Head { name, env, hosts, at_ms, by, unnamed: None };
        let digest = sealed::keep(&self.store, head, rows).await?;
        Ok(pb::SealReply { digest: digest.hex(), hosts })
    }

    /// Of the hosts that it is sealed for; of one that is not known any more its id.
    async fn names(&self, rows: &[NewRow]) -> Result<Vec<String>, Trouble> {
        let known: BTreeMap<HostId, HostName> =
            host::list(&self.store).await?.into_iter().map(|host| (host.id, host.name)).collect();
        let name =
            |row: &NewRow| known.get(&row.host).map_or_else(|| row.host.to_string(), ToString::to_string);
        Ok(rows.iter().map(name).collect())
    }
}

/// A secret as it came in; nothing of it is kept yet.
struct Taken {
    env: EnvName,
    name: String,
    rows: Vec<NewRow>,
    digest: SealedDigest,
}

impl Taken {
    /// The environment that it is said to be for; none where it is for hosts alone.
    fn env(&self) -> Option<&EnvName> {
        Some(&self.env).filter(|env| env.as_str() != NO_ENV)
    }

    fn scope(&self) -> access::Scope {
        self.env().map_or(access::Scope::Any, |env| access::Scope::Env(env.clone()))
    }

    /// All of it, before anybody decides about it.
    async fn from(mut pieces: Streaming<pb::SealPiece>) -> Result<Self, Status> {
        let bad = |why: &str| coded(Coded::new(Code::V01, why));
        let mut head: Option<(EnvName, String)> = None;
        let mut rows: Vec<NewRow> = vec![];
        loop {
            let next = tokio::time::timeout(PIECE_DEADLINE, pieces.next()).await;
            let Some(piece) =
                next.map_err(|_| bad("the rest of the secret did not come in time; nothing was kept"))?
            else {
                break;
            };
            match (piece?.piece, &head) {
                (Some(Piece::Head(pb::SealHead { env, name })), None) => {
                    let env = parse("env", &env).map_err(invalid)?;
                    check_name("secret", &name).map_err(coded)?;
                    head = Some((env, name));
                }
                (Some(Piece::Row(pb::SealedFor { host, recipient, text })), Some(_))
                    if rows.len() <= ROWS_MAX =>
                {
                    let host: HostId = parse("host", &host).map_err(invalid)?;
                    if text.len() > TEXT_BYTES {
                        let message = format!(
                            "{} bytes for host {host}; at most {TEXT_BYTES}; nothing was kept",
                            text.len()
                        );
                        return Err(coded(Coded::new(Code::A04, message)));
                    }
                    rows.push(NewRow { host, recipient, text: text.into() });
                }
                (Some(Piece::Row(_)), Some(_)) => {
                    return Err(bad("too many hosts for one secret; nothing was kept"));
                }
                (Some(Piece::Head(_)), Some(_)) | (Some(Piece::Row(_)), None) | (None, _) => {
                    return Err(bad("the pieces of the secret are out of order; nothing was kept"));
                }
            }
        }
        let (env, name) = head.ok_or_else(|| bad("a secret needs a name; nothing was kept"))?;
        let digest = sealed::name(&name, &mut rows).map_err(coded)?;
        Ok(Self { env, name, rows, digest })
    }
}

fn member(environment: &Environment, hosts: &[Host], wanted: &Host) -> Result<Host, Coded> {
    hosts.iter().find(|host| host.id == wanted.id).cloned().ok_or_else(|| {
        let (env, selector, name) = (&environment.name, &environment.selector, &wanted.name);
        Coded::new(
            Code::N01,
            format!("host {name} is not of environment {env}, whose selector is \"{selector}\". See: longshore host show {name}"),
        )
    })
}

/// Those that hold for every host.
fn general(snapshot: &Snapshot) -> Vec<u16> {
    let nobody: HostName = "0".parse().expect("a host name");
    let holding = snapshot.holding(&nobody, &HostId(uuid::Uuid::nil()), &Labels::new());
    let is_general = |number: &u16| {
        let layer = snapshot.layers.get(usize::from(*number));
        layer.is_some_and(|layer| matches!(layer.scope, Scope::Environment | Scope::App))
    };
    holding.into_iter().filter(is_general).collect()
}

fn rows(snapshot: &Snapshot, holding: &[u16]) -> Vec<pb::SettingRow> {
    let (settings, origins) = (snapshot.resolve(holding), snapshot.origins(holding));
    let row = |name: &String, value: String, secret: bool| pb::SettingRow {
        name: name.clone(),
        secret,
        value,
        declared: origins.get(name.as_str()).map(ToString::to_string).unwrap_or_default(),
    };
    let values = settings.values.iter().map(|(name, value)| row(name, value.clone(), false));
    let secrets = settings.secrets.iter().map(|(name, reference)| row(name, reference.to_string(), true));
    values.chain(secrets).collect()
}

fn holds(layer: &Layer, host: &Host) -> bool {
    let one = Snapshot { layers: vec![layer.clone()] };
    !one.holding(&host.name, &host.id, &host.labels).is_empty()
}

fn recipient(host: &Host) -> pb::Recipient {
    let Host { id, name, recipient, .. } = host;
    pb::Recipient { host: id.to_string(), name: name.to_string(), recipient: recipient.clone() }
}

#[tonic::async_trait]
impl Settings for SettingsService {
    async fn show(
        &self,
        request: Request<pb::ShowSettingsRequest>,
    ) -> Result<Response<pb::ShowSettingsReply>, Status> {
        operator(&self.door, &request).await?;
        Ok(Response::new(self.shown(request.into_inner()).await.map_err(refuse)?))
    }

    async fn recipients(
        &self,
        request: Request<pb::RecipientsRequest>,
    ) -> Result<Response<pb::RecipientsReply>, Status> {
        operator(&self.door, &request).await?;
        Ok(Response::new(self.recipients_of(request.into_inner()).await.map_err(refuse)?))
    }

    async fn seal(
        &self,
        request: Request<Streaming<pb::SealPiece>>,
    ) -> Result<Response<pb::SealReply>, Status> {
        let by = glance(&self.door, &request).await?;
        let _place = self.sealing.take(&by).map_err(coded)?;
        let (_, call, pieces) = request.into_parts();
        let taken = Taken::from(pieces).await?;
        Ok(Response::new(self.sealed(&call, taken).await.map_err(refuse)?))
    }

    async fn check(
        &self,
        request: Request<pb::CheckSecretsRequest>,
    ) -> Result<Response<pb::CheckSecretsReply>, Status> {
        operator(&self.door, &request).await?;
        Ok(Response::new(self.checked(&request.get_ref().env).await.map_err(refuse)?))
    }
}

#[cfg(test)]
mod tests {
    use longshore_common::ids::OperatorName;

    use super::*;

    #[test]
    fn two_who_seal_slowly_leave_places_for_others() {
        let places = SettingsService::places();
        let [ann, bob, carl, dora]: [OperatorName; 4] =
            ["ann", "bob", "carl", "dora"].map(|name| name.parse().unwrap());
        let (_anns, _bobs) = (places.take(&ann).unwrap(), places.take(&bob).unwrap());
        for slow in [&ann, &bob] {
            let why = places.take(slow).unwrap_err();
            assert_eq!(why.code, Code::C01, "{why}");
            assert_eq!(
                why.message,
                format!(
                    "secrets are being taken in by operator {slow}, one at a time, which is all that one may have; \
                     try again in a few seconds"
                )
            );
        }
        let _others = (places.take(&carl).unwrap(), places.take(&dora).unwrap());
    }
}
