//! The customers: every few milliseconds a new connection to each host, a request, and a count of what came back.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde::Serialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// Between two requests of one customer; there is one customer for each host.
const PACE: Duration = Duration::from_millis(20);
/// A customer who waited longer has left; a slow machine is no reason to.
const PATIENCE: Duration = Duration::from_secs(60);
const ANSWER_BYTES: u64 = 64 * 1024;

/// What customers saw so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    pub served: u64,
    pub failed: u64,
    /// By the version that answered.
    pub by_version: BTreeMap<String, u64>,
    pub slowest_ms: u64,
    pub first_failure: Option<String>,
}

#[derive(Debug)]
pub struct Traffic {
    tally: Arc<Mutex<Tally>>,
    stop: CancellationToken,
    customers: JoinSet<()>,
}

impl Traffic {
    /// One customer for each of `hosts`, until stopped or dropped.
    pub fn start(hosts: Vec<(String, SocketAddr)>) -> Self {
        let (tally, stop) = (Arc::new(Mutex::new(Tally::default())), CancellationToken::new());
        let mut customers = JoinSet::new();
        for (name, address) in hosts {
            customers.spawn(buy(name, address, tally.clone(), stop.clone()));
        }
        Self { tally, stop, customers }
    }

    pub fn tally(&self) -> Tally {
        self.tally.lock().expect("no holder panics").clone()
    }

    /// For lines that are painted while it goes on.
    pub fn reader(&self) -> impl Fn() -> Tally + Send + Sync + 'static {
        let tally = self.tally.clone();
        move || tally.lock().expect("no holder panics").clone()
    }

    /// No new requests; those under way are waited for and counted.
    pub async fn stop(mut self) -> Tally {
        self.stop.cancel();
        while self.customers.join_next().await.is_some() {}
        self.tally()
    }
}

async fn buy(name: String, address: SocketAddr, tally: Arc<Mutex<Tally>>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let asked = Instant::now();
        let answer = match tokio::time::timeout(PATIENCE, request(address)).await {
            Ok(answer) => answer,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")),
        };
        note(&mut tally.lock().expect("no holder panics"), &name, asked.elapsed(), answer);
        tokio::select! {
            () = tokio::time::sleep_until(asked + PACE) => {}
            () = stop.cancelled() => {}
        }
    }
}

fn note(tally: &mut Tally, host: &str, time: Duration, answer: io::Result<String>) {
    match answer {
        Ok(version) => {
            tally.served += 1;
            tally.slowest_ms = tally.slowest_ms.max(time.as_millis() as u64);
            *tally.by_version.entry(version).or_default() += 1;
        }
        Err(error) => {
            tally.failed += 1;
            tally.first_failure.get_or_insert_with(|| format!("{host}: {error}"));
        }
    }
}

/// The version that answered. Anything but a whole answer with status 200 is a failure.
async fn request(address: SocketAddr) -> io::Result<String> {
    let mut shop = TcpStream::connect(address).await?;
    shop.write_all(b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n").await?;
    let mut answer = vec![];
    shop.take(ANSWER_BYTES).read_to_end(&mut answer).await?;
    read_answer(&String::from_utf8_lossy(&answer))
}

fn read_answer(answer: &str) -> io::Result<String> {
    let bad = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| bad("the answer was cut".to_owned()))?;
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    if !status.contains(" 200 ") {
        return Err(bad(status.to_owned()));
    }
    let fields: BTreeMap<String, &str> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    if fields.get("content-length").is_none_or(|length| *length != body.len().to_string()) {
        return Err(bad("the answer was cut".to_owned()));
    }
    Ok(fields.get("x-shop-version").copied().unwrap_or("?").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_good_answer_counts() {
        let answer = |length: &str, body: &str| {
            read_answer(&format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nX-Shop-Version: 1.1\r\n\r\n{body}"
            ))
        };
        assert_eq!(answer("2", "ok").unwrap(), "1.1");
        assert!(answer("3", "ok").is_err());
        assert!(read_answer("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").is_err());
        assert!(read_answer("").is_err());
    }
}
