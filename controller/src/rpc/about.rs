//! What a call is about whose request names a plan, a rollout or a file only: its app, version and environment, for the
//! caller's roles and for the audit log, in which everything that was done to a release is found under its name.

use longshore_common::ids::{AppName, EnvName, Version};

use crate::access::Scope;

/// What is touched, as the log names it before what is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct About {
    pub scope: Scope,
    pub name: String,
}

impl About {
    pub fn moving(app: &AppName, version: &Version, env: &EnvName) -> Self {
        let name = format!("{app}@{version} to {env}");
        Self { scope: Scope::Both(app.clone(), env.clone()), name }
    }

    pub fn environment(env: &EnvName) -> Self {
        Self { scope: Scope::Env(env.clone()), name: format!("environment {env}") }
    }

    pub fn release(app: &AppName, version: &Version) -> Self {
        Self { scope: Scope::App(app.clone()), name: format!("{app}@{version}") }
    }
}
