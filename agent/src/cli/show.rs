//! What the agent says, as lines for people and as JSON for programs. Text from elsewhere is made safe to show.

use jiff::{Timestamp, tz::TimeZone};
use longshore_common::{
    text::visible,
    time::{Clock as _, Millis, SystemClock, rounded, told},
    trust::OLD_MS,
};
use longshore_proto::v1 as pb;
use serde_json::{Value, json};

use super::{
    say::say,
    sides,
    standing::{certificate, processes},
};

pub fn json(value: &Value) {
    say!("{value}");
}

pub fn status(status: &pb::LocalStatus) {
    let now = SystemClock.now_ms();
    let ago = |ms: Millis| rounded(now - told(ms));
    say!("host        {} ({})", visible(&status.name), visible(&status.host_id));
    say!("agent       {}, up for {}", visible(&status.agent_version), ago(status.started_ms));
    say!("processes   {}", processes(status));
    let (controller, since) = (visible(&status.controller), ago(status.connection_since_ms));
    if status.connected {
        say!("controller  connected to {controller} for {since}");
    } else {
        say!("controller  not connected for {since}: {}", visible(&status.connection_error));
    }
    let left = told(status.certificate_expires_ms) - now;
    let overdue = match status.certificate_renew_by_ms {
        0 => 0, // an agent from before it was said, not restarted yet
        by => now - told(by),
    };
    say!("certificate {}", certificate(left, overdue));
    say!("key         {}", visible(&status.key));
    if let Some(trust) = &status.trust {
        tell_trust(trust);
    }
    if let Some(hold) = status.hold.as_ref().filter(|hold| hold.held) {
        say!("hold        {}", held(hold, &status.hold_way_out));
    }
    if !status.labels_out_of_force.is_empty() {
        let labels = visible(&status.labels_out_of_force.join(" "));
        say!(
            "labels      {labels} of agent.toml is not in force; on the controller: longshore host label {} {labels}",
            visible(&status.name)
        );
    }
    if status.outbox > 0 {
        let reports = if status.outbox == 1 { "report waits" } else { "reports wait" };
        say!("outbox      {} {reports} for the controller", status.outbox);
    }
    say!("");
    if status.apps.is_empty() {
        say!("no apps");
        return;
    }
    let rows = status.apps.iter().map(app_row).collect();
    table(["APP", "ENV", "VERSION", "STATE", "SLOT", "RUNS AS"], rows);
    status.apps.iter().for_each(|app| app_notes(app, now));
}

/// One line; what should worry somebody stands out.
pub fn tell_trust(trust: &pb::TrustFacts) {
    let verified = match trust.verified_ms {
        0 => "nothing verified yet".to_owned(),
        at => {
            let age = SystemClock.now_ms() - told(at);
            let old = match (age > OLD_MS, trust.expired.is_empty()) {
                (false, _) => "",
                (true, true) => ": OLDER THAN A DAY, is somebody holding updates back?",
                (true, false) => ": OLDER THAN A DAY",
            };
            let way = if age < 0 { "ahead of this clock" } else { "ago" };
            format!("verified {} {way}{old}", rounded(age.abs()))
        }
    };
    let problem: String =
        trust.problem.lines().map(|line| format!("\n            {}", visible(line))).collect();
    match trust.state.as_str() {
        "signed" => {
            say!("trust       signed, root {:.16}…, {verified}{problem}", visible(&trust.root_sha256))
        }
        "unsigned-allowed" => say!("trust       UNSIGNED, as policy.toml allows"),
        "unsigned" => say!("trust       UNSIGNED: this host runs whatever the controller says"),
        "unknown" => say!("trust       not known: {}", visible(&trust.problem)),
        state => say!("trust       {}: {}", visible(state).to_uppercase(), visible(&trust.problem)),
    }
    for expired in &trust.expired {
        say!("            EXPIRED: {}", visible(expired));
    }
    for broken in &trust.breaks {
        say!("            glass broken {}", visible(broken));
    }
}

/// And each repository, for whoever asks about trust alone.
pub fn tell_repositories(answer: &pb::TrustAnswer) {
    if let Some(trust) = &answer.facts {
        tell_trust(trust);
    }
    for row in &answer.repositories {
        let app = visible(&row.app);
        if !row.problem.is_empty() {
            say!("            {app}: {}", visible(&row.problem));
            continue;
        }
        let now = told(answer.time_ms);
        let (age, left) = (rounded(now - told(row.verified_ms)), told(row.expires_ms) - now);
        let holds = if left > 0 {
            format!("holds for {}", rounded(left))
        } else {
            format!("EXPIRED {} ago", rounded(-left))
        };
        say!(
            "            {app}: {} in list v{}, floor {}, root v{}, verified {age} ago, {holds}",
            if row.releases == 1 { "1 release".to_owned() } else { format!("{} releases", row.releases) },
            row.list_version,
            row.floor,
            row.root_version
        );
        if !row.frozen.is_empty() {
            say!("            FROZEN: {}", visible(&row.frozen));
        }
        if row.revoked > 0 {
            let are = if row.revoked == 1 { "release is" } else { "releases are" };
            say!("            {} {are} revoked", row.revoked);
        }
    }
}

pub fn trust_answer_json(answer: &pb::TrustAnswer) -> Value {
    let rows = answer.repositories.iter().map(|row| {
        json!({
            "app": row.app,
            "problem": none_if_empty(&row.problem),
            "root_version": row.root_version,
            "list_version": row.list_version,
            "releases": row.releases,
            "floor": row.floor,
            "verified_at": at(row.verified_ms),
            "age_ms": (row.verified_ms > 0).then_some(told(answer.time_ms) - told(row.verified_ms)),
            "expires_at": at(row.expires_ms),
            "frozen": none_if_empty(&row.frozen),
            "revoked": row.revoked,
        })
    });
    let mut whole = answer.facts.as_ref().map(trust_json).unwrap_or_default();
    whole["schema"] = json!("longshore.agent.trust/1");
    whole["repositories"] = json!(rows.collect::<Vec<_>>());
    whole
}

pub fn trust_json(trust: &pb::TrustFacts) -> Value {
    json!({
        "state": trust.state,
        "root_sha256": none_if_empty(&trust.root_sha256),
        "verified_at": (trust.verified_ms > 0).then(|| at(trust.verified_ms)),
        "breaks": trust.breaks,
        "problem": none_if_empty(&trust.problem),
        "expired": trust.expired,
    })
}

fn app_row(app: &pb::LocalApp) -> [String; 6] {
    let state = app.state.clone().unwrap_or_default();
    let word = match (state.current_slot.as_str(), state.running, state.verdict.as_str()) {
        _ if app.unseen => "not known",
        ("", ..) => "not deployed",
        (_, false, _) => "DOWN",
        (_, true, "") => "not judged yet",
        (_, true, verdict) => verdict,
    };
    [
        state.app.clone(),
        app.env.clone(),
        state.version.clone(),
        word.into(),
        state.current_slot.clone(),
        app.main_process.clone(),
    ]
}

/// What is in progress or went wrong, below the table.
fn app_notes(app: &pb::LocalApp, now: Millis) {
    let state = app.state.clone().unwrap_or_default();
    let name = visible(&state.app);
    sides::tell(&state.app, &state.sides, now);
    if !app.step.is_empty() {
        let (spent, left) =
            (rounded(now - told(app.step_since_ms)), rounded(told(app.step_deadline_ms) - now));
        say!("\n{name}: {} for {spent}, at most {left} more", visible(&app.step_detail));
    }
    if !state.local_by.is_empty() {
        say!(
            "\n{name}: deployed here by {}, {} ago, from a bundle; a new assignment of the controller changes it",
            visible(&state.local_by),
            rounded(now - told(state.local_ms))
        );
    }
    if !app.pending.is_empty() {
        say!("\n{name}: on the way to {}", visible(&app.pending));
    }
    if let Some(failure) = &app.last_failure {
        say!(
            "\n{name}: {} at {}: {}",
            visible(&failure.code),
            visible(&failure.step),
            visible(&failure.message)
        );
        failure.evidence.iter().for_each(|line| say!("    {}", visible(line)));
    }
    let failed = |slot: &String| if state.failed_slots.contains(slot) { " (failed here)" } else { "" };
    let others = state.slots.iter().filter(|slot| **slot != state.current_slot);
    let others: Vec<String> = others.map(|slot| visible(slot) + failed(slot)).collect();
    if !others.is_empty() {
        say!("\n{name}: also on disk: {}", others.join(", "));
    }
}

/// `by ann for 3m: disk swap`
pub fn held(hold: &pb::HoldState, way_out: &str) -> String {
    let since = rounded(SystemClock.now_ms() - told(hold.since_ms));
    format!("by {} for {since}: {}. {}", visible(&hold.by), visible(&hold.reason), visible(way_out))
}

pub fn history(history: &pb::LocalHistory) {
    if history.rows.is_empty() {
        say!("nothing happened here yet");
        return;
    }
    let zone = TimeZone::system();
    let rows = history.rows.iter().map(|row| {
        let detail = format!("{} {}", row.code, row.detail).trim().to_owned();
        [
            moment(row.time_ms, &zone),
            row.app.clone(),
            row.version.clone(),
            row.event.clone(),
            row.slot.clone(),
            row.by.clone(),
            detail,
        ]
    });
    table(["TIME", "APP", "VERSION", "EVENT", "LIVE AFTERWARDS", "BY", "DETAIL"], rows.collect());
}

pub fn line(line: &pb::LogLine) {
    let time = moment(line.time_ms, &TimeZone::system());
    let mark = if line.stream == "stderr" { "!" } else { " " };
    say!("{time} {mark} {}", visible(&line.line));
}

pub fn step(app: &str, step: &pb::LocalStep) {
    match (&step.failure, step.done) {
        (Some(failure), _) => {
            say!(
                "failed: {} at {}: {}",
                visible(&failure.code),
                visible(&failure.step),
                visible(&failure.message)
            );
            failure.evidence.iter().for_each(|line| say!("    {}", visible(line)));
        }
        (None, true) => say!("{app} is back on {}", visible(&step.detail)),
        (None, false) => say!("{}", visible(&step.detail)),
    }
}

/// A line of a deployment by hand.
pub fn deploy_step(step: &pb::LocalStep) {
    let name = format!("{}@{}", visible(&step.app), visible(&step.version));
    match (&step.failure, step.done, step.outcome.as_str()) {
        (Some(_), ..) => {
            super::show::step(&step.app, step);
            if step.outcome == "reverted" {
                say!("{} is back on {}", visible(&step.app), visible(&step.detail));
            }
        }
        (None, true, "unchanged") => say!("{name} is live and healthy already: nothing to do"),
        (None, true, _) => {
            say!("{name} is live and healthy; the controller is told, and changes it only by something new");
        }
        (None, false, _) => say!("{}", visible(&step.detail)),
    }
}

/// One object a line; the last has `done` and `outcome`.
pub fn deploy_json(step: &pb::LocalStep) -> Value {
    json!({
        "schema": "longshore.agent.deploy/1",
        "app": step.app,
        "version": step.version,
        "step": step.step,
        "detail": step.detail,
        "done": step.done,
        "outcome": none_if_empty(&step.outcome),
        "failure": step.failure.as_ref().map(failure_json),
    })
}

pub(super) fn moment(ms: Millis, zone: &TimeZone) -> String {
    let time = Timestamp::from_millisecond(ms).unwrap_or_default().to_zoned(zone.clone());
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Columns two spaces apart; an empty cell is `-`.
fn table<const N: usize>(header: [&str; N], rows: Vec<[String; N]>) {
    let shown = |cell: &String| if cell.is_empty() { "-".to_owned() } else { visible(cell) };
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(shown).collect()).collect();
    let header: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
    let width = |column: usize| {
        let cells = std::iter::once(&header).chain(&rows).map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    for row in std::iter::once(&header).chain(&rows) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        say!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

pub fn status_json(status: &pb::LocalStatus) -> Value {
    let hold = status.hold.clone().unwrap_or_default();
    json!({
        "schema": "longshore.agent.status/1",
        "host": status.host_id,
        "name": status.name,
        "agent_version": status.agent_version,
        "started_at": at(status.started_ms),
        "controller": {
            "address": status.controller,
            "connected": status.connected,
            "since": at(status.connection_since_ms),
            "error": none_if_empty(&status.connection_error),
        },
        "certificate_expires_at": at(status.certificate_expires_ms),
        "certificate_renew_by": at(status.certificate_renew_by_ms),
        "key": none_if_empty(&status.key),
        "hold": hold_value(&hold, &status.hold_way_out),
        "outbox": status.outbox,
        "processes": none_if_empty(&status.processes),
        "helper_version": none_if_empty(&status.helper_version),
        "helper_away": none_if_empty(&status.helper_away),
        "labels_out_of_force": status.labels_out_of_force,
        "trust": status.trust.as_ref().map(trust_json),
        "apps": status.apps.iter().map(app_json).collect::<Vec<_>>(),
    })
}

fn app_json(app: &pb::LocalApp) -> Value {
    let state = app.state.clone().unwrap_or_default();
    let step = (!app.step.is_empty()).then(|| {
        json!({
            "name": app.step,
            "detail": app.step_detail,
            "since": at(app.step_since_ms),
            "until": at(app.step_deadline_ms),
        })
    });
    json!({
        "app": state.app,
        "env": none_if_empty(&app.env),
        "generation": state.generation,
        "version": none_if_empty(&state.version),
        "release": none_if_empty(&state.release),
        "slot": none_if_empty(&state.current_slot),
        "slots": state.slots,
        "failed_slots": state.failed_slots,
        "running": (!app.unseen).then_some(state.running),
        "verdict": none_if_empty(&state.verdict),
        "pending": none_if_empty(&app.pending),
        "step": step,
        "last_failure": app.last_failure.as_ref().map(failure_json),
        "main_process": none_if_empty(&app.main_process),
        "sides": sides::json(&state.sides),
        "deployed_here": (!state.local_by.is_empty())
            .then(|| json!({ "by": state.local_by, "at": at(state.local_ms) })),
    })
}

pub fn history_json(history: &pb::LocalHistory) -> Value {
    let rows = history.rows.iter().map(|row| {
        json!({
            "at": at(row.time_ms),
            "app": none_if_empty(&row.app),
            "generation": row.generation,
            "version": none_if_empty(&row.version),
            "slot": none_if_empty(&row.slot),
            "event": row.event,
            "code": none_if_empty(&row.code),
            "detail": none_if_empty(&row.detail),
            "by": row.by,
        })
    });
    json!({ "schema": "longshore.agent.history/1", "rows": rows.collect::<Vec<_>>() })
}

/// One object a line.
pub fn line_json(line: &pb::LogLine) -> Value {
    json!({
        "schema": "longshore.agent.log/1",
        "app": line.app,
        "source": line.source,
        "stream": line.stream,
        "line": line.line,
        "at": at(line.time_ms),
    })
}

pub fn hold_json(reply: &pb::LocalHoldReply) -> Value {
    let hold = hold_value(&reply.hold.clone().unwrap_or_default(), &reply.way_out);
    json!({ "schema": "longshore.agent.hold/1", "hold": hold, "changed": reply.changed })
}

/// One object a line; the last has `done`.
pub fn step_json(app: &str, step: &pb::LocalStep) -> Value {
    json!({
        "schema": "longshore.agent.step/1",
        "app": app,
        "step": step.step,
        "detail": step.detail,
        "done": step.done,
        "failure": step.failure.as_ref().map(failure_json),
    })
}

fn hold_value(hold: &pb::HoldState, way_out: &str) -> Value {
    if hold.held {
        json!({ "reason": hold.reason, "by": hold.by, "since": at(hold.since_ms), "way_out": way_out })
    } else {
        Value::Null
    }
}

fn failure_json(failure: &pb::Failure) -> Value {
    json!({
        "code": failure.code,
        "step": failure.step,
        "message": failure.message,
        "evidence": failure.evidence,
        "blame": if failure.blame() == pb::Blame::Version { "version" } else { "environment" },
    })
}

/// RFC 3339 in UTC; the wire says 0 for what there is not.
pub fn at(ms: Millis) -> Option<String> {
    (ms != 0).then(|| Timestamp::from_millisecond(ms).unwrap_or_default().to_string())
}

fn none_if_empty(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_that_cannot_be_looked_at_is_neither_down_nor_absent() {
        let app = pb::LocalApp { unseen: true, ..pb::LocalApp::default() };
        assert_eq!((app_row(&app)[3].as_str(), &app_json(&app)["running"]), ("not known", &Value::Null));
    }
}
