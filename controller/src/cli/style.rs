//! Colour with restraint, and how wide a text is on a screen.

use unicode_width::UnicodeWidthStr;

/// What the place that lines go to can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    pub color: bool,
}

/// What a piece of text means. Colour never carries a meaning alone: there is always a word or a mark too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    Plain,
    /// Names that the eye should find.
    Strong,
    /// Of less weight than its surroundings.
    Faint,
    Good,
    Bad,
    /// Waiting for somebody, or in doubt.
    Warn,
    /// At work.
    Busy,
}

impl Style {
    pub const PLAIN: Style = Style { color: false };

    pub fn paint(self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Plain => return text.to_owned(),
            _ if !self.color || text.is_empty() => return text.to_owned(),
            Ink::Strong => "1",
            Ink::Faint => "2",
            Ink::Good => "32",
            Ink::Bad => "31",
            Ink::Warn => "33",
            Ink::Busy => "36",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// Columns on a screen. `text` is already `visible`, so nothing in it has an effect but its letters.
pub fn width(text: &str) -> usize {
    text.width()
}

/// `text` in at most `columns`, the end replaced by `…` where it does not fit.
pub fn clip(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut clipped = String::new();
    let mut taken = 0;
    for c in text.chars() {
        let wide = unicode_width::UnicodeWidthChar::width(c).unwrap_or(0);
        if taken + wide + 1 > columns {
            break;
        }
        taken += wide;
        clipped.push(c);
    }
    if columns > 0 {
        clipped.push('…');
    }
    clipped
}

/// `text` filled up with spaces to `columns`.
pub fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// The same with the spaces in front.
pub fn pad_left(text: &str, columns: usize) -> String {
    format!("{}{text}", " ".repeat(columns.saturating_sub(width(text))))
}

/// Words of `text` in lines of at most `columns`; a longer word has a line of its own.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width(line) + 1 + width(word) <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_fits_where_it_is_put() {
        assert_eq!(clip("harbour-1", 9), "harbour-1");
        assert_eq!(clip("harbour-12", 9), "harbour-…");
        assert_eq!(width(&clip("日本語日本語", 6)), 5);
        assert_eq!(clip("abc", 0), "");
        assert_eq!(pad("ab", 4), "ab  ");
        assert_eq!(pad_left("ab", 4), "  ab");
        assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
    }

    #[test]
    fn no_color_leaves_the_words() {
        assert_eq!(Style::PLAIN.paint(Ink::Bad, "failed"), "failed");
        assert_eq!(Style { color: true }.paint(Ink::Bad, "failed"), "\x1b[31mfailed\x1b[0m");
    }
}
