//! The `Controller` service: how the controller itself stands.

use std::sync::Arc;

use longshore_common::time::Clock;
use longshore_proto::v1::{self as pb, controller_server::Controller};
use tonic::{Request, Response, Status};

use super::{operator, refuse};
use crate::{
    engine::Engine,
    fleet::Fleet,
    identity::Door,
    store::{Prefix, SharedStore},
};

pub struct ControllerService {
    pub store: SharedStore,
    pub clock: Arc<dyn Clock>,
    pub fleet: Fleet,
    pub engine: Engine,
    pub door: Door,
}

#[tonic::async_trait]
impl Controller for ControllerService {
    async fn status(&self, request: Request<pb::StatusRequest>) -> Result<Response<pb::StatusReply>, Status> {
        operator(&self.door, &request).await?;
        let hosts = self.store.list(&Prefix::hosts()).await.map_err(|e| refuse(e.into()))?;
        Ok(Response::new(pb::StatusReply {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time_ms: self.clock.now_ms(),
            revision: hosts.revision.0,
            hosts: hosts.entries.len() as u32,
            connected: self.fleet.presence().connected_count() as u32,
            active_rollouts: self.engine.active_count() as u32,
        }))
    }
}
