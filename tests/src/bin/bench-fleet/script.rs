//! What we are measured against: ssh to every host at once, curl, sha256sum, tar, a link, a restart, a check.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use longshore_tests::lab::Lab;
use longshore_tests::{Result, Within, run};
use sha2::{Digest, Sha256};

/// A first deploy to twenty hosts at once takes a quarter of a minute here.
const DEPLOY: Duration = Duration::from_secs(300);
const PACK: Duration = Duration::from_secs(120);

const UNIT: &str = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/opt/app/current/bin/app --listen 0.0.0.0:8090\n\
                    WorkingDirectory=/opt/app/current\nUser=www-data\n";

/// The one on the controller's side: a key, and a server of artifacts.
pub struct Script<'a> {
    lab: &'a Lab,
    key: PathBuf,
    server: FileServer,
    folder: PathBuf,
}

impl<'a> Script<'a> {
    /// Prepares the hosts: sshd with our key, the unit.
    pub fn prepare(lab: &'a Lab) -> Result<Self> {
        let folder = lab.folder().join("script");
        std::fs::create_dir_all(&folder).within(|| format!("make {}", folder.display()))?;
        let key = folder.join("key");
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key), PACK)?
            .success()?;
        let public = std::fs::read_to_string(key.with_extension("pub")).within(|| "read the key".into())?;
        lab.together(|host| {
            host.write("/root/.ssh/authorized_keys", &public, 0o600)?;
            host.write("/etc/systemd/system/app.service", UNIT, 0o644)?;
            host.shell("mkdir -p /opt/app/releases && systemctl daemon-reload && systemctl start ssh")?
                .success()
        })?;
        let server = FileServer::start(SocketAddr::from((lab.gateway(), 0)))?;
        Ok(Self { lab, key, server, folder })
    }

    /// Packs a folder as tar.zst and offers it.
    pub fn publish(&self, version: &str, content: &Path) -> Result<u64> {
        let archive = self.folder.join(format!("{version}.tar.zst"));
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(content).args(["-I", "zstd -9 -T2", "-cf"]).arg(&archive).arg(".");
        run(&mut tar, PACK)?.success()?;
        let bytes = std::fs::read(&archive).within(|| format!("read {}", archive.display()))?;
        let size = bytes.len() as u64;
        self.server.offer(version, bytes);
        Ok(size)
    }

    /// Asks every host for nothing.
    pub fn ask(&self) -> Result<()> {
        self.everywhere("true")
    }

    /// The script proper: what is live stays, what lies there is switched to, the rest is fetched.
    pub fn deploy(&self, version: &str) -> Result<()> {
        let digest = self.server.digest(version)?;
        let url = format!("http://{}/{version}", self.server.address);
        let check = format!("curl -fsS http://127.0.0.1:8090/ | grep -qx {version}");
        self.everywhere(&format!(
            "set -e; d=/opt/app/releases/{version}
             if [ \"$(readlink /opt/app/current)\" = $d ]; then {check}; exit 0; fi
             if [ ! -e $d/VERSION ]; then
               mkdir -p $d; curl -fsS {url} -o /opt/app/part
               echo '{digest}  /opt/app/part' | sha256sum --quiet -c
               tar --zstd -xf /opt/app/part -C $d; rm /opt/app/part
             fi
             ln -sfn $d /opt/app/new; mv -T /opt/app/new /opt/app/current; systemctl restart app
             i=0; until {check} 2>/dev/null; do i=$((i+1)); [ $i -lt 200 ]; sleep 0.05; done"
        ))
    }

    fn everywhere(&self, line: &str) -> Result<()> {
        self.lab.together(|host| run(&mut self.ssh(host.ip(), line), DEPLOY)?.success()).map(drop)
    }

    fn ssh(&self, host: Ipv4Addr, line: &str) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args([
            "-q",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ]);
        ssh.arg("-i").arg(&self.key).arg(format!("root@{host}")).arg(line);
        ssh
    }
}

/// Archives by version, from memory: the quickest server there could be.
struct FileServer {
    address: SocketAddr,
    files: Arc<Mutex<HashMap<String, Arc<Vec<u8>>>>>,
}

impl FileServer {
    fn start(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address).within(|| format!("listen on {address}"))?;
        let address = listener.local_addr().within(|| "ask for the port".into())?;
        let files = Arc::new(Mutex::new(HashMap::<String, Arc<Vec<u8>>>::new()));
        let shared = Arc::clone(&files);
        thread::spawn(move || {
            // Ends with the process: the benchmark is the process.
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let mut request = String::new();
                    let asked = BufReader::new(&stream).read_line(&mut request);
                    let name = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
                    let file = shared.lock().expect("no holder panics").get(name).cloned();
                    let (status, body) = match file {
                        Some(file) if asked.is_ok() => ("200 OK", file),
                        _ => ("404 Not Found", Arc::default()),
                    };
                    let head = format!(
                        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                        body.len()
                    );
                    let mut stream = &stream;
                    // The client sees a cut as well as we do, and its script fails.
                    if let Err(error) =
                        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body))
                    {
                        eprintln!("serve {name}: {error}");
                    }
                });
            }
        });
        Ok(Self { address, files })
    }

    fn offer(&self, name: &str, bytes: Vec<u8>) {
        self.files.lock().expect("no holder panics").insert(name.to_owned(), Arc::new(bytes));
    }

    fn digest(&self, name: &str) -> Result<String> {
        let file = self.files.lock().expect("no holder panics").get(name).cloned();
        let file = file.within(|| format!("{name} was not published"))?;
        Ok(Sha256::digest(&*file).iter().map(|byte| format!("{byte:02x}")).collect())
    }
}
