//! Constant load on a port, and what stands before it.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(120);

/// A port at which nobody listens, and which nobody is given who asks for any: those are from 32768 on. It is not listened
/// at even for a moment, since a child that another test forks just then would go on doing so.
pub fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(7919); // far from what the test programs beside this one are given
    loop {
        let nth = GIVEN.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(FIRST + start.wrapping_add(nth) % COUNT).expect("all of them are ports");
        if TcpStream::connect(("127.0.0.1", port)).is_err() {
            return port;
        }
    }
}

/// What directs the traffic, as a process of this test where it is one.
pub struct Front(pub Option<Child>);

impl Drop for Front {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            let _ = child.wait();
        }
    }
}

/// Requests, one after the other from several at once, until it is told to end.
pub struct Load {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<BTreeMap<String, u64>>>,
    /// Of all the time.
    failed: Arc<Mutex<BTreeMap<String, u64>>>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Load {
    pub fn on(port: u16) -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(BTreeMap::new())));
        let failed = Arc::new(Mutex::new(BTreeMap::new()));
        let threads = (0..4)
            .map(|_| {
                let (stop, seen, failed) = (Arc::clone(&stop), Arc::clone(&seen), Arc::clone(&failed));
                thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let said = get(port).unwrap_or_else(|error| format!("FAILED {error}"));
                        if said.starts_with("FAILED") {
                            *failed.lock().unwrap().entry(said.clone()).or_default() += 1;
                        }
                        *seen.lock().unwrap().entry(said).or_default() += 1;
                        thread::sleep(Duration::from_millis(2));
                    }
                })
            })
            .collect();
        Self { stop, seen, failed, threads }
    }

    /// What is answered from now on, at least so many times, by what it said.
    pub fn answers(&self, count: u64) -> BTreeMap<String, u64> {
        let look = || self.seen.lock().unwrap();
        std::mem::take(&mut *look());
        let answered = super::until(PATIENCE, || look().values().sum::<u64>() >= count);
        assert!(answered, "not {count} answers: {:?}", look());
        look().clone()
    }

    /// Until all of the load is answered so, a hundred times in a row: what was there before may answer for a moment more.
    pub fn comes_to(&self, word: &str) {
        let look = || self.seen.lock().unwrap();
        let steady = || {
            std::mem::take(&mut *look());
            super::until(PATIENCE, || look().values().sum::<u64>() >= 100);
            look().keys().eq([word])
        };
        assert!(super::until(PATIENCE, steady), "not {word} alone: {:?}", look());
    }

    /// What was said since the last look, and every failure there ever was.
    pub fn end(self) -> BTreeMap<String, u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        let mut seen = Arc::into_inner(self.seen).unwrap().into_inner().unwrap();
        seen.extend(Arc::into_inner(self.failed).unwrap().into_inner().unwrap());
        seen
    }
}

pub fn get(port: u16) -> Result<String, String> {
    let whole = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        Ok::<_, std::io::Error>(said)
    };
    let said = whole().map_err(|error| error.to_string())?;
    let body = said.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned();
    if said.starts_with("HTTP/1.1 200") {
        Ok(body)
    } else {
        Err(said.lines().next().unwrap_or("nothing").into())
    }
}

/// Until it is answered so again and again: what was there before a reload may answer for a moment more.
pub fn until_answered(port: u16, word: &str) {
    let steady = || (0..40).all(|_| get(port).is_ok_and(|said| said == word));
    assert!(super::until(PATIENCE, steady), "{port} does not answer {word}");
}

/// Whether this machine has the program; where tests have to run, it must.
pub fn there(program: &str) -> bool {
    let there = Path::new(program).exists();
    let required = std::env::var("LONGSHORE_REQUIRE_LAB").is_ok_and(|value| value == "1");
    assert!(there || !required, "{program} is not here: apt-get install haproxy nginx-light");
    if !there {
        println!("ignored: {program} is not here");
    }
    there
}
