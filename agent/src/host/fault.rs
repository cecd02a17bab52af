//! Errors of the machine as failures of a step.

use std::io;

use longshore_common::{
    chain::Chain,
    code::Code,
    durable::DurableError,
    report::{Blame, Failure, StepName},
};

pub fn disk(step: StepName) -> impl Fn(DurableError) -> Failure {
    move |error| Failure::new(error.code(), step, Blame::Environment, Chain(&error).to_string())
}

pub fn io(step: StepName, doing: &str) -> impl Fn(io::Error) -> Failure {
    move |error| {
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let code = if full { Code::D01 } else { Code::X01 };
        Failure::new(code, step, Blame::Environment, format!("{doing}: {error}"))
    }
}

/// The release did it.
pub fn version(code: Code, step: StepName, message: impl Into<String>) -> Failure {
    Failure::new(code, step, Blame::Version, message)
}

/// The host did it.
pub fn host(code: Code, step: StepName, message: impl Into<String>) -> Failure {
    Failure::new(code, step, Blame::Environment, message)
}
