//! A host that lies: it enrolled as it should, and then says whatever could act on a terminal, through every channel
//! that it has. What operators see of it, as tables and as JSON, holds no byte of that sort.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use longshore_agent::identity::{Again, Enrolling, Folder, enroll};
use longshore_agent::link::dial;
use longshore_common::tls::client_config;
use longshore_proto::v1::{
    self as pb, answer::About as Told, from_agent::Message as Say, outcome::Kind, question::About as Asked,
    session_client::SessionClient, to_agent::Message as Hear,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::Output;
use crate::site::Site;

/// A cleared screen, a window title, a link, C1, text that runs backwards, a line that is overwritten, a bell and an end.
const DIRT: &str = "x\u{1b}[2J\u{1b}]0;owned\u{7}\u{1b}]8;;http://evil/\u{1b}\\y\u{9b}31m\u{202e}z\u{2066}w\rv\u{8}\u{0}\u{7f}\u{200b}end";

fn dirt() -> String {
    DIRT.to_owned()
}

fn facts() -> pb::Facts {
    pb::Facts {
        os: dirt(),
        kernel: dirt(),
        arch: dirt(),
        addresses: vec![dirt()],
        driver: dirt(),
        memory_bytes: 1 << 34,
        disk_free_bytes: 1 << 40,
        disk_total_bytes: 1 << 41,
        trust: Some(pb::TrustFacts {
            state: dirt(),
            root_sha256: dirt(),
            breaks: vec![dirt()],
            problem: dirt(),
            damaged: vec![dirt()],
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn app() -> pb::AppState {
    pb::AppState {
        app: "shop".into(),
        current_slot: dirt(),
        release: dirt(),
        version: dirt(),
        slots: vec![dirt()],
        failed_slots: vec![dirt()],
        verdict: dirt(),
        ..Default::default()
    }
}

fn line() -> pb::LogLine {
    let (app, source, stream, line) = (dirt(), dirt(), dirt(), dirt());
    pb::LogLine { app, source, stream, line, ..Default::default() }
}

fn hello() -> pb::Hello {
    pb::Hello {
        protocol: 1,
        agent_version: dirt(),
        boot_id: dirt(),
        boot_counter: 1,
        name: dirt(),
        labels: BTreeMap::from([(dirt(), dirt())]),
        facts: Some(facts()),
        apps: vec![app()],
        recipient: dirt(),
        machine_id: dirt(),
        ..Default::default()
    }
}

fn failure() -> pb::Failure {
    pb::Failure {
        code: "LS-B01".into(),
        step: "probe".into(),
        message: dirt(),
        evidence: vec![dirt(), dirt()],
        blame: pb::Blame::Version.into(),
    }
}

/// The first surveys find everything wrong, so that a plan has it to tell; with the later ones a rollout begins.
fn survey() -> pb::Survey {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let facts = Some(facts());
    if ASKED.fetch_add(1, Ordering::Relaxed) >= 2 {
        return pb::Survey { facts, ..Default::default() };
    }
    pb::Survey {
        facts,
        commands_missing: vec![dirt()],
        ports_taken: vec![pb::PortTaken { port: dirt(), by: dirt() }],
        mounts_missing: vec![dirt()],
        users_missing: vec![dirt()],
        run_as_problem: dirt(),
        secrets_missing: vec![dirt()],
        traffic_problems: vec![dirt()],
        traffic_notes: vec![dirt()],
        ..Default::default()
    }
}

/// Whoever is pinged says as well that its admin holds it.
fn answers(question: pb::Question) -> Vec<Say> {
    let hold = pb::HoldState { held: true, reason: dirt(), by: dirt(), since_ms: 1 };
    let hold = matches!(question.about, Some(Asked::Ping(_))).then_some(Say::Hold(hold));
    let about = match question.about {
        Some(Asked::Ping(_)) => Told::Pong(pb::Pong { time_ms: 0, apps: vec![app()] }),
        Some(Asked::Logs(_)) => Told::Logs(pb::LogLines { lines: vec![line()] }),
        Some(Asked::Facts(_)) => Told::Facts(facts()),
        Some(Asked::Survey(_)) => Told::Survey(survey()),
        _ => Told::Error(dirt()),
    };
    hold.into_iter().chain([Say::Answer(pb::Answer { id: question.id, about: Some(about) })]).collect()
}

/// What the host makes of an assignment: it tells of it, and fails.
fn carry_out(assignment: pb::Assignment) -> Vec<Say> {
    let (app, generation) = (assignment.app, assignment.generation);
    let progress =
        pb::Progress { app: app.clone(), generation, step: dirt(), detail: dirt(), ..Default::default() };
    let log = pb::LogLine { app: app.clone(), generation, ..line() };
    let report = pb::Report {
        seq: generation,
        app,
        rollout: assignment.rollout,
        generation,
        release: assignment.release,
        outcome: Some(pb::Outcome { kind: Some(Kind::Failed(failure())) }),
        ..Default::default()
    };
    vec![Say::Progress(progress), Say::Log(log), Say::Report(report)]
}

/// Enrols, connects, and answers everything until the runtime goes.
fn raise(site: &Site, token: &str) -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let enrolling = Enrolling {
        server: format!("{}:7443", site.address),
        token: token.parse().unwrap(),
        name: "web-1".parse().unwrap(),
        labels: BTreeMap::new(),
        folder: site.path("hostile/identity"),
        vault: site.path("hostile/identity"),
        again: Again::Refuse,
    };
    let told = |message| pb::FromAgent { message: Some(message) };
    let (mut hear, say) = runtime.block_on(async {
        enroll(&enrolling).await.unwrap();
        let pair = Folder::new(enrolling.folder.clone()).load().unwrap().unwrap();
        let (identity, trust) = pair.live();
        let channel = dial(&format!("{}:7440", site.address), client_config(identity, trust)).await.unwrap();
        let (say, said) = mpsc::channel(64);
        say.send(told(Say::Hello(hello()))).await.unwrap();
        let mut hear =
            SessionClient::new(channel).open(ReceiverStream::new(said)).await.unwrap().into_inner();
        let first = hear.message().await.unwrap().unwrap().message;
        assert!(matches!(first, Some(Hear::Welcome(_))), "{first:?}");
        (hear, say)
    });
    runtime.spawn(async move {
        let mut beat = tokio::time::interval(Duration::from_millis(500));
        loop {
            let message = tokio::select! {
                message = hear.message() => message,
                _ = beat.tick() => {
                    let beat = Say::Heartbeat(pb::Heartbeat { time_ms: 0 });
                    drop(say.send(told(beat)).await); // an end is noticed by what is heard
                    continue;
                }
            };
            let Ok(Some(message)) = message else { return };
            let answers = match message.message {
                Some(Hear::Question(question)) => answers(question),
                Some(Hear::Assignment(assignment)) => carry_out(assignment),
                _ => vec![],
            };
            for answer in answers {
                drop(say.send(told(answer)).await); // as above
            }
        }
    });
    runtime
}

/// Only what moves to the next line may act on a terminal.
fn clean(what: &str, output: &Output) {
    let disguise = |c: char| matches!(c, '\u{80}'..='\u{9f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    for (stream, text) in [("output", &output.stdout), ("errors", &output.stderr)] {
        let acts = text.chars().find(|c| (c.is_control() && *c != '\n') || disguise(*c));
        assert_eq!(acts, None, "{what}: in its {stream}: {text:?}");
    }
}

#[test]
fn what_a_host_says_never_acts_on_a_terminal() {
    let site = Site::bare();
    site.longshore(["env", "apply", &site.write_env("ahoy")]).success().unwrap();
    site.publish("1.0", "exec sleep 1000").success().unwrap();
    let token = site.token(&["--label", "role=web"]);
    let _host = raise(&site, &token);
    let mut shown = String::new();
    let mut look = |words: &[&str]| {
        for format in ["table", "json"] {
            let output = site.longshore([words, &["-o", format]].concat());
            clean(&words.join(" "), &output);
            shown.push_str(&output.everything());
        }
    };
    look(&["plan", "shop@1.0", "--to", "prod"]);
    look(&["rollout", "start", "shop@1.0", "--to", "prod", "--wait", "--timeout", "30s"]);
    for words in [
        &["host", "ping"][..],
        &["host", "list"],
        &["host", "show", "web-1"],
        &["logs", "shop", "--host", "web-1"],
        &["plan", "show", "latest", "--hosts"],
        &["rollout", "list"],
        &["rollout", "show", "latest"],
        &["rollout", "explain", "latest"],
        &["rollout", "watch", "latest", "--timeout", "5s"],
        &["env", "show", "prod"],
        &["audit", "list"],
        &["status"],
    ] {
        look(words);
    }
    // It was not left out, which would be clean as well.
    assert!(shown.matches("\\x1b[2J").count() > 20, "{shown}");
}

/// Names that hosts ask for are names, or there is no host.
#[test]
fn a_host_cannot_enrol_under_what_is_no_name() {
    let site = Site::bare();
    let token = site.token(&["--uses", "3"]);
    let file = site.write("token", &token);
    let server = format!("{}:7443", site.address);
    let dirt = DIRT.replace(char::from(0), ""); // no argument can hold it
    for name in [dirt.as_str(), "a b", "../x"] {
        let words = ["enroll", "--server", &server, "--token-file", &file, "--name", name];
        let output = site.agent_at("other", words);
        clean("enroll", &output);
        assert_eq!(output.code, Some(2), "{output}");
    }
    let hosts = site.longshore(["host", "list", "-o", "json"]).success().unwrap();
    assert!(hosts.contains("\"hosts\": []"), "{hosts}");
}
