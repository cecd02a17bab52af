//! A join token becomes an identity.

use std::{path::PathBuf, time::Duration};

use longshore_common::{
    code::{Code, Coded},
    digest::{hex, sha256},
    ids::{HostId, HostName},
    join::JoinToken,
    label::Labels,
    text::visible,
    time::{Clock as _, Millis, SystemClock},
    tls::pinned_client_config,
    wire,
};
use longshore_proto::v1::{self as pb, enrolment_client::EnrolmentClient};
use rcgen::KeyPair;

use super::{Folder, Opener, request};
use crate::{
    link::{MAIN_PORT, dial, with_port},
    trust::{PinFile, PinnedFirst},
};

/// From connecting to the certificate.
const DEADLINE: Duration = Duration::from_secs(30);
/// A clock that is further off than this is said to be wrong.
const CLOCK_TOLERANCE_MS: Millis = 5 * 60_000;

/// What it takes to enrol.
#[derive(Clone, Debug)]
pub struct Enrolling {
    /// `host:port` of the controller's enrolment port.
    pub server: String,
    pub token: JoinToken,
    pub name: HostName,
    pub labels: Labels,
    /// Where the identity will lie.
    pub folder: PathBuf,
    /// Where what is pinned and the key for secrets will lie; the same folder where there is one process.
    pub vault: PathBuf,
    /// An identity that is there already is replaced; else it is an error.
    pub again: Again,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    Refuse,
    Replace,
}

#[derive(Clone, Debug)]
pub struct Joined {
    pub host: HostId,
    /// The one that the controller gave; not always the one asked for.
    pub name: String,
    /// `host:port` of main ports; never empty.
    pub controllers: Vec<String>,
    pub expires_ms: Millis,
    /// Of its public key, in hex; an operator sees the same.
    pub fingerprint: String,
    /// An operator has to let it in first.
    pub waits: bool,
    /// Another host that it was until now; the controller still has that one.
    pub was: Option<(HostId, String)>,
}

/// Nothing is sent before the controller has proved that it holds the CA which the token names. The same token
/// again, after a lost reply, gives the same identity.
pub async fn enroll(wanted: &Enrolling) -> Result<Joined, Coded> {
    let folder = Folder::new(wanted.folder.clone());
    let known = match wanted.again {
        Again::Refuse => folder.load()?,
        Again::Replace => folder.load().ok().flatten(), // a damaged one is a reason to enrol again
    };
    if let (Again::Refuse, Some(known)) = (wanted.again, &known) {
        let message = format!(
            "this host is enrolled already, as {} ({}). Nothing was changed. To give it a new identity: \
             longshore-agent enroll --again …",
            known.name, known.host
        );
        return Err(Coded::new(Code::R01, message));
    }
    let key = folder.new_key()?;
    let pins = PinFile::within(&wanted.vault);
    let pinned_first = match wanted.token.root {
        // Before there is an identity, so that none is ever without what its token pins.
        Some(root) => pins.pin(root)?,
        None => PinnedFirst::No,
    };
    let reply = tokio::time::timeout(DEADLINE, ask(wanted, &key)).await;
    let reply = reply.unwrap_or_else(|_| {
        let message = format!("{} did not answer within {DEADLINE:?}. Nothing was changed", wanted.server);
        Err(Coded::new(Code::C01, message))
    });
    if reply.is_err() && pinned_first == PinnedFirst::Yes {
        // A token of another fleet that comes to nothing does not keep this host from joining the right one.
        pins.unpin()?;
    }
    let certificate = reply?;
    check_clock(certificate.server_time_ms)?;
    let pair = folder.store(&key, &certificate)?;
    let (fingerprint, waits) = (pair.fingerprint(), certificate.waits);
    match wanted.again {
        Again::Refuse => Opener::load_or_make(&wanted.vault)?,
        Again::Replace => Opener::make(&wanted.vault)?,
    };
    let controllers = match certificate.controllers.is_empty() {
        true => vec![with_port(&wanted.server, MAIN_PORT)],
        false => certificate.controllers,
    };
    Ok(Joined {
        host: pair.host,
        name: pair.name,
        controllers,
        expires_ms: pair.validity.not_after_ms,
        fingerprint,
        waits,
        was: known.filter(|known| known.host != pair.host).map(|known| (known.host, known.name)),
    })
}

async fn ask(wanted: &Enrolling, key: &KeyPair) -> Result<pb::Certificate, Coded> {
    let channel = dial(&wanted.server, pinned_client_config(wanted.token.ca)).await?;
    let question = pb::EnrollRequest {
        token: wanted.token.to_string(),
        csr_der: request(key)?.into(),
        name: wanted.name.to_string(),
        labels: wanted.labels.clone(),
        machine_id: machine_id(),
    };
    let reply = EnrolmentClient::new(channel).enroll(question).await;
    reply.map(tonic::Response::into_inner).map_err(|status| refusal(&wanted.server, &status))
}

/// What breaks off says of itself only that it did.
pub(super) fn refusal(server: &str, status: &tonic::Status) -> Coded {
    let told = wire::from_status(status);
    if told.code != Code::C01 || status.metadata().get(wire::CODE_KEY).is_some() {
        return told;
    }
    let message = format!(
        "the connection to {} ended before the controller answered ({}). It was stopped, or talks to as many strangers as \
         it takes at a time: the same again in a minute",
        visible(server),
        told.message
    );
    Coded::new(Code::C01, message)
}

/// A certificate that looks "not yet valid" to one of the two sides is a riddle later; a clock is a plain word now.
pub(super) fn check_clock(server_ms: Millis) -> Result<(), Coded> {
    let ahead = SystemClock.now_ms() - server_ms;
    if server_ms == 0 || ahead.abs() <= CLOCK_TOLERANCE_MS {
        return Ok(());
    }
    Err(crate::link::wrong_clock(ahead))
}

/// Notices cloned disks; says nothing about the machine.
pub fn machine_id() -> String {
    let id = std::fs::read("/etc/machine-id").unwrap_or_default();
    if id.is_empty() {
        String::new()
    } else {
        hex(&sha256(&[b"longshore machine ".as_slice(), &id].concat()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of whoever enrols, and of a host that asks for a new certificate in the place of an expired one.
    #[test]
    fn an_answer_that_breaks_off_names_the_address_and_the_cause() {
        let cause = std::io::Error::other("connection reset by peer");
        let said = refusal("ctl.example:7443", &tonic::Status::from_error(Box::new(cause))).to_string();
        assert!(said.contains("ctl.example:7443") && said.contains("(connection reset by peer)"), "{said}");
    }
}
