//! Text from elsewhere, made safe to show.

/// Control characters, escapes and undisplayable text as `\x1b` or `\u{…}`; everything else as it is.
///
/// Names and lines that come from hosts, files or the wire pass through here before they reach a terminal or log.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => shown.push_str("\\t"),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => shown.push_str(&format!("\\x{:02x}", c as u32)),
            c if is_disguise(c) => shown.push_str(&format!("\\u{{{:x}}}", c as u32)),
            c => shown.push(c),
        }
    }
    shown
}

/// The same, line by line.
pub fn visible_lines(text: &str) -> String {
    text.lines().map(visible).collect::<Vec<_>>().join("\n")
}

/// C1 controls and the marks that reorder or hide text (Unicode TR36, section 3.1).
fn is_disguise(c: char) -> bool {
    matches!(c, '\u{80}'..='\u{9f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// `812 B`, `4.1 KB`, `37.0 MB`: powers of 1000, as disks are sold and networks are billed. Everywhere where people read
/// a size.
pub fn bytes(count: u64) -> String {
    const UNITS: [(&str, u64); 4] =
        [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("KB", 1_000)];
    match UNITS.into_iter().find(|(_, size)| count >= *size) {
        Some((unit, size)) => format!("{:.1} {unit}", count as f64 / size as f64),
        None => format!("{count} B"),
    }
}

/// In the family of units in which people most likely wrote `like`: `100.0 MiB` beside a bound of 100 MiB, `100.0 MB` beside
/// one of 100 MB.
pub fn bytes_beside(like: u64, count: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    if like == 0 || !like.is_multiple_of(1024) || like.is_multiple_of(1_000_000) {
        return bytes(count);
    }
    match UNITS.into_iter().find(|(_, size)| count >= *size) {
        Some((unit, size)) => format!("{:.1} {unit}", count as f64 / size as f64),
        None => format!("{count} B"),
    }
}

/// Two sizes that are held against each other: to the byte where they would read the same and are not.
pub fn bytes_apart(one: u64, other: u64) -> [String; 2] {
    let told = [one, other].map(bytes);
    if one != other && told[0] == told[1] { [one, other].map(exactly) } else { told }
}

/// `34,532,116 bytes`
fn exactly(count: u64) -> String {
    let digits = count.to_string();
    let mut shown = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    format!("{shown} bytes")
}

/// The word among `known` that a writer of `given` most likely meant, if any is near.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|word| (distance(given, word), word))
        .filter(|(far, word)| *far <= 1 + word.len() / 4)
        .min()
        .map(|(_, word)| word)
}

/// Edit distance with transpositions of neighbours (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let swap = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + swap);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_never_reach_the_terminal() {
        assert_eq!(visible("a\u{1b}[2Jb\u{202e}c\n"), "a\\x1b[2Jb\\u{202e}c\\n");
        assert_eq!(visible("grüße"), "grüße");
        assert_eq!(visible_lines("a\r\n\u{9b}b\n"), "a\n\\u{9b}b");
    }

    #[test]
    fn sizes_that_differ_never_read_the_same() {
        assert_eq!(bytes_apart(3_200_000, 900), ["3.2 MB", "900 B"]);
        assert_eq!(bytes_apart(34_532_116, 34_499_584), ["34,532,116 bytes", "34,499,584 bytes"]);
        assert_eq!(bytes_apart(1_004, 1_000), ["1,004 bytes", "1,000 bytes"]);
        assert_eq!(bytes_apart(37_000_000, 37_000_000), ["37.0 MB", "37.0 MB"]);
    }

    #[test]
    fn a_size_is_told_in_the_units_of_its_bound() {
        assert_eq!(bytes_beside(100 << 20, 104_857_600), "100.0 MiB");
        assert_eq!(bytes_beside(100 << 20, 900), "900 B");
        assert_eq!(bytes_beside(100_000_000, 104_857_600), "104.9 MB");
        assert_eq!(bytes_beside(64_000_000, 64_000_000), "64.0 MB"); // a multiple of 1024 as well
    }

    #[test]
    fn a_slip_of_the_finger_finds_its_word() {
        assert_eq!(nearest("excec", ["exec", "user", "stop"]), Some("exec"));
        assert_eq!(nearest("tiemout", ["timeout", "interval"]), Some("timeout"));
        assert_eq!(nearest("zebra", ["exec", "user"]), None);
    }
}
