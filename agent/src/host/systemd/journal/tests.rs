//! What is read of a journal, where it is kept and where it is not.

use super::*;

/// Stands in for journalctl: rows on its output, complaints beside it, and how it ends.
async fn read_of(script: &str) -> (usize, Result<(), String>) {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    let mut count = 0;
    let read = rows(command, |row| count += usize::from(row.starts_with('{'))).await;
    (count, read.map_err(|e| e.to_string()))
}

/// Scenario: `Storage=none`, or the journal of another machine-id. journalctl ends well.
#[tokio::test]
async fn a_journal_that_is_not_there_is_something_else_than_an_app_that_says_nothing() {
    for script in [
        "echo 'No journal files were found.' >&2; echo '-- No entries --'",
        "echo 'No journal files were found.' >&2; exec sleep 60", // it follows what never comes
        "echo 'No journal files were opened due to insufficient permissions.' >&2; exit 1",
        "echo 'Failed to open journal: Bad message' >&2; exit 1",
    ] {
        let (count, read) = read_of(script).await;
        let why = read.expect_err(script);
        assert!(count == 0 && script.contains(why.split(" See ").next().unwrap()), "{script}: {why}");
    }
    for (script, count) in [
        ("echo '-- No entries --'", 0),
        ("echo '-- No entries --'; exit 1", 0),
        ("exit 1", 0),
        ("echo 'Hint: You are currently not seeing messages from other users.' >&2; echo '{}'", 1),
        ("echo 'Journal file x is truncated, ignoring file.' >&2; echo '{}'; echo '{}'", 2),
    ] {
        assert_eq!(read_of(script).await, (count, Ok(())), "{script}");
    }
}

#[test]
fn rows_of_the_journal_are_lines() {
    let row = r#"{"__REALTIME_TIMESTAMP":"1732256000123456","MESSAGE":"up","_BOOT_ID":"x"}"#;
    assert_eq!(parse(row), Some((1_732_256_000_123, "up".into())));
    let bytes = r#"{"__REALTIME_TIMESTAMP":"1000","MESSAGE":[97,27,255]}"#;
    assert_eq!(parse(bytes), Some((1, "a\u{1b}\u{fffd}".into())));
    assert_eq!(parse("-- No entries --"), None);
}

/// Those of the release before, and what systemd says of its end, are no evidence of what failed after it.
#[test]
fn the_last_words_of_the_life_before_are_not_told() {
    let row =
        |life: &str, text: &str| format!(r#"{{"__REALTIME_TIMESTAMP":"1000","MESSAGE":"{text}",{life}}}"#);
    let (old, new) = (r#""_SYSTEMD_INVOCATION_ID":"aa""#, r#""_SYSTEMD_INVOCATION_ID":"bb""#);
    let stopped = row(r#""INVOCATION_ID":"aa""#, "Stopped shop");
    let started = row(r#""INVOCATION_ID":"bb","_SYSTEMD_INVOCATION_ID":"aa""#, "Started shop");
    let rows = [row(old, "bye"), stopped, started, row(new, "cannot open the database")];
    let told = |before: Option<&str>| -> Vec<String> {
        rows.iter().filter_map(|row| Some(said_since(row, before)?.1)).collect()
    };
    assert_eq!(told(Some("aa")), ["Started shop", "cannot open the database"]);
    assert_eq!(told(None).len(), 4, "nothing is known of what ran before");
    assert_eq!((life_until(&rows[1], 1000).as_deref(), life_until(&rows[1], 999)), (Some("aa"), None));
    let unnamed = r#"{"__REALTIME_TIMESTAMP":"1000","MESSAGE":"a core was dumped"}"#;
    let dumped = Some((1, "a core was dumped".to_owned()));
    assert_eq!(said_since(unnamed, Some("aa")), dumped);
    assert_eq!(said_since(unnamed, None), dumped);
}

const UNIT: &str = "longshore-shop.service";
const BEGUN_MS: u64 = 100_500;

type Said<'a> = &'a [(Millis, &'a str)];
/// None: that nothing was kept.
type Expected<'a> = Option<&'a [&'a str]>;

/// Stands in for journalctl, where these are the entries of the unit, and of whatever else since its last start.
fn journal_of(unit: Said<'_>, others: Said<'_>) -> String {
    let say = |rows: Said<'_>| {
        let row = |(ms, text): &(Millis, &str)| {
            format!(r#"echo '{{"__REALTIME_TIMESTAMP":"{ms}000","MESSAGE":"{text}"}}'"#)
        };
        rows.iter().map(row).collect::<Vec<_>>().join("; ")
    };
    let (unit, others) = (say(unit), say(others));
    format!(
        r#"case "$*" in
        --sync | *" --reverse "*) ;;
        *" -u {UNIT} "* | *" --unit={UNIT}" | *" _SYSTEMD_UNIT={UNIT}") {unit} ;;
        "-q --no-pager -o json --output-fields=PRIORITY -n 1 --since=@99.500000") {others} ;;
        *) echo "asked for $*" >&2; exit 1 ;;
        esac"#
    )
}

fn begun() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(BEGUN_MS)
}

/// `Storage=none`, with or without journals from before it: journalctl says what there is, and ends well.
#[tokio::test]
async fn what_was_said_before_the_last_start_is_told_where_the_journal_is_kept() {
    let (old, new, other) = ((90_000, "bye"), (100_600, "Started shop"), (100_700, "cron"));
    let rows: [(Until, Said<'_>, Said<'_>, Expected<'_>); 8] = [
        (Until::Now, &[old, new], &[], Some(&["bye", "Started shop"])), // and nothing else is asked for
        (Until::Now, &[old], &[], None),
        (Until::Now, &[], &[], None),
        (Until::Now, &[old], &[other], Some(&["bye"])),
        (Until::Now, &[], &[other], Some(&[])),
        (Until::Dropped, &[old], &[], None),
        (Until::Dropped, &[], &[], None),
        (Until::Dropped, &[old, new], &[other], Some(&["bye", "Started shop"])),
    ];
    for (until, unit, others, expected) in rows {
        let script = journal_of(unit, others);
        let words = ["-c", script.as_str(), "journalctl"];
        let mut told: Vec<String> = vec![];
        let each = |_, line| told.push(line);
        let read = lines_by(Program("sh", &words), UNIT, begun(), 50, until, each).await;
        let case = format!("{until:?} {unit:?} {others:?}: {read:?}");
        match expected {
            Some(lines) => assert!(read.is_ok() && told == lines, "{case} {told:?}"),
            None => {
                let why = read.expect_err(&case).to_string();
                assert!(why.starts_with(NOTHING_KEPT) && told.is_empty(), "{case} {told:?}");
            }
        }
    }
}

/// The app was told to run at 80 s, and its last start began at 100.5 s.
#[tokio::test]
async fn a_journal_that_keeps_nothing_is_no_evidence() {
    let (old, new, other) = ((90_000, "listening"), (100_600, "boom"), (100_700, "cron"));
    let rows: [(Said<'_>, Said<'_>, Expected<'_>); 5] = [
        (&[old, new], &[], Some(&["listening", "boom"])), // and nothing else is asked for
        (&[old], &[], None),
        (&[], &[], None),
        (&[old], &[other], Some(&["listening"])),
        (&[], &[other], Some(&[])),
    ];
    for (unit, others, expected) in rows {
        let script = journal_of(unit, others);
        let words = ["-c", script.as_str(), "journalctl"];
        let since = UNIX_EPOCH + Duration::from_secs(80);
        let lines = last_lines_by(Program("sh", &words), UNIT, since, begun()).await;
        let told: Vec<String> = lines.into_iter().collect();
        let unread = format!("(the app's log cannot be read: {NOTHING_KEPT}. {SEE})");
        match expected {
            Some(lines) => assert_eq!(told, lines, "{unit:?} {others:?}"),
            None => assert_eq!(told, [unread], "{unit:?} {others:?}"),
        }
    }
}
