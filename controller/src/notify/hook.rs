//! Webhooks: one signed POST. Any 2xx is an answer; what else comes back says whether trying again may help.

use std::{sync::Arc, time::Duration};

use longshore_common::{chain::Chain, text::visible, time::Millis};

use super::{Notice, courier::Undelivered};
use crate::http::{Call, Reply, Trust, Url, call, signature};

/// Of one call, its last byte included.
const DEADLINE: Duration = Duration::from_secs(15);
/// Of a reply; more is not read.
const REPLY_BYTES: usize = 4 * 1024;
/// Shown of a reply that is no success.
const SHOWN: usize = 200;
/// Longest that a server may ask us to wait.
const WAIT_MAX_SECS: u64 = 3600;

pub(super) async fn post(
    notice: &Notice,
    url: &str,
    key: &[u8],
    trust: Arc<Trust>,
    now: Millis,
) -> Result<(), Undelivered> {
    let url: Url = url.parse().map_err(|error| Undelivered::never(Chain(&error)))?;
    let body = notice.payload.clone();
    let mut post = Call::post(url, "application/json", body.clone(), DEADLINE, trust)
        .header("longshore-kind", notice.kind.as_str())
        .header("longshore-delivery", notice.id.to_string())
        .header("longshore-signature", signature(key, now / 1000, body.as_bytes()));
    post.max_bytes = REPLY_BYTES;
    match call(&post).await {
        Ok(reply) if reply.is_success() => Ok(()),
        Ok(reply) => Err(refused(&reply)),
        Err(error) => Err(Undelivered::later(Chain(&error))),
    }
}

/// A server that is busy or ill may be well later. One that says that it does not take this will not take it later.
fn refused(reply: &Reply) -> Undelivered {
    let body: String = visible(reply.text().trim()).chars().take(SHOWN).collect();
    let said = if body.is_empty() { String::new() } else { format!(": {body}") };
    let error = format!("{} answered {}{said}", reply.url.server(), reply.status);
    match reply.status {
        408 | 425 | 429 | 500..=599 => {
            let wait = reply.header("retry-after").and_then(|text| text.trim().parse::<u64>().ok());
            let wait = wait.map(|seconds| Duration::from_secs(seconds.min(WAIT_MAX_SECS)));
            Undelivered { wait, ..Undelivered::later(error) }
        }
        _ => Undelivered::never(error),
    }
}
