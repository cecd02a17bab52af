//! Failures made small enough to be kept.

use longshore_common::{report::Failure, wire::cut};

/// Bytes of evidence that are kept, as JSON; older lines go first. Two failures and a message fit into one entry.
const EVIDENCE_BYTES: usize = 5 * 1024;
/// Bytes of a failure's message that are kept.
const MESSAGE_BYTES: usize = 1024;

/// The failure with the latest evidence that fits.
pub fn fit(mut failure: Failure) -> Failure {
    failure.message = cut(&failure.message, MESSAGE_BYTES);
    let mut left = EVIDENCE_BYTES;
    let kept = failure.evidence.iter().rev().take_while(|line| {
        let size = serde_json::to_string(line).map_or(usize::MAX, |json| json.len() + 1);
        let fits = size <= left;
        left = left.saturating_sub(size);
        fits
    });
    let skipped = failure.evidence.len() - kept.count();
    failure.evidence.drain(..skipped);
    failure
}

#[cfg(test)]
mod tests {
    use longshore_common::{
        code::Code,
        report::{Blame, StepName},
    };

    use super::*;

    #[test]
    fn the_latest_lines_stay() {
        let lines = (0..20).map(|n| format!("{n} {}", "\u{1}".repeat(500)));
        let failure =
            Failure::new(Code::U01, StepName::Start, Blame::Version, "x".repeat(5000)).with_evidence(lines);
        let kept = fit(failure);
        assert!(serde_json::to_vec(&kept).unwrap().len() < 7 * 1024);
        assert!(kept.evidence.last().unwrap().starts_with("19 "));
        assert!(!kept.evidence.is_empty());
    }
}
