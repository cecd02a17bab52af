//! `longshore-agent deploy --bundle …`: hands a bundle to the agent and tells how it goes. Where no agent runs, this
//! process is one for as long as it takes, with the same socket and the same steps.

use std::{
    io::{self, Write},
    path::Path,
    time::Duration,
};

use longshore_common::{
    code::{Code, Coded},
    offline::pack_folder,
    regular::{self, Links},
    settings::{Settings, read_settings},
    strict::{FILE_BYTES, File},
    text::visible,
    wire::secret_messages,
};
use longshore_proto::v1::{self as pb, local_client::LocalClient, local_deploy_piece::Piece};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::{
    Exit,
    args::{Args, Deploy, Output},
    ask::{config_or_default, error},
    run::runtime,
    show,
};
use crate::{
    alone::run_alone,
    config::Config,
    host::{process::Lives, reexec::SelfExec},
    local::client::connect,
};

/// Bytes of one piece: well below what the agent takes in one message.
const PIECE: usize = 48 * 1024;
/// Pieces between the file and the socket.
const AHEAD: usize = 16;
/// Until an agent of this process's own listens.
const START: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

pub fn deploy(args: &Args, wanted: Deploy, exec: SelfExec) -> Result<Exit, Coded> {
    let head = read_head(&wanted)?;
    let config = config_or_default(args)?;
    runtime().block_on(async {
        match connect(&config.socket).await {
            Ok(agent) => follow(args, &wanted, head, agent).await,
            Err(nobody) if nobody.code == Code::C01 => alone(args, &wanted, head, config, exec).await,
            Err(other) => Err(other),
        }
    })
}

/// Without a daemon: what it would do is done here, until the deployment has ended.
async fn alone(
    args: &Args,
    wanted: &Deploy,
    head: pb::LocalDeployHead,
    config: Config,
    exec: SelfExec,
) -> Result<Exit, Coded> {
    if config.apps == Lives::WithAgent {
        let message = "no agent runs here, and apps of this host live no longer than their agent (apps = \
                       \"with-agent\"): start it, then deploy";
        return Err(Coded::new(Code::R01, message));
    }
    let (socket, stop) = (config.socket.clone(), CancellationToken::new());
    let mut running = tokio::spawn(run_alone(config, exec, stop.clone()));
    let deployed = async {
        let agent = first_connection(&socket).await?;
        follow(args, wanted, head, agent).await
    };
    let ended = tokio::select! {
        ended = deployed => ended,
        early = &mut running => return early.unwrap_or_else(|died| Err(died_of(&died))).and(Ok(Exit::Failed)),
    };
    stop.cancel();
    running.await.unwrap_or_else(|died| Err(died_of(&died)))?;
    ended
}

fn died_of(died: &tokio::task::JoinError) -> Coded {
    Coded::new(Code::X01, format!("the deployment ended: {died}"))
}

async fn first_connection(socket: &Path) -> Result<LocalClient<Channel>, Coded> {
    let connected = async {
        loop {
            match connect(socket).await {
                Err(error) if error.code == Code::C01 => tokio::time::sleep(LOOK).await,
                result => return result,
            }
        }
    };
    let late = || Coded::new(Code::C01, format!("no socket came at `{}`", socket.display()));
    tokio::time::timeout(START, connected).await.unwrap_or_else(|_| Err(late()))
}

async fn follow(
    args: &Args,
    wanted: &Deploy,
    head: pb::LocalDeployHead,
    agent: LocalClient<Channel>,
) -> Result<Exit, Coded> {
    let work = hand_over(args, wanted, head, agent);
    match wanted.timeout {
        None => work.await,
        Some(patience) => tokio::time::timeout(patience, work).await.unwrap_or_else(|_| {
            eprintln!("not done yet; what was begun goes on: longshore-agent status");
            Ok(Exit::TimedOut)
        }),
    }
}

async fn hand_over(
    args: &Args,
    wanted: &Deploy,
    head: pb::LocalDeployHead,
    mut agent: LocalClient<Channel>,
) -> Result<Exit, Coded> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let first = pb::LocalDeployPiece { piece: Some(Piece::Head(head)) };
    sender.try_send(first).expect("the queue is new and empty");
    let bundle = wanted.bundle.clone();
    let reading = tokio::task::spawn_blocking(move || read_bundle(&bundle, sender));
    let answered = agent.deploy(ReceiverStream::new(receiver)).await;
    let read = reading.await.unwrap_or_else(|died| Err(died_of(&died)));
    // What is wrong with the file here says more than that the stream ended; what the agent says comes first.
    let mut steps = match (answered, read) {
        (Ok(steps), Ok(())) => steps.into_inner(),
        (Err(status), Ok(())) => return Err(error(args, &status)),
        (_, Err(unreadable)) => return Err(unreadable),
    };
    let mut last = None;
    while let Some(step) = steps.message().await.map_err(|status| error(args, &status))? {
        if last.as_ref() == Some(&step) {
            continue; // a probe says the same again and again
        }
        match args.output {
            Output::Table => show::deploy_step(&step),
            Output::Json => show::json(&show::deploy_json(&step)),
        }
        if step.done {
            return Ok(exit_of(&step.outcome));
        }
        last = Some(step);
    }
    Err(Coded::new(
        Code::C01,
        "the agent ended before it was done; it goes on when it is back: longshore-agent status",
    ))
}

fn exit_of(outcome: &str) -> Exit {
    match outcome {
        "healthy" => Exit::Done,
        "unchanged" => Exit::NothingToDo,
        "refused" => Exit::Refused,
        _ => Exit::Failed,
    }
}

fn read_head(wanted: &Deploy) -> Result<pb::LocalDeployHead, Coded> {
    let settings = wanted.env_values.as_deref().map(read_values).transpose()?;
    let given = settings.is_some();
    let settings = settings.unwrap_or_default();
    Ok(pb::LocalDeployHead {
        env: wanted.env.as_ref().map(ToString::to_string).unwrap_or_default(),
        settings_given: given,
        secrets: secret_messages(&settings),
        values: settings.values,
        despite_hold: wanted.despite_hold,
        stale: wanted.stale,
    })
}

fn read_values(path: &Path) -> Result<Settings, Coded> {
    let name = path.display().to_string();
    let unread = |e: io::Error| Coded::new(Code::V01, format!("read `{}`: {e}", visible(&name)));
    let text = regular::read_text(path, FILE_BYTES, Links::Followed).map_err(unread)?;
    Ok(File::new(&name, &text).read(|root| Some(read_settings(root)))?)
}

/// A file, a folder, or what comes in.
fn read_bundle(path: &Path, sender: mpsc::Sender<pb::LocalDeployPiece>) -> Result<(), Coded> {
    let mut out = Pieces { sender, buffer: Vec::with_capacity(PIECE) };
    if path.is_dir() {
        return pack_folder(path, out);
    }
    let unread = |e: io::Error| {
        Coded::new(Code::V01, format!("read the bundle `{}`: {e}", visible(&path.display().to_string())))
    };
    let copied = match path.as_os_str() == "-" {
        true => io::copy(&mut io::stdin().lock(), &mut out),
        false => io::copy(&mut regular::open(path, Links::Followed).map_err(unread)?, &mut out),
    };
    match copied.and_then(|_| out.flush()) {
        // The agent has stopped listening, and says why itself.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done.map_err(unread),
    }
}

/// Cuts what is written into pieces for the socket.
struct Pieces {
    sender: mpsc::Sender<pb::LocalDeployPiece>,
    buffer: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == PIECE {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let data = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE));
        let piece = pb::LocalDeployPiece { piece: Some(Piece::Data(data.into())) };
        self.sender.blocking_send(piece).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_that_is_no_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).unwrap();
        for (path, says) in [(pipe.as_path(), "it is a FIFO"), (Path::new("/dev/zero"), "it is a device")] {
            let (sender, _receiver) = mpsc::channel(AHEAD);
            let refusal = read_bundle(path, sender).unwrap_err();
            assert!(refusal.code == Code::V01 && refusal.message.contains(says), "{refusal}");
            let values = read_values(path).unwrap_err();
            assert!(values.code == Code::V01 && values.message.contains(says), "{values}");
        }
    }
}
