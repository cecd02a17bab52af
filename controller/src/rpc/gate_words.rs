//! What gates ask hosts, and what hosts answer. Text from hosts is cut to size and made safe to show here, once.

use longshore_common::{
    report::LINE_BYTES,
    text::visible,
    wire::{Invalid, cut},
};
use longshore_proto::v1 as pb;

use crate::fleet::words::{Answer, Glance, Question, Reach, TestAnswer, TestCase, Usage};

/// Tests and lines that one answer may carry; bytes of a test's name.
const CASES: usize = 2000;
const LINES: usize = 40;
const NAME: usize = 200;

fn line(text: &str) -> String {
    cut(&visible(text), LINE_BYTES)
}

fn name(text: &str) -> String {
    cut(&visible(text), NAME)
}

/// `None`: the question is not of these.
pub fn question(question: &Question) -> Option<pb::question::About> {
    use pb::question::About;
    let ms = |timeout: &std::time::Duration| u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    Some(match question {
        Question::Reach { to, timeout } => {
            use pb::reach_question::To;
            let (to, status, address) = match to {
                Reach::Http { url, status } => {
                    (To::Http(url.clone()), status.unwrap_or_default(), String::new())
                }
                Reach::Tcp(address) => (To::Tcp(address.clone()), 0, String::new()),
                Reach::Dns { name, address } => {
                    (To::Dns(name.clone()), 0, address.map(|address| address.to_string()).unwrap_or_default())
                }
            };
            let (to, status, timeout_ms) = (Some(to), u32::from(status), ms(timeout));
            About::Reach(pb::ReachQuestion { to, status, address, timeout_ms })
        }
        Question::Usage { app, since_ms } => {
            About::Usage(pb::UsageQuestion { app: app.to_string(), since_ms: *since_ms })
        }
        Question::Glance { app, generation } => {
            About::Glance(pb::GlanceQuestion { app: app.to_string(), generation: generation.0 })
        }
        Question::Test { app, release, test, generation, timeout } => About::Test(pb::TestQuestion {
            app: app.to_string(),
            release: release.0.to_vec().into(),
            test: test.clone(),
            generation: generation.0,
            timeout_ms: ms(timeout),
        }),
        Question::Ping
        | Question::Facts
        | Question::Checkpoints
        | Question::Trust
        | Question::Logs { .. }
        | Question::Survey(_) => return None,
    })
}

pub fn reached(answer: pb::ReachAnswer) -> Answer {
    let pb::ReachAnswer { reached, why } = answer;
    Answer::Reached(if reached { Ok(()) } else { Err(line(&why)) })
}

pub fn usage(answer: pb::UsageAnswer) -> Answer {
    let pb::UsageAnswer { running, restarts, cpu_ms, memory_bytes, error_lines, main_pid, log_unread } =
        answer;
    let log_unread = Some(line(&log_unread)).filter(|why| !why.is_empty());
    Answer::Usage(Usage { running, restarts, cpu_ms, memory_bytes, error_lines, log_unread, main_pid })
}

pub fn glance(answer: pb::GlanceAnswer) -> Result<Answer, Invalid> {
    let pb::GlanceAnswer { busy, life, failure } = answer;
    Ok(Answer::Glance(match failure {
        _ if busy => Glance::Busy,
        None => Glance::Well { life: name(&life) },
        Some(failure) => Glance::Unwell(Box::new(super::words::safe(failure.try_into()?))),
    }))
}

pub fn test(answer: pb::TestAnswer) -> Answer {
    let pb::TestAnswer { cases, passed, failed, skipped, ended, trouble, good, lines, not_here } = answer;
    let case = |case: pb::TestCase| TestCase {
        name: name(&case.name),
        state: name(&case.state),
        message: line(&case.message),
    };
    let cases = cases.into_iter().take(CASES).map(case).collect();
    let lines = lines.iter().take(LINES).map(|text| line(text)).collect();
    let (ended, trouble) = (name(&ended), line(&trouble));
    Answer::Test(Box::new(TestAnswer {
        cases,
        passed,
        failed,
        skipped,
        ended,
        trouble,
        good,
        lines,
        not_here,
    }))
}
