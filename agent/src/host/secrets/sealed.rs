//! Secrets that were encrypted for this host: the controller has the ciphertext, this host the key.

use longshore_common::{
    code::Code,
    digest::SealedDigest,
    report::{Failure, StepName},
};

use crate::{host::fault, identity::Opener, supply::Supply};

/// The ciphertext, or why there is none.
pub enum Answer {
    Text(bytes::Bytes),
    None(String),
}

/// Fails where trying again may help; a plain no is an answer, so that all missing secrets are named together.
pub async fn ask(supply: &Supply, digest: &SealedDigest, step: StepName) -> Result<Answer, Failure> {
    let source = supply.open().await;
    let source = source.map_err(|closed| fault::host(Code::C01, step, closed.to_string()))?;
    match source.sealed(digest).await {
        Ok(text) => Ok(Answer::Text(text)),
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
