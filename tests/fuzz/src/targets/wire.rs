//! Messages: what a host says, what a controller says, and what a stranger may send before anybody knows it.

use longshore_agent::helper::heard;
use longshore_common::{assignment::Assignment, report::Report};
use longshore_controller::{identity::enrol::AskedKey, rpc::words};
use longshore_proto::v1 as pb;
use prost::Message as _;

use crate::oracle::{refused, refused_with};

pub fn from_agent(input: &[u8]) {
    let Ok(message) = pb::FromAgent::decode(input) else { return };
    if let Some(pb::from_agent::Message::Report(report)) = message.message.clone()
        && let Ok((seq, report)) = Report::from_message(report)
    {
        assert_eq!(Report::from_message(report.to_message(seq)).ok(), Some((seq, report)));
    }
    if let Err(invalid) = words::from_agent(message) {
        refused_with("message of an agent", &invalid.to_string());
    }
}

pub fn to_agent(input: &[u8]) {
    let Ok(message) = pb::ToAgent::decode(input) else { return };
    let Some(pb::to_agent::Message::Assignment(assignment)) = message.message else { return };
    match Assignment::try_from(assignment) {
        Err(invalid) => refused_with("assignment", &invalid.to_string()),
        Ok(assignment) => {
            let again = Assignment::try_from(pb::Assignment::from(&assignment));
            assert_eq!(again.as_ref(), Ok(&assignment));
            assignment.slot().to_string();
        }
    }
}

/// The word of an agent that may be anybody's, as its helper hears it.
pub fn helper_ask(input: &[u8]) {
    match heard(input) {
        Err(error) => refused("question to the helper", &error),
        Ok(None) => {}
        Ok(Some(written)) => {
            let length = u32::try_from(written.len()).expect("it was at most a MiB").to_be_bytes();
            let framed = [b"w".as_slice(), &length, &written].concat();
            assert_eq!(heard(&framed), Ok(Some(written)), "it reads the same again");
        }
    }
}

pub fn csr(input: &[u8]) {
    if let Err(error) = AskedKey::from_csr(input) {
        refused("certificate request", &error);
    }
}
