//! What a call is about whose request names a plan, a rollout or a file only: its app, version and environment, for the
//! caller's roles and for the audit log, in which everything that was done to a release is found under its name.

use longshore_common::{
    code::{Code, Coded},
    ids::{AppName, EnvName, Version},
};

use crate::access::Scope;

/// What is touched, as the log names it before what is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct About {
    pub scope: Scope,
    pub name: String,
    /// What is said where a caller's roles do not cover the scope; `None`: which permission is lacking.
    pub lacking: Option<Coded>,
}

impl About {
    pub fn moving(app: &AppName, version: &Version, env: &EnvName) -> Self {
        let name = format!("{app}@{version} to {env}");
        Self { scope: Scope::Both(app.clone(), env.clone()), name, lacking: None }
    }

    pub fn environment(env: &EnvName) -> Self {
        Self { scope: Scope::Env(env.clone()), name: format!("environment {env}"), lacking: None }
    }

    /// An environment whose file takes other hosts of the fleet than before: whose those are, its own people do not
    /// decide. `taken` as `environments::reach` has it, never empty.
    pub fn hosts_of(env: &EnvName, taken: &[String]) -> Self {
        let taken = taken.join("; ");
        let message = format!(
            "the file changes which hosts environment {env} takes: {taken}. That is decided by whoever has the permission \
             \"policy\" for the whole fleet (the role policy-admin without a scope: longshore user list). Nothing was \
             changed; with the same hosts as before the file is applied"
        );
        let (name, lacking) = (format!("environment {env} ({taken})"), Some(Coded::new(Code::C02, message)));
        Self { scope: Scope::Fleet, name, lacking }
    }

    pub fn release(app: &AppName, version: &Version) -> Self {
        Self { scope: Scope::App(app.clone()), name: format!("{app}@{version}"), lacking: None }
    }
}
