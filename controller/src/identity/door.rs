//! Who is calling, looked up on every call: a host that was removed or an operator who was locked a moment ago is a
//! stranger now. What an operator may do is held against the table (`crate::access`), and recorded, before the call
//! goes any further.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use longshore_common::{
    chain::Chain,
    code::{Code, Coded},
    digest::hex,
    ids::OperatorName,
    time::Clock,
    tls::{Identity, Peer},
};
use tonic::Extensions;

use crate::{
    access::{self, Called, Method, Permission, Scope, TwoPersons, User, Waiting, Who, proposal},
    audit::{Audit, What},
    fleet::{Host, host},
    identity::Authority,
    store::SharedStore,
    trouble::Trouble,
};

/// Lets callers in.
#[derive(Clone)]
pub struct Door {
    store: SharedStore,
    clock: Arc<dyn Clock>,
    waiting: Waiting,
    audit: Option<Audit>,
    two: TwoPersons,
    /// None: every root is believed.
    authority: Option<Arc<Authority>>,
}

/// A host that called, with the key it called with.
#[derive(Clone, Debug)]
pub struct Agent {
    pub host: Host,
    pub key: [u8; 32],
    /// The end of the last certificate made for that key.
    pub expires_ms: i64,
}

/// An operator who was let in, for one call.
#[derive(Clone)]
pub struct Admission {
    pub user: User,
    door: Door,
    key: String,
    method: &'static Method,
    needs: Permission,
    noted: Noted,
}

/// In the extensions of a call: how it was recorded, for the record of its end.
#[derive(Clone, Debug, Default)]
pub struct Noted(Arc<AtomicU64>);

impl Noted {
    const DENIED: u64 = u64::MAX;

    fn set(&self, entry: u64) {
        self.0.store(entry + 1, Ordering::Release);
    }

    fn set_denied(&self) {
        self.0.store(Self::DENIED, Ordering::Release);
    }

    /// Its refusal was recorded at the door.
    pub fn is_denied(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::DENIED
    }

    /// Under which number it was let through.
    pub fn get(&self) -> Option<u64> {
        self.0.load(Ordering::Acquire).checked_sub(1).filter(|entry| entry + 1 != Self::DENIED)
    }
}

impl Door {
    /// Without an audit log: for tests of single services.
    pub fn new(store: SharedStore, clock: Arc<dyn Clock>) -> Self {
        let (waiting, two) = (Waiting::default(), TwoPersons::default());
        Self { store, clock, waiting, audit: None, two, authority: None }
    }

    /// Keys whose certificates are of a root that was retired open nothing, also on connections from before.
    pub fn believing(self, authority: Arc<Authority>) -> Self {
        Self { authority: Some(authority), ..self }
    }

    /// Whether a key counts whose certificate is of this root.
    pub fn believes(&self, ca: &str) -> bool {
        self.authority.as_ref().is_none_or(|authority| authority.believes(ca))
    }

    /// Operators whose files wait in the folder are taken up when they first call; every decision is recorded.
    pub fn with(self, waiting: Waiting, audit: Audit, two: TwoPersons) -> Self {
        Self { waiting, audit: Some(audit), two, ..self }
    }

    /// The host that calls, if it may call this method.
    pub async fn agent(&self, call: &Extensions) -> Result<Agent, Trouble> {
        let (identity, key) = peer(call)?;
        let id = match identity {
            Identity::Host(id) => id,
            Identity::Operator(name) => {
                return Err(not_for(&format!("operator {name}"), "for hosts").into());
            }
            Identity::Controller => return Err(nobody().into()),
        };
        if called(call)?.who != Who::Agent {
            return Err(not_for(&format!("host {id}"), "for operators").into());
        }
        let (host, _) = host::get(&self.store, &id).await?.ok_or_else(|| host::gone(&id))?;
        let expires_ms = self.check_key(&host, &key)?;
        host.let_in()?;
        Ok(Agent { host, key, expires_ms })
    }

    /// The operator who calls, if their roles cover the method and what it touches. `target` is for the record.
    pub async fn operator(
        &self,
        call: &Extensions,
        scope: &Scope,
        target: String,
    ) -> Result<Admission, Trouble> {
        self.operator_or(call, scope, target, None).await
    }

    /// The same, where `lacking` says more to an operator whose roles do not cover the scope than which permission that is.
    pub async fn operator_or(
        &self,
        call: &Extensions,
        scope: &Scope,
        target: String,
        lacking: Option<Coded>,
    ) -> Result<Admission, Trouble> {
        let known = self.known(call, scope, &target, lacking).await?;
        let mut record = known.record(call, target);
        if self.two.asks(known.method) {
            let (now, by) = (self.clock.now_ms(), &known.user.name);
            match proposal::settle(&self.store, known.method, &record.target, scope, by, now).await? {
                Ok(other) => record.target.push_str(&format!(" (with {other})")),
                Err(why) => return Err(self.denied(record, why).await),
            }
        }
        let target = record.target;
        self.let_in(call, known, target).await
    }

    /// The same for a call that changes nothing, since what it asks for is so already: no second person is asked.
    pub async fn operator_in_vain(
        &self,
        call: &Extensions,
        scope: &Scope,
        target: String,
    ) -> Result<Admission, Trouble> {
        let known = self.known(call, scope, &target, None).await?;
        self.let_in(call, known, target).await
    }

    async fn let_in(&self, call: &Extensions, known: Known, target: String) -> Result<Admission, Trouble> {
        if known.needs != Permission::Read {
            self.allowed(known.record(call, target)).await?;
        }
        let noted = call.get::<Noted>().cloned().unwrap_or_default();
        let Known { user, key, method, needs } = known;
        Ok(Admission { user, door: self.clone(), key: hex(&key[..4]), method, needs, noted })
    }

    /// Turns away whoever may not, before the handler takes in what says what the call is. Nobody is let in
    /// by it: that is [`Door::operator`], which is asked afterwards.
    pub async fn glance(
        &self,
        call: &Extensions,
        scope: &Scope,
        target: &str,
    ) -> Result<OperatorName, Trouble> {
        Ok(self.known(call, scope, target, None).await?.user.name)
    }

    /// Nothing but a refusal is recorded.
    async fn known(
        &self,
        call: &Extensions,
        scope: &Scope,
        target: &str,
        lacking: Option<Coded>,
    ) -> Result<Known, Trouble> {
        let (identity, key) = peer(call)?;
        let method = called(call)?;
        let Identity::Operator(name) = identity else {
            let who = self.host_words(&identity).await?;
            return Err(not_for(&who, "for operators").into());
        };
        let Who::Operator(needs) = method.who else {
            return Err(not_for(&format!("operator {name}"), "for hosts").into());
        };
        let (target, noted) = (target.to_owned(), call.get::<Noted>());
        let record = Record { actor: &name, key: &key, method, target, noted };
        let user = match self.user(&name, &key).await? {
            Ok(user) => user,
            Err(why) => return Err(self.denied(record, why).await),
        };
        match user.allow(needs, scope) {
            Ok(()) => Ok(Known { user, key, method, needs }),
            Err(why) => Err(self.denied(record, lacking.unwrap_or(why)).await),
        }
    }

    /// For events that no operator's call is.
    pub async fn note(&self, actor: &str, event: &str, target: &str) -> Result<(), Trouble> {
        let what = What::Event { actor: actor.into(), event: event.into(), target: target.into() };
        self.record(what).await.map(drop)
    }

    /// The operator as they are now. The inner error is a refusal.
    async fn user(&self, name: &OperatorName, key: &[u8; 32]) -> Result<Result<User, Coded>, Trouble> {
        let now = self.clock.now_ms();
        let known = access::get(&self.store, name).await?.map(|(user, _)| user);
        let admitted =
            known.as_ref().map(|user| user.admit(key, now).and_then(|()| self.of_a_root(user, key)));
        if matches!(admitted, Some(Ok(()))) {
            let user = known.expect("it was admitted");
            if user.keys.iter().all(|known| known.key != *key || known.replaces.is_empty()) {
                return Ok(Ok(user));
            }
            let settled = access::change(&self.store, name, |user| {
                user.settle(key);
                Ok(())
            });
            return Ok(Ok(settled.await?));
        }
        if self.waiting.take(&self.store, self.audit.as_ref(), name, now).await? {
            let user = access::get(&self.store, name).await?.map(|(user, _)| user);
            let user = user.ok_or_else(|| unknown(name))?;
            return Ok(user.admit(key, now).map(|()| user));
        }
        Ok(Err(admitted.and_then(Result::err).unwrap_or_else(|| unknown(name))))
    }

    fn of_a_root(&self, user: &User, key: &[u8; 32]) -> Result<(), Coded> {
        match user.keys.iter().find(|known| known.key == *key) {
            Some(known) if !self.believes(&known.ca) => Err(Coded::new(
                Code::C02,
                format!(
                    "the root of operator {}'s certificate was retired. On the controller: longshore-controller operator",
                    user.name
                ),
            )),
            Some(_) | None => Ok(()),
        }
    }

    async fn host_words(&self, identity: &Identity) -> Result<String, Trouble> {
        let Identity::Host(id) = identity else { return Ok("this caller".to_owned()) };
        let known = host::get(&self.store, id).await?;
        Ok(known.map_or_else(|| format!("host {id}"), |(host, _)| format!("host {}", host.name)))
    }

    async fn allowed(&self, record: Record<'_>) -> Result<(), Trouble> {
        let Record { actor, key, method, target, noted } = record;
        let (actor, key, method) = (actor.to_string(), hex(&key[..4]), method.to_string());
        let entry = self.record(What::Allowed { actor, key, method, target }).await?;
        if let (Some(noted), Some(entry)) = (noted, entry) {
            noted.set(entry);
        }
        Ok(())
    }

    async fn denied(&self, record: Record<'_>, why: Coded) -> Trouble {
        let Record { actor, key, method, target, noted } = record;
        if let Some(noted) = noted {
            noted.set_denied();
        }
        let (actor, key, method) = (actor.to_string(), hex(&key[..4]), method.to_string());
        let (code, message) = (why.code.to_string(), why.message.clone());
        let what = What::Denied { actor, key, method, target, code, why: message };
        match self.record(what).await {
            Ok(_) => why.into(),
            Err(trouble) => trouble,
        }
    }

    async fn record(&self, what: What) -> Result<Option<u64>, Trouble> {
        let Some(audit) = &self.audit else { return Ok(None) };
        audit.append(what).await.map_err(|error| {
            tracing::error!(error = %Chain(&error), "the audit log takes no entries");
            Trouble::Refused(error.coded())
        })
    }

    fn check_key(&self, host: &Host, key: &[u8; 32]) -> Result<i64, Coded> {
        let Some(bound) = host.key(key) else {
            let message = format!(
                "host {} ({}) has other keys by now: an old copy of its disk? Enrol this machine anew",
                host.id, host.name
            );
            return Err(Coded::new(Code::E06, message));
        };
        if !self.believes(&bound.ca) {
            return Err(retired(host));
        }
        if bound.expires_ms <= self.clock.now_ms() {
            return Err(Coded::new(Code::C02, "the certificate of this connection has expired; renew it"));
        }
        Ok(bound.expires_ms)
    }
}

impl Admission {
    pub fn name(&self) -> &OperatorName {
        &self.user.name
    }

    /// For what only the handler can tell of: is it within the operator's grants?
    pub async fn within(&self, scope: &Scope, target: &str) -> Result<(), Trouble> {
        match self.user.allow(self.needs, scope) {
            Ok(()) => Ok(()),
            Err(why) => Err(self.refused(target, why).await),
        }
    }

    /// A refusal that only the handler can know of goes on record like any other.
    pub async fn refused(&self, target: &str, why: Coded) -> Trouble {
        let what = What::Denied {
            actor: self.user.name.to_string(),
            key: self.key.clone(),
            method: self.method.to_string(),
            target: target.to_owned(),
            code: why.code.to_string(),
            why: why.message.clone(),
        };
        match self.door.record(what).await {
            Ok(_) => {
                if self.noted.get().is_none() {
                    self.noted.set_denied(); // it need not be recorded a second time
                }
                why.into()
            }
            Err(trouble) => trouble,
        }
    }
}

/// An operator whose roles cover a call.
struct Known {
    user: User,
    key: [u8; 32],
    method: &'static Method,
    needs: Permission,
}

impl Known {
    fn record<'a>(&'a self, call: &'a Extensions, target: String) -> Record<'a> {
        let noted = call.get::<Noted>();
        Record { actor: &self.user.name, key: &self.key, method: self.method, target, noted }
    }
}

/// What an entry says of a call.
struct Record<'a> {
    actor: &'a OperatorName,
    key: &'a [u8; 32],
    method: &'static Method,
    target: String,
    noted: Option<&'a Noted>,
}

fn peer(call: &Extensions) -> Result<(Identity, [u8; 32]), Coded> {
    let peer = call.get::<Peer>().ok_or_else(nobody)?;
    Ok((peer.identity.clone().ok_or_else(nobody)?, peer.key.ok_or_else(nobody)?))
}

fn called(call: &Extensions) -> Result<&'static Method, Coded> {
    let known = call.get::<Called>().and_then(|called| called.0);
    known
        .ok_or_else(|| Coded::new(Code::C02, "nobody may call this method: no permission is declared for it"))
}

fn nobody() -> Coded {
    Coded::new(Code::C02, "this call needs a client certificate of this controller's CA")
}

fn not_for(who: &str, whom: &str) -> Coded {
    Coded::new(Code::C02, format!("{who} may not do this: it is {whom}"))
}

/// What a host hears whose certificate is of a root that was retired.
pub(super) fn retired(host: &Host) -> Coded {
    let message = format!(
        "the root of the certificate of host {} was retired. Enrol it again: longshore token create, then on this host: \
         longshore-agent enroll --again",
        host.name
    );
    Coded::new(Code::E06, message)
}

fn unknown(name: &OperatorName) -> Coded {
    let message = format!(
        "operator {name} is not known here (any more). A policy-admin adds operators: longshore user add {name}"
    );
    Coded::new(Code::C02, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first entry of a log has the number 0, and is one all the same.
    #[test]
    fn how_a_call_was_recorded_is_one_of_three() {
        let told = |noted: &Noted| (noted.get(), noted.is_denied());
        let (nothing, first, later, denied) =
            (Noted::default(), Noted::default(), Noted::default(), Noted::default());
        first.set(0);
        later.set(41);
        denied.set_denied();
        assert_eq!(told(&nothing), (None, false));
        assert_eq!(told(&first), (Some(0), false));
        assert_eq!(told(&later), (Some(41), false));
        assert_eq!(told(&denied), (None, true));
    }
}
