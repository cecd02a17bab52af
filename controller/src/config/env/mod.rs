//! An environment's file: which hosts, how carefully, and what config templates are rendered with.
//!
//! ```toml
//! [environment]
//! name     = "production"
//! selector = "env=prod"
//!
//! [rollout]
//! canary          = 1
//! wave            = "25%"
//! max_unavailable = "10%"
//! bake            = "30s"
//! failure_budget  = 1
//!
//! [values]
//! workers = 4
//!
//! [apps.shop.values]
//! workers = 8
//! ```

pub mod approval;
mod calendar;
mod gates;
mod plan;
pub mod promotion;
mod stakeholders;
mod strategy;
mod traffic;
mod values;
mod words;

use longshore_common::{
    code::{Code, Coded},
    ids::{AppName, EnvName},
    label::Selector,
    manifest::{AttestationKind, Manifest},
    strict::{File, Problems, Table},
};

use crate::{
    approval::Rule,
    calendar::Calendar,
    gate::Declaration,
    notify::Stakeholders,
    plan::PlanPolicy,
    promotion::Place,
    rollout::{Layer, Snapshot, Spec},
};
use approval::roles;
use promotion::Promotion;
use strategy::strategy;
use values::Declared;

pub use values::SETTINGS_BYTES;

/// Good releases on a host's disk, the live one included, unless the file says otherwise.
const KEEP_SLOTS: u32 = 3;
/// What becomes of a host that comes to be of the environment by itself: it enrolled, or got a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newcomers {
    /// A rollout under way takes it in; otherwise what is live is brought to it.
    Follow,
    /// Nothing, until an operator starts a rollout.
    Wait,
}

/// Since when a file is there, and so which rules it has to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    /// Somebody is about to apply it: by all of them.
    New,
    /// It was applied: without those that files of then did not have to keep, and that every rollout is held to anyway.
    Kept,
}

/// What a file says, all of it valid.
#[derive(Clone, Debug, PartialEq)]
pub struct Environment {
    pub name: EnvName,
    pub selector: Selector,
    pub newcomers: Newcomers,
    pub keep_slots: u32,
    pub spec: Spec,
    pub promotion: Promotion,
    /// Who has to agree before a plan may start.
    pub approval: Rule,
    pub stakeholders: Stakeholders,
    /// As the file says; freezes by hand come on top.
    pub calendar: Calendar,
    pub plan: PlanPolicy,
    /// What a release has to carry to come here.
    pub require_attestations: Vec<AttestationKind>,
    declared: Declared,
    /// `spec.gates` with what each looks at, in the same order.
    pub gates: Vec<Declaration>,
}

impl Environment {
    /// `name` is for messages only.
    pub fn parse(name: &str, text: &str) -> Result<Self, Problems> {
        File::new(name, text).read(|root| read(root, Age::New))
    }

    /// A file that was applied before: what could be applied then is read, and a plan says what of it stops a rollout.
    pub fn parse_kept(name: &str, text: &str) -> Result<Self, Problems> {
        File::new(name, text).read(|root| read(root, Age::Kept))
    }

    /// Refuses a release that lacks what has to be attested here.
    pub fn attested(&self, manifest: &Manifest) -> Result<(), Coded> {
        let Some(lacking) = manifest.lacks(&self.require_attestations) else { return Ok(()) };
        let message = format!(
            "{} takes only releases that carry their {}, which {}@{} does not. Publish it under another version: {}",
            self.name,
            lacking.names(),
            manifest.app,
            manifest.version,
            lacking.remedy()
        );
        Err(Coded::new(Code::P02, message))
    }

    /// Which hosts direct the traffic of its own; `None`: each host does, or nobody.
    pub fn balancers(&self) -> Option<&Selector> {
        Some(&self.spec.traffic.as_ref()?.balancers.as_ref()?.hosts)
    }

    /// Where it stands among others.
    pub fn place(&self) -> Place<'_> {
        let Promotion { order, after } = &self.promotion;
        let gates = self.gates.iter().map(|declared| declared.gate.name.as_str()).collect();
        Place { order: *order, demands: after, gates }
    }

    /// Values and secrets of an app, layer by layer. `None`: it has none.
    pub fn snapshot(&self, app: &AppName) -> Option<Snapshot> {
        self.declared.snapshot(app)
    }

    /// All values and secrets, with the app that they are for; `None`: every app.
    pub fn declared_layers(&self) -> Vec<(Option<AppName>, Layer)> {
        self.declared.layers()
    }
}

fn read(root: &Table<'_>, age: Age) -> Option<Environment> {
    let environment = root.table("environment");
    let name = environment.required("name");
    let selector = environment.required("selector");
    let keep_slots = environment.or("keep_slots", KEEP_SLOTS);
    if !(2..=20).contains(&keep_slots) {
        environment.problem_at(
            "keep_slots",
            "environment.keep_slots: must be 2 to 20: the live release and a way back",
        );
    }
    let newcomers = match environment.or("newcomers", "follow".to_owned()).as_str() {
        "follow" => Newcomers::Follow,
        "wait" => Newcomers::Wait,
        other => {
            let shown = longshore_common::text::visible(other);
            environment.problem_at(
                "newcomers",
                format!("environment.newcomers: \"{shown}\" is none of follow, wait"),
            );
            Newcomers::Wait
        }
    };
    let require_attestations = environment.list("require_attestations");
    let mut spec = strategy(&root.table("rollout"));
    spec.traffic = traffic::traffic(root, &spec, age);
    let plan = plan::read(&root.table("plan"));
    let declared = values::read(root);
    let roles = roles(root);
    let balancers = spec.traffic.as_ref().and_then(|routing| routing.balancers.as_ref());
    let balancers = balancers.filter(|_| age == Age::New).map(|balancers| &balancers.hosts);
    let gates = gates::gates(root, &roles, !spec.canary.is_zero(), balancers);
    spec.gates = gates.iter().map(|declared| declared.gate.clone()).collect();
    let promotion = promotion::promotion(root);
    let approval = approval::approval(root, &roles);
    let stakeholders = stakeholders::stakeholders(root, &roles);
    let calendar = calendar::calendar(root);
    // Only now, when everything was asked for: what nobody asks for is an unknown key.
    Some(Environment {
        name: name?,
        selector: selector?,
        newcomers,
        keep_slots,
        spec,
        promotion,
        approval,
        stakeholders,
        calendar,
        plan,
        require_attestations,
        declared,
        gates,
    })
}

#[cfg(test)]
mod tests {
    use longshore_common::time::Span;

    use super::*;
    use crate::rollout::{Allowance, Share};

    const EXAMPLE: &str = r#"
[environment]
name = "production"
selector = "env=prod"

[rollout]
canary = 1
wave = "25%"
max_unavailable = "10%"
bake = "30s"
failure_budget = "1"
wave_failure_budget = "50%"
enough = "80%"
promotion = "canary"

[values]
workers = 4
greeting = "ahoy"

[apps.shop.values]
workers = 8
"#;

    #[test]
    fn a_sound_file_says_what_it_says() {
        let env = Environment::parse("production.toml", EXAMPLE).unwrap();
        assert_eq!(env.spec.wave, Share::Percent(25));
        assert_eq!(env.spec.budget, Allowance::count(1));
        assert_eq!(env.spec.wave_budget, Allowance::percent(50));
        assert_eq!((env.spec.enough, env.spec.canary_bake), (80, Span::secs(30)));
        let values = |app: &str| env.snapshot(&app.parse().unwrap()).unwrap().resolve(&[0, 1]).values;
        assert_eq!((values("shop")["workers"].as_str(), values("shop")["greeting"].as_str()), ("8", "ahoy"));
        assert_eq!(values("other")["workers"], "4");
    }

    #[test]
    fn the_documented_file_is_valid() {
        let page = include_str!("../../../../docs/config.md");
        let (_, rest) = page.split_once("```toml\n").unwrap();
        let env = Environment::parse("config.md", rest.split_once("```").unwrap().0).unwrap();
        let snapshot = env.snapshot(&"shop".parse().unwrap()).unwrap();
        let scopes: Vec<String> = snapshot.layers.iter().map(|layer| layer.scope.to_string()).collect();
        assert_eq!(scopes, ["environment", "app", "hosts \"size=big\"", "host web-1"]);
    }

    #[test]
    fn a_bad_selector_hides_no_problem_further_down_and_makes_none() {
        let text = "[environment]\nname = \"p\"\nselector = \"env=prod,\"\n[promotion]\norder = \"prod\"\n[approval]\ncount = 1\n[calendar]\nzone = \"Europe/Nowhere\"\n[stakeholders]\nowner = 7\n";
        let problems = Environment::parse("p.toml", text).unwrap_err();
        let lines: Vec<usize> = problems.list.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [3, 5, 9, 11], "{problems}");
        assert!(!problems.to_string().contains("unknown key"), "{problems}");
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let text = "[environment]\nname = \"P\"\n[rollout]\ncanray = 1\nwave = \"0%\"\npromotion = \"never\"\nenough = 0\nfailure_budget_percent = 101\nunknown = 3\n[values]\n\"a b\" = 1\n[apps.\"X\".values]\n";
        let problems = Environment::parse("p.toml", text).unwrap_err().to_string();
        for part in [
            "p.toml:1:1: [environment] needs the key \"selector\"",
            "p.toml:2:8: environment.name: environment name \"P\" is invalid",
            "p.toml:4:1: unknown key \"canray\" in [rollout]; did you mean \"canary\"?",
            "p.toml:5:8: rollout.wave must be at least 1 host or 1%",
            "p.toml:6:13: rollout.promotion: \"never\" is none of auto, canary, every-wave",
            "p.toml:7:10: rollout.enough must be 1 to 100 percent, not 0",
            "p.toml:8:26: rollout.failure_budget_percent must be 0 to 100",
            "p.toml:9:11: rollout.unknown: expected text in quotes, found integer",
            "values: value \"a b\" is invalid",
            "apps: app name \"X\" is invalid",
        ] {
            assert!(problems.contains(part), "{part}\nis not in\n{problems}");
        }
    }
}
