//! Columns without lines: a header, rows, two spaces between. The last column may be as long as it likes.

use super::style::{Ink, Style, clip, pad, width};

/// What is left of the last column on the narrowest screen.
const LAST_MIN: usize = 12;

#[derive(Clone, Debug)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    ink: Ink,
}

impl Cell {
    pub fn new(ink: Ink, text: impl Into<String>) -> Self {
        Self { text: text.into(), ink }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Cell::new(Ink::Plain, text)
    }
}

impl Table {
    pub fn new<const N: usize>(header: [&'static str; N]) -> Self {
        Self { header: header.into(), rows: vec![] }
    }

    /// `cells` has as many as the header. An empty one is shown as `-`.
    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        debug_assert_eq!(N, self.header.len());
        self.rows.push(cells.into());
    }

    pub fn drop_column(&mut self, name: &str) {
        let Some(at) = self.header.iter().position(|header| *header == name) else { return };
        self.header.remove(at);
        self.rows.iter_mut().for_each(|row| drop(row.remove(at)));
    }

    /// The same with the last column cut where the screen ends.
    pub fn lines_within(mut self, style: Style, columns: usize) -> Vec<String> {
        let taken: usize = self.widths().iter().rev().skip(1).map(|width| width + 2).sum();
        let room = columns.saturating_sub(taken).max(LAST_MIN);
        for cell in self.rows.iter_mut().filter_map(|row| row.last_mut()) {
            cell.text = clip(&cell.text, room);
        }
        self.lines(style)
    }

    fn widths(&self) -> Vec<usize> {
        let columns = 0..self.header.len();
        let widest = columns.map(|column| {
            let cells = self.rows.iter().map(|row| width(&row[column].text).max(1));
            cells.chain([width(self.header[column])]).max().unwrap_or(0)
        });
        widest.collect()
    }

    pub fn lines(&self, style: Style) -> Vec<String> {
        let widths = self.widths();
        let header: Vec<Cell> = self.header.iter().map(|name| Cell::new(Ink::Faint, *name)).collect();
        std::iter::once(&header).chain(&self.rows).map(|row| line(row, &widths, style)).collect()
    }
}

fn line(row: &[Cell], widths: &[usize], style: Style) -> String {
    let mut line = String::new();
    for (at, (cell, columns)) in row.iter().zip(widths).enumerate() {
        let text = if cell.text.is_empty() { "-" } else { &cell.text };
        let last = at + 1 == row.len();
        // Padding stays outside of the colour, so that trailing spaces never carry one.
        line.push_str(&style.paint(cell.ink, text));
        if !last {
            line.push_str(&pad("", columns.saturating_sub(width(text)) + 2));
        }
    }
    line
}

/// `name: value` lines with the values in one column.
#[derive(Clone, Debug, Default)]
pub struct Facts(Vec<(String, String)>);

impl Facts {
    pub fn add(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.0.push((name.to_owned(), value.into()));
        self
    }

    /// Left out when there is nothing to say.
    pub fn add_some(&mut self, name: &str, value: Option<impl Into<String>>) -> &mut Self {
        if let Some(value) = value {
            self.add(name, value);
        }
        self
    }

    pub fn lines(&self, style: Style) -> Vec<String> {
        let columns = self.0.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
        self.0
            .iter()
            .map(|(name, value)| format!("{}  {value}", style.paint(Ink::Faint, &pad(name, columns))))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_the_colour() {
        let mut table = Table::new(["HOST", "STATE", "WHAT"]);
        table.row(["web-1".into(), Cell::new(Ink::Good, "healthy"), "fine".into()]);
        table.row(["日本".into(), Cell::new(Ink::Bad, "lost"), "".into()]);
        assert_eq!(
            table.lines(Style::PLAIN),
            ["HOST   STATE    WHAT", "web-1  healthy  fine", "日本   lost     -"]
        );
        let colored = table.lines(Style { color: true });
        assert_eq!(colored[1], "web-1  \x1b[32mhealthy\x1b[0m  fine");
    }
}
