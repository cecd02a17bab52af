//! What of a test's output is told to people: all of it where it is little, of much its beginning as it comes and its last
//! lines at the end. How it went is read from all of it.

use std::collections::VecDeque;

use longshore_common::text::bytes;

use super::{Case, State};
use crate::host::{Sink, Stream};

/// Lines that are told as they come, and of what comes after them the last; cases of a report.
const HEAD: usize = 40;
const TAIL: usize = 20;
const CASES: usize = 40;

pub struct Told<'a> {
    sink: &'a Sink,
    source: &'a str,
    told: usize,
    /// What came after the beginning, as far as it is kept.
    tail: VecDeque<(Stream, String)>,
    left_out: u64,
    left_out_bytes: u64,
}

impl<'a> Told<'a> {
    pub fn new(sink: &'a Sink, source: &'a str) -> Self {
        Self { sink, source, told: 0, tail: VecDeque::new(), left_out: 0, left_out_bytes: 0 }
    }

    pub fn line(&mut self, stream: Stream, line: String) {
        if self.told < HEAD {
            self.told += 1;
            self.sink.line(self.source, stream, line);
            return;
        }
        if self.tail.is_empty() {
            self.sink.line(self.source, stream, "… it goes on; its last lines come at its end");
        }
        if self.tail.len() == TAIL
            && let Some((_, dropped)) = self.tail.pop_front()
        {
            self.left_out += 1;
            self.left_out_bytes += dropped.len() as u64 + 1;
        }
        self.tail.push_back((stream, line));
    }

    pub fn end(self) {
        if self.left_out > 0 {
            let (lines, size) = (self.left_out, bytes(self.left_out_bytes));
            self.sink.line(self.source, Stream::Stdout, format!("… {lines} lines ({size}) are left out"));
        }
        for (stream, line) in self.tail {
            self.sink.line(self.source, stream, line);
        }
    }
}

/// Those of a report, what failed first.
pub fn cases(sink: &Sink, source: &str, cases: &[Case]) {
    let (failed, others): (Vec<&Case>, Vec<&Case>) =
        cases.iter().partition(|case| case.state == State::Failed);
    for case in failed.iter().chain(&others).take(CASES) {
        sink.line(source, Stream::Stdout, case.to_string());
    }
    if cases.len() > CASES {
        sink.line(source, Stream::Stdout, format!("… and {} more", cases.len() - CASES));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Event;

    fn shown(say: impl FnOnce(&Sink)) -> Vec<String> {
        let (sink, events) = Sink::collecting();
        say(&sink);
        let events = events.lock().unwrap().clone();
        let line = |event| match event {
            Event::Line { line, .. } => line,
            Event::Progress { .. } => panic!("lines only"),
        };
        events.into_iter().map(line).collect()
    }

    fn printed(lines: usize) -> Vec<String> {
        shown(|sink| {
            let mut told = Told::new(sink, "test:noisy");
            (1..=lines).for_each(|n| told.line(Stream::Stdout, n.to_string()));
            told.end();
        })
    }

    #[test]
    fn of_much_the_beginning_and_the_end_are_told() {
        assert_eq!(printed(3), ["1", "2", "3"]);
        let some = printed(HEAD + TAIL);
        assert_eq!((some.len(), some.last().unwrap().as_str()), (HEAD + TAIL + 1, "60"));
        let much = printed(1_000_000);
        assert_eq!(much.len(), HEAD + 1 + 1 + TAIL);
        assert_eq!(much[HEAD - 1..HEAD + 1], ["40", "… it goes on; its last lines come at its end"]);
        assert!(much[HEAD + 1].starts_with("… 999940 lines ("), "{}", much[HEAD + 1]);
        assert_eq!((much[HEAD + 2].as_str(), much.last().unwrap().as_str()), ("999981", "1000000"));
    }

    #[test]
    fn what_failed_is_told_first() {
        let case = |n: usize| Case {
            name: n.to_string(),
            state: if n == 99 { State::Failed } else { State::Passed },
            message: String::new(),
        };
        let all: Vec<Case> = (0..100).map(case).collect();
        let told = shown(|sink| cases(sink, "test:t", &all));
        assert_eq!((told.len(), told[0].as_str(), told[1].as_str()), (CASES + 1, "failed 99", "passed 0"));
        assert_eq!(told[CASES], "… and 60 more");
    }
}
