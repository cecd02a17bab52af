//! Looks at this host for what a release requires, when the controller plans. Nothing is changed, and of what was asked
//! only what is not there is said.

use longshore_common::{
    ids::AppName,
    manifest::Port,
    traffic::{Directed, Looked},
    wire::{directions, secrets},
};
use longshore_proto::v1 as pb;

use super::{facts::Facts, words};
use crate::{
    host::{mounts, ports, requires},
    run::{Accounts, Found, Works},
};

/// Entries of each list that are looked at; a manifest has at most 64.
const ASKED_MAX: usize = 64;

/// The answer; words of the question that mean nothing here are answered as missing.
pub(super) async fn survey<W: Works>(crew: &W, facts: &Facts, asked: pb::SurveyQuestion) -> pb::Survey {
    let (app, own) = app_state(crew, &asked.app).await.unzip();
    let users = asked.users.iter().take(ASKED_MAX).cloned().collect();
    let wanted = Accounts { users, run_as: asked.run_as.clone(), driver: facts.driver.clone() };
    let Found { missing, problem } = crew.accounts(wanted).await;
    let secrets_missing = match secrets::from_messages(asked.secrets.clone()) {
        Ok(secrets) => crew.secrets_missing(secrets).await,
        Err(invalid) => vec![invalid.to_string()],
    };
    let Looked { problems: traffic_problems, notes: traffic_notes } = directors(crew, &asked).await;
    let own = own.unwrap_or_default();
    let looked = tokio::task::spawn_blocking(move || look(asked, &own)).await;
    let looked = looked.expect("looking at a host does not panic");
    pb::Survey {
        facts: Some(facts.gather(crew.trust().await).await),
        users_missing: missing,
        run_as_problem: problem.unwrap_or_default(),
        secrets_missing,
        traffic_problems,
        traffic_notes,
        app,
        hold: Some(words::hold_state(crew.hold().as_ref())),
        // Read last: the controller compares it with the moment at which the answer comes.
        time_ms: crew.now_ms(),
        ..looked
    }
}

/// Whoever directs traffic here, where that was asked.
async fn directors<W: Works>(crew: &W, asked: &pb::SurveyQuestion) -> Looked {
    let Some(traffic) = asked.traffic.clone() else { return Looked::default() };
    let problem = |why: String| Looked { problems: vec![why], notes: vec![] };
    let app: AppName = match asked.app.parse() {
        Ok(app) => app,
        Err(why) => return problem(format!("the app of the question: {why}")),
    };
    match directions::from_message(traffic) {
        Ok(wanted) if asked.sides => crew.look_at_director(&app, Directed::Sides(wanted)).await,
        Ok(wanted) => crew.look_at_director(&app, Directed::Hosts(wanted)).await,
        Err(invalid) => problem(invalid.to_string()),
    }
}

/// How the app stands here, and the ports of what is live, which it lets go of. None: this host never had the app.
async fn app_state<W: Works>(crew: &W, app: &str) -> Option<(pb::AppState, Vec<Port>)> {
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

fn look(asked: pb::SurveyQuestion, own: &[Port]) -> pb::Survey {
    let pb::SurveyQuestion {
        app: _,
        commands,
        ports,
        mounts,
        users: _,
        run_as: _,
        secrets: _,
        traffic: _,
        sides: _,
    } = asked;
    let lacking = |list: Vec<String>, there: fn(&str) -> bool| {
        list.into_iter().take(ASKED_MAX).filter(|entry| !there(entry)).collect::<Vec<_>>()
    };
    pb::Survey {
        commands_missing: lacking(commands, requires::is_on_path),
        ports_taken: taken(ports, own),
        mounts_missing: lacking(mounts, mounts::is_mounted),
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
            users: vec![],
            run_as: String::new(),
            secrets: Default::default(),
            traffic: None,
            sides: false,
        };
        let found = look(asked.clone(), &[]);
        assert_eq!(found.commands_missing, ["no-such-command", "../sh"]);
        assert_eq!(found.ports_taken.iter().map(|taken| &taken.port).collect::<Vec<_>>(), [&here]);
        assert_eq!(found.mounts_missing, ["/no/such/mount"]);
        let own = [Port::parse(&here).unwrap()];
        assert!(look(asked, &own).ports_taken.is_empty(), "its own port is not taken");
    }
}
