//! Sizes and counts in the words of a plan.

pub(super) use longshore_common::text::bytes;

/// `1 host`, `3 hosts`.
pub(super) fn hosts(count: usize) -> String {
    if count == 1 { "1 host".to_owned() } else { format!("{count} hosts") }
}

/// `a, b and 3 more`.
pub(super) fn some_of<'a>(names: impl Iterator<Item = &'a str>, most: usize) -> String {
    let names: Vec<&str> = names.collect();
    match names.len() {
        count if count > most => format!("{} and {} more", names[..most].join(", "), count - most),
        _ => names.join(", "),
    }
}
