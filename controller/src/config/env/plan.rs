//! `[plan]`: how hosts are asked before a rollout, and what may be overridden.

use longshore_common::{strict::Guard, text::visible, time::Span};

use crate::plan::{Check, DEADLINE_MAX, PlanPolicy, Unfit};

pub(super) fn read(table: &Guard<'_>) -> PlanPolicy {
    let default = PlanPolicy::default();
    let policy = PlanPolicy {
        deadline: table.or("deadline", default.deadline),
        clock: table.or("clock", default.clock),
        unfit: unfit(table),
        overrides: overrides(table),
    };
    if policy.deadline > DEADLINE_MAX || policy.deadline == Span::default() {
        table.problem_at(
            "deadline",
            format!("plan.deadline: must be longer than 0s and at most {DEADLINE_MAX}"),
        );
    }
    policy
}

fn unfit(table: &Guard<'_>) -> Unfit {
    match table.or("unfit", "refuse".to_owned()).as_str() {
        "refuse" => Unfit::Refuse,
        "skip" => Unfit::Skip,
        other => {
            table.problem_at("unfit", format!("plan.unfit: \"{}\" is none of refuse, skip", visible(other)));
            Unfit::Refuse
        }
    }
}

fn overrides(table: &Guard<'_>) -> Vec<Check> {
    let mut allowed = vec![];
    for name in table.list::<String>("overrides") {
        match Check::parse(&name) {
            Some(check) if check.is_absolute() => {
                table.problem_at("overrides", format!("plan.overrides: \"{check}\" cannot be overridden"));
            }
            Some(check) => allowed.push(check),
            None => {
                let known = Check::ALL.into_iter().filter(|check| !check.is_absolute());
                let known: Vec<&str> = known.map(Check::as_str).collect();
                let shown = visible(&name);
                table.problem_at(
                    "overrides",
                    format!("plan.overrides: \"{shown}\" is none of {}", known.join(", ")),
                );
            }
        }
    }
    allowed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Environment, rollout::Share};

    fn read(rest: &str) -> Result<Environment, String> {
        let text = format!("[environment]\nname = \"a\"\nselector = \"*\"\n{rest}");
        Environment::parse("a.toml", &text).map_err(|problems| problems.to_string())
    }

    #[test]
    fn what_plans_may_do_is_read() {
        let env =
            read("[plan]\ndeadline = \"2s\"\nunfit = \"skip\"\noverrides = [\"disk\", \"clock\"]\n").unwrap();
        assert_eq!(env.plan.overrides, [Check::Disk, Check::Clock]);
        assert_eq!((env.plan.unfit, env.plan.deadline), (Unfit::Skip, Span::secs(2)));
        assert_eq!(read("").unwrap().plan, PlanPolicy::default());
        let env = read("[rollout]\nsteps = [\"5%\", \"25%\"]\nspread = \"zone\"\n").unwrap();
        assert_eq!(env.spec.steps, [Share::Percent(5), Share::Percent(25)]);
        assert_eq!(env.spec.spread.as_deref(), Some("zone"));
    }

    #[test]
    fn what_cannot_be_is_named_with_its_place() {
        for (text, problem) in [
            (
                "[plan]\ndeadline = \"2m\"\n",
                "a.toml:5:12: plan.deadline: must be longer than 0s and at most 1m",
            ),
            ("[plan]\nunfit = \"maybe\"\n", "a.toml:5:9: plan.unfit: \"maybe\" is none of refuse, skip"),
            ("[plan]\noverrides = [\"busy\"]\n", "plan.overrides: \"busy\" cannot be overridden"),
            ("[plan]\noverrides = [\"dsk\"]\n", "plan.overrides: \"dsk\" is none of overlap, canary-hosts"),
            ("[rollout]\nsteps = [\"5%\", \"101%\"]\n", "a.toml:5"),
            ("[rollout]\nsteps = [\"25%\", \"5%\"]\n", "rollout.steps must rise: 25% comes before 5%"),
            ("[rollout]\nsteps = [\"0%\"]\n", "rollout.steps must be percentages from 1% to 100%, not 0%"),
            ("[rollout]\nsteps = [3]\n", "rollout.steps must be percentages from 1% to 100%, not 3"),
            ("[rollout]\nspread = \"a b\"\n", "rollout.spread names no label"),
        ] {
            let found = read(text).unwrap_err();
            assert!(found.contains(problem), "{problem}\nis not in\n{found}");
        }
    }
}
