//! Who is calling, looked up on every call: a host that was removed a moment ago is a stranger now.

use longshore_common::{
    code::{Code, Coded},
    ids::OperatorName,
    time::Clock,
    tls::{Identity, Peer},
};
use std::sync::Arc;

use crate::{
    fleet::{Host, host},
    store::SharedStore,
    trouble::Trouble,
};

/// Lets callers in.
#[derive(Clone)]
pub struct Door {
    pub store: SharedStore,
    pub clock: Arc<dyn Clock>,
}

/// Somebody we know.
#[derive(Clone, Debug)]
pub enum Caller {
    Agent(Box<Agent>),
    Operator(OperatorName),
}

/// A host that called, with the key it called with.
#[derive(Clone, Debug)]
pub struct Agent {
    pub host: Host,
    pub key: [u8; 32],
    /// The end of the last certificate made for that key.
    pub expires_ms: i64,
}

impl Door {
    pub async fn admit(&self, peer: Option<&Peer>) -> Result<Caller, Trouble> {
        let nobody = || Coded::new(Code::C02, "this call needs a client certificate of this controller's CA");
        let peer = peer.ok_or_else(nobody)?;
        match (&peer.identity, peer.key) {
            (Some(Identity::Host(id)), Some(key)) => {
                let (host, _) = host::get(&self.store, id).await?.ok_or_else(|| host::gone(id))?;
                let expires_ms = self.check_key(&host, &key)?;
                Ok(Caller::Agent(Box::new(Agent { host, key, expires_ms })))
            }
            (Some(Identity::Operator(name)), Some(_)) => Ok(Caller::Operator(name.clone())),
            _ => Err(nobody().into()),
        }
    }

    fn check_key(&self, host: &Host, key: &[u8; 32]) -> Result<i64, Coded> {
        let Some(bound) = host.key(key) else {
            let message = format!(
                "host {} ({}) has other keys by now: an old copy of its disk? Enrol this machine anew",
                host.id, host.name
            );
            return Err(Coded::new(Code::E06, message));
        };
        if bound.expires_ms <= self.clock.now_ms() {
            return Err(Coded::new(Code::C02, "the certificate of this connection has expired; renew it"));
        }
        Ok(bound.expires_ms)
    }
}

impl Caller {
    pub fn operator(self) -> Result<OperatorName, Coded> {
        match self {
            Caller::Operator(name) => Ok(name),
            Caller::Agent(agent) => {
                let message = format!("host {} may not do this: it is for operators", agent.host.name);
                Err(Coded::new(Code::C02, message))
            }
        }
    }

    pub fn agent(self) -> Result<Agent, Coded> {
        match self {
            Caller::Agent(agent) => Ok(*agent),
            Caller::Operator(name) => {
                Err(Coded::new(Code::C02, format!("operator {name} may not do this: it is for hosts")))
            }
        }
    }
}
