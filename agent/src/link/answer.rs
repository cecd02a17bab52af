//! Questions that the controller asks live, each answered by a task of its own so that none holds up the session.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use longshore_common::{
    code::Coded,
    ids::{AppName, Generation},
};
use longshore_proto::v1::{
    self as pb, answer::About as Told, from_agent::Message as Say, question::About as Asked,
};
use tokio::{sync::mpsc, task::AbortHandle, task::JoinSet};

use super::{facts::Facts, gates, survey::survey, witness::Witness, words};
use crate::{
    host::{Follow, Sink},
    run::{Line, Works},
};

/// Lines of one answer.
const LINES_MAX: u32 = 1000;
/// Of one answer.
const DEADLINE: Duration = Duration::from_secs(20);
/// Whoever follows an app's log asks again before this is over.
const FOLLOW: Duration = Duration::from_secs(10 * 60);
/// Questions under way; more are not answered, and the asker's own deadline says so.
const UNDER_WAY: usize = 32;

pub(super) struct Answerer<W> {
    crew: W,
    facts: Facts,
    say: mpsc::Sender<pb::FromAgent>,
    witness: Witness,
    tasks: JoinSet<()>,
    /// One per app: a new question takes the place of the one before.
    following: BTreeMap<AppName, AbortHandle>,
    /// Apps of which a test runs.
    testing: Arc<Mutex<Vec<AppName>>>,
}

impl<W: Works> Answerer<W> {
    pub(super) fn new(crew: W, facts: Facts, witness: Witness, say: mpsc::Sender<pb::FromAgent>) -> Self {
        Self {
            crew,
            facts,
            witness,
            say,
            tasks: JoinSet::new(),
            following: BTreeMap::new(),
            testing: Arc::default(),
        }
    }

    pub(super) fn answer(&mut self, question: pb::Question) {
        while self.tasks.try_join_next().is_some() {}
        if self.tasks.len() >= UNDER_WAY {
            return;
        }
        let (id, say, crew) = (question.id, self.say.clone(), self.crew.clone());
        let of_apps = matches!(question.about, Some(Asked::Ping(_) | Asked::Survey(_)));
        if of_apps && is_helper_away(&crew) {
            // What runs here is not known, which is something else than that nothing does.
            self.tasks.spawn(async move { reply(&say, id, without_helper(&crew)).await });
            return;
        }
        match question.about {
            Some(Asked::Ping(pb::Nothing {})) => {
                self.tasks.spawn(async move {
                    let apps = words::app_states(&crew).await;
                    let told = match is_helper_away(&crew) {
                        true => without_helper(&crew), // it went while it was asked
                        false => Told::Pong(pb::Pong { time_ms: crew.now_ms(), apps }),
                    };
                    reply(&say, id, told).await;
                });
            }
            Some(Asked::Facts(pb::Nothing {})) => {
                let facts = self.facts.clone();
                self.tasks.spawn(async move {
                    let facts = facts.gather(crew.trust().await).await;
                    reply(&say, id, Told::Facts(facts)).await;
                });
            }
            Some(Asked::Survey(asked)) => {
                let facts = self.facts.clone();
                self.tasks.spawn(async move {
                    let found = survey(&crew, &facts, asked).await;
                    let told =
                        if is_helper_away(&crew) { without_helper(&crew) } else { Told::Survey(found) };
                    reply(&say, id, told).await;
                });
            }
            Some(Asked::Logs(asked)) => self.logs(id, asked),
            Some(Asked::Trust(pb::Nothing {})) => {
                self.tasks.spawn(async move {
                    let told = match crew.verified().await {
                        Ok(answer) => Told::Trust(answer),
                        Err(why) => Told::Error(why.to_string()),
                    };
                    reply(&say, id, told).await;
                });
            }
            Some(Asked::Checkpoints(pb::Nothing {})) => {
                let kept = self.witness.all();
                self.tasks.spawn(async move { reply(&say, id, Told::Checkpoints(kept)).await });
            }
            Some(Asked::Reach(asked)) => {
                self.tasks.spawn(async move { reply(&say, id, gates::reach(asked).await).await });
            }
            Some(Asked::Usage(asked)) => {
                self.tasks.spawn(async move { reply(&say, id, gates::usage(&crew, asked).await).await });
            }
            Some(Asked::Glance(asked)) => {
                self.tasks.spawn(async move { reply(&say, id, gates::glance(&crew, asked).await).await });
            }
            Some(Asked::Test(asked)) => {
                let testing = Arc::clone(&self.testing);
                self.tasks.spawn(async move {
                    let told = gates::test(&crew, &testing, &say, asked).await;
                    reply(&say, id, told).await;
                });
            }
            None => {
                let unknown =
                    "this agent does not know that question: it is older than the controller".to_owned();
                self.tasks.spawn(async move { reply(&say, id, Told::Error(unknown)).await });
            }
        }
    }

    fn logs(&mut self, id: u64, asked: pb::LogsQuestion) {
        let (say, crew) = (self.say.clone(), self.crew.clone());
        let app = match known(&crew, &asked.app) {
            Ok(app) => app,
            Err(error) => {
                self.tasks.spawn(async move { reply(&say, id, Told::Error(error.to_string())).await });
                return;
            }
        };
        let lines = asked.lines.min(LINES_MAX) as usize;
        if asked.follow {
            let follower = self.tasks.spawn(follow(crew.clone(), app.clone(), say.clone()));
            if let Some(before) = self.following.insert(app.clone(), follower) {
                before.abort();
            }
        }
        self.tasks.spawn(async move {
            let answer = match last_lines(&crew, &app, lines).await {
                Ok(lines) => Told::Logs(pb::LogLines { lines }),
                Err(why) => Told::Error(why),
            };
            reply(&say, id, answer).await;
        });
    }
}

fn is_helper_away<W: Works>(crew: &W) -> bool {
    crew.helper().is_some_and(|version| version.is_empty())
}

fn without_helper<W: Works>(crew: &W) -> Told {
    Told::Error(crew.away().to_string())
}

pub(super) fn known<W: Works>(crew: &W, app: &str) -> Result<AppName, Coded> {
    let app: AppName = app.parse()?;
    if crew.apps().contains(&app) { Ok(app) } else { Err(crew.unknown(&app)) }
}

async fn last_lines<W: Works>(crew: &W, app: &AppName, lines: usize) -> Result<Vec<pb::LogLine>, String> {
    let found: Arc<Mutex<Vec<pb::LogLine>>> = Arc::default();
    let (kept, named) = (Arc::clone(&found), app.clone());
    let sink = Sink::new(move |event| {
        let line = Line::new(&named, Generation(0), event).map(words::line);
        kept.lock().expect("no holder panics").extend(line);
    });
    let read = tokio::time::timeout(DEADLINE, crew.logs(app, lines, Follow::No, &sink)).await;
    read.map_err(|_| format!("the log of {app} was not read within {DEADLINE:?}"))?
        .map_err(|failure| failure.message)?;
    Ok(std::mem::take(&mut *found.lock().expect("no holder panics")))
}

/// Only what comes from now on.
async fn follow<W: Works>(crew: W, app: AppName, say: mpsc::Sender<pb::FromAgent>) {
    let named = app.clone();
    let sink = Sink::new(move |event| {
        if let Some(line) = Line::new(&named, Generation(0), event) {
            // Lines are dropped where the connection is slower than the app.
            drop(say.try_send(pb::FromAgent { message: Some(Say::Log(words::line(line))) }));
        }
    });
    let followed = tokio::time::timeout(FOLLOW, crew.logs(&app, 0, Follow::Yes, &sink)).await;
    if let Ok(Err(failure)) = followed {
        tracing::warn!(%app, "the log cannot be followed: {}", failure.message);
    }
}

/// A session that has ended needs no answer any more.
async fn reply(say: &mpsc::Sender<pb::FromAgent>, id: u64, about: Told) {
    let answer = pb::Answer { id, about: Some(about) };
    drop(say.send(pb::FromAgent { message: Some(Say::Answer(answer)) }).await);
}
