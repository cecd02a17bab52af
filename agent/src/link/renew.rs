//! The next certificate, for a new key, in time.

use std::time::Duration;

use longshore_common::{code::Coded, wire};
use longshore_proto::v1::{self as pb, renewal_client::RenewalClient};
use rand::RngExt as _;
use tokio::time::Instant;
use tonic::transport::Channel;

use super::Link;
use crate::{
    identity::{Folder, Pair, request},
    run::Works,
};

/// Of one attempt.
const DEADLINE: Duration = Duration::from_secs(30);
/// Between attempts, at most; less when the certificate has less than twenty times as much left.
pub(super) const PAUSE: Duration = Duration::from_secs(600);

/// When to renew the certificate in use.
pub(super) fn at<W: Works>(link: &Link<W>) -> Instant {
    let left = link.pair.validity.renew_at() - link.crew.now_ms();
    Instant::now() + Duration::from_millis(left.max(0).unsigned_abs())
}

/// Some moment of that time, so that a fleet does not renew at once.
pub(super) fn within(time: Duration) -> Duration {
    time.mul_f64(rand::rng().random_range(0.0..=1.0))
}

/// When to try once more.
pub(super) fn again<W: Works>(link: &Link<W>) -> Instant {
    let left = link.pair.validity.not_after_ms - link.crew.now_ms();
    let pause = Duration::from_millis((left.max(20_000) / 20).unsigned_abs()).min(PAUSE);
    Instant::now() + pause.mul_f64(rand::rng().random_range(0.5..=1.0))
}

pub(super) async fn renew(folder: Folder, channel: Channel) -> Result<Pair, Coded> {
    let blocking = folder.clone();
    let key = spawn(move || blocking.new_key()).await?;
    let mut question = tonic::Request::new(pb::RenewRequest { csr_der: request(&key)?.into() });
    question.set_timeout(DEADLINE);
    let reply = RenewalClient::new(channel).renew(question).await;
    let certificate = reply.map_err(|status| wire::from_status(&status))?.into_inner();
    spawn(move || folder.store(&key, &certificate)).await
}

async fn spawn<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Coded> + Send + 'static,
) -> Result<T, Coded> {
    tokio::task::spawn_blocking(work).await.expect("writing an identity does not panic")
}
