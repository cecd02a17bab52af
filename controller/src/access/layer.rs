//! Tells every call which method it is, before any handler sees it, and has its end recorded.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use longshore_common::{
    chain::Chain,
    code::{Code, Coded},
    digest::hex,
    tls::{Identity, Peer},
    wire::{from_status, to_status},
};
use tonic::{Extensions, Status, body::Body, codegen::http};
use tower::{Layer, Service};

use super::{
    paced::{Pace, Paced},
    places::{Place, Places},
    role::Scope,
    table::{self, Method, Who},
};
use crate::{
    audit::{Audit, What},
    identity::{Door, Noted},
};

/// Publications that are taken in at a time: each may have 33 MiB, all of which is held before a handler sees it.
const PUBLICATIONS: usize = 8;
/// Of them, those of one operator: two who trickle leave places for a third.
const PUBLICATIONS_OF_ONE: usize = 3;

/// In a request's extensions: the row of the table, or none for a method that nobody thought of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Called(pub Option<&'static Method>);

impl Called {
    /// By the path of the call, `/longshore.v1.Hosts/List`.
    pub fn by_path(path: &str) -> Self {
        Called(table::find(path))
    }
}

/// Goes around every service of a port.
#[derive(Clone)]
pub struct CalledLayer {
    audit: Audit,
    /// Whom it asks who may publish at all; none: the handler alone does.
    door: Option<Door>,
    publications: Places,
}

impl CalledLayer {
    pub fn new(audit: Audit) -> Self {
        let publications = Places::new("releases are being published", PUBLICATIONS, PUBLICATIONS_OF_ONE);
        Self { audit, door: None, publications }
    }

    pub fn asking(self, door: Door) -> Self {
        Self { door: Some(door), ..self }
    }
}

impl<S> Layer<S> for CalledLayer {
    type Service = Marked<S>;
    fn layer(&self, inner: S) -> Marked<S> {
        let Self { audit, door, publications } = self.clone();
        Marked { inner, audit, door, publications }
    }
}

/// A service whose requests know their method.
#[derive(Clone)]
pub struct Marked<S> {
    inner: S,
    audit: Audit,
    door: Option<Door>,
    publications: Places,
}

impl<S, R> Service<http::Request<Body>> for Marked<S>
where
    S: Service<http::Request<Body>, Response = http::Response<R>>,
    S::Future: Send + 'static,
    R: Default + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let (called, noted) = (Called::by_path(request.uri().path()), Noted::default());
        request.extensions_mut().insert(called);
        request.extensions_mut().insert(noted.clone());
        let caller = request.extensions().get::<Peer>().cloned();
        if let Some(why) = not_for_hosts(called, caller.as_ref()) {
            let audit = self.audit.clone();
            let response: http::Response<R> = to_status(&why).into_http();
            return Box::pin(async move {
                note(&audit, refusal(called, caller, response.headers())).await;
                Ok(response)
            });
        }
        let turnstile = is_publication(called).then(|| self.turnstile(&request));
        let request = match turnstile {
            None => request,
            Some(_) => request.map(|body| Body::new(Paced::over(body, Pace::SLOWEST))),
        };
        let (call, audit) = (self.inner.call(request), self.audit.clone());
        Box::pin(async move {
            let place = match turnstile {
                None => Ok(None),
                Some(turnstile) => turnstile.enter().await,
            };
            let response = match place {
                Ok(_place) => call.await?,
                Err(why) => to_status(&why).into_http(),
            };
            if let Some(entry) = noted.get() {
                end(&audit, entry, response.headers());
            } else if !noted.is_denied() {
                let denied = refusal(called, caller, response.headers());
                note(&audit, denied).await;
            }
            Ok(response)
        })
    }
}

impl<S> Marked<S> {
    fn turnstile(&self, request: &http::Request<Body>) -> Turnstile {
        Turnstile {
            door: self.door.clone(),
            call: request.extensions().clone(),
            publications: self.publications.clone(),
        }
    }
}

/// Before a publication: nothing of its message is taken in yet.
struct Turnstile {
    door: Option<Door>,
    call: Extensions,
    publications: Places,
}

impl Turnstile {
    /// Whoever may publish nothing at all takes no place. What they may publish, only the message says.
    async fn enter(self) -> Result<Option<Place>, Coded> {
        if let Some(door) = &self.door {
            let may = door.glance(&self.call, &Scope::Any, "a publication").await;
            may.map_err(|trouble| trouble.coded())?;
        }
        match self.call.get::<Peer>().and_then(|peer| peer.identity.as_ref()) {
            Some(Identity::Operator(name)) => self.publications.take(name).map(Some),
            // Where a door is asked, it has refused them; where none is, nobody publishes.
            Some(Identity::Host(_) | Identity::Controller) | None => Ok(None),
        }
    }
}

/// What is for operators is refused to a host before its message is taken in: some may have many megabytes, and all of
/// that is held before a handler can ask the door.
fn not_for_hosts(called: Called, caller: Option<&Peer>) -> Option<Coded> {
    let Some(Identity::Host(id)) = caller.and_then(|peer| peer.identity.as_ref()) else { return None };
    match called.0?.who {
        Who::Operator(_) => {
            Some(Coded::new(Code::C02, format!("host {id} may not do this: it is for operators")))
        }
        Who::Agent | Who::Stranger => None,
    }
}

fn is_publication(called: Called) -> bool {
    called.0.is_some_and(|method| (method.service, method.name) == ("Releases", "Publish"))
}

/// What the door has not recorded: hosts that ask for what is not theirs, strangers with tokens that are not good.
fn refusal(called: Called, caller: Option<Peer>, headers: &http::HeaderMap) -> Option<What> {
    let refused = |code| matches!(code, Code::C02 | Code::E01 | Code::E02 | Code::E03 | Code::E04);
    let status = Status::from_header_map(headers).filter(|status| status.code() != tonic::Code::Ok)?;
    let why = from_status(&status);
    let method = called.0.filter(|_| refused(why.code))?;
    let actor = match caller.as_ref().map(|peer| (&peer.identity, peer.address)) {
        Some((Some(Identity::Host(id)), _)) => format!("host {id}"),
        Some((Some(Identity::Operator(name)), _)) => name.to_string(),
        Some((_, address)) => address.ip().to_string(),
        None => String::new(),
    };
    let key = caller.and_then(|peer| peer.key).map(|key| hex(&key[..4])).unwrap_or_default();
    let (method, code) = (method.to_string(), why.code.to_string());
    Some(What::Denied { actor, key, method, target: String::new(), code, why: why.message })
}

async fn note(audit: &Audit, denied: Option<What>) {
    let Some(denied) = denied else { return };
    if let Err(error) = audit.append(denied).await {
        tracing::error!(error = %Chain(&error), "a refusal was not recorded");
    }
}

/// A refusal is in the headers; without one the call was done, or its stream has begun.
pub(super) fn end(audit: &Audit, entry: u64, headers: &http::HeaderMap) {
    match Status::from_header_map(headers).filter(|status| status.code() != tonic::Code::Ok) {
        None => audit.ended(entry, None, ""),
        Some(status) => {
            let coded = from_status(&status);
            audit.ended(entry, Some(coded.code.to_string()), &coded.message);
        }
    }
}
