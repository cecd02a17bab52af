//! More of them: operators, the audit log, and what environments demand.

use longshore_common::{
    digest::ReleaseDigest,
    trust::{DAY_MS, FLEET, author},
};
use longshore_proto::v1 as pb;

use super::{
    access::{Damaged, Entries, Entry, LoggedIn, User, UserList, UserMade, UserRemoved, Verdict, Witnesses},
    approval::{Approval, ApprovalList},
    export::Exported,
    fleet_word::{FleetSays, Heard},
    notice::NoticeList,
    plan::{PlanList, PlanView},
    policy::{Calendar, Frozen, Locked, Unlocked},
    proposal::{Proposal, ProposalList},
    samples::{AT, BALANCER, DIGEST, Sample, sample},
    trust_check::TrustCheck,
};
use crate::audit::{Broken, Chained};

pub(super) fn policies() -> Vec<Sample> {
    let instant = |local: &str| Some(pb::Instant { ms: AT, local: local.into() });
    let calendar = || pb::Calendar {
        env: "production".into(),
        zone: "Europe/Berlin".into(),
        at: instant("Sun 2026-11-22 11:30 CET"),
        open: false,
        reasons: vec!["outside the window nights (mon-thu 22:00 to 04:00)".into()],
        changes: instant("Mon 2026-11-23 22:00 CET"),
        openings: vec![pb::Opening {
            from: instant("Mon 2026-11-23 22:00 CET"),
            until: instant("Tue 2026-11-24 04:00 CET"),
            windows: vec!["nights".into()],
        }],
        windows: vec![pb::CalendarRule {
            name: "nights".into(),
            times: "mon-thu 22:00 to 04:00".into(),
            ..pb::CalendarRule::default()
        }],
        freezes: vec![],
        when_closed: "hold".into(),
        rollback: true,
        locks: vec![lock_row()],
    };
    let notice = pb::NoticeRow {
        id: "0193f3a0-0000-7000-8000-000000000009".into(),
        kind: "failed".into(),
        env: "production".into(),
        teller: "team chat".into(),
        address: "https://chat.example".into(),
        subject: "shop@1.4.2 to production has failed".into(),
        state: "waiting".into(),
        attempts: 1,
        error: "chat.example:443 answered 503".into(),
        made_ms: AT,
        next_ms: AT,
    };
    vec![
        sample("longshore env calendar", &Calendar::from(calendar())),
        sample("longshore env freeze, unfreeze", &Frozen { frozen: true, calendar: calendar().into() }),
        sample("longshore env lock", &Locked(lock_row().into())),
        sample("longshore env unlock", &Unlocked(lock_row().into())),
        sample("longshore rollout approve", &Approval::from(approval())),
        sample(
            "longshore rollout approvals",
            &ApprovalList::from(pb::ListApprovalsReply {
                plans: vec![approval()],
                left_out: [("denied".to_owned(), 1)].into(),
            }),
        ),
        sample(
            "longshore notify list, retry, test",
            &NoticeList::from(pb::ListNoticesReply { notices: vec![notice] }),
        ),
    ]
}

fn lock_row() -> pb::LockRow {
    pb::LockRow {
        env: "production".into(),
        app: "shop".into(),
        by: "ada".into(),
        reason: "moving the database".into(),
        since_ms: AT,
    }
}

pub(super) fn trust() -> Vec<Sample> {
    let mut catalog = author::empty_catalog(FLEET);
    catalog.version = 4;
    catalog.frozen = Some("release key stolen, see #812".into());
    catalog.revoked = [(ReleaseDigest([0x9c; 32]), "built on a stolen machine".to_owned())].into();
    let heard = Heard { hosts: 18, behind: vec!["web-3".into()] };
    let answer = pb::TrustAnswer {
        facts: Some(pb::TrustFacts {
            state: "signed".into(),
            root_sha256: DIGEST.into(),
            verified_ms: AT - 2 * DAY_MS,
            breaks: vec![
                "2026-11-20 08:00Z by ann (uid 0): shop@1.4.2 deployed by documents that had expired".into(),
            ],
            expired: vec![
                "targets.json of shop expired at 2026-11-20T09:26Z; renew it: longshore trust rotate shop (whoever has \
                 the organisation's key and a release key of shop)"
                    .into(),
            ],
            ..Default::default()
        }),
        repositories: vec![pb::VerifiedRepository {
            app: "shop".into(),
            root_version: 1,
            list_version: 12,
            releases: 11,
            floor: 3,
            verified_ms: AT - 2 * DAY_MS,
            expires_ms: AT,
            ..pb::VerifiedRepository::default()
        }],
        time_ms: AT,
    };
    let check = pb::CheckTrustReply {
        host: "0193f3a0-0000-4000-8000-000000000003".into(),
        name: "web-3".into(),
        answer: Some(answer),
        ..pb::CheckTrustReply::default()
    };
    let path = "shop-1.4.2.lsb".to_owned();
    vec![
        sample(
            "longshore fleet status, freeze, unfreeze, revoke, unrevoke",
            &FleetSays::new(&catalog, false, None, heard),
        ),
        sample("longshore trust check", &TrustCheck::new(vec![check], Some(4), Some([0x77; 32]), None)),
        sample(
            "longshore release export",
            &Exported::new("shop@1.4.2".into(), DIGEST.into(), path, 6_100_000, Some(true), Some(AT)),
        ),
    ]
}

pub(super) fn access() -> Vec<Sample> {
    let bob = pb::User {
        name: "bob".into(),
        grants: vec!["deployer:shop@staging".into(), "viewer".into()],
        created_ms: AT,
        created_by: "ada".into(),
        keys: vec![pb::UserKey { key: DIGEST.into(), expires_ms: AT }],
        ..Default::default()
    };
    let locked = pb::User {
        locked: true,
        locked_by: "ada".into(),
        locked_reason: "laptop stolen".into(),
        locked_ms: AT,
        ..bob.clone()
    };
    let line = format!(
        r#"{{"i":41,"at_ms":{AT},"prev":"{DIGEST}","kind":"allowed","actor":"bob","key":"9c1e5a5f","method":"Rollouts/Start","target":"shop@1.4.2 to staging: "}}"#
    );
    let entry = || Entry::new(Chained::parse(&line).expect("a line of the log"));
    let proposal = || pb::Proposal {
        id: "3f2a91c0d4e5".into(),
        method: "Access/RemoveUser".into(),
        target: "operator bob".into(),
        by: "ada".into(),
        at_ms: AT,
        until_ms: AT + 3_600_000,
        confirmed_by: "sue".into(),
    };
    let (mut done, holders) = (entry(), vec!["web-1".to_owned(), "web-2".to_owned()]);
    done.ended(None, "");
    let witnesses = Witnesses { holders, checkpoints: 12, ..Witnesses::default() };
    let broken = Broken { index: 17, why: "is missing: the log goes on with entry 18".into() };
    vec![
        sample("`longshore whoami`, `user grant|revoke|lock|unlock`", &User::from(locked)),
        sample("`longshore user list`", &UserList::from(pb::ListUsersReply { users: vec![bob.clone()] })),
        sample("`longshore user add`", &UserMade::new(bob, std::path::Path::new("./bob"), AT)),
        sample("`longshore user remove`", &UserRemoved { name: "bob".into() }),
        sample(
            "`longshore proposal list`",
            &ProposalList::from(pb::ProposalsReply { proposals: vec![proposal()] }),
        ),
        sample("`longshore proposal confirm`", &Proposal::from(proposal())),
        sample("`longshore login`", &LoggedIn::new("prod", AT)),
        sample("`longshore audit list`", &Entries { entries: vec![done], damaged: vec![17] }),
        sample("`longshore audit list -f`, one a line", &entry()),
        sample("`longshore audit list -f`, in the place of what cannot be read", &Damaged { damaged: 17 }),
        sample("`longshore audit verify`", &Verdict::new(Err(broken), witnesses, false)),
    ]
}

pub(super) fn plans() -> Vec<Sample> {
    let fleet = "web-1@east web-2@west:full web-3@west:silent | canary=1 spread=zone canary_bake=60s traffic.director=haproxy \
         traffic.backend=shop traffic.drain=30s traffic.hold=60s traffic.steps=10+50 balancers= | disk=500";
    let mut world = crate::plan::tests::setup::world(fleet);
    world.made_ms = AT;
    let balancer = (BALANCER.parse().expect("an id"), "lb-1".parse().expect("a name"));
    world.behind = Some(crate::rollout::Behind { balancers: vec![balancer], side: None });
    let plan = crate::plan::plan(&world);
    let row = pb::PlanRow {
        digest: plan.digest.hex(),
        app: "shop".into(),
        version: "2".into(),
        env: "prod".into(),
        made_ms: AT,
        made_by: "ada".into(),
        hosts: 3,
        waves: 2,
        failed: vec!["disk".into()],
        rollout: String::new(),
        approval: "pending".into(),
        withdrawn: String::new(),
    };
    vec![
        sample(
            "longshore plan, plan show",
            &PlanView { approval: Some(approval().into()), ..PlanView::of(plan) },
        ),
        sample("longshore plan list", &PlanList::from(pb::ListPlansReply { plans: vec![row] })),
    ]
}

/// A plan that one of two has approved.
pub(super) fn approval() -> pb::ApprovalRow {
    pb::ApprovalRow {
        plan: DIGEST.into(),
        app: "shop".into(),
        version: "1.4.2".into(),
        env: "production".into(),
        author: "ada".into(),
        asked_ms: AT,
        state: "pending".into(),
        lacking: "lacks 1 more of sre".into(),
        until_ms: 0,
        asked: "bob, at least 1 of sre (sam, sue)".into(),
        words: vec![pb::ApprovalWord {
            by: "bob".into(),
            answer: "approved".into(),
            reason: String::new(),
            at_ms: AT,
        }],
        stale: String::new(),
        unchanged: false,
        withdrawn: String::new(),
    }
}

pub(super) fn unbrought() -> pb::Unbrought {
    pb::Unbrought {
        env: "production".into(),
        app: "shop".into(),
        host: "web-9".into(),
        why: "LS-K01 secret db cannot be opened: it was not encrypted for the key of web-9".into(),
        since_ms: AT,
    }
}

pub(super) fn traffic() -> pb::TrafficNote {
    pb::TrafficNote {
        env: "production".into(),
        app: "shop".into(),
        note: "its labels are not those of production: balancers send it nothing from now on".into(),
    }
}

pub(super) fn unwell() -> pb::FoundUnwell {
    pb::FoundUnwell {
        app: "shop".into(),
        why: "LS-B01 it was healthy and is no more: http answered 503".into(),
        rollout: "019ab0c1-2345-7000-8000-000000000000".into(),
        since_ms: AT,
    }
}

pub(super) fn sides() -> Vec<pb::SideState> {
    let side = |side: &str, slot: &str, share, warm_until_ms| pb::SideState {
        side: side.into(),
        slot: slot.into(),
        up: true,
        share: Some(share),
        main_process: format!("longshore-shop-{side}.service"),
        warm_until_ms,
    };
    vec![side("blue", "1.4.1-99aabbcc", 0, AT), side("green", "1.4.2-0a1b2c3d", 100, 0)]
}
