//! The agent's half of the wire, for agents that are driven by hand.

use longshore_common::code::Coded;
use longshore_proto::v1 as pb;

use crate::{
    audit::Checkpoint,
    fleet::words::{Answer, AppSeen, FromAgent, Question, ToAgent},
};

pub fn agent_message(message: FromAgent) -> pb::FromAgent {
    use pb::from_agent::Message;
    let message = match message {
        FromAgent::Hello(hello) => Message::Hello(pb::Hello {
            protocol: hello.protocol,
            agent_version: hello.agent_version,
            boot_id: hello.boot_id,
            boot_counter: hello.boot_counter,
            apps: hello.apps.into_iter().map(app_message).collect(),
            time_ms: hello.time_ms,
            ..pb::Hello::default()
        }),
        FromAgent::Heartbeat(time_ms) => Message::Heartbeat(pb::Heartbeat { time_ms }),
        FromAgent::Report(seq, report) => Message::Report(report.to_message(seq)),
        FromAgent::Answer(id, Answer::Pong { time_ms, .. }) => Message::Answer(pb::Answer {
            id,
            about: Some(pb::answer::About::Pong(pb::Pong { time_ms, apps: vec![] })),
        }),
        other => panic!("agents driven by hand do not say {other:?}"),
    };
    pb::FromAgent { message: Some(message) }
}

fn app_message(seen: AppSeen) -> pb::AppState {
    pb::AppState {
        app: seen.app.to_string(),
        generation: seen.generation.0,
        current_slot: seen.current_slot,
        ..pb::AppState::default()
    }
}

pub fn controller_message(message: pb::ToAgent) -> ToAgent {
    use pb::to_agent::Message;
    match message.message.unwrap() {
        Message::Welcome(welcome) => ToAgent::Welcome {
            server_time_ms: welcome.server_time_ms,
            heartbeat_ms: welcome.heartbeat_ms,
            labels: welcome.labels,
            renew_within_ms: welcome.renew_within_ms,
            drained: None,
        },
        Message::Assignment(assignment) => ToAgent::Assignment(Box::new(assignment.try_into().unwrap())),
        Message::Ack(ack) => ToAgent::Ack(ack.seq),
        Message::Question(question) => ToAgent::Question(question.id, Question::Ping),
        Message::Checkpoint(checkpoint) => ToAgent::Checkpoint(Checkpoint {
            entries: checkpoint.entries,
            head: checkpoint.head[..].try_into().unwrap(),
            at_ms: checkpoint.time_ms,
            key: checkpoint.key[..].try_into().unwrap(),
            signature: checkpoint.signature.to_vec(),
        }),
        Message::Farewell(farewell) => {
            ToAgent::Farewell(Coded::new(farewell.code.parse().unwrap(), farewell.message))
        }
    }
}
