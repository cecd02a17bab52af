//! What every method of the wire asks of its caller. A method that is not here is denied to everybody.

use super::role::Permission::{self, Approve, Audit, Deploy, Hosts, Policy, Publish, Read, Users};

/// Who may call a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// On the enrolment port, without a certificate.
    Stranger,
    Agent,
    Operator(Permission),
}

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// As in `/longshore.v1.<service>/<method>`.
    pub service: &'static str,
    pub name: &'static str,
    pub who: Who,
}

const fn operator(service: &'static str, name: &'static str, needs: Permission) -> Method {
    Method { service, name, who: Who::Operator(needs) }
}

const fn agent(service: &'static str, name: &'static str) -> Method {
    Method { service, name, who: Who::Agent }
}

/// Every method there is; a test holds it against the compiled services.
pub const METHODS: &[Method] = &[
    Method { service: "Enrolment", name: "Enroll", who: Who::Stranger },
    Method { service: "Enrolment", name: "Challenge", who: Who::Stranger },
    Method { service: "Enrolment", name: "Recover", who: Who::Stranger },
    agent("Renewal", "Renew"),
    agent("Session", "Open"),
    agent("Blobs", "Manifest"),
    agent("Blobs", "Index"),
    agent("Blobs", "Fetch"),
    agent("Blobs", "Sealed"),
    agent("Blobs", "Trust"),
    operator("Controller", "Status", Read),
    operator("Hosts", "CreateToken", Hosts),
    operator("Hosts", "ListTokens", Hosts),
    operator("Hosts", "RevokeToken", Hosts),
    operator("Hosts", "List", Read),
    operator("Hosts", "Show", Read),
    operator("Hosts", "Label", Hosts),
    operator("Hosts", "Drain", Hosts),
    operator("Hosts", "Admit", Hosts),
    operator("Hosts", "Remove", Hosts),
    operator("Hosts", "Ping", Read),
    operator("Hosts", "Logs", Read),
    operator("Releases", "Missing", Publish),
    operator("Releases", "Upload", Publish),
    operator("Releases", "Publish", Publish),
    operator("Releases", "List", Read),
    operator("Releases", "Show", Read),
    operator("Releases", "Withdraw", Publish),
    operator("Releases", "Verify", Read),
    operator("Releases", "Export", Read),
    operator("Releases", "Attestation", Read),
    operator("Environments", "Apply", Policy),
    operator("Environments", "List", Read),
    operator("Environments", "Show", Read),
    operator("Environments", "Remove", Policy),
    operator("Calendars", "Show", Read),
    operator("Calendars", "Freeze", Policy),
    operator("Calendars", "Unfreeze", Policy),
    operator("Calendars", "Lock", Deploy),
    operator("Calendars", "Unlock", Deploy),
    operator("Approvals", "List", Read),
    operator("Approvals", "Say", Approve),
    operator("Notices", "List", Read),
    operator("Notices", "Retry", Policy),
    operator("Notices", "Test", Policy),
    operator("Plans", "Make", Read),
    operator("Plans", "List", Read),
    operator("Plans", "Show", Read),
    operator("Settings", "Show", Read),
    operator("Settings", "Recipients", Read),
    operator("Settings", "Seal", Policy),
    operator("Settings", "Check", Read),
    operator("Trust", "Status", Read),
    operator("Trust", "Get", Read),
    operator("Trust", "Submit", Publish),
    operator("Trust", "Drop", Publish),
    operator("Trust", "Refresh", Publish),
    operator("Trust", "Check", Read),
    operator("Rollouts", "Start", Deploy),
    operator("Rollouts", "List", Read),
    operator("Rollouts", "Show", Read),
    operator("Rollouts", "Watch", Read),
    operator("Rollouts", "Explain", Read),
    operator("Rollouts", "Steer", Deploy),
    operator("Rollouts", "OpenGate", Approve),
    operator("Access", "WhoAmI", Read),
    operator("Access", "Login", Read),
    operator("Access", "AddUser", Users),
    operator("Access", "ListUsers", Users),
    operator("Access", "ChangeUser", Users),
    operator("Access", "RemoveUser", Users),
    operator("Access", "Proposals", Read),
    // Whoever confirms needs what the act needs; the handler looks.
    operator("Access", "Confirm", Read),
    operator("Access", "Audit", Audit),
    operator("Access", "Witnesses", Audit),
];

/// The row of `/longshore.v1.<service>/<method>`.
pub fn find(path: &str) -> Option<&'static Method> {
    let (service, name) = path.strip_prefix("/longshore.v1.")?.split_once('/')?;
    METHODS.iter().find(|method| method.service == service && method.name == name)
}

impl Method {
    /// It changes nothing, though not everybody may see what it shows. What the permission `audit` allows is not meant: it
    /// is all of this kind, and whoever names that names the looking.
    pub fn only_looks(&self) -> bool {
        matches!(
            (self.service, self.name),
            ("Hosts", "ListTokens") | ("Access", "ListUsers") | ("Releases", "Missing")
        )
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.service, self.name)
    }
}
