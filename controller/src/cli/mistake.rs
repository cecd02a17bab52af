//! A mistake on the command line, for programs: a failure like any other.

use clap::error::ErrorKind;
use longshore_common::mistake::Mistake;
pub use longshore_common::mistake::asks_for_json;

use super::failure::Failure;

pub fn failure(told: &clap::Error) -> Failure {
    let text = told.render().to_string();
    let Mistake { message, next } = match told.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Mistake::incomplete(&text),
        _ => Mistake::told(&text),
    };
    Failure { next, ..Failure::usage(message) }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

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
