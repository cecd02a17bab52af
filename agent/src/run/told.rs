//! What watchers hear: the session passes it to the controller, the local socket to admins.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use longshore_common::{
    ids::{AppName, Generation},
    report::{LINE_BYTES, Outcome, StepName},
    time::{Clock as _, Millis, SystemClock},
    wire::cut,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, watch};

use crate::host::{Event, Sink, Stream};

/// Between two words on the progress of one step.
const PROGRESS_PAUSE: Duration = Duration::from_millis(200);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// A step begins, or has got further. Bytes are 0 where there is nothing to count.
    Progress {
        app: AppName,
        generation: Generation,
        step: StepName,
        done: u64,
        total: u64,
        detail: String,
    },
    Line(Line),
    Concluded {
        app: AppName,
        generation: Generation,
        outcome: Outcome,
    },
    /// Something that no report tells of is gone: slots, or a side.
    Tidied {
        app: AppName,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub app: AppName,
    pub generation: Generation,
    /// A hook's name, `app`, or a probe's name.
    pub source: String,
    pub stream: Stream,
    /// At most `LINE_BYTES`.
    pub line: String,
    pub time_ms: Millis,
}

impl Line {
    pub fn new(app: &AppName, generation: Generation, event: Event) -> Option<Self> {
        let Event::Line { source, stream, line, time_ms } = event else { return None };
        let time_ms = time_ms.unwrap_or_else(|| SystemClock.now_ms());
        Some(Self { app: app.clone(), generation, source, stream, line: cut(&line, LINE_BYTES), time_ms })
    }
}

/// The step in progress, for `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// None: idle.
    pub step: Option<StepName>,
    pub detail: String,
    pub since_ms: Millis,
    pub deadline_ms: Millis,
}

/// Where the host says what a step is doing: to watchers, and for `status`.
pub(super) fn sink(
    app: AppName,
    generation: Generation,
    step: StepName,
    events: broadcast::Sender<Told>,
    activity: watch::Sender<Activity>,
) -> Sink {
    let last: Arc<Mutex<Option<Instant>>> = Arc::default();
    Sink::new(move |event| match event {
        Event::Progress { done, total, detail } => {
            let mut last = last.lock().expect("no holder panics");
            let due = done == total || last.is_none_or(|last| last.elapsed() >= PROGRESS_PAUSE);
            if due {
                *last = Some(Instant::now());
                activity.send_modify(|activity| activity.detail.clone_from(&detail));
                tell(&events, Told::Progress { app: app.clone(), generation, step, done, total, detail });
            }
        }
        line @ Event::Line { .. } => {
            if let Some(line) = Line::new(&app, generation, line) {
                tell(&events, Told::Line(line));
            }
        }
    })
}

/// Nobody watching is not an error.
pub(super) fn tell(events: &broadcast::Sender<Told>, told: Told) {
    drop(events.send(told));
}
