//! The gate's smaller promises: what counts as news, what is told, what an admin may say.

use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use longshore_common::{digest::hex, ids::EnvName};

use super::*;
use crate::trust::{Break, Pin, Policy};

fn policy(host: &Host, text: &str) {
    let path = host.dir.path().join("etc/longshore/policy.toml");
    durable::create_dir_durable(path.parent().unwrap(), 0o755).unwrap();
    durable::write_atomic(&path, text.as_bytes(), 0o644).unwrap();
}

fn pins(host: &Host) -> PinFile {
    PinFile::within(&host.dir.path().join("var/lib/longshore/identity"))
}

#[test]
fn what_the_policy_wants_pinned_is_pinned_or_nothing_runs() {
    let host = Host::new();
    let pinned = host.gate.pinned().unwrap().unwrap();
    policy(&host, &format!("root_sha256 = \"{}\"\n", hex(&pinned)));
    assert_eq!(host.gate.pinned().unwrap(), Some(pinned));
    policy(&host, &format!("root_sha256 = \"{}\"\n", hex(&[7; 32])));
    let refusal = host.gate.pinned().unwrap_err();
    assert!(refusal.code == Code::P01 && refusal.message.contains("0707070707070707"), "{refusal}");
    // A host that pins nothing by itself takes the policy's word.
    let bare = tempfile::tempdir().unwrap();
    let gate = Gate::new(&Config::new(bare.path().to_owned(), vec![]));
    let path = bare.path().join("etc/longshore/policy.toml");
    durable::create_dir_durable(path.parent().unwrap(), 0o755).unwrap();
    durable::write_atomic(&path, format!("root_sha256 = \"{}\"\n", hex(&[7; 32])).as_bytes(), 0o644).unwrap();
    assert_eq!(gate.pinned().unwrap(), Some([7; 32]));
}

#[test]
fn the_same_again_is_written_once_an_hour() {
    let host = Host::new();
    let generation = || {
        let link = host.dir.path().join("var/lib/longshore/trust/shop/current");
        std::fs::read_link(link).unwrap().display().to_string()
    };
    let same = host.held.offer(0);
    let first = generation();
    for (wait, written) in [(0, false), (3_600_000, false), (1, true)] {
        host.clock.advance(Duration::from_millis(wait));
        host.gate.take("shop", &same).unwrap();
        assert_eq!(generation() != first, written, "after {wait} ms more");
    }
    let facts = host.gate.facts();
    assert_eq!(facts.verified_ms, NOW, "the fleet's own was verified longest ago");
    assert_eq!(facts.root_sha256, hex(&host.gate.pinned().unwrap().unwrap()));
    assert_eq!((host.gate.root_version("shop").unwrap(), host.gate.root_version("other").unwrap()), (1, 0));
    let kept: Vec<String> = host.gate.repositories().unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(kept, [FLEET, "shop"]);
}

#[test]
fn a_fleet_that_is_frozen_admits_nothing_new() {
    let host = Host::new();
    let fleet = host.gate.held(FLEET).unwrap().unwrap();
    let frozen =
        Catalog { version: 2, frozen: Some("stolen\u{1b}[2J".to_owned()), ..author::empty_catalog(FLEET) };
    let list = author::sign(&author::targets(&frozen, NOW), &key(1)).unwrap();
    host.gate.take(FLEET, &author::freshen(Some(&fleet), vec![], list, &key(9), NOW).unwrap()).unwrap();
    let refusal = host.admit(&release("1.0", "", "")).unwrap_err();
    assert_eq!(refusal.code, Code::P01);
    assert!(refusal.message.contains("the fleet is frozen: stolen\\x1b[2J."), "{refusal}");
}

#[test]
fn apps_environments_and_sizes_are_allowed_by_the_policy() {
    let host = Host::new();
    let named = |policy_text: &str| {
        policy(&host, policy_text);
        let read = Policy::load(&host.dir.path().join("etc/longshore/policy.toml")).unwrap();
        let env: EnvName = "production".parse().unwrap();
        read.allow(&app(), &env).map_err(|error| error.message)
    };
    named("apps = [\"web\", \"shop\"]\nenvironments = [\"production\"]\n").unwrap();
    assert!(named("apps = [\"web\"]\n").unwrap_err().contains("allow app \"shop\" (allowed: web)"));
    assert!(named("environments = []\n").unwrap_err().contains("environment \"production\" (allowed: none)"));
    let user = |user: &str| release("1.0", "", &format!("user = \"{user}\"\n"));
    policy(&host, "max_artifact = 10\nallow_root_apps = [\"shop\"]\n");
    host.gate.allow_manifest(&user("root")).unwrap();
    host.gate.allow_manifest(&user("anybody")).unwrap();
    // Whoever runs as the agent has the host's key, and the helper listens to it.
    for ours in ["longshore-agent", "longshore-controller"] {
        let refusal = host.gate.allow_manifest(&user(ours)).unwrap_err();
        assert_eq!(refusal.code, Code::P01);
        assert!(refusal.message.contains("as which Longshore itself runs"), "{refusal}");
    }
    policy(&host, "run_as = [\"longshore-agent\"]\n");
    host.gate.allow_manifest(&user("longshore-agent")).unwrap();
    policy(&host, "max_artifact = 9\n");
    let refusal = host.gate.allow_manifest(&user("web")).unwrap_err();
    assert!(refusal.message.contains("at most 9 bytes"), "{refusal}");
    let refusal = host.gate.allow_manifest(&user("root")).unwrap_err();
    assert!(refusal.message.contains("running as root"), "{refusal}");
    // Nobody named: the agent's own user.
    policy(&host, "run_as = [\"web\"]\n");
    let own = host.gate.allow_manifest(&release("1.0", "", ""));
    assert_eq!(own.is_err(), rustix::process::geteuid().is_root(), "{own:?}");
}

#[test]
fn a_policy_that_cannot_be_read_allows_nothing() {
    let host = Host::new();
    let path = host.dir.path().join("etc/longshore/policy.toml");
    durable::create_dir_durable(&path, 0o755).unwrap();
    let refusal = Policy::load(&path).unwrap_err();
    assert!(refusal.code == Code::P01 && refusal.message.contains("nothing new is run"), "{refusal}");
    assert_eq!(Policy::load(Path::new("/nowhere/policy.toml")).unwrap(), Policy::default());
    // Nor does one that is no file: nobody waits for it, and it is not as if there were none.
    let at = |name: &str| host.dir.path().join(name);
    rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), 0o600.into()).unwrap();
    std::os::unix::fs::symlink("nowhere", at("lost")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", at("endless")).unwrap();
    durable::write_atomic(&at("large"), &[b'#'; 65537], 0o600).unwrap();
    for (name, says) in [
        ("pipe", "it is a FIFO"),
        ("lost", "it is a link to nowhere"),
        ("endless", "it is a device"),
        ("large", "at most 65536 are read"),
    ] {
        let refusal = Policy::load(&at(name)).unwrap_err();
        assert!(refusal.code == Code::P01 && refusal.message.contains(says), "{name}: {refusal}");
    }
}

#[test]
fn trust_is_recovered_from_the_generation_before_and_only_where_it_is_broken() {
    let host = Host::new();
    let refusal = host.gate.recover("shop", "ada").unwrap_err();
    assert!(refusal.code == Code::R01 && refusal.message.contains("is whole"), "{refusal}");
    let refusal = host.gate.recover("shpo", "ada").unwrap_err();
    assert!(refusal.code == Code::N01 && refusal.message.contains("nothing of shpo was ever"), "{refusal}");
    let newer = Catalog { version: 2, ..host.catalog.clone() };
    host.gate.take("shop", &host.offered(&newer, 2)).unwrap();
    let state = host.dir.path().join("var/lib/longshore/trust/shop");
    assert_eq!(host.gate.facts().damaged, [""; 0]);
    std::fs::remove_file(state.join("gen-2/targets.json")).unwrap();
    assert_eq!(host.gate.facts().damaged, ["shop"]);
    let done = host.gate.recover("shop", "ada").unwrap();
    assert!(done.contains("put back to generation 1"), "{done}");
    for generation in ["gen-1", "gen-2"] {
        std::fs::remove_dir_all(state.join(generation)).unwrap();
    }
    let done = host.gate.recover("shop", "bob").unwrap();
    assert!(done.contains("begun anew from the pinned root"), "{done}");
    assert_eq!(host.gate.root_version("shop").unwrap(), 0);
    let breaks = host.gate.facts().breaks;
    assert!(
        breaks.len() == 2 && breaks[1].starts_with("2027-01-15 08:00Z by bob: trust state of shop"),
        "{breaks:?}"
    );
}

/// Whatever ends it in between: that somebody set out to is told.
#[test]
fn what_is_broken_is_noted_before_it_is_done() {
    let host = Host::new();
    let state = host.dir.path().join("var/lib/longshore/trust/shop");
    std::fs::remove_dir_all(&state).unwrap();
    std::fs::File::create(&state).unwrap();
    host.gate.recover("shop", "ada").unwrap_err();
    let breaks = host.gate.facts().breaks;
    assert!(breaks.len() == 1 && breaks[0].ends_with("trust state of shop begun anew from the pinned root"));
}

#[test]
fn the_first_and_the_last_breaks_are_remembered() {
    let host = Host::new();
    let file = pins(&host);
    for at_ms in 0..20 {
        file.note_break(Break { at_ms, what: "w".into(), by: "ada".into() }).unwrap();
    }
    let told: Vec<i64> = file.load().unwrap().breaks.iter().map(|broken| broken.at_ms).collect();
    let expected: Vec<i64> = std::iter::once(0).chain(5..20).collect();
    assert_eq!(told, expected);
    assert_eq!(host.gate.facts().breaks.len(), 16);
}

/// On a host that never enrolled, this is what makes the folder in which apps of other users will lie.
#[test]
fn apps_pass_through_the_folder_above_a_pin_and_not_into_its_own() {
    let bare = tempfile::tempdir().unwrap();
    let broken = Break { at_ms: 1, what: "w".into(), by: "ada".into() };
    let data = bare.path().join("var/lib/longshore");
    PinFile::within(&data.join("identity")).replace([7; 32], broken).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&data), mode(&data.join("identity"))), (0o755, 0o700));
}

#[test]
fn a_pin_of_another_version_or_that_cannot_be_read_is_damage_and_none_is_none() {
    let host = Host::new();
    let file = pins(&host);
    let pinned = file.load().unwrap();
    file.pin(pinned.root_sha256.unwrap()).unwrap();
    assert_eq!(file.load().unwrap(), pinned, "the same again changes nothing");
    let path = host.dir.path().join("var/lib/longshore/identity/trust.json");
    let text = std::fs::read_to_string(&path).unwrap().replace("agent.trust/1", "agent.trust/2");
    durable::write_atomic(&path, text.as_bytes(), 0o600).unwrap();
    let refusal = file.load().unwrap_err();
    assert!(refusal.code == Code::T01 && refusal.message.contains("of another version"), "{refusal}");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(file.load().unwrap(), Pin::default());
    // Nor is what is no file: nobody waits for a pipe, and no link is followed.
    let other = host.dir.path().join("other");
    durable::write_atomic(&other, text.replace("agent.trust/2", "agent.trust/1").as_bytes(), 0o600).unwrap();
    let damaged = |says: &str| {
        let refusal = file.load().unwrap_err();
        assert!(refusal.code == Code::T01 && refusal.message.contains(says), "{says}: {refusal}");
    };
    std::fs::create_dir(&path).unwrap();
    damaged("it is a folder");
    std::fs::remove_dir(&path).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, 0o600.into()).unwrap();
    damaged("it is a FIFO");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&other, &path).unwrap();
    damaged("it is a link");
}

#[test]
fn an_assignment_of_an_app_that_the_admin_does_not_allow_is_refused() {
    let host = Host::new();
    let assignment = crate::plan::tests::bench::run(1, "1.0");
    host.gate.allow(&assignment).unwrap();
    policy(&host, "environments = [\"staging\"]\n");
    let refusal = host.gate.allow(&assignment).unwrap_err();
    assert!(refusal.code == Code::P01 && refusal.message.contains("environment \"production\""), "{refusal}");
}

/// Each of them reads what is held, and writes what follows from it.
#[test]
fn the_gates_of_one_folder_take_turns() {
    let turn = |folder: &str| super::super::turn_of(Path::new(folder));
    assert!(Arc::ptr_eq(&turn("/one"), &turn("/one")));
    assert!(!Arc::ptr_eq(&turn("/one"), &turn("/other")));
}

#[test]
fn all_that_is_asked_of_a_host_about_its_trust_is_answered() {
    let host = Host::new();
    let answer = host.gate.answer();
    assert_eq!((answer.time_ms, answer.facts.unwrap().state.as_str()), (NOW, "signed"));
    let shop = &answer.repositories[1];
    assert_eq!((shop.app.as_str(), shop.releases, shop.problem.as_str()), ("shop", 2, ""));
    let list = host.dir.path().join("var/lib/longshore/trust/shop/gen-1/targets.json");
    std::fs::remove_file(list).unwrap();
    let answer = host.gate.answer();
    let shop = &answer.repositories[1];
    assert_eq!((shop.app.as_str(), shop.releases), ("shop", 0));
    assert!(shop.problem.contains("longshore-agent trust recover shop"), "{}", shop.problem);
}

/// A clock that was two hours ahead and is put right: the host says so and takes nothing new until its admin says that the
/// clock is right, which is recorded. What it has seen stays.
#[test]
fn of_a_clock_that_was_ahead_the_admin_says_so_and_nothing_else_goes_back() {
    let host = Host::new();
    let config = Config::new(host.dir.path().to_owned(), vec![]);
    let at = |now: Millis| Gate::with_clock(&config, Arc::new(ManualClock::at(now)));
    let (same, hour) = (host.held.offer(0), 3_600_000);
    host.clock.advance(Duration::from_secs(2 * 3600));
    host.gate.take("shop", &same).unwrap();

    let gate = at(NOW);
    let refused = gate.take("shop", &same).unwrap_err();
    let says = "LS-T04 shop was verified here last at 2027-01-15T10:00Z, 2 h ahead of this host's clock";
    assert!(refused.to_string().starts_with(says), "{refused}");
    assert!(refused.message.ends_with("longshore-agent trust recover shop"), "{refused}");
    let facts = gate.facts();
    assert_eq!(
        (facts.state.as_str(), facts.ahead, facts.problem),
        ("signed", vec!["shop".into()], refused.to_string())
    );

    let before = host.all();
    let behind = at(NOW - hour).recover("shop", "ann").unwrap_err();
    assert!(behind.code == Code::T04 && behind.message.contains("the clock is behind"), "{behind}");
    assert_eq!(
        host.all(),
        before,
        "the controller signed later than that: an admin cannot bring it back either"
    );

    gate.recover("shop", "ann").unwrap();
    let facts = gate.facts();
    assert_eq!((facts.ahead, facts.problem, facts.breaks.len()), (vec![], String::new(), 1));
    let told =
        "by ann: time of the last verification of shop set from 2027-01-15T10:00Z to 2027-01-15T08:00Z";
    assert!(facts.breaks[0].contains(told), "{}", facts.breaks[0]);
    let held = gate.held("shop").unwrap().unwrap();
    assert_eq!(Held { latest_ms: NOW, ..held }, host.held, "no version and no floor has changed");
    gate.take("shop", &same).unwrap();
    assert_eq!(gate.recover("shop", "ann").unwrap_err().code, Code::R01, "there is nothing more to mend");
}
