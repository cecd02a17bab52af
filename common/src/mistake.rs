//! A mistake on the command line, for programs: what a parser tells people in paragraphs, in parts. Parsing is each
//! program's own.

use std::ffi::OsString;

use crate::text::visible_lines;

/// Whether JSON was asked for, wherever that stands: when there is a mistake before it, nobody has read it.
pub fn asks_for_json(args: &[OsString]) -> bool {
    let options = args.iter().skip(1).take_while(|arg| arg.as_os_str() != "--");
    let words: Vec<&str> = options.filter_map(|arg| arg.to_str()).collect();
    let nexts = words.iter().skip(1).map(Some).chain([None]);
    words.iter().zip(nexts).any(|(word, next)| {
        let next_is_json = next == Some(&"json");
        match (word.strip_prefix("--"), word.strip_prefix('-')) {
            (Some(long), _) => long == "output=json" || (long == "output" && next_is_json),
            (None, Some(short)) => matches!(short, "ojson" | "o=json") || (short == "o" && next_is_json),
            (None, None) => false,
        }
    })
}

/// What is wrong, and what to do about it; both are safe to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    pub message: String,
    pub next: Vec<String>,
}

impl Mistake {
    /// Of what is told: the first paragraph is what is wrong; the others, a tip and how it is written, are the next steps.
    pub fn told(text: &str) -> Self {
        let text = visible_lines(text);
        let mut paragraphs = text.split("\n\n").map(|paragraph| {
            let lines = paragraph.lines().map(str::trim).filter(|line| !line.is_empty());
            lines.collect::<Vec<_>>().join(" ")
        });
        let first = paragraphs.next().unwrap_or_default();
        let message = first.strip_prefix("error: ").unwrap_or(&first).to_owned();
        Self { message, next: paragraphs.filter(|paragraph| !paragraph.is_empty()).collect() }
    }

    /// Of all of the help, which is told where words are missing: a program needs the one line.
    pub fn incomplete(help: &str) -> Self {
        let help = visible_lines(help);
        let usage = help.lines().find(|line| line.starts_with("Usage: ")).map(str::to_owned);
        Self { message: "the command is not complete".to_owned(), next: usage.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_in_paragraphs_comes_in_parts() {
        let told = "error: unexpected argument '--bo\u{1b}gus' found\n\n  tip: a similar one\n  exists\n\nUsage: x\n";
        let Mistake { message, next } = Mistake::told(told);
        assert!(message.starts_with("unexpected argument") && !message.contains('\u{1b}'), "{message}");
        assert_eq!(next, ["tip: a similar one exists", "Usage: x"]);
        let incomplete = Mistake::incomplete("Does it.\n\nUsage: x <COMMAND>\n\nCommands:\n  y\n");
        assert_eq!(incomplete.message, "the command is not complete");
        assert_eq!(incomplete.next, ["Usage: x <COMMAND>"]);
    }
}
