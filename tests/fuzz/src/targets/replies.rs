//! What others answer or print: test reports, Prometheus, a controller's plan.

use longshore_agent::host::suite::{CASES_MAX, Cases, junit, tap};
use longshore_controller::{
    cli::{
        moment::Moment,
        output::{Page, View as _, json},
        view::plan::PlanView,
    },
    gate::prometheus::{self, Trouble},
    plan::Plan,
};

use super::text;
use crate::oracle::{is_shown_safely, refused_with};

pub fn junit(input: &[u8]) {
    match junit::read(text(input)) {
        Ok(cases) => check(&cases),
        Err(why) => refused_with("junit", &why),
    }
}

pub fn tap(input: &[u8]) {
    let mut reader = tap::Reader::default();
    text(input).lines().for_each(|line| reader.line(line));
    match reader.finish() {
        Ok(cases) => check(&cases),
        Err(why) => refused_with("tap", &why),
    }
}

fn check(cases: &Cases) {
    assert!(cases.told.len() <= CASES_MAX);
    let counted = cases.passed as usize + cases.failed as usize + cases.skipped as usize;
    assert!(counted >= cases.told.len(), "more is told than counted");
    for case in &cases.told {
        is_shown_safely("name of a test", &case.name);
        is_shown_safely("message of a test", &case.message);
        assert!(!case.name.contains('\n') && !case.message.contains('\n'));
    }
}

pub fn prometheus(input: &[u8]) {
    match prometheus::read(input) {
        Ok(values) => assert!(values.good.iter().all(|value| value.is_finite())),
        Err(Trouble::Refused(why) | Trouble::Partial(why)) => is_shown_safely("prometheus", &why),
        Err(Trouble::Foreign | Trouble::Unfit(_)) => {}
    }
}

/// As the command line gets it from a controller that may not be ours any more.
pub fn plan(input: &[u8]) {
    if let Some(view) = PlanView::parse(input) {
        let view = view.with_hosts(true);
        for line in view.lines(&Page::plain(Moment(1_800_000_000_000))) {
            is_shown_safely("plan", &line);
        }
        json(&view);
        let plan: Plan = serde_json::from_slice(input).expect("it was just read");
        let again: Plan = serde_json::from_slice(&serde_json::to_vec(&plan).expect("a plan is JSON"))
            .expect("what we write we can read");
        assert_eq!(again, plan);
    }
}
