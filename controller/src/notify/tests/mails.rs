//! What a mail says: what, where, who and why, by which id, and what to type next.

use longshore_common::{digest::PlanDigest, report::StepName};

use super::*;
use crate::notify::{AskingGate, FirstFailure};

const ROLLOUT: &str = "01a22bf6-7d33-75ef-a48a-49222fb3ab55";

fn told(kind: Kind, subject: &str) -> Happening {
    Happening::of_env(kind, &"prod".parse().unwrap(), subject.to_owned())
}

fn of_rollout(kind: Kind) -> Happening {
    let happening = Happening {
        rollout: Some(ROLLOUT.parse().unwrap()),
        from_version: Some("1.0".parse().unwrap()),
        ..told(kind, "shop@1.1 to prod: so it is")
    };
    happening.of(&"shop".parse().unwrap(), &"1.1".parse().unwrap()).by(&"ann".parse().unwrap())
}

fn of_plan(kind: Kind) -> Happening {
    let happening = told(kind, "sue said something").planned(&PlanDigest([0xab; 32]));
    happening.of(&"shop".parse().unwrap(), &"1.1".parse().unwrap()).by(&"sue".parse().unwrap())
}

/// The head and the body as they go over the line.
fn mail(happening: &Happening) -> (String, String) {
    let notice = happening.notice("mail", &Address::Email { to: vec![] }, 0);
    let message = mailer(9).message(&notice, &["ann@example.org".to_owned()]).unwrap();
    let text = String::from_utf8(message.formatted()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.replace("\r\n", "\n"))
}

#[tokio::test]
async fn every_mail_says_what_where_who_and_what_to_type() {
    let plan = "ab".repeat(32);
    for kind in Kind::ALL {
        let (happening, facts) = match kind {
            Kind::ApprovalNeeded => (
                of_plan(kind),
                format!(
                    "app: shop@1.1\nenvironment: prod\nplan: {plan}\nplanned by: sue\n\
                     Look: longshore plan show abababab\nThen: longshore rollout approve abababab"
                ),
            ),
            Kind::Approved | Kind::Denied => (
                of_plan(kind).because("not before lunch"),
                format!(
                    "app: shop@1.1\nenvironment: prod\nplan: {plan}\nby: sue\nreason: not before lunch\n\
                     Look: longshore plan show abababab"
                ),
            ),
            Kind::Scheduled
            | Kind::Started
            | Kind::Waiting
            | Kind::RollingBack
            | Kind::RolledBack
            | Kind::Failed
            | Kind::Aborted
            | Kind::Succeeded => {
                let verb = if kind == Kind::Succeeded { "show" } else { "explain" };
                (
                    of_rollout(kind),
                    format!(
                        "app: shop@1.1, was 1.0\nenvironment: prod\nrollout: {ROLLOUT}\nstarted by: ann\n\
                         Look: longshore rollout {verb} {ROLLOUT}"
                    ),
                )
            }
            Kind::Frozen | Kind::Unfrozen | Kind::Locked | Kind::Unlocked => (
                told(kind, "prod is so").by(&"ann".parse().unwrap()).because("stock-taking"),
                "environment: prod\nby: ann\nreason: stock-taking\nLook: longshore env calendar prod"
                    .to_owned(),
            ),
            Kind::Test => (
                told(kind, "ann tries").by(&"ann".parse().unwrap()),
                "environment: prod\nby: ann\nLook: longshore notify list".to_owned(),
            ),
        };
        let (_, body) = mail(&happening);
        let wanted = format!("{}\n\n{facts}\n\n{} (mail)\n", happening.subject, kind.as_str());
        assert_eq!(body.trim_end(), wanted.trim_end(), "{kind:?}");
    }
}

/// Where only settings go back or forward, no version comes after itself.
#[test]
fn a_version_that_stays_is_not_said_to_follow_itself() {
    let happening = of_rollout(Kind::Started);
    let happening = Happening { from_version: Some("1.1".parse().unwrap()), ..happening };
    let notice = happening.notice("mail", &Address::Email { to: vec![] }, 0);
    assert!(notice.text.starts_with("app: shop@1.1, live already\nenvironment: prod\n"), "{}", notice.text);
}

/// Whoever may open a gate reads which, how many it takes, and what to type for either answer.
#[test]
fn a_gate_that_waits_says_who_may_open_it_and_how() {
    let gate = |name: &str, asked: &str| AskingGate { name: name.to_owned(), asked: asked.to_owned() };
    let gates = vec![gate("go-live", "2 approvals by carl, sre (sam, sue)"), gate("legal", "")];
    let happening = Happening { gates, ..of_rollout(Kind::ApprovalNeeded) };
    let notice = happening.notice("mail", &Address::Email { to: vec![] }, 0);
    assert_eq!(
        notice.text,
        format!(
            "app: shop@1.1, was 1.0\nenvironment: prod\nrollout: {ROLLOUT}\nstarted by: ann\n\
             gate: go-live, which wants 2 approvals by carl, sre (sam, sue)\ngate: legal\n\
             Look: longshore rollout explain {ROLLOUT}\n\
             Allow: longshore rollout open {ROLLOUT} go-live\n\
             Deny: longshore rollout open {ROLLOUT} go-live --deny\n\
             Allow: longshore rollout open {ROLLOUT} legal\n\
             Deny: longshore rollout open {ROLLOUT} legal --deny"
        )
    );
    let payload: serde_json::Value = serde_json::from_str(&notice.payload).unwrap();
    assert_eq!(payload["gates"], serde_json::json!(["go-live", "legal"]));
    assert_eq!(payload["commands"][1], format!("longshore rollout open {ROLLOUT} go-live"));
}

/// The host, its error, and how many failed besides: in the mail, and as fields in what a webhook gets.
#[test]
fn a_failure_is_told_with_its_host_and_its_error() {
    let failure = FirstFailure {
        host: "web-1".parse().unwrap(),
        code: "LS-B01".to_owned(),
        step: StepName::Probe,
        message: "/healthz answered 500\nSubject: fake\u{1b}[31m".to_owned(),
        others: 2,
    };
    let text = "1 host failed, 0 allowed overall".to_owned();
    let happening = Happening { failure: Some(failure), text, ..of_rollout(Kind::RolledBack) };
    let notice = happening.notice("chat", &Address::Email { to: vec![] }, 0);
    let body = &notice.text; // in a mail, a line as long as this is wrapped by its encoding
    for line in [
        "1 host failed, 0 allowed overall\n",
        "\nfirst failure: web-1: LS-B01 at probe: /healthz answered 500\\nSubject: fake\\x1b[31m; 2 more hosts failed\n",
    ] {
        assert!(body.contains(line), "{line} is not in {body}");
    }
    let payload: serde_json::Value = serde_json::from_str(&notice.payload).unwrap();
    assert_eq!(payload["failure"]["host"], "web-1");
    assert_eq!((&payload["failure"]["step"], &payload["failure"]["others"]), (&"probe".into(), &2.into()));
    assert_eq!(payload["from_version"], "1.0");
    assert_eq!(payload["commands"][0], format!("longshore rollout explain {ROLLOUT}"));
}

/// Bad input: a reason that would be more lines than one, of head or body.
#[tokio::test]
async fn what_people_wrote_makes_no_lines_of_its_own() {
    let happening =
        told(Kind::Locked, "prod is locked by ann: x\r\nBcc: eve@example.org").because("x\nLook: rm");
    let (head, body) = mail(&happening);
    assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
    assert!(body.contains("\nreason: x\\nLook: rm\n"), "{body}");
}
