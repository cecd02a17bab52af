//! The `Hosts` service: join tokens, the hosts, and questions to them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use longshore_common::{
    ids::HostId,
    label::Selector,
    time::{Clock, Millis, Span},
};
use longshore_proto::v1::{self as pb, hosts_server::Hosts};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Replies, coded, logs, operator, refuse, words};
use crate::{
    engine::{
        Engine, Unbrought,
        records::{self, LiveRecord},
        states,
        unwell::{self, FoundUnwell},
    },
    environments,
    fleet::{
        ASKED_AT_ONCE, Asked, Connected, Drained, Fleet, Host, host,
        words::{Answer, AppSeen, Question},
    },
    identity::{
        Authority, Door,
        token::{self, Narrowed, NewToken, TTL_DEFAULT, Token},
    },
    prepare::against_live,
    store::{Key, SharedStore},
    trouble::Trouble,
    trust::TrustCheck,
};

/// Of a reason why a host is drained.
const REASON_BYTES: usize = 256;
const PING_DEADLINE: Duration = Duration::from_secs(5);
const PING_DEADLINE_MAX: Duration = Duration::from_secs(60);
/// Answers that wait for the one who asked.
const REPLIES: usize = 64;

pub struct HostsService {
    pub store: SharedStore,
    pub clock: Arc<dyn Clock>,
    pub fleet: Fleet,
    pub engine: Engine,
    /// When the controller started: what came before it knows only as far as it was kept.
    pub started_ms: Millis,
    pub authority: Arc<Authority>,
    pub check: TrustCheck,
    pub door: Door,
    /// `host:port` that the printed command names.
    pub enroll_address: String,
}

impl HostsService {
    /// As the host says itself; of one that is away, as it said last.
    async fn apps(&self, host: &HostId) -> Result<Vec<AppSeen>, Trouble> {
        match self.fleet.presence().connected(host) {
            Some(connected) => Ok(connected.apps),
            None => states::last_said(&self.store, host).await,
        }
    }

    async fn row(&self, host: Host) -> Result<pb::Host, Trouble> {
        let apps = self.apps(&host.id).await?;
        let unwell = unwell::found(&self.store, &host.id, &apps).await?;
        let directs = self.directed(&host.id, &apps).await?;
        let row = self.row_of(host, apps, unwell, &self.engine.unbrought().await?);
        Ok(pb::Host { directs, ..row })
    }

    /// Of apps that it never ran, those whose traffic it directs for others.
    async fn directed(&self, host: &HostId, apps: &[AppSeen]) -> Result<Vec<String>, Trouble> {
        let mut directed = vec![];
        for seen in apps.iter().filter(|seen| seen.version.is_empty()) {
            if states::directs(&self.store, host, &seen.app).await? {
                directed.push(seen.app.to_string());
            }
        }
        Ok(directed)
    }

    fn row_of(
        &self,
        host: Host,
        apps: Vec<AppSeen>,
        unwell: Vec<FoundUnwell>,
        unbrought: &[Unbrought],
    ) -> pb::Host {
        let (connected, last_seen) = {
            let presence = self.fleet.presence();
            (presence.connected(&host.id), presence.last_seen_ms(&host.id))
        };
        let unheard_since_ms = if last_seen == 0 { self.started_ms } else { 0 };
        let last_seen = last_seen.max(host.seen.as_ref().map_or(0, |seen| seen.at_ms));
        let unwell = unwell.into_iter().map(words::unwell_message).collect();
        let unbrought = unbrought.iter().filter(|left| left.host == host.id).cloned();
        let unbrought = unbrought.map(words::unbrought_message).collect();
        pb::Host { unbrought, unwell, unheard_since_ms, ..row(host, connected, apps, last_seen) }
    }

    /// With what balancers make of its labels: a list cannot afford to read as much.
    async fn row_with_traffic(&self, host: Host) -> Result<pb::Host, Trouble> {
        let notes = self.engine.traffic_notes(&host).await?;
        let traffic = notes.into_iter().map(words::traffic_message).collect();
        Ok(pb::Host { traffic, ..self.row(host).await? })
    }

    /// With what it lacks as well.
    async fn row_in_full(&self, host: Host) -> Result<pb::Host, Trouble> {
        let lacking = self.engine.lacking_on(&host).await?;
        let mut row = self.row_with_traffic(host).await?;
        for left in lacking {
            let left = words::unbrought_message(self.unless_refused(left).await?);
            let told = row.unbrought.iter().any(|told| (&told.env, &told.app) == (&left.env, &left.app));
            row.unbrought.extend((!told).then_some(left));
        }
        Ok(row)
    }

    /// What is live and would be refused is not to be started once more.
    async fn unless_refused(&self, left: Unbrought) -> Result<Unbrought, Trouble> {
        let key = Key::live(&left.env, &left.app);
        let Some((live, _)) = records::get::<LiveRecord>(&self.store, &key).await? else { return Ok(left) };
        let against = against_live(&self.check, &left.app, &live.target).await?;
        Ok(left.with(against.as_deref(), &live.target.version))
    }

    /// Its apps were stopped or started again since it said how they stand, or were down then.
    fn is_in_doubt(&self, host: &Host) -> bool {
        let stops = host.drained.as_ref().is_some_and(|drained| drained.stop_ms.is_some());
        let down = |connected: Connected| connected.apps.iter().any(|app| !app.running);
        stops || host.rejoining.is_some() || self.fleet.presence().connected(&host.id).is_some_and(down)
    }

    /// The rows of many, with what was found out of them after their switches.
    async fn rows(&self, hosts: Vec<Host>) -> Result<Vec<pb::Host>, Trouble> {
        let (mut apps, mut directs) = (HashMap::with_capacity(hosts.len()), HashMap::new());
        for host in &hosts {
            let of_it = self.apps(&host.id).await?;
            directs.insert(host.id, self.directed(&host.id, &of_it).await?);
            apps.insert(host.id, of_it);
        }
        let mut unwell = unwell::found_among(&self.store, &apps).await?;
        let unbrought = self.engine.unbrought().await?;
        let rows = hosts.into_iter().map(|host| {
            let (apps, unwell) = (apps.remove(&host.id), unwell.remove(&host.id));
            let directs = directs.remove(&host.id).unwrap_or_default();
            let row = self.row_of(host, apps.unwrap_or_default(), unwell.unwrap_or_default(), &unbrought);
            pb::Host { directs, ..row }
        });
        Ok(rows.collect())
    }

    async fn matching(&self, selector: &str) -> Result<Vec<Host>, Trouble> {
        let hosts = host::list(&self.store).await?;
        if selector.is_empty() {
            return Ok(hosts);
        }
        let selector: Selector = selector.parse()?;
        Ok(hosts.into_iter().filter(|host| host.fits(&selector)).collect())
    }

    /// Those of that name or id; where nobody has it, those that the text selects.
    async fn named_or_matching(&self, text: &str) -> Result<Vec<Host>, Trouble> {
        let id = text.parse::<HostId>().ok();
        let mut named = host::list(&self.store).await?;
        named.retain(|host| host.name.as_str() == text || Some(host.id) == id);
        if named.is_empty() { self.matching(text).await } else { Ok(named) }
    }
}

/// What a connected host says of itself comes before what it said last time.
fn row(host: Host, connected: Option<Connected>, apps: Vec<AppSeen>, last_seen_ms: i64) -> pb::Host {
    let (certificate_expires_ms, key) = (host.certificate_expires_ms(), host.fingerprint());
    let is_connected = connected.is_some();
    let seen = host.seen;
    let now = connected.unwrap_or_else(|| {
        seen.map(|seen| Connected {
            address: seen.address,
            agent_version: seen.agent_version,
            facts: seen.facts,
            ..Connected::default()
        })
        .unwrap_or_default()
    });
    pb::Host {
        id: host.id.to_string(),
        name: host.name.to_string(),
        labels: host.labels,
        connected: is_connected,
        last_seen_ms,
        agent_version: now.agent_version,
        address: now.address,
        facts: Some(words::facts_message(now.facts)),
        hold: now.hold.map(words::hold_message),
        apps: apps.into_iter().map(words::app_message).collect(),
        enrolled_ms: host.enrolled_ms,
        certificate_expires_ms,
        drained: host.drained.map(|drained| pb::Drained {
            by: drained.by,
            reason: drained.reason,
            since_ms: drained.since_ms,
            stop_ms: drained.stop_ms.unwrap_or(0),
            waits: drained.waits,
        }),
        rejoining: host.rejoining.map(|rejoining| pb::Rejoining {
            by: rejoining.by,
            since_ms: rejoining.since_ms,
            until_ms: rejoining.until_ms,
        }),
        barred: host.barred.map(|barred| pb::Barred {
            kind: barred.kind.as_str().to_owned(),
            reason: barred.reason,
            since_ms: barred.since_ms,
        }),
        key,
        unheard_since_ms: 0,
        unbrought: vec![],
        unwell: vec![],
        traffic: vec![],
        directs: vec![],
        told: vec![],
    }
}

fn token_row(token: Token) -> pb::TokenRow {
    pb::TokenRow {
        uses_left: token.uses_left(),
        id: token.id,
        expires_ms: token.expires_ms,
        labels: token.labels,
        created_by: token.created_by,
        name: token.narrowed.name,
        networks: token.narrowed.networks,
        ask: token.narrowed.ask,
    }
}

/// One host's answer to a ping; true: it said nothing.
async fn ping(fleet: Fleet, clock: Arc<dyn Clock>, host: Host, deadline: Duration) -> (bool, pb::PingReply) {
    let mut reply =
        pb::PingReply { host: host.id.to_string(), name: host.name.to_string(), ..pb::PingReply::default() };
    match fleet.ask(host.id, Question::Ping, deadline).await {
        Asked::Silent => {
            reply.silent = true;
            return (true, reply);
        }
        Asked::Answered { answer, took } => {
            reply.round_trip_us = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
            match answer {
                Answer::Pong { time_ms, apps } => {
                    // The host's clock was read about half a round trip ago.
                    reply.clock_offset_ms = time_ms + took.as_millis() as i64 / 2 - clock.now_ms();
                    reply.apps = apps.into_iter().map(words::app_message).collect();
                }
                Answer::Error(why) => reply.error = why,
                Answer::Facts(_)
                | Answer::Survey(_)
                | Answer::Logs(_)
                | Answer::Checkpoints(_)
                | Answer::Trust(_)
                | Answer::Reached(_)
                | Answer::Usage(_)
                | Answer::Glance(_)
                | Answer::Test(_) => reply.error = "answered another question".to_owned(),
            }
        }
    }
    (false, reply)
}

#[tonic::async_trait]
impl Hosts for HostsService {
    type PingStream = Replies<pb::PingReply>;
    type LogsStream = Replies<pb::HostLogLine>;

    async fn create_token(
        &self,
        request: Request<pb::CreateTokenRequest>,
    ) -> Result<Response<pb::CreateTokenReply>, Status> {
        let by = operator(&self.door, &request).await?;
        let pb::CreateTokenRequest { uses, ttl_ms, labels, name, networks, ask } = request.into_inner();
        let wanted = NewToken {
            uses: uses.max(1),
            ttl: if ttl_ms == 0 { TTL_DEFAULT } else { Duration::from_millis(ttl_ms) },
            labels,
            created_by: by.to_string(),
            narrowed: Narrowed { name, networks, ask },
        };
        let made = token::create(&self.store, self.authority.hash(), wanted, self.clock.now_ms()).await;
        let (join, token) = made.map_err(refuse)?;
        Ok(Response::new(pb::CreateTokenReply {
            token: join.to_string(),
            id: token.id,
            expires_ms: token.expires_ms,
            enroll_address: self.enroll_address.clone(),
        }))
    }

    async fn list_tokens(
        &self,
        request: Request<pb::ListTokensRequest>,
    ) -> Result<Response<pb::ListTokensReply>, Status> {
        operator(&self.door, &request).await?;
        let tokens = token::list(&self.store).await.map_err(refuse)?;
        let now = self.clock.now_ms();
        let usable = tokens.into_iter().filter(|token| token.expires_ms > now && token.uses_left() > 0);
        Ok(Response::new(pb::ListTokensReply { tokens: usable.map(token_row).collect() }))
    }

    async fn revoke_token(
        &self,
        request: Request<pb::RevokeTokenRequest>,
    ) -> Result<Response<pb::RevokeTokenReply>, Status> {
        operator(&self.door, &request).await?;
        token::revoke(&self.store, &request.into_inner().id).await.map_err(refuse)?;
        Ok(Response::new(pb::RevokeTokenReply {}))
    }

    async fn list(
        &self,
        request: Request<pb::ListHostsRequest>,
    ) -> Result<Response<pb::ListHostsReply>, Status> {
        operator(&self.door, &request).await?;
        let mut hosts = self.matching(&request.into_inner().selector).await.map_err(refuse)?;
        hosts.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        // Of which nobody was told how their apps stand now.
        let in_doubt = hosts.iter().filter(|host| self.is_in_doubt(host)).map(|host| host.id).collect();
        self.fleet.look_at(in_doubt).await;
        let hosts = self.rows(hosts).await.map_err(refuse)?;
        Ok(Response::new(pb::ListHostsReply { hosts }))
    }

    async fn show(&self, request: Request<pb::ShowHostRequest>) -> Result<Response<pb::Host>, Status> {
        operator(&self.door, &request).await?;
        let host = host::find(&self.store, &request.into_inner().host).await.map_err(refuse)?;
        self.fleet.look_at(vec![host.id]).await;
        Ok(Response::new(self.row_in_full(host).await.map_err(refuse)?))
    }

    async fn label(&self, request: Request<pb::LabelHostRequest>) -> Result<Response<pb::Host>, Status> {
        let by = operator(&self.door, &request).await?;
        let pb::LabelHostRequest { host, set, unset } = request.into_inner();
        let set: BTreeMap<String, String> = set;
        let before = host::find(&self.store, &host).await.map_err(refuse)?;
        let host = self.fleet.label(&host, &set, &unset).await.map_err(refuse)?;
        tracing::info!(host = %host.id, name = %host.name, %by, "labels changed");
        self.engine.labels_changed(before.clone()).await;
        let environments = environments::list(&self.store).await.map_err(refuse)?;
        let mut arrivals = BTreeMap::new();
        for joined in environments::passage::joined(&before, &host, &environments) {
            let arrival = self.engine.arrival(&host, &joined).await.map_err(refuse)?;
            arrivals.insert(joined.name, arrival);
        }
        let told = environments::passage::told(&before, &host, &environments, &arrivals);
        let row = self.row_with_traffic(host).await.map_err(refuse)?;
        Ok(Response::new(pb::Host { told, ..row }))
    }

    async fn drain(
        &self,
        request: Request<pb::DrainHostRequest>,
    ) -> Result<Response<pb::DrainHostReply>, Status> {
        let by = operator(&self.door, &request).await?.to_string();
        let pb::DrainHostRequest { host, undrain, reason, stop_within_ms } = request.into_inner();
        let reason = longshore_common::wire::cut(&reason, REASON_BYTES);
        let since_ms = self.clock.now_ms();
        let stop_ms = stop_within_ms.map(|ms| since_ms + Span::millis(ms.min(Span::MAX_MS)).as_ms());
        let meant = host::find(&self.store, &host).await.map_err(refuse)?.id;
        let (host, changed) = match undrain {
            true => self.engine.undrain(meant, &by).await,
            false => {
                let drained = Drained { by: by.clone(), reason, since_ms, stop_ms, waits: false };
                self.engine.drain(meant, drained).await
            }
        }
        .map_err(refuse)?;
        tracing::info!(host = %host.id, name = %host.name, by, undrain, changed, "drained");
        let host = self.row_with_traffic(host).await.map_err(refuse)?;
        Ok(Response::new(pb::DrainHostReply { host: Some(host), changed }))
    }

    async fn admit(
        &self,
        request: Request<pb::AdmitHostRequest>,
    ) -> Result<Response<pb::AdmitHostReply>, Status> {
        let by = operator(&self.door, &request).await?;
        let pb::AdmitHostRequest { host, key } = request.into_inner();
        let (host, changed) = self.fleet.admit(&host, &key).await.map_err(refuse)?;
        tracing::info!(host = %host.id, name = %host.name, %by, changed, "let in");
        Ok(Response::new(pb::AdmitHostReply { host: Some(self.row(host).await.map_err(refuse)?), changed }))
    }

    async fn remove(
        &self,
        request: Request<pb::RemoveHostRequest>,
    ) -> Result<Response<pb::RemoveHostReply>, Status> {
        let by = operator(&self.door, &request).await?;
        let host = request.into_inner().host;
        self.fleet.remove(&host).await.map_err(refuse)?;
        tracing::info!(host, %by, "host removed");
        Ok(Response::new(pb::RemoveHostReply {}))
    }

    async fn ping(&self, request: Request<pb::PingRequest>) -> Result<Response<Self::PingStream>, Status> {
        operator(&self.door, &request).await?;
        let pb::PingRequest { selector, deadline_ms } = request.into_inner();
        let hosts = self.named_or_matching(&selector).await.map_err(refuse)?;
        let deadline = match deadline_ms {
            0 => PING_DEADLINE,
            ms => Duration::from_millis(ms.into()).min(PING_DEADLINE_MAX),
        };
        let (replies, receiver) = mpsc::channel(REPLIES);
        let (fleet, clock) = (self.fleet.clone(), self.clock.clone());
        tokio::spawn(async move {
            let asked = hosts.into_iter().map(|host| ping(fleet.clone(), clock.clone(), host, deadline));
            let mut answers = stream::iter(asked).buffer_unordered(ASKED_AT_ONCE);
            let mut silent = vec![];
            while let Some((is_silent, reply)) = answers.next().await {
                if is_silent {
                    silent.push(reply);
                } else if replies.send(Ok(reply)).await.is_err() {
                    return; // nobody listens any more
                }
            }
            for reply in silent {
                if replies.send(Ok(reply)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn logs(&self, request: Request<pb::LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        operator(&self.door, &request).await?;
        let wanted = logs::Wanted::read(request.into_inner()).map_err(coded)?;
        let hosts = logs::hosts(&self.store, &self.fleet, &wanted).await.map_err(refuse)?;
        Ok(Response::new(logs::stream(self.fleet.clone(), hosts, wanted)))
    }
}
