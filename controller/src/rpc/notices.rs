//! The `Notices` service: what is still to be told, and what could not be.

use std::{sync::Arc, time::Duration};

use longshore_common::{code::Code, ids::EnvName, time::Clock, wire::parse};
use longshore_proto::v1::{self as pb, notices_server::Notices};
use tonic::{Request, Response, Status};

use super::{invalid, operator, refuse};
use crate::{
    identity::Door,
    notify::{Happening, Kind, Notice, outbox},
    store::SharedStore,
    trouble::Trouble,
};

/// How long a test waits for its first attempts, and how often it looks.
const TEST: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(100);

pub struct NoticesService {
    pub store: SharedStore,
    pub clock: Arc<dyn Clock>,
    pub door: Door,
}

fn row(notice: &Notice) -> pb::NoticeRow {
    pb::NoticeRow {
        id: notice.id.to_string(),
        kind: notice.kind.as_str().to_owned(),
        env: notice.env.to_string(),
        teller: notice.teller.clone(),
        address: notice.address.to_string(),
        subject: notice.subject.clone(),
        state: if notice.dead { "dead".to_owned() } else { "waiting".to_owned() },
        attempts: notice.attempts,
        error: notice.error.clone(),
        made_ms: notice.made_ms,
        next_ms: if notice.dead { 0 } else { notice.next_ms },
    }
}

impl NoticesService {
    /// Each as it stands once it was tried, or told.
    async fn tried(&self, made: Vec<Notice>) -> Result<Vec<pb::NoticeRow>, Trouble> {
        let until = tokio::time::Instant::now() + TEST;
        loop {
            let known = outbox::list(&self.store).await?;
            let now_as = |notice: &Notice| known.iter().find(|(known, _)| known.id == notice.id);
            let waits =
                |notice: &&Notice| now_as(notice).is_some_and(|(now, _)| now.attempts == 0 && !now.dead);
            if !made.iter().any(|notice| waits(&notice)) || tokio::time::Instant::now() >= until {
                let rows = made.iter().map(|notice| match now_as(notice) {
                    Some((now, _)) => row(now),
                    None => {
                        pb::NoticeRow { state: "told".to_owned(), attempts: 1, next_ms: 0, ..row(notice) }
                    }
                });
                return Ok(rows.collect());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

#[tonic::async_trait]
impl Notices for NoticesService {
    async fn list(
        &self,
        request: Request<pb::ListNoticesRequest>,
    ) -> Result<Response<pb::ListNoticesReply>, Status> {
        operator(&self.door, &request).await?;
        let dead = request.into_inner().dead;
        let known = outbox::list(&self.store).await.map_err(refuse)?;
        let wanted = known.iter().filter(|(notice, _)| !dead || notice.dead);
        Ok(Response::new(pb::ListNoticesReply { notices: wanted.map(|(notice, _)| row(notice)).collect() }))
    }

    async fn retry(
        &self,
        request: Request<pb::RetryNoticesRequest>,
    ) -> Result<Response<pb::ListNoticesReply>, Status> {
        operator(&self.door, &request).await?;
        let ids = request.into_inner().ids;
        let retried = outbox::retry(&self.store, &ids, self.clock.now_ms()).await.map_err(refuse)?;
        Ok(Response::new(pb::ListNoticesReply { notices: retried.iter().map(row).collect() }))
    }

    async fn test(
        &self,
        request: Request<pb::TestNoticeRequest>,
    ) -> Result<Response<pb::ListNoticesReply>, Status> {
        let by = operator(&self.door, &request).await?;
        let pb::TestNoticeRequest { env, teller } = request.into_inner();
        let env: EnvName = parse("env", &env).map_err(invalid)?;
        let subject = format!("{by} tries whether you hear of {env}");
        let happening = Happening::of_env(Kind::Test, &env, subject).by(&by);
        let teller = (!teller.is_empty()).then_some(teller);
        let now = self.clock.now_ms();
        let made =
            outbox::tell_some(&self.store, &happening, teller.as_deref(), now).await.map_err(refuse)?;
        if made.is_empty() {
            let whom = teller.map_or("nobody".to_owned(), |teller| format!("no \"{teller}\""));
            let message = format!("{env} tells {whom}: give its file [[stakeholders.tell]]");
            return Err(refuse(Trouble::refused(Code::N01, message)));
        }
        let notices = self.tried(made).await.map_err(refuse)?;
        Ok(Response::new(pb::ListNoticesReply { notices }))
    }
}
