//! The services: decode, call, encode. Nothing is decided here.
//!
//! Every handler begins by asking the door who calls: agents may call `Session`, `Renewal` and `Blobs`, operators the
//! rest. `Enrolment` is served on a port of its own, to strangers.

pub mod blobs;
mod controller;
mod enrolment;
mod environments;
mod hosts;
mod logs;
pub mod releases;
mod renewal;
mod rollout_rows;
mod rollouts;
mod session;
mod settings;
mod strangers;
mod survey;
mod upload;
mod words;

use std::pin::Pin;

use longshore_common::{
    code::Coded,
    ids::OperatorName,
    tls::Peer,
    wire::{Invalid, to_status},
};
use tokio_stream::Stream;
use tonic::{Request, Status};

use crate::{
    identity::{Door, door::Agent},
    trouble::Trouble,
};

pub use controller::ControllerService;
pub use enrolment::{EnrolmentService, Reply};
pub use environments::EnvironmentsService;
pub use hosts::HostsService;
pub use renewal::RenewalService;
pub use rollouts::RolloutsService;
pub use session::SessionService;
pub use settings::SettingsService;

/// What streaming handlers return.
type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

async fn operator<T>(door: &Door, request: &Request<T>) -> Result<OperatorName, Status> {
    let caller = door.admit(request.extensions().get::<Peer>()).await.map_err(refuse)?;
    caller.operator().map_err(|why| to_status(&why))
}

async fn agent<T>(door: &Door, request: &Request<T>) -> Result<Agent, Status> {
    let caller = door.admit(request.extensions().get::<Peer>()).await.map_err(refuse)?;
    caller.agent().map_err(|why| to_status(&why))
}

fn refuse(trouble: Trouble) -> Status {
    if !matches!(trouble, Trouble::Refused(_) | Trouble::Stopping) {
        tracing::error!(trouble = %longshore_common::chain::Chain(&trouble), "a call failed");
    }
    to_status(&trouble.coded())
}

fn invalid(invalid: Invalid) -> Status {
    to_status(&Coded::from(invalid))
}

fn coded(why: Coded) -> Status {
    to_status(&why)
}
