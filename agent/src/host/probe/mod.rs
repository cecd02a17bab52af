//! Health checks and their verdict.
//!
//! All probes of a release run at the same time. The release is healthy when every one of them has succeeded without
//! a break for its `healthy_for`; it is unhealthy when one has not by its deadline, or earlier when what it looks at
//! is visibly not going to live.

mod attempt;
pub mod http;
mod reach;
mod streak;

use std::{sync::Mutex, time::Duration};

use futures_util::future::{join_all, try_join_all};
use longshore_common::{
    code::Code,
    manifest::Probe,
    report::{Failure, StepName},
    time::Span,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use self::streak::{Standing, Streak};
pub use self::{attempt::Scene, reach::Reach};
use super::{Sink, Stream, fault};

/// Between two looks at the thing that is probed.
const WATCH_EVERY: Duration = Duration::from_millis(200);

/// Whether the thing that is probed lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pulse {
    /// The word changes when it was started again; then its health counts from the beginning. Empty: there is no
    /// process that could end.
    Alive(String),
    /// It may come or come back; nothing counts meanwhile.
    Absent,
    /// It is not going to be healthy.
    Lost(Box<Failure>),
}

/// Who can say so.
pub trait Vitals: Sync {
    fn pulse(&self) -> impl Future<Output = Pulse> + Send;
}

/// Of a release without probes: that it keeps running is all that can be asked.
const STEADY: Duration = Duration::from_secs(3);
const STEADY_DEADLINE: Duration = Duration::from_secs(20);

/// Until the verdict.
pub async fn settle(
    probes: &[Probe],
    scene: &Scene,
    vitals: &impl Vitals,
    sink: &Sink,
) -> Result<(), Failure> {
    if probes.is_empty() {
        return keep_running(vitals, sink).await;
    }
    let begun = Instant::now();
    let streaks: Vec<Mutex<Streak>> = probes.iter().map(|probe| Mutex::new(Streak::of(probe))).collect();
    let (life, life_seen) = watch::channel(None);
    let watching = watch_life(vitals, &life, &streaks);
    let probing = try_join_all(probes.iter().zip(&streaks).map(|(probe, streak)| {
        let others = &streaks;
        pursue(probe, streak, others, scene, begun, life_seen.clone(), sink)
    }));
    tokio::select! {
        lost = watching => Err(lost),
        result = probing => result.map(drop),
    }
}

async fn keep_running(vitals: &impl Vitals, sink: &Sink) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut life: Option<(String, Instant)> = None;
    loop {
        match vitals.pulse().await {
            Pulse::Lost(failure) => return Err(*failure),
            Pulse::Absent => life = None,
            // Nothing runs that could end.
            Pulse::Alive(word) if word.is_empty() => return Ok(()),
            Pulse::Alive(word) => match &life {
                Some((same, since)) if *same == word => {
                    if since.elapsed() >= STEADY {
                        return Ok(());
                    }
                }
                Some(_) | None => life = Some((word, Instant::now())),
            },
        }
        if begun.elapsed() >= STEADY_DEADLINE {
            let words = format!(
                "it did not keep running for {} s within {} s",
                STEADY.as_secs(),
                STEADY_DEADLINE.as_secs()
            );
            return Err(fault::version(Code::U01, StepName::Probe, words));
        }
        sink.progress(0, 0, "waiting whether it keeps running");
        sleep(WATCH_EVERY).await;
    }
}

/// Ends only when the thing is lost. A new life begins every streak anew.
async fn watch_life(
    vitals: &impl Vitals,
    life: &watch::Sender<Option<String>>,
    streaks: &[Mutex<Streak>],
) -> Failure {
    loop {
        let now = match vitals.pulse().await {
            Pulse::Lost(failure) => return *failure,
            Pulse::Alive(word) => Some(word),
            Pulse::Absent => None,
        };
        if *life.borrow() != now {
            for streak in streaks {
                locked(streak).begin_anew();
            }
            life.send_replace(now);
        }
        sleep(WATCH_EVERY).await;
    }
}

/// One probe, until all are healthy or this one has failed.
async fn pursue(
    probe: &Probe,
    streak: &Mutex<Streak>,
    all: &[Mutex<Streak>],
    scene: &Scene,
    begun: Instant,
    mut life: watch::Receiver<Option<String>>,
    sink: &Sink,
) -> Result<(), Failure> {
    loop {
        // Its sender lives as long as this.
        let left = probe.deadline.0.saturating_sub(begun.elapsed());
        let came = timeout(left, life.wait_for(Option::is_some)).await.is_ok();
        let result = match came {
            true => attempt::once(probe, scene).await,
            false => Err("the app is not running".to_owned()),
        };
        let at = begun.elapsed();
        let standing = locked(streak).note(at, result.clone());
        tell(probe, &locked(streak), at, result.err(), sink);
        let everybody = || all.iter().all(|streak| locked(streak).standing(at) == Standing::Healthy);
        match standing {
            Standing::Healthy if everybody() => return Ok(()),
            Standing::Unhealthy => return Err(unhealthy(probe, &locked(streak))),
            Standing::Healthy | Standing::Waiting => {
                let pause = next_attempt(probe, &locked(streak), at);
                sleep(pause).await;
            }
        }
    }
}

/// At its interval; sooner when the verdict falls before that.
fn next_attempt(probe: &Probe, streak: &Streak, at: Duration) -> Duration {
    let verdict = streak.verdict_at().saturating_sub(at);
    if verdict.is_zero() { probe.interval.0 } else { probe.interval.0.min(verdict) }
}

fn tell(probe: &Probe, streak: &Streak, at: Duration, error: Option<String>, sink: &Sink) {
    match error {
        None => {
            let healthy = Span(whole_seconds(streak.healthy_since(at)));
            sink.progress(0, 0, format!("{} healthy for {healthy} of {}", probe.name, probe.healthy_for));
        }
        Some(error) => {
            sink.progress(0, 0, format!("{} fails: {error}", probe.name));
            if streak.error_is_new() {
                sink.line(&probe.name, Stream::Stderr, error);
            }
        }
    }
}

fn whole_seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}

fn unhealthy(probe: &Probe, streak: &Streak) -> Failure {
    let words = format!(
        "probe {} was not healthy for {} within {}: {}",
        probe.name,
        probe.healthy_for,
        probe.deadline,
        streak.words()
    );
    fault::version(Code::B01, StepName::Probe, words)
}

/// One attempt of each. Says which life it is that is well: see [`Pulse::Alive`].
pub async fn glance(probes: &[Probe], scene: &Scene, vitals: &impl Vitals) -> Result<String, Failure> {
    let life = match vitals.pulse().await {
        Pulse::Lost(failure) => return Err(*failure),
        Pulse::Absent => return Err(fault::version(Code::U01, StepName::Probe, "the app is not running")),
        Pulse::Alive(life) => life,
    };
    let results = join_all(probes.iter().map(|probe| attempt::once(probe, scene))).await;
    let failed = probes.iter().zip(results).find_map(|(probe, result)| Some((probe, result.err()?)));
    failed.map_or(Ok(life), |(probe, error)| {
        let words = format!("probe {} fails: {error}", probe.name);
        Err(fault::version(Code::B01, StepName::Probe, words))
    })
}

fn locked(streak: &Mutex<Streak>) -> std::sync::MutexGuard<'_, Streak> {
    streak.lock().expect("no holder panics")
}

#[cfg(test)]
mod tests;
