//! Files that we write ourselves, and that somebody else may have had in hand.

use longshore_common::ledger::journal;
use longshore_controller::audit::{Chained, Verifier};

use super::text;
use crate::oracle::is_shown_safely;

/// Length of a frame's head: mark, length, sum.
const HEAD: usize = 12;

/// The sums are made right first: those of a disk that rots do not need a fuzzer.
pub fn journal(input: &[u8]) {
    let mut bytes = input.to_vec();
    let mut at = 0;
    while let Some(frame) = bytes.get_mut(at..).filter(|rest| rest.len() >= HEAD) {
        let length = u32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]) as usize;
        let Some(payload) = frame.get(HEAD..HEAD + length) else { break };
        let sum = crc32c::crc32c_append(crc32c::crc32c(&(length as u64).to_be_bytes()), payload);
        frame[8..HEAD].copy_from_slice(&sum.to_be_bytes());
        at += HEAD + length;
    }
    if let Err(why) = journal::examine(&bytes) {
        is_shown_safely("journal", &why);
    }
}

pub fn audit_log(input: &[u8]) {
    let mut verifier = Verifier::default();
    for line in text(input).lines() {
        if let Some(entry) = Chained::parse(line) {
            assert_eq!(Chained::parse(&entry.line()).as_ref(), Some(&entry));
        }
        if let Err(broken) = verifier.line(line) {
            is_shown_safely("audit log", &broken.to_string());
            return;
        }
    }
    if let Err(broken) = verifier.end() {
        is_shown_safely("audit log", &broken.to_string());
    }
}
