//! The `Trust` service: signed documents in and out. What they are worth is decided in `crate::trust` and, again, on
//! every host.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use longshore_common::{
    code::{Code, Coded},
    digest::sha256,
    ids::AppName,
    label::Selector,
    tls::{Identity, Peer},
    trust::PublicKey,
    wire::parse,
};
use longshore_proto::v1::{self as pb, trust_server::Trust};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Replies, coded, invalid, operator, refuse, scope::Act as _, trust_words};
use crate::{
    fleet::{
        Asked, Fleet, Host, host,
        words::{Answer, Question},
    },
    identity::Door,
    store::SharedStore,
    trust::{Standing, Submitted, TrustDesk, Which, at_desk, fresh_until},
};

/// Of one host's answer: it asks for what is new before it answers.
const CHECK_DEADLINE: Duration = Duration::from_secs(30);
const CHECK_DEADLINE_MAX: Duration = Duration::from_secs(300);
/// Hosts that are asked at the same time.
const ASKED_AT_ONCE: usize = 64;
/// Answers that wait for the one who asked.
const REPLIES: usize = 64;
/// Of why something is dropped.
const REASON_BYTES: usize = 500;

pub struct TrustService {
    pub desk: Arc<TrustDesk>,
    pub store: SharedStore,
    pub fleet: Fleet,
    pub door: Door,
}

impl TrustService {
    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&TrustDesk) -> Result<T, Coded> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        at_desk(&self.desk, work).await.map(Response::new).map_err(coded)
    }

    /// For the record: what the documents change. Nothing is read of what is not an operator's.
    async fn submission(&self, request: &Request<pb::SubmitTrustRequest>) -> String {
        let peer = request.extensions().get::<Peer>();
        let named = request.get_ref().target();
        if !peer.is_some_and(|peer| matches!(peer.identity, Some(Identity::Operator(_)))) {
            return named;
        }
        let pb::SubmitTrustRequest { app, roots, targets } = request.get_ref().clone();
        let described = at_desk(&self.desk, move |desk| {
            let app: AppName = parse("app", &app)?;
            let roots: Vec<Vec<u8>> = roots.into_iter().map(Into::into).collect();
            desk.describe(app.as_str(), &roots, &targets)
        });
        match described.await {
            Ok(changes) => format!("{named}: {changes}"),
            Err(_) => format!("{named} that cannot be read"),
        }
    }
}

#[tonic::async_trait]
impl Trust for TrustService {
    type CheckStream = Replies<pb::CheckTrustReply>;

    async fn check(
        &self,
        request: Request<pb::CheckTrustRequest>,
    ) -> Result<Response<Self::CheckStream>, Status> {
        operator(&self.door, &request).await?;
        let pb::CheckTrustRequest { selector, deadline_ms } = request.into_inner();
        let deadline = match deadline_ms {
            0 => CHECK_DEADLINE,
            ms => Duration::from_millis(ms.into()).min(CHECK_DEADLINE_MAX),
        };
        let selector: Selector = selector.parse().map_err(coded)?;
        let hosts = host::list(&self.store).await.map_err(refuse)?;
        let hosts: Vec<Host> = hosts.into_iter().filter(|host| host.fits(&selector)).collect();
        let (replies, receiver) = mpsc::channel(REPLIES);
        let fleet = self.fleet.clone();
        tokio::spawn(async move {
            let asked = hosts.into_iter().map(|host| check(fleet.clone(), host, deadline));
            let mut answers = stream::iter(asked).buffer_unordered(ASKED_AT_ONCE);
            while let Some(reply) = answers.next().await {
                if replies.send(Ok(reply)).await.is_err() {
                    return; // nobody listens any more
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn status(
        &self,
        request: Request<pb::TrustStatusRequest>,
    ) -> Result<Response<pb::TrustStatusReply>, Status> {
        operator(&self.door, &request).await?;
        self.ask(|desk| Ok(status(desk))).await
    }

    async fn get(
        &self,
        request: Request<pb::GetTrustRequest>,
    ) -> Result<Response<pb::GetTrustReply>, Status> {
        operator(&self.door, &request).await?;
        let app: AppName = parse("app", &request.get_ref().app).map_err(invalid)?;
        self.ask(move |desk| {
            let held = desk.held(app.as_str())?;
            let pending = desk.pending(app.as_str())?.into_iter().map(|pending| pb::SubmitTrustRequest {
                app: pending.app,
                roots: pending.roots.into_iter().map(Into::into).collect(),
                targets: pending.targets.into(),
            });
            let pending = pending.collect();
            Ok(pb::GetTrustReply { documents: held.map(|held| held.offer(0).into()), pending })
        })
        .await
    }

    async fn submit(
        &self,
        request: Request<pb::SubmitTrustRequest>,
    ) -> Result<Response<pb::SubmitTrustReply>, Status> {
        let scope = request.get_ref().scope();
        let target = self.submission(&request).await;
        let admission = self.door.operator(request.extensions(), &scope, target).await.map_err(refuse)?;
        let by = admission.name().to_string();
        let pb::SubmitTrustRequest { app, roots, targets } = request.into_inner();
        let app: AppName = parse("app", &app).map_err(invalid)?;
        self.ask(move |desk| {
            let roots = roots.into_iter().map(|root| root.to_vec()).collect();
            let submitted = desk.submit(app.as_str(), &by, roots, targets.to_vec())?;
            tracing::info!(%app, %by, ?submitted, "signed documents submitted");
            Ok(match submitted {
                Submitted::Accepted { overtaken } => pb::SubmitTrustReply {
                    accepted: true,
                    overtaken: overtaken.iter().map(trust_words::waiting).collect(),
                    ..pb::SubmitTrustReply::default()
                },
                Submitted::Waiting(waiting) => {
                    pb::SubmitTrustReply { waiting: waiting.sentence(), ..pb::SubmitTrustReply::default() }
                }
            })
        })
        .await
    }

    async fn drop(
        &self,
        request: Request<pb::DropTrustRequest>,
    ) -> Result<Response<pb::DropTrustReply>, Status> {
        let by = operator(&self.door, &request).await?;
        let pb::DropTrustRequest { app, id, reason } = request.into_inner();
        let app: AppName = parse("app", &app).map_err(invalid)?;
        if reason.trim().is_empty() || reason.len() > REASON_BYTES {
            let message = format!(
                "say why it is dropped, in 1-{REASON_BYTES} bytes: --reason \"…\"; nothing was changed"
            );
            return Err(coded(Coded::new(Code::V01, message)));
        }
        let which = if id.is_empty() { Which::Overtaken } else { Which::One(id) };
        self.ask(move |desk| {
            let dropped = desk.drop_waiting(app.as_str(), &which)?;
            tracing::info!(%app, %by, ?dropped, "what waited for signatures was dropped");
            Ok(pb::DropTrustReply { dropped: dropped.iter().map(trust_words::waiting).collect() })
        })
        .await
    }

    async fn refresh(
        &self,
        request: Request<pb::TrustStatusRequest>,
    ) -> Result<Response<pb::TrustStatusReply>, Status> {
        operator(&self.door, &request).await?;
        self.ask(|desk| {
            desk.renew();
            Ok(status(desk))
        })
        .await
    }
}

/// What one host says that it trusts.
async fn check(fleet: Fleet, host: Host, deadline: Duration) -> pb::CheckTrustReply {
    let (id, name) = (host.id.to_string(), host.name.to_string());
    let mut reply = pb::CheckTrustReply { host: id, name, ..pb::CheckTrustReply::default() };
    match fleet.ask(host.id, Question::Trust, deadline).await {
        Asked::Silent => reply.silent = true,
        Asked::Answered { answer: Answer::Trust(answer), .. } => {
            reply.answer = Some(trust_words::message(*answer));
        }
        Asked::Answered { answer: Answer::Error(why), .. } => reply.error = why,
        Asked::Answered { .. } => reply.error = "answered another question".to_owned(),
    }
    reply
}

fn status(desk: &TrustDesk) -> pb::TrustStatusReply {
    let PublicKey(online) = desk.online_key();
    let repositories = desk.standings().into_iter().map(repository).collect();
    pb::TrustStatusReply { online_key: online.to_vec().into(), repositories }
}

fn repository(standing: Standing) -> pb::TrustRepository {
    let Standing { app, held, waiting, problem } = standing;
    let problem = problem.unwrap_or_default();
    let waiting = waiting.iter().map(trust_words::waiting).collect();
    let Some(held) = held else { return pb::TrustRepository { app, waiting, problem, ..Default::default() } };
    let (snapshot_expires_ms, timestamp_expires_ms) = fresh_until(&held);
    let first = held.roots.values().next().map(|root| sha256(root).to_vec()).unwrap_or_default();
    let newest = held.roots.values().next_back().cloned().unwrap_or_default();
    pb::TrustRepository {
        app,
        root_sha256: first.into(),
        root: newest.into(),
        targets: held.targets.into(),
        snapshot_expires_ms,
        timestamp_expires_ms,
        problem,
        waiting,
    }
}
