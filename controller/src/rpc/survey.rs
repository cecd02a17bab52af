//! The question what a host has, and its answer, from their messages and back.

use longshore_common::{
    traffic::{Directed, Looked},
    wire::{Invalid, directions, secrets},
};
use longshore_proto::v1 as pb;

use super::words::{line, read_app, read_facts, read_hold, word};
use crate::fleet::words::{SurveyAnswer, Wanted};

/// Entries of each list that are kept; a manifest asks for at most 64.
const LACKING_MAX: usize = 64;

pub(super) fn question(wanted: Wanted) -> pb::SurveyQuestion {
    let Wanted { app, commands, ports, mounts, users, run_as, secrets, directed } = wanted;
    let (traffic, sides) = match &directed {
        None => (None, false),
        Some(Directed::Hosts(directions)) => (Some(directions::to_message(directions)), false),
        Some(Directed::Sides(directions)) => (Some(directions::to_message(directions)), true),
    };
    pb::SurveyQuestion {
        app: app.to_string(),
        commands,
        ports,
        mounts,
        users,
        run_as: run_as.unwrap_or_default(),
        secrets: secrets::to_messages(&secrets),
        traffic,
        sides,
    }
}

pub(super) fn read(survey: pb::Survey) -> Result<SurveyAnswer, Invalid> {
    let pb::Survey {
        time_ms,
        facts,
        app,
        hold,
        commands_missing,
        ports_taken,
        mounts_missing,
        users_missing,
        run_as_problem,
        secrets_missing,
        traffic_problems,
        traffic_notes,
    } = survey;
    let words = |list: Vec<String>| -> Vec<String> {
        list.iter().take(LACKING_MAX).map(|entry| line(entry)).collect()
    };
    let taken = |pb::PortTaken { port, by }: pb::PortTaken| (word(&port), some(word(&by)));
    Ok(SurveyAnswer {
        time_ms,
        facts: facts.map(read_facts).unwrap_or_default(),
        app: app.map(read_app).transpose()?,
        hold: hold.and_then(read_hold),
        commands_missing: words(commands_missing),
        ports_taken: ports_taken.into_iter().take(LACKING_MAX).map(taken).collect(),
        mounts_missing: words(mounts_missing),
        users_missing: words(users_missing),
        run_as_problem: some(line(&run_as_problem)),
        secrets_missing: words(secrets_missing),
        traffic: Looked { problems: words(traffic_problems), notes: words(traffic_notes) },
    })
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
