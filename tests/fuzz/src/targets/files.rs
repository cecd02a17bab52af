//! Files that people write.

use std::path::Path;

use longshore_agent::{config as agent_config, trust::Policy};
use longshore_common::{
    digest::IndexDigest,
    manifest::{Artifact, MANIFEST_BYTES, Manifest, file::AppFile},
    time::Millis,
};
use longshore_controller::{
    calendar::Calendar,
    config::{Config, Environment},
};

use super::text;
use crate::oracle::{is_shown_safely, refused, refused_with};

pub fn app(input: &[u8]) {
    match AppFile::parse("longshore.toml", text(input)) {
        Err(problems) => refused_with("app file", &problems.to_string()),
        Ok(file) => {
            let artifact = Artifact { index: IndexDigest([7; 32]), files: 1, bytes: 1 };
            let manifest = file.into_manifest("1.0".parse().expect("a version"), artifact);
            let bytes = manifest.to_bytes();
            match Manifest::from_bytes(&bytes) {
                Ok(again) => assert_eq!(again, manifest),
                Err(error) => assert!(bytes.len() > MANIFEST_BYTES, "{error}"),
            }
        }
    }
}

pub fn environment(input: &[u8]) {
    match Environment::parse("environment.toml", text(input)) {
        Err(problems) => refused_with("environment", &problems.to_string()),
        Ok(environment) => {
            look_at(&environment.calendar, 1_800_000_000_000);
            let labels = Default::default();
            environment.selector.matches("web-1", "6f3c5a52-7f0e-4a53-9b5c-0d8f3f6f2c11", &labels);
            environment.declared_layers();
        }
    }
}

/// A calendar's answers about one moment fit together.
pub fn look_at(calendar: &Calendar, at: Millis) {
    let standing = calendar.standing(at);
    for reason in calendar.reasons(at) {
        is_shown_safely("why it is closed", &reason);
    }
    is_shown_safely("a moment", &calendar.say_moment(at));
    if let Some(change) = calendar.next_change(at) {
        assert!(change > at, "a change at {change} is not after {at}");
        assert_ne!(calendar.standing(change), standing, "nothing changes at {change}");
    }
    if let Some(opening) = calendar.next_opening(at) {
        assert!(opening >= at && calendar.is_open(opening), "it does not open at {opening}");
    }
}

pub fn controller(input: &[u8]) {
    match Config::parse("controller.toml", text(input)) {
        Err(problems) => refused_with("controller.toml", &problems.to_string()),
        Ok(config) => {
            let written = config.to_text();
            Config::parse("written", &written).unwrap_or_else(|problems| panic!("{problems}\n{written}"));
        }
    }
}

pub fn agent(input: &[u8]) {
    if let Err(error) = agent_config::Config::parse("agent.toml", text(input), Path::new("/")) {
        refused("agent.toml", &error);
    }
}

pub fn policy(input: &[u8]) {
    match Policy::parse(Path::new("/etc/longshore/policy.toml"), text(input)) {
        Err(error) => refused("policy", &error),
        Ok(policy) => {
            let names = ("shop".parse().expect("a name"), "production".parse().expect("a name"));
            if let Err(error) = policy.allow(&names.0, &names.1) {
                refused("policy", &error);
            }
        }
    }
}
