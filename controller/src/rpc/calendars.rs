//! The `Calendars` service: windows, freezes, locks.

use std::sync::Arc;

use longshore_common::{
    code::{Code, Coded},
    ids::{AppName, EnvName},
    time::{Clock, Millis},
    wire::parse,
};
use longshore_proto::v1::{self as pb, calendars_server::Calendars};
use tonic::{Request, Response, Status};

use super::{invalid, operator, refuse};
use crate::{
    calendar::{Calendar, UnderWay, whole_seconds},
    environments::{
        self,
        freeze::{self, Frozen},
        lock::{self, Force, Locked, Scope},
    },
    identity::Door,
    notify::{Happening, Kind, outbox},
    store::SharedStore,
    trouble::Trouble,
};

const OPENINGS_DEFAULT: u32 = 5;
const OPENINGS_MAX: u32 = 50;
/// Bytes of a moment as people write it.
const MOMENT_BYTES: usize = 64;

pub struct CalendarsService {
    pub store: SharedStore,
    pub clock: Arc<dyn Clock>,
    pub door: Door,
}

impl CalendarsService {
    async fn show_at(&self, env: &EnvName, at: &str, openings: u32) -> Result<pb::Calendar, Trouble> {
        let calendar = freeze::calendar(&self.store, env).await?;
        let now = self.clock.now_ms();
        let at = moment(&calendar, at, now)?.unwrap_or(now);
        let locks = lock::list(&self.store, env).await?;
        let openings = if openings == 0 { OPENINGS_DEFAULT } else { openings.min(OPENINGS_MAX) };
        // One by hand stays on record when its time is over.
        let frozen = calendar.freezes.iter().filter(|freeze| !freeze.is_over(at.min(now)));
        let frozen = frozen.map(|freeze| pb::CalendarRule {
            name: freeze.name.clone(),
            times: calendar.say_times(&freeze.times),
            reason: freeze.reason.clone(),
            by: freeze.by.clone().unwrap_or_default(),
            holds: calendar.is_in(&freeze.times, at),
        });
        let windows = calendar.windows.iter().map(|window| pb::CalendarRule {
            name: window.name.clone(),
            times: window.times.to_string(),
            holds: calendar.is_in(&window.times, at),
            ..pb::CalendarRule::default()
        });
        // Beside the one that the moment is in, if it is in one.
        let found = calendar.openings(at, openings as usize + usize::from(calendar.is_open(at)));
        Ok(pb::Calendar {
            env: env.to_string(),
            zone: calendar.zone.iana_name().unwrap_or("UTC").to_owned(),
            at: Some(instant(&calendar, at)),
            open: calendar.is_open(at),
            reasons: calendar.reasons(at),
            changes: calendar.next_change(at).map(|change| instant(&calendar, change)),
            openings: found
                .into_iter()
                .map(|opening| pb::Opening {
                    from: Some(instant(&calendar, opening.from)),
                    until: opening.until.map(|until| instant(&calendar, until)),
                    windows: opening.windows,
                })
                .collect(),
            windows: windows.collect(),
            freezes: frozen.collect(),
            when_closed: match calendar.when_closed {
                UnderWay::Hold => "hold".to_owned(),
                UnderWay::Finish => "finish".to_owned(),
            },
            rollback: calendar.may_go_back(at),
            locks: locks.iter().map(|(scope, locked)| lock_row(scope, locked)).collect(),
        })
    }

    /// People are told; that they cannot be is no reason to undo what was done.
    async fn tell(&self, happening: Happening) {
        let now = self.clock.now_ms();
        if let Err(trouble) = outbox::tell(&self.store, &happening, now).await {
            tracing::error!(trouble = %longshore_common::chain::Chain(&trouble), "nobody was told");
        }
    }
}

/// By one rounding, on whichever clock it is read.
fn instant(calendar: &Calendar, at: Millis) -> pb::Instant {
    pb::Instant { ms: whole_seconds(at).saturating_mul(1000), local: calendar.say_moment(at) }
}

fn lock_row(scope: &Scope, locked: &Locked) -> pb::LockRow {
    pb::LockRow {
        env: scope.env.to_string(),
        app: scope.app.as_ref().map(ToString::to_string).unwrap_or_default(),
        by: locked.by.to_string(),
        reason: locked.reason.clone(),
        since_ms: locked.since_ms,
    }
}

fn moment(calendar: &Calendar, text: &str, now: Millis) -> Result<Option<Millis>, Coded> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() > MOMENT_BYTES {
        return Err(Coded::new(Code::V01, format!("a moment has at most {MOMENT_BYTES} bytes")));
    }
    calendar.moment(text, now).map(Some)
}

fn scope(env: &str, app: &str) -> Result<Scope, Status> {
    let env = parse("env", env).map_err(invalid)?;
    let app: Option<AppName> = match app {
        "" => None,
        app => Some(parse("app", app).map_err(invalid)?),
    };
    Ok(Scope { env, app })
}

/// What is told of a lock: of an app's with the app.
fn happening(kind: Kind, scope: &Scope, subject: String) -> Happening {
    Happening { app: scope.app.clone(), ..Happening::of_env(kind, &scope.env, subject) }
}

#[tonic::async_trait]
impl Calendars for CalendarsService {
    async fn show(
        &self,
        request: Request<pb::ShowCalendarRequest>,
    ) -> Result<Response<pb::Calendar>, Status> {
        operator(&self.door, &request).await?;
        let pb::ShowCalendarRequest { env, at, openings } = request.into_inner();
        let env = parse("env", &env).map_err(invalid)?;
        Ok(Response::new(self.show_at(&env, &at, openings).await.map_err(refuse)?))
    }

    async fn freeze(&self, request: Request<pb::FreezeRequest>) -> Result<Response<pb::Calendar>, Status> {
        let by = operator(&self.door, &request).await?;
        let pb::FreezeRequest { env, reason, from, until, no_rollback } = request.into_inner();
        let env: EnvName = parse("env", &env).map_err(invalid)?;
        let now = self.clock.now_ms();
        let (environment, _) = environments::load(&self.store, &env).await.map_err(refuse)?;
        let calendar = &environment.calendar;
        let read = |text: &str| moment(calendar, text, now).map_err(|why| refuse(why.into()));
        let frozen = Frozen {
            by: by.clone(),
            reason: reason.clone(),
            at_ms: now,
            from_ms: read(&from)?.unwrap_or(now),
            until_ms: read(&until)?,
            rollback: no_rollback.then_some(false),
        };
        let subject = match frozen.from_ms > now {
            true => {
                let from = calendar.say_moment(frozen.from_ms);
                format!("{env} will be frozen by {by} from {from}: {reason}")
            }
            false => format!("{env} is frozen by {by}: {reason}"),
        };
        freeze::freeze(&self.store, &env, frozen, now).await.map_err(refuse)?;
        self.tell(Happening::of_env(Kind::Frozen, &env, subject).by(&by).because(&reason)).await;
        Ok(Response::new(self.show_at(&env, "", 0).await.map_err(refuse)?))
    }

    async fn unfreeze(
        &self,
        request: Request<pb::UnfreezeRequest>,
    ) -> Result<Response<pb::Calendar>, Status> {
        let by = operator(&self.door, &request).await?;
        let pb::UnfreezeRequest { env, reason } = request.into_inner();
        let env: EnvName = parse("env", &env).map_err(invalid)?;
        freeze::unfreeze(&self.store, &env, self.clock.now_ms()).await.map_err(refuse)?;
        let subject = format!("{env} is no longer frozen ({by})");
        self.tell(Happening::of_env(Kind::Unfrozen, &env, subject).by(&by).because(&reason)).await;
        Ok(Response::new(self.show_at(&env, "", 0).await.map_err(refuse)?))
    }

    async fn lock(&self, request: Request<pb::LockRequest>) -> Result<Response<pb::LockRow>, Status> {
        let by = operator(&self.door, &request).await?;
        let pb::LockRequest { env, app, reason } = request.into_inner();
        let scope = scope(&env, &app)?;
        let locked = Locked { by: by.clone(), reason: reason.clone(), since_ms: self.clock.now_ms() };
        lock::lock(&self.store, &scope, locked.clone()).await.map_err(refuse)?;
        let subject = format!("{} is locked by {by}: {reason}", scope.name());
        self.tell(happening(Kind::Locked, &scope, subject).by(&by).because(&reason)).await;
        Ok(Response::new(lock_row(&scope, &locked)))
    }

    async fn unlock(&self, request: Request<pb::UnlockRequest>) -> Result<Response<pb::LockRow>, Status> {
        let by = operator(&self.door, &request).await?;
        let pb::UnlockRequest { env, app, force } = request.into_inner();
        let scope = scope(&env, &app)?;
        let force = if force { Force::Anybodys } else { Force::Own };
        let locked = lock::unlock(&self.store, &scope, &by, force).await.map_err(refuse)?;
        let subject = format!("{} is unlocked by {by}", scope.name());
        self.tell(happening(Kind::Unlocked, &scope, subject).by(&by)).await;
        Ok(Response::new(lock_row(&scope, &locked)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_the_same_on_every_clock() {
        let pb::Instant { ms, local } = instant(&Calendar::default(), 1_092);
        assert_eq!((ms, local.as_str()), (2_000, "Thu 1970-01-01 00:00:02 UTC"));
    }
}
