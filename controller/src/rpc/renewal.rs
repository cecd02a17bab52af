//! The `Renewal` service: a certificate for a host's next key, over a connection that shows its present one.

use std::sync::Arc;

use longshore_proto::v1::{self as pb, renewal_server::Renewal};
use tonic::{Request, Response, Status};

use super::{agent, coded, enrolment::Reply, refuse};
use crate::identity::{
    Door,
    enrol::{AskedKey, Enrolment},
};

pub struct RenewalService {
    pub enrolment: Arc<Enrolment>,
    pub reply: Reply,
    pub door: Door,
}

#[tonic::async_trait]
impl Renewal for RenewalService {
    async fn renew(&self, request: Request<pb::RenewRequest>) -> Result<Response<pb::Certificate>, Status> {
        let agent = agent(&self.door, &request).await?;
        let key = AskedKey::from_csr(&request.into_inner().csr_der).map_err(coded)?;
        let enrolled = self.enrolment.renew(agent.host.id, agent.key, &key).await.map_err(refuse)?;
        let (actor, key) = (format!("host {}", enrolled.host.name), enrolled.host.fingerprint());
        self.door.note(&actor, "a new key", &key).await.map_err(refuse)?;
        Ok(Response::new(self.reply.certificate(enrolled)))
    }
}
