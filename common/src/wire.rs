//! Generated messages in, our own words out, and back.
//!
//! A message from the wire is believed only after `TryFrom` has checked every field; destructuring makes a new
//! field fail to compile here until somebody has thought about it.

pub mod directions;
mod said;
pub mod secrets;
mod sides;

pub use said::said;

use longshore_proto::v1 as pb;
use tonic::{Status, metadata::MetadataValue};

use crate::{
    assignment::{Assignment, Intent},
    code::{Code, Coded},
    digest::ReleaseDigest,
    ids::Generation,
    report::{Blame, EVIDENCE_LINES, Failure, LINE_BYTES, Outcome, Report, StepName},
    settings::Settings,
    text::visible,
    time::Span,
    traffic::Traffic,
};

/// Where a gRPC status carries the code, so that no one has to read it out of the message.
pub const CODE_KEY: &str = "longshore-code";

/// A message that does not say what it must.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("{field} is missing")]
    Missing { field: &'static str },
    #[error("{field} is malformed: {why}")]
    Malformed { field: &'static str, why: String },
}

impl From<Invalid> for Coded {
    fn from(invalid: Invalid) -> Coded {
        Coded::new(Code::V01, invalid.to_string())
    }
}

/// Reads a field that has a `FromStr` of ours.
pub fn parse<T: std::str::FromStr<Err = Coded>>(field: &'static str, text: &str) -> Result<T, Invalid> {
    text.parse().map_err(|e: Coded| Invalid::Malformed { field, why: e.message })
}

fn digest(field: &'static str, bytes: &[u8]) -> Result<ReleaseDigest, Invalid> {
    ReleaseDigest::try_from(bytes).map_err(|e| Invalid::Malformed { field, why: e.message })
}

/// The error as a gRPC status: a fitting gRPC code, our message, our code in the metadata.
pub fn to_status(error: &Coded) -> Status {
    let grpc = match error.code {
        Code::N01 => tonic::Code::NotFound,
        Code::N02 => tonic::Code::AlreadyExists,
        Code::C02 | Code::P01 | Code::E01 | Code::E02 | Code::E03 | Code::E06 => {
            tonic::Code::PermissionDenied
        }
        Code::R01
        | Code::R02
        | Code::R03
        | Code::R04
        | Code::W01
        | Code::W02
        | Code::W03
        | Code::Q01
        | Code::K01
        | Code::O03
        | Code::T01
        | Code::T02
        | Code::T03
        | Code::T04
        | Code::T05 => tonic::Code::FailedPrecondition,
        Code::S01 | Code::S02 | Code::S03 | Code::X01 => tonic::Code::Internal,
        Code::S04 | Code::C01 => tonic::Code::Unavailable,
        Code::D01 => tonic::Code::ResourceExhausted,
        _ => tonic::Code::InvalidArgument,
    };
    let mut status = Status::new(grpc, error.message.clone());
    let code = error.code.to_string();
    status.metadata_mut().insert(CODE_KEY, MetadataValue::try_from(code).expect("a code is plain ASCII"));
    status
}

/// The code and message of a status that `to_status` made, or of any other as well as can be told.
pub fn from_status(status: &Status) -> Coded {
    let told = status
        .metadata()
        .get(CODE_KEY)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok());
    // What came from the other side has no cause here; what broke on the way to it has one, or is of unknown kind: all
    // that our own services say names its code.
    let broken = std::error::Error::source(status).is_some() || status.code() == tonic::Code::Unknown;
    let code = told.unwrap_or(match status.code() {
        _ if broken => Code::C01,
        tonic::Code::Unavailable | tonic::Code::DeadlineExceeded | tonic::Code::Cancelled => Code::C01,
        tonic::Code::PermissionDenied | tonic::Code::Unauthenticated => Code::C02,
        tonic::Code::NotFound => Code::N01,
        tonic::Code::InvalidArgument | tonic::Code::OutOfRange => Code::V01,
        tonic::Code::ResourceExhausted => Code::A04,
        _ => Code::X01,
    });
    Coded::new(code, visible(&said(status)))
}

// ---------------------------------------------------------------- assignment

impl From<&Assignment> for pb::Assignment {
    fn from(assignment: &Assignment) -> Self {
        pb::Assignment {
            host: assignment.host.to_string(),
            app: assignment.app.to_string(),
            env: assignment.env.to_string(),
            rollout: assignment.rollout.to_string(),
            generation: assignment.generation.0,
            version: assignment.version.to_string(),
            release: assignment.release.as_bytes().to_vec().into(),
            values: assignment.settings.values.clone(),
            secrets: secrets::to_messages(&assignment.settings.secrets),
            intent: pb::Intent::from(assignment.intent).into(),
            keep_slots: assignment.keep_slots,
            traffic: assignment.traffic.as_ref().map(Into::into),
            directions: assignment.directions.as_ref().map(directions::to_message),
            unwell_slot: assignment.unwell.as_ref().map(ToString::to_string).unwrap_or_default(),
        }
    }
}

impl TryFrom<pb::Assignment> for Assignment {
    type Error = Invalid;
    fn try_from(message: pb::Assignment) -> Result<Self, Invalid> {
        let intent = message.intent();
        let pb::Assignment {
            host,
            app,
            env,
            rollout,
            generation,
            version,
            release,
            values,
            intent: _,
            keep_slots,
            traffic,
            directions,
            secrets,
            unwell_slot,
        } = message;
        let intent = Intent::try_from(intent)?;
        if (intent == Intent::Direct) != directions.is_some() {
            return Err(Invalid::Missing { field: "assignment.directions" });
        }
        Ok(Assignment {
            host: parse("assignment.host", &host)?,
            app: parse("assignment.app", &app)?,
            env: parse("assignment.env", &env)?,
            rollout: parse("assignment.rollout", &rollout)?,
            generation: Generation(generation),
            version: parse("assignment.version", &version)?,
            release: digest("assignment.release", &release)?,
            settings: Settings { values, secrets: secrets::from_messages(secrets)? },
            intent,
            keep_slots: keep_slots.max(2),
            traffic: traffic.map(TryInto::try_into).transpose()?,
            directions: directions.map(directions::from_message).transpose()?,
            unwell: match unwell_slot.as_str() {
                "" => None,
                slot => Some(parse("assignment.unwell_slot", slot)?),
            },
        })
    }
}

impl From<&Traffic> for pb::Traffic {
    fn from(traffic: &Traffic) -> Self {
        pb::Traffic {
            director: traffic.director.to_string(),
            backend: traffic.backend.to_string(),
            share: u32::from(traffic.share),
            drain_ms: traffic.drain.as_ms() as u64,
        }
    }
}

impl TryFrom<pb::Traffic> for Traffic {
    type Error = Invalid;
    fn try_from(message: pb::Traffic) -> Result<Self, Invalid> {
        let pb::Traffic { director, backend, share, drain_ms } = message;
        let out_of_range = || Invalid::Malformed { field: "traffic.share", why: "is not 1 to 100".into() };
        Ok(Traffic {
            director: parse("traffic.director", &director)?,
            backend: parse("traffic.backend", &backend)?,
            share: u8::try_from(share)
                .ok()
                .filter(|share| (1..=100).contains(share))
                .ok_or_else(out_of_range)?,
            drain: Span::millis(drain_ms.min(Span::MAX_MS)),
        })
    }
}

impl From<Intent> for pb::Intent {
    fn from(intent: Intent) -> Self {
        match intent {
            Intent::Stage => pb::Intent::Stage,
            Intent::Run => pb::Intent::Run,
            Intent::Remove => pb::Intent::Remove,
            Intent::Direct => pb::Intent::Direct,
        }
    }
}

impl TryFrom<pb::Intent> for Intent {
    type Error = Invalid;
    fn try_from(intent: pb::Intent) -> Result<Self, Invalid> {
        match intent {
            pb::Intent::Unspecified => Err(Invalid::Missing { field: "assignment.intent" }),
            pb::Intent::Stage => Ok(Intent::Stage),
            pb::Intent::Run => Ok(Intent::Run),
            pb::Intent::Remove => Ok(Intent::Remove),
            pb::Intent::Direct => Ok(Intent::Direct),
        }
    }
}

/// Values and references to secrets.
pub fn read_settings(
    values: std::collections::BTreeMap<String, String>,
    secrets: std::collections::BTreeMap<String, pb::SecretReference>,
) -> Result<Settings, Invalid> {
    Ok(Settings { values, secrets: secrets::from_messages(secrets)? })
}

/// References to secrets, as messages.
pub fn secret_messages(settings: &Settings) -> std::collections::BTreeMap<String, pb::SecretReference> {
    secrets::to_messages(&settings.secrets)
}

// ---------------------------------------------------------------- report

impl Report {
    /// `seq` is the outbox's number, which the acknowledgement repeats.
    pub fn to_message(&self, seq: u64) -> pb::Report {
        pb::Report {
            seq,
            app: self.app.to_string(),
            rollout: self.rollout.to_string(),
            generation: self.generation.0,
            release: self.release.as_bytes().to_vec().into(),
            time_ms: self.time_ms,
            outcome: Some((&self.outcome).into()),
            slot: self.live.as_ref().map(ToString::to_string).unwrap_or_default(),
            by: self.by.clone().unwrap_or_default(),
        }
    }

    /// The report and its number in the sender's outbox.
    pub fn from_message(message: pb::Report) -> Result<(u64, Self), Invalid> {
        let pb::Report { seq, app, rollout, generation, release, time_ms, outcome, slot, by } = message;
        let report = Report {
            app: parse("report.app", &app)?,
            rollout: parse("report.rollout", &rollout)?,
            generation: Generation(generation),
            release: digest("report.release", &release)?,
            time_ms,
            outcome: outcome.ok_or(Invalid::Missing { field: "report.outcome" })?.try_into()?,
            live: if slot.is_empty() { None } else { Some(parse("report.slot", &slot)?) },
            by: (!by.is_empty()).then_some(by),
        };
        Ok((seq, report))
    }
}

impl From<&Outcome> for pb::Outcome {
    fn from(outcome: &Outcome) -> Self {
        use pb::outcome::Kind;
        let kind = match outcome {
            Outcome::Staged => Kind::Staged(pb::Nothing {}),
            Outcome::Healthy => Kind::Healthy(pb::Nothing {}),
            Outcome::Unchanged => Kind::Unchanged(pb::Nothing {}),
            Outcome::Failed { failure } => Kind::Failed(failure.into()),
            Outcome::Reverted { failure, to_slot, to_version } => Kind::Reverted(pb::Reverted {
                failure: Some(failure.into()),
                to_slot: to_slot.to_string(),
                to_version: to_version.to_string(),
            }),
            Outcome::Inconsistent { failure } => Kind::Inconsistent(failure.into()),
            Outcome::Refused { failure } => Kind::Refused(failure.into()),
            Outcome::Removed => Kind::Removed(pb::Nothing {}),
        };
        pb::Outcome { kind: Some(kind) }
    }
}

impl TryFrom<pb::Outcome> for Outcome {
    type Error = Invalid;
    fn try_from(message: pb::Outcome) -> Result<Self, Invalid> {
        use pb::outcome::Kind;
        Ok(match message.kind.ok_or(Invalid::Missing { field: "outcome.kind" })? {
            Kind::Staged(pb::Nothing {}) => Outcome::Staged,
            Kind::Healthy(pb::Nothing {}) => Outcome::Healthy,
            Kind::Unchanged(pb::Nothing {}) => Outcome::Unchanged,
            Kind::Failed(failure) => Outcome::Failed { failure: failure.try_into()? },
            Kind::Reverted(pb::Reverted { failure, to_slot, to_version }) => Outcome::Reverted {
                failure: failure.ok_or(Invalid::Missing { field: "reverted.failure" })?.try_into()?,
                to_slot: parse("reverted.to_slot", &to_slot)?,
                to_version: parse("reverted.to_version", &to_version)?,
            },
            Kind::Inconsistent(failure) => Outcome::Inconsistent { failure: failure.try_into()? },
            Kind::Refused(failure) => Outcome::Refused { failure: failure.try_into()? },
            Kind::Removed(pb::Nothing {}) => Outcome::Removed,
        })
    }
}

impl From<&Failure> for pb::Failure {
    fn from(failure: &Failure) -> Self {
        let blame = match failure.blame {
            Blame::Version => pb::Blame::Version,
            Blame::Environment => pb::Blame::Environment,
        };
        pb::Failure {
            code: failure.code.clone(),
            step: failure.step.to_string(),
            message: failure.message.clone(),
            evidence: failure.evidence.clone(),
            blame: blame.into(),
        }
    }
}

impl TryFrom<pb::Failure> for Failure {
    type Error = Invalid;
    /// Too many or too long lines are cut, not refused: evidence of a failure must not be lost over its form.
    fn try_from(message: pb::Failure) -> Result<Self, Invalid> {
        let blame = message.blame();
        let pb::Failure { code, step, message, evidence, blame: _ } = message;
        let step: StepName = step.parse().map_err(|()| Invalid::Malformed {
            field: "failure.step",
            why: format!("\"{}\" is no step", visible(&step)),
        })?;
        let blame = match blame {
            pb::Blame::Version => Blame::Version,
            pb::Blame::Environment => Blame::Environment,
            pb::Blame::Unspecified => return Err(Invalid::Missing { field: "failure.blame" }),
        };
        let skipped = evidence.len().saturating_sub(EVIDENCE_LINES);
        Ok(Failure {
            code: cut(&code, 16),
            step,
            message: cut(&message, 4 * LINE_BYTES),
            evidence: evidence.iter().skip(skipped).map(|line| cut(line, LINE_BYTES)).collect(),
            blame,
        })
    }
}

/// At most `most` bytes, cut at a character and marked where it was cut.
pub fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = (0..=most.saturating_sub(3)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        digest::SealedDigest,
        settings::{Reference, Values},
    };

    fn assignment() -> Assignment {
        Assignment {
            host: "6f3c5a52-7f0e-4a53-9b5c-0d8f3f6f2c11".parse().unwrap(),
            app: "shop".parse().unwrap(),
            env: "production".parse().unwrap(),
            rollout: "0193f3a0-0000-7000-8000-000000000001".parse().unwrap(),
            generation: Generation::new(3, 1),
            version: "1.4.2".parse().unwrap(),
            release: ReleaseDigest::of(b"manifest"),
            settings: Settings {
                values: Values::from([("workers".into(), "4".into())]),
                secrets: [
                    ("a", Reference::File { path: "/etc/longshore/secrets/a".into(), rev: 2 }),
                    ("b", Reference::Credential { name: "b".into(), rev: 0 }),
                    ("c", Reference::Sealed { digest: SealedDigest([7; 32]) }),
                ]
                .map(|(name, reference)| (name.to_owned(), reference))
                .into(),
            },
            intent: Intent::Run,
            keep_slots: 3,
            traffic: Some(Traffic {
                director: crate::traffic::Director::Haproxy,
                backend: "shop".parse().unwrap(),
                share: 25,
                drain: Span::secs(30),
            }),
            directions: None,
            unwell: Some("1.4.1-0000000a".parse().unwrap()),
        }
    }

    #[test]
    fn a_connection_that_breaks_is_no_fault_of_ours() {
        let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert_eq!(from_status(&Status::from_error(Box::new(reset))).code, Code::C01);
        let cut = Status::unknown("h2 protocol error: error reading a body from connection");
        assert_eq!(from_status(&cut).code, Code::C01);
        assert_eq!(from_status(&Status::internal("bug")).code, Code::X01);
    }

    #[test]
    fn an_assignment_survives_the_wire() {
        let there = pb::Assignment::from(&assignment());
        assert_eq!(Assignment::try_from(there).unwrap(), assignment());
    }

    #[test]
    fn each_field_of_an_assignment_is_checked() {
        let spoilt: [fn(&mut pb::Assignment); 13] = [
            |m| m.directions = Some(pb::Directions::default()),
            |m| m.intent = pb::Intent::Direct.into(),
            |m| drop(m.secrets.insert("a b".into(), m.secrets["a"].clone())),
            |m| drop(m.secrets.insert("d".into(), pb::SecretReference::default())),
            |m| {
                let outside = pb::secret_reference::From::File("/etc/../shadow".into());
                m.secrets.insert("d".into(), pb::SecretReference { from: Some(outside), rev: 0 });
            },
            |m| m.host = "web-1".into(),
            |m| m.app = "../etc".into(),
            |m| m.version = "..".into(),
            |m| m.release = vec![1, 2, 3].into(),
            |m| m.intent = 0,
            |m| m.rollout.clear(),
            |m| m.traffic.as_mut().unwrap().share = 101,
            |m| m.traffic.as_mut().unwrap().backend = "a b".into(),
        ];
        for spoil in spoilt {
            let mut message = pb::Assignment::from(&assignment());
            spoil(&mut message);
            assert!(Assignment::try_from(message.clone()).is_err(), "{message:?}");
        }
    }

    #[test]
    fn a_report_survives_the_wire() {
        let failure = Failure::new(Code::B01, StepName::Probe, Blame::Version, "status 500")
            .with_evidence(["panicked".to_owned()]);
        let report = Report {
            app: "shop".parse().unwrap(),
            rollout: assignment().rollout,
            generation: Generation(9),
            release: ReleaseDigest::of(b"m"),
            time_ms: 5,
            outcome: Outcome::Reverted {
                failure,
                to_slot: assignment().slot(),
                to_version: "1.4.1".parse().unwrap(),
            },
            live: Some(assignment().slot()),
            by: Some("ann".into()),
        };
        assert_eq!(Report::from_message(report.to_message(7)).unwrap(), (7, report));
    }

    #[test]
    fn a_code_survives_a_status() {
        let error = Coded::new(Code::R02, "busy");
        assert_eq!(from_status(&to_status(&error)), error);
    }

    #[test]
    fn cutting_keeps_whole_characters() {
        assert_eq!(cut("ääää", 6), "ä…");
        assert_eq!(cut("abc", 3), "abc");
    }
}
