//! Constant load on a service: requests one after the other, from one client for each address, until it is told to end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::bench::poller::ask_within;
use crate::{Result, until};

/// Between two requests of one client.
const PAUSE: Duration = Duration::from_millis(10);
/// For one answer. A machine that stands still makes everybody wait, and has turned nobody away.
const PATIENCE: Duration = Duration::from_secs(60);
/// For a client to be answered, or to fail, some hundred times.
const ANSWERED: Duration = Duration::from_secs(180);
/// Failures that are kept word by word.
const REASONS: usize = 5;

/// What was answered.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Bodies of good answers, and how often each was seen.
    pub said: BTreeMap<String, u64>,
    pub failed: u64,
    /// Of the first few failures.
    pub reasons: Vec<String>,
}

impl Answers {
    fn add(&mut self, answer: std::io::Result<String>) {
        match answer {
            Ok(body) => *self.said.entry(body).or_default() += 1,
            Err(error) => {
                self.failed += 1;
                if self.reasons.len() < REASONS {
                    self.reasons.push(error.to_string());
                }
            }
        }
    }

    pub fn good(&self) -> u64 {
        self.said.values().sum()
    }
}

pub struct Load {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<BTreeMap<SocketAddr, Answers>>>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// One client for each address, that asks for the paths in turn.
    pub fn on(addresses: impl IntoIterator<Item = SocketAddr>, paths: &'static [&'static str]) -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(BTreeMap::new())));
        let clients = addresses
            .into_iter()
            .map(|address| {
                let (stop, seen) = (Arc::clone(&stop), Arc::clone(&seen));
                thread::spawn(move || {
                    for path in paths.iter().cycle().take_while(|_| !stop.load(Ordering::Relaxed)) {
                        let answer = ask_within(PATIENCE, address, path);
                        let mut seen = seen.lock().expect("no holder panics");
                        seen.entry(address).or_insert_with(Answers::default).add(answer);
                        drop(seen);
                        thread::sleep(PAUSE);
                    }
                })
            })
            .collect();
        Self { stop, seen, clients }
    }

    /// Requests to this address that failed so far.
    pub fn failed_on(&self, address: &SocketAddr) -> u64 {
        self.seen.lock().expect("no holder panics").get(address).map_or(0, |answers| answers.failed)
    }

    /// Everything since the last call, of all addresses together.
    pub fn take(&self) -> Answers {
        let seen = std::mem::take(&mut *self.seen.lock().expect("no holder panics"));
        seen.into_values().fold(Answers::default(), |mut all, one| {
            for (body, count) in one.said {
                *all.said.entry(body).or_default() += count;
            }
            all.failed += one.failed;
            all.reasons.extend(one.reasons);
            all
        })
    }

    /// What is answered from now on, at least so many times, failures among them.
    pub fn next(&self, count: u64) -> Result<Answers> {
        self.take();
        until(ANSWERED, format!("{count} answers"), || {
            let seen = self.seen.lock().expect("no holder panics");
            let answered: u64 = seen.values().map(|answers| answers.good() + answers.failed).sum();
            Ok((answered >= count).then_some(()))
        })?;
        Ok(self.take())
    }

    /// Ends it; what was seen since the last `take`.
    pub fn end(mut self) -> Answers {
        self.stop_clients();
        self.take()
    }

    fn stop_clients(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            client.join().expect("a client does not panic");
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop_clients();
    }
}
