//! A balancer of its own, the agent's host beside it, and hosts behind it.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use longshore_agent::{
    config::{Config, Runner},
    host::{Host as _, Sink, direct::Directors, real::RealHost},
    plan::Step,
    uplink::Uplink,
};
use longshore_common::{
    durable::write_atomic,
    ids::AppName,
    time::Span,
    traffic::{Directions, Director, Server},
};

use crate::support::{
    load::{Front, free_port},
    me, until,
};

pub const PATIENCE: Duration = Duration::from_secs(120);

/// A host behind the balancer: answers with one word until it is stopped, and then what it has begun.
pub struct Web {
    stop: Arc<AtomicBool>,
    port: u16,
    listening: Option<JoinHandle<()>>,
}

impl Web {
    pub fn on(port: u16, word: &'static str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let listening = thread::spawn(move || {
            for stream in listener.incoming().flatten().take_while(|_| !flag.load(Ordering::Relaxed)) {
                thread::spawn(move || answer(stream, word));
            }
        });
        Self { stop, port, listening: Some(listening) }
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port)); // so that it looks
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
    }
}

fn answer(mut stream: TcpStream, word: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = [0; 2048];
    if stream.read(&mut head)? == 0 {
        return Ok(());
    }
    // Long enough for some to be under way whenever something moves.
    thread::sleep(Duration::from_millis(5));
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{word}", word.len())
}

/// The balancer's host: the balancer is a process of this test, the agent's host is as on a machine.
pub struct Balancer {
    pub host: RealHost,
    pub app: AppName,
    pub director: Director,
    pub public: u16,
    pub ports: [u16; 4],
    pub front: Front,
    pub root: tempfile::TempDir,
}

impl Balancer {
    pub async fn new(director: Director) -> Self {
        let root = tempfile::tempdir().unwrap();
        let (public, ports) = (free_port(), [free_port(), free_port(), free_port(), free_port()]);
        let mut config = Config::new(root.path().to_owned(), vec!["nowhere.example:1".into()]);
        config.driver = Some(Runner::Process);
        let conf = root.path().join("nginx.conf").display().to_string();
        let folder = root.path().display().to_string();
        config.directors = Directors {
            haproxy: root.path().join("haproxy.sock"),
            nginx: vec!["/usr/sbin/nginx".into(), "-c".into(), conf, "-p".into(), folder],
            nginx_folder: root.path().to_owned(),
        };
        let front = match director {
            Director::Haproxy => haproxy(root.path(), public, ports),
            Director::Nginx => nginx(root.path(), public),
            Director::Socket => panic!("sockets of our own balance nothing"),
        };
        let (_sender, uplink) = Uplink::new();
        let host = RealHost::open(&config, uplink, me()).await.unwrap();
        let app = "shop".parse().unwrap();
        Self { host, app, director, public, ports, front: Front(Some(front)), root }
    }

    /// Weights of a, b, c and d.
    pub fn directions(&self, weights: [u16; 4]) -> Directions {
        let servers = ["a", "b", "c", "d"].into_iter().zip(self.ports).zip(weights);
        let servers = servers.map(|((name, port), weight)| Server {
            name: name.parse().unwrap(),
            address: Some(format!("127.0.0.1:{port}")),
            weight,
            if_up: false,
        });
        let drain = Span::millis(if self.director == Director::Nginx { 600 } else { 60_000 });
        let backend = "shop".parse().unwrap();
        Directions { director: self.director, backend, servers: servers.collect(), drain }
    }

    pub async fn direct(&self, weights: [u16; 4]) {
        let step = Step::Direct(self.directions(weights));
        let done = self.host.perform(&self.app, &step, &Sink::nowhere()).await;
        done.unwrap_or_else(|failure| panic!("{weights:?}: {}", failure.message));
        self.until_shown(&format!("{weights:?}")).await;
    }

    /// The balancer has a second to answer whoever only looks, and a busy machine may take longer.
    pub async fn until_shown(&self, what: &str) {
        let begun = Instant::now();
        while !self.shows().await {
            assert!(begun.elapsed() < PATIENCE, "{what} is not shown");
        }
    }

    /// HAProxy ends and is started again, with what its file says.
    pub fn restart_haproxy(&mut self) {
        self.front = Front(None); // its end is waited for
        let _ = fs::remove_file(self.root.path().join("haproxy.sock")); // it may have taken it along
        self.front = Front(Some(haproxy(self.root.path(), self.public, self.ports)));
    }

    pub async fn shows(&self) -> bool {
        self.host.observe(&self.app).await.unwrap().balance.unwrap().shown
    }
}

pub fn haproxy(root: &Path, public: u16, [a, b, c, d]: [u16; 4]) -> Child {
    let socket = root.join("haproxy.sock");
    let conf = format!(
        "global\n stats socket {} mode 600 level admin\n\
         defaults\n mode http\n timeout connect 2m\n timeout client 2m\n timeout server 2m\n retries 3\n option redispatch\n\
         frontend public\n bind 127.0.0.1:{public}\n default_backend shop\n\
         backend shop\n cookie pin insert indirect nocache\n default-server check inter 100ms\n \
         server a 127.0.0.1:{a} cookie a\n server b 127.0.0.1:{b} cookie b\n \
         server c 127.0.0.1:{c} cookie c disabled\n server d 127.0.0.1:{d} cookie d disabled\n",
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

/// What an admin says to HAProxy by hand.
pub fn admin(root: &Path, command: &str) {
    let mut socket = UnixStream::connect(root.join("haproxy.sock")).unwrap();
    writeln!(socket, "{command}").unwrap();
    let said = std::io::read_to_string(socket).unwrap();
    assert!(matches!(said.trim(), "" | "Server deleted."), "{command}: {said}");
}

fn nginx(root: &Path, public: u16) -> Child {
    let at = |name: &str| root.join(name).display().to_string();
    let conf = format!(
        "user root;\npid {};\nerror_log {};\ndaemon off;\nevents {{}}\nhttp {{\n access_log off;\n \
         client_body_temp_path {};\n proxy_temp_path {};\n fastcgi_temp_path {};\n uwsgi_temp_path {};\n \
         scgi_temp_path {};\n include {};\n \
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
    let pid = root.join("nginx.pid");
    // The file is there before what it says is.
    let up = || fs::read_to_string(&pid).is_ok_and(|pid| pid.ends_with('\n'));
    assert!(until(PATIENCE, up), "nginx is not up");
    child
}
