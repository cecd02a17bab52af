//! A test of the release, run by an agent on a host that holds the release in a slot. The command is the manifest's;
//! what is asked here is only its name.

use std::time::Duration;

use super::{Conclusion, Scene, check::TestRun};
use crate::{
    fleet::{
        Asked,
        words::{Answer, Question, TestAnswer},
    },
    rollout::Verdict,
};

/// Between two questions to a host that does not hold the release yet, or does not answer.
const AGAIN: Duration = Duration::from_secs(2);

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
                // A little longer than the test: the agent ends it and says so.
                match scene.fleet.ask(id, question, scene.left() + scene.left() / 20).await {
                    Asked::Answered { answer: Answer::Test(answer), .. } if !answer.not_here => {
                        return conclude(run, *answer);
                    }
                    Asked::Answered { answer: Answer::Test(_), .. } => {
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

fn conclude(run: &TestRun, answer: TestAnswer) -> Conclusion {
    let TestAnswer { cases, passed, failed, skipped, ended, trouble, good, lines, not_here: _ } = answer;
    let counts = format!("{passed} passed, {failed} failed, {skipped} skipped");
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
        (ended, _, false) => Conclusion::new(Verdict::Fail, format!("{counts}; it ended with {ended}")),
    };
    conclusion.with(said.into_iter().chain(cases))
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
    use crate::fleet::words::TestCase;

    /// A test that failed is told once, with what was printed beside it.
    #[test]
    fn a_failed_test_is_told_once() {
        let run = TestRun { test: "smoke".into(), on: "runner".parse().unwrap() };
        let printed = ["1..2", "ok 1 - login", "not ok 2 - a", "# got 500", "okay so far"];
        let lines = printed.map(str::to_owned).to_vec();
        let said = conclude(&run, TestAnswer { lines, ..answer(1, 1, "exit status 1", "", false) });
        assert_eq!(said.evidence, ["1..2", "# got 500", "okay so far", "passed a: why", "failed a: why"]);
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
