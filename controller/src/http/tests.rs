//! Servers that behave badly.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{Call, HttpError, Reply, Trust, Url, call};

/// Of what is never answered.
const DEADLINE: Duration = Duration::from_millis(700);
/// Of everything else: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server that says `head` and then `piece`, `times` times, to every caller.
async fn server(head: &'static str, piece: &'static [u8], times: usize) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(speak(stream, head, piece, times));
        }
    });
    format!("http://127.0.0.1:{port}/x?token=secret").parse().unwrap()
}

async fn speak(mut stream: TcpStream, head: &str, piece: &[u8], times: usize) {
    let mut asked = [0; 4096];
    let _ = stream.read(&mut asked).await;
    let mut sent = stream.write_all(head.as_bytes()).await;
    for _ in 0..times {
        if sent.is_err() {
            return;
        }
        sent = stream.write_all(piece).await;
    }
    if times == 0 {
        std::future::pending::<()>().await;
    }
}

async fn get(url: Url) -> Result<Reply, HttpError> {
    get_within(PATIENCE, url).await
}

async fn get_within(deadline: Duration, url: Url) -> Result<Reply, HttpError> {
    let trust = Arc::new(Trust::system());
    call(&Call { max_bytes: 10_000, ..Call::get(url, deadline, trust) }).await
}

#[tokio::test]
async fn a_good_reply_is_read_whole() {
    let reply = get(server("HTTP/1.1 200 OK\r\nX-A: b\r\n\r\n", b"hello", 1).await).await.unwrap();
    assert_eq!((reply.status, reply.text().as_str(), reply.cut), (200, "hello", false));
    assert_eq!(reply.header("x-a"), Some("b"));
    assert_eq!(reply.certificate_ends_ms, None);
}

#[tokio::test]
async fn gigabytes_are_cut_and_not_held() {
    let reply = get(server("HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 1 << 16], usize::MAX).await).await.unwrap();
    assert_eq!((reply.body.len(), reply.cut), (10_000, true));
    let claims = "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n";
    assert!(get(server(claims, &[b'x'; 1 << 16], usize::MAX).await).await.unwrap().cut);
}

#[tokio::test]
async fn what_never_ends_is_left_at_the_deadline() {
    for head in [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
        "HTTP/1.1 100 Continue\r\n\r\n",
    ] {
        let error = get_within(DEADLINE, server(head, b"", 0).await).await.unwrap_err();
        assert!(matches!(error, HttpError::TooLate { .. }), "{head:?}: {error:?}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn heads_without_end_and_noise_are_errors() {
    for (head, piece) in
        [("HTTP/1.1 200 OK\r\n", &b"x-header: some value\r\n"[..]), ("SSH-2.0-OpenSSH\r\n", b"noise\r\n")]
    {
        let error = get(server(head, piece, 100_000).await).await.unwrap_err();
        assert!(matches!(error, HttpError::Http { .. }), "{head:?}: {error:?}");
    }
    let nobody = get("http://127.0.0.1:1/".parse().unwrap()).await.unwrap_err();
    assert!(matches!(nobody, HttpError::Connect { .. }), "{nobody:?}");
    let unknown = get_within(DEADLINE, "http://nobody.invalid/".parse().unwrap()).await.unwrap_err();
    assert!(matches!(unknown, HttpError::Resolve { .. } | HttpError::TooLate { .. }), "{unknown:?}");
}

#[tokio::test]
async fn a_circle_of_redirects_ends() {
    let error = get(server("HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", b"", 1).await).await.unwrap_err();
    assert!(matches!(error, HttpError::Redirects { max: 5, .. }), "{error:?}");
    let nowhere =
        get(server("HTTP/1.1 302 Found\r\nLocation: ftp://a/\r\n\r\n", b"", 1).await).await.unwrap_err();
    assert!(matches!(nowhere, HttpError::Redirect { .. }), "{nowhere:?}");
}

/// What was meant for one server is not told to another.
#[tokio::test]
async fn secrets_stay_with_their_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = vec![0; 4096];
        let read = stream.read(&mut asked).await.unwrap();
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        String::from_utf8_lossy(&asked[..read]).into_owned()
    });
    let head = format!("HTTP/1.1 307 Temporary\r\nLocation: http://127.0.0.1:{port}/\r\n\r\n");
    let first = server(Box::leak(head.into_boxed_str()), b"", 1).await;
    let asked =
        Call::get(first, PATIENCE, Arc::new(Trust::system())).header("authorization", "Bearer secret");
    assert_eq!(call(&asked).await.unwrap().status, 204);
    let heard = heard.await.unwrap();
    assert!(heard.starts_with("GET / HTTP/1.1\r\n") && !heard.contains("secret"), "{heard}");
}
