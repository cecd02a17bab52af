//! TAP, the Test Anything Protocol: `1..N`, `ok 1 - name # SKIP why`, `not ok 2 - name`, `Bail out!`. Lines that are
//! none of these are left alone, and so are nested tests: their parents tell how they went.

use std::collections::BTreeSet;

use super::{Cases, State};

/// Numbers that are kept of tests which are told of before those in front of them.
const AHEAD_MAX: usize = 10_000;

/// Takes lines as they are printed.
#[derive(Debug, Default)]
pub struct Reader {
    cases: Cases,
    planned: Option<u32>,
    bailed: Option<String>,
    numbers: Numbers,
}

/// The numbers that tests were told of by, in any order; most writers give them none, or one after the other.
#[derive(Debug, Default)]
struct Numbers {
    /// All from 1 to this one were seen.
    through: u32,
    /// Those beyond.
    ahead: BTreeSet<u32>,
    highest: u32,
    /// What is wrong with them; the first of it.
    odd: Option<String>,
}

impl Numbers {
    fn add(&mut self, digits: &str) {
        if digits.is_empty() {
            return;
        }
        let Some(number) = digits.parse::<u32>().ok().filter(|number| *number > 0) else {
            let shown = longshore_common::wire::cut(digits, 20);
            self.odd.get_or_insert_with(|| format!("test {shown} has a number that no plan has"));
            return;
        };
        self.highest = self.highest.max(number);
        if number <= self.through || !self.ahead.insert(number) {
            self.odd.get_or_insert_with(|| format!("test {number} is told of more than once"));
        }
        while self.ahead.remove(&(self.through.saturating_add(1))) {
            self.through += 1;
        }
        if self.ahead.len() > AHEAD_MAX {
            self.ahead.clear();
            self.odd.get_or_insert_with(|| "the tests are told of in no order".to_owned());
        }
    }

    /// Why what was told is not what was planned.
    fn against(self, planned: u32) -> Option<String> {
        let beyond = self.highest > planned;
        let beyond =
            beyond.then(|| format!("{planned} tests were planned, and test {} is told of", self.highest));
        self.odd.or(beyond)
    }
}

impl Reader {
    pub fn line(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("not ok") {
            self.case(rest, State::Failed);
        } else if let Some(rest) = line.strip_prefix("ok") {
            self.case(rest, State::Passed);
        } else if let Some(rest) = line.strip_prefix("1..") {
            let number = rest.split_whitespace().next().and_then(|number| number.parse().ok());
            self.planned = number.or(self.planned);
        } else if let Some(rest) = line.strip_prefix("Bail out!") {
            self.bailed.get_or_insert(rest.trim().to_owned());
        }
    }

    fn case(&mut self, rest: &str, state: State) {
        if !(rest.is_empty() || rest.starts_with(' ')) {
            return; // `okay`, said by the test
        }
        let (name, directive) = rest.split_once(" # ").unwrap_or((rest, ""));
        let number = name.trim_start();
        let digits = number.bytes().take_while(u8::is_ascii_digit).count();
        self.numbers.add(&number[..digits]);
        let name = number[digits..].trim_start().trim_start_matches("- ").trim();
        let name = if name.is_empty() { format!("test {}", &number[..digits]) } else { name.to_owned() };
        let word = directive.trim_start().split(|c: char| !c.is_ascii_alphanumeric()).next();
        let word = word.unwrap_or_default().to_ascii_lowercase();
        let state = match (word.as_str(), state) {
            // A test that is still to be done may fail.
            ("todo", _) | ("skip" | "skipped", State::Passed) => State::Skipped,
            // One that failed was not skipped, whatever it says.
            (_, state) => state,
        };
        self.cases.add(&name, state, directive);
    }

    pub fn finish(mut self) -> Result<Cases, String> {
        let seen = self.cases.passed + self.cases.failed + self.cases.skipped;
        if let Some(why) = self.bailed {
            self.cases.add("Bail out!", State::Failed, &why);
            return Ok(self.cases);
        }
        match self.planned {
            Some(planned) if planned != seen => {
                let message = format!("{planned} tests were planned and {seen} told of");
                self.cases.add("plan", State::Failed, &message);
                Ok(self.cases)
            }
            // One that ran twice stands in for one that did not run.
            Some(planned) => {
                if let Some(message) = self.numbers.against(planned) {
                    self.cases.add("plan", State::Failed, &message);
                }
                Ok(self.cases)
            }
            None if seen == 0 => Err("it printed no TAP".to_owned()),
            // It may have ended before its last test.
            None if self.cases.failed == 0 => Err(format!(
                "it told of {seen} tests and printed no plan (1..{seen}): there may be more of them"
            )),
            None => Ok(self.cases),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Cases, String> {
        let mut reader = Reader::default();
        text.lines().for_each(|line| reader.line(line));
        reader.finish()
    }

    #[test]
    fn every_kind_of_line_is_understood() {
        let text = "TAP version 13\n1..4\nok 1 - it starts\n# a remark\nnot ok 2 - it answers\n  ---\n  got: 500\n  ...\n    ok 1 - nested\nok 3 # SKIP no network\nnot ok 4 - later # TODO not built\nokay then\n";
        let cases = read(text).unwrap();
        assert_eq!((cases.passed, cases.failed, cases.skipped), (1, 1, 2));
        let names: Vec<&str> = cases.told.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names, ["it starts", "it answers", "test 3", "later"]);
    }

    /// A remark that begins like a directive is none, and nothing that failed was skipped.
    #[test]
    fn a_failure_is_spared_by_todo_alone() {
        let state = |line: &str| read(&format!("1..1\n{line}\n")).unwrap().told[0].state;
        for failed in ["not ok 1 - the list # todos are kept", "not ok 1 - a # SKIP", "not ok 1 # skips it"] {
            assert_eq!(state(failed), State::Failed, "{failed}");
        }
        for spared in
            ["not ok 1 # TODO", "not ok 1 - a # todo: later", "ok 1 # SKIP: no net", "ok 1 # skipped"]
        {
            assert_eq!(state(spared), State::Skipped, "{spared}");
        }
    }

    #[test]
    fn what_is_missing_has_failed() {
        assert_eq!(read("1..3\nok 1\nok 2\n").unwrap().failed, 1);
        let bailed = read("1..2\nok 1\nBail out! no database\n").unwrap();
        assert_eq!((bailed.failed, bailed.told[1].message.as_str()), (1, "no database"));
        assert!(read("hello\n").is_err());
        assert_eq!(read("1..0 # skipped\n").unwrap(), Cases::default());
        assert_eq!(
            read("ok 1\nok 2\n").unwrap_err(),
            "it told of 2 tests and printed no plan (1..2): there may be more of them"
        );
        assert_eq!(read("ok 1\nnot ok 2\n").unwrap().failed, 1, "more of them would change nothing");
        let many: String = (1..=5000).map(|n| format!("ok {n}\n")).collect();
        let many = read(&(many + "not ok 5001 - the last\n")).unwrap();
        assert_eq!((many.passed, many.told.len(), many.told[1999].name.as_str()), (5000, 2000, "the last"));
    }

    /// As many as were planned, and yet not those.
    #[test]
    fn a_number_twice_or_beyond_the_plan_is_no_pass() {
        let plan = |text: &str| {
            let cases = read(text).unwrap();
            let told = cases.told.into_iter().find(|case| case.name == "plan");
            (cases.failed, told.map(|case| case.message).unwrap_or_default())
        };
        let twice = "test 1 is told of more than once".to_owned();
        assert_eq!(plan("1..2\nok 1\nok 1\n"), (1, twice.clone()));
        assert_eq!(plan("1..3\nok 2\nok 1\nok 1\n"), (1, twice));
        let beyond = "2 tests were planned, and test 7 is told of".to_owned();
        assert_eq!(plan("ok 1\nok 7\n1..2\n"), (1, beyond));
        let zero = "test 0 has a number that no plan has".to_owned();
        assert_eq!(plan("1..1\nok 0\n"), (1, zero));
        for whole in ["1..3\nok 3\nok 1\nok 2\n", "1..2\nok - a\nok - b\n", "1..2\nok 1 - a\nok - b\n"] {
            assert_eq!(plan(whole), (0, String::new()), "{whole}");
        }
        let backwards: String = (1..=30_000).rev().map(|n| format!("ok {n}\n")).collect();
        let order = "the tests are told of in no order".to_owned();
        assert_eq!(plan(&(backwards + "1..30000\n")), (1, order));
    }
}
