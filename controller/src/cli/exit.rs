//! How a command ends, as a number that scripts can branch on.

use std::process::ExitCode;

/// The meaning of an exit code never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Unreachable = 3,
    Refused = 4,
    TimedOut = 5,
    NothingToDo = 6,
    Inconclusive = 7,
    Interrupted = 130,
}

impl Exit {
    pub const ALL: [Exit; 9] = [
        Exit::Done,
        Exit::Failed,
        Exit::Usage,
        Exit::Unreachable,
        Exit::Refused,
        Exit::TimedOut,
        Exit::NothingToDo,
        Exit::Inconclusive,
        Exit::Interrupted,
    ];

    pub fn number(self) -> u8 {
        self as u8
    }

    pub fn meaning(self) -> &'static str {
        match self {
            Exit::Done => "done",
            Exit::Failed => "failed, rolled back or aborted",
            Exit::Usage => "the command or a file is not well-formed",
            Exit::Unreachable => "the controller could not be reached",
            Exit::Refused => "refused: permission, policy, state, or no such thing",
            Exit::TimedOut => "timed out while waiting; what was started goes on",
            Exit::NothingToDo => "nothing to do",
            Exit::Inconclusive => "inconclusive: nobody who was asked answered",
            Exit::Interrupted => "interrupted; what was started goes on",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.number())
    }
}
