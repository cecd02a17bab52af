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
        rows.iter().filter_map(|row| said_since(row, before)).collect()
    };
    assert_eq!(told(Some("aa")), ["Started shop", "cannot open the database"]);
    assert_eq!(told(None).len(), 4, "nothing is known of what ran before");
    assert_eq!((life_until(&rows[1], 1000).as_deref(), life_until(&rows[1], 999)), (Some("aa"), None));
    let unnamed = r#"{"__REALTIME_TIMESTAMP":"1000","MESSAGE":"a core was dumped"}"#;
    assert_eq!(said_since(unnamed, Some("aa")).as_deref(), Some("a core was dumped"));
    assert_eq!(said_since(unnamed, None).as_deref(), Some("a core was dumped"));
}
