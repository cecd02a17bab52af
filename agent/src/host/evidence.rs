//! The last lines of something, for whoever has to understand a failure.

use std::collections::VecDeque;

use longshore_common::report::EVIDENCE_LINES;

#[derive(Clone, Debug, Default)]
pub struct LastLines(VecDeque<String>);

impl LastLines {
    pub fn push(&mut self, line: &str) {
        if self.0.len() == EVIDENCE_LINES {
            self.0.pop_front();
        }
        self.0.push_back(line.to_owned());
    }

    pub fn last(&self) -> Option<&str> {
        self.0.iter().rev().map(String::as_str).find(|line| !line.trim().is_empty())
    }
}

impl IntoIterator for LastLines {
    type Item = String;
    type IntoIter = std::collections::vec_deque::IntoIter<String>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
