//! What gates ask: whether something is reached from here, what an app uses, how a test of a release goes.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use longshore_common::{
    digest::ReleaseDigest,
    headers::Headers,
    ids::{AppName, Generation},
};
use longshore_proto::v1::{self as pb, answer::About as Told, from_agent::Message as Say};
use tokio::{net::TcpStream, sync::mpsc, time::timeout};

use super::words;
use crate::{
    host::{
        Sink, Usage,
        probe::http,
        suite::{Case, Outcome, State},
    },
    run::{Glance, Line, Works},
};

/// Longest that an attempt to reach something may take.
const REACH_MAX: Duration = Duration::from_secs(60);
/// Longest that a test may be asked to take.
const TEST_MAX: Duration = Duration::from_secs(6 * 3600);
/// For looking at an app.
const USAGE: Duration = Duration::from_secs(15);
/// Addresses of a name that are looked at.
const ADDRESSES: usize = 64;

pub(super) async fn reach(asked: pb::ReachQuestion) -> Told {
    let pb::ReachQuestion { to, status, address, timeout_ms } = asked;
    let limit = Duration::from_millis(timeout_ms.max(1).into()).min(REACH_MAX);
    let Some(to) = to else {
        // Nothing was tried: `not reached` would be what somebody hopes for who wants it denied.
        let why = "this agent does not know how to reach that: it is older than the controller";
        return Told::Error(why.to_owned());
    };
    let attempt = async {
        use pb::reach_question::To;
        match to {
            To::Http(url) => {
                let status = u16::try_from(status).ok().filter(|status| *status > 0);
                // A controller's words are the address and nothing else.
                http::get(&url, &Headers::default(), status).await
            }
            To::Tcp(address) => TcpStream::connect(&address).await.map(drop).map_err(|e| e.to_string()),
            To::Dns(name) => resolve(&name, &address).await,
        }
    };
    let reached =
        timeout(limit, attempt).await.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")));
    let why = reached.as_ref().err().cloned().unwrap_or_default();
    Told::Reach(pb::ReachAnswer { reached: reached.is_ok(), why })
}

async fn resolve(name: &str, wanted: &str) -> Result<(), String> {
    let found = tokio::net::lookup_host((name, 0)).await.map_err(|e| e.to_string())?;
    let found: Vec<IpAddr> = found.take(ADDRESSES).map(|socket| socket.ip()).collect();
    let wanted: Option<IpAddr> = wanted.parse().ok();
    match wanted {
        _ if found.is_empty() => Err("the name has no address".to_owned()),
        Some(wanted) if !found.contains(&wanted) => Err(format!("the name has {found:?} and not {wanted}")),
        Some(_) | None => Ok(()),
    }
}

pub(super) async fn usage<W: Works>(crew: &W, asked: pb::UsageQuestion) -> Told {
    let looked = async {
        let app = super::answer::known(crew, &asked.app).map_err(|error| error.to_string())?;
        crew.usage(&app, asked.since_ms).await.map_err(|failure| failure.message)
    };
    match timeout(USAGE, looked).await.unwrap_or_else(|_| Err(format!("it took more than {USAGE:?}"))) {
        Ok(Usage { running, restarts, cpu_ms, memory_bytes, error_lines, log_unread, main_pid }) => {
            Told::Usage(pb::UsageAnswer {
                running,
                restarts,
                cpu_ms,
                memory_bytes,
                error_lines,
                main_pid: main_pid.into(),
                log_unread: log_unread.unwrap_or_default(),
            })
        }
        Err(why) => Told::Error(why),
    }
}

/// Of an app that this host does not have there is nothing to say either.
pub(super) async fn glance<W: Works>(crew: &W, asked: pb::GlanceQuestion) -> Told {
    let looked = async {
        let app = super::answer::known(crew, &asked.app).map_err(|error| error.to_string())?;
        crew.glance(&app, Generation(asked.generation)).await.map_err(|failure| failure.message)
    };
    match looked.await {
        Ok(Glance::Busy {}) => Told::Glance(pb::GlanceAnswer { busy: true, ..Default::default() }),
        Ok(Glance::Well { life }) => Told::Glance(pb::GlanceAnswer { life, ..Default::default() }),
        Ok(Glance::Unwell { failure }) => {
            Told::Glance(pb::GlanceAnswer { failure: Some((&failure).into()), ..Default::default() })
        }
        Err(why) => Told::Error(why),
    }
}

/// Its lines go out while it runs; one test of an app at a time.
pub(super) async fn test<W: Works>(
    crew: &W,
    busy: &Arc<Mutex<Vec<AppName>>>,
    say: &mpsc::Sender<pb::FromAgent>,
    asked: pb::TestQuestion,
) -> Told {
    let pb::TestQuestion { app, release, test, generation, timeout_ms } = asked;
    let Ok(app) = app.parse::<AppName>() else { return Told::Error("that is no name of an app".to_owned()) };
    let Ok(release) = ReleaseDigest::try_from(&release[..]) else {
        return Told::Error("that is no digest of a release".to_owned());
    };
    let Some(_turn) = Turn::take(busy, &app) else {
        return Told::Error(format!("another test of {app} runs here already"));
    };
    let (lines, named) = (say.clone(), app.clone());
    let sink = Sink::new(move |event| {
        if let Some(line) = Line::new(&named, Generation(generation), event) {
            // Lines are dropped where the connection is slower than the test.
            drop(lines.try_send(pb::FromAgent { message: Some(Say::Log(words::line(line))) }));
        }
    });
    let limit = Duration::from_millis(timeout_ms.max(1).into()).min(TEST_MAX);
    match crew.test(&app, &release, &test, limit, &sink).await {
        Ok(Some(outcome)) => Told::Test(answer(outcome)),
        Ok(None) => Told::Test(pb::TestAnswer { not_here: true, ..pb::TestAnswer::default() }),
        Err(failure) => Told::Error(failure.message),
    }
}

/// Cases that one answer may hold in bytes; what has failed goes first.
const CASES_BYTES: usize = 512 * 1024;

fn answer(outcome: Outcome) -> pb::TestAnswer {
    let Outcome { cases, ended, trouble, lines } = outcome;
    let (mut told, mut room) = (cases.told, CASES_BYTES);
    told.sort_by_key(|case| case.state != State::Failed);
    told.retain(|case| {
        let fits = case.name.len() + case.message.len() <= room;
        room = room.saturating_sub(case.name.len() + case.message.len());
        fits
    });
    let case =
        |Case { name, state, message }| pb::TestCase { name, state: state.as_str().to_owned(), message };
    pb::TestAnswer {
        cases: told.into_iter().map(case).collect(),
        passed: cases.passed,
        failed: cases.failed,
        skipped: cases.skipped,
        ended: ended.map(|ended| ended.to_string()).unwrap_or_default(),
        trouble,
        good: ended.is_some_and(|ended| ended.succeeded()),
        lines,
        not_here: false,
    }
}

/// An app's turn, given back when it is dropped.
struct Turn {
    busy: Arc<Mutex<Vec<AppName>>>,
    app: AppName,
}

impl Turn {
    fn take(busy: &Arc<Mutex<Vec<AppName>>>, app: &AppName) -> Option<Self> {
        let mut apps = busy.lock().expect("no holder panics");
        if apps.contains(app) {
            return None;
        }
        apps.push(app.clone());
        drop(apps);
        Some(Self { busy: Arc::clone(busy), app: app.clone() })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.busy.lock().expect("no holder panics").retain(|app| *app != self.app);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A way that a newer controller knows comes as none.
    #[tokio::test]
    async fn what_was_not_tried_is_not_out_of_reach() {
        let Told::Error(why) = reach(pb::ReachQuestion::default()).await else { panic!("nothing was tried") };
        assert!(why.contains("older than the controller"), "{why}");
        let to = Some(pb::reach_question::To::Tcp("127.0.0.1:1".to_owned()));
        let asked = pb::ReachQuestion { to, timeout_ms: 60_000, ..pb::ReachQuestion::default() };
        assert!(matches!(reach(asked).await, Told::Reach(pb::ReachAnswer { reached: false, .. })));
    }
}
