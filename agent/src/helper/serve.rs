//! The helper's socket: who may speak is asked of the kernel, what is said is read strictly, and each connection has one
//! question.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt as _;
use longshore_common::{
    code::{Code, Coded},
    ids::HostId,
    report::Failure,
    settings::Reference,
    text::visible,
};
use prost::Message as _;
use serde::Serialize;
use tokio::{
    io::AsyncReadExt,
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    VERSION, attached,
    errands::Courier,
    frame::{self, ASK_BYTES, Frame, FrameError},
    words::{Ask, Call, Say, Snapshot, Trust},
};
use crate::{
    host::{Event, Follow, Sink, lean},
    offline::{HandOrder, Ordered},
    run::{Boot, Works},
};

/// Connections at the same time: errands and questions of all apps.
const CONNECTIONS: usize = 512;
/// From connecting to the question.
const ASK_DEADLINE: Duration = Duration::from_secs(10);
/// For one word to be taken; whoever reads slower is cut off.
pub(super) const SAY_DEADLINE: Duration = Duration::from_secs(60);
/// Lines that wait for a slow reader.
const BACKLOG: usize = 1024;
/// Characters of who wants something, and of why.
const WORDS_MAX: usize = 500;
/// Users that are looked up at once; a manifest has at most 64.
const USERS_MAX: usize = 64;
/// Rows and lines of one answer.
const ROWS_MAX: u32 = 10_000;
/// Pieces of a bundle that wait for the disk, and how long one may take to come.
const PIECES_AHEAD: usize = 16;
const PIECE_DEADLINE: Duration = Duration::from_secs(60);
/// Longest that a test may be asked to take.
const TEST_MAX: Duration = Duration::from_secs(6 * 3600);

/// Who may speak, by the user that the kernel names.
#[derive(Clone, Debug)]
pub struct Peers(Vec<u32>);

impl Peers {
    /// Root always may: it could do all of this without asking.
    pub fn root_and(user: u32) -> Self {
        Self(vec![0, user])
    }

    fn check(&self, stream: &UnixStream) -> Result<(), Coded> {
        let unknown = |_| Coded::new(Code::C02, "the kernel does not say who you are. Nothing was changed");
        let uid = stream.peer_cred().map_err(unknown)?.uid();
        match self.0.contains(&uid) {
            true => Ok(()),
            false => {
                let message = format!("uid {uid} is not the agent's user. Nothing was changed");
                Err(Coded::new(Code::C02, message))
            }
        }
    }
}

/// What is served.
pub struct Served<W> {
    pub(super) works: W,
    pub(super) courier: Courier,
    pub(super) snapshot: Snapshot,
    peers: Peers,
}

impl<W: Works> Served<W> {
    /// `recipient`: secrets encrypted to it are opened by this host only.
    pub fn new(works: W, courier: Courier, host: HostId, recipient: String, peers: Peers) -> Self {
        let Boot { id: boot_id, counter: boot_counter } = works.boot();
        let snapshot = Snapshot {
            helper_version: env!("CARGO_PKG_VERSION").to_owned(),
            host,
            boot_id,
            boot_counter,
            recipient,
            apps: vec![],
            hold: None,
        };
        Self { works, courier, snapshot, peers }
    }
}

/// Until `shutdown`.
pub async fn serve<W: Works>(listener: UnixListener, served: Served<W>, shutdown: CancellationToken) {
    let served = Arc::new(served);
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = shutdown.cancelled() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("a connection was not taken: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await; // out of descriptors, most likely
                continue;
            }
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            tracing::warn!("more than {CONNECTIONS} connections; one was closed");
            continue;
        };
        let served = Arc::clone(&served);
        connections.spawn(async move {
            let _place = place;
            lean::stirred();
            if let Err(refused) = served.hear(stream).await {
                tracing::warn!(code = %refused.code, "refused: {}", refused.message);
            }
        });
    }
}

impl<W: Works> Served<W> {
    /// The error was told to the other side, as far as it listens.
    async fn hear(&self, mut stream: UnixStream) -> Result<(), Coded> {
        let call = async {
            self.peers.check(&stream)?;
            let heard = timeout(ASK_DEADLINE, frame::hear::<Call>(&mut stream, ASK_BYTES)).await;
            let silent = |_| Coded::new(Code::C01, "no question came in time. Nothing was changed");
            let refused = |e: FrameError| {
                let Coded { code, message } = e.coded();
                Coded::new(code, format!("{message} was refused. Nothing was changed"))
            };
            match heard.map_err(silent)?.map_err(refused)? {
                Some(call) if call.version != VERSION => Err(Coded::new(
                    Code::R01,
                    format!(
                        "the agent speaks version {} and its helper {VERSION}: one of them was replaced and not \
                         restarted. systemctl restart longshore-helper longshore-agent",
                        call.version
                    ),
                )),
                call => Ok(call),
            }
        };
        match call.await {
            Ok(Some(Call { ask, .. })) => self.answer(ask, stream).await,
            Ok(None) => Ok(()), // somebody looked whether anybody is there
            Err(refused) => {
                let (_, mut to) = stream.into_split();
                say(&mut to, &Say::No(refused.clone().into())).await;
                Err(refused)
            }
        }
    }

    async fn answer(&self, ask: Ask, stream: UnixStream) -> Result<(), Coded> {
        if let Ask::Deliver { ticket } = ask {
            // Too late is nothing strange.
            drop(self.courier.deliver(ticket, stream));
            return Ok(());
        }
        if let Ask::Deploy { wanted } = ask {
            return self.deploy(*wanted, stream).await;
        }
        let (from, mut to) = stream.into_split();
        if let Ask::Attach {} = ask {
            attached::attached(self, from, to).await;
            return Ok(());
        }
        let (events, mut happening) = mpsc::channel(BACKLOG);
        let answer = self.reply(ask, events);
        tokio::pin!(answer);
        let mut gone = std::pin::pin!(ended(from));
        let (said, refused) = loop {
            tokio::select! {
                biased; // an answer that is there is given, also to whoever says nothing more
                answer = &mut answer => match answer {
                    Ok(said) => break (said, None),
                    Err(refused) => break (Say::No(refused.clone().into()), Some(refused)),
                },
                Some(event) = happening.recv() => say(&mut to, &Say::Event(event)).await,
                // Nobody waits for it: a test ends, and so does following a log.
                () = &mut gone => return Ok(()),
            }
        };
        while let Ok(event) = happening.try_recv() {
            say(&mut to, &Say::Event(event)).await;
        }
        say(&mut to, &said).await;
        refused.map_or(Ok(()), Err)
    }

    /// A bundle that the agent passes on. What breaks the glass is root's own word, which the agent cannot give.
    async fn deploy(&self, wanted: HandOrder, stream: UnixStream) -> Result<(), Coded> {
        let is_root = stream.peer_cred().is_ok_and(|peer| peer.uid() == 0);
        let (mut from, mut to) = stream.into_split();
        let ordered = async {
            if wanted.stale && !is_root {
                let message = "that documents have expired is passed over by root alone: systemctl stop longshore-agent \
                               longshore-helper.socket longshore-helper.service, then the same command. Nothing was \
                               changed";
                return Err(Coded::new(Code::C02, message));
            }
            let wanted = HandOrder { by: visible(&short(wanted.by)?), ..wanted };
            let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
            let reading = async {
                loop {
                    let piece = match timeout(PIECE_DEADLINE, frame::read(&mut from, ASK_BYTES)).await {
                        Ok(Ok(None)) => break,
                        Ok(Ok(Some(Frame::Piece(piece)))) => Ok(Bytes::from(piece)),
                        Ok(Ok(Some(Frame::Word(_)))) => Err(FrameError::OutOfTurn.coded()),
                        Ok(Err(error)) => Err(error.coded()),
                        Err(_) => Err(Coded::new(Code::C01, "the bundle did not come in time")),
                    };
                    let broken = piece.is_err();
                    if sender.send(piece).await.is_err() || broken {
                        break;
                    }
                }
                drop(sender);
            };
            let (ordered, ()) = tokio::join!(self.works.deploy(wanted, pieces), reading);
            ordered
        };
        match ordered.await {
            Ok(Ordered { app, version, generation, .. }) => {
                say(&mut to, &Say::Ordered { app, version, generation }).await;
                Ok(())
            }
            Err(refused) => {
                say(&mut to, &Say::No(refused.clone().into())).await;
                Err(refused)
            }
        }
    }

    async fn reply(&self, ask: Ask, events: mpsc::Sender<Event>) -> Result<Say, Coded> {
        let works = &self.works;
        let sink = Sink::new(move |event| drop(events.try_send(event))); // a reader that is too slow misses some
        let tried = |result: Result<Say, Failure>| result.unwrap_or_else(Say::Failed);
        Ok(match ask {
            Ask::Assign { assignment } => {
                works.assign(*assignment);
                Say::Done {}
            }
            Ask::Acknowledge { seq } => works.acknowledge(seq).await.map(|()| Say::Done {})?,
            Ask::Standing { app } => Say::Standing(Box::new(works.standing(&app).await)),
            Ask::Revert { app, to, by } => {
                tracing::info!(%app, "a revert was asked for by {}", visible(&by));
                works.revert(&app, to, visible(&short(by)?)).await.map(|()| Say::Done {})?
            }
            Ask::Hold { hold, by } => {
                if let Some(hold) = &hold {
                    short(hold.reason.clone())?;
                }
                Say::Changed { changed: works.set_hold(hold, &visible(&short(by)?)).await? }
            }
            Ask::Drain { drain } => {
                if let Some(drain) = &drain {
                    short(drain.reason.clone())?;
                    short(drain.by.clone())?;
                }
                works.drain(drain).await.map(|()| Say::Done {})?
            }
            Ask::History { app, limit } => {
                let limit = limit.min(ROWS_MAX) as usize;
                Say::Rows { rows: works.history(app.as_ref(), limit).await? }
            }
            Ask::Logs { app, lines, follow } => {
                let follow = if follow { Follow::Yes } else { Follow::No };
                let lines = lines.min(ROWS_MAX) as usize;
                tried(works.logs(&app, lines, follow, &sink).await.map(|()| Say::Done {}))
            }
            Ask::Usage { app, since_ms } => tried(works.usage(&app, since_ms).await.map(Say::Usage)),
            Ask::Glance { app, generation } => tried(works.glance(&app, generation).await.map(Say::Glance)),
            Ask::Test { app, release, test, limit_ms } => {
                let limit = Duration::from_millis(limit_ms).min(TEST_MAX);
                let outcome = works.test(&app, &release, &short(test)?, limit, &sink).await;
                tried(outcome.map(|outcome| Say::Tested { outcome }))
            }
            Ask::Trust {} => Say::Trust(Trust::from(works.trust().await)),
            Ask::Accounts(wanted) if wanted.users.len() > USERS_MAX => {
                return Err(Coded::new(
                    Code::V01,
                    format!("more than {USERS_MAX} users. Nothing was changed"),
                ));
            }
            Ask::Accounts(wanted) => Say::Accounts(works.accounts(wanted).await),
            // A controller may have written these: what is no reference is looked for nowhere.
            Ask::Secrets { secrets } => {
                secrets.values().try_for_each(Reference::check)?;
                Say::Missing { secrets: works.secrets_missing(secrets).await }
            }
            Ask::Look { app, asked } => Say::Looked(works.look_at_director(&app, *asked).await),
            Ask::Verified {} => Say::Verified { answer: works.verified().await?.encode_to_vec() },
            Ask::Attach {} | Ask::Deliver { .. } | Ask::Deploy { .. } => unreachable!("answered before"),
        })
    }
}

/// One question as it comes over the socket, for whoever wants to see what is made of any bytes: how it would be
/// written, or why it is refused. None: nobody asked.
pub fn heard(mut bytes: &[u8]) -> Result<Option<Vec<u8>>, Coded> {
    let heard = frame::hear::<Call>(&mut bytes, ASK_BYTES)
        .now_or_never()
        .expect("bytes that are there are read at once");
    let call = heard.map_err(|e| e.coded())?;
    Ok(call.map(|call| serde_json::to_vec(&call).expect("our own words can be said in JSON")))
}

fn short(text: String) -> Result<String, Coded> {
    match text.chars().count() {
        0..=WORDS_MAX => Ok(text),
        long => {
            Err(Coded::new(Code::V01, format!("{long} characters; at most {WORDS_MAX}. Nothing was changed")))
        }
    }
}

/// Somebody who does not listen any more is seen by the end of the connection.
pub(super) async fn say(to: &mut OwnedWriteHalf, word: &impl Serialize) {
    if !said(to, word).await {
        tracing::debug!("the other side did not take an answer");
    }
}

/// Whether it was taken.
pub(super) async fn said(to: &mut OwnedWriteHalf, word: &impl Serialize) -> bool {
    matches!(timeout(SAY_DEADLINE, frame::say(to, word)).await, Ok(Ok(())))
}

/// Until the other side has closed; it has asked already, and what else it says is not heard.
pub(super) async fn ended(mut from: OwnedReadHalf) {
    let mut unheard = [0; 512];
    while matches!(from.read(&mut unheard).await, Ok(read) if read > 0) {}
}
