//! LS-V01: names of every kind, through every door that takes one.

use longshore_tests::run;

use crate::site::{ASK, Site, program_called};

const LONG: &str = match std::str::from_utf8(&[b'a'; 300]) {
    Ok(long) => long,
    Err(_) => panic!("ASCII is UTF-8"),
};
const BAD: [&str; 7] = [LONG, "ünï", "a b", "; rm -rf", "\u{1b}[31mred", "..", ""];

/// The words of a command, with `{}` where the name goes.
const DOORS: [&[&str]; 12] = [
    &["release", "list", "{}"],
    &["release", "show", "{}@1.0"],
    &["release", "withdraw", "shop@{}", "--reason", "x"],
    &["env", "show", "{}"],
    &["rollout", "start", "{}@1.0", "--to", "prod"],
    &["rollout", "start", "shop@{}", "--to", "prod"],
    &["rollout", "start", "shop@1.0", "--to", "{}"],
    &["rollout", "rollback", "{}", "--to", "prod"],
    &["rollout", "list", "--app", "{}"],
    &["rollout", "list", "--env", "{}"],
    &["logs", "{}"],
    &["release", "publish", "APP", "--version", "{}"],
];

#[test]
fn a_bad_name_is_refused_at_every_door_and_never_shown_raw() {
    let site = Site::raise();
    let before = site.snapshot();
    for door in DOORS {
        for name in BAD {
            let words = door.iter().map(|word| match *word {
                "APP" => site.text("app"),
                word => word.replace("{}", name),
            });
            let words: Vec<String> = words.collect();
            let output = site.longshore(&words);
            let said = output.everything();
            assert!(!said.contains('\u{1b}'), "a raw escape from {words:?}");
            // No name at all is what some commands take for "all of them".
            let all = name.is_empty() && door.iter().any(|word| ["list", "--app", "--env"].contains(word));
            assert_eq!(output.code, Some(if all { 0 } else { 2 }), "{words:?}: {output}");
            let by_grammar = name.is_empty() && said.contains("write APP@VERSION");
            assert!(all || by_grammar || said.contains("LS-V01"), "{words:?}: {output}");
        }
    }
    assert_eq!(site.snapshot(), before);
}

#[test]
fn bad_labels_host_names_and_rollouts_are_refused() {
    let site = Site::raise();
    let before = site.snapshot();
    for name in BAD {
        for (exit, words) in [
            (2, vec!["token", "create", "--unsigned", "--label", &format!("{name}é=x")]),
            (2, vec!["token", "create", "--unsigned", "--label", &format!("x={name}é")]),
            (2, vec!["host", "label", "no-such-host", &format!("{name}é=x")]),
            (2, vec!["host", "list", &format!("{name}é")]),
            (4, vec!["host", "show", name]),
            (4, vec!["host", "label", name, "a=b"]),
            (4, vec!["host", "remove", name]),
            (4, vec!["rollout", "show", name]),
            (4, vec!["rollout", "abort", name]),
            (2, vec!["context", "use", name]),
        ] {
            let output = site.longshore(&words);
            assert!(!output.everything().contains('\u{1b}'), "a raw escape from {words:?}");
            // A host that is not there and a label that cannot be: either may be said first.
            let either = words[..2] == ["host", "label"] && output.code == Some(4);
            assert!(output.code == Some(exit) || either, "{words:?}: {output}");
        }
        if name != "a b" && name != ".." {
            continue; // the host's own command line: two of them are enough
        }
        for words in [["logs", name], ["history", name], ["revert", name]] {
            let output = site.agent_at("host", words);
            assert_eq!(output.code, Some(2), "{words:?}: {output}");
            assert!(output.stderr.contains("LS-V01"), "{words:?}: {output}");
        }
    }
    assert_eq!(site.snapshot(), before);
}

#[test]
fn a_host_may_not_be_called_anything() {
    let site = Site::bare();
    let token = site.token(&[]);
    let file = site.write("token", &token);
    for name in BAD {
        let mut enroll = program_called("longshore-agent");
        enroll.args(["--root", &site.text("host"), "enroll", "--server", &format!("{}:7443", site.address)]);
        let output = run(enroll.args(["--token-file", &file, "--name", name]), ASK).unwrap();
        assert_eq!(output.code, Some(2), "{output}");
        assert!(output.stderr.contains("LS-V01") && !output.stderr.contains('\u{1b}'), "{output}");
        assert!(!site.path("host/var/lib/longshore/identity/cert.pem").exists());
    }
}
