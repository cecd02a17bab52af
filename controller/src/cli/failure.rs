//! Why a command did not do what was asked: exit code, error code, message and the next step.

use longshore_common::{
    code::{Code, Coded},
    wire::{CODE_KEY, said},
};
use serde::Serialize;

use super::exit::Exit;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub exit: Exit,
    /// Known to `docs/errors.md`; none for mistakes on the command line.
    pub code: Option<Code>,
    /// What is wrong, already safe to show, no full stop.
    pub message: String,
    /// What to do about it, one step a line.
    pub next: Vec<String>,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, code: None, message: message.into(), next: vec![] }
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub fn coded(code: Code, message: impl Into<String>) -> Self {
        Self { code: Some(code), ..Self::new(exit_of(code), message) }
    }

    pub fn next(mut self, step: impl Into<String>) -> Self {
        self.next.push(step.into());
        self
    }

    pub fn exit(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    /// `longshore: LS-R02 …`, then the next steps indented.
    pub fn lines(&self) -> Vec<String> {
        let head = match self.code {
            Some(code) => format!("longshore: {code} {}", self.message),
            None => format!("longshore: {}", self.message),
        };
        std::iter::once(head).chain(self.next.iter().map(|step| format!("  {step}"))).collect()
    }

    pub fn json(&self) -> String {
        #[derive(Serialize)]
        struct Shape<'a> {
            schema: &'static str,
            code: Option<String>,
            message: &'a str,
            next: &'a [String],
            exit: u8,
        }
        let shape = Shape {
            schema: "longshore.cli.error/1",
            code: self.code.map(|code| code.to_string()),
            message: &self.message,
            next: &self.next,
            exit: self.exit.number(),
        };
        serde_json::to_string(&shape).expect("strings and numbers are JSON")
    }
}

impl From<Coded> for Failure {
    fn from(error: Coded) -> Self {
        Failure::coded(error.code, shown(&error.message))
    }
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        let code =
            status.metadata().get(CODE_KEY).and_then(|value| value.to_str().ok()?.parse::<Code>().ok());
        match code {
            Some(code) => {
                let text = status.message();
                let text = text.strip_prefix(&code.to_string()).unwrap_or(text).trim_start();
                Failure::coded(code, shown(text))
            }
            None => uncoded(&status),
        }
    }
}

/// A status that no handler of ours made: the transport's, a proxy's, or an older controller's.
fn uncoded(status: &tonic::Status) -> Failure {
    use tonic::Code as Grpc;
    let text = shown(&said(status));
    match status.code() {
        Grpc::Unimplemented => Failure::new(Exit::Refused, "the controller does not know this request").next(
            "it may be older than this command line: compare longshore status with longshore --version",
        ),
        Grpc::DeadlineExceeded | Grpc::Cancelled => {
            Failure::coded(Code::C01, format!("no answer in time: {text}")).exit(Exit::TimedOut)
        }
        Grpc::Unavailable => Failure::coded(Code::C01, text),
        Grpc::PermissionDenied | Grpc::Unauthenticated => Failure::coded(Code::C02, text),
        Grpc::InvalidArgument => Failure::usage(text),
        Grpc::NotFound => Failure::coded(Code::N01, text),
        Grpc::AlreadyExists => Failure::coded(Code::N02, text),
        Grpc::FailedPrecondition | Grpc::Aborted => Failure::coded(Code::R01, text),
        // All that a handler of ours says names its code; this is a connection that broke.
        Grpc::Unknown => Failure::coded(Code::C01, text),
        _ => Failure::coded(Code::X01, text),
    }
}

/// Text from elsewhere, lines kept, everything that could act on a terminal escaped.
pub fn shown(text: &str) -> String {
    text.trim_end().lines().map(longshore_common::text::visible).collect::<Vec<_>>().join("\n  ")
}

/// Which exit code an error code gives. No arm is left out, so a new code has to be placed.
pub fn exit_of(code: Code) -> Exit {
    use Code::*;
    match code {
        M01 | V01 => Exit::Usage,
        C01 | S04 => Exit::Unreachable,
        O03 | P01 | P02 | E01 | E02 | E03 | E04 | E05 | E06 | E07 | N01 | N02 | R01 | R02 | R03 | R04
        | Q01 | K01 | W01 | W02 | W03 | C02 | T01 | T02 | T03 | T04 | T05 => Exit::Refused,
        A01 | A02 | A03 | A04 | A05 | D01 | D03 | S01 | S02 | S03 | H01 | U01 | L01 | B01 | X01 => {
            Exit::Failed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(grpc: tonic::Code, code: Option<&'static str>, message: &str) -> tonic::Status {
        let mut status = tonic::Status::new(grpc, message);
        if let Some(code) = code {
            status.metadata_mut().insert(CODE_KEY, code.parse().unwrap());
        }
        status
    }

    #[test]
    fn what_the_controller_says_reaches_the_operator_with_its_code() {
        use tonic::Code as Grpc;
        for (grpc, code, message, exit, line) in [
            (
                Grpc::FailedPrecondition,
                Some("LS-R02"),
                "LS-R02 staging is held by 0192; watch it: longshore rollout watch 0192",
                4,
                "longshore: LS-R02 staging is held by 0192; watch it: longshore rollout watch 0192",
            ),
            (Grpc::InvalidArgument, Some("LS-V01"), "app name", 2, "longshore: LS-V01 app name"),
            (Grpc::NotFound, Some("LS-N01"), "no app x", 4, "longshore: LS-N01 no app x"),
            (Grpc::Unavailable, None, "connection refused", 3, "longshore: LS-C01 connection refused"),
            (Grpc::Unavailable, Some("LS-S04"), "store full", 3, "longshore: LS-S04 store full"),
            (Grpc::DeadlineExceeded, None, "30s", 5, "longshore: LS-C01 no answer in time: 30s"),
            (Grpc::PermissionDenied, None, "nobody", 4, "longshore: LS-C02 nobody"),
            (Grpc::Internal, Some("LS-ZZZ"), "b\u{1b}[31mad", 1, "longshore: LS-X01 b\\x1b[31mad"),
        ] {
            let failure = Failure::from(status(grpc, code, message));
            assert_eq!(failure.exit.number(), exit, "{message}");
            assert_eq!(failure.lines()[0], line);
        }
    }

    #[test]
    fn a_connection_that_broke_is_told_with_its_cause() {
        let cause = std::io::Error::other("connection reset by peer");
        let failure = Failure::from(tonic::Status::from_error(Box::new(Broken(cause))));
        assert_eq!(failure.lines()[0], "longshore: LS-C01 transport error: connection reset by peer");
    }

    #[derive(Debug)]
    struct Broken(std::io::Error);

    impl std::fmt::Display for Broken {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("transport error")
        }
    }
    impl std::error::Error for Broken {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn errors_have_a_json_shape() {
        let failure = Failure::coded(Code::C01, "refused").next("look");
        assert_eq!(
            failure.json(),
            r#"{"schema":"longshore.cli.error/1","code":"LS-C01","message":"refused","next":["look"],"exit":3}"#
        );
    }
}
