//! Programs that a release runs at fixed points of its deployment.
//!
//! Each runs in its slot, as the app's user, with a timeout that ends everything it started (`keeper`).

use longshore_common::{
    code::Code,
    ids::AppName,
    manifest::Hook,
    report::{Failure, StepName},
    text::visible,
};

use super::{
    Sink,
    evidence::LastLines,
    fault,
    keeper::{Keeper, Kind},
    launch::{Fault, LaunchSpec},
    tree::Ended,
};
use crate::plan::HookPoint;

/// Runs it to its end. Every line goes to `sink` as it comes.
pub async fn run(
    keeper: &Keeper,
    app: &AppName,
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
    let result = keeper.run(app, Kind::Hook, spec, hook.timeout.0, each).await;
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
