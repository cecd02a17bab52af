//! The `Trust` service: signed documents in and out. What they are worth is decided in `crate::trust` and, again, on
//! every host.

use std::sync::Arc;

use longshore_common::{
    code::Coded,
    digest::sha256,
    ids::AppName,
    trust::{Offer, PublicKey},
    wire::parse,
};
use longshore_proto::v1::{self as pb, trust_server::Trust};
use tonic::{Request, Response, Status};

use super::{coded, invalid, operator};
use crate::{
    identity::Door,
    trust::{Standing, Submitted, TrustDesk, at_desk, fresh_until},
};

pub struct TrustService {
    pub desk: Arc<TrustDesk>,
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
            Ok(pb::GetTrustReply { documents: held.map(|held| documents(held.offer(0))), pending })
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

pub(super) fn documents(offer: Offer) -> pb::TrustDocuments {
    let Offer { roots, timestamp, snapshot, targets } = offer;
    pb::TrustDocuments {
        roots: roots.into_iter().map(Into::into).collect(),
        timestamp: timestamp.into(),
        snapshot: snapshot.into(),
        targets: targets.into(),
    }
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
