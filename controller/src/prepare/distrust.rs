//! Why a host takes nothing of an app, whatever is handed to it: said by itself, held against what this fleet signs by.

use longshore_common::{
    ids::{AppName, HostName},
    trust::FLEET,
};

use crate::{fleet::words::TrustFacts, trust::foreign_root};

#[derive(Clone, Debug)]
pub(super) struct Distrust {
    pub app: AppName,
    pub ours: Ours,
}

/// What this fleet signs by.
#[derive(Clone, Debug)]
pub(super) enum Ours {
    /// Hex of its first root.
    Root(String),
    /// Nothing is signed here, or it was lost.
    Nothing,
    /// Nothing that is signed is handed over.
    NotAsked,
}

impl Ours {
    pub fn of(root: Option<&str>) -> Self {
        root.map_or(Ours::Nothing, |root| Ours::Root(root.to_owned()))
    }
}

impl Distrust {
    pub fn of(&self, trust: &TrustFacts, host: &HostName) -> Option<String> {
        let TrustFacts { state, root_sha256, damaged, ahead, problem, .. } = trust;
        let concerns = |name: &String| name == FLEET || name == self.app.as_str();
        if state == "damaged" {
            let other_apps_alone = !damaged.is_empty() && !damaged.iter().any(concerns);
            return (!other_apps_alone).then(|| problem.clone());
        }
        match &self.ours {
            _ if state == "unknown" => Some(problem.clone()),
            _ if state != "signed" => None,
            Ours::Root(ours) if root_sha256 != ours => Some(foreign_root(root_sha256, ours, host.as_str())),
            Ours::Root(_) => ahead.iter().any(concerns).then(|| problem.clone()),
            Ours::Nothing => Some(format!(
                "pins the root {root_sha256:.16}…, and the controller has no signed documents: it takes nothing new. \
                 What to do: longshore trust status"
            )),
            Ours::NotAsked => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trust(state: &str, root: &str, damaged: &[&str]) -> TrustFacts {
        TrustFacts {
            state: state.into(),
            root_sha256: root.into(),
            damaged: damaged.iter().map(ToString::to_string).collect(),
            problem: match state {
                "damaged" => "LS-T01 it is damaged".into(),
                "unknown" => "LS-C01 the helper does not answer".into(),
                _ => String::new(),
            },
            ..TrustFacts::default()
        }
    }

    #[test]
    fn a_host_is_held_against_its_own_words() {
        let ours = "0f46".repeat(16);
        let distrust = Distrust { app: "shop".parse().unwrap(), ours: Ours::Root(ours.clone()) };
        let of = |trust: TrustFacts| distrust.of(&trust, &"web-1".parse().unwrap());
        assert_eq!(of(trust("signed", &ours, &[])), None);
        assert_eq!(of(trust("unsigned", "", &[])), None, "it takes everything");
        assert_eq!(of(trust("damaged", "", &["blog"])), None, "of another app");
        assert_eq!(of(trust("damaged", "", &["blog", "shop"])).unwrap(), "LS-T01 it is damaged");
        assert_eq!(of(trust("damaged", "", &["fleet"])).unwrap(), "LS-T01 it is damaged");
        assert_eq!(
            of(trust("damaged", "", &[])).unwrap(),
            "LS-T01 it is damaged",
            "an agent that names none"
        );
        assert_eq!(of(trust("unknown", &ours, &[])).unwrap(), "LS-C01 the helper does not answer");
        let foreign = of(trust("signed", &"00".repeat(32), &[])).unwrap();
        let way = format!("longshore-agent trust reset --pin {ours} --i-am-on web-1");
        assert!(foreign.ends_with(&way), "{foreign}");
        let without = |of: Ours, state: &str| {
            let distrust = Distrust { ours: of, ..distrust.clone() };
            distrust.of(&trust(state, &ours, &[]), &"web-1".parse().unwrap())
        };
        let by_a_clock_ahead = |ours: Ours, apps: &[&str]| {
            let ahead = apps.iter().map(ToString::to_string).collect();
            let problem = "LS-T04 shop was verified".to_owned();
            let told = TrustFacts { ahead, problem, ..trust("signed", &"0f46".repeat(16), &[]) };
            Distrust { ours, ..distrust.clone() }.of(&told, &"web-1".parse().unwrap())
        };
        let ours = || Ours::Root(ours.clone());
        assert_eq!(by_a_clock_ahead(ours(), &["blog"]), None, "of another app");
        assert_eq!(by_a_clock_ahead(ours(), &["blog", "shop"]).unwrap(), "LS-T04 shop was verified");
        assert_eq!(by_a_clock_ahead(ours(), &["fleet"]).unwrap(), "LS-T04 shop was verified");
        assert_eq!(by_a_clock_ahead(Ours::NotAsked, &["fleet"]), None, "directions need no signature");
        let lost = without(Ours::of(None), "signed").unwrap();
        assert!(lost.starts_with("pins the root 0f460f460f460f46…, and the controller has no"), "{lost}");
        assert_eq!(without(Ours::of(None), "unsigned"), None);
        assert_eq!(without(Ours::NotAsked, "signed"), None);
    }
}
