//! The `Trust` service: signed documents in and out. What they are worth is decided in `crate::trust` and, again, on
//! every host.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use longshore_common::{
    code::Coded, digest::sha256, ids::AppName, label::Selector, trust::PublicKey, wire::parse,
};
use longshore_proto::v1::{self as pb, trust_server::Trust};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Replies, coded, invalid, operator, refuse, trust_words};
use crate::{
    fleet::{
        Asked, Fleet, Host, host,
        words::{Answer, Question},
    },
    identity::Door,
    store::SharedStore,
    trust::{Standing, Submitted, TrustDesk, at_desk, fresh_until},
};

/// Of one host's answer: it asks for what is new before it answers.
const CHECK_DEADLINE: Duration = Duration::from_secs(30);
const CHECK_DEADLINE_MAX: Duration = Duration::from_secs(300);
/// Hosts that are asked at the same time.
const ASKED_AT_ONCE: usize = 64;
/// Answers that wait for the one who asked.
const REPLIES: usize = 64;

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
            let pending = desk.pending(app.as_str())?.map(|pending| pb::SubmitTrustRequest {
                app: pending.app,
                roots: pending.roots.into_iter().map(Into::into).collect(),
                targets: pending.targets.into(),
            });
            Ok(pb::GetTrustReply { documents: held.map(|held| held.offer(0).into()), pending })
        })
        .await
    }

    async fn submit(
        &self,
        request: Request<pb::SubmitTrustRequest>,
    ) -> Result<Response<pb::SubmitTrustReply>, Status> {
        let by = operator(&self.door, &request).await?;
        let pb::SubmitTrustRequest { app, roots, targets } = request.into_inner();
        let app: AppName = parse("app", &app).map_err(invalid)?;
        self.ask(move |desk| {
            let roots = roots.into_iter().map(|root| root.to_vec()).collect();
            let submitted = desk.submit(app.as_str(), roots, targets.to_vec())?;
            tracing::info!(%app, %by, ?submitted, "signed documents submitted");
            Ok(match submitted {
                Submitted::Accepted => pb::SubmitTrustReply { accepted: true, waiting: String::new() },
                Submitted::Waiting(waiting) => pb::SubmitTrustReply { accepted: false, waiting },
            })
        })
        .await
    }

    async fn refresh(
        &self,
        request: Request<pb::TrustStatusRequest>,
    ) -> Result<Response<pb::TrustStatusReply>, Status> {
        operator(&self.door, &request).await?;
        self.ask(|desk| {
            desk.refresh();
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
    let Standing { app, held, pending, problem } = standing;
    let problem = problem.unwrap_or_default();
    let Some(held) = held else { return pb::TrustRepository { app, pending, problem, ..Default::default() } };
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
        pending,
        problem,
    }
}
