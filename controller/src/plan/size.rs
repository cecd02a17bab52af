//! Sizes and counts in the words of a plan.

/// `812 B`, `4.1 KB`, `37.0 MB`: powers of 1000.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [(&str, u64); 4] =
        [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("KB", 1_000)];
    match UNITS.into_iter().find(|(_, size)| count >= *size) {
        Some((unit, size)) => format!("{:.1} {unit}", count as f64 / size as f64),
        None => format!("{count} B"),
    }
}

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
