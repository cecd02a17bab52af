//! A few lines at the foot of a terminal that are painted over. Nothing else is drawn while it stands, and the cursor
//! is always at the start of a line below it, so that whatever ends the program leaves the terminal sound.

use std::io::{self, Write};

use super::surroundings::terminal_size;

#[derive(Debug, Default)]
pub struct Screen {
    /// Lines that are on the terminal now.
    painted: usize,
}

impl Screen {
    /// In place of what was painted before. What does not fit is cut at the top.
    pub fn paint(&mut self, lines: &[String]) -> io::Result<()> {
        let (_, rows) = terminal_size();
        let fitting = &lines[lines.len().saturating_sub(rows.saturating_sub(1))..];
        self.replace(fitting)
    }

    /// The last picture, in full; what is written next goes below it.
    pub fn leave(&mut self, lines: &[String]) -> io::Result<()> {
        self.replace(lines)?;
        self.painted = 0;
        Ok(())
    }

    fn replace(&mut self, lines: &[String]) -> io::Result<()> {
        let mut text = String::new();
        if self.painted > 0 {
            text.push_str(&format!("\x1b[{}A", self.painted));
        }
        for line in lines {
            text.push_str("\x1b[2K");
            text.push_str(line);
            text.push('\n');
        }
        text.push_str("\x1b[J");
        self.painted = lines.len();
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}
