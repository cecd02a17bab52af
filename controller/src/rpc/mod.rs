//! The services: decode, call, encode. Nothing is decided here.
//!
//! Every handler begins by asking the door who calls: agents may call `Session`, `Renewal` and `Blobs`, operators the
//! rest. `Enrolment` is served on a port of its own, to strangers.

mod about;
mod access;
mod approvals;
pub mod blobs;
mod calendars;
mod controller;
mod detail;
mod enrolment;
mod environments;
mod export;
mod gate_rows;
mod gate_words;
mod hosts;
mod logs;
mod notices;
mod plans;
pub mod releases;
mod renewal;
mod rollout_rows;
mod rollouts;
mod scope;
mod session;
mod settings;
mod sides;
mod strangers;
mod survey;
mod trust;
mod trust_words;
mod upload;
pub mod words;

use std::{pin::Pin, str::FromStr};

use longshore_common::{
    code::Coded,
    ids::OperatorName,
    wire::{Invalid, parse, to_status},
};
use tokio_stream::Stream;
use tonic::{Request, Status};

use crate::{
    access::Scope,
    identity::{Admission, Agent, Door},
    trouble::Trouble,
};

use about::About;
pub use access::AccessService;
pub use approvals::ApprovalsService;
pub use calendars::CalendarsService;
pub use controller::ControllerService;
pub use enrolment::{EnrolmentService, Reply};
pub use environments::EnvironmentsService;
pub use hosts::HostsService;
pub use notices::NoticesService;
pub use plans::PlansService;
pub use renewal::RenewalService;
pub use rollouts::RolloutsService;
use scope::Act;
pub use session::SessionService;
pub use settings::SettingsService;
pub use trust::TrustService;

/// What streaming handlers return.
type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Who calls, if they may.
async fn operator<T: Act>(door: &Door, request: &Request<T>) -> Result<OperatorName, Status> {
    Ok(admitted(door, request).await?.name().clone())
}

/// Turns away whoever may not, for handlers that know what the call is only when they have taken it in: they
/// ask the door then.
async fn glance<T: Act>(door: &Door, request: &Request<T>) -> Result<OperatorName, Status> {
    glance_at(door, request, None).await
}

/// The same, for handlers that know some of it, and have to look up the rest.
async fn glance_at<T: Act>(
    door: &Door,
    request: &Request<T>,
    about: Option<About>,
) -> Result<OperatorName, Status> {
    let (scope, target, _) = touched(request, about);
    door.glance(request.extensions(), &scope, &target).await.map_err(refuse)
}

/// The same as `operator`, for handlers that know more of what the call touches than its request says.
async fn admitted<T: Act>(door: &Door, request: &Request<T>) -> Result<Admission, Status> {
    admitted_about(door, request, None).await
}

/// The same, of something that the handler has looked up; `None`: what the request names was not found.
async fn admitted_about<T: Act>(
    door: &Door,
    request: &Request<T>,
    about: Option<About>,
) -> Result<Admission, Status> {
    let (scope, target, lacking) = touched(request, about);
    door.operator_or(request.extensions(), &scope, target, lacking).await.map_err(refuse)
}

/// The same, where what the call asks for is so already: it changes nothing, and needs no second person.
async fn admitted_in_vain<T: Act>(
    door: &Door,
    request: &Request<T>,
    about: About,
) -> Result<Admission, Status> {
    let (scope, target, _) = touched(request, Some(about));
    door.operator_in_vain(request.extensions(), &scope, target).await.map_err(refuse)
}

/// What the door holds the caller's roles against, how the log names it, and what is said where they do not cover it.
fn touched<T: Act>(request: &Request<T>, about: Option<About>) -> (Scope, String, Option<Coded>) {
    let done = request.get_ref().target();
    match about {
        Some(About { scope, name, lacking }) => (scope, format!("{name}: {done}"), lacking),
        None => (request.get_ref().scope(), done, None),
    }
}

async fn agent<T>(door: &Door, request: &Request<T>) -> Result<Agent, Status> {
    door.agent(request.extensions()).await.map_err(refuse)
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

/// A name that nothing can have is a slip to be told, not a list without rows. None at all means every one.
fn wanted_name<T: FromStr<Err = Coded>>(field: &'static str, text: &str) -> Result<(), Status> {
    if !text.is_empty() {
        parse::<T>(field, text).map_err(invalid)?;
    }
    Ok(())
}
