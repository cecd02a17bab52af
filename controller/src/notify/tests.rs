//! Who is told of what, over which replies, and when it is given up.

mod mails;
mod receivers;
mod server;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use longshore_common::time::{ManualClock, SystemClock};
use tokio_util::sync::CancellationToken;

use super::{courier::Undelivered, *};
use crate::{
    environments,
    http::{Trust, signature},
    store::{Key, MemoryStore, SharedStore, Txn, record},
    testing,
};
use server::{Server, nobody, smtp};

const PATIENCE: Duration = Duration::from_secs(120);

async fn store(file: &str) -> SharedStore {
    let store: SharedStore = Arc::new(MemoryStore::new());
    let text = format!("[environment]\nname = \"prod\"\nselector = \"env=prod\"\n{file}");
    environments::apply(&store, &testing::tell(), "prod.toml", &text, &"ann".parse().unwrap(), 0)
        .await
        .unwrap();
    store
}

fn happening(kind: Kind) -> Happening {
    let env = "prod".parse().unwrap();
    Happening::of_env(kind, &env, "shop@1.1 to prod has failed".to_owned()).because("the reason")
}

fn means(dir: &tempfile::TempDir, mailer: Option<Mailer>) -> Means {
    let key = dir.path().join("chat.key");
    std::fs::File::create(&key)
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"s3cret\n"))
        .unwrap();
    Means {
        mailer,
        keys: Arc::new(BTreeMap::from([("chat".to_owned(), key)])),
        trust: Arc::new(Trust::system()),
    }
}

fn mailer(port: u16) -> Mailer {
    Mailer::new(&MailServer { port, ..testing::tell().mail.unwrap() }).unwrap()
}

/// Runs a courier until the outbox is as wanted.
async fn carried(store: &SharedStore, means: Means, wanted: impl Fn(&[Notice]) -> bool) -> Vec<Notice> {
    let stop = CancellationToken::new();
    let courier = Courier { store: store.clone(), clock: Arc::new(SystemClock), means };
    let task = tokio::spawn(courier.run(stop.clone()));
    let looked = async {
        loop {
            let known: Vec<Notice> =
                outbox::list(store).await.unwrap().into_iter().map(|(notice, _)| notice).collect();
            if wanted(&known) {
                return known;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let known = tokio::time::timeout(PATIENCE, looked).await.expect("it comes to that");
    stop.cancel();
    task.await.unwrap();
    known
}

fn hook(url: &str) -> String {
    format!(
        "[[stakeholders.tell]]\nname = \"chat\"\nwebhook = \"{url}\"\nsecret = \"chat\"\non = [\"failed\"]\n"
    )
}

#[tokio::test]
async fn a_webhook_is_told_once_and_signed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::answering(&["HTTP/1.1 204 No Content\r\n\r\n"]).await;
    let store = store(&hook(&server.url)).await;
    outbox::tell(&store, &happening(Kind::Failed), 0).await.unwrap();
    outbox::tell(&store, &happening(Kind::Succeeded), 0).await.unwrap(); // nobody wants to hear of it
    assert!(carried(&store, means(&dir, None), <[Notice]>::is_empty).await.is_empty());
    let calls = server.calls();
    assert_eq!(calls.len(), 1);
    let (head, body) = calls[0].split_once("\r\n\r\n").unwrap();
    let sign = head.lines().find_map(|line| line.strip_prefix("longshore-signature: ")).unwrap();
    let time: i64 = sign.strip_prefix("t=").unwrap().split(',').next().unwrap().parse().unwrap();
    assert_eq!(sign, signature(b"s3cret", time, body.as_bytes()));
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        (&body["kind"], &body["env"], &body["reason"]),
        (&"failed".into(), &"prod".into(), &"the reason".into())
    );
}

/// Bad input: replies of any kind.
#[tokio::test]
async fn every_reply_has_its_meaning() {
    let endless = format!("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n{}", "x".repeat(64 * 1024));
    let cases: [(&str, &str, bool); 9] = [
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\ngone", "answered 404: gone", true),
        ("HTTP/1.1 301 Moved\r\nlocation: http://127.0.0.1:1/\r\n\r\n", "answered 301", true),
        ("HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n", "answered 500", false),
        ("HTTP/1.1 429 Slow\r\nretry-after: 600\r\ncontent-length: 0\r\n\r\n", "answered 429", false),
        ("HTTP/1.1 429 Slow\r\nretry-after: Tuesday\r\ncontent-length: 0\r\n\r\n", "answered 429", false),
        ("SSH-2.0-OpenSSH_9.2\r\n", "speak HTTP", false),
        ("", "speak HTTP", false),
        ("HTTP/1.1 200 OK\r\nx-long: ", "speak HTTP", false),
        ("HTTP/1.1 403 No\r\ncontent-length: 5\r\n\r\n\u{1b}[31m", "answered 403: \\x1b[31", true),
    ];
    let dir = tempfile::tempdir().unwrap();
    for (reply, error, dead) in cases {
        let server = Server::answering(&[reply]).await;
        let store = store(&hook(&server.url)).await;
        outbox::tell(&store, &happening(Kind::Failed), 0).await.unwrap();
        let known = carried(&store, means(&dir, None), |known| known[0].attempts >= 1).await;
        assert!(known[0].error.contains(error), "{reply:?} gives {}", known[0].error);
        assert_eq!(known[0].dead, dead, "{reply:?}");
        assert!(!known[0].error.contains("s3cret"));
    }
    let server = Server::answering(&[&endless]).await;
    let store = store(&hook(&server.url)).await;
    outbox::tell(&store, &happening(Kind::Failed), 0).await.unwrap();
    carried(&store, means(&dir, None), <[Notice]>::is_empty).await; // it said 200: what follows is not read
}

#[tokio::test]
async fn what_could_not_be_told_is_tried_again_when_somebody_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let replies =
        ["HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"];
    let server = Server::answering(&replies).await;
    let store = store(&hook(&server.url)).await;
    outbox::tell(&store, &happening(Kind::Failed), 0).await.unwrap();
    let dead = carried(&store, means(&dir, None), |known| known[0].dead).await;
    assert!(outbox::retry(&store, &["ffff-none".to_owned()], 0).await.is_err());
    assert_eq!(outbox::retry(&store, &[], 1).await.unwrap()[0].id, dead[0].id);
    carried(&store, means(&dir, None), <[Notice]>::is_empty).await;
    assert_eq!(server.calls().len(), 2);
}

#[tokio::test]
async fn keys_and_mail_that_are_not_there_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = "[[stakeholders.tell]]\nname = \"chat\"\nwebhook = \"http://127.0.0.1:9/\"\nsecret = \"other\"\n\
                [[stakeholders.tell]]\nname = \"mail\"\nemail = [\"a@example.org\"]\n";
    let store = store(file).await;
    outbox::tell(&store, &happening(Kind::Failed), 0).await.unwrap();
    let known = carried(&store, means(&dir, None), |known| known.iter().all(|notice| notice.dead)).await;
    let errors: Vec<&str> = known.iter().map(|notice| notice.error.as_str()).collect();
    assert!(errors.contains(&"controller.toml names no key \"other\" in [webhooks]"), "{errors:?}");
    assert!(errors.contains(&"this controller sends no mail: give controller.toml a [mail]"), "{errors:?}");
}

#[tokio::test]
async fn mail_reaches_its_receivers_and_a_full_server_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    type Receiver = fn(&str) -> &'static str;
    let ways: [(Option<Receiver>, &str); 4] = [
        (Some(|_| "250 known"), "told"),
        (Some(|_| "452 full"), "again"),
        (Some(|_| "550 nobody"), "dead"),
        (None, "again"), // nobody listens there
    ];
    for (listens, wants) in ways {
        let (nobody, silent_port) = nobody();
        let (port, mails) = match listens {
            Some(receiver) => smtp(receiver).await,
            None => (silent_port, Default::default()),
        };
        let file = "[stakeholders]\nowner = \"ann\"\n[stakeholders.contacts]\nann = \"ann@example.org\"\n\
                    [[stakeholders.tell]]\nname = \"mail\"\nemail = [\"owner\", \"b@example.org\"]\n";
        let store = store(file).await;
        outbox::tell(&store, &happening(Kind::Failed), 0).await.unwrap();
        let settled = |known: &[Notice]| known.iter().all(|notice| notice.attempts >= 1);
        let known = carried(&store, means(&dir, Some(mailer(port))), settled).await;
        match wants {
            "told" => {
                let mail = mails.lock().unwrap().join("\n");
                for part in [
                    "RCPT TO:<ann@example.org>",
                    "RCPT TO:<b@example.org>",
                    "Subject: [prod] shop@1.1 to prod has failed",
                ] {
                    assert!(mail.contains(part), "{part} is not in {mail}");
                }
                assert!(known.is_empty());
            }
            wants => {
                let Notice { dead, error, .. } = &known[0];
                assert_eq!(*dead, wants == "dead", "{known:?}");
                assert!(error.starts_with(&format!("mail server 127.0.0.1:{port}: ")), "{error}");
                assert!(error.matches("refused").count() <= 1, "it is said once: {error}");
            }
        }
        drop(nobody);
    }
}

#[test]
fn waits_grow_and_end() {
    let clock = ManualClock::at(0);
    let mut notice = happening(Kind::Failed).notice("chat", &Address::Email { to: vec![] }, 0);
    let mut waits = vec![];
    while !notice.dead {
        let now = longshore_common::time::Clock::now_ms(&clock);
        notice = courier::after(notice, &Undelivered::later("no"), now);
        waits.push((notice.next_ms - now) / 1000);
        clock.advance(Duration::from_millis((notice.next_ms - now) as u64));
    }
    assert_eq!(waits.len() as u32, courier::ATTEMPTS);
    assert_eq!(waits[..4], [10, 20, 40, 80]);
    assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]));
}

/// The outbox is bounded: what nobody can be told makes room for what somebody may be.
#[tokio::test]
async fn the_outbox_is_bounded() {
    let store = store(&hook("http://127.0.0.1:9/")).await;
    let address = Address::Email { to: vec![] };
    let made: Vec<Notice> = (0..outbox::MOST)
        .map(|nth| Notice { dead: nth < 10, ..happening(Kind::Failed).notice("chat", &address, 0) })
        .collect();
    for chunk in made.chunks(100) {
        let put = |txn: Txn, notice: &Notice| {
            let key = Key::notice(&notice.id);
            txn.put(key.clone(), record::encode(&key, notice).unwrap())
        };
        store.commit(chunk.iter().fold(Txn::new(), put)).await.unwrap();
    }
    for (tells, dead) in [(5, 5), (8, 0)] {
        for _ in 0..tells {
            outbox::tell(&store, &happening(Kind::Failed), 0).await.unwrap();
        }
        let known = outbox::list(&store).await.unwrap();
        assert_eq!(known.len(), outbox::MOST);
        assert_eq!(known.iter().filter(|(notice, _)| notice.dead).count(), dead);
    }
}
