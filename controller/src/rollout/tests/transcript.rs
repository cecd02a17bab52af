//! `check(fleet and strategy, transcript)`: plays the left side of every line and compares with the right.
//!
//! Left: `start`, `+30s`, `a healthy`, `a b failed`, `a good` (whatever it is asked works), `pause`, ... Right: the phase, then the new assignments.

use std::collections::BTreeMap;

use longshore_common::{
    assignment::{Assignment, Intent},
    code::Code,
    ids::{Generation, HostId, RolloutId},
    report::{Blame, DRAINED, FROZEN, Failure, Outcome, StepName},
    settings::Settings,
    slot::Slot,
    time::{Millis, Span},
};
use uuid::Uuid;

use super::setup::{self, target, version};
use crate::rollout::{
    Ask, Closed, Event, Facts, GateWord, Header, HostProgress, Member, Phase, Promote, Rollout, Snapshots,
    Transition, UnderWay, Verdict, Why, desired, explain, next_deadline, step,
};

/// Plays the transcript and fails with the whole of what happened instead.
#[track_caller]
pub(super) fn check(setup: &str, transcript: &str) -> Play {
    let mut play = Play::new(setup);
    let wanted: Vec<String> = transcript.lines().map(tidy).filter(|line| !line.is_empty()).collect();
    let happened: Vec<String> = wanted
        .iter()
        .map(|line| {
            let event = line.split(" -> ").next().expect("a split gives at least one part");
            format!("{event} -> {}", play.act(event))
        })
        .collect();
    assert!(wanted == happened, "wanted:\n{}\n\nhappened:\n{}\n", wanted.join("\n"), happened.join("\n"));
    play
}

fn tidy(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A rollout that is being played, and the clock.
#[derive(Clone)]
pub(super) struct Play {
    pub rollout: Rollout,
    pub now: Millis,
    /// Hosts that are not of it yet.
    pub late: Vec<Member>,
}

impl Play {
    pub fn new(setup: &str) -> Self {
        Self { rollout: setup::rollout(setup), now: 0, late: setup::late(setup) }
    }

    /// One left side; the right side as it turns out.
    pub fn act(&mut self, line: &str) -> String {
        if let Some(span) = line.strip_prefix('+') {
            self.now += span.parse::<Span>().expect("a length of time").as_ms();
        }
        let mut said = String::new();
        let looked: Vec<u32> = self.rollout.due_gates().iter().map(|(_, _, run)| run.number).collect();
        for event in self.events(line) {
            match step(&self.rollout, event, self.now) {
                Err(refused) => return format!("refused: {}", refused.why),
                Ok(Transition { next, assign, .. }) => {
                    self.rollout = next;
                    for a in &assign {
                        said += &match a.intent {
                            Intent::Direct => format!("; direct {}", servers(a)),
                            intent => format!("; {} {}", word(intent, a.version.as_str()), self.name(a.host)),
                        };
                    }
                }
            }
        }
        let due = self.rollout.due_gates();
        for (_, gate, _) in due.iter().filter(|(_, _, run)| !looked.contains(&run.number)) {
            said += &format!("; look {}", gate.name);
        }
        if self.rollout.balancers().count() > 1 {
            dedup_directions(&mut said);
        }
        format!("{}{}", phase(&self.rollout), join_same(&said))
    }

    /// The name of the event that a left side stands for.
    pub fn event(&self, line: &str) -> &'static str {
        self.events(line).first().expect("a line is at least one event").as_str()
    }

    fn events(&self, line: &str) -> Vec<Event> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let by = || "ann".to_owned();
        let rest = || words[1..].iter().map(|name| self.id(name)).collect();
        match words[0] {
            "start" => vec![Event::Start],
            "pause" => vec![Event::Pause { by: by() }],
            "resume" => vec![Event::Resume],
            "promote" => {
                let (full, reason) = (words.contains(&"full"), words[1..].join(" "));
                vec![Event::Promote(Promote { by: by(), reason, full })]
            }
            "gate" => vec![self.gate(words[1], words[2])],
            "abort" => {
                let reason =
                    if words.len() > 1 { format!(" ({})", words[1..].join(" ")) } else { String::new() };
                vec![Event::Abort { by: by() + &reason }]
            }
            "rollback" => vec![Event::Rollback { by: by() }],
            "retry" => vec![Event::Retry(rest())],
            "pace" => vec![Event::Pace(setup::pace(&words[1..]))],
            "exclude" => vec![Event::Exclude(rest())],
            "closed" | "closed-finishing" | "closed-both" => {
                vec![Event::Calendar { closed: Some(self.closed(&words)) }]
            }
            "open" => vec![Event::Calendar { closed: None }],
            "withdrawn" => vec![Event::Withdrawn { by: "ann: loses orders".to_owned() }],
            "supersede" => vec![Event::Supersede(RolloutId(Uuid::from_u128(99)))],
            time if time.starts_with('+') => vec![Event::Tick],
            _ => {
                let (what, hosts) = words.split_last().expect("a host and what it does");
                hosts.iter().map(|name| self.of_host(self.id(name), what)).collect()
            }
        }
    }

    /// `gate errors fail`, of its present run, or `gate errors@1 fail` of the first there was; `gate smoke waits` for its
    /// runner, and `gate smoke begins`.
    fn gate(&self, name: &str, verdict: &str) -> Event {
        let (name, number) = name.split_once('@').map_or((name, None), |(name, n)| (name, n.parse().ok()));
        let present = self.rollout.runs().iter().find(|run| run.gate == name).map(|run| run.number);
        let known = |word: &str| Verdict::ALL.into_iter().find(|known| known.as_str() == word);
        let word = match verdict {
            "waits" => GateWord::Waits,
            "begins" => GateWord::Begins,
            word => {
                GateWord::Verdict { verdict: known(word).expect("a verdict"), note: "as it is".to_owned() }
            }
        };
        Event::Gate { number: number.or(present).unwrap_or_default(), word }
    }

    /// `closed 60s`: until then; `closed-finishing`: what is under way finishes; `closed-both`: nobody goes back either.
    fn closed(&self, words: &[&str]) -> Closed {
        let until =
            words.get(1).map(|span| self.now + span.parse::<Span>().expect("a length of time").as_ms());
        Closed {
            reason: "outside the window night".to_owned(),
            since: self.now,
            until,
            owner: "the calendar of prod".to_owned(),
            command: "longshore env calendar prod".to_owned(),
            under_way: if words[0] == "closed-finishing" { UnderWay::Finish } else { UnderWay::Hold },
            rollback: words[0] != "closed-both",
        }
    }

    fn of_host(&self, host: HostId, what: &str) -> Event {
        let (what, round) =
            what.split_once('@').map_or((what, None), |(what, round)| (what, round.parse().ok()));
        let directions = self.rollout.header.balancing.as_ref().map_or(0, |balancing| balancing.round);
        let present = match self.rollout.is_balancer(&host) {
            true => Generation::new(self.rollout.header.sequence, directions),
            false => self.rollout.generation(host).unwrap_or_default(),
        };
        let generation = round.map_or(present, |round| Generation::new(self.rollout.header.sequence, round));
        let report = |outcome| Event::Report { host, generation, outcome };
        let failure = |code, step, blame| Failure::new(code, step, blame, what);
        let probe = || failure(Code::B01, StepName::Probe, Blame::Version);
        match what {
            "directed" => report(Outcome::Healthy),
            "good" if self.rollout.is_balancer(&host) => report(Outcome::Healthy),
            lacks if lacks.starts_with("lacks-") => {
                let words = lacks.replace("lacks-", "HAProxy at /s has no server shop/");
                let failure = Failure::new(Code::L01, StepName::Traffic, Blame::Environment, words);
                report(Outcome::Failed { failure })
            }
            "away" => {
                let words = "HAProxy cannot be asked";
                let failure = Failure::new(Code::L01, StepName::Traffic, Blame::Environment, words);
                report(Outcome::Failed { failure })
            }
            "good" => match self.rollout.hosts.get(&host).and_then(|host| host.ask) {
                None => Event::Tick,
                Some(Ask::Stage) => report(Outcome::Staged),
                Some(Ask::Run) => report(Outcome::Healthy),
                Some(Ask::Return) if self.rollout.hosts[&host].previous.is_none() => report(Outcome::Removed),
                Some(Ask::Return) => report(Outcome::Healthy),
            },
            "staged" => report(Outcome::Staged),
            "healthy" => report(Outcome::Healthy),
            "unchanged" => report(Outcome::Unchanged),
            "removed" => report(Outcome::Removed),
            "failed" => report(Outcome::Failed { failure: probe() }),
            "full" => {
                report(Outcome::Failed { failure: failure(Code::D01, StepName::Fetch, Blame::Environment) })
            }
            "reverted" => report(Outcome::Reverted {
                failure: probe(),
                to_slot: Slot::new(&version("1"), &target("1").release, &Settings::default()),
                to_version: version("1"),
            }),
            "inconsistent" => report(Outcome::Inconsistent { failure: probe() }),
            "refuses" => {
                report(Outcome::Refused { failure: failure(Code::P01, StepName::Check, Blame::Environment) })
            }
            "frozen" => {
                let words = format!("{FROZEN}key stolen");
                let failure = Failure::new(Code::P01, StepName::Check, Blame::Environment, words);
                report(Outcome::Refused { failure })
            }
            "forbidden" => {
                report(Outcome::Refused { failure: failure(Code::T05, StepName::Check, Blame::Environment) })
            }
            "unfit" => {
                report(Outcome::Refused { failure: failure(Code::Q01, StepName::Check, Blame::Environment) })
            }
            "silent" => Event::Silent(host),
            "back" => Event::Back(host),
            "held" => Event::HoldChanged { host, hold: Some("lunch".to_owned()) },
            "halted" => Event::HoldChanged { host, hold: Some(format!("{DRAINED}disk; held by ann")) },
            "unheld" => Event::HoldChanged { host, hold: None },
            "drained" | "undrained" => Event::HostDrained { host, drained: what == "drained" },
            "left" => Event::HostRemoved(host),
            "joins" => match self.late.iter().find(|member| member.id == host) {
                Some(member) => {
                    Event::HostJoined { member: Box::new(member.clone()), snapshots: Snapshots::new() }
                }
                None => Event::Tick, // of it already
            },
            other => panic!("no such event: {other}"),
        }
    }

    fn id(&self, name: &str) -> HostId {
        let hosts = self.rollout.hosts.iter().map(|(id, host)| (*id, &host.name));
        let balancers = self.rollout.balancers().map(|(id, balancer)| (id, &balancer.name));
        let late = self.late.iter().map(|member| (member.id, &member.name));
        let found = hosts.chain(balancers).chain(late).find(|(_, known)| known.as_str() == name);
        match found {
            Some((id, _)) => id,
            None if name.starts_with("lb") => HostId(Uuid::from_u128(u128::MAX)), // it has left
            None => panic!("no host {name}"),
        }
    }

    fn name(&self, id: HostId) -> &str {
        match self.rollout.hosts.get(&id) {
            Some(host) => host.name.as_str(),
            None => "a balancer",
        }
    }

    /// `a healthy, b failed`
    pub fn states(&self) -> String {
        let states: Vec<String> = self
            .rollout
            .in_order()
            .iter()
            .map(|(_, host)| format!("{} {}", host.name, host.as_str()))
            .collect();
        states.join(", ")
    }

    /// What every host should run: `a run 2, b stage 2, c run 1`.
    pub fn desired(&self) -> String {
        let by_host: BTreeMap<HostId, String> = desired(&self.rollout)
            .into_iter()
            .map(|a| (a.host, format!("{} {} {}", self.name(a.host), word_of(a.intent), a.version)))
            .collect();
        let order = self.rollout.in_order();
        let said: Vec<&str> =
            order.iter().filter_map(|(id, _)| by_host.get(id)).map(String::as_str).collect();
        said.join(", ")
    }

    /// The holds, one a line, as `kind: sentence (until 30s; command)`.
    pub fn explained(&self) -> String {
        let holds = explain(&self.rollout, &Facts::default());
        let lines: Vec<String> = holds
            .iter()
            .map(|hold| {
                let until =
                    hold.until.map(|at| format!(" until {}", Span::millis(at as u64))).unwrap_or_default();
                let command =
                    hold.command.as_deref().unwrap_or("-").replace(&self.rollout.header.id.short(), "ID");
                format!("{}{until}: {} [{command}]", hold.kind.as_str(), hold.what)
            })
            .collect();
        lines.join("\n")
    }

    /// From what the store would hold, as after a crash.
    pub fn reload(&mut self) {
        let header = serde_json::to_string(&self.rollout.header).expect("a header is JSON");
        let header: Header = serde_json::from_str(&header).expect("what was written can be read");
        let hosts = self.rollout.hosts.iter().map(|(id, host)| {
            let text = serde_json::to_string(&**host).expect("a record is JSON");
            (*id, serde_json::from_str::<HostProgress>(&text).expect("what was written can be read"))
        });
        let loaded = Rollout::from_parts(header, hosts);
        assert_eq!(loaded, self.rollout);
        self.rollout = loaded;
    }

    pub fn reason(&self) -> &str {
        match &self.rollout.header.phase {
            Phase::Done(done) => &done.reason,
            other => panic!("not done: {}", other.as_str()),
        }
    }

    /// `a b | c`: who is moved together.
    pub fn waves(&self) -> String {
        let names = |wave: &Vec<HostId>| wave.iter().map(|id| self.name(*id)).collect::<Vec<_>>().join(" ");
        self.rollout.waves().iter().map(names).collect::<Vec<_>>().join(" | ")
    }

    pub fn deadline(&self) -> String {
        next_deadline(&self.rollout).map_or("none".to_owned(), |at| Span::millis(at as u64).to_string())
    }
}

fn word_of(intent: Intent) -> &'static str {
    match intent {
        Intent::Stage => "stage",
        Intent::Run => "run",
        Intent::Remove => "remove",
        Intent::Direct => "direct",
    }
}

/// `a=100 b=0`: what a balancer is told.
fn servers(assignment: &Assignment) -> String {
    let directions = assignment.directions.as_ref().expect("directions go with the intent");
    let servers = directions.servers.iter().map(|server| {
        let if_up = if server.if_up { "?" } else { "" };
        format!("{}={}{if_up}", server.name, server.weight)
    });
    servers.collect::<Vec<_>>().join(" ")
}

/// All balancers are told the same.
fn dedup_directions(said: &mut String) {
    let mut parts: Vec<&str> = said.split("; ").collect();
    parts.dedup_by(|a, b| a == b && a.starts_with("direct "));
    *said = parts.join("; ");
}

/// Running what was there before is a way back.
fn word(intent: Intent, version: &str) -> &'static str {
    match (intent, version) {
        (Intent::Run, "2") => "run",
        (Intent::Run, _) => "return",
        (Intent::Stage | Intent::Remove | Intent::Direct, _) => word_of(intent),
    }
}

/// `; run a; run b` as `; run a b`
fn join_same(said: &str) -> String {
    let mut joined = String::new();
    let mut last = "";
    for (word, host) in said.split("; ").filter_map(|part| part.split_once(' ')) {
        joined +=
            &if word == last && word != "direct" { format!(" {host}") } else { format!("; {word} {host}") };
        last = word;
    }
    joined
}

fn phase(rollout: &Rollout) -> String {
    match &rollout.header.phase {
        Phase::Ready => "ready".to_owned(),
        Phase::RollingBack(_) => "rolling-back".to_owned(),
        Phase::Done(done) => done.outcome.as_str().to_owned(),
        Phase::Paused(paused) => {
            let why = match &paused.why {
                Why::Operator { .. } => "by an operator",
                Why::VersionFailures(_) => "for version failures",
                Why::EnvironmentFailures(_) => "for environment failures",
                Why::NoProgress => "for want of progress",
                Why::Gate(_) => "for a gate",
                Why::Withdrawn { .. } => "for a withdrawal",
            };
            format!("paused {why}")
        }
        live @ (Phase::Staging(_)
        | Phase::Switching(_)
        | Phase::Baking(_)
        | Phase::Gating(_)
        | Phase::Awaiting(_)
        | Phase::Watching(_)) => {
            format!("{} {}", live.as_str(), live.wave().expect("a live phase has a wave"))
        }
    }
}
