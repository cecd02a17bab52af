//! How long a call may take until it answers. What it then streams is not counted.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use longshore_common::{
    code::{Code, Coded},
    wire::to_status,
};
use tonic::{
    body::Body,
    codegen::{
        Service,
        http::{Request, Response},
    },
};
use tower::Layer;

/// Of a question that is answered from the store.
const QUICK: Duration = Duration::from_secs(30);
/// Of a call that reads or makes as much as a whole artifact, or asks every host and has a deadline of its own for that.
const LONG: Duration = Duration::from_secs(30 * 60);
/// Ends of the paths of those.
const LONG_CALLS: [&str; 7] = [
    "Releases/Upload",
    "Releases/Publish",
    "Releases/Verify",
    "Blobs/Index",
    "Blobs/Fetch",
    "Plans/Make",
    "Rollouts/Start",
];

#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines;

impl<S> Layer<S> for Deadlines {
    type Service = Timed<S>;
    fn layer(&self, inner: S) -> Timed<S> {
        Timed(inner)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Timed<S>(S);

type Answer<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

impl<S, B> Service<Request<B>> for Timed<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answer<S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let limit = deadline_of(request.uri().path());
        let answer = self.0.call(request);
        Box::pin(in_time(limit, answer))
    }
}

async fn in_time<E>(
    limit: Duration,
    answer: impl Future<Output = Result<Response<Body>, E>>,
) -> Result<Response<Body>, E> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer,
        Err(_) => Ok(to_status(&late(limit)).into_http()),
    }
}

fn deadline_of(path: &str) -> Duration {
    if LONG_CALLS.iter().any(|call| path.ends_with(call)) { LONG } else { QUICK }
}

fn late(limit: Duration) -> Coded {
    let message = format!(
        "the controller did not answer within {} s and has given the call up; look at its load and its disk, then \
         try again",
        limit.as_secs()
    );
    Coded::new(Code::C01, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_common::wire::from_status;

    #[tokio::test]
    async fn a_call_that_hangs_is_given_up() {
        let hangs = std::future::pending::<Result<_, String>>();
        let answer = in_time(Duration::from_millis(1), hangs).await.unwrap();
        let status = tonic::Status::from_header_map(answer.headers()).unwrap();
        assert_eq!(from_status(&status).code, Code::C01, "{status}");
    }

    #[test]
    fn whole_artifacts_have_more_time() {
        assert_eq!(deadline_of("/longshore.v1.Releases/Publish"), LONG);
        assert_eq!(deadline_of("/longshore.v1.Releases/List"), QUICK);
    }
}
