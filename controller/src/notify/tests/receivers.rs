//! Each receiver for itself: refused, slow, or another than before.

use super::{
    server::{Server, silent, smtp},
    *,
};

/// Ways of telling by webhook, by name and address.
fn hooks(ways: &[(&str, &str)]) -> String {
    let hook = |(name, url): &(&str, &str)| {
        format!("[[stakeholders.tell]]\nname = \"{name}\"\nwebhook = \"{url}\"\nsecret = \"chat\"\n")
    };
    ways.iter().map(hook).collect()
}

fn numbered(nth: usize) -> Happening {
    let env = "prod".parse().unwrap();
    Happening::of_env(Kind::Failed, &env, format!("number {nth}"))
}

async fn apply(store: &SharedStore, file: &str) -> Result<(), String> {
    let text = format!("[environment]\nname = \"prod\"\nselector = \"env=prod\"\n{file}");
    let (tell, by) = (testing::tell(), "ann".parse().unwrap());
    environments::apply(store, &tell, "prod.toml", &text, &by, 0)
        .await
        .map(|_| ())
        .map_err(|trouble| trouble.to_string())
}

fn addresses(notices: &[Notice]) -> Vec<String> {
    let mut addresses: Vec<String> = notices.iter().map(|notice| notice.address.to_string()).collect();
    addresses.sort();
    addresses
}

#[tokio::test]
async fn a_receiver_that_is_refused_keeps_mail_from_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (port, said) = smtp(|line| match line {
        line if line.contains("<gone@") => "550 no such mailbox",
        line if line.contains("<full@") => "452 full",
        _ => "250 known",
    })
    .await;
    let file = "[[stakeholders.tell]]\nname = \"mail\"\n\
                email = [\"ann@example.org\", \"full@example.org\", \"gone@example.org\", \"zoe@example.org\"]\n";
    let store = store(file).await;
    outbox::tell(&store, &happening(Kind::Failed), 0).await.unwrap();
    let settled = |known: &[Notice]| known.iter().all(|notice| notice.attempts >= 1);
    let left = carried(&store, means(&dir, Some(mailer(port))), settled).await;
    let left: Vec<(String, bool)> =
        left.iter().map(|notice| (notice.address.to_string(), notice.dead)).collect();
    assert_eq!(left, [("full@example.org".to_owned(), false), ("gone@example.org".to_owned(), true)]);
    let said = said.lock().unwrap().join("\n");
    assert_eq!(said.matches("Subject: ").count(), 2, "ann and zoe: {said}");
    assert!(said.contains("To: ann@example.org") && said.contains("To: zoe@example.org"), "{said}");
}

/// What comes later goes out while one receiver hangs, and to each in the order in which it happened.
#[tokio::test]
async fn a_receiver_that_hangs_holds_up_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (_held, hangs) = silent().await;
    let server = Server::answering(&["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]).await;
    let store = store(&hooks(&[("slow", &hangs), ("chat", &server.url)])).await;
    let stop = CancellationToken::new();
    let (clock, means) = (Arc::new(SystemClock), means(&dir, None));
    let task = tokio::spawn(Courier { store: store.clone(), clock, means }.run(stop.clone()));
    for nth in 0..5 {
        outbox::tell(&store, &numbered(nth), 0).await.unwrap();
        let told = async {
            while server.calls().len() <= nth {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let (told, took) = testing::clocked(tokio::time::timeout(PATIENCE, told)).await;
        told.expect("it is told");
        assert!(took < Duration::from_secs(10), "it waited for a call that hangs: {took:?}");
    }
    let left = outbox::list(&store).await.unwrap();
    assert_eq!(left.iter().filter(|(notice, _)| notice.teller == "slow").count(), 5);
    stop.cancel();
    task.await.unwrap();
}

/// Things that are due together go to a receiver one after the other, the oldest first.
#[tokio::test]
async fn a_receiver_is_told_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::answering(&["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]).await;
    let store = store(&hooks(&[("chat", &server.url)])).await;
    for nth in 0..20 {
        outbox::tell(&store, &numbered(nth), 0).await.unwrap();
    }
    carried(&store, means(&dir, None), <[Notice]>::is_empty).await;
    let subject = |call: &String| {
        let body = call.split_once("\r\n\r\n").unwrap().1;
        serde_json::from_str::<serde_json::Value>(body).unwrap()["subject"].as_str().unwrap().to_owned()
    };
    let told: Vec<String> = server.calls().iter().map(subject).collect();
    assert_eq!(told, (0..20).map(|nth| format!("number {nth}")).collect::<Vec<_>>());
}

/// What is tried again goes to whom the environment's file tells now.
#[tokio::test]
async fn what_is_tried_again_goes_to_whom_is_told_now() {
    let contacts =
        |ann: &str| format!("[stakeholders.contacts]\nann = \"{ann}\"\nbob = \"bob@example.org\"\n");
    let mail = |to: &str| format!("[[stakeholders.tell]]\nname = \"mail\"\nemail = [{to}]\n");
    let cases = [
        // A mailbox that had moved: its owner only, not bob as well.
        (
            "\"ann\", \"bob\"",
            contacts("new@example.org") + &mail("\"ann\", \"bob\""),
            vec!["new@example.org"],
        ),
        // Still told there.
        (
            "\"gone@example.org\"",
            contacts("new@example.org") + &mail("\"bob\", \"gone@example.org\""),
            vec!["gone@example.org"],
        ),
        // Others are told in their place.
        (
            "\"gone@example.org\"",
            contacts("new@example.org") + &mail("\"ann\", \"bob\""),
            vec!["bob@example.org", "new@example.org"],
        ),
        (
            "\"gone@example.org\"",
            hooks(&[("mail", "https://chat.example/hooks/x")]),
            vec!["https://chat.example"],
        ),
    ];
    for (before, after, wanted) in cases {
        let store = store(&(contacts("old@example.org") + &mail(before))).await;
        outbox::tell(&store, &happening(Kind::Failed), 0).await.unwrap();
        for (notice, read) in outbox::list(&store).await.unwrap() {
            match ["old@example.org", "gone@example.org"].contains(&notice.address.to_string().as_str()) {
                true => {
                    outbox::keep(&store, &Notice { dead: true, attempts: 12, ..notice }, read).await.unwrap()
                }
                false => outbox::told(&store, &notice).await.unwrap(),
            }
        }
        apply(&store, &after).await.unwrap();
        let retried = outbox::retry(&store, &[], 7).await.unwrap();
        assert_eq!(addresses(&retried), wanted, "{after}");
        let kept: Vec<Notice> =
            outbox::list(&store).await.unwrap().into_iter().map(|(notice, _)| notice).collect();
        assert_eq!(addresses(&kept), wanted);
        assert!(kept.iter().all(|notice| !notice.dead && notice.attempts == 0 && notice.next_ms == 7));
    }
}

#[tokio::test]
async fn what_nobody_is_told_any_more_stays_dead_and_says_so() {
    let store = store(&hooks(&[("chat", "http://127.0.0.1:9/")])).await;
    outbox::tell(&store, &happening(Kind::Failed), 0).await.unwrap();
    let (notice, read) = outbox::list(&store).await.unwrap().remove(0);
    outbox::keep(&store, &Notice { dead: true, ..notice }, read).await.unwrap();
    apply(&store, "").await.unwrap();
    let left = outbox::retry(&store, &[], 7).await.unwrap();
    assert!(left[0].dead);
    assert_eq!(left[0].error, "prod has no [[stakeholders.tell]] \"chat\" any more: nobody is told");
}

/// Bad input: ways of telling that this controller does not have, and more receivers than it can tell at once.
#[tokio::test]
async fn an_environment_tells_by_what_there_is_only() {
    let store = store("").await;
    let unknown =
        hooks(&[("a", "https://a.example/"), ("b", "https://b.example/")]).replace("\"chat\"", "\"chatt\"");
    let said = apply(&store, &unknown).await.unwrap_err();
    for part in [
        "stakeholders.tell \"a\": the controller knows no key \"chatt\"; it knows \"chat\", \"other\".",
        "[webhooks] of controller.toml a line chatt = ",
        "stakeholders.tell \"b\"",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let mail = "[[stakeholders.tell]]\nname = \"mail\"\nemail = [\"a@example.org\"]\n";
    let nothing = crate::config::Tell::default();
    let environment = crate::config::Environment::parse(
        "prod.toml",
        &format!("[environment]\nname = \"prod\"\nselector = \"env=prod\"\n{mail}{unknown}"),
    )
    .unwrap();
    let lacking = nothing.lacking(&environment.stakeholders).join("\n");
    assert!(lacking.contains("\"mail\": this controller sends no mail"), "{lacking}");
    assert!(lacking.contains("it knows none."), "{lacking}");
    let many: Vec<String> = (0..16).map(|nth| format!("\"{nth}@example.org\"")).collect();
    let crowd =
        |name: &str| format!("[[stakeholders.tell]]\nname = \"{name}\"\nemail = [{}]\n", many.join(", "));
    let said = apply(&store, &(crowd("one") + &crowd("two"))).await.unwrap_err();
    assert!(said.contains("32 receivers are told of \"approval-needed\"; at most 30"), "{said}");
    apply(&store, &crowd("one")).await.unwrap();
}
