//! Tells every call which method it is, before any handler sees it, and has its end recorded.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use longshore_common::wire::from_status;
use tonic::{Status, codegen::http};
use tower::{Layer, Service};

use super::table::{self, Method};
use crate::{audit::Audit, identity::Noted};

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
}

impl CalledLayer {
    pub fn new(audit: Audit) -> Self {
        Self { audit }
    }
}

impl<S> Layer<S> for CalledLayer {
    type Service = Marked<S>;
    fn layer(&self, inner: S) -> Marked<S> {
        Marked { inner, audit: self.audit.clone() }
    }
}

/// A service whose requests know their method.
#[derive(Clone)]
pub struct Marked<S> {
    inner: S,
    audit: Audit,
}

impl<S, B, R> Service<http::Request<B>> for Marked<S>
where
    S: Service<http::Request<B>, Response = http::Response<R>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        let (called, noted) = (Called::by_path(request.uri().path()), Noted::default());
        request.extensions_mut().insert(called);
        request.extensions_mut().insert(noted.clone());
        let (call, audit) = (self.inner.call(request), self.audit.clone());
        Box::pin(async move {
            let response = call.await?;
            if let Some(entry) = noted.get() {
                end(&audit, entry, response.headers());
            }
            Ok(response)
        })
    }
}

/// A refusal is in the headers; without one the call was done, or its stream has begun.
fn end(audit: &Audit, entry: u64, headers: &http::HeaderMap) {
    match Status::from_header_map(headers).filter(|status| status.code() != tonic::Code::Ok) {
        None => audit.ended(entry, None, ""),
        Some(status) => {
            let coded = from_status(&status);
            audit.ended(entry, Some(coded.code.to_string()), &coded.message);
        }
    }
}
