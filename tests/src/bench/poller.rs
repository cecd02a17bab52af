//! A client that asks one host again and again, each time over a new connection, and keeps count.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Longer than any answer of a healthy app; a request that takes it has failed.
const ANSWER: Duration = Duration::from_secs(2);

/// What one client saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub asked: u64,
    pub failed: u64,
    /// Between the ends of two answered requests, at the longest.
    pub longest_gap: Duration,
    /// Of the first few failures.
    pub reasons: Vec<String>,
}

pub struct Poller {
    stop: Arc<AtomicBool>,
    running: JoinHandle<Seen>,
}

impl Poller {
    pub fn start(host: Ipv4Addr, port: u16, every: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let running = thread::spawn(move || poll(SocketAddr::from((host, port)), every, &flag));
        Self { stop, running }
    }

    pub fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.running.join().expect("the client does not panic")
    }
}

fn poll(address: SocketAddr, every: Duration, stop: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let mut answered = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        seen.asked += 1;
        match ask(address) {
            Ok(_) => {
                seen.longest_gap = seen.longest_gap.max(answered.elapsed());
                answered = Instant::now();
            }
            Err(error) => {
                seen.failed += 1;
                if seen.reasons.len() < 5 {
                    seen.reasons.push(error.to_string());
                }
            }
        }
        thread::sleep(every.saturating_sub(begun.elapsed()));
    }
    seen
}

/// The body of `GET /`.
pub fn ask(address: SocketAddr) -> std::io::Result<String> {
    ask_for(address, "/")
}

/// The body of `GET path`, if it is answered with 200.
pub fn ask_for(address: SocketAddr, path: &str) -> std::io::Result<String> {
    ask_within(ANSWER, address, path)
}

/// The same, by somebody who waits as long as it takes, up to `patience` for each part of it.
pub fn ask_within(patience: Duration, address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let failed = |what: &str| std::io::Error::other(format!("{what}: {answer:?}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| failed("cut off"))?;
    if head.starts_with("HTTP/1.1 200") { Ok(body.to_owned()) } else { Err(failed("not 200")) }
}
