//! What the environment says, read once at the start: colours, terminal, time zone, folders.

use std::{env, io::IsTerminal, path::PathBuf};

use jiff::tz::TimeZone;

use super::{
    output::{Format, Output, Page, now},
    signing::{FILE_VARIABLE, Passphrase, SOCKET_VARIABLE, SshAgent, VARIABLE},
    style::Style,
};

/// Columns that are assumed where none can be asked.
const COLUMNS: usize = 100;
const ROWS: usize = 40;

#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Standard output is a terminal that can move its cursor.
    pub live: bool,
    pub color: bool,
    pub zone: TimeZone,
    /// `~/.config/longshore`, or as XDG_CONFIG_HOME says; none without a home.
    pub config: Option<PathBuf>,
    /// Of signing keys; asked for at the terminal where the environment does not say.
    pub passphrase: Passphrase,
    /// Keys may lie with it.
    pub ssh_agent: SshAgent,
}

impl Surroundings {
    pub fn read() -> Self {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let dumb = env::var("TERM").is_ok_and(|term| term == "dumb");
        let live = std::io::stdout().is_terminal() && !dumb;
        let config = set("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".config")))
            .map(|base| base.join("longshore"));
        let passphrase = Passphrase::new(env::var(VARIABLE).ok(), set(FILE_VARIABLE).map(PathBuf::from));
        let ssh_agent = SshAgent(set(SOCKET_VARIABLE).map(PathBuf::from));
        Self {
            passphrase,
            ssh_agent,
            live,
            color: live && set("NO_COLOR").is_none(),
            zone: TimeZone::system(),
            config,
        }
    }

    pub fn output(&self, format: Format) -> Output {
        let (columns, rows) = if self.live { terminal_size() } else { (usize::MAX / 2, usize::MAX / 2) };
        let style = Style { color: self.color };
        Output { format, page: Page { style, columns, rows, now: now(), zone: self.zone.clone() } }
    }
}

/// Columns and rows of the terminal at standard output.
pub fn terminal_size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (COLUMNS, ROWS),
    }
}
