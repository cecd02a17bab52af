//! What hosts say of what they trust, in our own words and back.

use longshore_proto::v1 as pb;

use super::words::{line, read_trust, word};
use crate::fleet::words::{TrustAnswer, TrustFacts, VerifiedRepository};

/// Repositories that one host may tell of.
const ROWS: usize = 256;

pub(super) fn read(answer: pb::TrustAnswer) -> TrustAnswer {
    let pb::TrustAnswer { facts, repositories, time_ms } = answer;
    TrustAnswer {
        facts: facts.map(read_trust).unwrap_or_default(),
        repositories: repositories.into_iter().take(ROWS).map(read_row).collect(),
        time_ms,
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
        verified_ms,
        expires_ms,
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
    let TrustFacts { state, root_sha256, verified_ms, breaks, problem } = trust;
    pb::TrustFacts { state, root_sha256, verified_ms, breaks, problem }
}
