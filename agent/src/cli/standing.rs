//! How the agent itself stands, in a line each: its certificate, its processes.

use longshore_common::{
    recovery::RECOVERY_MAX,
    text::visible,
    time::{Millis, rounded},
};
use longshore_proto::v1 as pb;

/// Attempts are minutes apart, and one may fail.
const RENEWAL_LATE_MS: Millis = 30 * 60_000;

/// `overdue` is for how long it should have been renewed by now.
pub(super) fn certificate(left: Millis, overdue: Millis) -> String {
    if left <= 0 {
        let ago = rounded(-left);
        return match -left > RECOVERY_MAX.as_millis() as Millis {
            true => format!(
                "EXPIRED {ago} ago: longshore token create, then here: longshore-agent enroll --again"
            ),
            false => format!(
                "EXPIRED {ago} ago; the agent gets another by itself once it reaches the controller's enrolment port"
            ),
        };
    }
    match overdue > RENEWAL_LATE_MS {
        true => format!(
            "good for {}, and its renewal is OVERDUE by {}: it is tried while connected",
            rounded(left),
            rounded(overdue)
        ),
        false => format!("good for {}, renews itself", rounded(left)),
    }
}

pub(super) fn processes(status: &pb::LocalStatus) -> String {
    let helper = visible(&status.helper_version);
    match status.processes.as_str() {
        "two" if helper.is_empty() => {
            let why = match status.helper_away.as_str() {
                "" => "systemctl status longshore-helper", // an agent from before, not restarted yet
                why => why,
            };
            format!("two; the helper is AWAY: {}", visible(why))
        }
        "two" => format!("two; the helper is {helper}"),
        _ => "one, with the privileges of its user".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_the_helper_is_away_is_said_by_whoever_knows() {
        let said = |version: &str, away: &str| {
            processes(&pb::LocalStatus {
                processes: "two".into(),
                helper_version: version.into(),
                helper_away: away.into(),
                ..pb::LocalStatus::default()
            })
        };
        assert_eq!(said("1.0", ""), "two; the helper is 1.0");
        let why = "LS-D01 the helper does not answer: no space is left";
        assert_eq!(said("", why), format!("two; the helper is AWAY: {why}"));
        assert_eq!(said("", ""), "two; the helper is AWAY: systemctl status longshore-helper");
    }
}
