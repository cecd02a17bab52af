//! What a release brings that is live already: its settings to hosts that run it, all of it to hosts that lack it.

use super::rollout::{HostRow, Rollout};

/// By how many of the hosts that take part lack it, and how many only get other settings.
pub(super) fn already(lack: usize, have: usize) -> &'static str {
    match (lack, have) {
        (0, 0) => "live already",
        (0, _) => "live already: its settings",
        (_, 0) => "live already: to hosts that lack it",
        (_, _) => "live already: its settings, and all of it to hosts that lack it",
    }
}

impl Rollout {
    /// The version stays.
    pub(super) fn was_live(&self) -> bool {
        self.from_version.as_deref() == Some(self.version.as_str())
    }

    /// Of one whose version was live before, by what each host ran.
    pub(super) fn already(&self) -> &'static str {
        let part = self.hosts.iter().filter(|host| host.takes_part());
        let (have, lack): (Vec<&HostRow>, Vec<&HostRow>) =
            part.partition(|host| host.from_version.as_ref() == Some(&self.version));
        already(lack.len(), have.len())
    }

    /// One word for a list, which knows nothing of the hosts.
    pub(super) fn word_of_from(&self) -> &str {
        match (self.newcomers, self.was_live()) {
            (true, _) => "newcomers",
            (false, true) => "the same",
            (false, false) => self.from_version.as_deref().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use longshore_proto::v1 as pb;

    use crate::cli::{
        moment::Moment,
        output::{Page, View as _},
        view::rollout::{Rollout, RolloutList},
    };

    fn host(from: &str, state: &str) -> pb::HostRow {
        pb::HostRow { from_version: from.into(), state: state.into(), ..pb::HostRow::default() }
    }

    fn rollout(hosts: Vec<pb::HostRow>) -> pb::Rollout {
        pb::Rollout { version: "1.1".into(), from_version: "1.1".into(), hosts, ..pb::Rollout::default() }
    }

    /// Hosts that never had it get all of it, and no mere settings.
    #[test]
    fn what_was_live_already_is_told_by_what_hosts_ran() {
        let (runs, ran, new) = (host("1.1", "waiting"), host("1.0", "waiting"), host("", "waiting"));
        let out = host("1.1", "excluded");
        for (hosts, says) in [
            (vec![runs.clone()], "(live already: its settings)"),
            (vec![new, out], "(live already: to hosts that lack it)"),
            (vec![runs, ran], "(live already: its settings, and all of it to hosts that lack it)"),
        ] {
            let lines = Rollout::from(rollout(hosts)).lines(&Page::plain(Moment(0)));
            let moves = lines.iter().find(|line| line.starts_with("moves")).unwrap();
            assert!(moves.ends_with(says), "{says} is not in {moves}");
        }
    }

    #[test]
    fn a_list_tells_of_newcomers_and_guesses_nothing_of_hosts() {
        let newcomers = pb::Rollout { newcomers: true, ..rollout(vec![]) };
        let later = pb::Rollout { from_version: "1.0".into(), ..rollout(vec![]) };
        let list = pb::ListRolloutsReply { rollouts: vec![newcomers, rollout(vec![]), later] };
        let lines = RolloutList::from(list).lines(&Page::plain(Moment(0)));
        for (line, says) in lines[1..].iter().zip([" newcomers ", " the same ", " 1.0 "]) {
            assert!(line.contains(says), "{says} is not in {line}");
        }
    }
}
