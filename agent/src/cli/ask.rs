//! The commands that ask the agent over its socket.

use std::{path::Path, time::Duration};

use longshore_common::{
    code::{Code, Coded},
    wire::{CODE_KEY, from_status},
};
use longshore_proto::v1::{self as pb, local_client::LocalClient};
use tonic::{Status, transport::Channel};

use super::{
    Exit,
    args::{Args, History, Hold, Logs, Output, Revert},
    run::runtime,
    say::say,
    show,
};
use crate::{config::Config, local::client::connect};

/// Of an answer that needs no waiting.
const DEADLINE: Duration = Duration::from_secs(30);

pub fn status(args: &Args) -> Result<Exit, Coded> {
    let status = ask(args, async |agent| agent.status(pb::LocalStatusRequest {}).await)?;
    match args.output {
        Output::Table => show::status(&status),
        Output::Json => show::json(&show::status_json(&status)),
    }
    Ok(Exit::Done)
}

pub fn history(args: &Args, wanted: History) -> Result<Exit, Coded> {
    let app = wanted.app.map(|app| app.to_string()).unwrap_or_default();
    let request = pb::LocalHistoryRequest { app, limit: wanted.limit };
    let history = ask(args, async |agent| agent.history(request).await)?;
    match args.output {
        Output::Table => show::history(&history),
        Output::Json => show::json(&show::history_json(&history)),
    }
    Ok(Exit::Done)
}

pub fn logs(args: &Args, wanted: Logs) -> Result<Exit, Coded> {
    let request =
        pb::LocalLogsRequest { app: wanted.app.to_string(), lines: wanted.lines, follow: wanted.follow };
    runtime().block_on(async {
        let mut lines =
            reach(args).await?.logs(request).await.map_err(|status| error(args, &status))?.into_inner();
        while let Some(line) = lines.message().await.map_err(|status| error(args, &status))? {
            match args.output {
                Output::Table => show::line(&line),
                Output::Json => show::json(&show::line_json(&line)),
            }
        }
        Ok(Exit::Done)
    })
}

pub fn hold(args: &Args, wanted: Hold) -> Result<Exit, Coded> {
    let reply = ask(args, async |agent| agent.hold(pb::LocalHoldRequest { reason: wanted.reason }).await)?;
    let others = reply.hold.as_ref().is_some_and(|hold| hold.held) && !reply.way_out.ends_with("unhold");
    match args.output {
        Output::Json => show::json(&show::hold_json(&reply)),
        Output::Table if !reply.changed => say!("held already, {}", still_held(&reply)),
        Output::Table if others => {
            say!("held until `longshore-agent unhold`, and as well {}", still_held(&reply))
        }
        Output::Table => say!("held: this host takes no new work until `longshore-agent unhold`"),
    }
    Ok(if reply.changed { Exit::Done } else { Exit::NothingToDo })
}

pub fn unhold(args: &Args) -> Result<Exit, Coded> {
    let reply = ask(args, async |agent| agent.unhold(pb::LocalUnholdRequest {}).await)?;
    let held = reply.hold.as_ref().is_some_and(|hold| hold.held);
    match args.output {
        Output::Json => show::json(&show::hold_json(&reply)),
        Output::Table if held && reply.changed => say!("let go, and still held {}", still_held(&reply)),
        Output::Table if held => say!("nothing to let go here: held {}", still_held(&reply)),
        Output::Table if reply.changed => say!("no longer held: this host takes new work"),
        Output::Table => say!("not held: nothing to do"),
    }
    Ok(if reply.changed { Exit::Done } else { Exit::NothingToDo })
}

/// By whom, since when, why, and what lets go of it.
fn still_held(reply: &pb::LocalHoldReply) -> String {
    show::held(&reply.hold.clone().unwrap_or_default(), &reply.way_out)
}

pub fn revert(args: &Args, wanted: Revert) -> Result<Exit, Coded> {
    let request = pb::LocalRevertRequest {
        app: wanted.app.to_string(),
        slot: wanted.slot.as_ref().map(ToString::to_string).unwrap_or_default(),
    };
    let waiting = follow_revert(args, request);
    runtime().block_on(async {
        match wanted.timeout {
            None => waiting.await,
            Some(patience) => tokio::time::timeout(patience, waiting).await.unwrap_or_else(|_| {
                eprintln!("not done yet; it goes on: longshore-agent status");
                Ok(Exit::TimedOut)
            }),
        }
    })
}

async fn follow_revert(args: &Args, request: pb::LocalRevertRequest) -> Result<Exit, Coded> {
    let app = request.app.clone();
    let mut steps =
        reach(args).await?.revert(request).await.map_err(|status| error(args, &status))?.into_inner();
    let mut last = None;
    while let Some(step) = steps.message().await.map_err(|status| error(args, &status))? {
        if last.as_ref() == Some(&step) {
            continue; // a probe says the same again and again
        }
        last = Some(step.clone());
        match args.output {
            Output::Table => show::step(&app, &step),
            Output::Json => show::json(&show::step_json(&app, &step)),
        }
        if step.done {
            return Ok(if step.failure.is_none() { Exit::Done } else { Exit::Failed });
        }
    }
    Err(Coded::new(
        Code::C01,
        "the agent ended before it was done; it goes on when it is back: longshore-agent status",
    ))
}

fn ask<T>(
    args: &Args,
    question: impl AsyncFnOnce(&mut LocalClient<Channel>) -> Result<tonic::Response<T>, Status>,
) -> Result<T, Coded> {
    runtime().block_on(async {
        let answer = async { question(&mut reach(args).await?).await.map_err(|status| error(args, &status)) };
        let silent = || {
            let message = format!(
                "the agent did not answer within {DEADLINE:?}; while it starts, it waits for its helper. On this host: \
                 systemctl status longshore-helper; journalctl -u longshore-agent"
            );
            Coded::new(Code::C01, message)
        };
        let answer = tokio::time::timeout(DEADLINE, answer).await.unwrap_or_else(|_| Err(silent()))?;
        Ok(answer.into_inner())
    })
}

/// The socket that the configuration names; where there is none to read, the usual one.
async fn reach(args: &Args) -> Result<LocalClient<Channel>, Coded> {
    connect(&config_or_default(args)?.socket).await
}

/// The configuration; where there is none to read, what holds without one.
pub(super) fn config_or_default(args: &Args) -> Result<Config, Coded> {
    match Config::load(&args.config_file(), &args.root) {
        Err(error) if error.code != Code::M01 => Ok(Config::new(args.root.clone(), vec![])),
        result => result,
    }
}

/// What breaks off says of itself only that it did.
pub(super) fn error(args: &Args, status: &Status) -> Coded {
    let told = from_status(status);
    let of_the_agent = status.metadata().get(CODE_KEY).is_some();
    match config_or_default(args) {
        Ok(config) if told.code == Code::C01 && !of_the_agent => broken_off(&config.socket, &told.message),
        _ => told,
    }
}

fn broken_off(socket: &Path, why: &str) -> Coded {
    let message = format!(
        "the agent at `{}` ended before it answered ({why}). Why: journalctl -u longshore-agent; whether it is back: \
         longshore-agent status",
        socket.display()
    );
    Coded::new(Code::C01, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_ends_is_named_by_its_socket() {
        let said = broken_off(Path::new("/run/longshore/agent.sock"), "transport error").to_string();
        assert!(said.starts_with("LS-C01 the agent at `/run/longshore/agent.sock` ended"), "{said}");
    }
}
