//! Back from an expired certificate, without an operator: the key that it was for signs for a new one.

use std::time::Duration;

use longshore_common::{
    code::{Code, Coded},
    recovery::words,
    tls::anonymous_client_config,
};
use longshore_proto::v1::{self as pb, enrolment_client::EnrolmentClient};
use rcgen::SigningKey as _;

use super::{
    Folder, Pair,
    enroll::{check_clock, refusal},
    fault, request,
};
use crate::link::{dial, with_port};

/// From connecting to the certificate.
const DEADLINE: Duration = Duration::from_secs(30);

/// `controller` is the address of its main port. A new identity has taken effect when this returns one.
pub async fn recover(folder: Folder, pair: &Pair, controller: &str) -> Result<Pair, Coded> {
    match tokio::time::timeout(DEADLINE, ask(folder, pair, controller)).await {
        Ok(answer) => answer,
        Err(_) => {
            let message = format!("{controller} did not answer within {DEADLINE:?}. Nothing was changed");
            Err(Coded::new(Code::C01, message))
        }
    }
}

async fn ask(folder: Folder, pair: &Pair, controller: &str) -> Result<Pair, Coded> {
    let blocking = folder.clone();
    let (key, port, recoveries) =
        spawn(move || Ok((blocking.new_key()?, blocking.enrol_port()?, blocking.recoveries()?))).await?;
    let address = with_port(controller, port);
    let channel = dial(&address, anonymous_client_config(pair.live().1)).await?;
    let mut client = EnrolmentClient::new(channel);
    let said = |status: tonic::Status| refusal(&address, &status);
    let challenge = client.challenge(pb::ChallengeRequest {}).await.map_err(said)?.into_inner();
    check_clock(challenge.server_time_ms)?;
    let nonce = challenge.nonce[..].try_into();
    let nonce = nonce.map_err(|_| Coded::new(Code::X01, "the controller's nonce has another length"))?;
    let csr_der = request(&key)?;
    let held = pair.key()?;
    let signed = held.sign(&words(nonce, &pair.host, recoveries, &csr_der));
    let question = pb::RecoverRequest {
        host_id: pair.host.to_string(),
        nonce: challenge.nonce.clone(),
        csr_der: csr_der.into(),
        key_der: pair.public_key()?.into(),
        recoveries,
        signature: signed.map_err(|e| fault("sign with the expired key", &e))?.into(),
    };
    let certificate = client.recover(question).await.map_err(said)?.into_inner();
    spawn(move || folder.store(&key, &certificate)).await
}

async fn spawn<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Coded> + Send + 'static,
) -> Result<T, Coded> {
    tokio::task::spawn_blocking(work).await.expect("reading and writing an identity does not panic")
}
