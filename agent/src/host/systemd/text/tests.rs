//! Units as text: what a manifest becomes, and what must never get into one.

use std::{collections::BTreeMap, path::Path, process::Command};

use longshore_common::{
    digest::IndexDigest,
    manifest::{Artifact, Driver, SCHEMA, Stop},
    time::Span,
};

use super::*;

fn manifest() -> Manifest {
    Manifest {
        schema: SCHEMA.into(),
        app: "shop".parse().unwrap(),
        version: "1.0+a".parse().unwrap(),
        owner: None,
        support: None,
        artifact: Artifact { index: IndexDigest([0; 32]), files: 0, bytes: 0 },
        service: Service {
            driver: Driver::Systemd,
            exec: vec!["./bin/shop".into()],
            user: Some("daemon".into()),
            env: BTreeMap::new(),
            sockets: vec![],
            stop: Stop { signal: "SIGINT".into(), grace: Span::secs(20) },
            sides: None,
            start_timeout: Span::secs(5),
        },
        requires: Default::default(),
        config: BTreeMap::new(),
        probes: vec![],
        hooks: Default::default(),
        tests: vec![],
        attestations: vec![],
    }
}

fn text_of(manifest: &Manifest) -> String {
    let layout = Layout::under(Path::new("/")).unwrap();
    service(&layout, manifest, Part::Whole).unwrap().text
}

/// Whatever the words hold, each directive stays one line and the program stays the program.
#[test]
fn hostile_words_stay_words() {
    let hostile = [
        "%n",
        "$HOME",
        "${HOME}",
        "a\"b",
        "back\\slash",
        "two\nlines\nUser=root",
        ";",
        "+x",
        "é\u{1b}[31m",
        "",
    ];
    let mut manifest = manifest();
    manifest.service.exec.extend(hostile.map(str::to_owned));
    let text = text_of(&manifest);
    assert_eq!(text.lines().filter(|line| line.starts_with("User=")).collect::<Vec<_>>(), ["User=daemon"]);
    assert_eq!(text.lines().filter(|line| line.starts_with("ExecStart=")).count(), 1);
    let exec = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let link = service(&Layout::under(Path::new("/")).unwrap(), &manifest, Part::Whole).unwrap().link;
    let exec = exec.replace(link.to_str().unwrap(), "LINK");
    let expected = r#""@LINK/bin/shop" "./bin/shop" "%%n" "$$HOME" "$${HOME}" "a\"b" "back\\slash" "two\nlines\nUser=root" ";" "+x" "é\x1b[31m" """#;
    assert_eq!(exec, expected);
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
}

#[test]
fn what_no_unit_can_say_is_refused() {
    type Spoil = fn(&mut Manifest);
    let rows: [(Spoil, &str); 5] = [
        (|m| m.service.user = None, "say service.user"),
        (|m| m.service.user = Some("a\nb".into()), "no plain word"),
        (|m| m.service.exec = vec![], "no program"),
        (|m| m.service.exec.push("a\0b".into()), "NUL"),
        (|m| m.service.stop.signal = "SIGTERM\nUser=root".into(), "no plain word"),
    ];
    let layout = Layout::under(Path::new("/")).unwrap();
    for (spoil, reason) in rows {
        let mut manifest = manifest();
        spoil(&mut manifest);
        let failure = service(&layout, &manifest, Part::Whole).err().unwrap();
        assert!(failure.message.contains(reason), "{}", failure.message);
    }
    let mut manifest = manifest();
    manifest.service.sockets = vec!["/run/a b".into()];
    assert!(socket(&manifest).is_err());
}

/// systemd itself reads the units without a complaint, where its tools are installed.
#[test]
fn systemd_understands_the_units() {
    let folder = tempfile::tempdir().unwrap();
    let mut manifest = manifest();
    manifest.service.exec = vec!["/bin/true".into(), "%n $x".into()];
    manifest.service.sockets = vec!["127.0.0.1:8080".into(), "[::1]:8080".into(), "/run/shop%.sock".into()];
    let units = [
        ("longshore-shop.service", text_of(&manifest).replace("WorkingDirectory=", "WorkingDirectory=-")),
        ("longshore-shop.socket", socket(&manifest).unwrap().unwrap()),
    ];
    for (name, text) in &units {
        longshore_common::durable::write_atomic(&folder.path().join(name), text.as_bytes(), 0o644).unwrap();
    }
    let verify = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(units.map(|(name, _)| folder.path().join(name)))
        .env("SYSTEMD_UNIT_PATH", format!("{}:/lib/systemd/system", folder.path().display()))
        .output();
    let Ok(verify) = verify else { return };
    let said = String::from_utf8_lossy(&verify.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("longshore-shop")).collect();
    assert!(ours.is_empty(), "{said}");
}

/// What the modes of files deny to everybody else, mounts have to deny to root.
#[test]
fn an_app_that_runs_as_root_is_kept_from_the_system_by_mounts() {
    let mut manifest = manifest();
    let is_kept =
        |text: &str| OF_ROOT.lines().map(|line| text.lines().any(|it| it == line)).collect::<Vec<_>>();
    assert_eq!(is_kept(&text_of(&manifest)), [false; 4]);
    manifest.service.user = Some("root".into());
    assert_eq!(is_kept(&text_of(&manifest)), [true; 4]);
}
