//! TAP, the Test Anything Protocol: `1..N`, `ok 1 - name # SKIP why`, `not ok 2 - name`, `Bail out!`. Lines that are
//! none of these are left alone, and so are nested tests: their parents tell how they went.

use super::{Cases, State};

/// Takes lines as they are printed.
#[derive(Debug, Default)]
pub struct Reader {
    cases: Cases,
    planned: Option<u32>,
    bailed: Option<String>,
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
            None if seen == 0 => Err("it printed no TAP".to_owned()),
            // It may have ended before its last test.
            None if self.cases.failed == 0 => Err(format!(
                "it told of {seen} tests and printed no plan (1..{seen}): there may be more of them"
            )),
            Some(_) | None => Ok(self.cases),
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
        let many: String = (0..5000).map(|n| format!("ok {n}\n")).collect();
        let many = read(&(many + "not ok 5000 - the last\n")).unwrap();
        assert_eq!((many.passed, many.told.len(), many.told[1999].name.as_str()), (5000, 2000, "the last"));
    }
}
