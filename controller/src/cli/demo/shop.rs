//! The app that the demo deploys: a small shop over HTTP, served from the files of its release. It takes its listening
//! socket from whoever supervises it, and on SIGTERM finishes what it has begun before it ends.

use std::{
    collections::BTreeMap,
    io,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use longshore_agent::host::sys::passed_sockets;
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::Semaphore,
};

/// Requests at the same time; further ones wait in the socket's queue.
const OPEN: u32 = 64;
/// For a client to send its request and take the answer.
const CLIENT: Duration = Duration::from_secs(60);
/// For requests that are under way at SIGTERM.
const DRAIN: Duration = Duration::from_secs(4);
const HEAD_BYTES: usize = 8 * 1024;

pub fn main() -> ExitCode {
    let served = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(serve()));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shop: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the release holds, read once.
struct Shop {
    version: String,
    /// By path as asked for: `/`, `/style.css`, …
    pages: BTreeMap<String, Vec<u8>>,
    /// Why nobody could buy anything here, if so.
    broken: Option<String>,
    /// It was said once; a log that repeats itself hides the rest.
    complained: AtomicBool,
    /// Why no customer is recommended anything, if so.
    speechless: Option<String>,
}

#[derive(Deserialize)]
struct Product {
    name: String,
    /// In cents.
    price: u32,
}

impl Shop {
    /// From the slot, which is the working directory.
    fn open() -> io::Result<Self> {
        let version = std::fs::read_to_string("share/version")?.trim().to_owned();
        let mut pages = BTreeMap::new();
        for entry in std::fs::read_dir("share/pages")? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if name == "index.html" { "/".to_owned() } else { format!("/{name}") };
            pages.insert(path, std::fs::read(entry.path())?);
        }
        let (broken, speechless) = (price_list().err(), recommended()?);
        Ok(Self { version, pages, broken, complained: AtomicBool::new(false), speechless })
    }
}

fn price_list() -> Result<Vec<Product>, String> {
    let text = std::fs::read("share/products.json").map_err(|error| format!("products.json: {error}"))?;
    let products: Vec<Product> =
        serde_json::from_slice(&text).map_err(|error| format!("products.json: {error}"))?;
    match products.iter().find(|product| product.price == 0) {
        Some(free) => Err(format!("products.json: {} costs nothing", free.name)),
        None => Ok(products),
    }
}

/// What is wrong with what the release recommends; nothing where it recommends nothing.
fn recommended() -> io::Result<Option<String>> {
    let name = match std::fs::read_to_string("share/recommended") {
        Ok(name) => name.trim().to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let sold = price_list().is_ok_and(|products| products.iter().any(|product| product.name == name));
    Ok((!sold).then(|| format!("no recommendation: products.json has no \"{name}\"")))
}

async fn serve() -> io::Result<()> {
    let socket =
        passed_sockets()?.into_iter().next().ok_or_else(|| io::Error::other("no socket was passed to us"))?;
    let listener = std::net::TcpListener::from(socket);
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let mut stop = signal(SignalKind::terminate())?;
    let shop = Arc::new(Shop::open()?);
    println!("shop {} is open, {} pages", shop.version, shop.pages.len());
    let served = Arc::new(AtomicU64::new(0));
    let open = Arc::new(Semaphore::new(OPEN as usize));
    loop {
        let place = open.clone().acquire_owned().await.map_err(io::Error::other)?;
        let client = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => client,
                Err(_) => continue, // the client left before it was let in
            },
            _ = stop.recv() => break,
        };
        let (shop, served) = (shop.clone(), served.clone());
        tokio::spawn(async move {
            if let Ok(Ok(())) = tokio::time::timeout(CLIENT, answer(client, &shop)).await {
                served.fetch_add(1, Ordering::Relaxed);
            }
            drop(place);
        });
    }
    drop(listener);
    println!("shop {} is closing: no new customers, finishing with those inside", shop.version);
    // Whoever is not done by then is cut off when the process ends.
    drop(tokio::time::timeout(DRAIN, open.acquire_many(OPEN)).await);
    println!("shop {} is closed after {} requests", shop.version, served.load(Ordering::Relaxed));
    Ok(())
}

async fn answer(mut client: TcpStream, shop: &Shop) -> io::Result<()> {
    let head = read_head(&mut client).await?;
    let path = head.split_ascii_whitespace().nth(1).unwrap_or("/");
    let (status, body) = match (path, &shop.broken) {
        ("/healthz", None) => ("200 OK", format!("shop {} sells\n", shop.version).into_bytes()),
        ("/healthz", Some(broken)) => {
            if !shop.complained.swap(true, Ordering::Relaxed) {
                eprintln!("shop {}: a trial order failed: {broken}", shop.version);
            }
            ("503 Service Unavailable", format!("a trial order failed: {broken}\n").into_bytes())
        }
        (path, _) => match shop.pages.get(path) {
            Some(page) => {
                if let Some(why) = &shop.speechless {
                    eprintln!("ERROR shop {}: {path}: {why}", shop.version);
                }
                ("200 OK", page.clone())
            }
            None => ("404 Not Found", b"no such page\n".to_vec()),
        },
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nX-Shop-Version: {}\r\nConnection: close\r\n\r\n",
        body.len(),
        shop.version
    );
    client.write_all(head.as_bytes()).await?;
    client.write_all(&body).await?;
    client.shutdown().await
}

/// Up to the empty line.
async fn read_head(client: &mut TcpStream) -> io::Result<String> {
    let mut head = vec![];
    let mut piece = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let got = client.read(&mut piece).await?;
        if got == 0 || head.len() + got > HEAD_BYTES {
            return Err(io::Error::other("no request"));
        }
        head.extend_from_slice(&piece[..got]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}
