//! JUnit's XML, as its many writers agree on it: `testsuites`, `testsuite`, `testcase` with `failure`, `error` or
//! `skipped` in it.

use super::{
    Cases, State,
    xml::{Event, Reader},
};

/// Bytes of a failure's text that are kept while it is read.
const TEXT_BYTES: usize = 2000;

/// A test case that is being read, or what went wrong beside all of them.
struct Open {
    name: String,
    of_suite: bool,
    state: State,
    message: String,
}

/// What a report tells. Refuses what is none, whoever wrote it.
pub fn read(text: &str) -> Result<Cases, String> {
    let mut reader = Reader::new(text);
    let mut cases = Cases::default();
    let (mut case, mut inside, mut known): (Option<Open>, bool, bool) = (None, false, false);
    let (mut suite, mut counted) = (String::new(), 0u32);
    let bad = |why: String| format!("it is no JUnit report: {why}");
    while let Some(event) = reader.next().map_err(bad)? {
        match event {
            Event::Open { name, attributes } => {
                let get = |key: &str| {
                    let found = attributes.iter().find(|(known, _)| *known == key);
                    found.map(|(_, value)| value.clone()).unwrap_or_default()
                };
                match (name, &mut case) {
                    ("testsuites" | "testsuite", None) => {
                        let count = |key: &str| get(key).trim().parse::<u32>().unwrap_or(0);
                        counted = counted.max(count("failures").saturating_add(count("errors")));
                        (known, suite) = (true, get("name"));
                    }
                    ("testcase", None) => {
                        let (class, name) = (get("classname"), get("name"));
                        let name = if class.is_empty() { name } else { format!("{class}.{name}") };
                        // As googletest says of those that are disabled.
                        let ran = !["notrun", "disabled"].contains(&get("status").as_str());
                        let state = if ran { State::Passed } else { State::Skipped };
                        case = Some(Open { name, of_suite: false, state, message: String::new() });
                    }
                    // A suite that could not begin, or whose end failed.
                    ("failure" | "error", None) => {
                        let name = name_of(&suite);
                        let (state, message) = (State::Failed, get("message"));
                        case = Some(Open { name, of_suite: true, state, message });
                        inside = true;
                    }
                    ("failure" | "error", Some(open)) => {
                        (open.state, open.message, inside) = (State::Failed, get("message"), true);
                    }
                    ("skipped", Some(open)) if open.state == State::Passed => {
                        (open.state, open.message, inside) = (State::Skipped, get("message"), true);
                    }
                    _ => {}
                }
            }
            Event::Text(text) => {
                if let Some(open) = case.as_mut().filter(|open| inside && open.message.len() < TEXT_BYTES) {
                    let line = text.trim();
                    let space = if open.message.is_empty() || line.is_empty() { "" } else { ": " };
                    open.message += &longshore_common::wire::cut(&format!("{space}{line}"), TEXT_BYTES);
                }
            }
            Event::Close { name: "testcase" } => {
                if let Some(Open { name, state, message, .. }) = case.take() {
                    cases.add(&name, state, &message);
                }
                inside = false;
            }
            Event::Close { name: "failure" | "error" | "skipped" } => {
                inside = false;
                if let Some(Open { name, state, message, .. }) = case.take_if(|open| open.of_suite) {
                    cases.add(&name, state, &message);
                }
            }
            Event::Close { .. } => {}
        }
    }
    if !known {
        return Err(bad("it has no testsuite".to_owned()));
    }
    if counted > 0 && cases.failed == 0 {
        let message = format!("it counts failures and errors ({counted}), and names none");
        cases.add(&name_of(&suite), State::Failed, &message);
    }
    Ok(cases)
}

fn name_of(suite: &str) -> String {
    if suite.is_empty() { "testsuite".to_owned() } else { suite.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!-- made by hand -->
<testsuites><testsuite name="shop" tests="4">
  <properties><property name="a" value="b"/></properties>
  <testcase classname="Login" name="works &amp; lasts" time="0.1"/>
  <testcase name="fails"><failure message="expected 200">got <![CDATA[<500>]]></failure><system-out>noise</system-out></testcase>
  <testcase name='breaks'><error>no &#x64;atabase</error></testcase>
  <testcase name="rests"><skipped/></testcase>
</testsuite></testsuites>
"#;

    #[test]
    fn a_report_is_read_test_by_test() {
        let cases = read(GOOD).unwrap();
        assert_eq!((cases.passed, cases.failed, cases.skipped), (1, 2, 1));
        let told: Vec<(&str, &str)> =
            cases.told.iter().map(|c| (c.name.as_str(), c.message.as_str())).collect();
        assert_eq!(
            told,
            [
                ("Login.works & lasts", ""),
                ("fails", "expected 200: got: <500>"),
                ("breaks", "no database"),
                ("rests", "")
            ]
        );
    }

    /// What failed beside all cases, or is only counted, is no pass; what did not run is none either.
    #[test]
    fn a_suite_that_failed_has_failed_whatever_its_cases_say() {
        let beside = r#"<testsuite name="db"><testcase name="a"/><error message="setup">no database</error><testcase name="b"/></testsuite>"#;
        let cases = read(beside).unwrap();
        assert_eq!((cases.passed, cases.failed), (2, 1));
        assert_eq!(cases.told[1].to_string(), "failed db: setup: no database");
        let counted =
            r#"<testsuite name="db" tests="2" failures="1" errors="1"><testcase name="a"/></testsuite>"#;
        let cases = read(counted).unwrap();
        assert_eq!((cases.passed, cases.failed), (1, 1));
        assert_eq!(cases.told[1].to_string(), "failed db: it counts failures and errors (2), and names none");
        let disabled = read(r#"<testsuite><testcase name="a" status="notrun"/></testsuite>"#).unwrap();
        assert_eq!((disabled.passed, disabled.skipped), (0, 1));
        let ran = r#"<testsuites failures="0" errors="0"><testsuite><testcase name="a" status="run"/></testsuite></testsuites>"#;
        assert_eq!((read(ran).unwrap().passed, read(ran).unwrap().failed), (1, 0));
    }

    /// Entities that expand, files that are asked for, depth without end, and everything cut off half way.
    #[test]
    fn hostile_reports_are_refused_and_cost_nothing() {
        let bomb = r#"<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><testsuite>&b;</testsuite>"#;
        let thief = r#"<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><testsuite>&a;</testsuite>"#;
        for hostile in [bomb, thief] {
            assert!(read(hostile).unwrap_err().contains("document type"), "{hostile}");
        }
        let deep = "<testsuite>".repeat(1_000_000);
        assert!(read(&deep).unwrap_err().contains("deep"));
        let wide = format!("<testsuite {}>", "a='b' ".repeat(100_000));
        assert!(read(&wide).unwrap_err().contains("attributes"));
        for end in 0..GOOD.trim_end().len() {
            if GOOD.is_char_boundary(end) {
                assert!(read(&GOOD[..end]).is_err(), "cut at {end}");
            }
        }
        for odd in [
            "",
            "{}",
            "<a/>",
            "<testsuite></b>",
            "<testsuite/><testsuite/>",
            "<testsuite>&nbsp;</testsuite>",
            "<testsuite a=b/>",
            "<>",
        ] {
            assert!(read(odd).is_err(), "{odd}");
        }
        let many: String = (0..10_000).map(|n| format!("<testcase name='{n}'/>")).collect();
        let many = read(&format!("<testsuite>{many}</testsuite>")).unwrap();
        assert_eq!((many.passed, many.told.len()), (10_000, 2000));
    }
}
