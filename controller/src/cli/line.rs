//! One line on a screen: pieces with their ink, laid out by what they take on the screen and cut where it ends.

use super::style::{Ink, Style, clip, width};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line(Vec<(Ink, String)>);

impl Line {
    pub fn indented(columns: usize) -> Self {
        Self(vec![(Ink::Plain, " ".repeat(columns))])
    }

    pub fn then(mut self, ink: Ink, text: impl Into<String>) -> Self {
        self.0.push((ink, text.into()));
        self
    }

    pub fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| width(text)).sum()
    }

    /// Spaces up to `column`; one at least, so that columns never run together.
    pub fn to_column(self, column: usize) -> Self {
        let spaces = column.saturating_sub(self.width()).max(1);
        self.then(Ink::Plain, " ".repeat(spaces))
    }

    /// `text` at the right edge of `columns`, if there is room; else just behind.
    pub fn right(self, ink: Ink, text: &str, columns: usize) -> Self {
        let start = columns.saturating_sub(width(text));
        self.to_column(start).then(ink, text)
    }

    /// At most `columns` wide, whatever the pieces hold.
    pub fn paint(&self, style: Style, columns: usize) -> String {
        let mut left = columns;
        let mut painted = String::new();
        for (ink, text) in &self.0 {
            let piece = clip(text, left);
            left -= width(&piece).min(left);
            painted.push_str(&style.paint(*ink, &piece));
            if piece != *text {
                break;
            }
        }
        if style.color { painted } else { painted.trim_end().to_owned() }
    }
}

/// `done` of `total` as a bar of `columns`, in eighths of a column.
pub fn bar(done: u64, total: u64, columns: usize) -> String {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let share = if total == 0 { 0.0 } else { (done as f64 / total as f64).clamp(0.0, 1.0) };
    let eighths = (share * columns as f64 * 8.0).floor() as usize;
    let mut bar = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        bar.push(EIGHTHS[eighths % 8]);
    }
    let rest = columns - width(&bar);
    bar.push_str(&"░".repeat(rest));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_never_outgrow_the_screen() {
        let line = Line::indented(2).then(Ink::Strong, "harbour-1").to_column(14).then(Ink::Good, "healthy");
        assert_eq!(line.paint(Style::PLAIN, 80), "  harbour-1   healthy");
        assert_eq!(line.paint(Style::PLAIN, 16), "  harbour-1   h…");
        assert_eq!(line.paint(Style { color: true }, 8), "  \x1b[1mharbo…\x1b[0m");
        assert_eq!(
            line.clone().right(Ink::Faint, "4.2s", 30).paint(Style::PLAIN, 30),
            "  harbour-1   healthy     4.2s"
        );
    }

    #[test]
    fn bars_fill_by_eighths() {
        assert_eq!(bar(0, 0, 4), "░░░░");
        assert_eq!(bar(1, 2, 4), "██░░");
        assert_eq!(bar(9, 32, 4), "█▏░░");
        assert_eq!(bar(5, 4, 4), "████");
    }
}
