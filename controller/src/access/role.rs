//! Roles, and the apps and environments that a grant of one covers.

use std::{fmt, str::FromStr};

use longshore_common::{
    code::{Code, Coded},
    ids::{AppName, EnvName},
    text::visible,
};
use serde::{Deserialize, Serialize};

/// What a method asks of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    /// See what there is.
    Read,
    /// Bring releases in, and withdraw them.
    Publish,
    /// Start rollouts and steer them.
    Deploy,
    /// Say yes to another's plan.
    Approve,
    /// Join tokens; label, drain, remove hosts.
    Hosts,
    /// Environments and what they demand.
    Policy,
    /// Operators and their roles.
    Users,
    /// Read the audit log.
    Audit,
}

/// A set of permissions under the name that people know. Signing releases is no role: it is a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Viewer,
    Deployer,
    Approver,
    HostAdmin,
    PolicyAdmin,
    Auditor,
    Ci,
}

impl Role {
    pub const ALL: [Role; 7] = [
        Role::Viewer,
        Role::Deployer,
        Role::Approver,
        Role::HostAdmin,
        Role::PolicyAdmin,
        Role::Auditor,
        Role::Ci,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Deployer => "deployer",
            Role::Approver => "approver",
            Role::HostAdmin => "host-admin",
            Role::PolicyAdmin => "policy-admin",
            Role::Auditor => "auditor",
            Role::Ci => "ci",
        }
    }

    /// `docs/access.md` has the same table; a test holds the two together.
    pub fn permissions(self) -> &'static [Permission] {
        use Permission::{Approve, Audit, Deploy, Hosts, Policy, Publish, Read, Users};
        match self {
            Role::Viewer => &[Read],
            Role::Deployer | Role::Ci => &[Read, Publish, Deploy],
            Role::Approver => &[Read, Approve],
            Role::HostAdmin => &[Read, Hosts],
            Role::PolicyAdmin => &[Read, Policy, Users],
            Role::Auditor => &[Read, Audit],
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Permission::Read => "read",
            Permission::Publish => "publish",
            Permission::Deploy => "deploy",
            Permission::Approve => "approve",
            Permission::Hosts => "hosts",
            Permission::Policy => "policy",
            Permission::Users => "users",
            Permission::Audit => "audit",
        })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = Coded;
    fn from_str(text: &str) -> Result<Self, Coded> {
        Role::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| {
            let known: Vec<&str> = Role::ALL.into_iter().map(Role::as_str).collect();
            Coded::new(
                Code::V01,
                format!("\"{}\" is no role; use one of {}", visible(text), known.join(", ")),
            )
        })
    }
}

/// One name, or every name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Pattern<T> {
    #[default]
    Every,
    One(T),
}

impl<T: PartialEq> Pattern<T> {
    fn covers(&self, name: &T) -> bool {
        match self {
            Pattern::Every => true,
            Pattern::One(one) => one == name,
        }
    }

    fn is_every(&self) -> bool {
        matches!(self, Pattern::Every)
    }
}

/// What one call touches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Nothing of one app or environment alone: lists, questions. Any grant that has the permission will do.
    Any,
    /// Everything: hosts, operators. Only a grant without limits will do.
    Fleet,
    /// This app, whatever environment.
    App(AppName),
    /// This environment, whatever app.
    Env(EnvName),
    /// This app in this environment.
    Both(AppName, EnvName),
}

/// A role, and where it counts. Written `deployer`, `deployer:shop@staging`, `deployer:shop`, `deployer:@staging`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Grant {
    pub role: Role,
    #[serde(default)]
    pub app: Pattern<AppName>,
    #[serde(default)]
    pub env: Pattern<EnvName>,
}

impl Grant {
    pub fn everywhere(role: Role) -> Self {
        Self { role, app: Pattern::Every, env: Pattern::Every }
    }

    pub fn allows(&self, permission: Permission, scope: &Scope) -> bool {
        self.role.permissions().contains(&permission) && self.covers(scope)
    }

    fn covers(&self, scope: &Scope) -> bool {
        match scope {
            Scope::Any => true,
            Scope::Fleet => self.app.is_every() && self.env.is_every(),
            Scope::App(app) => self.app.covers(app),
            // What an environment says goes for every app in it.
            Scope::Env(env) => self.app.is_every() && self.env.covers(env),
            Scope::Both(app, env) => self.app.covers(app) && self.env.covers(env),
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.app, &self.env) {
            (Pattern::Every, Pattern::Every) => write!(f, "{}", self.role),
            (Pattern::One(app), Pattern::Every) => write!(f, "{}:{app}", self.role),
            (Pattern::Every, Pattern::One(env)) => write!(f, "{}:@{env}", self.role),
            (Pattern::One(app), Pattern::One(env)) => write!(f, "{}:{app}@{env}", self.role),
        }
    }
}

impl FromStr for Grant {
    type Err = Coded;
    fn from_str(text: &str) -> Result<Self, Coded> {
        let Some((role, scope)) = text.split_once(':') else {
            return text.parse::<Role>().map(Grant::everywhere).map_err(|error: Coded| {
                match text.contains('@') {
                    true => Coded::new(
                        error.code,
                        format!(
                            "{}; where it counts comes after a colon: ROLE:APP@ENV, ROLE:APP or ROLE:@ENV",
                            error.message
                        ),
                    ),
                    false => error,
                }
            });
        };
        let (app, env) = match scope.split_once('@') {
            Some((app, env)) => (app, Some(env)),
            None => (scope, None),
        };
        let app = if app.is_empty() && env.is_some() { Pattern::Every } else { Pattern::One(app.parse()?) };
        let env = env.map_or(Ok(Pattern::Every), |env| env.parse().map(Pattern::One))?;
        Ok(Grant { role: role.parse()?, app, env })
    }
}

/// Most grants of one operator.
pub const GRANTS_MAX: usize = 32;

/// All grants of an operator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Grants(pub Vec<Grant>);

impl Grants {
    /// Every role, everywhere: the first operator's.
    pub fn all() -> Self {
        Self(Role::ALL.into_iter().map(Grant::everywhere).collect())
    }

    pub fn allow(&self, permission: Permission, scope: &Scope) -> bool {
        self.0.iter().any(|grant| grant.allows(permission, scope))
    }

    /// Whether the operator has this very role there.
    pub fn hold(&self, role: Role, scope: &Scope) -> bool {
        self.0.iter().any(|grant| grant.role == role && grant.covers(scope))
    }

    /// `deployer:shop@staging, viewer`.
    pub fn text(&self) -> String {
        let grants: Vec<String> = self.0.iter().map(Grant::to_string).collect();
        if grants.is_empty() { "none".to_owned() } else { grants.join(", ") }
    }
}
