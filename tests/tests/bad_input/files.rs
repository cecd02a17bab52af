//! LS-M01 and LS-A0x: files and folders that an operator hands over.

use std::fs;
use std::os::unix::fs::symlink;

use longshore_tests::run;

use crate::site::{ASK, Site, app_file, env_file, program_called};
use crate::{Answer, check, refused};

const USAGE: i32 = 2;
const FAILED: i32 = 1;

/// The code, words of the message, and what makes the folder so.
type Spoil = (&'static str, &'static str, fn(&Site));

/// Changes to a sound file, and what is said of them.
fn spoiled(sound: &str) -> [(String, &'static str); 6] {
    [
        (format!("{sound}\n[servise]\nexec = 1\n"), "unknown"),
        (sound.replacen("name = ", "nmae = ", 1), "did you mean"),
        (sound.replacen("name = ", "name = \"twice\"\nname = ", 1), "duplicate"),
        (format!("# {}\n{sound}", "x".repeat(70 << 10)), "at most"),
        (sound.replacen("name = \"", "name = \"\\u001b[31m", 1), "\\x1b[31m"),
        ("<html><body>404</body></html>".to_owned(), ":1:"),
    ]
}

#[test]
fn files_that_do_not_read_are_refused_with_their_place() {
    let site = Site::raise();
    site.write_app("1.1", "exec sleep 1000");
    for (text, says) in spoiled(&app_file()) {
        site.write("app/longshore.toml", &text);
        let answer =
            Answer { exit: USAGE, code: if says.starts_with("\\x") { "LS-" } else { "LS-M01" }, says };
        let dir = site.text("app");
        refused(&site, says, &answer, || site.longshore(["release", "publish", &dir, "--version", "1.1"]));
        let answer = Answer { code: "", ..answer }; // like a compiler: place and words, a line each
        refused(&site, says, &answer, || site.longshore(["lint", &format!("{dir}/longshore.toml")]));
    }
    for (text, says) in spoiled(&env_file("ahoy")) {
        let file = site.write("bad-env.toml", &text);
        let answer =
            Answer { exit: USAGE, code: if says.starts_with("\\x") { "LS-" } else { "LS-M01" }, says };
        refused(&site, says, &answer, || site.longshore(["env", "apply", &file]));
    }
    let shown = site.longshore(["env", "show", "prod"]).success().unwrap();
    assert!(shown.contains("ahoy"), "{shown}");
}

/// Two apps on the same hosts need two environments: no mistake, and named.
#[test]
fn lint_reads_standard_input_and_a_warning_is_no_failure() {
    let site = Site::bare();
    let environment = |name: &str| format!("[environment]\nname = \"{name}\"\nselector = \"role=web\"\n");
    let (one, two) =
        (site.write("one.toml", &environment("one")), site.write("two.toml", &environment("two")));
    let warned = site.longshore(["lint", &one, &two]).success().unwrap();
    assert!(warned.contains("two.toml:3:13: warning: environment two has the same hosts as one"), "{warned}");
    let given = |words: &[&str], file: &str| {
        let mut longshore = program_called("longshore");
        longshore.env("LONGSHORE_CONTEXT", site.text("ctl/operator")).env("HOME", site.path(""));
        longshore.args(words).stdin(fs::File::open(file).unwrap()).output().unwrap()
    };
    let sound = given(&["lint", "-"], &one);
    assert_eq!(String::from_utf8_lossy(&sound.stdout), "-: environment one, sound\n", "{sound:?}");
    assert!(given(&["env", "apply", "-"], &one).status.success());
    assert!(site.longshore(["env", "show", "one"]).success().unwrap().contains("role=web"));
}

#[test]
fn daemons_name_what_is_wrong_with_their_files() {
    let site = Site::bare();
    for (text, says) in
        [("listne = 1\n", "unknown"), ("data = 1\ndata = 2\n", "duplicate"), ("<html>", ":1:"), ("", "names")]
    {
        let config = site.write("bad-controller.toml", text);
        let output = run(program_called("longshore-controller").args(["serve", "--config", &config]), ASK);
        check(says, &Answer { exit: USAGE, code: "LS-M01", says }, &output.unwrap());
    }
    for (text, says) in [("controlers = []\n", "did you mean"), ("<html>", ":1:"), ("", "controllers")] {
        site.write("empty/etc/longshore/agent.toml", text);
        check(says, &Answer { exit: USAGE, code: "LS-M01", says }, &site.agent_at("empty", ["run"]));
    }
}

/// A CA that is there is never replaced; to say so is no failure, so that a machine may be set up by a script again.
#[test]
fn a_controller_is_made_once() {
    let site = Site::bare();
    let ca = || fs::read(site.path("ctl/identity/ca.pem")).unwrap();
    let (before, dir) = (ca(), site.text("ctl"));
    let again = ["init", "--dir", &dir, "--name", "elsewhere.example"];
    let output = run(program_called("longshore-controller").args(again), ASK).unwrap();
    check("again", &Answer { exit: 6, code: "", says: "exists already; nothing was changed" }, &output);
    assert_eq!(ca(), before);
    let new = site.text("new");
    let first = ["-o", "json", "init", "--dir", &new, "--name", "127.0.0.1"];
    let made = run(program_called("longshore-controller").args(first), ASK).unwrap().success().unwrap();
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    assert_eq!(made["schema"], "longshore.controller.init/1");
    assert!(made["config"].as_str().is_some_and(|path| fs::exists(path).unwrap()), "{made}");
}

#[test]
fn folders_that_may_not_become_releases_are_refused() {
    let site = Site::raise();
    let spoil: [Spoil; 6] = [
        ("LS-A03", "/etc/shadow", |site| symlink("/etc/shadow", site.path("app/dist/data")).unwrap()),
        ("LS-A03", "../../up", |site| symlink("../../up", site.path("app/dist/up")).unwrap()),
        ("LS-A03", "pipe", |site| {
            run(std::process::Command::new("mkfifo").arg(site.path("app/dist/pipe")), ASK)
                .unwrap()
                .success()
                .unwrap();
        }),
        ("LS-A03", "door", |site| {
            drop(std::os::unix::net::UnixListener::bind(site.path("app/dist/door")).unwrap());
        }),
        ("LS-A04", "LS-A04 \"d/d/", |site| {
            let deep = site.path("app/dist").join("d/".repeat(60));
            fs::create_dir_all(&deep).unwrap();
            drop(fs::File::create(deep.join("file")).unwrap());
        }),
        ("LS-A02", ".longshore", |site| drop(site.write("app/dist/.longshore/sealed", "yes"))),
    ];
    for (code, says, spoil) in spoil {
        site.write_app("1.1", "exec sleep 1000");
        spoil(&site);
        let dir = site.text("app");
        refused(&site, says, &Answer { exit: FAILED, code, says }, || {
            site.longshore(["release", "publish", &dir, "--version", "1.1"])
        });
    }
    // Only root can make one.
    if rustix::process::geteuid().is_root() {
        site.write_app("1.1", "exec sleep 1000");
        let null = site.path("app/dist/null");
        let made = run(std::process::Command::new("mknod").arg(null).args(["c", "1", "3"]), ASK).unwrap();
        if made.code == Some(0) {
            let dir = site.text("app");
            let answer = Answer { exit: FAILED, code: "LS-A03", says: "null" };
            refused(&site, "a device", &answer, || {
                site.longshore(["release", "publish", &dir, "--version", "1.1"])
            });
        }
    }
    let none = Answer { exit: 4, code: "LS-N01", says: "shop@1.1" };
    check("nothing was published", &none, &site.longshore(["release", "show", "shop@1.1"]));
}
