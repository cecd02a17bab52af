//! Somebody with an account on the host, and nothing else: our programs, the sockets, and every folder of ours.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use longshore_tests::run;

use crate::signed::Signed;
use crate::site::{ASK, program_called};

const NOBODY: u32 = 65534;

/// LS-C02 for whatever would change something, and nothing that could be read or written around it.
#[test]
fn a_local_user_changes_nothing_reads_no_secret_and_finds_no_folder_to_write_to() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("only root can become somebody else; not tried");
        return;
    }
    let mut site = Signed::raise();
    site.publish("1.0").success().unwrap();
    site.roll_out("1.0").code_is(0).unwrap();
    site.publish("1.1").success().unwrap();
    let bundle = site.0.text("shop-1.1.lsb");
    site.ops(["release", "export", "shop@1.1", "--into", &bundle]).success().unwrap();
    // As on a host: whoever has an account can come this far.
    fs::set_permissions(site.0.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&bundle, fs::Permissions::from_mode(0o644)).unwrap();
    site.bring_up_to_date();
    let before = site.snapshot();
    let here = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let pin = "7".repeat(64);
    let tries: [&[&str]; 9] = [
        &["hold", "mine"],
        &["unhold"],
        &["revert", "shop"],
        &["deploy", "--bundle", &bundle],
        &["deploy", "--bundle", &bundle, "--stale", "--despite-hold"],
        &["trust", "recover", "shop"],
        &["trust", "reset", "--pin", &pin, "--i-am-on", &here],
        &["trust", "status"],
        &["status"],
    ];
    for words in tries {
        let mut command = program_called("longshore-agent");
        command.args(["--root", &site.0.text("host")]).args(words).uid(NOBODY).gid(NOBODY);
        let output = run(&mut command, ASK).unwrap();
        assert_eq!(output.code, Some(4), "{words:?}: {output}");
        assert!(output.everything().contains("LS-C02"), "{words:?}: {output}");
        assert_eq!(site.snapshot(), before, "{words:?}");
    }
    // Through a socket that everybody may open the answer is the same, and the agent's log has it.
    let config = site.0.path("host/etc/longshore/agent.toml");
    let text = fs::read_to_string(&config).unwrap();
    site.0.agent.take();
    site.0.write("host/etc/longshore/agent.toml", &format!("readers = \"everyone\"\n{text}"));
    site.0.start_agent();
    let before = site.snapshot();
    for words in [&["hold", "mine"][..], &["revert", "shop"], &["deploy", "--bundle", &bundle]] {
        let mut command = program_called("longshore-agent");
        command.args(["--root", &site.0.text("host")]).args(words).uid(NOBODY).gid(NOBODY);
        let output = run(&mut command, ASK).unwrap();
        assert!(output.code == Some(4) && output.everything().contains("LS-C02"), "{words:?}: {output}");
        site.0.agent.as_mut().unwrap().until_it_says("refused at the local socket", ASK).unwrap();
        assert_eq!(site.snapshot(), before, "{words:?}");
    }

    let found = |what: &[&str]| {
        let mut find = Command::new("find");
        find.arg(site.0.path("host")).args(what).uid(NOBODY).gid(NOBODY);
        let found = run(&mut find, ASK).unwrap().stdout;
        let ours = |line: &&str| !line.ends_with(".sock");
        found.lines().filter(ours).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(found(&["(", "-type", "d", "-o", "-type", "f", ")", "-writable"]), Vec::<String>::new());
    let keys = ["-type", "f", "-readable", "(", "-name", "*key*", "-o", "-name", "trust.json", ")"];
    assert_eq!(found(&keys), Vec::<String>::new());
    assert_eq!(site.snapshot(), before);
}
