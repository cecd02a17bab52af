//! A revert as the caller sees it: its steps, then how it ended.

use longshore_common::{code::Coded, ids::AppName, report::Outcome, slot::Slot};
use longshore_proto::v1 as pb;
use tokio::sync::{broadcast, mpsc};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::Status;

use crate::{
    run::{Told, Works, failure_of},
    state::Event,
};

/// Steps that wait for a slow caller.
const BACKLOG: usize = 64;

/// The order is taken when this returns; it is carried out whether or not anybody reads the steps.
pub(super) async fn begin<W: Works>(
    crew: &W,
    app: &AppName,
    to: Option<Slot>,
    by: String,
) -> Result<impl Stream<Item = Result<pb::LocalStep, Status>> + Send + use<W>, Coded> {
    let told = crew.watch(); // before the order, so that nothing is missed
    crew.revert(app, to, by).await?;
    let (sender, receiver) = mpsc::channel(BACKLOG);
    tokio::spawn(pass_on(app.clone(), told, sender));
    Ok(ReceiverStream::new(receiver))
}

async fn pass_on(
    app: AppName,
    mut told: broadcast::Receiver<Told>,
    sender: mpsc::Sender<Result<pb::LocalStep, Status>>,
) {
    loop {
        let step = match told.recv().await {
            Ok(Told::Progress { app: of, step, detail, .. }) if of == app => {
                pb::LocalStep { step: step.to_string(), detail, ..pb::LocalStep::default() }
            }
            Ok(Told::Concluded { app: of, outcome, .. }) if of == app => ended(&outcome),
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

fn ended(outcome: &Outcome) -> pb::LocalStep {
    let (detail, failure) = match outcome {
        Outcome::Reverted { to_slot, .. } => (to_slot.to_string(), None),
        other => (String::new(), failure_of(other).map(Into::into)),
    };
    let outcome = Event::from(outcome).as_str().to_owned();
    pb::LocalStep { step: "revert".into(), detail, done: true, failure, outcome, ..pb::LocalStep::default() }
}
