//! The systemd driver on a machine that systemd runs: it writes units and starts and stops services, so these tests
//! are ignored unless asked for, and the lab of real hosts runs them inside one of its hosts.

mod support;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use longshore_agent::{
    config::Runner,
    host::{Follow, Host as _, Sink, procfs},
    plan::{HookPoint, Manner, Step},
};
use longshore_common::{
    durable::write_atomic,
    report::{Blame, Failure},
    slot::Slot,
    traffic::Side,
};
use support::{
    release::{Bench, lines},
    until,
};

/// Nothing here takes longer; what does is stuck.
const PATIENCE: Duration = Duration::from_secs(180);

/// Its units go with the test, however it ends.
struct Fixture(Bench);

impl Fixture {
    async fn new(app: &str) -> Self {
        Self(Bench::new(Path::new("/"), Runner::Systemd, app).await)
    }

    /// A slot whose program is this test program, serving as `the_app`.
    fn serving(&self, version: &str, port: u16, sockets: &str) -> Slot {
        let file = format!(
            "[service]\nuser = \"daemon\"\nexec = [\"./bin/app\", \"--exact\", \"the_app\", \"--ignored\", \"--nocapture\"]\n{sockets}\
             stop = {{ grace = \"3m\" }}\nenv = {{ THE_APP = \"{version}\", THE_PORT = \"{port}\", HOSTILE = \"%n $HOME \\\"quoted\\\" back\\\\slash `x`\\nline\" }}\n\
             [[probe]]\nname = \"web\"\nhttp = \"http://127.0.0.1:{port}/\"\ninterval = \"100ms\"\nhealthy_for = \"300ms\"\ntimeout = \"2m\"\ndeadline = \"10m\"\n"
        );
        let slot = self.0.slot(version, &file, &[]);
        self.0.install(&slot, &std::env::current_exe().unwrap(), "bin/app");
        slot
    }

    fn script(&self, version: &str, script: &str, more: &str) -> Slot {
        let file = format!(
            "[service]\nuser = \"daemon\"\nexec = [\"./run\", \"a b\", \"%n\", \"$HOME\"]\nstop = {{ grace = \"2s\" }}\n{more}"
        );
        self.0.slot(version, &file, &[("run", &format!("#!/bin/sh\n{script}\n"))])
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let app = &self.0.app;
        for unit in [format!("longshore-{app}.socket"), format!("longshore-{app}.service")] {
            let _ = Command::new("systemctl").args(["disable", "--now", &unit]).output();
            let _ = std::fs::remove_file(Path::new("/etc/systemd/system").join(&unit));
        }
        let _ = Command::new("systemctl").arg("daemon-reload").output();
        let _ = std::fs::remove_dir_all(self.0.layout.app(app));
    }
}

fn show(app: &str, property: &str) -> String {
    let unit = format!("longshore-{app}.service");
    let output = Command::new("systemctl").args(["show", "-P", property, &unit]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn get(port: u16) -> std::io::Result<String> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    body.ok_or_else(|| std::io::Error::other(format!("answered {answer:?}")))
}

#[tokio::test]
#[ignore = "not a test: the app that the tests start"]
async fn the_app() {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        signal::unix::{SignalKind, signal},
        task::JoinSet,
    };
    let Ok(version) = std::env::var("THE_APP") else { return };
    assert_eq!(std::env::var("HOSTILE").unwrap(), "%n $HOME \"quoted\" back\\slash `x`\nline");
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let port: u16 = std::env::var("THE_PORT").unwrap().parse().unwrap();
    let listener = match longshore_agent::host::sys::passed_sockets().unwrap().pop() {
        Some(socket) => std::net::TcpListener::from(socket),
        None => std::net::TcpListener::bind(("127.0.0.1", port)).unwrap(),
    };
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let mut requests = JoinSet::new();
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            Some(_) = requests.join_next() => (),
            accepted = listener.accept() => {
                let (mut stream, _) = accepted.unwrap();
                let version = version.clone();
                requests.spawn(async move {
                    let mut request = [0; 1024];
                    let _ = stream.read(&mut request).await;
                    let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n\r\n{version}").as_bytes()).await;
                });
            }
        }
    }
    drop(listener);
    while requests.join_next().await.is_some() {}
    std::process::exit(0);
}

/// Scenario 130, for the process, the unit and the files, which is where secrets are.
#[tokio::test]
#[ignore = "needs a host of its own"]
async fn a_unit_comes_up_is_probed_moved_and_taken_away() {
    let fixture = Fixture::new("web").await;
    let one = fixture.serving("1.0", 18080, "");
    let two = fixture.serving("1.1", 18080, "");
    fixture.0.go(&one).await.unwrap();
    assert_eq!(get(18080).unwrap(), "1.0");
    let seen = fixture.0.seen().await;
    assert!(seen.is_live(&one), "{seen:?}");
    assert_eq!(show("web", "UnitFileState"), "enabled");
    assert_eq!(show("web", "User"), "daemon");
    fixture.0.go(&two).await.unwrap();
    assert_eq!(get(18080).unwrap(), "1.1");
    assert!(fixture.0.seen().await.is_live(&two));
    fixture.0.perform(Step::Probe { slot: two.clone(), manner: Manner::Glance }).await.unwrap();
    fixture.0.perform(Step::Remove).await.unwrap();
    assert_eq!(fixture.0.seen().await.running, None);
    assert_eq!(show("web", "LoadState"), "not-found");
    assert!(!fixture.0.layout.app(&fixture.0.app).exists());
    fixture.0.perform(Step::Stop).await.unwrap();
}

#[tokio::test]
#[ignore = "needs a host of its own"]
async fn a_service_finds_its_words_and_folders() {
    let fixture = Fixture::new("words").await;
    let slot = fixture.script(
        "1.0",
        "printf '<%s>' \"$@\"; echo; pwd; id -un; echo $LONGSHORE_SLOT; exec sleep 1000",
        "",
    );
    fixture.0.perform(Step::Start(slot.clone())).await.unwrap();
    let folder = fixture.0.layout.slot(&fixture.0.app, &slot).display().to_string();
    let begun = Instant::now();
    let heard = loop {
        let (sink, events) = Sink::collecting();
        fixture.0.host.logs(&fixture.0.app, 50, Follow::No, &sink).await.unwrap();
        let heard = lines(&events);
        // The folder is said twice, the second time as the last word.
        if heard.iter().filter(|line| **line == folder).count() >= 2 || begun.elapsed() > PATIENCE {
            break heard;
        }
    };
    assert!(heard.iter().any(|line| line == "<a b><%n><$HOME>"), "{heard:?}");
    assert!(heard.iter().filter(|line| **line == folder).count() >= 2, "{heard:?}");
}

/// Of journald's configuration.
const KEEP_NOTHING: &str = "/run/systemd/journald.conf.d/zz-keep-nothing.conf";

/// journald keeps nothing until this goes, and what it kept before stays.
struct NothingKept;

impl NothingKept {
    fn new() -> Self {
        std::fs::create_dir_all(Path::new(KEEP_NOTHING).parent().unwrap()).unwrap();
        write_atomic(Path::new(KEEP_NOTHING), b"[Journal]\nStorage=none\n", 0o644).unwrap();
        let restarted = Command::new("systemctl").args(["restart", "systemd-journald"]).status().unwrap();
        assert!(restarted.success());
        Self
    }
}

impl Drop for NothingKept {
    fn drop(&mut self) {
        // What cannot be put back while a test fails must not hide why it does; the host is thrown away after it.
        let _ = std::fs::remove_file(KEEP_NOTHING);
        let _ = Command::new("systemctl").args(["restart", "systemd-journald"]).output();
    }
}

/// A journal from before `Storage=none` says nothing of what runs now.
#[tokio::test]
#[ignore = "needs a host of its own"]
async fn a_log_that_is_not_kept_is_told_from_one_that_says_nothing() {
    let fixture = Fixture::new("unheard").await;
    let (host, app) = (&fixture.0.host, &fixture.0.app);
    let slot = fixture.script("1.0", "exec sleep 1000", "");
    let start = || fixture.0.perform(Step::Start(slot.clone()));
    start().await.unwrap();
    host.logs(app, 50, Follow::No, &Sink::nowhere()).await.unwrap();
    let nothing = NothingKept::new();
    let begun = Instant::now();
    let (failure, events) = loop {
        start().await.unwrap();
        let (sink, events) = Sink::collecting();
        match host.logs(app, 50, Follow::No, &sink).await {
            Err(failure) => break (failure, events),
            // The last words that journald kept may lie within the second before the start.
            Ok(()) => assert!(begun.elapsed() < PATIENCE, "{:?}", lines(&events)),
        }
    };
    let said_so = |failure: &Failure| failure.message.contains("nothing was kept in the journal");
    assert!(said_so(&failure) && lines(&events).is_empty(), "{failure:?} {:?}", lines(&events));
    let usage = host.usage(app, 0).await.unwrap();
    assert!(usage.log_unread.is_some_and(|why| why.contains("nothing was kept")), "its errors are not known");
    let sink = Sink::nowhere();
    let followed = tokio::time::timeout(PATIENCE, host.logs(app, 0, Follow::Yes, &sink)).await;
    let failure = followed.expect("at once").unwrap_err();
    assert!(said_so(&failure), "{failure:?}");
    drop(nothing);
    start().await.unwrap();
    host.logs(app, 50, Follow::No, &Sink::nowhere()).await.unwrap();
}

/// `service.sockets`: while the service is replaced again and again, nobody is refused.
#[tokio::test]
#[ignore = "needs a host of its own"]
async fn no_request_fails_while_versions_are_swapped() {
    let fixture = Fixture::new("held").await;
    let sockets = "sockets = [\"127.0.0.1:18081\"]\n";
    let slots = [fixture.serving("1.0", 18081, sockets), fixture.serving("1.1", 18081, sockets)];
    fixture.0.go(&slots[0]).await.unwrap();
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let client = {
        let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
        std::thread::spawn(move || {
            let mut failures = vec![];
            while !stop.load(Ordering::Relaxed) {
                match get(18081) {
                    Ok(_) => drop(served.fetch_add(1, Ordering::Relaxed)),
                    Err(e) => failures.push(e.to_string()),
                }
            }
            failures
        })
    };
    for round in 1..=8 {
        fixture.0.perform(Step::Start(slots[round % 2].clone())).await.unwrap();
        assert!(fixture.0.runs(&slots[round % 2]).await, "round {round}");
    }
    assert!(until(PATIENCE, || served.load(Ordering::Relaxed) > 20), "hardly anybody was served");
    stop.store(true, Ordering::Relaxed);
    assert_eq!(client.join().unwrap(), Vec::<String>::new());
    // From sockets that are held to none and back.
    let own = fixture.serving("1.2", 18081, "");
    fixture.0.go(&own).await.unwrap();
    assert_eq!(get(18081).unwrap(), "1.2");
    fixture.0.go(&slots[0]).await.unwrap();
    assert_eq!(get(18081).unwrap(), "1.0");
}

fn is_version_fault(failure: &Failure, words: &str) {
    assert_eq!((failure.code.as_str(), failure.blame), ("LS-U01", Blame::Version), "{failure:?}");
    assert!(failure.message.contains(words), "{}", failure.message);
}

/// A release that exits at once is found early, says its last words, and can be undone at once, often.
#[tokio::test]
#[ignore = "needs a host of its own"]
async fn a_broken_release_is_found_early_and_undone_again_and_again() {
    let fixture = Fixture::new("broken").await;
    let good = fixture.serving("1.0", 18082, "");
    let probe = "[[probe]]\nname = \"web\"\nhttp = \"http://127.0.0.1:18082/\"\ndeadline = \"30m\"\n";
    let bad = fixture.script("1.1", "echo cannot open the database >&2; exit 1", probe);
    fixture.0.go(&good).await.unwrap();
    let begun = Instant::now();
    let failure = fixture.0.go(&bad).await.unwrap_err();
    is_version_fault(&failure, "exit status 1");
    assert!(failure.evidence.iter().any(|line| line == "cannot open the database"), "{failure:?}");
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    for round in 0..8 {
        // Whether systemd noticed its end within the start or after it, the way back is open.
        let _ = fixture.0.perform(Step::Start(bad.clone())).await;
        fixture.0.perform(Step::Start(good.clone())).await.unwrap_or_else(|e| panic!("round {round}: {e:?}"));
    }
    fixture.0.go(&good).await.unwrap();
    assert_eq!(get(18082).unwrap(), "1.0");
}

#[tokio::test]
#[ignore = "needs a host of its own"]
async fn what_cannot_be_started_says_why() {
    let fixture = Fixture::new("never").await;
    let missing = fixture.0.slot("1.0", "[service]\nuser = \"daemon\"\nexec = [\"./none\"]\n", &[]);
    let failure = fixture.0.perform(Step::Start(missing)).await.unwrap_err();
    is_version_fault(&failure, "./none cannot be executed");
    let stranger =
        fixture.0.slot("1.1", "[service]\nuser = \"nobody-knows\"\nexec = [\"/bin/sleep\", \"9\"]\n", &[]);
    let failure = fixture.0.perform(Step::Start(stranger)).await.unwrap_err();
    assert!(failure.message.contains("no user \"nobody-knows\""), "{failure:?}");
}

/// What was a unit of systemd and only crashes makes room for a release that asks for a supervisor.
#[tokio::test]
#[ignore = "needs a host of its own"]
async fn a_side_that_crashes_is_taken_over_by_another_driver() {
    let fixture = Fixture::new("sides").await;
    let sides = "[service.sides]\nblue = \"127.0.0.1:18091\"\ngreen = \"127.0.0.1:18092\"\n";
    let crashing = fixture.script("1.0", "exit 1", sides);
    let file = format!("[service]\ndriver = \"process\"\nexec = [\"./run\"]\n{sides}");
    let next = fixture.0.slot("1.1", &file, &[("run", "#!/bin/sh\nexec sleep 1000\n")]);
    let side = Side::Blue;
    // Whether systemd noticed its end within the start or after it, its unit is there.
    let _ = fixture.0.perform(Step::StartSide { slot: crashing, side }).await;
    fixture.0.perform(Step::StartSide { slot: next.clone(), side }).await.unwrap();
    let seen = fixture.0.seen().await;
    fixture.0.perform(Step::StopSide(side)).await.unwrap();
    assert!(seen.sides.is_up(side, &next), "{seen:?}");
}

/// Between the move of the link and the restart an agent may die: what runs is then still known to be the old one.
#[tokio::test]
#[ignore = "needs a host of its own"]
async fn a_switch_that_was_cut_short_is_seen() {
    let fixture = Fixture::new("cut").await;
    let old = fixture.script("1.0", "exec sleep 1000", "");
    let new = fixture.script("1.1", "exec sleep 1000", "");
    fixture.0.perform(Step::Start(old.clone())).await.unwrap();
    let links = fixture.0.layout.unit_links(&fixture.0.app, longshore_agent::host::layout::Part::Whole);
    let mut names = std::fs::read_dir(&links).unwrap().map(|entry| entry.unwrap().file_name());
    let link = names.find(|name| name != "moment").unwrap();
    // As an agent that kept no moment left it.
    std::fs::remove_file(links.join("moment")).unwrap();
    for (link, slot) in [("before".as_ref(), &old), (link.as_os_str(), &new)] {
        let target = Path::new("../releases").join(slot.as_str());
        longshore_common::durable::symlink_atomic(&target, &links.join(link)).unwrap();
    }
    let cut = fixture.0.seen().await.running.unwrap();
    assert!(cut.slot == old && !cut.up, "moved and not restarted, a boot would start the other: {cut:?}");
    Command::new("systemctl").args(["restart", "longshore-cut.service"]).status().unwrap();
    assert!(fixture.0.runs(&new).await, "restarted");

    // A release that needs another unit gets another link, and none is left of the old one.
    let other = fixture.script("1.2", "exec sleep 1000", "env = { A = \"1\" }\nstart_timeout = \"7s\"\n");
    fixture.0.perform(Step::Start(other.clone())).await.unwrap();
    assert!(fixture.0.runs(&other).await);
    assert_eq!(
        std::fs::read_dir(&links).unwrap().count(),
        3,
        "its link, the one of before, and when it was moved"
    );
}

async fn hook(
    fixture: &Fixture,
    version: &str,
    script: &str,
    timeout: &str,
) -> (Result<(), Failure>, Vec<String>) {
    let file = format!(
        "[service]\nuser = \"daemon\"\nexec = [\"./hook\"]\n\
         [hooks]\nbefore_switch = {{ run = [\"./hook\"], timeout = \"{timeout}\" }}\n"
    );
    let slot = fixture.0.slot(version, &file, &[("hook", &format!("#!/bin/sh\n{script}\n"))]);
    fixture.0.perform_heard(Step::Hook { point: HookPoint::BeforeSwitch, slot }).await
}

#[tokio::test]
#[ignore = "needs a host of its own"]
async fn hooks_are_transient_units() {
    let fixture = Fixture::new("hooked").await;
    let words = "id -un; pwd; echo $LONGSHORE_VERSION; cat /proc/self/cgroup";
    let (result, heard) = hook(&fixture, "1.0", words, "10m").await;
    result.unwrap();
    assert_eq!((heard[0].as_str(), heard[2].as_str()), ("daemon", "1.0"), "{heard:?}");
    assert!(heard.iter().any(|line| line.contains("longshore-hook.hooked.service")), "{heard:?}");

    let (result, _) = hook(&fixture, "1.1", "echo no space; exit 7", "10m").await;
    let failure = result.unwrap_err();
    assert!(failure.message.contains("exit status 7"), "{}", failure.message);
    assert_eq!(failure.evidence, ["no space"]);

    let (result, _) = hook(&fixture, "1.2", "kill -KILL $$", "10m").await;
    assert!(result.unwrap_err().message.contains("SIGKILL"));
}

/// Its control group ends what no process group holds.
#[tokio::test]
#[ignore = "needs a host of its own"]
async fn a_hook_past_its_timeout_leaves_nothing_behind() {
    let fixture = Fixture::new("late").await;
    // A hook has a /tmp of its own; what it shares with anybody is here.
    let pids = Path::new("/var/lib/longshore/apps/late/shared/pids");
    let script = "trap '' TERM; export PIDS=$LONGSHORE_SHARED/pids\n\
        setsid sh -c 'trap \"\" TERM; echo $$ >> $PIDS; while :; do sleep 1; done' &\n\
        (setsid sh -c 'echo $$ >> $PIDS; exec sleep 987' &)\n\
        echo $$ >> $PIDS; echo begun\nwhile :; do sleep 1; done";
    // A machine that stands still for all of its time has begun nothing that could stay; there is more of it then.
    for (version, timeout) in [("1.0", "1s"), ("1.1", "20s"), ("1.2", "2m")] {
        let (result, heard) = hook(&fixture, version, script, timeout).await;
        let failure = result.unwrap_err();
        assert!(failure.message.contains(&format!("timeout of {timeout}")), "{}", failure.message);
        let text = std::fs::read_to_string(pids).unwrap_or_default();
        let noted: Vec<i32> = text.lines().map(|line| line.trim().parse().unwrap()).collect();
        let alive = |pid: &i32| procfs::one(*pid).is_some_and(|proc| !proc.zombie);
        assert!(until(PATIENCE, || !noted.iter().any(alive)), "{noted:?}");
        if noted.len() >= 3 && heard == ["begun"] {
            return;
        }
        longshore_common::durable::remove_durable(pids).unwrap();
    }
    panic!("it never had begun all of them");
}

/// Whoever waits for it goes away: so does the hook.
#[tokio::test]
#[ignore = "needs a host of its own"]
async fn a_hook_that_is_given_up_is_stopped() {
    let fixture = Fixture::new("givenup").await;
    let file = "[service]\nuser = \"daemon\"\nexec = [\"./hook\"]\n[hooks]\nbefore_switch = { run = [\"./hook\"], timeout = \"5m\" }\n";
    let slot = fixture.0.slot("1.0", file, &[("hook", "#!/bin/sh\nexec sleep 986\n")]);
    let step = Step::Hook { point: HookPoint::BeforeSwitch, slot };
    let unit = "longshore-hook.givenup.service";
    let runs = || {
        let state = Command::new("systemctl").args(["is-active", unit]).output().unwrap().stdout;
        ["active", "activating"].contains(&String::from_utf8_lossy(&state).trim())
    };
    let begun = async {
        while !runs() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        ended = fixture.0.perform(step) => panic!("{ended:?}"),
        () = begun => {}
    }
    let begun = Instant::now();
    while runs() {
        assert!(begun.elapsed() < PATIENCE, "it goes on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
