//! systemd over the system bus: units, jobs and properties, with a deadline on everything.
//!
//! A connection is opened for a piece of work and closed soon after it. An idle agent then holds none, and a bus that
//! was restarted is no special case. Of a unit only those properties are asked for that somebody reads: all of them are
//! hundreds, for some of which systemd reads control groups and unit folders.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, future::try_join_all};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::timeout;
use zbus::{
    Connection, DynamicType, MatchRule, Message, MessageStream, ObjectPath, OwnedObjectPath, OwnedVariant,
    Type, message,
};

const SYSTEMD: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
/// When a service's process was started, by the time of day and by the boot's own clock.
const STARTED: &str = "ExecMainStartTimestamp";
const STARTED_MONOTONIC: &str = "ExecMainStartTimestampMonotonic";
/// When systemd last set out to start a unit, by the time of day.
const BEGUN: &str = "InactiveExitTimestamp";
/// A connection serves what follows shortly: one deployment asks systemd a dozen times within a second.
const KEPT: Duration = Duration::from_secs(2);
/// For an answer; a reload of very many units takes seconds.
const CALL_DEADLINE: Duration = Duration::from_secs(60);
/// Jobs that end between two looks of ours.
const JOBS_QUEUED: NonZeroUsize = NonZeroUsize::new(256).expect("not 0");

#[derive(Clone, Debug, thiserror::Error)]
pub enum BusError {
    #[error("systemd did not answer {what} within {} s", .within.as_secs())]
    Late { what: String, within: Duration },
    #[error("{what}: {why}")]
    Refused { what: String, name: String, why: String },
    #[error("talk to systemd over D-Bus: {0}")]
    Broken(String),
}

impl BusError {
    fn is(&self, name: &str) -> bool {
        matches!(self, BusError::Refused { name: refused, .. } if refused.ends_with(name))
    }
}

impl From<zbus::Error> for BusError {
    fn from(error: zbus::Error) -> Self {
        BusError::Broken(error.to_string())
    }
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobResult {
    Done,
    Failed,
    TimedOut,
    /// Another job took its place, or it was not applicable.
    Replaced,
}

/// How to reach systemd. Cheap to keep.
#[derive(Clone, Debug, Default)]
pub struct Bus {
    kept: Arc<Mutex<Option<Connection>>>,
}

impl Bus {
    pub async fn open(&self) -> Result<Manager, BusError> {
        if let Some(connection) = self.kept().clone() {
            return Ok(Manager { connection });
        }
        let late = |_| BusError::Late { what: "a connection".into(), within: CALL_DEADLINE };
        let connection = timeout(CALL_DEADLINE, Connection::system()).await.map_err(late)??;
        *self.kept() = Some(connection.clone());
        let kept = Arc::clone(&self.kept);
        tokio::spawn(async move {
            tokio::time::sleep(KEPT).await;
            // Whoever works with it holds it on.
            *kept.lock().expect("no holder panics") = None;
        });
        Ok(Manager { connection })
    }

    fn kept(&self) -> MutexGuard<'_, Option<Connection>> {
        self.kept.lock().expect("no holder panics")
    }
}

pub struct Manager {
    connection: Connection,
}

pub type Properties = HashMap<String, OwnedVariant>;

impl Manager {
    pub async fn reload(&self) -> Result<(), BusError> {
        self.call("Reload", &()).await
    }

    /// So that earlier failures count neither for the start limit nor as restarts.
    pub async fn reset_failed(&self, unit: &str) -> Result<(), BusError> {
        ignore_unknown(self.call("ResetFailedUnit", &(unit,)).await)
    }

    /// Started by the next boot.
    pub async fn enable(&self, units: &[&str]) -> Result<(), BusError> {
        let reply: Result<Ignored, _> =
            self.raw("EnableUnitFiles", &(units, false, true)).await.map(|_| Ignored);
        reply.map(drop)
    }

    pub async fn disable(&self, units: &[&str]) -> Result<(), BusError> {
        let reply: Result<Ignored, _> = self.raw("DisableUnitFiles", &(units, false)).await.map(|_| Ignored);
        ignore_unknown(reply.map(drop))
    }

    pub async fn start(&self, unit: &str, within: Duration) -> Result<JobResult, BusError> {
        self.job("StartUnit", &(unit, "replace"), within).await
    }

    pub async fn restart(&self, unit: &str, within: Duration) -> Result<JobResult, BusError> {
        self.job("RestartUnit", &(unit, "replace"), within).await
    }

    /// That there is no such unit is as good.
    pub async fn stop(&self, unit: &str, within: Duration) -> Result<JobResult, BusError> {
        match self.job("StopUnit", &(unit, "replace"), within).await {
            Err(error) if error.is("NoSuchUnit") => Ok(JobResult::Done),
            result => result,
        }
    }

    /// Asks for a job and waits for its end. Whoever waits hears of jobs from before the call on, so none is missed.
    ///
    /// systemd tells the end of a job to whoever asked for it (`bus_track` in its `job.c`), also without `Subscribe`, which
    /// would make it tell every change of every unit to everybody who listens.
    pub async fn job<B>(&self, method: &str, body: &B, within: Duration) -> Result<JobResult, BusError>
    where
        B: Serialize + DynamicType,
    {
        let rule = MatchRule::builder()
            .msg_type(message::Type::Signal)
            .sender(SYSTEMD)
            .path(PATH)
            .interface(MANAGER)
            .member("JobRemoved")
            .build()?;
        let mut removed = MessageStream::for_match_rule(rule, &self.connection, Some(JOBS_QUEUED)).await?;
        let job: OwnedObjectPath = self.call(method, body).await?;
        let ended = async {
            while let Some(signal) = removed.next().await {
                let signal = signal?;
                let body = signal.body();
                let (_, path, _, result): (u32, ObjectPath<'_>, String, String) = body.deserialize()?;
                if path == *job {
                    return Ok(job_result(&result));
                }
            }
            Err(BusError::Broken("the bus closed the connection".into()))
        };
        let late = |_| BusError::Late { what: format!("with the end of {method}"), within };
        timeout(within, ended).await.map_err(late)?
    }

    /// How a service stands. Also one that is not loaded or does not exist. How it ended last is asked for only where it
    /// is not active, and then all of it anew, at one time: each question costs both sides, and nearly all of them are
    /// asked of a service that runs.
    pub async fn state(&self, service: &str) -> Result<Properties, BusError> {
        let of_unit = ["ActiveState", "SubState"].map(|name| (UNIT, name));
        let of_service = ["WorkingDirectory", "MainPID", STARTED, STARTED_MONOTONIC, "NRestarts"];
        let running = of_unit.into_iter().chain(of_service.map(|name| (SERVICE, name)));
        let state = self.properties(service, running.clone()).await?;
        if text(&state, "ActiveState") == "active" {
            return Ok(state);
        }
        let ended = ["ExecMainCode", "ExecMainStatus", "Result"].map(|name| (SERVICE, name));
        self.properties(service, running.chain(ended)).await
    }

    /// From where a service runs, and since when.
    pub async fn origin(&self, service: &str) -> Result<Properties, BusError> {
        let names = ["WorkingDirectory", "MainPID", STARTED, STARTED_MONOTONIC];
        self.properties(service, names.map(|name| (SERVICE, name))).await
    }

    /// When the last start of a unit began, in µs by the time of day, also one that failed. 0: none since the boot that
    /// systemd knows of.
    pub async fn begun_us(&self, unit: &str) -> Result<u64, BusError> {
        Ok(number(&self.properties(unit, [(UNIT, BEGUN)]).await?, BEGUN))
    }

    /// How what systemd knows of a unit stands to what lies on the disk.
    pub async fn loaded(&self, unit: &str) -> Result<Properties, BusError> {
        let names = ["NeedDaemonReload", "LoadState", "UnitFileState"];
        self.properties(unit, names.map(|name| (UNIT, name))).await
    }

    pub async fn is_active(&self, unit: &str) -> Result<bool, BusError> {
        let properties = self.properties(unit, [(UNIT, "ActiveState")]).await?;
        Ok(text(&properties, "ActiveState") == "active")
    }

    /// All of them are asked for before the first answer is waited for.
    async fn properties(
        &self,
        unit: &str,
        wanted: impl IntoIterator<Item = (&str, &'static str)>,
    ) -> Result<Properties, BusError> {
        let path = ObjectPath::try_from(unit_path(unit))?;
        let path = &path;
        let answers = wanted.into_iter().map(async |(interface, name)| {
            let body = (interface, name);
            let call = self.connection.call_method(Some(SYSTEMD), path, Some(PROPERTIES), "Get", &body);
            let value: OwnedVariant = answered("Get", call).await?.body().deserialize()?;
            Ok::<_, BusError>((name.to_owned(), value))
        });
        Ok(try_join_all(answers).await?.into_iter().collect())
    }

    /// Waits until the unit neither runs nor changes.
    pub async fn until_inactive(&self, unit: &str, within: Duration) -> Result<Properties, BusError> {
        let begun = Instant::now();
        loop {
            let properties = self.state(unit).await?;
            let state = text(&properties, "ActiveState");
            if matches!(state.as_str(), "inactive" | "failed") {
                return Ok(properties);
            }
            if begun.elapsed() > within {
                return Err(BusError::Late { what: format!("with the end of {unit}"), within });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A reference keeps an ended unit's properties readable.
    pub async fn unreference(&self, unit: &str) -> Result<(), BusError> {
        ignore_unknown(self.call("UnrefUnit", &(unit,)).await)
    }

    async fn call<B, R>(&self, method: &str, body: &B) -> Result<R, BusError>
    where
        B: Serialize + DynamicType,
        R: DeserializeOwned + Type,
    {
        let reply = self.raw(method, body).await?;
        Ok(reply.body().deserialize()?)
    }

    async fn raw<B>(&self, method: &str, body: &B) -> Result<Message, BusError>
    where
        B: Serialize + DynamicType,
    {
        let call = self.connection.call_method(Some(SYSTEMD), PATH, Some(MANAGER), method, body);
        answered(method, call).await
    }
}

struct Ignored;

/// systemd's object of a unit: everything but letters and digits as a number. It need not be loaded.
fn unit_path(unit: &str) -> String {
    let mut path = format!("{PATH}/unit/");
    for (place, byte) in unit.bytes().enumerate() {
        match byte {
            b'0'..=b'9' if place > 0 => path.push(byte.into()),
            b'a'..=b'z' | b'A'..=b'Z' => path.push(byte.into()),
            _ => path.push_str(&format!("_{byte:02x}")),
        }
    }
    path
}

async fn answered(
    method: &str,
    call: impl Future<Output = zbus::Result<Message>>,
) -> Result<Message, BusError> {
    let what = || method.to_owned();
    match timeout(CALL_DEADLINE, call).await {
        Ok(Ok(message)) => Ok(message),
        Ok(Err(zbus::Error::MethodError(name, why, _))) => Err(BusError::Refused {
            what: what(),
            why: why.unwrap_or_else(|| name.to_string()),
            name: name.to_string(),
        }),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(BusError::Late { what: what(), within: CALL_DEADLINE }),
    }
}

fn ignore_unknown(result: Result<(), BusError>) -> Result<(), BusError> {
    match result {
        Err(error) if error.is("NoSuchUnit") || error.is("NotReferenced") => Ok(()),
        result => result,
    }
}

fn job_result(word: &str) -> JobResult {
    match word {
        "done" => JobResult::Done,
        "timeout" => JobResult::TimedOut,
        "canceled" | "skipped" | "once" => JobResult::Replaced,
        _ => JobResult::Failed, // failed, dependency, invalid, assert, …
    }
}

/// A property as text; empty when there is none of that kind.
pub fn text(properties: &Properties, name: &str) -> String {
    properties.get(name).and_then(|value| <&str>::try_from(value).ok()).unwrap_or_default().to_owned()
}

/// A property as a number; 0 when there is none of that kind.
pub fn number(properties: &Properties, name: &str) -> u64 {
    let Some(value) = properties.get(name) else { return 0 };
    let small = |value| u32::try_from(value).map(u64::from).ok();
    u64::try_from(value)
        .ok()
        .or_else(|| small(value))
        .or_else(|| i32::try_from(value).map(|n| n as u64).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_have_paths() {
        let expected = "/org/freedesktop/systemd1/unit/longshore_2dshop1_2eservice";
        assert_eq!(unit_path("longshore-shop1.service"), expected);
        assert_eq!(unit_path("1.mount"), "/org/freedesktop/systemd1/unit/_31_2emount");
    }
}
