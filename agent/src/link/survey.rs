//! Looks at this host for what a release requires, when the controller plans. Nothing is changed, and of what was asked
//! only what is not there is said.

use longshore_common::{ids::AppName, manifest::Port};
use longshore_proto::v1 as pb;

use super::{facts::Facts, words};
use crate::{
    host::{Host, account::Account, mounts, ports, requires},
    run::Crew,
};

/// Entries of each list that are looked at; a manifest has at most 64.
const ASKED_MAX: usize = 64;

/// The answer; words of the question that mean nothing here are answered as missing.
pub(super) async fn survey<H: Host>(crew: &Crew<H>, facts: &Facts, asked: pb::SurveyQuestion) -> pb::Survey {
    let (app, own) = app_state(crew, &asked.app).await.unzip();
    let (driver, own) = (facts.driver.clone(), own.unwrap_or_default());
    let looked = tokio::task::spawn_blocking(move || look(asked, &driver, &own)).await;
    let looked = looked.expect("looking at a host does not panic");
    pb::Survey {
        facts: Some(facts.gather().await),
        app,
        hold: Some(words::hold_state(crew.state().hold().as_ref())),
        // Read last: the controller compares it with the moment at which the answer comes.
        time_ms: crew.state().now_ms(),
        ..looked
    }
}

/// How the app stands here, and the ports of what is live, which it lets go of. None: this host never had the app.
async fn app_state<H: Host>(crew: &Crew<H>, app: &str) -> Option<(pb::AppState, Vec<Port>)> {
    let app: AppName = app.parse().ok()?;
    if !crew.apps().contains(&app) {
        return None;
    }
    let standing = crew.standing(&app).await;
    let seen = standing.seen.unwrap_or_default();
    let live = seen.current.as_ref().and_then(|live| seen.slots.get(live));
    let own = live.map(|needs| needs.ports.clone()).unwrap_or_default();
    Some((words::app_state(&app, &standing.record, &seen), own))
}

fn look(asked: pb::SurveyQuestion, driver: &str, own: &[Port]) -> pb::Survey {
    let pb::SurveyQuestion { app: _, commands, ports, mounts, users, run_as } = asked;
    let lacking = |list: Vec<String>, there: fn(&str) -> bool| {
        list.into_iter().take(ASKED_MAX).filter(|entry| !there(entry)).collect::<Vec<_>>()
    };
    pb::Survey {
        commands_missing: lacking(commands, requires::is_on_path),
        ports_taken: taken(ports, own),
        mounts_missing: lacking(mounts, mounts::is_mounted),
        users_missing: lacking(users, |user| Account::look_up(user).is_ok()),
        run_as_problem: run_as_problem(&run_as, driver).unwrap_or_default(),
        ..pb::Survey::default()
    }
}

/// What the app itself claims is not held against it, and so not looked for: the kernel walks its whole table of
/// connections for every look, which takes ten times as long as everything else here.
fn taken(asked: Vec<String>, own: &[Port]) -> Vec<pb::PortTaken> {
    let parsed = asked.into_iter().take(ASKED_MAX).filter_map(|text| Some((Port::parse(&text)?, text)));
    let foreign: Vec<_> = parsed.filter(|(port, _)| !own.iter().any(|own| own.clashes(port))).collect();
    if foreign.is_empty() {
        return vec![];
    }
    let listeners = ports::listeners();
    let clash = |(port, text): (Port, String)| {
        let listener = listeners.iter().find(|listener| listener.port.clashes(&port))?;
        Some(pb::PortTaken { port: text, by: ports::owner(listener).unwrap_or_default() })
    };
    foreign.into_iter().filter_map(clash).collect()
}

/// The same that is checked before anything is fetched: see `requires`.
fn run_as_problem(run_as: &str, driver: &str) -> Option<String> {
    match run_as {
        "" if driver == "systemd" => {
            Some("the release names no user to run as, and here it would be root".to_owned())
        }
        "" => None,
        user => Account::to_become(Some(user)).err().map(|error| error.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_was_asked_what_is_missing_is_said() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let here = socket.local_addr().unwrap().to_string();
        let words = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let asked = pb::SurveyQuestion {
            app: "shop".into(),
            commands: words(&["sh", "no-such-command", "../sh"]),
            ports: vec![here.clone(), "1".into(), "nonsense".into()],
            mounts: words(&["/proc", "/no/such/mount"]),
            users: words(&["root", "no-such-user"]),
            run_as: "no-such-user".into(),
        };
        let found = look(asked.clone(), "process", &[]);
        assert_eq!(found.commands_missing, ["no-such-command", "../sh"]);
        assert_eq!(found.ports_taken.iter().map(|taken| &taken.port).collect::<Vec<_>>(), [&here]);
        assert_eq!(found.mounts_missing, ["/no/such/mount"]);
        assert_eq!(found.users_missing, ["no-such-user"]);
        assert!(found.run_as_problem.contains("no-such-user"));
        let own = [Port::parse(&here).unwrap()];
        assert!(look(asked, "process", &own).ports_taken.is_empty(), "its own port is not taken");
    }

    #[test]
    fn a_service_without_a_user_would_be_root_under_systemd() {
        assert!(run_as_problem("", "process").is_none());
        assert!(run_as_problem("", "systemd").unwrap().contains("root"));
    }
}
