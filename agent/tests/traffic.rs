//! An app that runs beside itself, on real parts: our own relay, Debian's HAProxy and nginx, under constant load. No
//! request may fail, neither when a release comes nor when a bad one is undone.

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use longshore_agent::{
    config::{Config, Runner},
    host::{Host as _, Sink, direct::Directors, layout::Part, real::RealHost},
    plan::{Acceptance, Attempt, Next, Record, accept, after, conclude, next},
    uplink::Uplink,
};
use longshore_common::{
    assignment::{Assignment, Intent},
    digest::ReleaseDigest,
    durable::write_atomic,
    ids::{AppName, Generation, HostId, RolloutId},
    report::Outcome,
    settings::Settings,
    slot::Slot,
    time::Span,
    traffic::{Director, Side, Traffic},
};
use support::{
    clocked,
    load::{Front, Load, free_port, get, there, until_answered},
    me,
    release::manifest,
    until,
};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(120);

/// The app: this program again. Answers with its version; `/healthz` says whether that is a good one.
#[test]
#[ignore = "it is what the other tests deploy"]
fn serve() {
    let listen = std::env::var("LONGSHORE_LISTEN").unwrap();
    let version = std::env::var("LONGSHORE_VERSION").unwrap();
    let listener = TcpListener::bind(listen).unwrap();
    for stream in listener.incoming().flatten() {
        let version = version.clone();
        thread::spawn(move || answer(stream, &version));
    }
}

fn answer(mut stream: TcpStream, version: &str) -> std::io::Result<()> {
    let mut head = [0; 2048];
    let length = stream.read(&mut head)?;
    let sick = version.ends_with("bad") && head[..length].starts_with(b"GET /healthz");
    let status = if sick { "500 no" } else { "200 OK" };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{version}",
        version.len()
    )
}

/// An agent's host and core, without its link.
struct Site {
    host: RealHost,
    app: AppName,
    record: Record,
    generation: u64,
    director: Director,
    /// Where the public connects to.
    public: u16,
    sides: [u16; 2],
    front: Front,
    root: tempfile::TempDir,
}

impl Drop for Site {
    fn drop(&mut self) {
        let layout = longshore_agent::host::layout::Layout::under(self.root.path()).unwrap();
        for part in [Part::Whole, Part::Relay, Part::Side(Side::Blue), Part::Side(Side::Green)] {
            if let Ok(pid) = fs::read_to_string(layout.run(&self.app, part).join("lock")) {
                // The supervisor's session ends with it; the app dies with its supervisor.
                let _ = Command::new("kill").args(["-KILL", pid.trim()]).status();
            }
        }
    }
}

impl Site {
    async fn new(director: Director) -> Self {
        let root = tempfile::tempdir().unwrap();
        let (public, sides) = (free_port(), [free_port(), free_port()]);
        let mut config = Config::new(root.path().to_owned(), vec!["nowhere.example:1".into()]);
        config.driver = Some(Runner::Process);
        config.directors = directors(root.path());
        let front = Front(match director {
            Director::Socket => None,
            Director::Haproxy => Some(haproxy(root.path(), public, sides)),
            Director::Nginx => Some(nginx(root.path(), public)),
        });
        let layout = longshore_agent::host::layout::Layout::under(root.path()).unwrap();
        let app: AppName = "shop".parse().unwrap();
        layout.make_app(&app).unwrap();
        let (_sender, uplink) = Uplink::new();
        let host = RealHost::open(&config, uplink, me()).await.unwrap();
        let record = Record::default();
        Self { host, app, record, generation: 0, director, public, sides, front, root }
    }

    /// A sealed slot of this version.
    fn slot(&self, version: &str) -> (Slot, ReleaseDigest) {
        let program = std::env::current_exe().unwrap();
        let [blue, green] = self.sides;
        let sockets = match self.director {
            Director::Socket => format!("sockets = [\"127.0.0.1:{}\"]\n", self.public),
            Director::Haproxy | Director::Nginx => String::new(),
        };
        let hook = match version.ends_with("worse") {
            true => "[hooks]\nafter_switch = { run = [\"/bin/false\"] }\n",
            false => "",
        };
        // Only what is never healthy runs into it.
        let deadline = if version.ends_with("bad") { "3s" } else { "10m" };
        let file = format!(
            "[service]\ndriver = \"process\"\nexec = [\"{}\", \"serve\", \"--exact\", \"--ignored\", \"--nocapture\"]\n\
             {sockets}[service.sides]\nblue = \"127.0.0.1:{blue}\"\ngreen = \"127.0.0.1:{green}\"\nwarm = \"1h\"\n\
             [[probe]]\nname = \"http\"\nhttp = \"http://{{listen}}/healthz\"\ninterval = \"100ms\"\n\
             healthy_for = \"300ms\"\ndeadline = \"{deadline}\"\n{hook}",
            program.display()
        );
        let alone = "[service]\ndriver = \"process\"\nexec = [\"/bin/sleep\", \"600\"]\n".to_owned();
        let file = if version.ends_with("alone") { alone } else { file };
        let manifest = manifest(&self.app, version, &file);
        let slot = Slot::new(&manifest.version, &manifest.digest(), &Settings::default());
        let layout = longshore_agent::host::layout::Layout::under(self.root.path()).unwrap();
        support::release::seal(&layout, &self.app, &manifest, &slot);
        (slot, manifest.digest())
    }

    /// The controller says this, and everything is done that follows from it.
    async fn give(&mut self, version: &str, share: u8) -> Outcome {
        self.generation += 1;
        let (_, release) = self.slot(version);
        // nginx does not say when it is over, so all of it is waited for there.
        let drain = Span::secs(if self.director == Director::Nginx { 5 } else { 60 });
        let backend = "shop".parse().unwrap();
        let traffic = Traffic { director: self.director, backend, share, drain };
        let assignment = Assignment {
            host: HostId(Uuid::from_u128(7)),
            app: self.app.clone(),
            env: "production".parse().unwrap(),
            rollout: RolloutId(Uuid::from_u128(self.generation.into())),
            generation: Generation(self.generation),
            version: version.parse().unwrap(),
            release,
            settings: Settings::default(),
            intent: Intent::Run,
            keep_slots: 3,
            traffic: Some(traffic),
            directions: None,
            unwell: None,
        };
        match accept(&self.record, &assignment, assignment.host, None) {
            Acceptance::Begin(record) => self.record = *record,
            other => panic!("{other:?}"),
        }
        self.converge().await
    }

    /// How the assignment ended.
    async fn converge(&mut self) -> Outcome {
        let mut attempt = Attempt::default();
        loop {
            let seen = self.host.observe(&self.app).await.unwrap();
            match next(&self.record, &attempt, &seen) {
                Next::Idle | Next::Keep(_) => break,
                Next::Conclude(outcome) => {
                    self.record = conclude(&self.record, &outcome);
                    attempt = Attempt::default();
                }
                Next::Do(step) => {
                    let result = self.host.perform(&self.app, &step, &Sink::nowhere()).await;
                    if let Err(failure) = &result {
                        println!("{step}: {}", failure.message);
                    }
                    let _ = after(&mut self.record, &mut attempt, &step, result);
                }
            }
        }
        self.record.concluded.as_ref().unwrap().outcome.clone()
    }

    /// Of the release that gates look at.
    async fn main_process(&self) -> u32 {
        let usage = self.host.usage(&self.app, 0).await.unwrap();
        assert!(usage.running && usage.memory_bytes > 0, "{usage:?}");
        usage.main_pid
    }

    /// Looked at until it stands so: a director has a second to answer, and a busy machine may take longer.
    async fn comes_to_stand(&self, wanted: &str) {
        let begun = Instant::now();
        loop {
            let now = self.stands().await;
            if now == wanted {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "it stands at {now} and not at {wanted}");
        }
    }

    async fn stands(&self) -> String {
        let seen = self.host.observe(&self.app).await.unwrap();
        let green = seen.sides.share(Side::Green).map_or("?".into(), |share| share.to_string());
        format!(
            "{} with {green}% on green",
            seen.current.map_or("-".to_owned(), |slot| slot.version().to_owned())
        )
    }
}

fn directors(root: &Path) -> Directors {
    let conf = root.join("nginx.conf").display().to_string();
    Directors {
        haproxy: root.join("haproxy.sock"),
        nginx: vec!["/usr/sbin/nginx".into(), "-c".into(), conf, "-p".into(), root.display().to_string()],
        nginx_folder: root.to_owned(),
    }
}

fn haproxy(root: &Path, public: u16, [blue, green]: [u16; 2]) -> Child {
    let socket = root.join("haproxy.sock");
    let conf = format!(
        "global\n stats socket {} mode 600 level admin\n\
         defaults\n mode http\n timeout connect 2m\n timeout client 2m\n timeout server 2m\n retries 3\n option redispatch\n\
         frontend public\n bind 127.0.0.1:{public}\n default_backend shop\n\
         backend shop\n server blue 127.0.0.1:{blue} check inter 100ms disabled\n server green 127.0.0.1:{green} check inter 100ms disabled\n",
        socket.display()
    );
    let path = root.join("haproxy.cfg");
    write_atomic(&path, conf.as_bytes(), 0o644).unwrap();
    let mut command = Command::new("/usr/sbin/haproxy");
    command.arg("-db").arg("-f").arg(path).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().unwrap();
    assert!(until(PATIENCE, || socket.exists()), "haproxy is not up");
    child
}

fn nginx(root: &Path, public: u16) -> Child {
    let at = |name: &str| root.join(name).display().to_string();
    let conf = format!(
        "user root;\npid {};\nerror_log {};\ndaemon off;\nevents {{}}\n\
         http {{\n access_log off;\n client_body_temp_path {};\n proxy_temp_path {};\n fastcgi_temp_path {};\n \
         uwsgi_temp_path {};\n scgi_temp_path {};\n include {};\n \
         server {{ listen 127.0.0.1:{public}; location / {{ proxy_pass http://shop; }} }}\n}}\n",
        at("nginx.pid"),
        at("nginx.log"),
        at("t1"),
        at("t2"),
        at("t3"),
        at("t4"),
        at("t5"),
        at("shop.conf")
    );
    write_atomic(&root.join("nginx.conf"), conf.as_bytes(), 0o644).unwrap();
    write_atomic(&root.join("shop.conf"), b"upstream shop { server 127.0.0.1:9 down; }\n", 0o644).unwrap();
    let mut command = Command::new("/usr/sbin/nginx");
    command.args(["-c", &at("nginx.conf"), "-p", &root.display().to_string()]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pid: PathBuf = root.join("nginx.pid");
    // The file is there before what it says is.
    let up = || fs::read_to_string(&pid).is_ok_and(|pid| pid.ends_with('\n'));
    assert!(until(PATIENCE, up), "nginx is not up");
    child
}

/// The whole of it: a first release, the next in shares, one that is never healthy, one that fails after it got traffic,
/// and an instant way back. Under load from the first release on.
async fn blue_and_green(director: Director) {
    let mut site = Site::new(director).await;
    assert_eq!(site.give("1", 100).await, Outcome::Healthy);
    until_answered(site.public, "1");
    let first = site.main_process().await;
    let load = Load::on(site.public);
    assert_eq!(site.give("2", 25).await, Outcome::Healthy);
    assert_ne!(site.main_process().await, first, "gates look at the release that is tried");
    let answers = load.answers(400);
    let (one, two) = (answers["1"] as f64, answers["2"] as f64);
    let share = two / (one + two);
    assert!((0.15..0.35).contains(&share), "{answers:?}");
    assert_eq!(site.give("2", 100).await, Outcome::Healthy);
    load.comes_to("2");
    let bad = site.give("3-bad", 100).await;
    assert!(matches!(&bad, Outcome::Failed { failure } if failure.code == "LS-B01"), "{bad:?}");
    let worse = site.give("4-worse", 100).await;
    assert!(
        matches!(&worse, Outcome::Reverted { to_version, .. } if to_version.as_str() == "2"),
        "{worse:?}"
    );
    assert_eq!(site.give("5", 100).await, Outcome::Healthy);
    let (outcome, back) = clocked(site.give("2", 100)).await;
    assert_eq!(outcome, Outcome::Healthy);
    load.comes_to("2");
    assert!(back < Duration::from_secs(10), "the way back took {back:?}");
    let answers = load.end();
    let failed: Vec<_> = answers.keys().filter(|said| said.starts_with("FAILED")).collect();
    assert!(failed.is_empty(), "{answers:?}");
    assert!(!answers.contains_key("3-bad"), "{answers:?}");
}

#[tokio::test]
async fn our_own_sockets_lose_no_request() {
    blue_and_green(Director::Socket).await;
}

/// Each side is reached where what runs there listens.
#[tokio::test]
async fn a_release_that_listens_elsewhere_gets_its_share_and_no_more() {
    let mut site = Site::new(Director::Socket).await;
    assert_eq!(site.give("1", 100).await, Outcome::Healthy);
    until_answered(site.public, "1");
    site.sides = [free_port(), free_port()];
    assert_eq!(site.give("2", 25).await, Outcome::Healthy);
    let load = Load::on(site.public);
    let answers = load.answers(400);
    let (one, two) = (answers["1"] as f64, answers["2"] as f64);
    assert!((0.15..0.35).contains(&(two / (one + two))), "{answers:?}");
    assert!(!load.end().keys().any(|said| said.starts_with("FAILED")));
}

/// With the last of its sides an app lets go of its public sockets: what comes later may hold them itself.
#[tokio::test]
async fn an_app_that_has_no_sides_any_more_lets_go_of_its_public_sockets() {
    let mut site = Site::new(Director::Socket).await;
    assert_eq!(site.give("1", 100).await, Outcome::Healthy);
    until_answered(site.public, "1");
    assert_eq!(site.give("2-alone", 100).await, Outcome::Healthy);
    assert!(site.host.observe(&site.app).await.unwrap().sides.is_empty());
    let free = || TcpListener::bind(("127.0.0.1", site.public)).is_ok();
    assert!(until(PATIENCE, free), "somebody holds the public socket still");
}

#[tokio::test]
async fn haproxy_loses_no_request() {
    if there("/usr/sbin/haproxy") {
        blue_and_green(Director::Haproxy).await;
    }
}

#[tokio::test]
async fn nginx_loses_no_request() {
    if there("/usr/sbin/nginx") {
        blue_and_green(Director::Nginx).await;
    }
}

/// What mends a release that is down comes in shares like any other.
#[tokio::test]
async fn what_is_down_can_be_mended_in_shares() {
    if !there("/usr/sbin/haproxy") {
        return;
    }
    let mut site = Site::new(Director::Haproxy).await;
    assert_eq!(site.give("1", 100).await, Outcome::Healthy);
    until_answered(site.public, "1");
    let layout = longshore_agent::host::layout::Layout::under(site.root.path()).unwrap();
    let supervisor = fs::read_to_string(layout.run(&site.app, Part::Side(Side::Blue)).join("lock")).unwrap();
    // Its app dies with it, and nobody is here who would start it again.
    Command::new("kill").args(["-KILL", supervisor.trim()]).status().unwrap();
    assert!(until(PATIENCE, || get(site.public).is_err()), "somebody still answers");
    assert_eq!(site.give("2", 25).await, Outcome::Healthy);
    until_answered(site.public, "2");
}

/// What HAProxy forgets when it is started again is said to it again; while it is away nothing is begun.
#[tokio::test]
async fn a_haproxy_that_was_away_is_told_again() {
    if !there("/usr/sbin/haproxy") {
        return;
    }
    let mut site = Site::new(Director::Haproxy).await;
    site.give("1", 100).await;
    site.give("2", 100).await;
    site.front = Front(None); // its end is waited for
    assert_eq!(site.stands().await, "2 with ?% on green");
    let _ = fs::remove_file(site.root.path().join("haproxy.sock"));
    site.front = Front(Some(haproxy(site.root.path(), site.public, site.sides)));
    site.converge().await;
    site.comes_to_stand("2 with 100% on green").await;
    assert!(until(PATIENCE, || get(site.public).is_ok_and(|said| said == "2")));
}
