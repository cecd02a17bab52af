//! Programs that a release runs at fixed points of its deployment.
//!
//! Each runs in its slot, as the app's user, with a timeout that ends everything it started: in a transient unit
//! where the app itself is a unit of systemd, else below a subreaper of ours (`tree`).

use longshore_common::{
    code::Code,
    manifest::Hook,
    report::{Failure, StepName},
    text::visible,
};

use super::{
    Sink,
    evidence::LastLines,
    fault,
    launch::{Fault, LaunchSpec},
    reexec::SelfExec,
    systemd::transient,
    tree::{self, Ended},
};
use crate::plan::HookPoint;

/// Who keeps a program's processes together.
#[derive(Clone, Debug)]
pub enum Keeper {
    /// A subreaper of ours.
    Tree(SelfExec),
    /// A transient unit.
    Systemd(super::systemd::Bus),
}

/// Runs it to its end. Every line goes to `sink` as it comes.
pub async fn run(
    keeper: &Keeper,
    point: HookPoint,
    hook: &Hook,
    spec: &LaunchSpec,
    sink: &Sink,
) -> Result<(), Failure> {
    let mut lines = LastLines::default();
    let each = |stream, text: String| {
        lines.push(&text);
        sink.line(point.as_str(), stream, text);
    };
    let result = match keeper {
        Keeper::Tree(me) => tree::run(me, spec, hook.timeout.0, each).await,
        Keeper::Systemd(bus) => transient::run(bus, spec, hook.timeout.0, each).await,
    };
    let program = visible(hook.run.first().map_or("", String::as_str));
    let words = match result {
        Ok(ended) if ended.succeeded() => return Ok(()),
        Ok(Ended::TimedOut) => format!(
            "hook {point} ({program}) ran past its timeout of {} and was killed with everything it had started",
            hook.timeout
        ),
        Ok(ended) => format!("hook {point} ({program}) failed with {ended}"),
        Err(Fault(why)) => format!("hook {point} did not run: {why}"),
    };
    Err(fault::version(Code::H01, StepName::Hook, words).with_evidence(lines))
}
