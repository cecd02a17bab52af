//! The `Rollouts` service.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use longshore_common::{
    chain::Chain,
    code::{Code, Coded},
    ids::{AppName, EnvName, HostId, RolloutId},
    wire::parse,
};
use longshore_proto::v1::{
    self as pb, rollout_update::Update, rollouts_server::Rollouts, steer_request::Act as Steer,
};
use tokio::{
    sync::{broadcast, mpsc},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    Replies,
    about::About,
    admitted, admitted_about, coded, invalid, logs, operator, plans, refuse, rollout_rows,
    scope::{Act, by_plan},
    sides, wanted_name, words,
};
use crate::{
    approval::Answer,
    engine::{Engine, StartRequest, View},
    fleet::{
        Fleet,
        words::{Live, LiveLine},
    },
    identity::{Admission, Door},
    plan::Plan,
    prepare::{Begin, Planner, What, refused_on_the_way_back},
    rollout::{Event, Promote},
    store::{Key, SharedStore, WatchEvent},
    trouble::Trouble,
    trust::TrustCheck,
};

/// Updates that wait for one watcher.
const UPDATES: usize = 256;
const LIST_DEFAULT: usize = 50;
/// For a rollout to begin with whatever it begins with.
const BEGINNING: Duration = Duration::from_secs(2);
/// Bytes of a reason for steering, which stands in every sentence that says who did it.
const STEER_REASON_BYTES: usize = 200;
/// Bytes of a reason that an operator gives.
const REASON_BYTES: usize = 1024;
/// Overrides of one start; there are fewer preconditions.
const OVERRIDES_MAX: usize = 64;

pub struct RolloutsService {
    pub store: SharedStore,
    pub engine: Engine,
    pub planner: Planner,
    pub fleet: Fleet,
    pub check: TrustCheck,
    pub door: Door,
}

impl RolloutsService {
    async fn view(&self, text: &str) -> Result<View, Status> {
        let id = self.engine.find(text).await.map_err(refuse)?;
        self.engine.view(&id).await.map_err(refuse)
    }

    /// Who calls, if they may touch what the rollout moves.
    async fn admitted_to<T: Act>(
        &self,
        request: &Request<T>,
        rollout: &str,
    ) -> Result<(Admission, RolloutId), Status> {
        let id = self.engine.find_to_steer(rollout).await;
        let header = match &id {
            Ok(id) => self.engine.header(id).await.map_err(refuse)?,
            Err(_) => None,
        };
        let about = header.map(|header| About::moving(&header.app, &header.target.version, &header.env));
        let admission = admitted_about(&self.door, request, about).await?;
        Ok((admission, id.map_err(refuse)?))
    }

    /// What `latest` or a part of an id means now. In a moment that may be another: the record, and a second person,
    /// are told which. What means nothing is refused when the caller is known.
    async fn meant(&self, rollout: &str) -> String {
        match self.engine.find_to_steer(rollout).await {
            Ok(id) => id.to_string(),
            Err(_) => rollout.to_owned(),
        }
    }

    /// Who calls, if they may touch what the plan moves; and what that is.
    async fn admitted_to_plan<T: Act>(
        &self,
        request: &Request<T>,
        plan: &str,
    ) -> Result<(Admission, Plan), Status> {
        let plan = self.planner.find(plan).await;
        let about = plan.as_ref().ok().map(|plan| About::moving(&plan.app, &plan.to.version, &plan.env));
        let admission = admitted_about(&self.door, request, about).await?;
        Ok((admission, plan.map_err(refuse)?))
    }

    async fn message(&self, id: &RolloutId) -> Result<Response<pb::Rollout>, Status> {
        let view = self.engine.view(id).await.map_err(refuse)?;
        Ok(Response::new(rollout_rows::whole(&view)))
    }

    /// Hosts of the rollout by id or name.
    async fn hosts(&self, id: &RolloutId, texts: &[String]) -> Result<BTreeSet<HostId>, Trouble> {
        let view = self.engine.view(id).await?;
        let find = |text: &String| {
            let fits = |(id, name): &(HostId, &str)| name == text || id.to_string() == *text;
            let hosts = view.rollout.hosts.iter().map(|(id, host)| (*id, host.name.as_str()));
            hosts.clone().find(fits).map(|(id, _)| id).ok_or_else(|| {
                let shown = longshore_common::text::visible(text);
                Trouble::refused(
                    Code::N01,
                    format!(
                        "host {shown} is not of this rollout. See: longshore rollout show {}",
                        id.short()
                    ),
                )
            })
        };
        texts.iter().map(find).collect()
    }
}

fn promote(by: &str, reason: &str, full: bool) -> Event {
    let reason = longshore_common::text::visible(&longshore_common::wire::cut(reason, REASON_BYTES));
    Event::Promote(Promote { by: by.to_owned(), reason, full })
}

/// What an operator wants started: the way back, which asks nobody first, or a way forward by a plan.
enum Wanted {
    Back(StartRequest),
    Forward(Begin),
}

fn read_start(
    request: pb::StartRolloutRequest,
    by: longshore_common::ids::OperatorName,
) -> Result<Wanted, Status> {
    let pb::StartRolloutRequest { app, version, env, request_id, reason, rollback, plan, overrides, at } =
        request;
    if rollback && !plan.is_empty() {
        let message =
            "the way back follows no plan: say the app and the environment alone. Nothing was started";
        return Err(coded(Coded::new(Code::V01, message)));
    }
    let at = longshore_common::wire::cut(&at, REASON_BYTES);
    let request_id = Uuid::try_parse(&request_id)
        .map_err(|_| coded(Coded::new(Code::V01, "request_id must be a UUID, made anew for each rollout")))?;
    let reason = longshore_common::wire::cut(&reason, REASON_BYTES);
    if !rollback {
        let what = match plan.is_empty() {
            true => What::Wish(plans::wish(&app, &version, &env)?),
            false => What::Plan(plan),
        };
        let overrides = overrides.into_iter().take(OVERRIDES_MAX).map(|given| (given.name, given.reason));
        return Ok(Wanted::Forward(Begin {
            what,
            request_id,
            by,
            reason,
            at,
            overrides: overrides.collect(),
        }));
    }
    Ok(Wanted::Back(StartRequest {
        app: parse("app", &app).map_err(invalid)?,
        version: if version.is_empty() { None } else { Some(parse("version", &version).map_err(invalid)?) },
        env: parse("env", &env).map_err(invalid)?,
        request_id,
        by,
        reason,
        rollback,
        refused: BTreeMap::new(),
        ticket: None,
        newcomers: BTreeSet::new(),
        at,
    }))
}

#[tonic::async_trait]
impl Rollouts for RolloutsService {
    type WatchStream = Replies<pb::RolloutUpdate>;

    async fn start(
        &self,
        mut request: Request<pb::StartRolloutRequest>,
    ) -> Result<Response<pb::Rollout>, Status> {
        if request.get_ref().plan == "latest"
            && let Ok(plan) = self.planner.find("latest").await
        {
            // In a moment that may be another: the record, and a second person, are told which.
            request.get_mut().plan = plan.digest.hex();
        }
        let named = request.get_ref();
        let (admission, plan) = match by_plan(named) {
            true => {
                let (admission, plan) = self.admitted_to_plan(&request, &named.plan).await?;
                (admission, Some(plan))
            }
            false => (admitted(&self.door, &request).await?, None),
        };
        let by = admission.name().clone();
        let id = match read_start(request.into_inner(), by)? {
            Wanted::Back(mut request) => {
                if let Some(version) = &request.version {
                    self.check.check(&request.app, version).await.map_err(refuse)?;
                }
                let before = self.engine.lived_before(&request.env, &request.app).await.map_err(refuse)?;
                let refused = refused_on_the_way_back(&self.check, &request.app, &before).await;
                request.refused = refused.map_err(refuse)?;
                self.engine.start(request).await
            }
            Wanted::Forward(mut begin) => {
                if let What::Wish(wish) = &begin.what {
                    self.check.check(&wish.app, &wish.version).await.map_err(refuse)?;
                }
                if let Some(plan) = plan {
                    self.check.check(&plan.app, &plan.to.version).await.map_err(refuse)?;
                    begin.what = What::Plan(plan.digest.hex()); // what was admitted, whatever is the latest by now
                }
                self.planner.begin(begin).await
            }
        };
        let id = id.map_err(refuse)?;
        // Answered after what it begins with, so that whoever started it is told what it waits for.
        drop(tokio::time::timeout(BEGINNING, self.engine.steer(id, Event::Tick)).await);
        self.message(&id).await
    }

    async fn list(
        &self,
        request: Request<pb::ListRolloutsRequest>,
    ) -> Result<Response<pb::ListRolloutsReply>, Status> {
        operator(&self.door, &request).await?;
        let pb::ListRolloutsRequest { app, env, active_only, limit } = request.into_inner();
        wanted_name::<AppName>("app", &app)?;
        wanted_name::<EnvName>("env", &env)?;
        let limit = if limit == 0 { LIST_DEFAULT } else { limit as usize };
        let records = self.engine.records().await.map_err(refuse)?;
        let wanted = records.iter().filter(|record| {
            let header = &record.header;
            (app.is_empty() || header.app.as_str() == app)
                && (env.is_empty() || header.env.as_str() == env)
                && !(active_only && header.phase.is_done())
        });
        let rollouts = wanted.take(limit).map(rollout_rows::brief).collect();
        Ok(Response::new(pb::ListRolloutsReply { rollouts }))
    }

    async fn show(&self, request: Request<pb::ShowRolloutRequest>) -> Result<Response<pb::Rollout>, Status> {
        operator(&self.door, &request).await?;
        let view = self.view(&request.into_inner().rollout).await?;
        let mut message = rollout_rows::whole(&view);
        sides::add(&self.planner, &self.fleet, &view, &mut message).await.map_err(refuse)?;
        Ok(Response::new(message))
    }

    async fn watch(
        &self,
        request: Request<pb::ShowRolloutRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        operator(&self.door, &request).await?;
        let id = self.engine.find(&request.into_inner().rollout).await.map_err(refuse)?;
        let (updates, receiver) = mpsc::channel(UPDATES);
        let watcher =
            Watcher { store: self.store.clone(), engine: self.engine.clone(), id, updates: updates.clone() };
        let live = self.fleet.watch_live();
        tokio::spawn(async move {
            if let Err(trouble) = watcher.run(live).await {
                tracing::debug!(rollout = %id, trouble = %Chain(&trouble), "a watch ended");
                drop(updates.send(Err(refuse(trouble))).await); // nobody may be listening any more
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn explain(
        &self,
        request: Request<pb::ShowRolloutRequest>,
    ) -> Result<Response<pb::ExplainReply>, Status> {
        operator(&self.door, &request).await?;
        let view = self.view(&request.into_inner().rollout).await?;
        Ok(Response::new(rollout_rows::explained(&view)))
    }

    async fn steer(&self, mut request: Request<pb::SteerRequest>) -> Result<Response<pb::Rollout>, Status> {
        request.get_mut().rollout = self.meant(&request.get_ref().rollout).await;
        let (admission, id) = self.admitted_to(&request, &request.get_ref().rollout).await?;
        let pb::SteerRequest { rollout: _, reason, act } = request.into_inner();
        let act = act.ok_or_else(|| coded(Coded::new(Code::V01, "steer.act is missing")))?;
        let reason = longshore_common::wire::cut(reason.trim(), STEER_REASON_BYTES);
        let name = admission.name();
        let by = if reason.is_empty() { name.to_string() } else { format!("{name} ({reason})") };
        let event = match act {
            Steer::Pause(pb::Nothing {}) => Event::Pause { by: by.clone() },
            Steer::Resume(pb::Nothing {}) => Event::Resume,
            Steer::Promote(pb::Nothing {}) => promote(name.as_str(), &reason, false),
            Steer::PromoteFully(pb::Nothing {}) => promote(name.as_str(), &reason, true),
            Steer::Abort(pb::Nothing {}) => Event::Abort { by: by.clone() },
            Steer::Rollback(pb::Nothing {}) => Event::Rollback { by: by.clone() },
            Steer::Retry(pb::RetryHosts { hosts }) => {
                Event::Retry(self.hosts(&id, &hosts).await.map_err(refuse)?)
            }
            Steer::Pace(pace) => Event::Pace(words::pace(pace).map_err(coded)?),
            Steer::Exclude(pb::ExcludeHosts { hosts }) => {
                Event::Exclude(self.hosts(&id, &hosts).await.map_err(refuse)?)
            }
        };
        let act = event.as_str();
        let unchanged = self.engine.changes_nothing(&id, &event).await.map_err(refuse)?;
        self.engine.steer(id, event).await.map_err(refuse)?;
        tracing::info!(rollout = %id, act, unchanged, by = %longshore_common::text::visible(&by), "steered");
        let rollout = self.message(&id).await?.into_inner();
        Ok(Response::new(pb::Rollout { unchanged, ..rollout }))
    }

    async fn open_gate(
        &self,
        mut request: Request<pb::OpenGateRequest>,
    ) -> Result<Response<pb::Rollout>, Status> {
        request.get_mut().rollout = self.meant(&request.get_ref().rollout).await;
        let (admission, id) = self.admitted_to(&request, &request.get_ref().rollout).await?;
        let pb::OpenGateRequest { rollout: _, gate, denied, reason } = request.into_inner();
        let answer = if denied { Answer::Denied } else { Answer::Approved };
        let reason = longshore_common::wire::cut(reason.trim(), REASON_BYTES);
        let reason = longshore_common::text::visible(&reason);
        self.engine.answer_gate(id, &gate, admission.name(), answer, reason).await.map_err(refuse)?;
        self.message(&id).await
    }
}

/// One watcher of one rollout.
struct Watcher {
    store: SharedStore,
    engine: Engine,
    id: RolloutId,
    updates: mpsc::Sender<Result<pb::RolloutUpdate, Status>>,
}

fn stale_at(view: &View) -> Option<Instant> {
    view.stale_in.map(|within| Instant::now() + within)
}

async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Why a watch goes no further, without anything being wrong.
struct Over;

impl Watcher {
    /// The rollout now, then every change of it with what its hosts say, until it is over or nobody watches.
    async fn run(self, mut live: broadcast::Receiver<LiveLine>) -> Result<(), Trouble> {
        let stop = self.engine.stopping();
        loop {
            let mut view = self.engine.view(&self.id).await?;
            // Of the header's own revision: a change between the two reads is seen again, never missed.
            let key = Key::rollout(&self.id);
            let prefix = key.prefixes().last().expect("a key lies below a prefix");
            let mut changes = self.store.watch(&prefix, view.revision).await?;
            if self.show(&view).await.is_err() {
                return Ok(());
            }
            let mut stale = stale_at(&view);
            loop {
                let over = tokio::select! {
                    () = self.updates.closed() => return Ok(()),
                    () = stop.cancelled() => return Err(Trouble::Stopping),
                    change = changes.next() => match change {
                        Some(WatchEvent::Changes(changes)) if changes.changes.iter().all(|c| *c.key() != key) => Ok(()),
                        Some(WatchEvent::Changes(_)) => {
                            view = self.engine.view(&self.id).await?;
                            stale = stale_at(&view);
                            self.show(&view).await
                        }
                        Some(WatchEvent::Gap) | None => break,
                    },
                    line = live.recv() => self.pass(&view, line).await,
                    () = reached(stale) => {
                        let before = std::mem::replace(&mut view, self.engine.view(&self.id).await?);
                        stale = stale_at(&view);
                        if before.holds == view.holds { Ok(()) } else { self.show(&view).await }
                    }
                };
                if over.is_err() {
                    return Ok(());
                }
            }
        }
    }

    async fn show(&self, view: &View) -> Result<(), Over> {
        self.send(Update::Rollout(rollout_rows::whole(view))).await?;
        if view.rollout.phase().is_done() { Err(Over) } else { Ok(()) }
    }

    /// What a host of this rollout does for it.
    async fn pass(
        &self,
        view: &View,
        line: Result<LiveLine, broadcast::error::RecvError>,
    ) -> Result<(), Over> {
        let header = &view.rollout.header;
        let LiveLine { host, name, what } = match line {
            Ok(line) if view.rollout.hosts.contains_key(&line.host) => line,
            // Lost lines are lost; what counts is in the rollout.
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return Ok(()),
            Err(broadcast::error::RecvError::Closed) => return Err(Over),
        };
        let of_this =
            |generation: longshore_common::ids::Generation| generation.sequence() == header.sequence;
        match what {
            Live::Progress(progress) if progress.app == header.app && of_this(progress.generation) => {
                let progress = Some(words::progress_message(progress));
                let (host, name) = (host.to_string(), name.to_string());
                self.send(Update::Progress(pb::HostProgress { host, name, progress })).await
            }
            Live::Log(line) if line.app == header.app.as_str() && of_this(line.generation) => {
                self.send(Update::Log(logs::row(&host, name.as_str(), line))).await
            }
            Live::Progress(_) | Live::Log(_) => Ok(()),
        }
    }

    async fn send(&self, update: Update) -> Result<(), Over> {
        self.updates.send(Ok(pb::RolloutUpdate { update: Some(update) })).await.map_err(|_| Over)
    }
}
