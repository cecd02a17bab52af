//! `[[gate]]`: what must hold before, between and after waves.

use std::{collections::BTreeSet, path::PathBuf};

use longshore_common::{
    headers::Headers,
    ids::{HostName, OperatorName},
    label::Selector,
    strict::{Bytes, Guard, Read, Scalar, Table},
    text::visible,
    time::Span,
};

use super::{
    approval::{Named, Roles, named},
    words::word,
};
use crate::{
    gate::{
        Check, Checks, Declaration,
        check::{
            AppLimits, Approval, Endpoint, From, Matrix, Metrics, Reach, Rule, TestRun, To, Webhook, Worse,
        },
    },
    http::Url,
    rollout::{After, GATES_MAX, GateKind, GateSpec, Then},
};

const DEADLINE: Span = Span::secs(600);
const APPROVAL_DEADLINE: Span = Span::secs(24 * 3600);
const EVERY: Span = Span::secs(5);
const STEP: Span = Span::secs(15);
const WINDOW: Span = Span::secs(120);
const TIMEOUT: Span = Span::secs(5);
const NAME_BYTES: usize = 64;
/// Of all gates as a rollout keeps them: they have to fit a record.
const GATES_BYTES: usize = 12 * 1024;
/// Lines of one access matrix.
const REACH_MAX: usize = 64;
/// What addresses hold for something of the rollout or of a host.
const PLACEHOLDERS: [&str; 6] = ["$address", "$host", "$app", "$env", "$version", "$rollout"];
/// Nothing is asked more often.
const EVERY_MIN: Span = Span::millis(200);

const KINDS: [(&str, GateKind); 7] = [
    ("probe", GateKind::Probe),
    ("test", GateKind::Test),
    ("metrics", GateKind::Metrics),
    ("app", GateKind::App),
    ("approval", GateKind::Approval),
    ("webhook", GateKind::Webhook),
    ("http", GateKind::Http),
];
const AFTER: [(&str, After); 4] = [
    ("before", After::Before),
    ("canary", After::Canary),
    ("every-wave", After::EveryWave),
    ("last-wave", After::LastWave),
];
const THEN: [(&str, Then); 3] =
    [("continue", Then::Continue), ("pause", Then::Pause), ("rollback", Then::Rollback)];
const WORSE: [(&str, Worse); 3] =
    [("higher", Worse::Higher), ("lower", Worse::Lower), ("either", Worse::Either)];

/// A number with or without a point.
struct Number(f64);

impl Read for Number {
    const EXPECTED: &'static str = "a number";
    fn read(value: &toml::de::DeValue<'_>) -> Result<Self, Option<String>> {
        let Scalar(text) = Scalar::read(value)?;
        match text.replace('_', "").parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Number(number)),
            Ok(_) | Err(_) => Err(Some(format!("\"{}\" is not a number", visible(&text)))),
        }
    }
}

/// `balancers`: hosts on which no test can run.
pub(super) fn gates(
    root: &Table<'_>,
    roles: &Roles,
    has_canary: bool,
    balancers: Option<&Selector>,
) -> Vec<Declaration> {
    let tables = root.tables("gate");
    if tables.len() > GATES_MAX {
        root.problem_at("gate", format!("gate: at most {GATES_MAX} gates; there are {}", tables.len()));
    }
    let mut names = BTreeSet::new();
    let mut found = vec![];
    for table in &tables {
        let name = name(table);
        if let Some(name) = name.as_ref().filter(|name| !names.insert((*name).clone())) {
            table.problem_at("name", format!("gate.name: there are two gates \"{name}\""));
        }
        let Some(declared) = gate(table, name, roles) else { continue };
        let GateSpec { after, runner, .. } = &declared.gate;
        let balances = |on: &&HostName| balancers.is_some_and(|hosts| hosts.takes_by_name(on.as_str()));
        if let Some(on) = runner.as_ref().filter(balances) {
            let what = format!(
                "gate.on: {on} balances the environment's hosts (traffic.balancers) and cannot run its tests: name a host that \
                 does not"
            );
            table.problem_at("on", what);
        }
        if *after == After::Canary && !has_canary {
            table.problem_at("after", "gate.after: rollout.canary is 0, so there is no canary");
        }
        let baseline = matches!(&declared.check, Check::Metrics(Metrics { rule: Rule::Baseline { .. }, .. }));
        if baseline && (*after != After::Canary || declared.gate.in_watch) {
            let what = "gate.compare: only after \"canary\" and not in the watch is a host left that runs what was before";
            table.problem_at("compare", what);
        }
        found.push(declared);
    }
    let bytes = serde_json::to_vec(&Checks::of(&found)).map_or(0, |json| json.len());
    if bytes > GATES_BYTES {
        root.problem_at(
            "gate",
            format!("gate: all gates together are too long ({bytes} bytes of {GATES_BYTES})"),
        );
    }
    found
}

fn gate(table: &Guard<'_>, name: Option<String>, roles: &Roles) -> Option<Declaration> {
    let kind = one_of(table, "kind", &KINDS);
    let after = one_of(table, "after", &AFTER);
    let usual = if kind == Some(GateKind::Approval) { APPROVAL_DEADLINE } else { DEADLINE };
    let deadline = table.or("deadline", usual);
    if deadline < Span::secs(1) {
        table.problem_at("deadline", "gate.deadline: must be at least 1s");
    }
    let then = |key, usual| word(table, "gate", key, usual, &THEN);
    let (on_fail, on_inconclusive, on_no_data) = (
        then("on_fail", Then::Rollback),
        then("on_inconclusive", Then::Pause),
        then("on_no_data", Then::Pause),
    );
    let (beside_bake, in_watch) = (table.or("beside_bake", false), table.or("in_watch", false));
    let promotable = table.or("promote", false);
    let Some(kind) = kind else {
        drop(table.keys()); // which of them belong there nobody can tell
        return None;
    };
    let check = check(table, kind, deadline, roles);
    if after == Some(After::Before) && (beside_bake || in_watch) {
        table.problem_at("after", "gate.after: a gate \"before\" has no bake or watch beside it");
    }
    if in_watch && kind == GateKind::Approval {
        table.problem_at("in_watch", "gate.in_watch: nobody approves again and again");
    }
    let after = after?;
    let runner = match &check {
        Some(Check::Test(run)) => Some(run.on.clone()),
        Some(_) | None => None,
    };
    let gate = GateSpec {
        name: name?,
        kind,
        after,
        deadline,
        on_fail,
        on_inconclusive,
        on_no_data,
        beside_bake,
        in_watch,
        promotable,
        runner,
    };
    Some(Declaration { gate, check: check? })
}

fn name(table: &Guard<'_>) -> Option<String> {
    let name: String = table.required("name")?;
    let sound = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c));
    if name.is_empty() || name.len() > NAME_BYTES || !sound {
        let shown = visible(&name);
        table.problem_at(
            "name",
            format!("gate.name: \"{shown}\" is invalid: use a-z 0-9 \"-\" \"_\", at most {NAME_BYTES}"),
        );
        return None;
    }
    Some(name)
}

fn one_of<T: Copy>(table: &Guard<'_>, key: &str, words: &[(&str, T)]) -> Option<T> {
    let given: String = table.required(key)?;
    let found = words.iter().find(|(word, _)| *word == given).map(|(_, value)| *value);
    if found.is_none() {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let (shown, known) = (visible(&given), known.join(", "));
        table.problem_at(key, format!("gate.{key}: \"{shown}\" is none of {known}"));
    }
    found
}

fn check(table: &Guard<'_>, kind: GateKind, deadline: Span, roles: &Roles) -> Option<Check> {
    // Every key is asked for before one that is wrong ends it, so that none is taken for an unknown one.
    Some(match kind {
        GateKind::Probe => Check::Probe(matrix(table)?),
        GateKind::Test => {
            let (test, on) = (table.required("test"), table.required("on"));
            Check::Test(TestRun { test: test?, on: on? })
        }
        GateKind::Metrics => Check::Metrics(metrics(table, deadline)?),
        GateKind::App => Check::App(app(table, deadline)?),
        GateKind::Approval => Check::Approval(approval(table, roles)),
        GateKind::Webhook => {
            let (secret_file, every, ca) =
                (path(table, "secret_file"), every(table, "every", EVERY), path(table, "ca"));
            Check::Webhook(Webhook { url: url(table, "url")?, secret_file, every, ca })
        }
        GateKind::Http => {
            let (status, body) = (status(table, "status"), table.optional("body"));
            let (every, ca) = (every(table, "every", EVERY), path(table, "ca"));
            let (fail_status, headers) = (table.list("fail_status"), headers(table, "gate.headers"));
            Check::Http(Endpoint { url: url(table, "url")?, status, body, fail_status, headers, every, ca })
        }
    })
}

fn matrix(table: &Guard<'_>) -> Option<Matrix> {
    let reaches = table.tables("reach");
    if reaches.is_empty() || reaches.len() > REACH_MAX {
        table.problem_at("reach", format!("gate.reach: needs 1 to {REACH_MAX} tables [[gate.reach]]"));
    }
    let (every, ca) = (every(table, "every", EVERY), path(table, "ca"));
    let read: Vec<Option<Vec<Reach>>> = reaches.iter().map(reach).collect();
    let lines: Vec<Reach> = read.into_iter().collect::<Option<Vec<_>>>()?.concat();
    if lines.is_empty() {
        return None;
    }
    Some(Matrix { lines, every, ca })
}

/// One line for each place that it is reached from.
fn reach(table: &Guard<'_>) -> Option<Vec<Reach>> {
    let expect: String = table.or("expect", "allow".to_owned());
    if !["allow", "deny"].contains(&expect.as_str()) {
        table.problem_at("expect", "gate.reach.expect: must be \"allow\" or \"deny\"");
    }
    let from: Vec<String> = table.list("from");
    let timeout = table.or("timeout", TIMEOUT);
    let Some(what) = table.one_of(&["http", "tcp", "dns"]) else {
        drop(table.keys()); // which of them belong there nobody can tell
        return None;
    };
    let to = match what {
        "http" => {
            let (status, body) = (status(table, "status"), table.optional("body"));
            let (tls_left, headers) = (table.optional("tls_left"), headers(table, "gate.reach.headers"));
            To::Http { url: url(table, "http")?, status, body, tls_left, headers }
        }
        "tcp" => To::Tcp { address: address(table)? },
        _ => {
            let address = ip(table);
            To::Dns { name: table.required("dns")?, address }
        }
    };
    let hosts: Vec<From> = from.iter().filter_map(|from| place(table, from)).collect();
    if hosts.len() < from.len() {
        return None;
    }
    if let (To::Http { url, body, tls_left, headers, .. }, true) =
        (&to, hosts.iter().any(|from| *from != From::Controller))
        && (!url.starts_with("http://") || body.is_some() || tls_left.is_some() || !headers.is_empty())
    {
        table.problem_at(
            "from",
            "gate.reach.from: hosts reach http:// and its status; TLS, headers and bodies are the controller's",
        );
    }
    let hosts = if hosts.is_empty() { vec![From::Controller] } else { hosts };
    let allowed = expect == "allow";
    Some(hosts.into_iter().map(|from| Reach { from, to: to.clone(), allowed, timeout }).collect())
}

fn place(table: &Guard<'_>, from: &str) -> Option<From> {
    if from == "controller" {
        return Some(From::Controller);
    }
    match from.parse::<HostName>() {
        Ok(host) => Some(From::Host(host)),
        Err(error) => {
            table.problem_at("from", format!("gate.reach.from: {}", error.message));
            None
        }
    }
}

fn address(table: &Guard<'_>) -> Option<String> {
    let text: String = table.required("tcp")?;
    let port = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    if !port.is_some_and(|(host, port)| !host.is_empty() && port > 0) {
        table.problem_at("tcp", format!("gate.reach.tcp: \"{}\" is not host:port", visible(&text)));
        return None;
    }
    Some(text)
}

fn ip(table: &Guard<'_>) -> Option<std::net::IpAddr> {
    let text: String = table.optional("address")?;
    let parsed = text.parse().ok();
    if parsed.is_none() {
        table.problem_at("address", format!("gate.reach.address: \"{}\" is no IP address", visible(&text)));
    }
    parsed
}

fn metrics(table: &Guard<'_>, deadline: Span) -> Option<Metrics> {
    let (prometheus, query) = (url(table, "prometheus"), table.required("query"));
    let (ca, token_file) = (path(table, "ca"), path(table, "token_file"));
    let (min, max): (Option<Number>, Option<Number>) = (table.optional("min"), table.optional("max"));
    let compare: Option<String> = table.optional("compare");
    let worse = word(table, "gate", "worse", Worse::Higher, &WORSE);
    let part = |key: &str, usual: f64| match table.optional::<Number>(key) {
        Some(Number(number)) if number > 0.0 && number < 1.0 => number,
        Some(_) => {
            table.problem_at(key, format!("gate.{key}: must lie between 0 and 1"));
            usual
        }
        None => usual,
    };
    let (significance, effect) = (part("significance", 0.05), part("effect", 0.33));
    let breaches = table.or("breaches", 0);
    let (window, step) = (table.or("window", WINDOW), every(table, "step", STEP));
    let usual = if compare.is_some() { 10 } else { 1 };
    let samples = table.or("samples", usual);
    let rule = match (compare.as_deref(), min.map(|n| n.0), max.map(|n| n.0)) {
        (Some("baseline"), None, None) => Rule::Baseline { worse, significance, effect },
        (None, min, max) if min.is_some() || max.is_some() => Rule::Within { min, max, breaches },
        _ => {
            let what = "gate: a metric needs \"min\" or \"max\", or compare = \"baseline\" and neither";
            table.problem_at("compare", what);
            return None;
        }
    };
    if window > deadline {
        table.problem_at(
            "window",
            format!("gate.window: {window} does not fit into the deadline of {deadline}"),
        );
    }
    if samples == 0 {
        table.problem_at("samples", "gate.samples: must be at least 1: without values there is no verdict");
    }
    Some(Metrics { prometheus: prometheus?, query: query?, rule, window, step, samples, ca, token_file })
}

fn app(table: &Guard<'_>, deadline: Span) -> Option<AppLimits> {
    let memory: Option<Bytes> = table.optional("memory");
    let limits = AppLimits {
        window: table.or("window", Span::secs(60)),
        every: every(table, "every", EVERY),
        restarts: table.optional("restarts"),
        errors_per_minute: table.optional("errors_per_minute"),
        cpu_percent: table.optional("cpu_percent"),
        memory_bytes: memory.map(|Bytes(bytes)| bytes),
    };
    if limits.window >= deadline {
        table.problem_at("window", format!("gate.window: must be shorter than the deadline of {deadline}"));
    }
    let none = limits.restarts.is_none() && limits.errors_per_minute.is_none();
    if none && limits.cpu_percent.is_none() && limits.memory_bytes.is_none() {
        let what = "gate: needs one of restarts, errors_per_minute, cpu_percent, memory";
        table.problem_at("kind", what);
        return None;
    }
    Some(limits)
}

fn approval(table: &Guard<'_>, roles: &Roles) -> Approval {
    let Named { names, roles: held } = named(table, "gate", "by", roles);
    let by: Vec<String> = names.iter().map(OperatorName::to_string).collect();
    let by_roles: Vec<String> = held.iter().map(ToString::to_string).collect();
    let count = table.or("count", 1);
    // How many have a role of operators is known when it is asked.
    let closed = by_roles.is_empty() && !by.is_empty();
    if closed && !(1..=by.len()).contains(&(count as usize)) {
        table.problem_at("count", format!("gate.count: must be 1 to the {} who may approve", by.len()));
    } else if count == 0 {
        table.problem_at("count", "gate.count: must be at least 1");
    }
    Approval { count, by, by_roles }
}

/// An address in which `$host` and the like may stand.
fn url(table: &Guard<'_>, key: &str) -> Option<String> {
    let text: String = table.required(key)?;
    let filled = PLACEHOLDERS.into_iter().fold(text.clone(), |text, name| text.replace(name, "x"));
    match filled.parse::<Url>() {
        Ok(_) => Some(text),
        Err(error) => {
            table.problem_at(key, format!("gate.{key}: {error}"));
            None
        }
    }
}

fn headers(table: &Guard<'_>, place: &str) -> Headers {
    let headers = Headers::read(table, place);
    let given = |name: &&str| headers.iter().any(|(_, value)| value.contains(*name));
    if let Some(name) = PLACEHOLDERS.iter().copied().find(given) {
        table.problem_at("headers", format!("{place}: {name} is put into addresses only"));
    }
    headers
}

fn status(table: &Guard<'_>, key: &str) -> Option<u16> {
    let status: u16 = table.optional(key)?;
    if !(100..=599).contains(&status) {
        table.problem_at(key, format!("gate.{key}: {status} is no HTTP status"));
    }
    Some(status)
}

fn path(table: &Guard<'_>, key: &str) -> Option<PathBuf> {
    let text: String = table.optional(key)?;
    if !text.starts_with('/') {
        table.problem_at(key, format!("gate.{key}: must be an absolute path on the controller's machine"));
    }
    Some(text.into())
}

fn every(table: &Guard<'_>, key: &str, usual: Span) -> Span {
    let every = table.or(key, usual);
    if every < EVERY_MIN {
        table.problem_at(key, format!("gate.{key}: must be at least {EVERY_MIN}"));
    }
    every.max(EVERY_MIN)
}

#[cfg(test)]
mod tests;
