//! A plan but for whose it is. That is known only when it is kept, since the same plan stays whoever's it was, and it decides
//! who of the people may agree to it.

use longshore_common::ids::OperatorName;

use super::lacking;
use crate::{
    approval::People,
    config::Environment,
    plan::{Check, Plan},
};

pub(super) struct Sketch {
    /// In the name of whoever plans; whether enough people can approve it is not judged yet.
    pub plan: Plan,
    pub by: OperatorName,
    pub environment: Environment,
    pub people: People,
}

impl Sketch {
    /// As the plan of this author.
    pub fn of(&self, author: &OperatorName) -> Plan {
        let plan = Plan { made_by: author.to_string(), ..self.plan.clone() };
        match lacking::unapprovable(&self.environment, &self.people, author) {
            Some(what) => plan.failing(Check::Approvers, what, &self.environment.plan),
            None => plan,
        }
    }
}
