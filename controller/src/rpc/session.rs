//! The `Session` service: one stream for as long as an agent lives.

use longshore_common::{code::Coded, tls::Peer, wire::from_status};
use longshore_proto::v1::{self as pb, session_server::Session};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use super::{Replies, agent, words};
use crate::{fleet::Fleet, identity::Door};

pub struct SessionService {
    pub fleet: Fleet,
    pub door: Door,
}

#[tonic::async_trait]
impl Session for SessionService {
    type OpenStream = Replies<pb::ToAgent>;

    async fn open(
        &self,
        request: Request<Streaming<pb::FromAgent>>,
    ) -> Result<Response<Self::OpenStream>, Status> {
        let agent = agent(&self.door, &request).await?;
        let address = request.extensions().get::<Peer>().expect("the agent was known by it").address;
        let inbound = request.into_inner().map(|message| match message {
            Ok(message) => words::from_agent(message).map_err(Coded::from),
            Err(status) => Err(from_status(&status)),
        });
        let outbound = self.fleet.open(agent.host, agent.key, agent.expires_ms, address, Box::pin(inbound));
        let replies = ReceiverStream::new(outbound).map(|message| Ok(words::to_agent(message)));
        Ok(Response::new(Box::pin(replies)))
    }
}
