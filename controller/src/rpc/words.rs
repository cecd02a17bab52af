//! What agents say, from their messages and back. Text from hosts is cut to size and made safe to show here, once.

use longshore_common::{
    code::{Code, Coded},
    ids::Generation,
    report::{Failure, LINE_BYTES, Outcome, Report},
    text::visible,
    time::{Span, told},
    traffic::Side,
    wire::{Invalid, cut, parse},
};
use longshore_proto::v1 as pb;

use super::{gate_words, survey, trust_words};
use crate::{
    audit::Checkpoint,
    engine::{TrafficNote, Unbrought, unwell::FoundUnwell},
    fleet::{
        Drained,
        words::{
            APPS_MAX, Answer, AppSeen, DeployedThere, Facts, FromAgent, Hello, HostHold, LogLine, Progress,
            Question, ToAgent, TrustFacts,
        },
    },
    rollout::{Pace, Share},
    sealed::is_recipient,
};

/// Bytes of a short word from a host.
const WORD: usize = 128;
/// Slots that one app may have.
const SLOTS: usize = 64;
const ADDRESSES: usize = 32;
/// Checkpoints of the audit log that one host may show.
const CHECKPOINTS: usize = 256;
/// Broken glass that is told of one host.
const BREAKS: usize = 16;
/// Documents of one host that have run out.
const EXPIRED: usize = 64;
/// Lines that one answer may carry.
pub const LINES: usize = 1000;

pub(super) fn word(text: &str) -> String {
    cut(&visible(text), WORD)
}

pub(super) fn line(text: &str) -> String {
    cut(&visible(text), LINE_BYTES)
}

pub fn from_agent(message: pb::FromAgent) -> Result<FromAgent, Invalid> {
    use pb::from_agent::Message;
    Ok(match message.message.ok_or(Invalid::Missing { field: "from_agent.message" })? {
        Message::Hello(hello) => FromAgent::Hello(Box::new(read_hello(hello)?)),
        Message::Heartbeat(pb::Heartbeat { time_ms }) => FromAgent::Heartbeat(told(time_ms)),
        Message::Report(report) => {
            let (seq, report) = Report::from_message(report)?;
            FromAgent::Report(seq, Box::new(shown(report)))
        }
        Message::Progress(progress) => FromAgent::Progress(read_progress(progress)?),
        Message::Log(log) => FromAgent::Log(read_line(log)),
        Message::Answer(answer) => {
            let pb::Answer { id, about } = answer;
            FromAgent::Answer(id, read_answer(about.ok_or(Invalid::Missing { field: "answer.about" })?)?)
        }
        Message::Facts(facts) => FromAgent::Facts(read_facts(facts)),
        Message::Hold(hold) => FromAgent::Hold(read_hold(hold)),
    })
}

fn read_hello(hello: pb::Hello) -> Result<Hello, Invalid> {
    // Name and labels are what enrolment and operators made them; an agent's own wish is heard when it enrols.
    let pb::Hello {
        protocol,
        agent_version,
        boot_id,
        boot_counter,
        name: _,
        labels: _,
        facts,
        apps,
        hold,
        time_ms,
        recipient,
        machine_id,
    } = hello;
    Ok(Hello {
        protocol,
        agent_version: word(&agent_version),
        boot_id: word(&boot_id),
        boot_counter,
        machine_id: word(&machine_id),
        facts: facts.map(read_facts).unwrap_or_default(),
        apps: read_apps(apps)?,
        hold: hold.and_then(read_hold),
        time_ms: told(time_ms),
        recipient: if is_recipient(&recipient) { recipient } else { String::new() },
    })
}

fn read_apps(apps: Vec<pb::AppState>) -> Result<Vec<AppSeen>, Invalid> {
    apps.into_iter().take(APPS_MAX).map(read_app).collect()
}

pub(super) fn read_app(state: pb::AppState) -> Result<AppSeen, Invalid> {
    let pb::AppState {
        app,
        generation,
        current_slot,
        release,
        version,
        running,
        slots,
        verdict,
        local_by,
        local_ms,
        sides,
        failed_slots,
    } = state;
    Ok(AppSeen {
        app: parse("app_state.app", &app)?,
        generation: Generation(generation),
        current_slot: word(&current_slot),
        release: word(&release),
        version: word(&version),
        running,
        slots: slots.iter().take(SLOTS).map(|slot| word(slot)).collect(),
        failed_slots: failed_slots.iter().take(SLOTS).map(|slot| word(slot)).collect(),
        verdict: word(&verdict),
        local: (!local_by.is_empty()).then(|| DeployedThere { by: word(&local_by), at_ms: told(local_ms) }),
        sides: sides.into_iter().take(Side::BOTH.len()).map(TryInto::try_into).collect::<Result<_, _>>()?,
    })
}

pub(super) fn read_facts(facts: pb::Facts) -> Facts {
    let pb::Facts {
        os,
        kernel,
        arch,
        cpus,
        memory_bytes,
        disk_free_bytes,
        disk_total_bytes,
        addresses,
        driver,
        trust,
    } = facts;
    Facts {
        os: word(&os),
        kernel: word(&kernel),
        arch: word(&arch),
        cpus,
        memory_bytes,
        disk_free_bytes,
        disk_total_bytes,
        addresses: addresses.iter().take(ADDRESSES).map(|address| word(address)).collect(),
        driver: word(&driver),
        trust: trust.map(read_trust),
    }
}

pub(super) fn read_trust(trust: pb::TrustFacts) -> TrustFacts {
    let pb::TrustFacts { state, root_sha256, verified_ms, breaks, problem, expired, damaged, ahead, frozen } =
        trust;
    TrustFacts {
        state: word(&state),
        root_sha256: word(&root_sha256),
        verified_ms: told(verified_ms),
        breaks: breaks.iter().take(BREAKS).map(|broken| line(broken)).collect(),
        problem: line(&problem),
        expired: expired.iter().take(EXPIRED).map(|expired| line(expired)).collect(),
        damaged: damaged.iter().take(EXPIRED).map(|app| word(app)).collect(),
        ahead: ahead.iter().take(EXPIRED).map(|app| word(app)).collect(),
        frozen: line(&frozen),
    }
}

pub(super) fn read_hold(hold: pb::HoldState) -> Option<HostHold> {
    let pb::HoldState { held, reason, by, since_ms } = hold;
    held.then(|| HostHold { reason: line(&reason), by: word(&by), since_ms: told(since_ms) })
}

fn read_progress(progress: pb::Progress) -> Result<Progress, Invalid> {
    let pb::Progress { app, generation, step, bytes_done, bytes_total, detail } = progress;
    Ok(Progress {
        app: parse("progress.app", &app)?,
        generation: Generation(generation),
        step: word(&step),
        bytes_done,
        bytes_total,
        detail: line(&detail),
    })
}

fn read_line(log: pb::LogLine) -> LogLine {
    let pb::LogLine { app, generation, source, stream, line: text, time_ms } = log;
    LogLine {
        app: word(&app),
        generation: Generation(generation),
        source: word(&source),
        stream: word(&stream),
        line: line(&text),
        time_ms: told(time_ms),
    }
}

fn read_answer(about: pb::answer::About) -> Result<Answer, Invalid> {
    use pb::answer::About;
    Ok(match about {
        About::Pong(pb::Pong { time_ms, apps }) => {
            Answer::Pong { time_ms: told(time_ms), apps: read_apps(apps)? }
        }
        About::Logs(pb::LogLines { lines }) => {
            Answer::Logs(lines.into_iter().take(LINES).map(read_line).collect())
        }
        About::Facts(facts) => Answer::Facts(read_facts(facts)),
        About::Survey(survey) => Answer::Survey(Box::new(survey::read(survey)?)),
        About::Checkpoints(pb::AuditCheckpoints { checkpoints }) => {
            let kept = checkpoints.into_iter().take(CHECKPOINTS).map(read_checkpoint);
            Answer::Checkpoints(kept.collect::<Result<_, _>>()?)
        }
        About::Trust(answer) => Answer::Trust(Box::new(trust_words::read(answer))),
        About::Reach(answer) => gate_words::reached(answer),
        About::Usage(answer) => gate_words::usage(answer),
        About::Glance(answer) => gate_words::glance(answer)?,
        About::Test(answer) => gate_words::test(answer),
        About::Error(why) => Answer::Error(line(&why)),
    })
}

pub(super) fn safe(failure: Failure) -> Failure {
    Failure {
        code: word(&failure.code),
        message: visible(&failure.message),
        evidence: failure.evidence.iter().map(|text| line(text)).collect(),
        ..failure
    }
}

/// The report with everything in it that people will read made safe to show.
fn shown(report: Report) -> Report {
    let outcome = match report.outcome {
        Outcome::Failed { failure } => Outcome::Failed { failure: safe(failure) },
        Outcome::Reverted { failure, to_slot, to_version } => {
            Outcome::Reverted { failure: safe(failure), to_slot, to_version }
        }
        Outcome::Inconsistent { failure } => Outcome::Inconsistent { failure: safe(failure) },
        Outcome::Refused { failure } => Outcome::Refused { failure: safe(failure) },
        outcome @ (Outcome::Staged | Outcome::Healthy | Outcome::Unchanged | Outcome::Removed) => outcome,
    };
    Report { outcome, by: report.by.map(|by| word(&by)), ..report }
}

pub fn to_agent(message: ToAgent) -> pb::ToAgent {
    use pb::to_agent::Message;
    let message = match message {
        ToAgent::Welcome { server_time_ms, heartbeat_ms, labels, renew_within_ms, drained } => {
            Message::Welcome(pb::Welcome {
                server_time_ms,
                heartbeat_ms,
                controller_version: env!("CARGO_PKG_VERSION").to_owned(),
                labels,
                renew_within_ms,
                drain: drained.and_then(drain_message),
            })
        }
        ToAgent::Assignment(assignment) => Message::Assignment((&*assignment).into()),
        ToAgent::Ack(seq) => Message::Ack(pb::ReportAck { seq }),
        ToAgent::Question(id, question) => {
            Message::Question(pb::Question { id, about: Some(question_message(question)) })
        }
        ToAgent::Checkpoint(checkpoint) => Message::Checkpoint(checkpoint_message(checkpoint)),
        ToAgent::Farewell(Coded { code, message }) => {
            Message::Farewell(pb::Farewell { code: code.to_string(), message })
        }
    };
    pb::ToAgent { message: Some(message) }
}

/// Where its apps run on, or run until balancers have let go of it, there is nothing for the host to do.
fn drain_message(drained: Drained) -> Option<pb::Drain> {
    let Drained { by, reason, since_ms, stop_ms, waits } = drained;
    if waits {
        return None;
    }
    Some(pb::Drain { by, reason, since_ms, stop_ms: stop_ms? })
}

fn question_message(question: Question) -> pb::question::About {
    use pb::question::About;
    if let Some(about) = gate_words::question(&question) {
        return about;
    }
    match question {
        Question::Ping => About::Ping(pb::Nothing {}),
        Question::Facts => About::Facts(pb::Nothing {}),
        Question::Survey(wanted) => About::Survey(survey::question(*wanted)),
        Question::Checkpoints => About::Checkpoints(pb::Nothing {}),
        Question::Trust => About::Trust(pb::Nothing {}),
        Question::Logs { app, lines, follow } => {
            About::Logs(pb::LogsQuestion { app: app.to_string(), lines, follow })
        }
        Question::Reach { .. } | Question::Usage { .. } | Question::Glance { .. } | Question::Test { .. } => {
            unreachable!("these were answered above")
        }
    }
}

fn read_checkpoint(checkpoint: pb::AuditCheckpoint) -> Result<Checkpoint, Invalid> {
    let bytes = |field, bytes: &[u8]| {
        let short = |_| Invalid::Malformed { field, why: "must have 32 bytes".to_owned() };
        <[u8; 32]>::try_from(bytes).map_err(short)
    };
    let pb::AuditCheckpoint { entries, head, time_ms, key, signature } = checkpoint;
    let (head, key) = (bytes("checkpoint.head", &head)?, bytes("checkpoint.key", &key)?);
    Ok(Checkpoint { entries, head, at_ms: time_ms, key, signature: signature.to_vec() })
}

pub fn checkpoint_message(checkpoint: Checkpoint) -> pb::AuditCheckpoint {
    let Checkpoint { entries, head, at_ms, key, signature } = checkpoint;
    pb::AuditCheckpoint {
        entries,
        head: head.to_vec().into(),
        time_ms: at_ms,
        key: key.to_vec().into(),
        signature: signature.into(),
    }
}

pub fn app_message(seen: AppSeen) -> pb::AppState {
    let AppSeen {
        app,
        generation,
        current_slot,
        release,
        version,
        running,
        slots,
        failed_slots,
        verdict,
        local,
        sides,
    } = seen;
    let (local_by, local_ms) = local.map(|local| (local.by, local.at_ms)).unwrap_or_default();
    pb::AppState {
        app: app.to_string(),
        generation: generation.0,
        current_slot,
        release,
        version,
        running,
        slots,
        verdict,
        local_by,
        local_ms,
        sides: sides.iter().map(Into::into).collect(),
        failed_slots,
    }
}

pub fn facts_message(facts: Facts) -> pb::Facts {
    let Facts {
        os,
        kernel,
        arch,
        cpus,
        memory_bytes,
        disk_free_bytes,
        disk_total_bytes,
        addresses,
        driver,
        trust,
    } = facts;
    let trust = trust.map(trust_words::facts_message);
    pb::Facts {
        os,
        kernel,
        arch,
        cpus,
        memory_bytes,
        disk_free_bytes,
        disk_total_bytes,
        addresses,
        driver,
        trust,
    }
}

pub fn unbrought_message(left: Unbrought) -> pb::Unbrought {
    let Unbrought { env, app, host: _, name, why, since_ms, obstacle: _ } = left;
    pb::Unbrought { env: env.to_string(), app: app.to_string(), host: name.to_string(), why, since_ms }
}

pub fn traffic_message(TrafficNote { env, app, note }: TrafficNote) -> pb::TrafficNote {
    pb::TrafficNote { env: env.to_string(), app: app.to_string(), note }
}

pub fn unwell_message(found: FoundUnwell) -> pb::FoundUnwell {
    let FoundUnwell { app, rollout, why, at_ms } = found;
    pb::FoundUnwell { app: app.to_string(), why, rollout: rollout.to_string(), since_ms: at_ms }
}

pub fn hold_message(hold: HostHold) -> pb::HoldState {
    let HostHold { reason, by, since_ms } = hold;
    pb::HoldState { held: true, reason, by, since_ms }
}

pub fn progress_message(progress: Progress) -> pb::Progress {
    let Progress { app, generation, step, bytes_done, bytes_total, detail } = progress;
    pb::Progress { app: app.to_string(), generation: generation.0, step, bytes_done, bytes_total, detail }
}

pub fn line_message(log: LogLine) -> pb::LogLine {
    let LogLine { app, generation, source, stream, line, time_ms } = log;
    pb::LogLine { app, generation: generation.0, source, stream, line, time_ms }
}
/// The pace that an operator asks for; whether the rollout can take it is for the core to say.
pub fn pace(message: pb::Pace) -> Result<Pace, Coded> {
    let pb::Pace { wave, max_unavailable, bake_ms, hold_ms } = message;
    let amount = |name: &str, text: Option<String>| -> Result<Option<Share>, Coded> {
        let share = text.map(|text| text.parse::<Share>()).transpose()?;
        match share {
            Some(none) if none.is_zero() => {
                let message = format!("{name} must be at least 1 host or 1%: nothing could ever move");
                Err(Coded::new(Code::V01, message))
            }
            share => Ok(share),
        }
    };
    let span = |ms: Option<u64>| ms.map(|ms| Span::millis(ms.min(Span::MAX_MS)));
    Ok(Pace {
        wave: amount("wave", wave)?,
        max_unavailable: amount("max_unavailable", max_unavailable)?,
        bake: span(bake_ms),
        hold: span(hold_ms),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_at_which_nothing_moves_is_a_slip() {
        let of = |wave: &str| pace(pb::Pace { wave: Some(wave.to_owned()), ..pb::Pace::default() });
        assert_eq!(of("25%").unwrap().wave, Some(Share::Percent(25)));
        for none in ["0", "0%"] {
            let error = of(none).unwrap_err();
            assert_eq!(error.code, Code::V01);
            assert!(error.message.contains("wave must be at least 1 host or 1%"), "{error}");
        }
    }
}
