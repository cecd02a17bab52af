//! Exactly at a limit and one beyond it; every form that is taken, and its nearest neighbours that are not.

use super::*;

/// A sound file with these keys and tables in the place of its own.
fn file(service: &str, more: &str) -> String {
    format!("[app]\nname = \"shop\"\n[artifact]\npath = \"d\"\n[service]\n{service}\n{more}\n")
}

fn service(keys: &str) -> String {
    file(&format!("driver = \"process\"\nexec = [\"./a\"]\n{keys}"), "")
}

fn with(more: &str) -> String {
    file("driver = \"process\"\nexec = [\"./a\"]", more)
}

fn probe(keys: &str) -> String {
    with(&format!("[[probe]]\nname = \"p\"\n{keys}"))
}

/// Nothing is wrong with it, or exactly this is.
#[track_caller]
fn expect(text: &str, says: Option<&str>) {
    let found = match AppFile::parse("longshore.toml", text) {
        Ok(_) => vec![],
        Err(problems) => problems.to_string().lines().map(str::to_owned).collect::<Vec<_>>(),
    };
    match says {
        None => assert_eq!(found, Vec::<String>::new(), "{text}"),
        Some(says) => {
            assert!(found.len() == 1 && found[0].contains(says), "{says}: {found:#?}\n{text}");
        }
    }
}

#[track_caller]
fn edge(says: &str, most: &str, beyond: &str) {
    expect(most, None);
    expect(beyond, Some(says));
}

#[test]
fn what_is_not_said_is_as_the_docs_say() {
    let made = AppFile::parse("longshore.toml", &probe("tcp = \"127.0.0.1:1\"")).unwrap();
    let spans = |probe: &Probe| [probe.interval, probe.timeout, probe.healthy_for, probe.deadline];
    assert_eq!(spans(&made.probes[0]), [1, 2, 3, 120].map(Span::secs));
    assert_eq!((made.service.start_timeout, made.service.stop.signal.as_str()), (Span::secs(60), "SIGTERM"));
    let hooked = AppFile::parse("longshore.toml", &with("[hooks]\nafter_healthy = { run = [\"/x\"] }"));
    let hooks = hooked.unwrap().hooks;
    assert_eq!(hooks.after_healthy.unwrap(), Hook { run: vec!["/x".into()], timeout: Span::secs(60) });
    assert!(hooks.before_switch.is_none() && hooks.after_switch.is_none() && hooks.before_stop.is_none());
}

#[test]
fn each_hook_and_attestation_is_read_under_its_own_name() {
    let text = "[hooks]\nbefore_switch = { run = [\"/1\"] }\nafter_switch = { run = [\"/2\"] }\n\
                after_healthy = { run = [\"/3\"] }\nbefore_stop = { run = [\"/4\"] }\n\
                [attestations]\nsbom = \"s.json\"\nprovenance = \"p.json\"\n";
    let made = AppFile::parse("longshore.toml", &with(text)).unwrap();
    let Hooks { before_switch, after_switch, after_healthy, before_stop } = made.hooks;
    let runs =
        [before_switch, after_switch, after_healthy, before_stop].map(|hook| hook.unwrap().run.concat());
    assert_eq!(runs, ["/1", "/2", "/3", "/4"]);
    assert_eq!(
        made.attestations.into_values().collect::<BTreeSet<_>>(),
        ["p.json".into(), "s.json".into()].into()
    );
}

#[test]
fn words_about_the_app_are_short_and_plain() {
    let of = |owner: &str| {
        file("driver = \"none\"", "").replace("\"shop\"", &format!("\"shop\"\nowner = \"{owner}\""))
    };
    edge("owner: at most 256 bytes of plain text", &of(&"x".repeat(256)), &of(&"x".repeat(257)));
    expect(&of("\\u001b[2J"), Some("owner: at most 256 bytes of plain text"));
    let support = with("").replace("\"shop\"", "\"shop\"\nsupport = \"#team\"");
    assert_eq!(AppFile::parse("x", &support).unwrap().support.as_deref(), Some("#team"));
}

#[test]
fn drivers_run_something_or_nothing() {
    expect(&file("driver = \"none\"", ""), None);
    expect(&file("driver = \"none\"\nexec = [\"./a\"]", ""), Some("the driver \"none\" runs nothing"));
    expect(&file("driver = \"process\"", ""), Some("exec: name the program"));
    expect(&file("exec = [\"./a\"]\nuser = \"root\"", ""), None);
    expect(&file("exec = [\"./a\"]", ""), Some("[service] needs the key \"user\" with the driver systemd"));
    expect(&file("driver = \"process\"\nexec = [\"./a\"]", ""), None);
    expect(&file("driver = \"shell\"", ""), Some("\"shell\" is none of systemd, process, none"));
    expect("[app]\nname = \"shop\"\n[artifact]\npath = \"d\"\n", Some("the file needs a table [service]"));
}

#[test]
fn times_have_an_end_and_a_beginning() {
    let says = "must be longer than 0s and at most 1h";
    for key in ["start_timeout = \"{}\"", "stop = { grace = \"{}\" }"] {
        let of = |time: &str| service(&key.replace("{}", time));
        edge(says, &of("1h"), &of("3601s"));
        edge(says, &of("1ms"), &of("0s"));
    }
    for key in ["interval", "timeout"] {
        let of = |time: &str| probe(&format!("tcp = \"127.0.0.1:1\"\n{key} = \"{time}\""));
        edge(says, &of("1h"), &of("3601s"));
    }
    let hook =
        |time: &str| with(&format!("[hooks]\nbefore_stop = {{ run = [\"/x\"], timeout = \"{time}\" }}"));
    edge(says, &hook("1h"), &hook("3601s"));
    let healthy =
        |time: &str| probe(&format!("tcp = \"127.0.0.1:1\"\nhealthy_for = \"{time}\"\ndeadline = \"10s\""));
    edge("leaves no time to be healthy", &healthy("9999ms"), &healthy("10s"));
}

#[test]
fn a_command_is_a_program_inside_or_an_absolute_path_and_so_many_words() {
    let run = |words: &[&str]| file(&format!("driver = \"process\"\nexec = {words:?}"), "");
    for good in ["./a", "./a/b.c", "/a", "/usr/bin/env", "./..a", "./a..b"] {
        expect(&run(&[good]), None);
    }
    for bad in ["a", ".a", "./", "/", "./a//b", "./a/", "./../a", "./a/..", "./.", "/a/../b", "//a", "~/a"] {
        expect(&run(&[bad]), Some("must start with \"./\" (inside the release) or be an absolute path"));
    }
    let control = file("driver = \"process\"\nexec = [\"./a\\u0007\"]", "");
    expect(&control, Some("must start with \"./\" (inside the release) or be an absolute path"));
    let says = "at most 256 words of at most 4096 bytes, none with a NUL";
    let words = |count: usize| run(&[&["./a"], &vec!["x"; count - 1][..]].concat());
    edge(says, &words(256), &words(257));
    let long = |bytes: usize| run(&["./a", &"x".repeat(bytes)]);
    edge(says, &long(4096), &long(4097));
    expect(&file("driver = \"process\"\nexec = [\"./a\", \"x\\u0000\"]", ""), Some(says));
}

#[test]
fn names_of_users_and_variables() {
    let user = |name: &str| service(&format!("user = \"{name}\""));
    for good in ["a", "_a", "a-b_9", &"a".repeat(32)] {
        expect(&user(good), None);
    }
    for bad in ["", "A", "9a", "-a", "a b", "aé", "a.b", "aB", &"a".repeat(33)] {
        expect(&user(bad), Some("a user name has 1-32 of a-z"));
    }
    let env = |name: &str, value: &str| service(&format!("env = {{ \"{name}\" = \"{value}\" }}"));
    for good in ["A", "_", "a9_", "XLISTEN_FDS", "LISTEN"] {
        expect(&env(good, "x"), None);
    }
    for bad in ["", "9A", "A-B", "A B", "É", "A=", "LISTEN_FDS", "LISTEN_PID"] {
        expect(&env(bad, "x"), Some("is no name for a variable"));
    }
    expect(&env("A", "x\\u0000"), Some("or its value holds a NUL"));
}

#[test]
fn sockets_are_addresses_or_absolute_paths_each_once() {
    let sockets = |all: &[String]| service(&format!("sockets = {all:?}"));
    let one = |socket: &str| sockets(&[socket.to_owned()]);
    for good in ["127.0.0.1:1", "[::]:65535", "/run/a.sock"] {
        expect(&one(good), None);
    }
    for bad in ["127.0.0.1:0", "127.0.0.1", "localhost:1", "a.sock", "/run/../a", "/"] {
        expect(&one(bad), Some("is no address:port"));
    }
    edge(
        "is no address:port",
        &one(&format!("/{}", "s".repeat(106))),
        &one(&format!("/{}", "s".repeat(107))),
    );
    let many =
        |count: usize| sockets(&(1..=count).map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>());
    edge("at most 16, each once", &many(16), &many(17));
    expect(&sockets(&vec!["127.0.0.1:1".to_owned(); 2]), Some("at most 16, each once"));
}

#[test]
fn config_files_lie_inside_and_so_do_their_templates() {
    let config =
        |path: &str, template: &str| with(&format!("[config.\"{path}\"]\ntemplate = \"{template}\""));
    expect(&config("etc/a.toml", "a.j2"), None);
    expect(&config(".longshorex/a", "a.j2"), None);
    for bad in ["/etc/a", "../a", "a//b", ".longshore/a", ".longshore"] {
        expect(&config(bad, "a.j2"), Some("must be a path inside the release"));
    }
    for bad in ["/a.j2", "../a.j2", ""] {
        expect(&config("a", bad), Some("must be a path inside the artifact"));
    }
}

#[test]
fn probes_have_names_of_their_own_and_are_so_many() {
    let probes = |names: &[String]| {
        let one = |name: &String| format!("[[probe]]\nname = \"{name}\"\ntcp = \"127.0.0.1:1\"\n");
        with(&names.iter().map(one).collect::<String>())
    };
    let names = |count: usize| (0..count).map(|n| format!("p{n}")).collect::<Vec<_>>();
    edge("[[probe]]: at most 16", &probes(&names(16)), &probes(&names(17)));
    expect(&probes(&["a".into(), "a".into()]), Some("each needs a name of its own"));
    expect(&probes(&["A".into()]), Some("probe.name: use 1-63 of a-z"));
}

#[test]
fn probes_look_at_what_can_be_looked_at() {
    let http = |url: &str| probe(&format!("http = \"{url}\""));
    for good in [
        "http://a",
        "http://a/",
        "http://a:1/x?y",
        "http://[::1]:65535/x",
        "http://[::1]/x",
        "http://a:65535",
    ] {
        expect(&http(good), None);
    }
    for bad in [
        "https://a",
        "http://",
        "http:///x",
        "http://a:0/",
        "http://a:65536",
        "http://a:x/",
        "http://u@a/",
        "http://a/ b",
        "http://a/é",
    ] {
        expect(&http(bad), Some("is no URL like"));
    }
    let long = |bytes: usize| http(&format!("http://a/{}", "x".repeat(bytes - 9)));
    edge("is no URL like", &long(1024), &long(1025));
    let status = |status: u16| probe(&format!("http = \"http://a\"\nstatus = {status}"));
    edge("a status is from 100 to 599", &status(100), &status(99));
    edge("a status is from 100 to 599", &status(599), &status(600));
    expect(&probe("tcp = \"127.0.0.1:0\""), Some("is no address:port"));
    expect(&probe("exec = [\"sh\"]"), Some("must start with \"./\""));
}

#[test]
fn headers_are_data_of_http_probes_and_change_no_manifest_without_them() {
    let http = |headers: &str| probe(&format!("http = \"http://a/x\"\nheaders = {{ {headers} }}"));
    let made = |text: &str| {
        let artifact = Artifact { index: crate::digest::IndexDigest::of(b""), files: 0, bytes: 0 };
        AppFile::parse("longshore.toml", text).unwrap().into_manifest("1".parse().unwrap(), artifact)
    };
    let with = made(&http("Host = \"shop.example:8080\", X-Probe = 1"));
    let said = String::from_utf8(with.to_bytes()).unwrap();
    let check = r#"{"http":{"url":"http://a/x","headers":{"Host":"shop.example:8080","X-Probe":"1"}}}"#;
    assert!(said.contains(check), "{said}");
    assert_eq!(Manifest::from_bytes(said.as_bytes()).unwrap(), with);
    let without = made(&http(""));
    assert_eq!(without, made(&probe("http = \"http://a/x\"")));
    let said = String::from_utf8(without.to_bytes()).unwrap();
    assert!(said.contains(r#""check":{"http":{"url":"http://a/x"}}"#), "as before there were any: {said}");
    for (bad, says) in [
        ("Host = \"a b\"", "probe.headers: \"Host\" has to be like shop.example"),
        ("Transfer-Encoding = \"chunked\"", "probe.headers: \"Transfer-Encoding\" is about the connection"),
        ("X = \"a\\r\\nb\"", "probe.headers: the value of \"X\" has to be visible ASCII"),
        ("X = \"a\", x = \"b\"", "probe.headers: \"x\" is there twice"),
        ("X = \"{port}\"", "are not written out here"),
    ] {
        expect(&http(bad), Some(says));
    }
    expect(&probe("tcp = \"127.0.0.1:1\"\nheaders = { X = \"a\" }"), Some("only a probe with \"http\""));
    // What was signed is held to the same; and a key that a reader does not know, as these were once, is not passed over.
    let said = String::from_utf8(with.to_bytes()).unwrap();
    for (from, to, says) in [
        ("\"X-Probe\"", "\"Upgrade\"", "\"Upgrade\" is about the connection"),
        ("\"headers\"", "\"later\"", "unknown field `later`"),
    ] {
        let refused = Manifest::from_bytes(said.replace(from, to).as_bytes()).unwrap_err();
        assert!(refused.code == crate::code::Code::M01 && refused.message.contains(says), "{refused}");
    }
}
