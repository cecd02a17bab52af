//! A GET, by hand: a probe needs a status line and nothing else of HTTP.

use std::io;

use longshore_common::{headers::Headers, text::visible};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Of the answer; more is not read.
const ANSWER_BYTES: usize = 64 * 1024;
/// Of a body, in an error.
const QUOTED: usize = 160;

/// Ok for the status that is wanted, or for any from 200 to 399. The caller's timeout bounds it.
pub async fn get(url: &str, headers: &Headers, wanted: Option<u16>) -> Result<(), String> {
    let (authority, path) = split(url).ok_or_else(|| format!("{} is no http:// URL", visible(url)))?;
    let (host, port) =
        host_and_port(authority).ok_or_else(|| format!("{} names no host and port", visible(url)))?;
    let mut stream =
        TcpStream::connect((host, port)).await.map_err(|e| format!("connect to {authority}: {e}"))?;
    let request = request(authority, path, headers);
    stream.write_all(request.as_bytes()).await.map_err(|e| format!("send to {authority}: {e}"))?;
    let mut answer = Vec::new();
    // A connection that breaks after the status was read has answered.
    let read = receive(stream, &mut answer).await;
    match status(&answer) {
        Some(status) if wanted.map_or((200..400).contains(&status), |wanted| wanted == status) => Ok(()),
        Some(status) => Err(format!("answered {status}{}{}", expected(wanted), quote(&answer))),
        None => Err(match read {
            Err(e) => format!("read from {authority}: {e}"),
            Ok(()) if answer.is_empty() => "the connection was closed without an answer".into(),
            Ok(()) => "what answers does not speak HTTP".into(),
        }),
    }
}

/// Headers that are given take the place of usual ones.
fn request(authority: &str, path: &str, headers: &Headers) -> String {
    let usual = [("Host", authority), ("User-Agent", "longshore-probe"), ("Accept", "*/*")];
    let mut request = format!("GET {path} HTTP/1.1\r\n");
    for (name, value) in usual {
        request += &format!("{name}: {}\r\n", headers.get(name).unwrap_or(value));
    }
    let is_usual = |name: &str| usual.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    for (name, value) in headers.iter().filter(|(name, _)| !is_usual(name)) {
        request += &format!("{name}: {value}\r\n");
    }
    request + "Connection: close\r\n\r\n"
}

/// Until the connection ends, or nothing more of this answer comes: not everybody closes when asked to. At most
/// `ANSWER_BYTES` of it.
async fn receive(stream: impl AsyncRead + Unpin, answer: &mut Vec<u8>) -> io::Result<()> {
    let mut stream = stream.take(ANSWER_BYTES as u64);
    while !is_whole(answer) && stream.read_buf(answer).await? > 0 {}
    Ok(())
}

/// By what it says of its own length. One that says nothing of it ends with its connection.
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = find(answer, b"\r\n\r\n") else { return false };
    let (head, body) = (String::from_utf8_lossy(&answer[..end]), &answer[end + 4..]);
    let field = |wanted: &str| {
        let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let mut fields = fields.filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        fields.next().map(|(_, value)| value.trim().to_ascii_lowercase())
    };
    if matches!(status(answer), Some(100..=199 | 204 | 304)) {
        return true; // these have no body; before an upgrade nothing of HTTP follows
    }
    match (field("transfer-encoding"), field("content-length")) {
        (Some(coding), _) => coding.ends_with("chunked") && has_last_chunk(body),
        (None, Some(length)) => length.parse().is_ok_and(|length: usize| body.len() >= length),
        (None, None) => false,
    }
}

/// The chunk without bytes, and the end of what may follow it.
fn has_last_chunk(mut body: &[u8]) -> bool {
    while let Some(end) = find(body, b"\r\n") {
        let size = std::str::from_utf8(&body[..end]).unwrap_or_default();
        let size = size.split(';').next().unwrap_or_default().trim();
        let Ok(size) = usize::from_str_radix(size, 16) else { return false };
        let rest = &body[end + 2..];
        if size == 0 {
            return rest.starts_with(b"\r\n") || find(rest, b"\r\n\r\n").is_some();
        }
        let Some(next) = size.checked_add(2).and_then(|skip| rest.get(skip..)) else { return false };
        body = next;
    }
    false
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// Nothing that would end the line, or the word, that it is put into: a controller may have written it, and is to speak to
/// nobody in words of its own.
fn split(url: &str) -> Option<(&str, &str)> {
    if url.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return None;
    }
    let rest = url.strip_prefix("http://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = if path.starts_with('/') { path } else { "/" };
    (!authority.is_empty()).then_some((authority, path))
}

fn host_and_port(authority: &str) -> Option<(&str, u16)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        let port = if rest.is_empty() { 80 } else { rest.strip_prefix(':')?.parse().ok()? };
        return Some((host, port));
    }
    match authority.rsplit_once(':') {
        Some((host, port)) => Some((host, port.parse().ok()?)),
        None => Some((authority, 80)),
    }
}

/// From `HTTP/1.1 200 OK`.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split_whitespace();
    words.next()?.strip_prefix("HTTP/1.")?;
    words.next()?.parse().ok().filter(|status| (100..=599).contains(status))
}

fn expected(wanted: Option<u16>) -> String {
    wanted.map_or(String::new(), |wanted| format!(" instead of {wanted}"))
}

/// The first line of the body: mostly it says why.
fn quote(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let line: String = body.trim().lines().next().unwrap_or("").chars().take(QUOTED).collect();
    if line.is_empty() { line } else { format!(": {line}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_come_apart() {
        assert_eq!(split("http://a:1/x?y"), Some(("a:1", "/x?y")));
        assert_eq!(split("http://a"), Some(("a", "/")));
        assert_eq!(split("https://a"), None);
        assert_eq!(host_and_port("[::1]:8080"), Some(("::1", 8080)));
        assert_eq!(host_and_port("127.0.0.1"), Some(("127.0.0.1", 80)));
        assert_eq!(host_and_port("a:x"), None);
    }

    #[test]
    fn headers_take_the_place_of_usual_ones() {
        let given = [("host", "shop.example"), ("X-Probe", "1"), ("accept", "text/plain")];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let headers = Headers::try_from(std::collections::BTreeMap::from(given)).unwrap();
        assert_eq!(
            request("a:1", "/x", &headers),
            "GET /x HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: longshore-probe\r\nAccept: text/plain\r\n\
             X-Probe: 1\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(
            request("a:1", "/x", &Headers::default()),
            "GET /x HTTP/1.1\r\nHost: a:1\r\nUser-Agent: longshore-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn only_a_status_line_is_a_status() {
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\n\r\n"), Some(204));
        for noise in [&b""[..], b"SSH-2.0-OpenSSH", b"HTTP/1.1", b"HTTP/1.1 999", b"\xff\xfe"] {
            assert_eq!(status(noise), None);
        }
        assert_eq!(quote(b"HTTP/1.1 503 x\r\n\r\n\ndatabase down\nmore"), ": database down");
    }

    #[test]
    fn an_answer_is_whole_by_its_own_word() {
        for (answer, whole) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true),
            ("HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", false),
            ("HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nok", false),
            ("HTTP/1.1 200 OK\r\n\r\nok", false),
            ("HTTP/1.1 204 No Content\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n0\r\nX: y\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", false),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n0\r\n\r\n", false),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", false),
            ("SSH-2.0-OpenSSH\r\n", false),
        ] {
            assert_eq!(is_whole(answer.as_bytes()), whole, "{answer:?}");
        }
    }

    /// Bodies of any length are read to the limit, and no further.
    #[tokio::test]
    async fn no_more_is_read_than_the_limit() {
        let mut answer = Vec::new();
        receive(tokio::io::repeat(b'x'), &mut answer).await.unwrap();
        assert_eq!(answer.len(), ANSWER_BYTES);
    }

    /// It was asked to close the connection, and does not.
    #[tokio::test]
    async fn whoever_keeps_the_connection_has_answered_all_the_same() {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/", listener.local_addr().unwrap());
            let keeps = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream // open until the question was answered
            };
            let usual = Headers::default();
            let (said, _open) = tokio::join!(get(&url, &usual, None), keeps);
            assert_eq!(said, Ok(()));
        }
    }

    /// Gates of a controller that is somebody else's ask as well.
    #[tokio::test]
    async fn a_url_is_all_that_is_said_of_it() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        for odd in ["/\r\nFLUSHALL\r\n", "/a b", "\r\nX: y/", "/\u{85}", "/\t"] {
            let why = get(&format!("{server}{odd}"), &Headers::default(), None).await.unwrap_err();
            assert!(why.ends_with("is no http:// URL") && visible(&why) == why, "{why}");
        }
        let asked = tokio::time::timeout(std::time::Duration::from_millis(1), listener.accept()).await;
        assert!(asked.is_err(), "nobody is connected to");
    }
}
