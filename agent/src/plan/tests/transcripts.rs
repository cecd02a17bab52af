//! What happens, line by line. Slot names end in the digest of the release: it is cut off here.

use longshore_common::assignment::{Assignment, Intent};

use super::bench::{Bench, app, assignment, run};
use crate::{
    host::sim::{Flaw, SimHost},
    plan::{Hold, HoldKind, HookPoint, Needs},
};

/// The transcript without digests, against the expected one without indentation.
#[track_caller]
fn check(transcript: &str, expected: &str) {
    let short = transcript.split_inclusive([' ', '\n']).map(|word| match word.rsplit_once('-') {
        Some((version, digest)) if digest.trim_end().len() == 8 => {
            format!("{version}{}", &digest[digest.trim_end().len()..])
        }
        _ => word.to_owned(),
    });
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(short.collect::<String>(), expected.join("\n"));
}

/// Scenarios 78 and 116: with nothing before it, hooks of what was before are nothing to do; and config is rendered before
/// any hook runs. Scenario 77: the hook that stops is the one of the release that is stopped.
#[test]
fn a_first_deployment_and_the_next() {
    let mut bench = Bench::with_flaws(&[]);
    let first = bench.transcript(|bench| bench.give(&run(1, "1")));
    check(
        &first,
        "check 1
         fetch 1
         render 1
         seal 1
         hook before_switch of 1
         point current at 1
         hook after_switch of 1
         start 1
         probe 1
         hook after_healthy of 1
         => healthy",
    );
    let second = bench.transcript(|bench| bench.give(&run(2, "2")));
    check(
        &second,
        "check 2
         fetch 2
         render 2
         seal 2
         hook before_switch of 2
         hook before_stop of 1
         point current at 2
         hook after_switch of 2
         start 2
         probe 2
         hook after_healthy of 2
         => healthy",
    );
    let third = bench.transcript(|bench| bench.give(&run(3, "3")));
    assert!(third.contains("prune 1-"), "{third}");
}

#[test]
fn staging_touches_nothing_and_running_goes_on_from_it() {
    let mut bench = Bench::new();
    let staged = bench.transcript(|bench| bench.give(&assignment(1, "1", &[], Intent::Stage)));
    check(&staged, "check 1\nfetch 1\nrender 1\nseal 1\n=> staged");
    let ran = bench.transcript(|bench| bench.give(&run(2, "1")));
    check(&ran, "admit 1\npoint current at 1\nstart 1\nprobe 1\n=> healthy");
}

/// What lies in a slot and never was good here is held against documents that hold, before a byte of it runs.
#[test]
fn what_never_was_good_here_is_admitted_anew() {
    let mut bench = Bench::with_flaws(&[("2", Flaw::Expired)]);
    bench.give(&run(1, "1")).unwrap();
    bench.give(&assignment(2, "2", &[], Intent::Stage)).unwrap();
    let before = bench.seen();
    let refused = bench.transcript(|bench| bench.give(&run(3, "2")));
    check(&refused, "admit 2\n=> failed LS-T04 at check");
    assert_eq!(bench.seen(), before);
    let again = bench.transcript(|bench| bench.give(&run(4, "2")));
    check(&again, "admit 2\n=> failed LS-T04 at check");
}

/// What ran and was found sick is no more known than what never ran.
#[test]
fn what_was_live_and_not_good_is_admitted_anew() {
    let mut bench = Bench::with_flaws(&[("2", Flaw::Probe)]);
    bench.give(&run(1, "1")).unwrap();
    bench.give(&run(2, "2")).unwrap();
    bench.host.release("2", SimHost::service([]), [Flaw::Expired]);
    let refused = bench.transcript(|bench| bench.give(&run(3, "2")));
    check(&refused, "admit 2\n=> failed LS-T04 at check");
    assert_eq!(bench.seen().current, Some(run(1, "1").slot()));
}

/// Expiry is soft for what runs and for every way back, whoever asks for it.
#[test]
fn what_was_good_here_goes_live_again_by_documents_that_have_run_out() {
    let mut bench = Bench::new();
    bench.give(&run(1, "1")).unwrap();
    bench.give(&run(2, "2")).unwrap();
    for version in ["1", "2"] {
        bench.host.release(version, SimHost::service([]), [Flaw::Expired]);
    }
    let rolled_back = bench.transcript(|bench| bench.give(&run(3, "1")));
    check(&rolled_back, "point current at 1\nstart 1\nprobe 1\n=> healthy");
    let reverted = bench.transcript(|bench| bench.order(None));
    check(&reverted, "point current at 2\nstart 2\nprobe 2\n=> reverted to 2: LS-P01 at revert");
}

/// Cut off at any effect on its way to live, it is asked again before anything more of it runs; once it is live it stays.
#[test]
fn a_power_cut_does_not_get_round_the_question() {
    for effects in 0.. {
        let mut bench = Bench::new();
        bench.give(&run(1, "1")).unwrap();
        bench.give(&assignment(2, "2", &[], Intent::Stage)).unwrap();
        bench.host.crash_after(effects);
        let crashed = bench.give(&run(3, "2")).is_err();
        bench.host.reboot();
        bench.host.release("2", SimHost::service([]), [Flaw::Expired]);
        let was_live = bench.seen().current == Some(run(3, "2").slot());
        bench.give(&run(3, "2")).unwrap();
        let expected = if was_live { run(3, "2").slot() } else { run(1, "1").slot() };
        assert_eq!(bench.seen().current, Some(expected), "after {effects} effects");
        if !crashed {
            return;
        }
    }
}

#[test]
fn what_is_live_and_healthy_is_left_alone() {
    let mut bench = Bench::with_flaws(&[]);
    bench.give(&run(1, "1")).unwrap();
    let again = bench.transcript(|bench| bench.give(&run(2, "1")));
    check(&again, "glance at 1\n=> unchanged");
    let staged = bench.transcript(|bench| bench.give(&assignment(3, "1", &[], Intent::Stage)));
    check(&staged, "glance at 1\n=> unchanged");
    bench.host.kill(&app());
    let sick = bench.transcript(|bench| bench.give(&assignment(4, "1", &[], Intent::Stage)));
    check(&sick, "=> staged");
    let dead = bench.transcript(|bench| bench.give(&run(5, "1")));
    check(&dead, "start 1\nprobe 1\nhook after_healthy of 1\n=> healthy");
}

/// Scenario 52: the way back asks nobody, so a release that takes the network away is undone like any other.
#[test]
fn a_failed_probe_goes_back_without_hooks() {
    let mut bench = Bench::with_flaws(&[("2", Flaw::Probe)]);
    bench.give(&run(1, "1")).unwrap();
    let failed = bench.transcript(|bench| bench.give(&run(2, "2")));
    check(
        &failed,
        "check 2
         fetch 2
         render 2
         seal 2
         hook before_switch of 2
         hook before_stop of 1
         point current at 2
         hook after_switch of 2
         start 2
         probe 2
         point current at 1
         start 1
         probe 1
         => reverted to 1: LS-B01 at probe",
    );
    let again = bench.transcript(|bench| bench.give(&run(2, "2")));
    check(&again, "=> reverted to 1: LS-B01 at probe");
}

/// A slot that failed stays on disk until something else is healthy, and is known for what it is; no word of an operator
/// or of the network makes it one.
#[test]
fn a_slot_that_failed_here_is_remembered_as_that() {
    let mut bench = Bench::with_flaws(&[("2", Flaw::Probe)]);
    bench.give(&run(1, "1")).unwrap();
    assert!(bench.record.bad.is_empty());
    bench.give(&run(2, "2")).unwrap();
    assert_eq!(bench.record.bad, [run(2, "2").slot()]);
    bench.host.release("2", SimHost::service([]), []);
    bench.give(&run(3, "2")).unwrap();
    assert!(bench.record.bad.is_empty(), "it is good now");
    bench.order(None).unwrap();
    assert!(bench.record.bad.is_empty(), "somebody went back from it");
    bench.host.release("3", SimHost::service([]), [Flaw::Fetch]);
    bench.give(&run(4, "3")).unwrap();
    assert!(bench.record.bad.is_empty(), "it was never tried");
}

#[test]
fn a_failed_first_deployment_leaves_nothing_live() {
    let mut bench = Bench::with_flaws(&[("1", Flaw::Start)]);
    let failed = bench.transcript(|bench| bench.give(&assignment(1, "1", &[], Intent::Run)));
    assert!(failed.ends_with("stop\ntake current away\n=> failed LS-U01 at start"), "{failed}");
    assert_eq!(bench.seen().current, None);
    assert_eq!(bench.seen().slots.len(), 1, "kept for whoever wants to look");
}

#[test]
fn a_failure_before_the_switch_leaves_the_old_release_running() {
    for (flaw, end) in [
        (Flaw::Check, "=> refused LS-Q01"),
        (Flaw::Fetch, "=> failed LS-D01 at fetch"),
        (Flaw::Render, "=> failed LS-M01 at render"),
        (Flaw::Hook(HookPoint::BeforeSwitch), "=> failed LS-H01 at hook"),
    ] {
        let mut bench = Bench::with_flaws(&[("2", flaw)]);
        bench.give(&run(1, "1")).unwrap();
        let before = bench.seen();
        let failed = bench.transcript(|bench| bench.give(&run(2, "2")));
        assert!(failed.ends_with(end), "{failed}");
        assert_eq!((before.current, before.running), (bench.seen().current, bench.seen().running));
    }
}

/// Scenario 77: the old release's own hook says whether it may be stopped.
#[test]
fn the_old_release_may_refuse_to_be_stopped() {
    let mut bench = Bench::with_flaws(&[("1", Flaw::Hook(HookPoint::BeforeStop))]);
    bench.give(&run(1, "1")).unwrap();
    let failed = bench.transcript(|bench| bench.give(&run(2, "2")));
    assert!(
        failed.ends_with("hook before_stop of 1-") || failed.contains("hook before_stop of 1"),
        "{failed}"
    );
    assert!(failed.ends_with("=> failed LS-H01 at hook"), "{failed}");
    assert!(bench.seen().current.unwrap().as_str().starts_with("1-"));
}

#[test]
fn a_way_back_that_fails_is_inconsistent() {
    let mut bench = Bench::with_flaws(&[("2", Flaw::Probe)]);
    bench.give(&run(1, "1")).unwrap();
    bench.host.release("1", SimHost::service([]), [Flaw::Start]);
    let failed = bench.transcript(|bench| bench.give(&run(2, "2")));
    assert!(failed.ends_with("=> inconsistent LS-B01 at probe"), "{failed}");
    bench.host.release("1", SimHost::service([]), []);
    let repaired = bench.transcript(|bench| bench.give(&run(3, "1")));
    assert!(repaired.ends_with("=> healthy"), "{repaired}");
}

/// Scenario 109: config goes back with the code: the slot holds what was rendered for it.
#[test]
fn other_values_are_another_slot_and_go_back_like_a_release() {
    let mut bench = Bench::new();
    bench.give(&assignment(1, "1", &[("port", "80")], Intent::Run)).unwrap();
    let first = bench.seen().current.unwrap();
    let changed = bench.transcript(|bench| bench.give(&assignment(2, "1", &[("port", "81")], Intent::Run)));
    assert!(changed.ends_with("=> healthy"), "{changed}");
    assert_ne!(bench.seen().current, Some(first.clone()));
    bench.give(&assignment(3, "1", &[("port", "80")], Intent::Run)).unwrap();
    assert_eq!(bench.seen().current, Some(first));
}

/// Scenario 48: three deployments, each with its hooks in order; what is gone back to is deployed like anything else.
#[test]
fn a_rollback_by_the_controller_is_a_deployment() {
    let mut bench = Bench::with_flaws(&[]);
    bench.give(&run(1, "1")).unwrap();
    bench.give(&run(2, "2")).unwrap();
    let back = bench.transcript(|bench| bench.give(&run(3, "1")));
    check(
        &back,
        "hook before_switch of 1
         hook before_stop of 2
         point current at 1
         hook after_switch of 1
         start 1
         probe 1
         hook after_healthy of 1
         => healthy",
    );
}

#[test]
fn static_content_has_nothing_to_start() {
    let mut bench = Bench::new();
    bench.host.release("1", Needs::default(), []);
    let first = bench.transcript(|bench| bench.give(&run(1, "1")));
    check(&first, "check 1\nfetch 1\nrender 1\nseal 1\npoint current at 1\nprobe 1\n=> healthy");
    bench.give(&run(2, "2")).unwrap();
    let back = bench.transcript(|bench| bench.give(&run(3, "1")));
    check(&back, "point current at 1\nstop\nprobe 1\n=> healthy");
}

/// Scenario 130.
#[test]
fn everything_of_an_app_can_be_removed() {
    let mut bench = Bench::with_flaws(&[]);
    bench.give(&run(1, "1")).unwrap();
    let gone = bench.transcript(|bench| bench.give(&assignment(2, "1", &[], Intent::Remove)));
    check(&gone, "hook before_stop of 1\nstop\nremove\n=> removed");
    assert_eq!(bench.seen(), Default::default());
    let back = bench.transcript(|bench| bench.give(&run(3, "1")));
    assert!(back.ends_with("=> healthy"), "{back}");
}

#[test]
fn generations_only_rise() {
    let mut bench = Bench::new();
    bench.give(&run(5, "1")).unwrap();
    let stale = bench.transcript(|bench| bench.give(&run(4, "2")));
    check(&stale, "=> refused LS-O03");
    let other = bench.transcript(|bench| bench.give(&run(5, "2")));
    check(&other, "=> refused LS-O03");
    let mut foreign = run(6, "2");
    foreign.host = longshore_common::ids::HostId(uuid::Uuid::from_u128(8));
    check(&bench.transcript(|bench| bench.give(&foreign)), "=> refused LS-O03");
    check(&bench.transcript(|bench| bench.give(&run(5, "1"))), "=> healthy");
}

/// Scenario 84: while somebody holds the host no work is taken; what comes afterwards is taken at once.
#[test]
fn a_held_host_refuses_new_work_for_good() {
    let mut bench = Bench::new();
    bench.give(&run(1, "1")).unwrap();
    bench.hold =
        Some(Hold { reason: "disk swap".into(), by: "ann".into(), since_ms: 1, kind: HoldKind::Admin });
    check(&bench.transcript(|bench| bench.give(&run(2, "2"))), "=> refused LS-P01");
    bench.hold = None;
    check(&bench.transcript(|bench| bench.give(&run(2, "2"))), "=> refused LS-P01");
    assert!(bench.transcript(|bench| bench.give(&run(3, "2"))).ends_with("=> healthy"));
}

#[test]
fn a_revert_asked_on_the_host_stays() {
    let mut bench = Bench::with_flaws(&[]);
    bench.give(&run(1, "1")).unwrap();
    bench.give(&run(2, "2")).unwrap();
    let reverted = bench.transcript(|bench| bench.order(None));
    check(&reverted, "point current at 1\nstart 1\nprobe 1\n=> reverted to 1: LS-P01 at revert");
    let told_again = bench.transcript(|bench| bench.give(&run(2, "2")));
    check(&told_again, "=> reverted to 1: LS-P01 at revert");
    check(&bench.transcript(Bench::converge), "");
    check(&bench.transcript(|bench| bench.order(None)), "");
    let newer = bench.transcript(|bench| bench.give(&run(3, "2")));
    assert!(newer.ends_with("=> healthy"), "{newer}");
}

#[test]
fn a_rollback_that_overtakes_a_switch_is_judged_anew() {
    let mut bench = Bench::with_flaws(&[]);
    bench.give(&run(1, "1")).unwrap();
    bench.host.crash_after(14); // in the middle of release 2's switch
    bench.give(&run(2, "2")).unwrap_err();
    bench.host.restart_agent();
    assert_ne!(bench.seen().current, bench.record.good.last().cloned(), "2 is switched to, not judged");
    let back = bench.transcript(|bench| bench.give(&run(3, "1")));
    assert!(back.contains("hook after_switch of 1") && back.ends_with("=> healthy"), "{back}");
}

/// What is live was never judged, and what should replace it cannot be had: the last good one is what is left.
#[test]
fn a_failure_after_an_overtaken_switch_goes_back_to_what_was_good() {
    let mut bench = Bench::with_flaws(&[("3", Flaw::Fetch)]);
    bench.give(&run(1, "1")).unwrap();
    bench.host.crash_after(14); // in the middle of release 2's switch
    bench.give(&run(2, "2")).unwrap_err();
    bench.host.restart_agent();
    let failed = bench.transcript(|bench| bench.give(&run(3, "3")));
    assert!(failed.ends_with("=> reverted to 1: LS-D01 at fetch"), "{failed}");
    assert_eq!(bench.seen().current, Some(run(1, "1").slot()));
}

/// What was found unwell after its switch is no way back from what is to take its place, and none later either.
#[test]
fn what_was_found_unwell_is_no_way_back() {
    let mut bench = Bench::with_flaws(&[("3", Flaw::Probe)]);
    bench.give(&run(1, "1")).unwrap();
    bench.give(&run(2, "2")).unwrap();
    bench.host.release("1", SimHost::service(HookPoint::ALL), [Flaw::Probe]); // it works no longer
    let back = Assignment { unwell: Some(run(2, "2").slot()), ..run(3, "1") };
    let failed = bench.transcript(|bench| bench.give(&back));
    assert!(failed.ends_with("at probe") && failed.contains("=> failed "), "{failed}");
    assert_eq!(bench.record.good, [run(1, "1").slot()]);
    bench.host.release("1", SimHost::service(HookPoint::ALL), []);
    let later = bench.transcript(|bench| bench.give(&run(4, "3")));
    assert!(later.contains("=> reverted to 1: "), "{later}");
}
