//! Bytes of the log that were changed on the disk.

use super::*;

/// Of one line with its newline.
type Change<'c> = &'c dyn Fn(&[u8]) -> Vec<u8>;

/// Whatever is done to the bytes of an entry, the log is read, that entry is the one that is named, and the log goes on.
#[tokio::test]
async fn an_entry_with_bytes_that_are_no_text_is_named_and_hides_no_other() {
    let desk = Desk::open();
    desk.audit.append(event("host-\u{fffd}")).await.unwrap();
    desk.events(4).await;
    let path = desk.folder.path().join("audit/000000000000.jsonl");
    let whole = fs::read(&path).unwrap();
    let lines = || whole.split_inclusive(|byte| *byte == b'\n');
    let replaced = |at: usize, with: Change<'_>| -> Vec<u8> {
        let changed = lines().enumerate().map(|(nth, line)| if nth == at { with(line) } else { line.into() });
        changed.collect::<Vec<_>>().concat()
    };
    let flipped = |line: &[u8]| {
        let mut line = line.to_vec();
        line[20] = 0xff;
        line
    };
    // What stands for bytes that are no text in a text, and such a byte in its place.
    let same_words = |line: &[u8]| {
        let text = "\u{fffd}".as_bytes();
        let at = line.windows(text.len()).position(|bytes| bytes == text).unwrap();
        [&line[..at], b"\xff", &line[at + text.len()..]].concat()
    };
    let returned = |line: &[u8]| [line.strip_suffix(b"\n").unwrap(), b"\r\n"].concat();
    let endless = |_: &[u8]| [vec![b'x'; 3 << 20], b"\n".to_vec()].concat();
    let changes: [(usize, Change<'_>); 6] =
        [(2, &flipped), (4, &flipped), (0, &same_words), (3, &returned), (4, &returned), (1, &endless)];
    for (round, (at, change)) in changes.into_iter().enumerate() {
        longshore_common::durable::write_atomic(&path, &replaced(at, change), 0o600).unwrap();
        let read = desk.lines();
        assert!(read.len() == 5 && read.iter().all(|line| line.len() <= 16 << 10), "round {round}");
        let broken = verify(&read, vec![]).unwrap_err();
        assert_eq!(broken.to_string(), format!("entry {at}: cannot be read as an entry"), "round {round}");
        let others = read.iter().filter(|line| Chained::parse(line).is_some()).count();
        assert!(others >= 4, "round {round}");
        let page = desk.audit.read(at as u64, 1).unwrap();
        assert_eq!(page, (vec![read[at].clone()], at as u64 + 1), "round {round}");
        // A controller that starts then goes on after it.
        assert_eq!(open(desk.folder.path(), &desk.clock).next(), 5, "round {round}");
    }
}

/// What is being written is no damage; what lacks its end since then is.
#[tokio::test]
async fn a_line_that_is_half_written_is_not_read_yet() {
    let desk = Desk::open();
    desk.events(2).await;
    let path = desk.folder.path().join("audit/000000000000.jsonl");
    let whole = fs::read(&path).unwrap();
    let put = |bytes: &[u8]| longshore_common::durable::write_atomic(&path, bytes, 0o600).unwrap();
    put(&[&whole[..], b"{\"i\":2,"].concat());
    assert_eq!((desk.lines().len(), desk.audit.read(2, 9).unwrap()), (2, (vec![], 2)));
    put(&whole[..whole.len() - 9]);
    assert_eq!(verify(&desk.lines(), vec![]).unwrap_err().index, 1);
}

/// The line before an empty segment is what its first entry follows, also where it is damaged.
#[tokio::test]
async fn a_damaged_line_before_an_empty_segment_keeps_no_controller_from_starting() {
    let desk = Desk::open();
    desk.events(2).await;
    let path = desk.folder.path().join("audit/000000000000.jsonl");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 3;
    bytes[last] = 0xff;
    longshore_common::durable::write_atomic(&path, &bytes, 0o600).unwrap();
    fs::File::create(desk.folder.path().join("audit/000000000002.jsonl")).unwrap();
    let desk = desk.again();
    desk.events(1).await;
    assert_eq!(verify(&desk.lines(), vec![]).unwrap_err().index, 1);
}
