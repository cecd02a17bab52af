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
    let sre = RoleRule { count: 1, members: members(&["sue", "sam"]), held: false };
    let rule =
        Rule { count: 2, by: members(&["bob"]), roles: [("sre".to_owned(), sre)].into(), ..Rule::default() };
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

fn people(approvers: &[&str], sre: &[&str]) -> People {
    let names = |texts: &[&str]| texts.iter().map(|text| name(text)).collect::<BTreeSet<_>>();
    People {
        approvers: names(approvers),
        holding: [("approver".to_owned(), names(approvers)), ("host-admin".to_owned(), names(sre))].into(),
    }
}

/// Scenario 91: without the right to approve somebody's word does not count, with it the plan is ready.
#[test]
fn whoever_may_not_approve_does_not_count() {
    let rule = Rule { count: 1, ..Rule::default() };
    let stands = |approvers: &[&str]| {
        standing(&rule.among(&people(approvers, &[])), &[yes("bob", 1)], &name("ann"), 2).may_start()
    };
    assert!(stands(&["ann", "bob"]));
    assert!(!stands(&["ann", "sue"]), "the role was taken from bob after he had approved");
    let named = Rule { by: [name("bob")].into(), ..rule.clone() }.among(&people(&["sue"], &[]));
    assert!(!named.knows(&name("bob")));
    assert_eq!(named.asked(), "bob (lacks the role approver)");
}

#[test]
fn roles_of_operators_are_asked_as_they_stand() {
    let role = |count| RoleRule { count, members: BTreeSet::new(), held: true };
    let rule = Rule {
        count: 2,
        by_roles: [("approver".to_owned(), BTreeSet::new())].into(),
        roles: [("host-admin".to_owned(), role(1))].into(),
        ..Rule::default()
    };
    assert_eq!(rule.asked(), "approver, host-admin", "a plan names roles, not who has them today");
    let now = rule.among(&people(&["ann", "bob", "sue"], &["sue"]));
    assert_eq!(now.asked(), "approver (ann, bob, sue), host-admin (sue)");
    let Standing::Pending(lacking) = standing(&now, &[yes("bob", 1), yes("ann", 1)], &name("ann"), 2) else {
        panic!()
    };
    assert_eq!(lacking.to_string(), "lacks 1 more and 1 more of host-admin");
    assert!(standing(&now, &[yes("bob", 1), yes("sue", 1)], &name("ann"), 2).may_start());
    let nobody = rule.among(&people(&["ann"], &[]));
    assert_eq!(nobody.asked(), "approver (ann), host-admin (nobody has that role)");
}
