//! `[traffic]`: who directs the traffic of the environment's hosts, and in what steps.

use longshore_common::{
    label::Selector,
    strict::{Guard, Scalar, Table},
    text::visible,
    time::Span,
    traffic::Director,
};

use super::Age;
use crate::rollout::{Balancers, Groups, Routing, Spec};

const DRAIN: Span = Span::secs(30);
const HOLD: Span = Span::secs(60);
const WARM: Span = Span::secs(600);

/// None: nobody but the releases' own sockets.
pub(super) fn traffic(root: &Table<'_>, spec: &Spec, age: Age) -> Option<Routing> {
    let table = root.table("traffic");
    if !table.is_present() {
        return None;
    }
    let word: Option<String> = table.required("driver");
    let director = word.and_then(|word| {
        let director = word.parse::<Director>();
        if let Err(error) = &director {
            table.problem_at("driver", format!("traffic.driver: {}", error.message));
        }
        director.ok()
    });
    let own_sockets = director == Some(Director::Socket);
    let name: Option<String> =
        if own_sockets { table.optional("backend") } else { table.required("backend") };
    let backend = name.or(own_sockets.then(|| "app".to_owned())).and_then(|name| {
        let backend = name.parse();
        if let Err(error) = &backend {
            let error: &longshore_common::code::Coded = error;
            table.problem_at("backend", format!("traffic.backend: {}", error.message));
        }
        backend.ok()
    });
    let steps = table.list::<Scalar>("steps");
    let count = steps.len();
    let steps: Vec<u8> = steps
        .into_iter()
        .filter_map(|Scalar(text)| {
            let percent = text.strip_suffix('%').unwrap_or(&text).parse().ok();
            if percent.is_none() {
                let why = format!("traffic.steps: \"{}\" is not a percentage: write \"10%\"", visible(&text));
                table.problem_at("steps", why);
            }
            percent
        })
        .collect();
    let (hold, drain) = (table.or("hold", HOLD), table.or("drain", DRAIN));
    let balancers = balancers(&table);
    if steps.len() < count {
        return None;
    }
    // Of the release, which is not known here.
    let replaces = false;
    let routing = Routing { director: director?, backend: backend?, drain, steps, hold, balancers, replaces };
    for (key, what) in routing.problems() {
        table.problem_at(key, format!("traffic.{key} {what}"));
    }
    if age == Age::New
        && let Some(what) = spec.slow_drain(&routing)
    {
        table.problem_at("drain", format!("traffic.drain {what}"));
    }
    Some(routing)
}

/// None: each host directs its own traffic.
fn balancers(table: &Guard<'_>) -> Option<Balancers> {
    let hosts: Option<Selector> = table.optional("balancers");
    let port: Option<u16> = table.optional("port");
    let groups = table.table("groups");
    if hosts.is_none() {
        for (key, there) in [("port", port.is_some()), ("groups", groups.is_present())] {
            if there {
                table.problem_at(
                    key,
                    format!("traffic.{key}: is only for hosts behind balancers: traffic.balancers"),
                );
            }
        }
    }
    if port == Some(0) {
        table.problem_at("port", "traffic.port: must be 1 to 65535");
    }
    let groups = groups.is_present().then(|| {
        let (blue, green) = (groups.required("blue"), groups.required("green"));
        let warm = groups.or("warm", WARM);
        Some(Groups { blue: blue?, green: green?, warm })
    });
    Some(Balancers { hosts: hosts?, port, groups: groups.flatten() })
}

#[cfg(test)]
mod tests {
    use longshore_common::manifest::file::AppFile;

    use super::super::Environment;
    use crate::environments::Applied;

    fn read(traffic: &str) -> Result<Environment, String> {
        let text = format!("[environment]\nname = \"p\"\nselector = \"env=p\"\n[traffic]\n{traffic}");
        Environment::parse("p.toml", &text).map_err(|problems| problems.to_string())
    }

    #[test]
    fn traffic_says_who_directs_it_and_in_what_steps() {
        let env =
            read("driver = \"haproxy\"\nbackend = \"shop\"\nsteps = [\"10%\", 50]\nhold = \"5s\"\n").unwrap();
        let routing = env.spec.traffic.unwrap();
        assert_eq!((routing.backend.as_str(), routing.steps), ("shop", vec![10, 50]));
        assert!(read("driver = \"socket\"\n").unwrap().spec.traffic.is_some());
    }

    #[test]
    fn balancers_and_groups_are_hosts_by_their_labels() {
        let text = "driver = \"nginx\"\nbackend = \"shop\"\nbalancers = \"role=lb\"\nport = 8080\n\
                    [traffic.groups]\nblue = \"group=blue\"\ngreen = \"name=web-3\"\nwarm = \"5m\"\n";
        let balancers = read(text).unwrap().spec.traffic.unwrap().balancers.unwrap();
        assert_eq!((balancers.hosts.to_string().as_str(), balancers.port), ("role=lb", Some(8080)));
        assert_eq!(balancers.groups.unwrap().warm.to_string(), "5m");
        let rolling = read("driver = \"haproxy\"\nbackend = \"shop\"\nbalancers = \"role=lb\"\n").unwrap();
        assert!(rolling.spec.traffic.unwrap().balancers.unwrap().groups.is_none());
    }

    /// Every rollout would pause at its deadline before the first host could be changed.
    #[test]
    fn a_drain_is_shorter_than_the_deadlines() {
        let of = |drain: &str, rest: &str, balancers: &str| {
            let traffic =
                format!("driver = \"haproxy\"\nbackend = \"shop\"\ndrain = \"{drain}\"\n{balancers}");
            read(&format!("{traffic}[rollout]\n{rest}"))
        };
        let balancers = "balancers = \"role=lb\"\n";
        let why = of("15m", "", balancers).unwrap_err();
        let said = "p.toml:7:9: traffic.drain is 15m, and rollout.progress_deadline is 10m and \
                    rollout.rollback_deadline is 10m: hosts are drained before they are changed";
        assert!(why.contains(said), "{why}");
        let why = of("2m", "progress_deadline = \"2m\"\n", balancers).unwrap_err();
        assert!(why.contains("traffic.drain is 2m, and rollout.progress_deadline is 2m: hosts"), "{why}");
        let longer = "progress_deadline = \"20m\"\nrollback_deadline = \"20m\"\n";
        assert!(of("15m", longer, balancers).is_ok());
        assert!(of("15m", "", "").is_ok(), "on a host of its own nothing waits for it");
    }

    /// Files from before that rule are kept: a list of environments shows them, and the others beside them.
    #[test]
    fn a_kept_file_is_read_whose_drain_nobody_asked_about_then() {
        let text = "[environment]\nname = \"p\"\nselector = \"env=p\"\n[traffic]\ndriver = \"haproxy\"\n\
                    backend = \"shop\"\ndrain = \"15m\"\nbalancers = \"role=lb\"\n";
        let applied = |text: &str| Applied {
            file: text.to_owned(),
            file_name: "p.toml".to_owned(),
            applied_ms: 0,
            applied_by: "ada".to_owned(),
        };
        assert!(Environment::parse("p.toml", text).is_err(), "it could not be applied now");
        let read = applied(text).read().unwrap();
        assert_eq!(read.spec.traffic.as_ref().unwrap().drain.to_string(), "15m");
        let why = read.spec.check().unwrap_err();
        assert!(why.message.contains("traffic.drain is 15m"), "no rollout begins with it: {why}");
        let odd = applied(&text.replace("15m", "2h")).read().unwrap_err();
        assert!(odd.message.contains("traffic.drain is 2h; at most 1h"), "{odd}");
    }

    #[test]
    fn the_examples_of_the_page_are_valid() {
        let page = include_str!("../../../../docs/strategies.md");
        let blocks: Vec<&str> =
            page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(blocks.len() >= 4);
        for block in blocks {
            match block.starts_with("[app]") {
                true => drop(AppFile::parse("longshore.toml", block).unwrap()),
                false => drop(Environment::parse("production.toml", block).unwrap()),
            }
        }
    }

    #[test]
    fn each_mistake_is_named_where_it_is() {
        for (text, expected) in [
            (
                "driver = \"envoy\"\nbackend = \"a\"\n",
                "p.toml:5:10: traffic.driver: \"envoy\" is none of socket",
            ),
            ("driver = \"nginx\"\n", "[traffic] needs the key \"backend\""),
            ("driver = \"nginx\"\nbackend = \"a;b\"\n", "traffic.backend: \"a;b\" is no name of a backend"),
            ("driver = \"socket\"\nsteps = [\"0%\"]\n", "traffic.steps must be 1% to 99%, not 0%"),
            ("driver = \"socket\"\nsteps = [100]\n", "traffic.steps must be 1% to 99%, not 100%"),
            ("driver = \"socket\"\nsteps = [50, 10]\n", "traffic.steps must rise: 50% comes before 10%"),
            ("driver = \"socket\"\nsteps = [\"some\"]\n", "\"some\" is not a percentage"),
            ("driver = \"socket\"\nsteps = [300]\n", "\"300\" is not a percentage"),
            ("driver = \"socket\"\ndrain = \"2h\"\n", "traffic.drain is 2h; at most 1h"),
            ("driver = \"socket\"\nbalancers = \"role=lb\"\n", "traffic.driver is \"socket\": balancers are"),
            ("driver = \"nginx\"\nbackend = \"a\"\nbalancers = \"role=lb\"\n", "traffic.port is missing"),
            (
                "driver = \"haproxy\"\nbackend = \"a\"\nport = 80\n",
                "traffic.port: is only for hosts behind balancers",
            ),
            (
                "driver = \"haproxy\"\nbackend = \"a\"\nbalancers = \"role=lb\"\n[traffic.groups]\nblue = \"a\"\n",
                "needs the key \"green\"",
            ),
            ("driver = \"socket\"\nstep = 1\n", "did you mean \"steps\"?"),
        ] {
            let problems = read(text).unwrap_err();
            assert!(problems.contains(expected), "{expected}\nis not in\n{problems}");
        }
    }
}
