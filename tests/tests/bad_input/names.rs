//! LS-V01: names of every kind, through every door that takes one.

use longshore_tests::run;

use crate::desk::Liar;
use crate::site::{ASK, Site, app_file, program_called};
use crate::{Answer, refused};

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

/// Names of units of ours, and of sides: at the author's, the key holder's, the publisher's and the operator's desk, and
/// on a host whose controller lies.
#[test]
fn an_app_may_not_take_the_place_of_a_unit_of_ours() {
    let mut site = Site::raise();
    let before = site.snapshot();
    for name in ["agent", "agent-single", "helper", "controller", "nginx", "shop-blue"] {
        site.write_app("1.1", "exec sleep 1000");
        site.write("app/longshore.toml", &app_file().replace("\"shop\"", &format!("\"{name}\"")));
        let (app, release) = (site.text("app"), format!("{name}@1.1"));
        let file = format!("{app}/longshore.toml");
        let says = "is reserved";
        for (code, words) in [
            ("", vec!["lint", &file]), // like a compiler: place and words
            ("LS-V01", vec!["app", "create", name]),
            ("LS-", vec!["release", "publish", &app, "--version", "1.1"]),
            ("LS-V01", vec!["rollout", "start", &release, "--to", "prod"]),
        ] {
            refused(&site, name, &Answer { exit: 2, code, says }, || site.longshore(&words));
        }
    }
    let mut liar = Liar::in_place_of(&mut site, 0);
    for name in ["agent", "helper", "shop-relay"] {
        let generation = liar.next_generation();
        liar.order(generation, b"anything", |assignment| assignment.app = name.into());
        let said = format!("app name \"{name}\" is reserved");
        site.agent.as_mut().unwrap().until_it_says(&said, ASK).unwrap();
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

/// A name comes before a selector; where neither means anybody, that is said and not passed over.
#[test]
fn a_host_is_pinged_by_its_name_or_by_a_selector() {
    let mut site = Site::bare();
    let nobody = site.longshore(["host", "ping"]).code_is(4).unwrap();
    assert!(nobody.stderr.contains("LS-N01 no host has enrolled yet"), "{nobody}");
    let token = site.token(&["--label", "role=web"]);
    site.enrol("host", &token).success().unwrap();
    site.start_agent();
    let listed = site.longshore(["host", "list", "-o", "json"]).success().unwrap();
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let field = |of: &str| listed["hosts"][0][of].as_str().unwrap().to_owned();
    let name = field("name");
    for hosts in [name.as_str(), &field("id"), "role=web", "role", "*"] {
        let said = site.longshore(["host", "ping", hosts]).success().unwrap();
        assert!(said.contains(&name), "{hosts}: {said}");
    }
    let wrong = site.longshore(["host", "ping", "no-such-host"]).code_is(4).unwrap();
    assert!(wrong.stderr.contains("LS-N01 no host has the name or id \"no-such-host\""), "{wrong}");
    assert!(wrong.stderr.contains("longshore host list"), "{wrong}");
}

#[test]
fn a_mistake_on_the_command_line_is_json_where_that_was_asked_for() {
    let site = Site::bare();
    let said = site.longshore(["rollout", "pause", "-o", "json"]).code_is(2).unwrap();
    let error: serde_json::Value = serde_json::from_str(&said.stderr).unwrap();
    assert_eq!((&error["code"], &error["exit"]), (&serde_json::Value::Null, &2.into()), "{said}");
    assert!(said.stdout.is_empty(), "{said}");
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
