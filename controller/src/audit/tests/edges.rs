//! Exactly at a limit and one beyond it: refusals, texts, pages, segments, and when it is signed.

use super::*;

use tokio_util::sync::CancellationToken;

const SEGMENT: usize = 8 << 20;

/// As many lines from entry `first` on as fill a segment, and the number and hash to go on with.
fn full(first: u64, mut prev: [u8; 32]) -> (String, u64, [u8; 32]) {
    let (mut text, mut i) = (String::new(), first);
    while text.len() < SEGMENT {
        let line = Chained { i, at_ms: 5, prev, what: event(&"y".repeat(8192)) }.line();
        prev = line_hash(&line);
        text.push_str(&format!("{line}\n"));
        i += 1;
    }
    (text, i, prev)
}

impl Desk {
    fn put(&self, name: &str, text: &str) {
        let path = self.folder.path().join("audit").join(name);
        longshore_common::durable::write_atomic(&path, text.as_bytes(), 0o600).unwrap();
    }

    fn segments(&self) -> Vec<String> {
        let names = fs::read_dir(self.folder.path().join("audit")).unwrap();
        let mut names: Vec<_> = names.map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[tokio::test]
async fn it_is_signed_after_a_hundred_entries_or_a_minute_and_at_the_end() {
    let desk = Desk::open();
    let latest = desk.audit.checkpoints();
    desk.events(CHECKPOINT_ENTRIES - 1).await;
    assert_eq!(*latest.borrow(), None);
    desk.events(1).await;
    let at = |count: u64| {
        let signed = latest.borrow().clone().unwrap();
        assert!(signed.is_sound());
        assert_eq!((signed.entries, signed.head), (count, line_hash(desk.lines().last().unwrap())));
    };
    at(100);
    desk.events(100).await;
    at(200);
    assert_eq!(desk.audit.next(), 200);
    // What is left is signed when the controller ends.
    desk.events(7).await;
    let stop = CancellationToken::new();
    stop.cancel();
    desk.audit.clone().keep(stop.clone()).await;
    at(207);
    // And when it has waited for a minute: a keeper that starts looks at once.
    desk.events(1).await;
    let keep = |stop: CancellationToken| tokio::spawn(desk.audit.clone().keep(stop));
    desk.clock.advance(Duration::from_millis(59_999));
    let stop = CancellationToken::new();
    let (mut changed, keeper) = (desk.audit.checkpoints(), keep(stop.clone()));
    changed.mark_unchanged();
    let nothing = tokio::time::timeout(Duration::from_millis(200), changed.changed()).await;
    assert!(nothing.is_err(), "not before its time");
    keeper.abort();
    desk.clock.advance(Duration::from_millis(1));
    let keeper = keep(stop);
    tokio::time::timeout(Duration::from_secs(120), changed.changed()).await.expect("in time").unwrap();
    keeper.abort();
    at(208);
    // What is signed is not signed again.
    changed.mark_unchanged();
    let stop = CancellationToken::new();
    stop.cancel();
    desk.clock.advance(Duration::from_secs(60));
    desk.audit.clone().keep(stop).await;
    assert!(!changed.has_changed().unwrap());
}

#[tokio::test]
async fn sixty_refusals_a_minute_are_written_and_the_others_counted() {
    let desk = Desk::open();
    for number in 0..62 {
        assert_eq!(desk.audit.append(denied()).await.unwrap(), (number < 60).then_some(number), "{number}");
    }
    // Other entries are written all the same, and the count waits for the end of the minute.
    desk.clock.advance(Duration::from_millis(59_999));
    desk.events(1).await;
    assert_eq!(desk.lines().len(), 61);
    desk.clock.advance(Duration::from_millis(1));
    desk.events(1).await;
    assert!(desk.lines()[61].contains("\"refusals\":2"), "{:?}", desk.lines());
    // A new minute has a new sixty, of which the refusal that ended the last one's count is the first.
    for _ in 0..59 {
        assert!(desk.audit.append(denied()).await.unwrap().is_some());
    }
    assert_eq!(desk.audit.append(denied()).await.unwrap(), None);
    // That one ends the count, and is written itself.
    desk.clock.advance(Duration::from_secs(60));
    let ends = desk.audit.append(denied()).await.unwrap().unwrap() as usize;
    let lines = desk.lines();
    assert!(lines[ends - 1].contains("\"refusals\":1") && lines[ends].contains("\"denied\""), "{lines:?}");
    // Without any that was only counted, a minute simply begins.
    let desk = Desk::open();
    for _ in 0..60 {
        desk.audit.append(denied()).await.unwrap().unwrap();
    }
    desk.clock.advance(Duration::from_secs(60));
    for _ in 0..60 {
        desk.audit.append(denied()).await.unwrap().unwrap();
    }
    assert!(desk.lines().iter().all(|line| !line.contains("suppressed")));
}

#[tokio::test]
async fn texts_are_cut_and_what_was_done_is_told_to_its_end() {
    let desk = Desk::open();
    let long = "x".repeat(600);
    let (key, method) = ("00".to_owned(), "Hosts/Remove".to_owned());
    let allowed =
        What::Allowed { actor: long.clone(), key: key.clone(), method: method.clone(), target: long.clone() };
    let of = desk.audit.append(allowed).await.unwrap().unwrap();
    let refused = What::Denied {
        actor: long.clone(),
        key,
        method,
        target: long.clone(),
        code: "LS-C02".into(),
        why: long.clone(),
    };
    desk.audit.append(refused).await.unwrap();
    desk.audit
        .append(What::Event { actor: long.clone(), event: long.clone(), target: long.clone() })
        .await
        .unwrap();
    desk.audit.ended(of, Some("LS-N01".into()), &long);
    let ended = async {
        while desk.lines().len() < 4 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), ended).await.expect("it is told");
    let lines = desk.lines();
    for line in &lines {
        assert!(
            line.len() < 2200 && line.contains(&"x".repeat(500)) && !line.contains(&"x".repeat(513)),
            "{line}"
        );
    }
    let last = Chained::parse(&lines[3]).unwrap().what;
    assert!(matches!(&last, What::Ended { of: 0, code: Some(code), .. } if code == "LS-N01"), "{last:?}");
    let actors: Vec<_> =
        lines.iter().map(|line| Chained::parse(line).unwrap().what.actor().is_empty()).collect();
    assert_eq!(actors, [false, false, false, true]);
}

#[tokio::test]
async fn it_is_read_in_pages_from_anywhere() {
    let desk = Desk::open();
    desk.events(10).await;
    let read = |from, most| {
        let (lines, next) = desk.audit.read(from, most).unwrap();
        (lines.iter().map(|line| Chained::parse(line).unwrap().i).collect::<Vec<_>>(), next)
    };
    assert_eq!(read(0, 4), (vec![0, 1, 2, 3], 4));
    assert_eq!(read(4, 6), (vec![4, 5, 6, 7, 8, 9], 10));
    assert_eq!(read(9, 5), (vec![9], 10));
    assert_eq!(read(10, 5), (vec![], 10));
    assert_eq!(read(12, 5), (vec![], 12));
}

/// A full segment is followed by another, which goes on with the chain; so does an empty one that a crash left.
#[tokio::test]
async fn a_full_segment_is_followed_by_another() {
    let desk = Desk::open();
    let (text, next, head) = full(0, GENESIS);
    desk.put("000000000000.jsonl", &text);
    let desk = desk.again();
    desk.events(2).await;
    assert_eq!(desk.segments(), ["000000000000.jsonl".to_owned(), format!("{next:012}.jsonl")]);
    let (lines, end) = desk.audit.read(next, 10).unwrap();
    assert_eq!((lines.len(), end), (2, next + 2));
    let second = Chained::parse(&lines[0]).unwrap();
    assert_eq!((second.i, second.prev), (next, head));
    // From the one to the other in one page.
    assert_eq!(desk.audit.read(next - 2, 3).unwrap().1, next + 1);

    desk.put(&format!("{:012}.jsonl", next + 2), "");
    let desk = desk.again();
    desk.events(1).await;
    let (lines, _) = desk.audit.read(next + 1, 10).unwrap();
    assert_eq!(Chained::parse(&lines[1]).unwrap().prev, line_hash(&lines[0]), "the chain goes on");
}

/// Lines that fill exactly so many bytes, and the number to go on with.
fn exactly(bytes: usize) -> (String, u64) {
    let (mut text, mut i, mut prev) = (String::new(), 0, GENESIS);
    while text.len() < bytes {
        let of = |length: usize| Chained { i, at_ms: 5, prev, what: event(&"y".repeat(length)) }.line();
        let left = bytes - text.len();
        let line = if left < 20_000 { of(left - of(0).len() - 1) } else { of(8192) };
        prev = line_hash(&line);
        text.push_str(&format!("{line}\n"));
        i += 1;
    }
    (text, i)
}

/// To the byte: a segment that has less than it may takes another line, one that has as much does not.
#[tokio::test]
async fn a_segment_is_full_when_it_has_what_it_may() {
    let desk = Desk::open();
    let taken = |i| Chained { i, at_ms: 1_000_000, prev: GENESIS, what: event("host-0") }.line().len() + 1;
    let (_, next) = exactly(SEGMENT - 1000);
    let (text, begin) = exactly(SEGMENT - taken(next) - taken(next + 1));
    assert_eq!(begin, next);
    desk.put("000000000000.jsonl", &text);
    let desk = desk.again();
    for _ in 0..2 {
        desk.events(1).await;
        assert_eq!(desk.segments(), ["000000000000.jsonl"]);
    }
    let first = desk.folder.path().join("audit/000000000000.jsonl");
    assert_eq!(fs::metadata(first).unwrap().len(), SEGMENT as u64);
    desk.events(1).await;
    assert_eq!(desk.segments()[1..], [format!("{:012}.jsonl", next + 2)]);
}

/// The oldest of 128 segments goes, and the log says that it did.
#[tokio::test]
async fn what_is_too_old_is_taken_away_and_that_is_said() {
    let desk = Desk::open();
    let mut prev = GENESIS;
    for i in 0..127 {
        let line = Chained { i, at_ms: 5, prev, what: event("z") }.line();
        desk.put(&format!("{i:012}.jsonl"), &format!("{line}\n"));
        prev = line_hash(&line);
    }
    let (text, next, _) = full(127, prev);
    desk.put("000000000127.jsonl", &text);
    let desk = desk.again();
    desk.events(1).await;
    let names = desk.segments();
    assert_eq!((names.len(), names[0].as_str()), (128, "000000000001.jsonl"));
    assert_eq!(names[127], format!("{next:012}.jsonl"));
    let lines = desk.lines();
    let said = &lines[next as usize - 1];
    assert!(said.contains("\"pruned\"") && said.contains("\"before\":1"), "{said}");
    let verified = verify(&lines, vec![]).unwrap();
    assert_eq!((verified.first, verified.entries), (1, next + 2));
    // A log that begins late without saying so was cut.
    let cut = verify(&lines[3..127], vec![]).unwrap_err();
    assert!(cut.why.contains("the log begins with entry 4, and by its own word with 0"), "{cut}");
}

#[test]
fn a_key_that_is_none_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let first = Signer::load_or_create(folder.path()).unwrap();
    assert_eq!(Signer::load_or_create(folder.path()).unwrap().public(), first.public());
    assert_eq!(
        format!("{first:?}"),
        format!("Signer({})", longshore_common::digest::hex(&first.public()[..4]))
    );
    let path = folder.path().join("audit-key.pk8");
    longshore_common::durable::write_atomic(&path, b"none", 0o600).unwrap();
    let error = Signer::load_or_create(folder.path()).unwrap_err();
    assert!(error.to_string().contains("is no Ed25519 key"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"none");
    assert_eq!(error.coded().code, longshore_common::code::Code::S04);
    // Nor is what is there and cannot be read.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let error = Signer::load_or_create(folder.path()).unwrap_err();
    assert!(error.to_string().starts_with("read "), "{error}");
}

#[tokio::test]
async fn a_checkpoint_is_of_its_entries_and_its_time() {
    let desk = Desk::open();
    desk.events(3).await;
    let lines = desk.lines();
    let signer = Signer::load_or_create(desk.folder.path()).unwrap();
    let good = signer.sign(3, line_hash(&lines[2]), 7);
    let witness = |checkpoint: Checkpoint| verify(&lines, vec![(checkpoint, "web-1".into())]);
    witness(good.clone()).unwrap();
    for forged in [
        Checkpoint { entries: 2, ..good.clone() },
        Checkpoint { at_ms: 8, ..good.clone() },
        Checkpoint { head: [7; 32], ..good.clone() },
        Checkpoint { key: [7; 32], ..good.clone() },
    ] {
        let verifier = Verifier::new([(forged, "web-1".to_owned())]);
        assert!(verifier.witnesses().is_empty() && verifier.forged().contains("web-1"));
    }
    let at_ms = desk.clock.now_ms();
    let beyond = witness(signer.sign(4, [7; 32], at_ms)).unwrap_err();
    assert_eq!((beyond.index, beyond.to_string().starts_with("entry 3: is missing")), (3, true));
    let differs = witness(signer.sign(2, [7; 32], at_ms)).unwrap_err();
    assert!(differs.index == 1 && differs.why.contains("differs from what web-1 keeps"), "{differs}");
}

/// A chain that is whole in itself, and from which an entry was left out.
#[test]
fn numbers_have_no_gap_whatever_follows_from_what() {
    let of = |i, prev| Chained { i, at_ms: 5, prev, what: event("z") }.line();
    let first = of(0, GENESIS);
    let second = of(1, line_hash(&first));
    let skipping = of(5, line_hash(&second));
    let broken = verify(&[first, second, skipping], vec![]).unwrap_err();
    assert_eq!(broken.to_string(), "entry 2: is missing: the log goes on with entry 5");
}
