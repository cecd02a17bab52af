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

/// What counts for everybody else does not for whoever starts it; a denial of theirs stops them too.
#[test]
fn whoever_starts_it_is_no_approver() {
    let rule = Rule { count: 1, expires: Some(Span::secs(10)), ..Rule::default() };
    let by_bob = |approvals: &[Approval]| standing_for(&rule, approvals, &name("ann"), &name("bob"), 9_000);
    let lacks_one = Standing::Pending(Lacking { count: 1, ..Lacking::default() });
    assert_eq!(by_bob(&[yes("bob", 1)]), lacks_one);
    assert_eq!(by_bob(&[yes("bob", 1), yes("cat", 2)]), Standing::Approved { until: Some(10_002) });
    assert!(standing_for(&rule, &[yes("bob", 1)], &name("ann"), &name("cat"), 9_000).may_start());
    assert!(standing_for(&rule, &[yes("bob", 1)], &name("ann"), &name("ann"), 9_000).may_start());
    let no = said("bob", 1, Answer::Denied);
    assert_eq!(by_bob(&[yes("cat", 2), no.clone()]), Standing::Denied(no));
    let good = |approvals: &[Approval], now| counts(&rule, approvals, &name("ann"), &name("bob"), now);
    assert!(good(&[yes("bob", 1)], 10_000) && !good(&[yes("bob", 1)], 10_001), "it has expired");
    assert!(!good(&[yes("bob", 1), said("bob", 1, Answer::Denied)], 2), "the later word counts");
    assert!(!counts(&rule, &[yes("ann", 1)], &name("ann"), &name("ann"), 2), "the author's never does");
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
    assert_eq!(rule.asked(), "bob, at least 1 of sre (sam, sue)");
    let stands = standing(&rule, &[yes("bob", 1), yes("eve", 1)], &name("ann"), 2);
    let Standing::Pending(lacking) = stands else { panic!("{stands:?}") };
    assert_eq!(lacking.to_string(), "lacks 1 more of sre; no longer counted: eve");
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
        ..People::default()
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
    let removed = standing(&rule.among(&people(&["ann", "sue"], &[])), &[yes("bob", 1)], &name("ann"), 2);
    let Standing::Pending(lacking) = removed else { panic!("{removed:?}") };
    assert_eq!(lacking.to_string(), "lacks 1 more; no longer counted: bob");
    let named = Rule { by: [name("bob")].into(), ..rule.clone() }.among(&people(&["sue"], &[]));
    assert!(!named.knows(&name("bob")));
    assert_eq!(named.asked(), "bob (lacks the role approver)");
}

/// Whoever gets the name of somebody who was removed has said nothing yet.
#[test]
fn an_approval_is_not_inherited_with_the_name() {
    let since = [(name("bob"), 5)].into();
    let people = People { since, ..people(&["ann", "bob"], &[]) };
    let rule = Rule { count: 1, ..Rule::default() }.among(&people);
    let Standing::Pending(lacking) = standing(&rule, &[yes("bob", 4)], &name("ann"), 6) else { panic!() };
    assert_eq!(lacking.to_string(), "lacks 1 more; no longer counted: bob");
    assert!(!counts(&rule, &[yes("bob", 4)], &name("ann"), &name("bob"), 6));
    assert!(!matches!(
        standing(&rule, &[said("bob", 4, Answer::Denied)], &name("ann"), 6),
        Standing::Denied(_)
    ));
    assert!(standing(&rule, &[yes("bob", 5)], &name("ann"), 6).may_start());
    let two = Rule { count: 2, ..rule };
    let both = standing(&two, &[yes("bob", 4), yes("bob", 5)], &name("ann"), 6);
    let Standing::Pending(lacking) = both else { panic!("{both:?}") };
    assert_eq!(lacking.to_string(), "lacks 1 more", "what bob said himself counts");
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
    assert_eq!(
        rule.asked(),
        "approver, at least 1 of host-admin",
        "a plan names roles, not who has them today"
    );
    let now = rule.among(&people(&["ann", "bob", "sue"], &["sue"]));
    assert_eq!(now.asked(), "approver (ann, bob, sue), at least 1 of host-admin (sue)");
    let Standing::Pending(lacking) = standing(&now, &[yes("bob", 1), yes("ann", 1)], &name("ann"), 2) else {
        panic!()
    };
    assert_eq!(lacking.to_string(), "lacks 1 more of host-admin");
    assert!(standing(&now, &[yes("bob", 1), yes("sue", 1)], &name("ann"), 2).may_start());
    let nobody = rule.among(&people(&["ann"], &[]));
    assert_eq!(nobody.asked(), "approver (ann), at least 1 of host-admin (nobody has that role)");
}

/// In one millisecond the later word counts, and an older one never takes back a newer.
#[test]
fn what_somebody_said_last_counts_however_it_is_kept() {
    let rule = Rule { count: 1, ..Rule::default() };
    let stands = |approvals: &[Approval]| standing(&rule, approvals, &name("ann"), 9).may_start();
    let no = |at| said("cat", at, Answer::Denied);
    assert!(!stands(&[yes("cat", 1), no(1)]) && stands(&[no(1), yes("cat", 1)]));
    assert!(!stands(&[no(5), yes("cat", 1)]) && stands(&[yes("cat", 5), no(1)]));
    // The word of the author, and of whoever is not asked, stops nothing.
    assert!(stands(&[yes("bob", 1), said("ann", 2, Answer::Denied)]));
}

#[test]
fn the_end_is_that_of_the_first_without_whom_it_is_not_enough() {
    let members: BTreeSet<OperatorName> = [name("sue")].into();
    let sre = RoleRule { count: 1, members, held: false };
    let rule = Rule {
        count: 1,
        by: [name("bob"), name("cat")].into(),
        roles: [("sre".to_owned(), sre)].into(),
        expires: Some(Span::secs(10)),
        ..Rule::default()
    };
    let until = |approvals: &[Approval]| match standing(&rule, approvals, &name("ann"), 8_000) {
        Standing::Approved { until } => until,
        other => panic!("{other:?}"),
    };
    assert_eq!(until(&[yes("sue", 1_000), yes("bob", 7_000)]), Some(11_000), "no other is of the role");
    assert_eq!(
        until(&[yes("bob", 1_000), yes("sue", 7_000)]),
        Some(17_000),
        "bob is one more than is needed"
    );
    let only_roles = Rule { count: 0, ..rule };
    assert!(!only_roles.asks_nobody());
    assert!(!standing(&only_roles, &[yes("bob", 1)], &name("ann"), 2).may_start());
}

#[test]
fn refusals_say_why() {
    let rule = Rule { count: 1, by: [name("bob")].into(), ..Rule::default() };
    let refused = |who: &str| admit(&rule, &name("ann"), &name(who)).unwrap_err().to_string();
    assert_eq!(refused("ann"), "whoever made the plan cannot approve it: ask another operator");
    assert_eq!(refused("eve"), "asked are: bob");
    assert_eq!(admit(&rule, &name("ann"), &name("bob")), Ok(()));
    let with_ann = Rule { by: [name("ann"), name("bob")].into(), ..rule.clone() };
    assert_eq!(admit(&with_ann, &name("ann"), &name("eve")).unwrap_err().to_string(), "asked are: bob");
    assert_eq!(rule.asked_of(&name("bob"), "the author"), "nobody but the author");
    assert_eq!(Refusal::NotNeeded.to_string(), "the environment asks for no approval: start the plan");
    let anybody = Rule { count: 1, ..Rule::default() };
    assert_eq!(anybody.asked(), "any approver but the author");
    assert!(anybody.knows(&name("eve")));
    for roles_alone in [
        Rule { by_roles: [("approver".to_owned(), [name("sue")].into())].into(), ..anybody.clone() },
        Rule {
            roles: [("sre".to_owned(), RoleRule { count: 1, members: [name("sue")].into(), held: true })]
                .into(),
            ..anybody
        },
    ] {
        assert!(roles_alone.knows(&name("sue")) && !roles_alone.knows(&name("eve")));
    }
    let both = Lacking {
        count: 2,
        roles: [("sre".to_owned(), 1)].into(),
        expired: vec![name("bob"), name("cat")],
        ..Lacking::default()
    };
    assert_eq!(both.to_string(), "lacks 2 more, 1 of them of sre; expired: bob, cat");
    let as_many = Lacking {
        count: 1,
        roles: [("dba".to_owned(), 1), ("sre".to_owned(), 1)].into(),
        ..Lacking::default()
    };
    assert_eq!(as_many.to_string(), "lacks 1 more of dba and 1 more of sre", "two are lacking, not three");
    let only_role = Lacking { count: 0, roles: [("sre".to_owned(), 1)].into(), ..Lacking::default() };
    assert_eq!(only_role.to_string(), "lacks 1 more of sre");
}
