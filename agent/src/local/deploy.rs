//! A deployment from a bundle: the bundle comes in over the socket and is passed to whoever makes this host true.

use bytes::Bytes;
use longshore_common::{
    code::{Code, Coded},
    ids::Generation,
    report::{Blame, Failure, Outcome, StepName},
    settings::{SETTINGS_BYTES, check_name},
    wire::{from_status, read_settings},
};
use longshore_proto::v1::{self as pb, local_deploy_piece::Piece};
use tokio::sync::{broadcast, mpsc};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Status, Streaming};

use crate::{
    offline::{HandOrder, Ordered},
    run::{Told, Works, failure_of},
    state::Event,
};

/// Steps that wait for a slow caller.
const BACKLOG: usize = 64;
/// Pieces that wait for the disk.
const AHEAD: usize = 16;

/// The order is taken when this returns; it is carried out whether or not anybody reads the steps.
pub(super) async fn begin<W: Works>(
    crew: &W,
    by: String,
    mut pieces: Streaming<pb::LocalDeployPiece>,
) -> Result<impl Stream<Item = Result<pb::LocalStep, Status>> + Send + use<W>, Coded> {
    let first = pieces.message().await.map_err(|status| from_status(&status))?;
    let Some(Piece::Head(head)) = first.and_then(|piece| piece.piece) else {
        return Err(Coded::new(Code::V01, "a deployment begins with what is asked for"));
    };
    let wanted = read_head(head, by)?;
    let (sender, coming) = mpsc::channel(AHEAD);
    tokio::spawn(pass_pieces(pieces, sender));
    let Ordered { app, version, generation, told } = crew.deploy(wanted, coming).await?;
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let of = pb::LocalStep { app: app.to_string(), version: version.to_string(), ..pb::LocalStep::default() };
    tokio::spawn(pass_on(of, generation, told, sender));
    Ok(ReceiverStream::new(receiver))
}

async fn pass_pieces(
    mut pieces: Streaming<pb::LocalDeployPiece>,
    sender: mpsc::Sender<Result<Bytes, Coded>>,
) {
    loop {
        let piece = match pieces.message().await {
            Ok(None) => return,
            Ok(Some(pb::LocalDeployPiece { piece: Some(Piece::Data(data)) })) => Ok(data),
            Ok(Some(_)) => Err(Coded::new(Code::V01, "a deployment has one head")),
            Err(status) => Err(from_status(&status)),
        };
        let broken = piece.is_err();
        if sender.send(piece).await.is_err() || broken {
            return;
        }
    }
}

fn read_head(head: pb::LocalDeployHead, by: String) -> Result<HandOrder, Coded> {
    let pb::LocalDeployHead { env, settings_given, values, secrets, despite_hold, stale } = head;
    let env = match env.as_str() {
        "" => None,
        env => Some(env.parse()?),
    };
    let settings = read_settings(values, secrets)?;
    settings.names().try_for_each(|name| check_name("value", name))?;
    if settings.bytes() > SETTINGS_BYTES {
        let message = format!("the values have {} bytes, at most {SETTINGS_BYTES}", settings.bytes());
        return Err(Coded::new(Code::V01, message));
    }
    Ok(HandOrder { env, settings: settings_given.then_some(settings), despite_hold, stale, by })
}

async fn pass_on(
    of: pb::LocalStep,
    ours: Generation,
    mut told: broadcast::Receiver<Told>,
    sender: mpsc::Sender<Result<pb::LocalStep, Status>>,
) {
    loop {
        let step = match told.recv().await {
            Ok(Told::Progress { app, step, detail, .. }) if app.as_str() == of.app => {
                pb::LocalStep { step: step.to_string(), detail, ..of.clone() }
            }
            Ok(Told::Concluded { app, outcome, generation }) if app.as_str() == of.app => {
                match generation == ours {
                    true => ended(&of, &outcome),
                    false => ended(&of, &Outcome::Refused { failure: overtaken() }),
                }
            }
            Ok(Told::Progress { .. } | Told::Concluded { .. } | Told::Line(_) | Told::Tidied { .. }) => {
                continue;
            }
            Err(broadcast::error::RecvError::Lagged(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => return,
        };
        let done = step.done;
        if sender.send(Ok(step)).await.is_err() || done {
            return;
        }
    }
}

fn overtaken() -> Failure {
    let message = "the controller has assigned something new meanwhile, and that was done instead";
    Failure::new(Code::P01, StepName::Check, Blame::Environment, message)
}

fn ended(of: &pb::LocalStep, outcome: &Outcome) -> pb::LocalStep {
    let detail = match outcome {
        Outcome::Reverted { to_slot, .. } => to_slot.to_string(),
        _ => String::new(),
    };
    pb::LocalStep {
        step: "deploy".to_owned(),
        detail,
        done: true,
        failure: failure_of(outcome).map(Into::into),
        outcome: Event::from(outcome).as_str().to_owned(),
        ..of.clone()
    }
}
