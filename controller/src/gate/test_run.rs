//! A test of the release, run by an agent on a host that holds the release in a slot. The command is the manifest's;
//! what is asked here is only its name. A host runs one test of an app at a time, whichever rollout it is of.

use std::time::Duration;

use longshore_common::{ids::HostId, report::Outcome, text::visible, time::Span, wire::cut};

use super::{Conclusion, Scene, check::TestRun};
use crate::{
    engine::states,
    fleet::{
        Asked,
        words::{Answer, Question, TestAnswer, TestCase},
    },
    rollout::Verdict,
};

/// Between two questions to a host that does not hold the release yet, or does not answer.
const AGAIN: Duration = Duration::from_secs(2);
/// How a test ended that was given up.
const TIMEOUT: &str = "timeout";
/// Failed tests that the verdict names, and bytes of each name.
const NAMED: usize = 3;
const NAME_BYTES: usize = 80;

pub async fn look(run: &TestRun, scene: &Scene) -> Conclusion {
    loop {
        let why = match scene.fleet.by_name(run.on.as_str()).await {
            None => format!("there is no host {}", run.on),
            Some(id) => {
                scene.tell(format!("{} runs on {}", run.test, run.on));
                let question = Question::Test {
                    app: scene.app.clone(),
                    release: scene.release,
                    test: run.test.clone(),
                    generation: scene.generation,
                    timeout: scene.left(),
                };
                let (given, whole) = (scene.left(), scene.gate.deadline.0);
                // A little longer than the test: the agent ends it and says so.
                match scene.fleet.ask(id, question, given + given / 20).await {
                    Asked::Answered { answer: Answer::Test(answer), took } if !answer.not_here => {
                        return conclude_in(run, *answer, Time { took, given, whole });
                    }
                    Asked::Answered { answer: Answer::Test(_), .. } => {
                        if let Some(refusal) = refusal(&id, scene).await {
                            let note = format!("test {} was not run: {} {refusal}", run.test, run.on);
                            return Conclusion::new(Verdict::NoData, note);
                        }
                        format!("{} does not hold {}@{} in a slot", run.on, scene.app, scene.version)
                    }
                    Asked::Answered { answer: Answer::Error(why), .. } => format!("{}: {why}", run.on),
                    Asked::Answered { .. } => format!("{} answered another question", run.on),
                    Asked::Silent => format!("{} does not answer", run.on),
                }
            }
        };
        scene.tell(&why);
        if !scene.pause(AGAIN).await {
            return Conclusion::new(Verdict::NoData, format!("test {} was not run: {why}", run.test));
        }
    }
}

/// Why the host does not have what this rollout lent it, in its own words. It is lent it once, and what it said then stands.
async fn refusal(host: &HostId, scene: &Scene) -> Option<String> {
    let (state, _) = states::known(scene.fleet.store(), host, &scene.app).await.ok()?;
    let lent =
        state.filter(|state| state.rollout == scene.rollout && state.generation == scene.generation)?;
    let what = format!("{}@{}", scene.app, scene.version);
    match lent.outcome {
        Outcome::Refused { failure } => Some(format!("refused {what}: {} {}", failure.code, failure.message)),
        Outcome::Failed { failure } | Outcome::Inconsistent { failure } => {
            Some(format!("could not unpack {what}: {} {}", failure.code, failure.message))
        }
        Outcome::Staged
        | Outcome::Healthy
        | Outcome::Unchanged
        | Outcome::Reverted { .. }
        | Outcome::Removed => None,
    }
}

/// Of one attempt.
struct Time {
    took: Duration,
    /// What was left of the gate's time when it began.
    given: Duration,
    whole: Duration,
}

impl Time {
    /// It used up what was left for it, and that was much less than it should have had.
    fn was_short(&self) -> bool {
        self.given < self.whole * 3 / 4 && self.took >= self.given * 9 / 10
    }
}

/// A test that does not end has failed, unless its host was busy or away for so long that it could not.
fn conclude_in(run: &TestRun, answer: TestAnswer, time: Time) -> Conclusion {
    let is_short = answer.ended == TIMEOUT && answer.failed == 0 && time.was_short();
    let said = conclude(run, answer);
    if !is_short {
        return said;
    }
    let [given, whole] = [time.given, time.whole].map(|time| Span::secs(time.as_secs()));
    let note = format!(
        "test {} did not end, and had only the last {given} of {whole}: {} was not ready for it before",
        run.test, run.on
    );
    Conclusion::new(Verdict::Inconclusive, note).with(said.evidence)
}

fn conclude(run: &TestRun, answer: TestAnswer) -> Conclusion {
    let TestAnswer { cases, passed, failed, skipped, ended, trouble, good, lines, not_here: _ } = answer;
    let counts = format!("{passed} passed, {failed} failed, {skipped} skipped");
    let failures = failures(&cases);
    let cases = cases.into_iter().map(|case| {
        let message = if case.message.is_empty() { String::new() } else { format!(": {}", case.message) };
        format!("{} {}{message}", case.state, case.name)
    });
    // The newest lines stay: tests that failed come last.
    let mut cases: Vec<String> = cases.collect();
    cases.sort_by_key(|line| (line.starts_with("failed"), !line.starts_with("skipped")));
    let mut said = if failed > 0 || !good { lines } else { vec![] };
    said.retain(|line| !is_of_a_test(line));
    let conclusion = match (ended.as_str(), trouble.as_str(), good && failed == 0) {
        ("", why, _) => {
            Conclusion::new(Verdict::Inconclusive, format!("test {} could not be run: {why}", run.test))
        }
        (_, "", true) if passed == 0 => {
            Conclusion::new(Verdict::Inconclusive, format!("test {} ended well and ran no test", run.test))
        }
        (_, "", true) => Conclusion::new(Verdict::Pass, counts),
        (_, why, true) => {
            Conclusion::new(Verdict::Inconclusive, format!("the report of test {}: {why}", run.test))
        }
        (ended, _, false) => {
            let ended = if good { String::new() } else { format!("; it ended with {ended}") };
            Conclusion::new(Verdict::Fail, format!("{counts}{failures}{ended}"))
        }
    };
    conclusion.with(said.into_iter().chain(cases))
}

/// `: login, cart and 3 more`; nothing where no case failed.
fn failures(cases: &[TestCase]) -> String {
    let names = cases.iter().filter(|case| case.state == "failed").map(|case| visible(&case.name));
    let mut names: Vec<String> = names.map(|name| cut(&name, NAME_BYTES)).collect();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    match (names.is_empty(), more) {
        (true, _) => String::new(),
        (false, 0) => format!(": {}", names.join(", ")),
        (false, more) => format!(": {} and {more} more", names.join(", ")),
    }
}

/// A line of TAP that says how a test ended: its case says so too.
fn is_of_a_test(line: &str) -> bool {
    let line = line.trim_start();
    let rest = line.strip_prefix("not ").unwrap_or(line).strip_prefix("ok");
    rest.is_some_and(|rest| rest.trim_start().starts_with(|c: char| c.is_ascii_digit() || c == '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A test that failed is told once, with what was printed beside it.
    #[test]
    fn a_failed_test_is_told_once() {
        let run = TestRun { test: "smoke".into(), on: "runner".parse().unwrap() };
        let printed = ["1..2", "ok 1 - login", "not ok 2 - a", "# got 500", "okay so far"];
        let lines = printed.map(str::to_owned).to_vec();
        let said = conclude(&run, TestAnswer { lines, ..answer(1, 1, "exit status 1", "", false) });
        assert_eq!(said.evidence, ["1..2", "# got 500", "okay so far", "passed a: why", "failed a: why"]);
    }

    #[test]
    fn the_verdict_names_what_failed_and_no_exit_status_that_is_good() {
        let run = TestRun { test: "smoke".into(), on: "runner".parse().unwrap() };
        let case =
            |name: &str| TestCase { name: name.into(), state: "failed".into(), message: String::new() };
        let said = |names: &[&str], ended: &str, good: bool| {
            let cases = names.iter().map(|name| case(name)).collect();
            conclude(&run, TestAnswer { cases, ..answer(5, names.len() as u32, ended, "", good) }).note
        };
        assert_eq!(
            said(&["login", "cart"], "exit status 0", true),
            "5 passed, 2 failed, 0 skipped: login, cart"
        );
        assert_eq!(
            said(&["a", "b", "c", "d", "e\u{1b}"], "exit status 1", false),
            "5 passed, 5 failed, 0 skipped: a, b, c and 2 more; it ended with exit status 1"
        );
        assert_eq!(said(&[], "timeout", false), "5 passed, 0 failed, 0 skipped; it ended with timeout");
    }

    /// As when a test of another rollout has the host for most of the time.
    #[test]
    fn a_test_that_began_late_and_did_not_end_is_no_verdict() {
        let run = TestRun { test: "smoke".into(), on: "runner".parse().unwrap() };
        let s = Duration::from_secs;
        let said = |failed, took, given| {
            let answer = answer(0, failed, "timeout", "", false);
            conclude_in(&run, answer, Time { took: s(took), given: s(given), whole: s(600) })
        };
        let short = said(0, 60, 60);
        assert_eq!(short.verdict, Verdict::Inconclusive);
        assert_eq!(
            short.note,
            "test smoke did not end, and had only the last 1m of 10m: runner was not ready for it before"
        );
        assert_eq!(short.evidence.last().unwrap(), "failed a: why", "what it rests on stays");
        assert_eq!(said(1, 60, 60).verdict, Verdict::Fail, "a case failed");
        assert_eq!(said(0, 10, 60).verdict, Verdict::Fail, "its own timeout came first");
        assert_eq!(said(0, 590, 590).verdict, Verdict::Fail, "it had its time");
    }

    fn answer(passed: u32, failed: u32, ended: &str, trouble: &str, good: bool) -> TestAnswer {
        let case = |state: &str| TestCase { name: "a".into(), state: state.into(), message: "why".into() };
        let cases = vec![case("failed"), case("passed")];
        let (ended, trouble) = (ended.into(), trouble.into());
        TestAnswer { cases, passed, failed, skipped: 0, ended, trouble, good, lines: vec![], not_here: false }
    }

    /// Scenario 31: a test that does not end has failed; one that cannot begin is no verdict on the release.
    #[test]
    fn every_end_of_a_test_has_its_verdict() {
        let run = TestRun { test: "smoke".into(), on: "runner".parse().unwrap() };
        for (answer, verdict) in [
            (answer(2, 0, "exit status 0", "", true), Verdict::Pass),
            (answer(1, 1, "exit status 1", "", false), Verdict::Fail),
            (answer(1, 1, "exit status 0", "", true), Verdict::Fail),
            (answer(2, 0, "exit status 3", "", false), Verdict::Fail),
            (answer(0, 0, "timeout", "", false), Verdict::Fail),
            (answer(0, 0, "exit status 0", "", true), Verdict::Inconclusive),
            (answer(0, 0, "exit status 0", "report.xml is not there", true), Verdict::Inconclusive),
            (answer(0, 0, "", "the manifest has no test smoke", false), Verdict::Inconclusive),
        ] {
            let said = conclude(&run, answer.clone());
            assert_eq!(said.verdict, verdict, "{answer:?}: {}", said.note);
            assert_eq!(said.evidence.last().unwrap(), "failed a: why");
        }
    }
}
