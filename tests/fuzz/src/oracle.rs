//! What must hold whatever the input was.

use std::fmt::{Debug, Display};

use longshore_common::code::Coded;

/// Nothing in it can move a cursor, colour a terminal or hide text. Messages of several lines are ours.
pub fn is_shown_safely(what: &str, message: &str) {
    let bad = message.chars().find(|c| c.is_control() && *c != '\n' || is_disguise(*c));
    assert!(bad.is_none(), "{what}: {bad:?} in {message:?}");
}

fn is_disguise(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// A refusal says why, in words that are safe to show, and in less than a screen.
pub fn refused(what: &str, error: &Coded) {
    refused_with(what, &error.to_string());
}

pub fn refused_with(what: &str, message: &str) {
    is_shown_safely(what, message);
    assert!(!message.trim().is_empty(), "{what} is refused without a word");
}

/// What reads is written so that it reads the same again.
pub fn reads_again<T>(text: &str)
where
    T: std::str::FromStr<Err: Display> + Display + PartialEq + Debug,
{
    match text.parse::<T>() {
        Err(error) => refused_with(std::any::type_name::<T>(), &error.to_string()),
        Ok(value) => {
            let written = value.to_string();
            is_shown_safely(std::any::type_name::<T>(), &written);
            match written.parse::<T>() {
                Ok(again) => assert_eq!(again, value, "{written:?}"),
                Err(error) => panic!("{value:?} is written {written:?}, which is refused: {error}"),
            }
        }
    }
}
