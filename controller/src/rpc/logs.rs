//! The logs of an app, from the hosts that run it, as they are there now; nothing of them is kept here.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use longshore_common::{
    code::{Code, Coded},
    ids::{AppName, HostId},
    wire::parse,
};
use longshore_proto::v1 as pb;
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{Replies, refuse, words};
use crate::{
    fleet::{
        Asked, Fleet, Host, host,
        words::{Answer, Live, LiveLine, LogLine, Question},
    },
    store::SharedStore,
    trouble::Trouble,
};

const LINES: u32 = 100;
const LINES_MAX: u32 = 1000;
const DEADLINE: Duration = Duration::from_secs(10);
const ASKED_AT_ONCE: usize = 64;
/// An agent stops sending what nobody has asked for in ten minutes.
const ASK_AGAIN: Duration = Duration::from_secs(5 * 60);
/// Lines that wait for the one who asked.
const REPLIES: usize = 256;

/// What an operator asks for.
#[derive(Clone, Debug)]
pub struct Wanted {
    app: AppName,
    /// Empty: every host that has the app.
    host: String,
    lines: u32,
    follow: bool,
}

impl Wanted {
    pub fn read(request: pb::LogsRequest) -> Result<Self, Coded> {
        let pb::LogsRequest { app, host, lines, follow } = request;
        let lines = if lines == 0 { LINES } else { lines.min(LINES_MAX) };
        Ok(Self { app: parse("app", &app)?, host, lines, follow })
    }
}

/// The hosts to ask; at least one.
pub async fn hosts(store: &SharedStore, fleet: &Fleet, wanted: &Wanted) -> Result<Vec<Host>, Trouble> {
    if !wanted.host.is_empty() {
        return Ok(vec![host::find(store, &wanted.host).await?]);
    }
    let has_app = |host: &Host| {
        let connected = fleet.presence().connected(&host.id);
        connected.is_some_and(|connected| connected.apps.iter().any(|seen| seen.app == wanted.app))
    };
    let mut hosts: Vec<Host> = host::list(store).await?.into_iter().filter(has_app).collect();
    if hosts.is_empty() {
        let message = format!("no connected host has {}. See: longshore host list", wanted.app);
        return Err(Trouble::refused(Code::N01, message));
    }
    hosts.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(hosts)
}

pub fn stream(fleet: Fleet, hosts: Vec<Host>, wanted: Wanted) -> Replies<pb::HostLogLine> {
    let (replies, receiver) = mpsc::channel(REPLIES);
    tokio::spawn(async move {
        // From before the question, so that no line falls between the answer and what follows.
        let live = wanted.follow.then(|| fleet.watch_live());
        let ids: Vec<HostId> = hosts.iter().map(|host| host.id).collect();
        let asked = hosts.into_iter().map(|host| ask(&fleet, host, &wanted));
        let mut answers = stream::iter(asked).buffered(ASKED_AT_ONCE);
        while let Some(lines) = answers.next().await {
            for line in lines {
                if replies.send(Ok(line)).await.is_err() {
                    return; // nobody listens any more
                }
            }
        }
        if let Some(live) = live {
            follow(&fleet, live, &ids, &wanted, &replies).await;
        }
    });
    Box::pin(ReceiverStream::new(receiver))
}

async fn ask(fleet: &Fleet, host: Host, wanted: &Wanted) -> Vec<pb::HostLogLine> {
    let Wanted { app, lines, follow, .. } = wanted.clone();
    let failed = |error: String| {
        vec![pb::HostLogLine { host: host.id.to_string(), name: host.name.to_string(), line: None, error }]
    };
    match fleet.ask(host.id, Question::Logs { app, lines, follow }, DEADLINE).await {
        Asked::Answered { answer: Answer::Logs(lines), .. } => {
            lines.into_iter().map(|line| row(&host.id, host.name.as_str(), line)).collect()
        }
        Asked::Answered { answer: Answer::Error(why), .. } => failed(why),
        Asked::Answered { .. } => failed("answered another question".to_owned()),
        Asked::Silent => failed("not connected, or no answer".to_owned()),
    }
}

/// Until nobody listens or the controller stops.
async fn follow(
    fleet: &Fleet,
    mut live: broadcast::Receiver<LiveLine>,
    hosts: &[HostId],
    wanted: &Wanted,
    replies: &mpsc::Sender<Result<pb::HostLogLine, Status>>,
) {
    let stop = fleet.stopping();
    let mut again = tokio::time::interval_at(tokio::time::Instant::now() + ASK_AGAIN, ASK_AGAIN);
    loop {
        let next = tokio::select! {
            next = live.recv() => next,
            () = replies.closed() => return,
            // Else whoever follows would take it for the end of the lines.
            () = stop.cancelled() => return drop(replies.send(Err(refuse(Trouble::Stopping))).await),
            _ = again.tick() => {
                ask_again(fleet, hosts, wanted).await;
                continue;
            }
        };
        let reply = match next {
            Ok(LiveLine { host, name, what: Live::Log(line) })
                if hosts.contains(&host) && line.app == wanted.app.as_str() =>
            {
                row(&host, name.as_str(), line)
            }
            Ok(_) => continue,
            Err(broadcast::error::RecvError::Lagged(count)) => {
                let error = format!("{count} live lines were lost: more came than this connection takes");
                pb::HostLogLine { error, ..pb::HostLogLine::default() }
            }
            Err(broadcast::error::RecvError::Closed) => return,
        };
        if replies.send(Ok(reply)).await.is_err() {
            return;
        }
    }
}

/// Hosts that do not answer are met again the next time; until then they say nothing.
async fn ask_again(fleet: &Fleet, hosts: &[HostId], wanted: &Wanted) {
    let question = Question::Logs { app: wanted.app.clone(), lines: 0, follow: true };
    let mut asked = tokio::task::JoinSet::new();
    for host in hosts {
        let (fleet, host, question) = (fleet.clone(), *host, question.clone());
        asked.spawn(async move { fleet.ask(host, question, DEADLINE).await });
    }
    asked.join_all().await;
}

pub fn row(host: &HostId, name: &str, line: LogLine) -> pb::HostLogLine {
    pb::HostLogLine {
        host: host.to_string(),
        name: name.to_owned(),
        line: Some(words::line_message(line)),
        error: String::new(),
    }
}
