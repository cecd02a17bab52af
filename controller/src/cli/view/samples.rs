//! One of each view, made from messages as the controller sends them: what `docs/cli-json.md` shows.

use longshore_proto::v1 as pb;

use super::{
    app::{AppDetail, AppList},
    context::{ContextChosen, ContextList, ContextRemoved, ContextRow},
    controller::Status,
    env::{Applied, Environment, EnvironmentList, EnvironmentRemoved},
    host::{Host, HostList, HostRemoved},
    log::LogLine,
    ping::Ping,
    release::{Published, ReleaseDetail, ReleaseList, Verified},
    samples_more as more, samples_rollout,
    secret::{Checked, Encrypted, Settings},
    token::{TokenList, TokenMade, TokenRevoked},
    trust::{AppMade, FleetRoot, Key, Keys, Outcome, Repository, TrustStatus},
    trust_waiting::{Dropped, TrustKeys, TrustedKey},
    withdrawn::{Heard, Live, Stopped, Withdrawn},
};
use crate::cli::{
    moment::Moment,
    output::{View, json},
    signing::Overtaken,
};

/// 2026-11-22T10:30:00Z
pub(super) const AT: i64 = 1_795_343_400_000;
pub(super) const DIGEST: &str = "9c1e5a5f0c7f6ae5c55a1f1f2f3c8f7be0f1fd5be3d1f8f0a5dfb6a3a8f4b1c2";

/// What the command prints, the schema, the document.
pub type Sample = (&'static str, &'static str, String);

pub fn all() -> Vec<Sample> {
    let mut samples = fleet();
    samples.extend(more::policies());
    samples.extend(releases());
    samples.extend(more::plans());
    samples.extend(samples_rollout::rollouts());
    samples.extend(secrets());
    samples.extend(more::access());
    samples.extend(trust());
    samples.extend(more::trust());
    samples.extend(crate::cli::demo::samples());
    samples
}

pub(in crate::cli) fn sample<V: View>(command: &'static str, view: &V) -> Sample {
    (command, V::SCHEMA, json(view))
}

fn secrets() -> Vec<Sample> {
    let row = |name: &str, secret, value: &str, declared: &str| pb::SettingRow {
        name: name.into(),
        secret,
        value: value.into(),
        declared: declared.into(),
    };
    let shown = pb::ShowSettingsReply {
        env: "production".into(),
        app: "shop".into(),
        host: "web-1".into(),
        snapshot: DIGEST.into(),
        rows: vec![
            row("workers", false, "8", "app"),
            row("db_password", true, &format!("sealed {DIGEST}"), "environment"),
        ],
    };
    let shut = pb::Recipient { host: HOST.into(), name: "web-3".into(), recipient: String::new() };
    let checked = pb::CheckSecretsReply {
        env: "production".into(),
        hosts: 5,
        secrets: vec![pb::CheckedSecret {
            name: "db_password".into(),
            app: String::new(),
            declared: "environment".into(),
            reference: format!("sealed {DIGEST}"),
            hosts: 5,
            shut: vec![shut],
            known: true,
            checkable: true,
        }],
    };
    let (env, hosts) = (Some("production".to_owned()), vec!["web-1".to_owned(), "web-2".to_owned()]);
    vec![
        sample("longshore env show --app", &Settings::from(shown)),
        sample(
            "longshore secret encrypt",
            &Encrypted::new("db_password".into(), env, None, DIGEST.into(), hosts),
        ),
        sample("longshore secret check", &Checked::from(checked)),
    ]
}

fn fleet() -> Vec<Sample> {
    let status = pb::StatusReply {
        version: "0.1.0".into(),
        time_ms: AT,
        revision: 4711,
        hosts: 5,
        connected: 5,
        active_rollouts: 1,
        dead_notices: 2,
        waiting_notices: 1,
        scheduled: vec![pb::Scheduled {
            rollout: "0193f3a0-0000-7000-8000-000000000001".into(),
            app: "shop".into(),
            version: "1.5.0".into(),
            env: "production".into(),
            by: "ada".into(),
            at_ms: AT,
        }],
        roots: vec![
            pb::Root {
                sha256: DIGEST.into(),
                expires_ms: AT,
                signs: true,
                hosts: 4,
                host_names: vec!["web-1".into()],
                operators: vec!["ada".into()],
                tokens: 0,
            },
            pb::Root {
                sha256: DIGEST.into(),
                expires_ms: AT,
                signs: false,
                hosts: 1,
                host_names: vec!["web-3".into()],
                operators: vec!["bob".into()],
                tokens: 1,
            },
        ],
    };
    let token = pb::CreateTokenReply {
        token: "lsj1.tk-7d21.…".into(),
        id: "tk-7d21".into(),
        expires_ms: AT,
        enroll_address: "deploy.example:7443".into(),
    };
    let row = pb::TokenRow {
        id: "tk-7d21".into(),
        uses_left: 1,
        expires_ms: AT,
        labels: [("env".into(), "prod".into())].into(),
        created_by: "ada".into(),
        name: "web-*".into(),
        networks: vec!["10.1.0.0/16".into()],
        ask: true,
    };
    let line = pb::HostLogLine {
        host: HOST.into(),
        name: "web-3".into(),
        line: Some(pb::LogLine {
            app: "shop".into(),
            generation: 65_537,
            source: "app".into(),
            stream: "stderr".into(),
            line: "listening".into(),
            time_ms: AT,
        }),
        error: String::new(),
    };
    let context = ContextRow { name: "prod".into(), address: "deploy.example:7440".into(), current: true };
    let running_out = vec![
        "shop: targets EXPIRES IN 6 d: new releases are refused after that: longshore trust rotate shop (whoever has the \
         organisation's key and a release key of shop)"
            .to_owned(),
    ];
    vec![
        sample("longshore status", &Status::new(status, "prod", "deploy.example:7440", 3, running_out)),
        sample(
            "longshore context add, use",
            &ContextChosen { name: "prod".into(), address: "deploy.example:7440".into(), current: true },
        ),
        sample("longshore context remove", &ContextRemoved { name: "prod".into() }),
        sample("longshore context list", &ContextList { contexts: vec![context] }),
        sample("longshore token create", &TokenMade::new(token, 1)),
        sample("longshore token list", &TokenList::from(pb::ListTokensReply { tokens: vec![row] })),
        sample("longshore token revoke", &TokenRevoked { id: "tk-7d21".into() }),
        sample("longshore host list", &HostList::from(pb::ListHostsReply { hosts: vec![host()] })),
        sample("longshore host show, label", &Host::from(host())),
        sample("longshore host remove", &HostRemoved { host: "web-3".into() }),
        sample("longshore host ping", &[ping(false), ping(true)].into_iter().collect::<Ping>()),
        sample("longshore logs (one document a line)", &LogLine::from(line)),
    ]
}

fn overtaken() -> Overtaken {
    let next = "longshore release sign shop@1.4.1".into();
    Overtaken { what: "lists 1.4.1 (0a1b2c3d)".into(), next }
}

fn waiting() -> pb::TrustWaiting {
    pb::TrustWaiting {
        id: "3f2a91c0d4e5".into(),
        what: "lists 1.4.2 (9c1e5a5f)".into(),
        command: "longshore release sign shop@1.4.2".into(),
        sentence: String::new(),
        root: None,
        list: Some(pb::TrustSignatures {
            takes: 2,
            have: vec![pb::TrustSigner { key: "171f36ed".into(), by: "ada".into() }],
            lacking: vec!["3f2a91c0".into()],
        }),
        overtaken: false,
        since_ms: AT,
    }
}

fn trust() -> Vec<Sample> {
    let root = FleetRoot {
        root_sha256: DIGEST.into(),
        created: true,
        keys: "/home/ada/.config/longshore/keys/prod".into(),
    };
    let made = AppMade {
        app: "shop".into(),
        public_key: DIGEST.into(),
        key_id: "3f2a91c0".into(),
        threshold: 1,
        keys: 1,
        waiting: None,
    };
    let key =
        Key { name: "org".into(), id: "171f36ed".into(), public_key: DIGEST.into(), held_by: "file".into() };
    let keys = Keys { folder: "/home/ada/.config/longshore/keys/prod".into(), keys: vec![key] };
    let signed = Outcome {
        what: "shop@1.4.2 (0a1b2c3d)".into(),
        before: false,
        waiting: None,
        overtaken: vec![overtaken()],
    };
    let repository = Repository {
        app: "shop".into(),
        root_version: 1,
        list_version: 12,
        releases: 11,
        min_seq: 3,
        takes: "1 of 1".into(),
        root_expires_at: Moment(AT),
        list_expires_at: Moment(AT),
        fresh_until: Moment(AT),
        pending: true,
        waiting: vec![waiting().into()],
        problem: None,
    };
    let dropped = pb::DropTrustReply { dropped: vec![waiting()] };
    let trusted = TrustedKey {
        app: "shop".into(),
        id: "171f36ed".into(),
        public_key: DIGEST.into(),
        takes: "2 of 2".into(),
        here: Some("shop".into()),
    };
    let status = TrustStatus::of(vec![repository], vec![], Moment(AT - 20 * longshore_common::trust::DAY_MS));
    vec![
        sample("longshore init, trust pin", &root),
        sample("longshore app create", &made),
        sample("longshore key create, list", &keys),
        sample("longshore release sign, trust rotate", &signed),
        sample("longshore trust status, refresh", &status),
        sample("longshore trust keys", &TrustKeys { keys: vec![trusted] }),
        sample("longshore trust drop", &Dropped::new("shop".into(), dropped)),
    ]
}

/// A load balancer.
pub(super) const BALANCER: &str = "7d1f5e2a-8f0a-4a44-9d0c-0c1fb2a7b222";
pub(super) const HOST: &str = "5f0c3c1e-8f0a-4a44-9d0c-0c1fb2a7a111";

fn app_state() -> pb::AppState {
    pb::AppState {
        app: "shop".into(),
        generation: 65_537,
        current_slot: "1.4.2-0a1b2c3d".into(),
        release: DIGEST.into(),
        version: "1.4.2".into(),
        running: true,
        slots: vec!["1.4.0-5e6f7a8b".into(), "1.4.1-99aabbcc".into(), "1.4.2-0a1b2c3d".into()],
        failed_slots: vec!["1.4.0-5e6f7a8b".into()],
        verdict: "healthy".into(),
        local_by: "ann".into(),
        local_ms: AT,
        sides: more::sides(),
    }
}

fn host() -> pb::Host {
    pb::Host {
        id: HOST.into(),
        name: "web-3".into(),
        labels: [("env".into(), "prod".into())].into(),
        connected: true,
        last_seen_ms: AT,
        unheard_since_ms: 0,
        agent_version: "0.1.0".into(),
        address: "10.0.0.13:40112".into(),
        facts: Some(pb::Facts {
            os: "debian 12".into(),
            kernel: "6.1.0".into(),
            arch: "x86_64".into(),
            cpus: 2,
            memory_bytes: 4_000_000_000,
            disk_free_bytes: 20_000_000_000,
            disk_total_bytes: 40_000_000_000,
            addresses: vec!["10.0.0.13".into()],
            driver: "systemd".into(),
            trust: Some(pb::TrustFacts {
                state: "signed".into(),
                root_sha256: "77ab".repeat(16),
                verified_ms: AT,
                ..pb::TrustFacts::default()
            }),
        }),
        hold: Some(pb::HoldState { held: true, reason: "disk swap".into(), by: "root".into(), since_ms: AT }),
        apps: vec![app_state()],
        directs: vec![],
        told: vec![],
        enrolled_ms: AT,
        certificate_expires_ms: AT,
        key: DIGEST.into(),
        barred: Some(pb::Barred {
            kind: "cloned".into(),
            reason: "connected twice with one key (10.0.0.13:40112, 10.0.0.14:40300): a cloned image?".into(),
            since_ms: AT,
        }),
        drained: Some(pb::Drained {
            by: "ada".into(),
            reason: "disk swap".into(),
            since_ms: AT,
            stop_ms: AT,
            waits: true,
        }),
        rejoining: Some(pb::Rejoining { by: "ada".into(), since_ms: AT, until_ms: AT }),
        unbrought: vec![more::unbrought()],
        unwell: vec![more::unwell()],
        traffic: vec![more::traffic()],
    }
}

fn ping(silent: bool) -> pb::PingReply {
    pb::PingReply {
        host: HOST.into(),
        name: "web-3".into(),
        round_trip_us: 812,
        silent,
        error: String::new(),
        clock_offset_ms: -4,
        apps: if silent { vec![] } else { vec![app_state()] },
    }
}

fn release() -> pb::Release {
    pb::Release {
        app: "shop".into(),
        version: "1.4.2".into(),
        digest: DIGEST.into(),
        published_ms: AT,
        published_by: "ada".into(),
        files: 14,
        bytes: 24_100_000,
        wire_bytes: 6_100_000,
        withdrawn: true,
        withdrawn_reason: "loses orders".into(),
        created: true,
        signing: Some(pb::ReleaseSigning {
            state: "delisting".into(),
            have: 1,
            takes: 2,
            lacking: vec!["3f2a91c0".into()],
            next: "longshore release withdraw shop@1.4.2 --reason 'second signature'".into(),
            reason: String::new(),
        }),
    }
}

fn releases() -> Vec<Sample> {
    let detail = pb::ShowReleaseReply {
        release: Some(release()),
        manifest: br#"{"schema":"longshore.release/1"}"#.to_vec().into(),
        live: vec![pb::ReleaseOnHosts { env: "production".into(), hosts: 5 }],
    };
    let published = Published {
        release: release().into(),
        created: true,
        new_blobs: 3,
        new_bytes: 2_100,
        took_ms: 840,
        signed: Some("signed".into()),
        waiting: None,
        overtaken: vec![],
    };
    let verified = pb::VerifyReply { blobs: 14, bytes: 24_100_000, damaged: vec![] };
    let env = pb::Environment {
        name: "production".into(),
        selector: "env=prod".into(),
        file: "[environment]\n…".into(),
        live: vec![pb::LiveRelease {
            withdrawn: String::new(),
            lacking: vec!["web-9".into()],
            unbrought: vec![more::unbrought()],
            app: "shop".into(),
            version: "1.4.2".into(),
            digest: DIGEST.into(),
            since_ms: AT,
        }],
        hosts: 5,
    };
    let sound = pb::Release { withdrawn: false, withdrawn_reason: String::new(), ..release() };
    let apps = AppList::new(
        pb::ListReleasesReply { releases: vec![sound] },
        pb::ListEnvironmentsReply { environments: vec![env.clone()] },
    );
    let app = AppDetail::new(apps.apps[0].clone(), pb::ListHostsReply { hosts: vec![host()] });
    let runner = "gate smoke: runs its test on runner-1, and no host of that name is enrolled; until one is, plans fail the \
                  precondition \"runner\", which nobody may override";
    let applied = Applied { environment: env.clone().into(), changed: true, warnings: vec![runner.into()] };
    let withdrawn = Withdrawn {
        release: release().into(),
        waiting: None,
        overtaken: vec![overtaken()],
        heard: Some(Heard { hosts: 4, behind: vec!["web-5".into()] }),
        stopped: vec![Stopped {
            rollout: "01a1a9f2-7c3e-7d11-8f0a-0c1fb2a7a111".into(),
            env: "staging".into(),
        }],
        live: vec![Live { env: "production".into(), hosts: 3 }],
    };
    vec![
        sample("longshore app list", &apps),
        sample("longshore app show", &app),
        sample("longshore release publish", &published),
        sample(
            "longshore release list",
            &ReleaseList::from(pb::ListReleasesReply { releases: vec![release()] }),
        ),
        sample("longshore release show", &ReleaseDetail::new(detail).expect("it has a release")),
        sample("longshore release verify", &Verified::new("shop@1.4.2".into(), verified)),
        sample("longshore release withdraw", &withdrawn),
        sample("longshore env apply", &applied),
        sample("longshore env remove", &EnvironmentRemoved { environment: "production".into() }),
        sample(
            "longshore env list",
            &EnvironmentList::from(pb::ListEnvironmentsReply { environments: vec![env.clone()] }),
        ),
        sample("longshore env show", &Environment::from(env)),
    ]
}
