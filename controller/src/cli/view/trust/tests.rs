//! What is warned of: what runs out, and what was lost.

use super::*;

#[test]
fn what_was_lost_is_not_taken_for_what_never_was() {
    let of = |apps: &[&str], pin: Option<[u8; 32]>| {
        let mut reply = pb::TrustStatusReply::default();
        for app in apps {
            let problem = "is there".to_owned();
            reply.repositories.push(pb::TrustRepository {
                app: (*app).to_owned(),
                root_sha256: vec![7; 32].into(),
                problem,
                ..Default::default()
            });
        }
        let seen = [FLEET.to_owned(), "shop".to_owned()];
        TrustStatus::new(reply, pin, &seen, Moment(0)).warnings
    };
    assert!(of(&[], None)[0].starts_with("nothing is signed"));
    assert_eq!(of(&[], Some([7; 32])), [LOST]);
    let shop = of(&[FLEET], Some([7; 32]));
    assert!(shop[0].starts_with("shop: was signed, and the controller has lost it"), "{shop:?}");
    assert_eq!(of(&[FLEET, "shop"], Some([7; 32])), ["fleet: is there", "shop: is there"]);
}

#[test]
fn what_has_no_documents_yet_runs_out_at_no_moment() {
    let begun = Repository::from(pb::TrustRepository { app: "till".into(), ..Default::default() });
    let told = serde_json::to_value(begun).unwrap();
    for date in ["root_expires_at", "list_expires_at", "fresh_until"] {
        assert!(told[date].is_null(), "{date}: {told}");
    }
}

#[test]
fn what_runs_out_is_told_thirty_fourteen_and_seven_days_ahead() {
    let repository = |days: i64| Repository {
        app: "shop".into(),
        root_version: 1,
        list_version: 1,
        releases: 1,
        min_seq: 0,
        takes: "1 of 1".into(),
        root_expires_at: Moment(700 * DAY_MS),
        list_expires_at: Moment(days * DAY_MS + 1000),
        fresh_until: Moment(7 * DAY_MS),
        pending: false,
        waiting: vec![],
        problem: None,
    };
    let told = |days| TrustStatus::of(vec![repository(days)], vec![], Moment(0));
    assert_eq!(told(31).warnings, Vec::<String>::new());
    for (days, level, says) in [
        (29, Level::Soon, "shop: targets expires in 29 d: longshore trust rotate shop"),
        (13, Level::Due, "shop: targets expires in 13 d: renew it now: longshore trust rotate shop"),
        (6, Level::Urgent, "shop: targets EXPIRES IN 6 d: new releases are refused after that"),
        (-3, Level::Expired, "shop: targets EXPIRED 2 d ago: new releases are refused"),
    ] {
        let status = told(days);
        assert_eq!(status.expiries.iter().map(|e| e.level).max_by_key(|l| *l as u8), Some(level));
        assert!(status.warnings[0].starts_with(says), "{:?}", status.warnings);
        assert_eq!(status.warnings.len(), 1);
    }
    let mut both = repository(-3);
    both.fresh_until = Moment(-DAY_MS);
    let both = TrustStatus::of(vec![both], vec![], Moment(0)).warnings;
    assert_eq!(both.len(), 1, "the controller could not say that it is current: {both:?}");
    assert!(both[0].contains("trust rotate shop (whoever has the organisation's key"), "{both:?}");
    let list = &told(29).expiries[1];
    assert_eq!((list.document.as_str(), list.seconds_left), ("targets", 29 * 86_400 + 1));
    assert_eq!(Level::of(Part::Timestamp, 4 * DAY_MS), Level::Urgent);
}
