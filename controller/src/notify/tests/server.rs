//! Servers that answer as they are told.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpSocket},
};

/// Answers each call with the next of its replies, the last one again and again.
pub(super) struct Server {
    pub url: String,
    calls: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub async fn answering(replies: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook/secret-path", listener.local_addr().unwrap());
        let calls = Arc::new(Mutex::new(vec![]));
        let (seen, replies) =
            (calls.clone(), replies.iter().map(|text| text.to_string()).collect::<Vec<_>>());
        tokio::spawn(async move {
            for nth in 0.. {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut text = vec![0; 64 * 1024];
                let mut length = 0;
                while !whole(&text[..length]) {
                    match stream.read(&mut text[length..]).await {
                        Ok(read @ 1..) => length += read,
                        Ok(0) | Err(_) => break,
                    }
                }
                seen.lock().unwrap().push(String::from_utf8_lossy(&text[..length]).into_owned());
                let reply = &replies[nth.min(replies.len() - 1)];
                drop(stream.write_all(reply.as_bytes()).await); // it may have had enough
            }
        });
        Self { url, calls }
    }

    pub fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }
}

/// A head, and as much of a body as it says.
fn whole(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

/// A port at which nobody listens, for as long as the socket is held.
pub(super) fn nobody() -> (TcpSocket, u16) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

/// A place where calls are taken, and never answered.
pub(super) async fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    (listener, url)
}

/// A mail server that says this to each receiver that is named: `RCPT TO:<ann@example.org>`.
pub(super) async fn smtp(receiver: fn(&str) -> &'static str) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let said = Arc::new(Mutex::new(vec![]));
    let seen = said.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (reading, mut writing) = stream.into_split();
            let mut lines = BufReader::new(reading).lines();
            writing.write_all(b"220 harbour\r\n").await.unwrap();
            let mut in_data = false;
            while let Ok(Some(line)) = lines.next_line().await {
                seen.lock().unwrap().push(line.clone());
                let reply = match line.split([' ', ':']).next().unwrap_or_default() {
                    "." if in_data => {
                        in_data = false;
                        "250 taken"
                    }
                    _ if in_data => continue,
                    "RCPT" => receiver(&line),
                    "DATA" => {
                        in_data = true;
                        "354 go on"
                    }
                    _ => "250 harbour",
                };
                if writing.write_all(format!("{reply}\r\n").as_bytes()).await.is_err() {
                    break;
                }
            }
        }
    });
    (port, said)
}
