//! Who counts, for how long, and what stops a plan (scenario 91).

use longshore_common::{ids::OperatorName, time::Span};

use super::*;

fn name(text: &str) -> OperatorName {
    text.parse().unwrap()
}

fn said(by: &str, at: Millis, answer: Answer) -> Approval {
    Approval { by: name(by), at, answer, reason: String::new() }
}

fn yes(by: &str, at: Millis) -> Approval {
    said(by, at, Answer::Approved)
}

fn two_of_anybody() -> Rule {
    Rule { count: 2, expires: Some(Span::secs(10)), ..Rule::default() }
}

#[test]
fn nobody_asked_is_ready_at_once() {
    assert_eq!(standing(&Rule::default(), &[], &name("ann"), 0), Standing::NotNeeded);
    assert_eq!(admit(&Rule::default(), &name("ann"), &name("bob")), Err(Refusal::NotNeeded));
}

#[test]
fn the_author_is_no_approver() {
    let rule = two_of_anybody();
    assert_eq!(admit(&rule, &name("ann"), &name("ann")), Err(Refusal::Author));
    let stands = standing(&rule, &[yes("ann", 1), yes("bob", 1)], &name("ann"), 2);
    assert_eq!(stands, Standing::Pending(Lacking { count: 1, ..Lacking::default() }));
}

#[test]
fn one_who_approves_twice_counts_once() {
    let stands = standing(&two_of_anybody(), &[yes("bob", 1), yes("bob", 2)], &name("ann"), 3);
    assert_eq!(stands, Standing::Pending(Lacking { count: 1, ..Lacking::default() }));
}

#[test]
fn enough_is_enough_until_the_first_needed_one_expires() {
    let rule = two_of_anybody();
    let approvals = [yes("bob", 0), yes("cat", 5_000)];
    assert_eq!(standing(&rule, &approvals, &name("ann"), 9_999), Standing::Approved { until: Some(10_000) });
    let Standing::Pending(lacking) = standing(&rule, &approvals, &name("ann"), 10_000) else { panic!() };
    assert_eq!(lacking.to_string(), "lacks 1 more; expired: bob");
    let three = [yes("bob", 0), yes("cat", 5_000), yes("dan", 6_000)];
    assert_eq!(standing(&rule, &three, &name("ann"), 1), Standing::Approved { until: Some(15_000) });
}

#[test]
fn one_denial_stops_it_until_that_one_says_otherwise() {
    let rule = Rule { count: 1, ..Rule::default() };
    let mut approvals = vec![yes("bob", 1), said("cat", 2, Answer::Denied)];
    assert!(
        matches!(standing(&rule, &approvals, &name("ann"), 3), Standing::Denied(by) if by.by == name("cat"))
    );
    approvals.push(yes("cat", 4));
    assert_eq!(standing(&rule, &approvals, &name("ann"), 5), Standing::Approved { until: None });
}

#[test]
fn roles_are_counted_among_all() {
    let members = |names: &[&str]| names.iter().map(|text| name(text)).collect();
    let sre = RoleRule { count: 1, members: members(&["sue", "sam"]) };
    let rule =
        Rule { count: 2, by: members(&["bob"]), roles: [("sre".to_owned(), sre)].into(), expires: None };
    assert!(matches!(admit(&rule, &name("ann"), &name("eve")), Err(Refusal::NotAsked { .. })));
    assert_eq!(rule.asked(), "bob, sre (sam, sue)");
    let stands = standing(&rule, &[yes("bob", 1), yes("eve", 1)], &name("ann"), 2);
    let Standing::Pending(lacking) = stands else { panic!("{stands:?}") };
    assert_eq!(lacking.to_string(), "lacks 1 more and 1 more of sre");
    assert_eq!(
        standing(&rule, &[yes("sue", 1), yes("sam", 1)], &name("ann"), 2),
        Standing::Approved { until: None }
    );
}
