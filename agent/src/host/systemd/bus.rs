//! systemd over the system bus: units, jobs and properties, with a deadline on everything.
//!
//! A connection is opened for a piece of work and closed after it. An idle agent then holds none, and a bus that was
//! restarted is no special case.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
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
pub struct Bus;

impl Bus {
    pub async fn open(&self) -> Result<Manager, BusError> {
        let late = |_| BusError::Late { what: "a connection".into(), within: CALL_DEADLINE };
        let connection = timeout(CALL_DEADLINE, Connection::system()).await.map_err(late)??;
        Ok(Manager { connection })
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
        // systemd sends signals only while somebody has subscribed; twice is an error without consequence.
        let subscribed: Result<(), _> = self.call("Subscribe", &()).await;
        if let Err(error) = subscribed
            && !error.is("AlreadySubscribed")
        {
            return Err(error);
        }
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

    /// Properties of the unit and of its service part. Also of one that is not loaded or does not exist.
    pub async fn properties(&self, unit: &str) -> Result<Properties, BusError> {
        let path: OwnedObjectPath = self.call("LoadUnit", &(unit,)).await?;
        let kind = if unit.ends_with(".socket") { "Socket" } else { "Service" };
        let mut all = HashMap::new();
        for interface in ["Unit", kind] {
            let body = (format!("{SYSTEMD}.{interface}"),);
            let call =
                self.connection.call_method(Some(SYSTEMD), path.clone(), Some(PROPERTIES), "GetAll", &body);
            let reply = answered("GetAll", call).await?;
            let some: Properties = reply.body().deserialize()?;
            all.extend(some);
        }
        Ok(all)
    }

    /// Waits until the unit neither runs nor changes.
    pub async fn until_inactive(&self, unit: &str, within: Duration) -> Result<Properties, BusError> {
        let begun = Instant::now();
        loop {
            let properties = self.properties(unit).await?;
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
