//! Whoever answers a gate may answer anything: each kind comes to a verdict all the same, in its time, and never to a pass.

mod headers;
mod partial;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use longshore_common::{
    digest::ReleaseDigest,
    headers::Headers,
    ids::{Generation, HostId, RolloutId},
    time::{Clock as _, Span, SystemClock},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Check, Conclusion, Runners, Scene, Seen,
    check::{Endpoint, From, Matrix, Metrics, Reach, Rule, To, Webhook, Worse},
    look,
    scene::Named,
};
use crate::{
    fleet::{Fleet, Heartbeat},
    rollout::{After, GateKind, GateSpec, Stage, Then, Verdict},
    store::MemoryStore,
    testing::clocked,
};

/// Of gates that run into it.
const DEADLINE: Span = Span::millis(1500);
/// The same of gates whose last look, a tenth of it, has to come to the end.
const LONG: Span = Span::millis(5000);
/// Of gates that have their verdict before it.
const PATIENCE: Span = Span::secs(120);
const EVERY: Span = Span::millis(200);

async fn scene(deadline: Span) -> Scene {
    let clock = Arc::new(SystemClock);
    let stop = CancellationToken::new();
    let store = Arc::new(MemoryStore::new());
    let (fleet, _) = Fleet::start(store, clock.clone(), Heartbeat::default(), stop).await.unwrap();
    let host = |name: &str| Named { id: HostId(Uuid::new_v4()), name: name.parse().unwrap() };
    Scene {
        rollout: RolloutId(Uuid::from_u128(7)),
        app: "shop".parse().unwrap(),
        env: "prod".parse().unwrap(),
        version: "1.1".parse().unwrap(),
        release: ReleaseDigest::of(b"1.1"),
        from_version: None,
        gate: GateSpec {
            name: "g".into(),
            kind: GateKind::Http,
            after: After::Canary,
            deadline,
            on_fail: Then::Rollback,
            on_inconclusive: Then::Pause,
            on_no_data: Then::Pause,
            beside_bake: false,
            in_watch: false,
            promotable: false,
            runner: None,
        },
        stage: Stage::After { wave: 0 },
        number: 1,
        generation: Generation::new(7, 0),
        changed: vec![host("web-1.example")],
        untouched: vec![host("web-2"), host("web-3")],
        since: clock.now_ms(),
        until: Instant::now() + deadline.0,
        fleet,
        clock,
        seen: Seen::default(),
    }
}

/// Looks, and holds the look to its deadline.
async fn within(deadline: Span, check: &Check) -> Conclusion {
    let scene = scene(deadline).await;
    let looked = tokio::time::timeout(2 * PATIENCE.0, look(check, &scene));
    let (said, took) = clocked(looked).await;
    assert!(took < deadline.0 + Duration::from_secs(2), "it took {took:?}");
    said.expect("it comes to a verdict")
}

/// The same of a gate that has to hear something before its time is over: a machine that stood still for all of it has
/// heard nothing, and then there is more of it.
async fn comes_to(first: Span, check: &Check, fits: impl Fn(&Conclusion) -> bool) -> Conclusion {
    let mut said = within(first, check).await;
    for deadline in [Span::secs(20), PATIENCE] {
        if fits(&said) {
            break;
        }
        said = within(deadline, check).await;
    }
    said
}

async fn verdict(check: &Check) -> Conclusion {
    within(DEADLINE, check).await
}

async fn soon(check: &Check) -> Conclusion {
    within(PATIENCE, check).await
}

/// Says this to every caller; what it was asked lies in the log.
async fn server(reply: impl Into<Vec<u8>>) -> (String, Arc<std::sync::Mutex<Vec<String>>>) {
    let reply = reply.into();
    changing(move |_| reply.clone()).await
}

/// The same, with another reply to each.
async fn changing(
    reply: impl Fn(usize) -> Vec<u8> + Send + 'static,
) -> (String, Arc<std::sync::Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(std::sync::Mutex::new(vec![]));
    let log = asked.clone();
    tokio::spawn(async move {
        for nth in 0.. {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let (reply, log) = (reply(nth), log.clone());
            tokio::spawn(async move {
                let mut heard = vec![0; 16 * 1024];
                let read = stream.read(&mut heard).await.unwrap_or(0);
                log.lock().unwrap().push(String::from_utf8_lossy(&heard[..read]).into_owned());
                let _ = stream.write_all(&reply).await;
                if reply.ends_with(b"...") {
                    while stream.write_all(&[b'x'; 1 << 14]).await.is_ok() {}
                }
                if reply.is_empty() {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    (format!("http://127.0.0.1:{port}"), asked)
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn endpoint(url: &str) -> Check {
    let (status, body, fail_status) = (None, Some("green".to_owned()), vec![409]);
    let (url, headers) = (url.into(), Headers::default());
    Check::Http(Endpoint { url, status, body, fail_status, headers, every: EVERY, ca: None })
}

fn webhook(url: &str) -> Check {
    Check::Webhook(Webhook { url: url.into(), secret_file: None, every: EVERY, ca: None })
}

fn metrics(url: &str, rule: Rule) -> Check {
    Check::Metrics(Metrics {
        prometheus: url.into(),
        query: "up{host=~\"$hosts\"}".into(),
        rule,
        window: Span::millis(300),
        step: EVERY,
        samples: 2,
        ca: None,
        token_file: None,
    })
}

fn at_most_one(url: &str) -> Check {
    metrics(url, Rule::Within { min: None, max: Some(1.0), breaches: 0 })
}

/// Replies of any kind: what is no answer is no data, and nothing hangs.
#[tokio::test]
async fn no_reply_whatever_it_is_passes_by_accident() {
    let replies: [&[u8]; 8] = [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n...",
        b"HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\ncontent-length: 18\r\n\r\n{\"verdict\": \"yes\"}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{\"verdict\":",
        b"HTTP/1.1 302 Found\r\nlocation: /again\r\ncontent-length: 0\r\n\r\n",
    ];
    let looks = replies.iter().map(|reply| async move {
        let (url, _) = server(*reply).await;
        let (http, hook, rate) = (endpoint(&url), webhook(&url), at_most_one(&url));
        tokio::join!(verdict(&http), verdict(&hook), verdict(&rate))
    });
    for (reply, (http, hook, rate)) in replies.iter().zip(futures_util::future::join_all(looks).await) {
        let shown = String::from_utf8_lossy(reply);
        assert_ne!(http.verdict, Verdict::Pass, "{shown}: {}", http.note);
        assert_eq!(hook.verdict, Verdict::NoData, "{shown}: {}", hook.note);
        assert_eq!(rate.verdict, Verdict::NoData, "{shown}: {}", rate.note);
        assert!(hook.note.len() <= 310 && hook.evidence.len() <= 60);
    }
}

#[tokio::test]
async fn an_endpoint_is_asked_until_it_says_yes() {
    let (green, asked) = changing(|nth| ok(if nth < 2 { "red" } else { "all green" }).into_bytes()).await;
    assert_eq!((soon(&endpoint(&green)).await.verdict, asked.lock().unwrap().len()), (Verdict::Pass, 3));
    let (red, _) = server(ok("red")).await;
    let said = comes_to(DEADLINE, &endpoint(&red), |said| said.verdict == Verdict::Fail).await;
    assert_eq!(said.verdict, Verdict::Fail);
    assert!(said.note.contains("without \"green\""), "{}", said.note);
    let (no, asked) = server("HTTP/1.1 409 No\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!((soon(&endpoint(&no)).await.verdict, asked.lock().unwrap().len()), (Verdict::Fail, 1));
    assert_eq!(verdict(&endpoint("http://127.0.0.1:1/")).await.verdict, Verdict::NoData);
}

#[tokio::test]
async fn a_webhook_is_told_signed_and_believed() {
    for (body, wanted, note) in [
        (r#"{"verdict": "pass"}"#, Verdict::Pass, "says so"),
        (r#"{"verdict": "fail", "message": "not on a friday"}"#, Verdict::Fail, "not on a friday"),
        (r#"{"verdict": "inconclusive", "message": "hm"}"#, Verdict::Inconclusive, "hm"),
        (r#"{"verdict": "pending", "message": "in the meeting"}"#, Verdict::NoData, "in the meeting"),
    ] {
        let (url, _) = server(ok(body)).await;
        let said = match wanted {
            Verdict::NoData => comes_to(DEADLINE, &webhook(&url), |said| said.note.contains(note)).await,
            _ => soon(&webhook(&url)).await,
        };
        assert_eq!(said.verdict, wanted, "{body}: {}", said.note);
        assert!(said.note.contains(note), "{body}: {}", said.note);
    }
    let no = "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n";
    let (ill, _) = server(no).await;
    let heard = format!("{ill}/board answered 500"); // the query may be a secret
    let board = webhook(&format!("{ill}/board?token=s3cret"));
    let said = comes_to(DEADLINE, &board, |said| said.note.contains(&heard)).await;
    assert_eq!((said.verdict, said.note), (Verdict::NoData, format!("no verdict in time; last: {heard}")));
    let pass = ok(r#"{"verdict": "pass"}"#);
    let (mended, _) = changing(move |nth| if nth < 2 { no.into() } else { pass.clone().into_bytes() }).await;
    let said = soon(&webhook(&mended)).await;
    assert_eq!(said.verdict, Verdict::Pass, "{}", said.note);
    assert_eq!(said.evidence, [format!("{mended} answered 500 (2 times)")], "the same again is one line");
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    longshore_common::durable::write_atomic(&key, b"secret\n", 0o600).unwrap();
    let (url, asked) = server(ok(r#"{"verdict": "pass"}"#)).await;
    let signed = Webhook { url, secret_file: Some(key), every: EVERY, ca: None };
    assert_eq!(soon(&Check::Webhook(signed)).await.verdict, Verdict::Pass);
    let heard = asked.lock().unwrap().join("");
    let (head, body) = heard.split_once("\r\n\r\n").unwrap();
    let signature = head.lines().find_map(|line| line.strip_prefix("longshore-signature: ")).unwrap();
    let time: i64 = signature.split(',').next().unwrap()[2..].parse().unwrap();
    assert_eq!(signature, crate::http::signature(b"secret", time, body.as_bytes()));
    assert!(body.contains("\"release_version\":\"1.1\"") && body.contains("web-1.example"), "{body}");
    let lost = Webhook {
        url: "http://127.0.0.1:1/".into(),
        secret_file: Some("/nowhere".into()),
        every: EVERY,
        ca: None,
    };
    assert!(verdict(&Check::Webhook(lost)).await.note.contains("/nowhere"));
}

fn vector(value: &str) -> String {
    let point = format!("[{{\"metric\":{{}},\"value\":[1,\"{value}\"]}}]");
    ok(&format!("{{\"status\":\"success\",\"data\":{{\"resultType\":\"vector\",\"result\":{point}}}}}"))
}

/// Bounds, NaN, nothing, and a query that is refused: each with its own word.
#[tokio::test]
async fn metrics_within_bounds_and_without_any() {
    let series = r#"{"resultType":"vector","result":[{"metric":{},"value":[1,"0.5"]}]}"#;
    let warnings = r#"["store eu-1 is away","and another"]"#;
    let partial = ok(&format!("{{\"status\":\"success\",\"warnings\":{warnings},\"data\":{series}}}"));
    let rows = [
        (vector("0.5"), Verdict::Pass, "values, 0 out of bounds"),
        (vector("1.5"), Verdict::Fail, "1.5 is more than 1"),
        (vector("NaN"), Verdict::NoData, "every value is NaN or infinite"),
        (vector("+Inf"), Verdict::Fail, "inf is more than 1"),
        (partial, Verdict::NoData, "warns that its answer may not be whole: store eu-1 is away"),
        (vector("-Inf"), Verdict::NoData, "every value is NaN or infinite"),
        (
            ok(r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#),
            Verdict::NoData,
            "no series",
        ),
        (
            ok(r#"{"status":"error","error":"parse error"}"#),
            Verdict::NoData,
            "refused the query: parse error",
        ),
    ];
    let looks = rows.map(|(reply, wanted, note)| async move {
        let (url, asked) = server(reply).await;
        let check = at_most_one(&url);
        let said = match wanted {
            Verdict::NoData => comes_to(LONG, &check, |said| said.note.contains(note)).await,
            _ => soon(&check).await,
        };
        (said, asked, wanted, note)
    });
    for (said, asked, wanted, note) in futures_util::future::join_all(looks).await {
        assert_eq!(said.verdict, wanted, "{}", said.note);
        assert!(said.note.contains(note), "{} is not about {note}", said.note);
        assert!(asked.lock().unwrap()[0].contains("query=up%7Bhost%3D~%22web-1%5C%5C.example%22%7D"));
    }
    let away = verdict(&at_most_one("http://127.0.0.1:1")).await;
    assert_eq!(away.verdict, Verdict::NoData, "{}", away.note);
}

/// The same query for both groups over the same time; the one with `web-2` is the baseline.
#[tokio::test]
async fn the_canary_is_compared_with_the_baseline_of_the_same_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut heard = [0; 8192];
            let read = stream.read(&mut heard).await.unwrap_or(0);
            let asked = String::from_utf8_lossy(&heard[..read]).into_owned();
            let base = if asked.contains("web-2%7Cweb-3") { 1.0 } else { 5.0 };
            let points: Vec<String> =
                (0..12).map(|n| format!("[{n},\"{}\"]", base + f64::from(n) / 10.0)).collect();
            let body = format!(
                "{{\"status\":\"success\",\"data\":{{\"resultType\":\"matrix\",\"result\":[{{\"metric\":{{}},\"values\":[{}]}}]}}}}",
                points.join(",")
            );
            let _ = stream.write_all(ok(&body).as_bytes()).await;
        }
    });
    let rule = |worse| Rule::Baseline { worse, significance: 0.05, effect: 0.3 };
    let url = format!("http://127.0.0.1:{port}");
    let worse = soon(&metrics(&url, rule(Worse::Higher))).await;
    assert_eq!(worse.verdict, Verdict::Fail, "{}", worse.note);
    assert!(worse.note.starts_with("higher than the baseline"), "{}", worse.note);
    assert!(
        worse.evidence.last().unwrap().contains("median 5.55 of 12 values against 1.55 of 12"),
        "{worse:?}"
    );
    assert_eq!(soon(&metrics(&url, rule(Worse::Lower))).await.verdict, Verdict::Pass);
    assert_eq!(calls.load(Ordering::SeqCst), 4);
}

/// Allowed and denied, over each way; a line that nobody can look at is no data.
#[tokio::test]
async fn a_matrix_says_who_may_reach_what() {
    let (open, _) = server(ok("hello")).await;
    let address = open.trim_start_matches("http://").to_owned();
    let line = |to, allowed| Reach { from: From::Controller, to, allowed, timeout: Span::secs(60) };
    // Whoever is asked for names may take their time to know none.
    let unknown = |to| Reach { timeout: Span::millis(500), ..line(to, false) };
    let http = |status| To::Http {
        url: open.clone(),
        status,
        body: Some("hello".into()),
        tls_left: None,
        headers: Headers::default(),
    };
    let closed = || To::Tcp { address: "127.0.0.1:1".into() };
    let name = |name: &str| To::Dns { name: name.into(), address: None };
    let good = vec![
        line(http(Some(200)), true),
        line(To::Tcp { address }, true),
        line(closed(), false),
        line(name("localhost"), true),
        unknown(name("nobody.invalid")),
    ];
    let matrix = |lines: Vec<Reach>| Check::Probe(Matrix { lines, every: EVERY, ca: None });
    let said = soon(&matrix(good.clone())).await;
    assert_eq!(said.verdict, Verdict::Pass, "{said:?}");
    let rows = [
        (line(closed(), true), "WRONG allow controller -> 127.0.0.1:1"),
        (line(http(Some(204)), true), "answered 200 instead of 204"),
        (line(http(Some(200)), false), "was reached and must not be"),
    ];
    let looks = rows.map(|(odd, note)| {
        let check = matrix([good.clone(), vec![odd]].concat());
        async move { (comes_to(LONG, &check, |said| said.note.contains(note)).await, note) }
    });
    for (said, note) in futures_util::future::join_all(looks).await {
        assert_eq!(said.verdict, Verdict::Fail);
        assert!(said.note.contains("5 of 6") && said.note.contains(note), "{}", said.note);
    }
    let from = From::Host("web-9".parse().unwrap());
    let said = verdict(&matrix(vec![Reach { from, ..line(closed(), false) }])).await;
    assert_eq!(
        (said.verdict, said.note.contains("there is no host web-9")),
        (Verdict::NoData, true),
        "{}",
        said.note
    );
}

/// Tests of one app on one host take turns, whichever rollouts they are of; who waits says for whom, and has all of its
/// time after that.
#[tokio::test]
async fn a_runner_is_at_one_test_at_a_time() {
    let runner = "runner-1".parse().unwrap();
    let (runners, first) = (Runners::default(), scene(LONG).await);
    let second = Scene { rollout: RolloutId(Uuid::from_u128(8)), ..first.clone() };
    let turn = runners.take_if_free(&runner, &first).expect("nobody is at it");
    assert!(runners.take_if_free(&runner, &second).is_none());
    let elsewhere = "runner-2".parse().unwrap();
    assert!(runners.take_if_free(&elsewhere, &second).is_some(), "another host is another line");
    let said = runners.at(&runner, &second.app).expect("somebody is at it");
    let has = format!("rollout {} (1.1 to prod, gate g) has it, for ", first.rollout.short());
    assert!(said.starts_with(&has), "{said}");

    let waiting = tokio::spawn({
        let runners = runners.clone();
        async move { runners.take(&runner, &second).await.until }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    let freed = Instant::now();
    drop(turn);
    assert!(waiting.await.unwrap() >= freed + LONG.0, "it has all of its time");
}
