//! Probes against real listeners, with the verdict's time short.

use std::collections::BTreeMap;

use longshore_common::{headers::Headers, manifest::Check};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
};

use super::*;
use crate::{
    host::{keeper::Keeper, reexec::SelfExec},
    uplink::Uplink,
};

struct Always(Pulse);

impl Vitals for Always {
    async fn pulse(&self) -> Pulse {
        self.0.clone()
    }
}

fn alive() -> Always {
    Always(Pulse::Alive("1".into()))
}

fn scene() -> Scene {
    Scene {
        app: "shop".parse().unwrap(),
        keeper: Keeper::Tree(SelfExec::this()),
        supply: Uplink::new().1.into(),
        slot: "/".into(),
        user: None,
        env: BTreeMap::new(),
        own_loopback: None,
    }
}

fn probe(check: Check) -> Probe {
    Probe {
        name: "web".into(),
        check,
        interval: Span::millis(10),
        timeout: Span::secs(120),
        healthy_for: Span::millis(100),
        deadline: Span::secs(600),
    }
}

fn http(port: u16) -> Probe {
    with_headers(port, &[])
}

fn with_headers(port: u16, headers: &[(&str, &str)]) -> Probe {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let headers = Headers::try_from(headers.collect::<BTreeMap<_, _>>()).unwrap();
    probe(Check::Http { url: format!("http://127.0.0.1:{port}/healthz"), status: None, headers })
}

/// Answers the nth request with what `answer` says.
async fn server(answer: impl Fn(u32) -> String + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for count in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap_or(0);
            assert!(read == 0 || request.starts_with(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:"));
            let _ = stream.write_all(answer(count).as_bytes()).await;
        }
    });
    port
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const SICK: &str = "HTTP/1.1 503 Sick\r\n\r\ndatabase down";

#[tokio::test]
async fn it_takes_its_time_to_be_healthy() {
    let port = server(|count| if count == 1 { SICK } else { OK }.to_owned()).await;
    let begun = Instant::now();
    let (sink, events) = Sink::collecting();
    settle(&[http(port)], &scene(), &alive(), &sink).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(100));
    let heard = format!("{:?}", events.lock().unwrap());
    assert!(heard.contains("answered 503: database down") && heard.contains("web healthy for"), "{heard}");
}

#[tokio::test]
async fn past_the_deadline_it_is_unhealthy_with_the_last_error() {
    let port = server(|_| SICK.to_owned()).await;
    let probe = Probe { deadline: Span::millis(150), ..http(port) };
    let failure = settle(&[probe], &scene(), &alive(), &Sink::nowhere()).await.unwrap_err();
    assert_eq!(failure.code, "LS-B01");
    assert!(failure.message.contains("last error: answered 503: database down"), "{}", failure.message);
}

#[tokio::test]
async fn one_sick_probe_of_two_is_enough() {
    let well = server(|_| OK.to_owned()).await;
    let nobody = TcpSocket::new_v4().unwrap(); // has the port, and never listens
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let tcp = nobody.local_addr().unwrap();
    let sick = Probe { deadline: Span::millis(200), ..probe(Check::Tcp { address: tcp.to_string() }) };
    let failure = settle(&[http(well), sick], &scene(), &alive(), &Sink::nowhere()).await.unwrap_err();
    assert!(failure.message.contains("refused"), "{}", failure.message);
}

/// Scenario 90: a check that begins to answer late is waited for, however long the others have been healthy.
#[tokio::test]
async fn health_waits_for_the_last_check() {
    let well = server(|_| OK.to_owned()).await;
    let late = server(|count| if count < 20 { SICK } else { OK }.to_owned()).await;
    let begun = Instant::now();
    settle(&[http(well), http(late)], &scene(), &alive(), &Sink::nowhere()).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(19 * 10 + 100), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_is_lost_is_not_waited_for() {
    let lost =
        Failure::new(Code::U01, StepName::Probe, longshore_common::report::Blame::Version, "exit status 1");
    let vitals = Always(Pulse::Lost(Box::new(lost.clone())));
    let begun = Instant::now();
    let failure = settle(&[http(1)], &scene(), &vitals, &Sink::nowhere()).await.unwrap_err();
    assert_eq!(failure, lost);
    assert!(begun.elapsed() < Duration::from_secs(300));
}

/// Successes of a life that has ended do not count for the next one.
#[tokio::test]
async fn a_restart_begins_the_window_anew() {
    /// When each of three lives was first seen.
    struct Restarting(Mutex<Vec<Instant>>);
    impl Vitals for Restarting {
        async fn pulse(&self) -> Pulse {
            let mut lives = self.0.lock().unwrap();
            if lives.len() < 3 {
                lives.push(Instant::now());
            }
            Pulse::Alive(lives.len().to_string())
        }
    }
    let port = server(|_| OK.to_owned()).await;
    let probe = Probe { healthy_for: Span::millis(250), ..http(port) };
    let restarting = Restarting(Mutex::default());
    settle(&[probe], &scene(), &restarting, &Sink::nowhere()).await.unwrap();
    let lives = restarting.0.lock().unwrap();
    let last = lives.last().unwrap().elapsed();
    assert!(last >= Duration::from_millis(250), "life {} was healthy after {last:?}", lives.len());
}

#[tokio::test]
async fn noise_silence_and_other_statuses_are_not_health() {
    let rows: [(&'static str, Option<u16>, &str); 4] = [
        ("SSH-2.0-OpenSSH\r\n", None, "does not speak HTTP"),
        ("", None, "closed without an answer"),
        (OK, Some(204), "answered 200 instead of 204"),
        ("HTTP/1.1 404 No\r\n\r\n", None, "answered 404"),
    ];
    for (answer, status, reason) in rows {
        let port = server(move |_| answer.to_owned()).await;
        let url = format!("http://127.0.0.1:{port}/healthz");
        let check = Check::Http { url, status, headers: Headers::default() };
        let failure = glance(&[probe(check)], &scene(), &alive()).await.unwrap_err();
        assert!(failure.message.contains(reason), "{}", failure.message);
    }
}

/// Many a server answers nobody who calls it by its address.
#[tokio::test]
async fn a_server_of_a_name_is_asked_by_its_name() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap_or(0);
            let said = String::from_utf8_lossy(&request[..read]).into_owned();
            let known = said.contains("\r\nHost: shop.example\r\n") && said.matches("Host:").count() == 1;
            let answer = if known { OK } else { "HTTP/1.1 403 Forbidden\r\n\r\nno such site" };
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let failure = glance(&[http(port)], &scene(), &alive()).await.unwrap_err();
    assert!(failure.message.contains("answered 403: no such site"), "{}", failure.message);
    let named = with_headers(port, &[("Host", "shop.example"), ("X-Probe", "1")]);
    settle(&[named], &scene(), &alive(), &Sink::nowhere()).await.unwrap();
}

#[tokio::test]
async fn a_listener_that_never_answers_runs_into_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let probe = Probe { timeout: Span::millis(50), ..http(listener.local_addr().unwrap().port()) };
    let failure = glance(&[probe], &scene(), &alive()).await.unwrap_err();
    assert!(failure.message.contains("no answer within 50ms"), "{}", failure.message);
}

/// Scenario 88: however often it asks, no connection is left open.
#[tokio::test]
async fn no_connection_outlives_its_attempt() {
    let port = server(|_| OK.to_owned()).await;
    let probe = Probe { healthy_for: Span::millis(400), ..http(port) };
    settle(&[probe], &scene(), &alive(), &Sink::nowhere()).await.unwrap();
    let by = Instant::now() + Duration::from_secs(120);
    while established_to(port) > 0 {
        assert!(Instant::now() < by, "{} connections are left", established_to(port));
        sleep(Duration::from_millis(10)).await;
    }
}

/// Connections of this machine to the port, by the kernel's own table: `0100007F:1F90` is 127.0.0.1:8080, state 1 is
/// established.
fn established_to(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let remote = format!(":{port:04X}");
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.get(2).is_some_and(|to| to.ends_with(&remote)) && row.get(3) == Some(&"01")).count()
}
