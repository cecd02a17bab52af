//! The real host without systemd: hooks, supervised apps, probes, a boot.

mod support;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use longshore_agent::{
    config::Runner,
    host::{Follow, Host as _, Sink, procfs},
    plan::{HookPoint, Manner, Step},
};
use longshore_common::report::Blame;
use support::{
    release::{Bench, lines},
    until,
};

/// Nothing here takes longer; what does is stuck.
const PATIENCE: Duration = Duration::from_secs(180);

/// Its apps end with the test, however it ends.
struct Fixture {
    bench: Bench,
    root: tempfile::TempDir,
}

impl Fixture {
    async fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let bench = Bench::new(root.path(), Runner::Process, "shop").await;
        Self { bench, root }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let lock = std::fs::read_to_string(
            self.bench.layout.run(&self.bench.app, longshore_agent::host::layout::Part::Whole).join("lock"),
        );
        if let Ok(pid) = lock {
            let _ = std::process::Command::new("kill").args(["-KILL", pid.trim()]).output();
        }
    }
}

const QUIET: &str = "[service]\ndriver = \"process\"\nexec = [\"./run\"]\nstop = { grace = \"2s\" }\n";
const SLEEPER: (&str, &str) = ("run", "#!/bin/sh\necho up\nexec sleep 1000\n");

fn hook(script: &str, timeout: &str) -> (String, [(&'static str, String); 2]) {
    let file = format!(
        "{QUIET}[hooks]\nbefore_switch = {{ run = [\"./hook\", \"word\"], timeout = \"{timeout}\" }}\n"
    );
    (file, [("hook", format!("#!/bin/sh\n{script}\n")), (SLEEPER.0, SLEEPER.1.to_owned())])
}

async fn run_hook(
    bench: &Bench,
    script: &str,
    timeout: &str,
) -> (Result<(), longshore_common::report::Failure>, Vec<String>) {
    let (file, scripts) = hook(script, timeout);
    let scripts: Vec<(&str, &str)> = scripts.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let slot = bench.slot("1.0", &file, &scripts);
    bench.perform_heard(Step::Hook { point: HookPoint::BeforeSwitch, slot }).await
}

#[tokio::test]
async fn a_hook_finds_its_slot_and_nothing_of_ours() {
    let fixture = Fixture::new().await;
    let script = "pwd; echo $1 $LONGSHORE_APP $LONGSHORE_VERSION; echo $LONGSHORE_SLOT; echo $LONGSHORE_SHARED; echo [$CARGO_HOME]; ls /proc/self/fd | wc -l; echo err >&2";
    let (result, mut heard) = run_hook(&fixture.bench, script, "10m").await;
    result.unwrap();
    let slot = fixture.bench.layout.sealed(&fixture.bench.app).unwrap().remove(0);
    let folder = fixture.bench.layout.slot(&fixture.bench.app, &slot).display().to_string();
    let shared = fixture.bench.layout.shared(&fixture.bench.app).display().to_string();
    heard.sort();
    let mut expected =
        vec![folder.clone(), "word shop 1.0".into(), folder, shared, "[]".into(), "4".into(), "err".into()];
    expected.sort();
    assert_eq!(heard, expected);
}

/// Scenario 76: an exit status that is not 0.
#[tokio::test]
async fn a_failing_hook_says_how_and_what_it_said_last() {
    let fixture = Fixture::new().await;
    let rows = [
        ("echo no space; exit 7", "before_switch (./hook) failed with exit status 7"),
        ("kill -SEGV $$", "failed with signal SIGSEGV"),
    ];
    for (script, reason) in rows {
        let (result, _) = run_hook(&fixture.bench, script, "10m").await;
        let failure = result.unwrap_err();
        assert_eq!((failure.code.as_str(), failure.blame), ("LS-H01", Blame::Version));
        assert!(failure.message.contains(reason), "{}", failure.message);
        assert_eq!(failure.evidence.iter().any(|line| line == "no space"), script.contains("no space"));
    }
}

/// Scenario 76: missing, or not executable: an error that names it. Modes are part of a release, so they are not mended here.
#[tokio::test]
async fn a_hook_that_is_not_there_or_no_program_is_named() {
    let fixture = Fixture::new().await;
    let file = |program: &str| format!("{QUIET}[hooks]\nbefore_switch = {{ run = [\"{program}\"] }}\n");
    let cases = [
        ("./none", "none does not exist"),
        ("./.longshore/sealed", "is not executable"),
        ("./text", "interpreter or loader"),
    ];
    for (program, reason) in cases {
        let slot = fixture.bench.slot("1.0", &file(program), &[("text", "#!/no/such/shell\n"), SLEEPER]);
        let failure =
            fixture.bench.perform(Step::Hook { point: HookPoint::BeforeSwitch, slot }).await.unwrap_err();
        assert!(failure.message.contains(reason), "{}", failure.message);
    }
}

/// Scenario 76: the timeout ends all of it: children, sessions of their own, orphans that forked twice.
#[tokio::test]
async fn a_hook_past_its_timeout_leaves_nothing_behind() {
    let fixture = Fixture::new().await;
    let pids = fixture.root.path().join("pids");
    let note = format!("echo $$ >> {}", pids.display());
    let script = format!(
        "setsid sh -c '{note}; setsid sh -c \"{note}; exec sleep 987\" & exec sleep 987' &\n\
         (sh -c '{note}; exec sleep 987' &)\n{note}\ntrap '' TERM INT\nwhile :; do sleep 1; done"
    );
    let script = script.replace("\"echo $$", "\"echo \\$\\$");
    // A machine that stands still for all of its time has begun nothing that could stay; there is more of it then.
    for timeout in ["5s", "30s", "3m"] {
        let (result, _) = run_hook(&fixture.bench, &script, timeout).await;
        let failure = result.unwrap_err();
        assert!(failure.message.contains(&format!("timeout of {timeout}")), "{}", failure.message);
        if none_left(&pids) >= 4 {
            return;
        }
        longshore_common::durable::remove_durable(&pids).unwrap();
    }
    panic!("it never had begun all of them");
}

/// How many there were.
fn none_left(pids: &Path) -> usize {
    let text = std::fs::read_to_string(pids).unwrap_or_default();
    let pids: Vec<i32> = text.lines().map(|line| line.trim().parse().unwrap()).collect();
    let alive: Vec<_> = pids.iter().filter(|pid| procfs::one(**pid).is_some_and(|p| !p.zombie)).collect();
    assert!(alive.is_empty(), "{alive:?}");
    pids.len()
}

/// A hook that succeeds and leaves a daemon behind: the daemon goes as well.
#[tokio::test]
async fn a_hook_that_ends_well_takes_its_daemons_along() {
    let fixture = Fixture::new().await;
    let pids = fixture.root.path().join("pids");
    let pids_shown = pids.display();
    let script = format!(
        "setsid sh -c 'echo $$ > {pids_shown}; exec sleep 987' >/dev/null 2>&1 &\n\
         while ! test -s {pids_shown}; do sleep 0.05; done"
    );
    run_hook(&fixture.bench, &script, "10m").await.0.unwrap();
    assert_eq!(none_left(&pids), 1);
}

/// Whoever waits for it goes away: so does the hook.
#[tokio::test]
async fn a_hook_that_is_given_up_is_killed() {
    let fixture = Fixture::new().await;
    let pids = fixture.root.path().join("pids");
    let script = format!("echo $$ > {}; exec sleep 987", pids.display());
    let text = || std::fs::read_to_string(&pids).unwrap_or_default();
    let begun = async {
        while !text().ends_with('\n') {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        ended = run_hook(&fixture.bench, &script, "10m") => panic!("{ended:?}"),
        () = begun => {}
    }
    let pid: i32 = text().trim().parse().unwrap();
    assert!(until(PATIENCE, || procfs::one(pid).is_none_or(|proc| proc.zombie)));
}

#[tokio::test]
async fn lines_of_a_hook_are_heard_while_it_runs() {
    let fixture = Fixture::new().await;
    let (file, scripts) = hook("echo first; exec sleep 1000", "10m");
    let scripts: Vec<(&str, &str)> = scripts.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let slot = fixture.bench.slot("1.0", &file, &scripts);
    let (sink, events) = Sink::collecting();
    let step = Step::Hook { point: HookPoint::BeforeSwitch, slot };
    let running = fixture.bench.host.perform(&fixture.bench.app, &step, &sink);
    let heard = async {
        while lines(&events).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        ended = running => panic!("{ended:?}"),
        () = heard => assert_eq!(lines(&events), ["first"]),
    }
}

#[tokio::test]
async fn an_app_comes_up_is_probed_and_stopped() {
    let fixture = Fixture::new().await;
    let bench = &fixture.bench;
    let probe = "[[probe]]\nname = \"up\"\nexec = [\"./check\"]\ninterval = \"100ms\"\nhealthy_for = \"300ms\"\ntimeout = \"2m\"\ndeadline = \"10m\"\n";
    let slot = bench.slot(
        "1.0",
        &format!("{QUIET}{probe}"),
        &[SLEEPER, ("check", "#!/bin/sh\ntest $LONGSHORE_VERSION = 1.0\n")],
    );
    bench.go(&slot).await.unwrap();
    let seen = bench.seen().await;
    assert!(seen.is_live(&slot), "{seen:?}");
    bench.perform(Step::Probe { slot: slot.clone(), manner: Manner::Glance }).await.unwrap();
    let said = async {
        loop {
            let (sink, events) = Sink::collecting();
            bench.host.logs(&bench.app, 5, Follow::No, &sink).await.unwrap();
            match lines(&events) {
                none if none.is_empty() => tokio::time::sleep(Duration::from_millis(5)).await,
                said => return said,
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, said).await.unwrap(), ["up"]);
    bench.perform(Step::Stop).await.unwrap();
    assert_eq!(bench.seen().await.running, None);
    bench.perform(Step::Remove).await.unwrap();
    assert!(!bench.layout.app(&bench.app).exists());
}

/// Not waited for until the probes' deadline: an app that only crashes has failed after its third crash.
#[tokio::test]
async fn a_crashing_release_fails_early_with_its_last_words() {
    let fixture = Fixture::new().await;
    let probe = "[[probe]]\nname = \"up\"\ntcp = \"127.0.0.1:1\"\ndeadline = \"30m\"\n";
    let crash = ("run", "#!/bin/sh\necho cannot read the config >&2\nexit 1\n");
    let slot = fixture.bench.slot("1.1", &format!("{QUIET}{probe}"), &[crash]);
    let begun = Instant::now();
    let failure = fixture.bench.go(&slot).await.unwrap_err();
    assert!(begun.elapsed() < PATIENCE);
    assert_eq!((failure.code.as_str(), failure.blame), ("LS-U01", Blame::Version));
    assert!(failure.message.contains("exit status 1"), "{}", failure.message);
    assert!(failure.evidence.iter().any(|line| line == "cannot read the config"), "{failure:?}");
}

#[tokio::test]
async fn a_release_without_probes_has_to_keep_running() {
    let fixture = Fixture::new().await;
    let slot = fixture.bench.slot("1.0", QUIET, &[SLEEPER]);
    let begun = Instant::now();
    fixture.bench.go(&slot).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(3));
    let ends = fixture.bench.slot("1.1", QUIET, &[("run", "#!/bin/sh\nexit 0\n")]);
    let failure = fixture.bench.go(&ends).await.unwrap_err();
    assert!(failure.message.contains("ended with exit status 0"), "{}", failure.message);
}

/// After a boot nobody but the agent starts it again, with the slot that was told to run.
#[tokio::test]
async fn an_app_is_started_again_after_a_boot() {
    let fixture = Fixture::new().await;
    let slot = fixture.bench.slot("1.0", QUIET, &[SLEEPER]);
    fixture.bench.perform(Step::Start(slot.clone())).await.unwrap();
    let lock =
        fixture.bench.layout.run(&fixture.bench.app, longshore_agent::host::layout::Part::Whole).join("lock");
    let supervisor = std::fs::read_to_string(lock).unwrap();
    std::process::Command::new("kill").args(["-KILL", supervisor.trim()]).status().unwrap();
    let pid: i32 = supervisor.trim().parse().unwrap();
    assert!(until(PATIENCE, || procfs::one(pid).is_none_or(|proc| proc.zombie)));
    let running = fixture.bench.seen().await.running.unwrap();
    assert!(!running.up && running.slot == slot, "{running:?}");
    let again = Bench::new(fixture.root.path(), Runner::Process, "shop").await;
    assert!(again.runs(&slot).await);
}

/// A program with a public socket, which is held for it.
fn held(port: u16) -> String {
    format!("{QUIET}sockets = [\"127.0.0.1:{port}\"]\n")
}

/// The machine stops: nothing of the app runs any more.
async fn lose_power(fixture: &Fixture) {
    let running = fixture.bench.seen().await.running.unwrap();
    let app: i32 = running.main.rsplit(' ').next().unwrap().parse().expect("running as pid …");
    let lock =
        fixture.bench.layout.run(&fixture.bench.app, longshore_agent::host::layout::Part::Whole).join("lock");
    let supervisor: i32 = std::fs::read_to_string(lock).unwrap().trim().parse().unwrap();
    std::process::Command::new("kill").args(["-KILL", &supervisor.to_string()]).status().unwrap();
    for pid in [supervisor, app] {
        assert!(until(PATIENCE, || procfs::one(pid).is_none_or(|proc| proc.zombie)));
    }
}

/// A start that was refused touched nothing that runs; the way back sees to it that a boot starts that again, and not what
/// was refused.
#[tokio::test]
async fn what_could_not_be_started_is_not_started_by_a_boot_either() {
    let fixture = Fixture::new().await;
    let (bench, port) = (&fixture.bench, support::load::free_port());
    let old = bench.slot("1.0", &held(port), &[SLEEPER]);
    let broken = bench.slot("1.1", &held(port), &[("run", "#!/no/such/shell\n")]);
    bench.perform(Step::Start(old.clone())).await.unwrap();
    let before = bench.seen().await.running.unwrap();
    bench.perform(Step::Start(broken)).await.unwrap_err();
    let refused = bench.seen().await.running.unwrap();
    assert!(refused.slot == old && refused.main == before.main, "{refused:?}");
    assert!(!refused.up, "a boot would start the other one: {refused:?}");
    bench.perform(Step::Start(old.clone())).await.unwrap();
    assert_eq!(bench.seen().await.running, Some(before), "the same process");
    lose_power(&fixture).await;
    let again = Bench::new(fixture.root.path(), Runner::Process, "shop").await;
    assert!(again.runs(&old).await);
}

/// Its address may not be there yet.
#[tokio::test]
async fn what_a_boot_cannot_start_yet_is_tried_again() {
    let fixture = Fixture::new().await;
    let port = support::load::free_port();
    let slot = fixture.bench.slot("1.0", &held(port), &[SLEEPER]);
    fixture.bench.perform(Step::Start(slot.clone())).await.unwrap();
    lose_power(&fixture).await;
    let taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let boot = async || Bench::new(fixture.root.path(), Runner::Process, "shop").await.runs(&slot).await;
    assert!(!boot().await);
    drop(taken);
    // A child that another test forks meanwhile may hold a copy for a moment.
    let comes = async { while !boot().await {} };
    tokio::time::timeout(PATIENCE, comes).await.expect("it is tried again");
}

#[tokio::test]
async fn static_content_needs_no_process() {
    let fixture = Fixture::new().await;
    let slot = fixture.bench.slot("1.0", QUIET, &[SLEEPER]);
    let files = fixture.bench.slot("2.0", "[service]\ndriver = \"none\"\n", &[]);
    fixture.bench.perform(Step::Start(slot.clone())).await.unwrap();
    fixture.bench.go(&files).await.unwrap();
    let seen = fixture.bench.seen().await;
    assert!(seen.is_live(&files) && seen.running.is_none(), "{seen:?}");
}

/// Needs root to become somebody else.
#[tokio::test]
async fn apps_and_hooks_run_as_their_user() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let fixture = Fixture::new().await;
    std::fs::set_permissions(fixture.root.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let file = "[service]\ndriver = \"process\"\nexec = [\"./run\"]\nuser = \"daemon\"\n[hooks]\nbefore_switch = { run = [\"./run\"] }\n";
    let slot = fixture.bench.slot(
        "1.0",
        file,
        &[("run", "#!/bin/sh\nid -un; id -G; touch $LONGSHORE_SHARED/mine; exec sleep 1\n")],
    );
    let step = Step::Hook { point: HookPoint::BeforeSwitch, slot };
    let (result, heard) = fixture.bench.perform_heard(step).await;
    result.unwrap();
    assert_eq!(heard, ["daemon", "1"]);
    assert!(fixture.bench.layout.shared(&fixture.bench.app).join("mine").exists());
}
