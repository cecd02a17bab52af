//! Asks hosts what they are and have: all of them, a bounded number at a time, within one deadline.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use longshore_common::{
    ids::{AppName, HostId, HostName},
    manifest::{Driver, Manifest},
    settings::Secrets,
    time::Millis,
    traffic::{Directed, Directions},
};
use tokio::time::Instant;

use super::{
    Planner,
    distrust::{Distrust, Ours},
};
use crate::{
    fleet::{
        Asked, Host,
        words::{Answer, Facts, Question, SurveyAnswer, Wanted},
    },
    plan::{Machine, Survey, Surveyed},
};

/// Questions under way at a time: each is a message and an answer of a few hundred bytes.
const PARALLEL: usize = 256;

impl Planner {
    /// One answer for each host, in their order. Ends within `deadline`, whatever happens.
    pub(super) async fn ask_all(
        &self,
        manifest: &Manifest,
        hosts: &[Host],
        secrets_of: impl Fn(&HostId) -> Secrets,
        root: Option<&str>,
        sides: Option<Directed>,
        deadline: Duration,
    ) -> Vec<Surveyed> {
        let until = Instant::now() + deadline;
        let wanted = Wanted { directed: sides, ..wanted(manifest) };
        let ask = |host: &Host| {
            let wanted = Wanted { secrets: secrets_of(&host.id), ..wanted.clone() };
            let distrust = Distrust { app: manifest.app.clone(), ours: Ours::of(root) };
            ask(self.clone(), host.clone(), Question::Survey(Box::new(wanted)), distrust, until)
        };
        let questions: Vec<_> = hosts.iter().map(ask).collect();
        stream::iter(questions).buffered(PARALLEL).collect().await
    }

    /// The same of load balancers, of which nothing else is asked.
    pub(super) async fn ask_balancers(
        &self,
        app: &AppName,
        balancers: &[Host],
        directions: Directions,
        deadline: Duration,
    ) -> Vec<(HostName, Surveyed)> {
        let until = Instant::now() + deadline;
        let wanted =
            Wanted { directed: Some(Directed::Hosts(directions)), ..Wanted::nothing_for(app.clone()) };
        let ask = async |host: &Host| {
            let question = Question::Survey(Box::new(wanted.clone()));
            // Whatever it trusts, directions need no signature.
            let distrust = Distrust { app: app.clone(), ours: Ours::NotAsked };
            (host.name.clone(), ask(self.clone(), host.clone(), question, distrust, until).await)
        };
        futures_util::future::join_all(balancers.iter().map(ask)).await
    }

    fn surveyed(&self, host: &Host, asked: Asked, distrust: &Distrust) -> Surveyed {
        let connected = || self.fleet.presence().connected(&host.id).map(|connected| connected.facts);
        let known = || connected().or_else(|| host.seen.as_ref().map(|seen| seen.facts.clone()));
        let remembered = || known().map(machine);
        match asked {
            Asked::Silent => Surveyed::Unknown { why: known().and_then(why_gone), machine: remembered() },
            Asked::Answered { answer: Answer::Survey(survey), took } => {
                Surveyed::Answered(Box::new(survey_of(*survey, took, self.now(), host, distrust)))
            }
            Asked::Answered { answer: Answer::Error(why), .. } => {
                Surveyed::Unasked { why, machine: remembered() }
            }
            // Every other answer, whatever questions there will be.
            Asked::Answered { .. } => {
                Surveyed::Unasked { why: "answered another question".to_owned(), machine: remembered() }
            }
        }
    }
}

async fn ask(
    planner: Planner,
    host: Host,
    question: Question,
    distrust: Distrust,
    until: Instant,
) -> Surveyed {
    let left = until.saturating_duration_since(Instant::now());
    let asked = planner.fleet.ask(host.id, question, left).await;
    planner.surveyed(&host, asked, &distrust)
}

fn wanted(manifest: &Manifest) -> Wanted {
    let requires = &manifest.requires;
    Wanted {
        commands: requires.commands.clone(),
        ports: manifest.ports().map(str::to_owned).collect(),
        mounts: requires.mounts.clone(),
        users: requires.users.clone(),
        run_as: (manifest.service.driver != Driver::None).then(|| manifest.service.user.clone()).flatten(),
        ..Wanted::nothing_for(manifest.app.clone())
    }
}

fn survey_of(answer: SurveyAnswer, took: Duration, now: Millis, host: &Host, distrust: &Distrust) -> Survey {
    let SurveyAnswer {
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
        traffic,
    } = answer;
    let (live_slot, slots) = app.map(|app| (app.current_slot, app.slots)).unwrap_or_default();
    let trust_problem = facts.trust.as_ref().and_then(|trust| distrust.of(trust, &host.name));
    Survey {
        machine: machine(facts),
        clock_offset_ms: clock_offset(time_ms, took, now),
        live_slot,
        slots,
        hold: hold.map(|hold| hold.reason),
        commands_missing,
        ports_taken,
        mounts_missing,
        users_missing,
        run_as_problem,
        secrets_missing,
        trust_problem,
        traffic,
    }
}

/// The last word of a host whose helper is away is that.
fn why_gone(facts: Facts) -> Option<String> {
    facts.trust.filter(|trust| trust.state == "unknown").map(|trust| trust.problem)
}

fn machine(facts: Facts) -> Machine {
    let Facts { arch, os, memory_bytes, disk_free_bytes, .. } = facts;
    Machine { arch, os, memory_bytes, disk_free_bytes }
}

/// By how much the host's clock is off at least: it was read at some moment between the question and the answer, and a host
/// that looks for long at what it is asked for is not one whose clock is ahead.
fn clock_offset(time_ms: Millis, took: Duration, now: Millis) -> Millis {
    let had_it_been_read_last = time_ms.saturating_sub(now);
    0_i64.clamp(had_it_been_read_last, had_it_been_read_last.saturating_add(took.as_millis() as Millis))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::words::TrustFacts;

    #[test]
    fn a_host_whose_helper_is_away_said_so_last() {
        let gone = |state: &str| {
            let (state, problem) = (state.to_owned(), "LS-C01 the helper does not answer".to_owned());
            let trust = Some(TrustFacts { state, problem, ..TrustFacts::default() });
            why_gone(Facts { trust, ..Facts::default() })
        };
        assert_eq!(gone("unknown").as_deref(), Some("LS-C01 the helper does not answer"));
        assert_eq!((gone("damaged"), gone("signed")), (None, None));
    }

    #[test]
    fn a_slow_answer_is_no_wrong_clock() {
        let off = |host: Millis, took_ms| clock_offset(host, Duration::from_millis(took_ms), 100_000);
        // Asked at 96 000: whenever it was read in these four seconds, it may be right.
        assert_eq!([96_000, 98_000, 100_000].map(|host| off(host, 4_000)), [0, 0, 0]);
        assert_eq!(off(103_000, 4_000), 3_000);
        assert_eq!(off(90_000, 4_000), -6_000);
        assert_eq!(off(90_000, 0), -10_000);
        assert_eq!(off(Millis::MAX, 0), Millis::MAX - 100_000);
        assert_eq!(clock_offset(Millis::MIN, Duration::ZERO, 1), Millis::MIN);
    }
}
