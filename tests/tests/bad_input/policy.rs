//! Plans, policy and gates: files that cannot hold, plans of another world, approvals that do not count, and answers of
//! every kind to whoever asks a gate. Each has a clear error or a named hold, and the host is as it was.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use longshore_tests::{Output, until};
use serde_json::Value;

use crate::site::{ASK, Site, env_file};
use crate::{Answer, check, refused};

const USAGE: i32 = 2;
const REFUSED: i32 = 4;
const TIMED_OUT: i32 = 5;

/// The name of the case, what is added to the environment's file, and what is said of it.
type Row = (&'static str, &'static str, &'static str);

const FILES: [Row; 18] = [
    ("a selector that does not parse", "selector = \"role==web=\"", "selector"),
    ("more than everybody", "[rollout]\nwave = \"120%\"", "120%"),
    ("a share of nobody", "[rollout]\nmax_unavailable = 0", "max_unavailable"),
    ("steps that fall", "[rollout]\nsteps = [\"50%\", \"25%\"]", "steps must rise"),
    ("a step beyond everybody", "[rollout]\nsteps = [\"50%\", \"101%\"]", "101%"),
    ("waves of nobody", "[rollout]\nwave = 0", "wave"),
    ("promotion after itself", "[[promotion.after]]\nenv = \"prod\"", "prod cannot come after itself"),
    ("promotion after nowhere", "[[promotion.after]]\nenv = \"moon\"", "there is no environment moon"),
    (
        "days and dates at once",
        "[[calendar.window]]\nname = \"never\"\ndays = [\"mon\"]\nfrom = \"2001-01-01\"\nto = \"2001-01-02\"",
        "with dates there are no days",
    ),
    (
        "a window that never opens",
        "[[calendar.window]]\nname = \"past\"\nfrom = \"2001-01-01\"\nto = \"2001-01-02\"",
        "never opens",
    ),
    ("an unknown zone", "[calendar]\nzone = \"Europe/Atlantis\"", "Europe/Atlantis"),
    (
        "freezes that clash",
        "[[calendar.freeze]]\nname = \"a\"\nfrom = \"2031-01-01\"\nto = \"2031-02-01\"\nrollback = \"always\"\n\
         [[calendar.freeze]]\nname = \"b\"\nfrom = \"2031-01-15\"\nto = \"2031-03-01\"\nrollback = \"when-open\"",
        "clash",
    ),
    ("approvals of nobody", "[approval]\ncount = 0", "approval.count"),
    (
        "more approvals than approvers",
        "[approval]\ncount = 3\nby = [\"ann\", \"bob\"]",
        "only 2 may give one",
    ),
    ("a role that nobody knows", "[approval]\nby = [\"role:captain\"]", "there is no role \"captain\""),
    (
        "a webhook whose key nobody has",
        "[[stakeholders.tell]]\nname = \"chat\"\nwebhook = \"http://127.0.0.1:1\"\nsecret = \"chat\"",
        "the controller knows no key \"chat\"",
    ),
    (
        "mail that nobody sends",
        "[[stakeholders.tell]]\nname = \"mail\"\nemail = [\"ann@example.org\"]",
        "this controller sends no mail",
    ),
    (
        "a metric without bounds",
        "[[gate]]\nname = \"m\"\nkind = \"metrics\"\nafter = \"before\"\nprometheus = \"http://127.0.0.1:1\"\nquery = \"up\"",
        "min",
    ),
];

#[test]
fn policies_that_cannot_hold_are_refused_and_change_nothing() {
    let site = Site::raise();
    let before = site.longshore(["env", "show", "prod"]).success().unwrap();
    for (what, text, says) in FILES {
        let file = site.write("bad-env.toml", &with(text));
        // The file is sound, and what it names is not there yet.
        let sound = says.starts_with("there is no environment");
        let (exit, code) = if sound { (REFUSED, "LS-N01") } else { (USAGE, "LS-M01") };
        refused(&site, what, &Answer { exit, code, says }, || site.longshore(["env", "apply", &file]));
    }
    assert_eq!(site.longshore(["env", "show", "prod"]).success().unwrap(), before);
}

/// The environment's file with more in it; a table that is there already is added to.
fn with(text: &str) -> String {
    let sound = env_file("ahoy");
    match text.split_once('\n') {
        _ if text.starts_with("selector") => sound.replacen("selector = \"role=web\"", text, 1),
        Some(("[rollout]", rest)) => {
            let key = rest.split(' ').next().expect("a key");
            let others = sound.lines().filter(|line| !line.starts_with(&format!("{key} = ")));
            let others: Vec<&str> = others.collect();
            others.join("\n").replacen("[rollout]", &format!("[rollout]\n{rest}"), 1)
        }
        _ => format!("{sound}{text}\n"),
    }
}

#[test]
fn a_circle_of_promotions_is_refused() {
    let site = Site::raise();
    let test = env_file("ahoy").replace("\"prod\"", "\"test\"");
    let applied = |name: &str, text: String| {
        let file = site.write(name, &text);
        site.longshore(["env", "apply", &file])
    };
    applied("test.toml", test.clone()).success().unwrap();
    applied("prod.toml", format!("{}[[promotion.after]]\nenv = \"test\"\n", env_file("ahoy")))
        .success()
        .unwrap();
    let answer =
        Answer { exit: USAGE, code: "LS-M01", says: "it goes in a circle: test after prod after test" };
    refused(&site, "a circle", &answer, || {
        applied("test.toml", format!("{test}[[promotion.after]]\nenv = \"prod\"\n"))
    });
}

/// A stale plan, a foreign one, one that is none, one that its author approves, an environment without hosts, and one that
/// shares its hosts.
#[test]
fn plans_of_another_world_are_refused() {
    let site = Site::raise();
    site.publish("1.1", "exec sleep 1000").success().unwrap();
    let made = site.longshore(["plan", "shop@1.1", "--to", "prod", "-o", "json"]).success().unwrap();
    let made: Value = serde_json::from_str(&made).unwrap();
    let digest = made["digest"].as_str().unwrap().to_owned();
    site.longshore(["env", "apply", &site.write_env("hello")]).success().unwrap();
    let foreign = "ab".repeat(32);
    for (what, plan, code, says) in [
        ("a stale plan", digest.as_str(), "LS-R03", "environment prod was applied anew"),
        ("a foreign plan", &foreign, "LS-N01", "no plan"),
        ("no digest", "../../etc", "LS-N01", "no plan"),
        ("an escape", "\u{1b}[31m", "LS-N01", "\\x1b[31m"),
    ] {
        let answer = Answer { exit: REFUSED, code, says };
        refused(&site, what, &answer, || site.longshore(["rollout", "start", plan]));
        assert_eq!(site.runs().as_deref(), Some("1.0"));
    }

    let asking = format!("{}[approval]\ncount = 1\n", env_file("hello"));
    site.longshore(["env", "apply", &site.write("prod.toml", &asking)]).success().unwrap();
    let nobody = Answer { exit: REFUSED, code: "approvers", says: "and nobody could give one" };
    refused(&site, "approvers", &nobody, || {
        site.longshore(["plan", "shop@1.1", "--to", "prod", "-o", "json"])
    });
    let own = Answer { exit: REFUSED, code: "LS-W02", says: "whoever made the plan cannot approve it" };
    let digest = latest_plan(&site);
    refused(&site, "an approval by the author", &own, || site.longshore(["rollout", "approve", &digest]));
    let lacking = Answer { exit: REFUSED, code: "LS-R04", says: "lacks 1 more" };
    refused(&site, "no approval", &lacking, || site.longshore(["rollout", "start", &digest]));

    for (name, selector, code, exit, says) in [
        ("empty", "role=nobody", "LS-R01", REFUSED, "no host matches the selector"),
        ("twin", "role=web", "overlap", REFUSED, "also belongs to environment prod"),
    ] {
        let text = env_file("x").replace("\"prod\"", &format!("\"{name}\"")).replace("role=web", selector);
        site.longshore(["env", "apply", &site.write("other.toml", &text)]).success().unwrap();
        let answer = Answer { exit, code, says };
        refused(&site, name, &answer, || site.longshore(["plan", "shop@1.1", "--to", name]));
        refused(&site, name, &answer, || site.longshore(["rollout", "start", "shop@1.1", "--to", name]));
    }
}

fn latest_plan(site: &Site) -> String {
    let plans = site.longshore(["plan", "list", "-o", "json"]).success().unwrap();
    let plans: Value = serde_json::from_str(&plans).unwrap();
    plans["plans"][0]["digest"].as_str().expect("one was made").to_owned()
}

/// How a peer misbehaves.
#[derive(Clone, Copy, Debug)]
enum Peer {
    /// These bytes, and the end.
    Says(&'static str),
    /// A head, and then zeroes for as long as anybody reads.
    NeverEnds,
    /// A body that is said to have gigabytes.
    Gigabytes,
    /// It takes the request and says nothing.
    Mute,
    /// Nobody listens.
    Away,
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
const NAN: &str =
    r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"NaN"]}]}}"#;
const ERROR: &str = r#"{"status":"error","errorType":"bad_data","error":"parse error: \u001b[31m"}"#;

/// The kind of gate, how whoever it asks behaves, and what is said of it.
const GATES: [(&str, Peer, &str); 14] = [
    ("http", Peer::NeverEnds, "of which 65536 bytes were read"),
    ("http", Peer::Gigabytes, "of which 65536 bytes were read"),
    ("http", Peer::Mute, "did not answer within"),
    ("http", Peer::Away, "refused"),
    ("http", Peer::Says("HTTP/1.1 500 No\r\n\r\n"), "answered 500"),
    ("http", Peer::Says("SSH-2.0-OpenSSH_9.2\r\n"), "speak HTTP with"),
    ("metrics", Peer::Away, "refused"),
    ("metrics", Peer::Says(NAN), "every value is NaN or infinite"),
    ("metrics", Peer::Says(ERROR), "refused the query: parse error"),
    ("metrics", Peer::Says("<html>login</html>"), "not as Prometheus does"),
    ("webhook", Peer::Says(r#"{"verdict":"perhaps"}"#), "perhaps"),
    ("webhook", Peer::Says("[[[["), "no verdict"),
    ("webhook", Peer::NeverEnds, "more than 65536 bytes"),
    ("webhook", Peer::Says(r#"{"verdict":"pass","message":7}"#), "no verdict"),
];

/// Whatever it is, it is no pass: the rollout waits or ends, with the name of the gate and a reason, and has touched
/// nothing.
#[test]
fn whatever_a_gate_is_answered_it_does_not_pass_by_accident() {
    let site = Site::raise();
    site.publish("1.1", "exec sleep 1000").success().unwrap();
    for (kind, peer, says) in GATES {
        let what = format!("{kind} {peer:?}");
        let address = listen(peer);
        let more = match kind {
            "http" => format!("url = \"http://{address}/ready\"\nbody = \"green\"\nevery = \"200ms\"\n"),
            "metrics" => format!(
                "prometheus = \"http://{address}\"\nquery = \"up\"\nmax = 1\nwindow = \"500ms\"\nstep = \"200ms\"\n"
            ),
            _ => format!("url = \"http://{address}/hook\"\nevery = \"200ms\"\n"),
        };
        ask_before(&site, kind, "5s", &more);
        let before = site.snapshot();
        let started = ["rollout", "start", "shop@1.1", "--to", "prod"];
        site.longshore(started).success().unwrap_or_else(|trouble| panic!("{what}: {trouble}"));
        let held = held(&site);
        let said = held.everything();
        assert!(said.contains("asked"), "{what}: the gate is named in {held}");
        assert!(said.contains(says), "{what}: no {says:?} in {held}");
        assert!(!said.contains('\u{1b}'), "{what}: a raw escape in {held:#}");
        site.longshore(["rollout", "abort", "latest"]); // refused where it has ended by itself
        assert_eq!(site.snapshot(), before, "{what} changed the host");
        assert_eq!(site.runs().as_deref(), Some("1.0"), "{what}");
    }
    // Who waits for it hears that it is not over. To plan it and to begin it takes less, and the gate's own time more.
    let away = listen(Peer::Away);
    ask_before(&site, "http", "10m", &format!("url = \"http://{away}/ready\"\nevery = \"200ms\"\n"));
    let answer = Answer { exit: TIMED_OUT, code: "", says: "is not over yet" };
    let wait = ["rollout", "start", "shop@1.1", "--to", "prod", "--wait", "--timeout", "20s"];
    check("a wait", &answer, &site.longshore(wait));
}

/// From now on somebody is asked before a rollout touches anybody.
fn ask_before(site: &Site, kind: &str, deadline: &str, more: &str) {
    let gate = format!(
        "[[gate]]\nname = \"asked\"\nkind = \"{kind}\"\nafter = \"before\"\ndeadline = \"{deadline}\"\n{more}"
    );
    let file = site.write("prod.toml", &format!("{}{gate}", env_file("ahoy")));
    site.longshore(["env", "apply", &file]).success().unwrap();
}

/// What `explain` and `show` say once the gate has kept it from going on.
fn held(site: &Site) -> Output {
    until(ASK, "a pause or an end", || {
        let explained = site.longshore(["rollout", "explain", "latest"]);
        let said = explained.everything();
        Ok(["paused", "rolled-back", "failed"].iter().any(|word| said.contains(word)).then_some(explained))
    })
    .map(|mut explained| {
        explained.stdout += &site.longshore(["rollout", "show", "latest"]).everything();
        explained
    })
    .unwrap()
}

/// An address at which everybody is answered so, for as long as the test runs.
fn listen(peer: Peer) -> String {
    if matches!(peer, Peer::Away) {
        return "127.0.0.1:1".to_owned(); // a port that was free a moment ago may be somebody's by now
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || drop(answer(client, peer))); // it may leave early
        }
    });
    address
}

fn answer(mut client: TcpStream, peer: Peer) -> std::io::Result<()> {
    client.set_read_timeout(Some(ASK))?; // longer than any gate waits
    let mut head = vec![0; 64 * 1024];
    let _ = client.read(&mut head)?;
    match peer {
        Peer::Says(text) if text.starts_with(['H', 'S']) => client.write_all(text.as_bytes()),
        Peer::Says(body) => {
            client.write_all(OK.as_bytes())?;
            client.write_all(body.as_bytes())
        }
        Peer::Gigabytes => {
            client.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8589934592\r\n\r\n")?;
            flood(client)
        }
        Peer::NeverEnds => {
            client.write_all(OK.as_bytes())?;
            flood(client)
        }
        Peer::Mute => client.read(&mut head).map(drop),
        Peer::Away => Ok(()),
    }
}

/// Until the other side has had enough.
fn flood(mut client: TcpStream) -> std::io::Result<()> {
    let zeroes = vec![b'0'; 64 * 1024];
    loop {
        client.write_all(&zeroes)?;
    }
}
