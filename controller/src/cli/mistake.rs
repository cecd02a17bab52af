//! A mistake on the command line, for programs: what the parser tells people in paragraphs, as a failure like any other.

use std::ffi::OsString;

use clap::error::ErrorKind;
use longshore_common::text::visible_lines;

use super::failure::Failure;

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

/// The first paragraph is what is wrong; the others, a tip and how it is written, are the next steps.
pub fn failure(told: &clap::Error) -> Failure {
    let text = visible_lines(&told.render().to_string());
    if told.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // All of the help, of which a program needs the one line.
        let usage = text.lines().find(|line| line.starts_with("Usage: ")).map(str::to_owned);
        return Failure {
            next: usage.into_iter().collect(),
            ..Failure::usage("the command is not complete")
        };
    }
    let mut paragraphs = text.split("\n\n").map(|paragraph| {
        let lines = paragraph.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.collect::<Vec<_>>().join(" ")
    });
    let first = paragraphs.next().unwrap_or_default();
    let message = first.strip_prefix("error: ").unwrap_or(&first);
    Failure {
        next: paragraphs.filter(|paragraph| !paragraph.is_empty()).collect(),
        ..Failure::usage(message)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::Command;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn json_is_asked_for_before_and_after_a_mistake() {
        for line in [
            "longshore -o json rollout pause",
            "longshore rollout pause -o json",
            "longshore rollout pause --bogus -ojson",
            "longshore rollout bogus -o=json",
            "longshore rollout pause --output json",
            "longshore rollout pause --output=json",
        ] {
            assert!(Command::try_parse_from(words(line)).is_err(), "{line}");
            assert!(asks_for_json(&words(line)), "{line}");
        }
        for line in [
            "longshore rollout pause",
            "longshore rollout pause -o table",
            "longshore rollout pause json",
            "longshore rollout pause --output",
            "longshore rollout pause -- -o json",
        ] {
            assert!(!asks_for_json(&words(line)), "{line}");
        }
    }

    #[test]
    fn a_mistake_is_one_line_of_json_like_other_errors() {
        let json = |line: &str| -> serde_json::Value {
            let failure = failure(&Command::try_parse_from(words(line)).unwrap_err());
            let said = failure.json();
            assert_eq!(said.lines().count(), 1, "{said}");
            serde_json::from_str(&said).unwrap()
        };
        let unknown = json("longshore -o json rollout pase");
        assert_eq!(unknown["schema"], "longshore.cli.error/1");
        assert_eq!(unknown["code"], serde_json::Value::Null);
        assert_eq!(unknown["exit"], 2);
        assert_eq!(unknown["message"], "unrecognized subcommand 'pase'");
        let next = unknown["next"].to_string();
        assert!(next.contains("pause") && next.contains("Usage: longshore rollout"), "{next}");
        let incomplete = json("longshore -o json rollout");
        assert_eq!(incomplete["message"], "the command is not complete");
        assert!(
            incomplete["next"][0].as_str().unwrap().starts_with("Usage: longshore rollout"),
            "{incomplete}"
        );
        assert!(!json("longshore rollout start --bo\u{1b}[31mgus -o json").to_string().contains("\\u001b"));
    }
}
