//! What shows nothing, or only a part, is no pass.

use super::*;

/// Each value counts, not each answer: a query may give one for every host.
#[tokio::test]
async fn every_value_out_of_bounds_is_a_breach() {
    let series = |values: [f64; 2]| {
        let [one, other] = values.map(|value| format!("{{\"metric\":{{}},\"value\":[1,\"{value}\"]}}"));
        let data = format!("{{\"resultType\":\"vector\",\"result\":[{one},{other}]}}");
        ok(&format!("{{\"status\":\"success\",\"data\":{data}}}"))
    };
    let verdict = async |values: [[f64; 2]; 2]| {
        let replies = values.map(series);
        let (url, _) = changing(move |nth| replies[nth.min(1)].clone().into_bytes()).await;
        let rule = Rule::Within { min: None, max: Some(1.0), breaches: 1 };
        soon(&metrics(&url, rule)).await
    };
    let both = verdict([[1.5, 1.7], [0.5, 0.5]]).await;
    assert_eq!((both.verdict, both.note.as_str()), (Verdict::Fail, "1.5 is more than 1"));
    let one = verdict([[1.5, 0.5], [0.5, 0.5]]).await;
    assert_eq!(one.verdict, Verdict::Pass, "{}", one.note);
    assert!(one.note.contains("values, 1 out of bounds"), "{}", one.note);
}

/// After a restart the new controller reads what it has not seen itself.
#[tokio::test]
async fn the_window_before_a_restart_counts() {
    let matrix = |value: &str| {
        let points = format!("[[1,\"0.5\"],[2,\"{value}\"]]");
        let series = format!("[{{\"metric\":{{}},\"values\":{points}}}]");
        ok(&format!("{{\"status\":\"success\",\"data\":{{\"resultType\":\"matrix\",\"result\":{series}}}}}"))
    };
    let now = scene(PATIENCE).await;
    let begun_before = Scene { since: now.since - 60_000, ..now };
    for (value, verdict, note) in [
        ("1.5", Verdict::Fail, "1.5 is more than 1"),
        ("0.7", Verdict::Pass, "3 values, 0 out of bounds, in 300ms"),
    ] {
        let replies = [matrix(value), vector("0.5")];
        let (url, asked) = changing(move |nth| replies[nth.min(1)].clone().into_bytes()).await;
        let said = look(&at_most_one(&url), &begun_before).await;
        assert_eq!((said.verdict, said.note.as_str()), (verdict, note));
        assert!(asked.lock().unwrap()[0].contains("/api/v1/query_range?"));
    }
}

/// A series that ends before the window does, as that of a process that died, is not within bounds at its end.
#[tokio::test]
async fn what_is_measured_no_more_does_not_pass() {
    let none = ok(r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#);
    let replies = [vector("0.5"), none];
    let (url, _) = changing(move |nth| replies[nth.min(1)].clone().into_bytes()).await;
    let Check::Metrics(metrics) = at_most_one(&url) else { unreachable!("it is one") };
    let check = Check::Metrics(Metrics { window: Span::secs(2), samples: 1, ..metrics });
    let said = within(Span::secs(4), &check).await;
    assert_eq!(
        (said.verdict, said.note.as_str()),
        (Verdict::Inconclusive, "1 values, then no more: the query gives no series")
    );
}

/// `$hosts` that stands for nobody would ask about series without hosts, or about everybody's.
#[tokio::test]
async fn a_query_about_no_host_is_not_asked() {
    let (url, asked) = server(vector("0.5")).await;
    let nobody = Scene { changed: vec![], ..scene(PATIENCE).await };
    let said = look(&at_most_one(&url), &nobody).await;
    assert_eq!(
        (said.verdict, said.note.as_str()),
        (Verdict::NoData, "no host runs the release, so $hosts stands for none")
    );
    assert!(asked.lock().unwrap().is_empty());
    let Check::Metrics(metrics) = at_most_one(&url) else { unreachable!("it is one") };
    let of_all = Check::Metrics(Metrics { query: "sum(rate(errors[1m]))".into(), ..metrics });
    assert_eq!(look(&of_all, &nobody).await.verdict, Verdict::Pass);
}

/// A line about hosts that there are not, and one that was not tried for long enough, are no data beside lines that pass.
#[tokio::test]
async fn a_line_that_shows_nothing_is_no_pass() {
    let (open, _) = server(ok("hello")).await;
    let line = |to, allowed, timeout| Reach { from: From::Controller, to, allowed, timeout };
    let matrix = |lines: Vec<Reach>| Check::Probe(Matrix { lines, every: EVERY, ca: None });
    let http = |url| To::Http { url, status: None, body: None, tls_left: None, headers: Headers::default() };
    let reached = line(http(open), true, Span::secs(60));
    let each = line(To::Tcp { address: "$address:1".into() }, false, Span::secs(60));
    let nobody = Scene { changed: vec![], ..scene(PATIENCE).await };
    let said = look(&matrix(vec![reached, each]), &nobody).await;
    assert_eq!((said.verdict, said.note.contains("no host runs the release")), (Verdict::NoData, true));

    // It answers after the gate's time, and within its own.
    let (slow, _) = server("").await;
    let slow = || http(slow.clone());
    let said = within(DEADLINE, &matrix(vec![line(slow(), false, Span::secs(60))])).await;
    assert_eq!(said.verdict, Verdict::NoData, "{}", said.note);
    assert!(said.note.contains("there was no time left to try for 1m"), "{}", said.note);
    let tried = within(PATIENCE, &matrix(vec![line(slow(), false, Span::millis(300))])).await;
    assert_eq!(tried.verdict, Verdict::Pass, "{}", tried.note);
}
