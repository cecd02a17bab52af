//! Servers that answer to a name of their own, and nobody else's.

use super::*;

/// 200 for whoever calls it shop.example.
async fn shop() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut heard = [0; 8192];
            let read = stream.read(&mut heard).await.unwrap_or(0);
            let said = String::from_utf8_lossy(&heard[..read]).to_ascii_lowercase();
            let known = said.contains("\r\nhost: shop.example\r\n") && said.matches("\r\nhost:").count() == 1;
            let no = "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n".to_owned();
            let _ = stream.write_all(if known { ok("green") } else { no }.as_bytes()).await;
        }
    });
    format!("http://127.0.0.1:{port}")
}

fn of(pairs: &[(&str, &str)]) -> Headers {
    let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Headers::try_from(pairs.collect::<std::collections::BTreeMap<_, _>>()).unwrap()
}

fn with(headers: Headers, url: &str) -> Check {
    let Check::Http(endpoint) = endpoint(url) else { unreachable!("it is one") };
    Check::Http(Endpoint { headers, ..endpoint })
}

#[tokio::test]
async fn a_gate_calls_a_server_by_its_name() {
    let url = shop().await;
    let named = || of(&[("Host", "shop.example"), ("X-Probe", "1")]);
    let refused = |said: &Conclusion| said.note.contains("answered 403");
    let said = comes_to(DEADLINE, &endpoint(&url), refused).await;
    assert_eq!((said.verdict, refused(&said)), (Verdict::Fail, true), "{}", said.note);
    let said = soon(&with(named(), &url)).await;
    assert_eq!(said.verdict, Verdict::Pass, "{}", said.note);

    let matrix = |headers| {
        let to = To::Http { url: url.clone(), status: None, body: None, tls_left: None, headers };
        let line = Reach { from: From::Controller, to, allowed: true, timeout: Span::secs(60) };
        Check::Probe(Matrix { lines: vec![line], every: EVERY, ca: None })
    };
    let said = comes_to(DEADLINE, &matrix(Headers::default()), refused).await;
    assert_eq!((said.verdict, refused(&said)), (Verdict::Fail, true), "{}", said.note);
    let said = soon(&matrix(named())).await;
    assert_eq!(said.verdict, Verdict::Pass, "{}", said.note);
    assert_eq!(said.evidence, [format!("ok allow controller -> {url} as shop.example")]);
}

/// A redirect is the server's word, and what was meant for it is not for another.
#[tokio::test]
async fn headers_stay_with_the_server_that_they_are_for() {
    let (there, heard) = server(ok("green")).await;
    let redirect = format!("HTTP/1.1 302 Found\r\nlocation: {there}/\r\ncontent-length: 0\r\n\r\n");
    let (here, asked) = server(redirect).await;
    let headers = of(&[("Host", "shop.example"), ("X-Probe", "1"), ("User-Agent", "curl/8")]);
    let said = soon(&with(headers, &here)).await;
    assert_eq!(said.verdict, Verdict::Pass, "{}", said.note);
    let (asked, heard) = (asked.lock().unwrap().join(""), heard.lock().unwrap().join(""));
    for part in ["host: shop.example", "x-probe: 1", "user-agent: curl/8"] {
        assert!(asked.contains(part) && !heard.contains(part), "{part}\n{asked}\n{heard}");
    }
    assert!(!asked.contains("longshore/") && heard.contains("user-agent: longshore/"), "{asked}\n{heard}");
    assert!(heard.contains("host: 127.0.0.1:"), "{heard}");
}
