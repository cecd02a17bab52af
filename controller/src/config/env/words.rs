//! What the sections of the file share.

use std::str::FromStr;

use longshore_common::{code::Coded, strict::Table, text::visible};

/// One of some words.
pub(super) fn word<T: Copy>(
    table: &Table<'_>,
    section: &str,
    key: &str,
    default: T,
    words: &[(&str, T)],
) -> T {
    let Some(given) = table.optional::<String>(key) else { return default };
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == given) {
        return *value;
    }
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    table
        .problem_at(key, format!("{section}.{key}: \"{}\" is none of {}", visible(&given), known.join(", ")));
    default
}

/// Names in an array, each of a kind; what is wrong with one is noted.
pub(super) fn names<T: FromStr<Err = Coded>>(table: &Table<'_>, section: &str, key: &str) -> Vec<T> {
    let texts: Vec<String> = table.list(key);
    let parsed = texts.iter().filter_map(|text| match text.parse::<T>() {
        Ok(name) => Some(name),
        Err(error) => {
            table.problem_at(key, format!("{section}.{key}: {}", error.message));
            None
        }
    });
    parsed.collect()
}
