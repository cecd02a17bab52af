//! The calls of the local service: decode, ask, encode.

use std::pin::Pin;

use longshore_common::{
    code::{Code, Coded},
    ids::{AppName, Generation},
    slot::Slot,
    time::Millis,
    wire::to_status,
};
use longshore_proto::v1::{self as pb, local_server::Local};
use tokio::sync::{mpsc, watch};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use super::{
    Parts,
    access::{Admin, Readers, may_change, may_read},
    deploy, revert,
};
use crate::{
    host::{Follow, Sink},
    link::{Connection, app_state, hold_state, line},
    plan::{Hold, HoldKind, Seen},
    run::{Line, Standing, Works, failure_of},
    state::Row,
};

/// Rows of history, when the caller names no number.
const ROWS: u32 = 50;
/// Lines of a log, when the caller names no number, and at most.
const LINES: u32 = 100;
const LINES_MAX: u32 = 10_000;
/// Lines that wait for a slow reader; the app's log is not held up by one.
const BACKLOG: usize = 1024;
/// Characters of the reason for a hold.
const REASON_MAX: usize = 500;

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

pub(super) struct Service<W> {
    crew: W,
    connection: watch::Receiver<Connection>,
    readers: Readers,
    host_id: String,
    name: String,
    started_ms: Millis,
}

impl<W: Works> Service<W> {
    pub(super) fn new(parts: Parts<W>) -> Self {
        let Parts { crew, connection, readers, host_id, name, started_ms } = parts;
        Self { crew, connection, readers, host_id, name, started_ms }
    }

    fn known(&self, app: &str) -> Result<AppName, Status> {
        let app: AppName = app.parse().map_err(|e| to_status(&e))?;
        if self.crew.apps().contains(&app) { Ok(app) } else { Err(to_status(&self.crew.unknown(&app))) }
    }

    async fn set_hold(&self, hold: Option<Hold>, by: &Admin) -> Result<Response<pb::LocalHoldReply>, Status> {
        let changed = self.crew.set_hold(hold, &by.name).await;
        let changed = changed.map_err(|e| to_status(&e))?;
        if changed {
            let held = self.crew.hold().is_some();
            tracing::warn!(by = by.name, held, "the hold of this host has changed");
        }
        let (hold, way_out) = hold_now(&self.crew);
        Ok(Response::new(pb::LocalHoldReply { hold: Some(hold), changed, way_out }))
    }
}

#[tonic::async_trait]
impl<W: Works> Local for Service<W> {
    type LogsStream = Streamed<pb::LogLine>;
    type DeployStream = Streamed<pb::LocalStep>;
    type RevertStream = Streamed<pb::LocalStep>;

    async fn status(
        &self,
        request: Request<pb::LocalStatusRequest>,
    ) -> Result<Response<pb::LocalStatus>, Status> {
        may_read(&request, self.readers)?;
        let (apps, trust) = tokio::join!(local_apps(&self.crew), self.crew.trust());
        let connection = self.connection.borrow().clone();
        let (hold, hold_way_out) = hold_now(&self.crew);
        let helper = self.crew.helper();
        let is_away = helper.as_ref().is_some_and(String::is_empty);
        Ok(Response::new(pb::LocalStatus {
            host_id: self.host_id.clone(),
            name: self.name.clone(),
            agent_version: env!("CARGO_PKG_VERSION").into(),
            started_ms: self.started_ms,
            controller: connection.controller,
            connected: connection.connected,
            connection_since_ms: connection.since_ms,
            connection_error: connection.error,
            certificate_expires_ms: connection.certificate_expires_ms,
            certificate_renew_by_ms: connection.certificate_renew_by_ms,
            key: connection.fingerprint.clone(),
            hold: Some(hold),
            hold_way_out,
            apps,
            outbox: self.crew.outbox_len() as u32,
            trust: Some(trust),
            processes: if helper.is_some() { "two" } else { "one" }.to_owned(),
            helper_version: helper.unwrap_or_default(),
            labels_out_of_force: connection.labels_out_of_force,
            helper_away: if is_away { self.crew.away().to_string() } else { String::new() },
        }))
    }

    async fn history(
        &self,
        request: Request<pb::LocalHistoryRequest>,
    ) -> Result<Response<pb::LocalHistory>, Status> {
        may_read(&request, self.readers)?;
        let pb::LocalHistoryRequest { app, limit } = request.into_inner();
        let limit = if limit == 0 { ROWS } else { limit } as usize;
        let whose = match app.as_str() {
            "" => self.crew.apps().into_iter().map(Some).chain([None]).collect(),
            app => vec![Some(self.known(app)?)],
        };
        let mut rows = vec![];
        for app in whose {
            rows.extend(self.crew.history(app.as_ref(), limit).await.map_err(|e| to_status(&e))?);
        }
        rows.sort_by_key(|row| std::cmp::Reverse(row.time_ms));
        rows.truncate(limit);
        Ok(Response::new(pb::LocalHistory { rows: rows.into_iter().map(history_row).collect() }))
    }

    async fn logs(
        &self,
        request: Request<pb::LocalLogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        may_read(&request, self.readers)?;
        let pb::LocalLogsRequest { app, lines, follow } = request.into_inner();
        let app = self.known(&app)?;
        let lines = if lines == 0 && !follow { LINES } else { lines }.min(LINES_MAX) as usize;
        let follow = if follow { Follow::Yes } else { Follow::No };
        let (sender, receiver) = mpsc::channel(BACKLOG);
        tokio::spawn(read_log(self.crew.clone(), app, lines, follow, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn hold(
        &self,
        request: Request<pb::LocalHoldRequest>,
    ) -> Result<Response<pb::LocalHoldReply>, Status> {
        let admin = may_change(&request)?;
        let reason = request.into_inner().reason;
        if reason.trim().is_empty() || reason.chars().count() > REASON_MAX {
            let message = format!(
                "a hold needs a reason of 1-{REASON_MAX} characters: longshore-agent hold \"disk swap\""
            );
            return Err(to_status(&Coded::new(Code::V01, message)));
        }
        let since_ms = self.crew.now_ms();
        let hold = Hold {
            reason: reason.trim().to_owned(),
            by: admin.name.clone(),
            since_ms,
            kind: HoldKind::Admin,
        };
        self.set_hold(Some(hold), &admin).await
    }

    async fn unhold(
        &self,
        request: Request<pb::LocalUnholdRequest>,
    ) -> Result<Response<pb::LocalHoldReply>, Status> {
        let admin = may_change(&request)?;
        self.set_hold(None, &admin).await
    }

    async fn deploy(
        &self,
        request: Request<Streaming<pb::LocalDeployPiece>>,
    ) -> Result<Response<Self::DeployStream>, Status> {
        let admin = may_change(&request)?;
        let steps = deploy::begin(&self.crew, admin.name, request.into_inner()).await;
        let steps = steps.map_err(|e| to_status(&e))?;
        Ok(Response::new(Box::pin(steps)))
    }

    async fn revert(
        &self,
        request: Request<pb::LocalRevertRequest>,
    ) -> Result<Response<Self::RevertStream>, Status> {
        let admin = may_change(&request)?;
        let pb::LocalRevertRequest { app, slot } = request.into_inner();
        let app = self.known(&app)?;
        let slot: Option<Slot> = match slot.as_str() {
            "" => None,
            slot => Some(slot.parse().map_err(|e: Coded| to_status(&e))?),
        };
        let steps = revert::begin(&self.crew, &app, slot, admin.name).await.map_err(|e| to_status(&e))?;
        Ok(Response::new(Box::pin(steps)))
    }
}

/// What holds this host, and what lets it go.
fn hold_now<W: Works>(crew: &W) -> (pb::HoldState, String) {
    let hold = crew.hold();
    (hold_state(hold.as_ref()), hold.map(|hold| hold.way_out()).unwrap_or_default())
}

/// Ends when the log does, or when nobody reads any more.
async fn read_log<W: Works>(
    crew: W,
    app: AppName,
    lines: usize,
    follow: Follow,
    sender: mpsc::Sender<Result<pb::LogLine, Status>>,
) {
    let (named, lines_to) = (app.clone(), sender.clone());
    let sink = Sink::new(move |event| {
        if let Some(read) = Line::new(&named, Generation(0), event) {
            drop(lines_to.try_send(Ok(line(read)))); // a reader that is too slow misses some
        }
    });
    let read = tokio::select! {
        read = crew.logs(&app, lines, follow, &sink) => read,
        () = sender.closed() => return,
    };
    if let Err(failure) = read {
        let code = failure.code.parse().unwrap_or(Code::X01);
        drop(sender.send(Err(to_status(&Coded::new(code, failure.message)))).await);
    }
}

/// Side by side: what hangs costs its time once.
async fn local_apps<W: Works>(crew: &W) -> Vec<pb::LocalApp> {
    let apps = crew.apps();
    futures_util::future::join_all(apps.iter().map(|app| look(crew, app))).await
}

async fn look<W: Works>(crew: &W, app: &AppName) -> pb::LocalApp {
    local_app(app, &crew.standing(app).await)
}

fn local_app(app: &AppName, standing: &Standing) -> pb::LocalApp {
    let Standing { record, activity, seen } = standing;
    let nothing = Seen::default();
    let looked = seen.as_ref().unwrap_or(&nothing);
    let accepted = record.accepted.as_ref();
    let concluded = record.concluded.as_ref().and_then(|concluded| failure_of(&concluded.outcome));
    let failed = record.failed.as_ref().map(|failed| &failed.failure);
    let pending = accepted.filter(|a| looked.current.as_ref() != Some(&a.slot()) && record.is_busy());
    pb::LocalApp {
        state: Some(app_state(app, record, looked)),
        env: accepted.map(|assignment| assignment.env.to_string()).unwrap_or_default(),
        step: activity.step.map(|step| step.to_string()).unwrap_or_default(),
        step_detail: activity.detail.clone(),
        step_since_ms: activity.since_ms,
        step_deadline_ms: activity.deadline_ms,
        last_failure: seen.as_ref().err().or(failed).or(concluded).map(Into::into),
        pending: pending.map(|assignment| assignment.version.to_string()).unwrap_or_default(),
        main_process: looked.main().unwrap_or_default().to_owned(),
        unseen: seen.is_err(),
    }
}

fn history_row(row: Row) -> pb::HistoryRow {
    let Row { time_ms, app, generation, version, slot, event, code, detail, by } = row;
    pb::HistoryRow {
        time_ms,
        app: app.map(|app| app.to_string()).unwrap_or_default(),
        generation: generation.0,
        version,
        slot: slot.map(|slot| slot.to_string()).unwrap_or_default(),
        event: event.as_str().into(),
        detail,
        by,
        code,
    }
}
