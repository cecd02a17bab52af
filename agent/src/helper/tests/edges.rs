//! What may be asked for exactly at a limit and one beyond it, and under whose name it is kept.

use longshore_common::code::Code;

use super::{
    call, hear,
    signed::{Helper, app},
};
use crate::{
    helper::words::{Ask, Say},
    plan::{Drain, Hold, HoldKind},
    run::Accounts,
};

/// Characters of who wants something, and of why.
const WORDS: usize = 500;

fn hold(reason: usize, by: usize) -> Ask {
    let reason = "x".repeat(reason);
    let hold = Hold { reason, by: "ann".into(), since_ms: 5, kind: HoldKind::Admin };
    Ask::Hold { hold: Some(hold), by: "x".repeat(by) }
}

fn drain(reason: usize, by: usize) -> Ask {
    let (reason, by) = ("x".repeat(reason), "x".repeat(by));
    Ask::Drain { drain: Some(Drain { by, reason, since_ms: 5, stop_ms: 6, here_ms: 6 }) }
}

fn accounts(users: usize) -> Ask {
    let users = (0..users).map(|n| format!("no-such-user-{n}")).collect();
    Ask::Accounts(Accounts { users, run_as: String::new(), driver: "none".into() })
}

fn revert(by: usize) -> Ask {
    Ask::Revert { app: app(), to: None, by: "x".repeat(by) }
}

/// The code it is refused with; none: it is answered.
async fn refused(helper: &Helper, ask: Ask) -> Option<String> {
    match hear(&mut call(&helper.socket, ask).await).await {
        Say::No(wrong) => Some(wrong.code),
        _ => None,
    }
}

#[tokio::test]
async fn words_and_users_are_bounded() {
    let helper = Helper::new().await;
    // There is nothing to go back to, which is found only where the words fit.
    assert_eq!(refused(&helper, revert(WORDS)).await, Some(Code::N01.to_string()));
    assert_eq!(refused(&helper, revert(WORDS + 1)).await, Some(Code::V01.to_string()));
    for (what, fits, beyond) in [
        ("why it is held", hold(WORDS, 3), hold(WORDS + 1, 3)),
        ("who holds it", hold(3, WORDS), hold(3, WORDS + 1)),
        ("why it is drained", drain(WORDS, 3), drain(WORDS + 1, 3)),
        ("who drains it", drain(3, WORDS), drain(3, WORDS + 1)),
        ("users", accounts(64), accounts(65)),
    ] {
        let before = (helper.crew.state().hold(), helper.all().await);
        assert_eq!(refused(&helper, beyond).await, Some(Code::V01.to_string()), "{what}");
        assert_eq!((helper.crew.state().hold(), helper.all().await), before, "{what}");
        assert_eq!(refused(&helper, fits).await, None, "{what}");
    }
}

#[tokio::test]
async fn all_users_are_looked_up() {
    let helper = Helper::new().await;
    match hear(&mut call(&helper.socket, accounts(64)).await).await {
        Say::Accounts(found) => assert_eq!(found.missing.len(), 64),
        other => panic!("{other:?}"),
    }
}

/// Escapes in a name stay out of every record and terminal.
#[tokio::test]
async fn who_holds_the_host_is_kept_in_letters_that_can_be_shown() {
    let helper = Helper::new().await;
    let Ask::Hold { hold, .. } = hold(3, 3) else { unreachable!("it is a hold") };
    let ask = Ask::Hold { hold, by: "ann\u{1b}[2J".into() };
    assert!(matches!(hear(&mut call(&helper.socket, ask).await).await, Say::Changed { changed: true }));
    let rows = helper.crew.state().history(None, 1).await.unwrap();
    assert_eq!(rows[0].by, "ann\\x1b[2J");
}
