//! What hosts say of what they trust, in our own words and back; and what waits for signatures, on its way out.

use longshore_common::time::told;
use longshore_proto::v1 as pb;

use super::words::{line, read_trust, word};
use crate::{
    fleet::words::{TrustAnswer, TrustFacts, VerifiedRepository},
    trust::{Signatures, Signed, Waiting},
};

/// Repositories that one host may tell of.
const ROWS: usize = 256;

pub(super) fn read(answer: pb::TrustAnswer) -> TrustAnswer {
    let pb::TrustAnswer { facts, repositories, time_ms } = answer;
    TrustAnswer {
        facts: facts.map(read_trust).unwrap_or_default(),
        repositories: repositories.into_iter().take(ROWS).map(read_row).collect(),
        time_ms: told(time_ms),
    }
}

fn read_row(row: pb::VerifiedRepository) -> VerifiedRepository {
    let pb::VerifiedRepository {
        app,
        problem,
        root_version,
        list_version,
        releases,
        floor,
        verified_ms,
        expires_ms,
        frozen,
        revoked,
    } = row;
    VerifiedRepository {
        app: word(&app),
        problem: line(&problem),
        root_version,
        list_version,
        releases,
        floor,
        verified_ms: told(verified_ms),
        expires_ms: told(expires_ms),
        frozen: line(&frozen),
        revoked,
    }
}

pub(super) fn message(answer: TrustAnswer) -> pb::TrustAnswer {
    let TrustAnswer { facts, repositories, time_ms } = answer;
    let repositories = repositories.into_iter().map(row_message).collect();
    pb::TrustAnswer { facts: Some(facts_message(facts)), repositories, time_ms }
}

fn row_message(row: VerifiedRepository) -> pb::VerifiedRepository {
    let VerifiedRepository {
        app,
        problem,
        root_version,
        list_version,
        releases,
        floor,
        verified_ms,
        expires_ms,
        frozen,
        revoked,
    } = row;
    pb::VerifiedRepository {
        app,
        problem,
        root_version,
        list_version,
        releases,
        floor,
        verified_ms,
        expires_ms,
        frozen,
        revoked,
    }
}

pub(super) fn facts_message(trust: TrustFacts) -> pb::TrustFacts {
    let TrustFacts { state, root_sha256, verified_ms, breaks, problem, expired, damaged, ahead, frozen } =
        trust;
    pb::TrustFacts { state, root_sha256, verified_ms, breaks, problem, expired, damaged, ahead, frozen }
}

pub(super) fn waiting(waiting: &Waiting) -> pb::TrustWaiting {
    let by = |key| waiting.signed.iter().find(|signed| signed.key == key).map(|signed| signed.by.clone());
    let signatures = |of: &Signatures| pb::TrustSignatures {
        takes: of.takes,
        have: of
            .have
            .iter()
            .map(|key| pb::TrustSigner { key: key.short(), by: by(*key).unwrap_or_default() })
            .collect(),
        lacking: of.lacking.iter().map(|key| key.short()).collect(),
    };
    pb::TrustWaiting {
        id: waiting.id.clone(),
        what: waiting.what(),
        command: waiting.command(),
        sentence: waiting.sentence(),
        root: waiting.root.as_ref().map(signatures),
        list: Some(signatures(&waiting.list)),
        overtaken: waiting.overtaken,
        since_ms: waiting.since_ms,
    }
}

/// How a release stands with those who sign.
pub(super) fn signing(signed: Signed) -> pb::ReleaseSigning {
    let state = |state: &str| pb::ReleaseSigning { state: state.to_owned(), ..Default::default() };
    match signed {
        Signed::Unneeded => state("unneeded"),
        Signed::Never => state("never"),
        Signed::Listed => state("signed"),
        Signed::BelowFloor => state("below-floor"),
        Signed::Delisted => state("delisted"),
        Signed::Revoked(reason) => pb::ReleaseSigning { reason, ..state("revoked") },
        Signed::Overtaken { command } => pb::ReleaseSigning { next: command, ..state("overtaken") },
        Signed::Waits { delisting, have, takes, lacking, command } => pb::ReleaseSigning {
            have: u32::try_from(have).unwrap_or(u32::MAX),
            takes: u32::try_from(takes).unwrap_or(u32::MAX),
            lacking: lacking.iter().map(|key| key.short()).collect(),
            next: command,
            ..state(if delisting { "delisting" } else { "waiting" })
        },
    }
}
