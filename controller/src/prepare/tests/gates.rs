//! What gates of the environment could not do is known before anything is touched.

use super::*;
use crate::config::Config;

/// An environment from before anybody looked at which files its gates name is told of it before anything is touched.
#[tokio::test]
async fn a_gate_by_a_file_of_the_controllers_own_is_found_beforehand() {
    let folder = tempfile::tempdir().unwrap();
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let config = Config::new(folder.path().join("data"), any, any, vec!["127.0.0.1".into()]);
    let site = Site::start_owning(1, OwnFiles::of(&config)).await;
    let failed = async |file: &str| {
        let gate = format!(
            "{FILE}[[gate]]\nname = \"board\"\nkind = \"webhook\"\nafter = \"canary\"\nurl = \"http://127.0.0.1:1/\"\n\
             secret_file = {:?}\n",
            folder.path().join(file).display().to_string()
        );
        site.apply(&gate).await;
        site.plan("1.0").await.failed
    };
    let found = failed("data/trust/online.key").await;
    assert_eq!(found.iter().map(|failed| failed.check).collect::<Vec<_>>(), [Check::GateFile]);
    let what = &found[0].what;
    assert!(
        what.starts_with("gate \"board\": the file ") && what.contains("is the controller's own"),
        "{what}"
    );
    assert!(what.ends_with("change the file of production, and then: longshore env apply FILE"), "{what}");
    let (code, message) = refusal(site.begin(What::Wish(wish("1.0")), &[]).await);
    assert!(code == Code::R04 && message.contains("gate-file: gate \"board\""), "{message}");
    assert_eq!(failed("board.key").await, []);
}
