//! A small HTTP service that answers with its VERSION: what the benchmark deploys.
//!
//! It takes its listening socket from whoever holds it open for it (LISTEN_FDS), or binds `--listen ADDRESS`. On
//! SIGTERM it takes no more connections, finishes those it has, and ends with 0.

use std::io;
use std::net::TcpListener as Listener;
use std::time::Duration;

use longshore_agent::host::sys::passed_sockets;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

/// For one request, from the first byte to the last.
const REQUEST: Duration = Duration::from_secs(20);

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let version = std::fs::read_to_string("VERSION")?;
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{version}",
        version.len()
    );
    let answer: &'static [u8] = answer.leak().as_bytes(); // once, for as long as the process lives
    let listener = listener()?;
    let mut ending = signal(SignalKind::terminate())?;
    let mut serving = JoinSet::new();
    println!("serving {}", version.trim());
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => { serving.spawn(tokio::time::timeout(REQUEST, serve(stream, answer))); }
                Err(error) => eprintln!("accept: {error}"),
            },
            Some(_) = serving.join_next() => {} // a client that went away is its own affair
            _ = ending.recv() => break,
        }
    }
    drop(listener);
    while serving.join_next().await.is_some() {}
    Ok(())
}

fn listener() -> io::Result<TcpListener> {
    let mut arguments = std::env::args().skip(1);
    let listener = match (passed_sockets()?.into_iter().next(), arguments.next().as_deref()) {
        (Some(socket), _) => Listener::from(socket),
        (None, Some("--listen")) => Listener::bind(arguments.next().unwrap_or_default())?,
        (None, _) => return Err(io::Error::other("no socket was passed and no --listen ADDRESS given")),
    };
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// One request, one answer. What is asked for does not matter.
async fn serve(mut stream: TcpStream, answer: &[u8]) -> io::Result<()> {
    let mut request = Vec::with_capacity(1024);
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < 8192 {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    stream.write_all(answer).await?;
    stream.shutdown().await
}
