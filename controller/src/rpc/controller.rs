//! The `Controller` service: how the controller itself stands.

use std::sync::Arc;

use longshore_common::{digest::hex, time::Clock};
use longshore_proto::v1::{self as pb, controller_server::Controller};
use tonic::{Request, Response, Status};

use super::{operator, refuse};
use crate::{
    engine::{Engine, records::Record},
    fleet::Fleet,
    identity::{Authority, Door, keep, roots},
    notify::outbox,
    rollout::Header,
    store::{Prefix, SharedStore},
    trouble::Trouble,
};

/// Hosts that are named of those that need a root; the others are counted.
const NAMED: usize = 5;

pub struct ControllerService {
    pub store: SharedStore,
    pub clock: Arc<dyn Clock>,
    pub fleet: Fleet,
    pub engine: Engine,
    pub authority: Arc<Authority>,
    pub door: Door,
}

impl ControllerService {
    /// All roots that are believed, the one that signs first, each with who needs it.
    async fn roots(&self) -> Result<Vec<pb::Root>, Trouble> {
        let (roots, now) = (self.authority.roots(), self.clock.now_ms());
        let mut rows = vec![];
        for (at, root) in roots.iter().enumerate() {
            let oldest = at + 1 == roots.len();
            let users = keep::users(&self.store, &roots::id(&root.hash), oldest, now).await?;
            let mut row = pb::Root {
                sha256: hex(&root.hash),
                expires_ms: root.expires_ms,
                signs: at == 0,
                hosts: users.hosts.len() as u32,
                operators: users.operators,
                tokens: users.tokens.len() as u32,
                host_names: users.hosts,
            };
            row.host_names.truncate(NAMED);
            rows.push(row);
        }
        Ok(rows)
    }
}

fn coming(record: &Record) -> pb::Scheduled {
    let Header { id, app, env, target, start_at, .. } = &record.header;
    pb::Scheduled {
        rollout: id.to_string(),
        app: app.to_string(),
        version: target.version.to_string(),
        env: env.to_string(),
        by: record.started_by.clone(),
        at_ms: start_at.unwrap_or_default(),
    }
}

#[tonic::async_trait]
impl Controller for ControllerService {
    async fn status(&self, request: Request<pb::StatusRequest>) -> Result<Response<pb::StatusReply>, Status> {
        operator(&self.door, &request).await?;
        let hosts = self.store.list(&Prefix::hosts()).await.map_err(|e| refuse(e.into()))?;
        let scheduled = self.engine.scheduled().await.map_err(refuse)?;
        let notices = outbox::list(&self.store).await.map_err(refuse)?;
        Ok(Response::new(pb::StatusReply {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time_ms: self.clock.now_ms(),
            revision: hosts.revision.0,
            hosts: hosts.entries.len() as u32,
            connected: self.fleet.presence().connected_count() as u32,
            active_rollouts: self.engine.active_count() as u32,
            dead_notices: notices.iter().filter(|(notice, _)| notice.dead).count() as u32,
            waiting_notices: notices.iter().filter(|(notice, _)| !notice.dead).count() as u32,
            scheduled: scheduled.iter().map(coming).collect(),
            roots: self.roots().await.map_err(refuse)?,
        }))
    }
}
