//! The `Access` service: operators, and the audit log.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use longshore_common::{
    code::{Code, Coded},
    digest::hex,
    ids::OperatorName,
    time::{Clock, Millis, Span},
    tls::{Identity, Peer},
    wire::parse,
};
use longshore_proto::v1::{self as pb, access_server::Access, change_user_request::Act as Change};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Replies, admitted, coded, invalid, operator, refuse, words};
use crate::{
    access::{
        self, Grant, Grants, LIFE, OperatorKey, User,
        proposal::{self, Proposal},
    },
    audit::{Audit, AuditError},
    fleet::{
        Asked, Fleet, Host, host,
        words::{Answer, Question},
    },
    identity::{Authority, Door, authority::Issued, enrol::AskedKey},
    store::SharedStore,
    trouble::Trouble,
};

/// Of an operator's certificate.
const TTL_MAX: Duration = Duration::from_secs(365 * 86_400);
const TTL_MIN: Duration = Duration::from_secs(60);
/// Lines of one message, and messages that wait for a slow reader.
const LINES: usize = 256;
const PAGES: usize = 4;
/// How long a host has to show its checkpoints, and how many are asked at a time.
const WITNESS_DEADLINE: Duration = Duration::from_secs(5);
const ASKED_AT_ONCE: usize = 64;
/// Between two looks at the log for whoever follows it.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

pub struct AccessService {
    pub store: SharedStore,
    pub clock: Arc<dyn Clock>,
    pub fleet: Fleet,
    pub authority: Arc<Authority>,
    pub audit: Audit,
    pub door: Door,
}

impl AccessService {
    /// A certificate for the key in the request, and the key as the store will know it.
    fn issue(
        &self,
        name: &OperatorName,
        csr: &[u8],
        ttl: Duration,
    ) -> Result<(OperatorKey, Issued), Trouble> {
        let key = AskedKey::from_csr(csr)?;
        let who = Identity::Operator(name.clone());
        let issued = self.authority.issue_client(&who, &key.key, ttl, self.clock.now_ms());
        let issued = issued.map_err(|error| {
            Trouble::refused(Code::X01, longshore_common::chain::Chain(&error).to_string())
        })?;
        let bound = issued.bind_operator(key.spki);
        Ok((bound, issued))
    }

    fn reply(&self, user: User, issued: Issued) -> Response<pb::AddUserReply> {
        Response::new(pb::AddUserReply {
            user: Some(row(user)),
            certificate_pem: issued.chain_pem.into_bytes().into(),
            ca_pem: self.authority.pem().as_bytes().to_vec().into(),
            not_after_ms: issued.expires_ms,
        })
    }

    async fn add(&self, by: &OperatorName, request: pb::AddUserRequest) -> Result<(User, Issued), Trouble> {
        let pb::AddUserRequest { name, grants, csr_der, ttl_ms } = request;
        let name: OperatorName = name.parse()?;
        let grants = grants.iter().map(|grant| grant.parse::<Grant>()).collect::<Result<Vec<_>, _>>()?;
        if grants.is_empty() {
            return Err(Trouble::refused(Code::V01, "say at least one role: --role viewer"));
        }
        let ttl = ttl(ttl_ms, LIFE, TTL_MAX)?;
        let (key, issued) = self.issue(&name, &csr_der, ttl)?;
        let now = self.clock.now_ms();
        let mut user = User::new(name, Grants(grants), by.as_str(), now);
        user.life_ms = ttl.as_millis() as Millis;
        user.add_key(key, now);
        access::create(&self.store, &user).await?;
        Ok((user, issued))
    }

    /// `held` is the key that the caller has now; it goes when the new one is used.
    async fn login(
        &self,
        caller: &User,
        request: pb::LoginRequest,
        held: Option<[u8; 32]>,
    ) -> Result<(User, Issued), Trouble> {
        let pb::LoginRequest { csr_der, ttl_ms } = request;
        let (name, most) = (&caller.name, caller.life());
        let (mut key, issued) = self.issue(name, &csr_der, ttl(ttl_ms, most, most)?)?;
        key.replaces = held.map(|held| hex(&held)).unwrap_or_default();
        let now = self.clock.now_ms();
        let user = access::change(&self.store, name, |user| {
            user.add_key(key.clone(), now);
            Ok(())
        });
        Ok((user.await?, issued))
    }

    async fn change(&self, by: &OperatorName, name: &OperatorName, act: Change) -> Result<User, Trouble> {
        let now = self.clock.now_ms();
        match act {
            Change::Grant(grant) => {
                let grant: Grant = grant.parse()?;
                access::change(&self.store, name, |user| {
                    if !user.grants.0.contains(&grant) {
                        user.grants.0.push(grant.clone());
                    }
                    Ok(())
                })
                .await
            }
            Change::Revoke(grant) => {
                let grant: Grant = grant.parse()?;
                access::change(&self.store, name, |user| {
                    let had = user.grants.0.len();
                    user.grants.0.retain(|held| *held != grant);
                    if user.grants.0.len() == had {
                        let message =
                            format!("operator {name} has no role {grant} (has: {})", user.grants.text());
                        return Err(Coded::new(Code::N01, message));
                    }
                    Ok(())
                })
                .await
            }
            Change::Lock(reason) => {
                access::change(&self.store, name, |user| {
                    user.lock(by, &reason, now);
                    Ok(())
                })
                .await
            }
            Change::Unlock(pb::Nothing {}) => {
                access::change(&self.store, name, |user| {
                    user.locked = None;
                    Ok(())
                })
                .await
            }
        }
    }
}

fn row(user: User) -> pb::User {
    let User { name, grants, keys, locked, created_ms, created_by, life_ms: _ } = user;
    let (is_locked, locked) = (locked.is_some(), locked);
    let (locked_by, locked_reason, locked_ms) =
        locked.map(|locked| (locked.by, locked.reason, locked.at_ms)).unwrap_or_default();
    pb::User {
        name: name.to_string(),
        grants: grants.0.iter().map(Grant::to_string).collect(),
        locked: is_locked,
        locked_by,
        locked_reason,
        locked_ms,
        created_ms,
        created_by,
        keys: keys.iter().map(|key| pb::UserKey { key: hex(&key.key), expires_ms: key.expires_ms }).collect(),
    }
}

fn proposal_message(proposal: Proposal) -> pb::Proposal {
    let Proposal { id, method, target, scope: _, by, at_ms, confirmed_by } = proposal;
    pb::Proposal {
        id,
        method,
        target: longshore_common::text::visible(&target),
        by: by.to_string(),
        at_ms,
        until_ms: at_ms + proposal::GOOD_MS,
        confirmed_by: confirmed_by.map(|name| name.to_string()).unwrap_or_default(),
    }
}

async fn witness(fleet: Fleet, host: Host) -> pb::Witness {
    let mut told = pb::Witness {
        host: host.id.to_string(),
        name: host.name.to_string(),
        error: String::new(),
        checkpoints: vec![],
    };
    match fleet.ask(host.id, Question::Checkpoints, WITNESS_DEADLINE).await {
        Asked::Answered { answer: Answer::Checkpoints(checkpoints), .. } => {
            told.checkpoints = checkpoints.into_iter().map(words::checkpoint_message).collect();
        }
        Asked::Answered { answer: Answer::Error(why), .. } => told.error = why,
        Asked::Answered { .. } => told.error = "answered another question".to_owned(),
        Asked::Silent => told.error = "no answer".to_owned(),
    }
    told
}

/// Pages of the log, and what is added to it while somebody follows.
async fn send_lines(
    audit: Audit,
    from: u64,
    follow: bool,
    stop: tokio_util::sync::CancellationToken,
    pages: mpsc::Sender<Result<pb::AuditLines, Status>>,
) {
    let mut next = from;
    loop {
        let log = audit.clone();
        let read = tokio::task::spawn_blocking(move || log.read(next, LINES)).await;
        // A log that is cut short must not look like a short one.
        let read = read.unwrap_or(Err(AuditError::Failed));
        let (lines, then) = match read {
            Ok(read) => read,
            Err(error) => return drop(pages.send(Err(coded(error.coded()))).await),
        };
        let (full, some) = (lines.len() == LINES, !lines.is_empty());
        next = then;
        if some && pages.send(Ok(pb::AuditLines { lines })).await.is_err() {
            return;
        }
        if full {
            continue;
        }
        if !follow {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => return drop(pages.send(Err(refuse(Trouble::Stopping))).await),
            () = pages.closed() => return,
            () = tokio::time::sleep(FOLLOW_EVERY) => {}
        }
    }
}

/// How long a certificate is to be good for, within its bounds.
fn ttl(asked_ms: u64, usual: Duration, most: Duration) -> Result<Duration, Trouble> {
    let ttl = if asked_ms == 0 { usual } else { Duration::from_millis(asked_ms) };
    if (TTL_MIN..=most).contains(&ttl) {
        return Ok(ttl);
    }
    let message = format!("a certificate lives from {} to {}, not {}", Span(TTL_MIN), Span(most), Span(ttl));
    Err(Trouble::refused(Code::V01, message))
}

#[tonic::async_trait]
impl Access for AccessService {
    type AuditStream = Replies<pb::AuditLines>;
    type WitnessesStream = Replies<pb::Witness>;

    async fn who_am_i(&self, request: Request<pb::WhoAmIRequest>) -> Result<Response<pb::User>, Status> {
        let admission = admitted(&self.door, &request).await?;
        Ok(Response::new(row(admission.user)))
    }

    async fn login(&self, request: Request<pb::LoginRequest>) -> Result<Response<pb::AddUserReply>, Status> {
        let caller = admitted(&self.door, &request).await?.user;
        let held = request.extensions().get::<Peer>().and_then(|peer| peer.key);
        let (user, issued) = self.login(&caller, request.into_inner(), held).await.map_err(refuse)?;
        let by = caller.name.as_str();
        self.door.note(by, "a new certificate", by).await.map_err(refuse)?;
        Ok(self.reply(user, issued))
    }

    async fn add_user(
        &self,
        request: Request<pb::AddUserRequest>,
    ) -> Result<Response<pb::AddUserReply>, Status> {
        let by = operator(&self.door, &request).await?;
        let (user, issued) = self.add(&by, request.into_inner()).await.map_err(refuse)?;
        Ok(self.reply(user, issued))
    }

    async fn list_users(
        &self,
        request: Request<pb::ListUsersRequest>,
    ) -> Result<Response<pb::ListUsersReply>, Status> {
        operator(&self.door, &request).await?;
        let users = access::list(&self.store).await.map_err(refuse)?;
        Ok(Response::new(pb::ListUsersReply { users: users.into_iter().map(row).collect() }))
    }

    async fn change_user(
        &self,
        request: Request<pb::ChangeUserRequest>,
    ) -> Result<Response<pb::User>, Status> {
        let by = operator(&self.door, &request).await?;
        let pb::ChangeUserRequest { name, act } = request.into_inner();
        let name: OperatorName = parse("name", &name).map_err(invalid)?;
        let act = act.ok_or_else(|| coded(Coded::new(Code::V01, "change_user.act is missing")))?;
        let user = self.change(&by, &name, act).await.map_err(refuse)?;
        Ok(Response::new(row(user)))
    }

    async fn remove_user(
        &self,
        request: Request<pb::RemoveUserRequest>,
    ) -> Result<Response<pb::RemoveUserReply>, Status> {
        operator(&self.door, &request).await?;
        let name: OperatorName = parse("name", &request.into_inner().name).map_err(invalid)?;
        access::remove(&self.store, &name).await.map_err(refuse)?;
        Ok(Response::new(pb::RemoveUserReply {}))
    }

    async fn proposals(
        &self,
        request: Request<pb::ProposalsRequest>,
    ) -> Result<Response<pb::ProposalsReply>, Status> {
        operator(&self.door, &request).await?;
        let waiting = proposal::list(&self.store, self.clock.now_ms()).await.map_err(refuse)?;
        let proposals = waiting.into_iter().map(proposal_message).collect();
        Ok(Response::new(pb::ProposalsReply { proposals }))
    }

    async fn confirm(&self, request: Request<pb::ConfirmRequest>) -> Result<Response<pb::Proposal>, Status> {
        let admission = admitted(&self.door, &request).await?;
        let (id, now) = (request.into_inner().id, self.clock.now_ms());
        let confirmed = async {
            let found = proposal::find(&self.store, &id, now).await?;
            let by = admission.name();
            let target = format!("{} {}, proposed by {}", found.method, found.target, found.by);
            if let Err(why) = found.may_confirm(&admission.user) {
                return Err(admission.refused(&target, why).await);
            }
            self.door.note(by.as_str(), "confirmed", &target).await?;
            proposal::confirm(&self.store, &id, by, now).await
        };
        Ok(Response::new(proposal_message(confirmed.await.map_err(refuse)?)))
    }

    async fn audit(&self, request: Request<pb::AuditRequest>) -> Result<Response<Self::AuditStream>, Status> {
        operator(&self.door, &request).await?;
        let pb::AuditRequest { from, follow } = request.into_inner();
        let (pages, receiver) = mpsc::channel(PAGES);
        tokio::spawn(send_lines(self.audit.clone(), from, follow, self.fleet.stopping(), pages));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn witnesses(
        &self,
        request: Request<pb::WitnessesRequest>,
    ) -> Result<Response<Self::WitnessesStream>, Status> {
        operator(&self.door, &request).await?;
        let hosts = host::list(&self.store).await.map_err(refuse)?;
        let fleet = self.fleet.clone();
        let told = stream::iter(hosts)
            .map(move |host| witness(fleet.clone(), host))
            .buffer_unordered(ASKED_AT_ONCE)
            .map(Ok);
        Ok(Response::new(Box::pin(told)))
    }
}
