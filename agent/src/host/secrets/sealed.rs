//! Secrets that were encrypted for this host: the controller has the ciphertext, this host the key.

use std::time::Duration;

use longshore_common::{
    code::Code,
    digest::SealedDigest,
    report::{Failure, StepName},
};
use longshore_proto::v1::{self as pb, blobs_client::BlobsClient};
use tokio::time::timeout;

use crate::{
    host::{fault, fetch::FetchError},
    identity::{Opener, PLAIN_BYTES},
    uplink::Uplink,
};

/// Of one answer, once there is a connection.
const ANSWER_DEADLINE: Duration = Duration::from_secs(15);
/// Of one message: a ciphertext and what is around it.
const MESSAGE_BYTES: usize = PLAIN_BYTES + 4096;

/// The ciphertext, or why there is none.
pub enum Answer {
    Text(bytes::Bytes),
    None(String),
}

/// Fails where trying again may help; a plain no is an answer, so that all missing secrets are named together.
pub async fn ask(uplink: &Uplink, digest: &SealedDigest, step: StepName) -> Result<Answer, Failure> {
    let channel = uplink.channel().await;
    let channel = channel.map_err(|closed| fault::host(Code::C01, step, closed.to_string()))?;
    let request = pb::SealedRequest { digest: digest.as_bytes().to_vec().into() };
    let mut client = BlobsClient::new(channel).max_decoding_message_size(MESSAGE_BYTES);
    let Ok(reply) = timeout(ANSWER_DEADLINE, client.sealed(request)).await else {
        return Err(fault::host(
            Code::C01,
            step,
            "the controller did not answer for a sealed secret in time",
        ));
    };
    match reply.map_err(FetchError::from) {
        Ok(reply) => Ok(Answer::Text(reply.into_inner().text)),
        Err(error) if error.is_retryable() => Err(error.failure(step)),
        Err(error) => Ok(Answer::None(error.coded().message.clone())),
    }
}

/// Only this host's key opens it.
pub fn open(opener: &Opener, digest: &SealedDigest, answer: Option<&Answer>) -> Result<Vec<u8>, String> {
    let again =
        "Encrypt it again: longshore secret encrypt; see which hosts need it: longshore secret check ENV";
    match answer {
        Some(Answer::Text(text)) => {
            opener.open(text).map_err(|why| format!("sealed {}: {why}. {again}", digest.short()))
        }
        Some(Answer::None(why)) => Err(format!("{why}. {again}")),
        None => Err(format!("sealed {} was not asked for. {again}", digest.short())),
    }
}
