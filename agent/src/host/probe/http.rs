//! A GET, by hand: a probe needs a status line and nothing else of HTTP.

use longshore_common::text::visible;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Of the answer; more is not read.
const ANSWER_BYTES: usize = 64 * 1024;
/// Of a body, in an error.
const QUOTED: usize = 160;

/// Ok for the status that is wanted, or for any from 200 to 399. The caller's timeout bounds it.
pub async fn get(url: &str, wanted: Option<u16>) -> Result<(), String> {
    let (authority, path) = split(url).ok_or_else(|| format!("{} is no http:// URL", visible(url)))?;
    let (host, port) =
        host_and_port(authority).ok_or_else(|| format!("{} names no host and port", visible(url)))?;
    let mut stream =
        TcpStream::connect((host, port)).await.map_err(|e| format!("connect to {authority}: {e}"))?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: longshore-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(|e| format!("send to {authority}: {e}"))?;
    let mut answer = Vec::new();
    // A connection that breaks after the status was read has answered.
    let read = (&mut stream).take(ANSWER_BYTES as u64).read_to_end(&mut answer).await;
    match status(&answer) {
        Some(status) if wanted.map_or((200..400).contains(&status), |wanted| wanted == status) => Ok(()),
        Some(status) => Err(format!("answered {status}{}{}", expected(wanted), quote(&answer))),
        None => Err(match read {
            Err(e) => format!("read from {authority}: {e}"),
            Ok(0) => "the connection was closed without an answer".into(),
            Ok(_) => "what answers does not speak HTTP".into(),
        }),
    }
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
    fn only_a_status_line_is_a_status() {
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\n\r\n"), Some(204));
        for noise in [&b""[..], b"SSH-2.0-OpenSSH", b"HTTP/1.1", b"HTTP/1.1 999", b"\xff\xfe"] {
            assert_eq!(status(noise), None);
        }
        assert_eq!(quote(b"HTTP/1.1 503 x\r\n\r\n\ndatabase down\nmore"), ": database down");
    }

    /// Gates of a controller that is somebody else's ask as well.
    #[tokio::test]
    async fn a_url_is_all_that_is_said_of_it() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        for odd in ["/\r\nFLUSHALL\r\n", "/a b", "\r\nX: y/", "/\u{85}", "/\t"] {
            let why = get(&format!("{server}{odd}"), None).await.unwrap_err();
            assert!(why.ends_with("is no http:// URL") && visible(&why) == why, "{why}");
        }
        let asked = tokio::time::timeout(std::time::Duration::from_millis(1), listener.accept()).await;
        assert!(asked.is_err(), "nobody is connected to");
    }
}
