//! The `Enrolment` service: what strangers may ask. Hosts whose certificate has expired are strangers as well.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};

use longshore_common::{
    code::{Code, Coded},
    time::Clock,
    tls::Peer,
    wire::{from_status, parse},
};
use longshore_proto::v1::{self as pb, enrolment_server::Enrolment as Service};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::{
    coded, invalid, refuse,
    strangers::{Strangers, TooMany},
};
use crate::fleet::Host;
use crate::identity::{
    Authority, Door,
    enrol::{AskedKey, Asking, Enrolled, Enrolment},
    recover::{Nonces, Recovering},
};

/// Enrolments under way at once: each costs a signature and a commit.
pub const IN_FLIGHT: usize = 32;
/// What goes into every certificate's reply.
#[derive(Clone)]
pub struct Reply {
    pub authority: Arc<Authority>,
    pub clock: Arc<dyn Clock>,
    /// `host:port` of the main port, in order of preference.
    pub controllers: Vec<String>,
    pub enrol_port: u16,
}

impl Reply {
    pub(super) fn certificate(&self, enrolled: Enrolled) -> pb::Certificate {
        pb::Certificate {
            host_id: enrolled.host.id.to_string(),
            certificate_pem: enrolled.issued.chain_pem.into(),
            ca_pem: self.authority.pem().into(),
            not_after_ms: enrolled.issued.expires_ms,
            server_time_ms: self.clock.now_ms(),
            name: enrolled.host.name.to_string(),
            controllers: self.controllers.clone(),
            enrol_port: self.enrol_port.into(),
            recoveries: enrolled.host.recoveries,
            waits: enrolled.host.barred.is_some(),
        }
    }
}

pub struct EnrolmentService {
    enrolment: Arc<Enrolment>,
    reply: Reply,
    in_flight: Semaphore,
    strangers: Mutex<Strangers>,
    nonces: Mutex<Nonces>,
    door: Door,
}

impl EnrolmentService {
    pub fn new(enrolment: Arc<Enrolment>, reply: Reply, door: Door) -> Self {
        let strangers = Mutex::new(Strangers::new(Instant::now()));
        Self {
            enrolment,
            reply,
            in_flight: Semaphore::new(IN_FLIGHT),
            strangers,
            nonces: Mutex::default(),
            door,
        }
    }

    fn strangers(&self) -> MutexGuard<'_, Strangers> {
        self.strangers.lock().expect("nothing panics while it holds the lock")
    }

    fn nonces(&self) -> MutexGuard<'_, Nonces> {
        self.nonces.lock().expect("nothing panics while it holds the lock")
    }

    async fn enrol(&self, asking: Asking) -> Result<pb::Certificate, Status> {
        let _slot = self.in_flight.try_acquire().map_err(|_| busy(TooMany::All))?;
        let from = asking.from.ip();
        let enrolled = self.enrolment.enrol(asking).await.map_err(refuse)?;
        let Host { id, name, token, .. } = &enrolled.host;
        let target = format!("{name} ({id}) from {from}, token {token}");
        self.door.note(&format!("host {name}"), "enrolled", &target).await.map_err(refuse)?;
        Ok(self.reply.certificate(enrolled))
    }

    async fn recover(&self, recovering: Recovering) -> Result<pb::Certificate, Status> {
        let _slot = self.in_flight.try_acquire().map_err(|_| busy(TooMany::All))?;
        if !self.nonces().take(&recovering.nonce, Instant::now()) {
            return Err(coded(Coded::new(
                Code::C02,
                "the nonce is not one of the last minute; ask for another",
            )));
        }
        let enrolled = self.enrolment.recover(recovering).await.map_err(refuse)?;
        let Host { id, name, recoveries, .. } = &enrolled.host;
        let target = format!("{name} ({id}), time {recoveries}");
        self.door
            .note(&format!("host {name}"), "back from an expired certificate", &target)
            .await
            .map_err(refuse)?;
        Ok(self.reply.certificate(enrolled))
    }

    /// One try of somebody without a certificate. What they show and is not good counts against their address.
    async fn attempt<T>(
        &self,
        from: SocketAddr,
        attempt: impl Future<Output = Result<T, Status>>,
    ) -> Result<Response<T>, Status> {
        self.strangers().admit(from.ip(), Instant::now()).map_err(busy)?;
        let answer = attempt.await;
        let their_fault =
            |code| matches!(code, Code::E01 | Code::E02 | Code::E03 | Code::E04 | Code::V01 | Code::C02);
        if answer.as_ref().is_err_and(|status| their_fault(from_status(status).code)) {
            self.strangers().refused(from.ip(), Instant::now());
        }
        answer.map(Response::new)
    }
}

fn busy(why: TooMany) -> Status {
    let message = match why {
        TooMany::All => "too many hosts enrol at once; try again in a few seconds",
        TooMany::Address => {
            "too many tokens that were not good came from this address; try again in a minute, with a token from: \
             longshore token create"
        }
    };
    coded(Coded::new(Code::C01, message))
}

#[tonic::async_trait]
impl Service for EnrolmentService {
    async fn enroll(&self, request: Request<pb::EnrollRequest>) -> Result<Response<pb::Certificate>, Status> {
        let from = address(&request)?;
        self.attempt(from, async { self.enrol(read(request, from)?).await }).await
    }

    async fn challenge(
        &self,
        request: Request<pb::ChallengeRequest>,
    ) -> Result<Response<pb::ChallengeReply>, Status> {
        let challenge = async {
            let nonce = self.nonces().give(Instant::now()).to_vec().into();
            Ok(pb::ChallengeReply { nonce, server_time_ms: self.reply.clock.now_ms() })
        };
        self.attempt(address(&request)?, challenge).await
    }

    async fn recover(
        &self,
        request: Request<pb::RecoverRequest>,
    ) -> Result<Response<pb::Certificate>, Status> {
        let from = address(&request)?;
        self.attempt(from, async { self.recover(read_recovery(request.into_inner())?).await }).await
    }
}

fn address<T>(request: &Request<T>) -> Result<SocketAddr, Status> {
    let peer = request.extensions().get::<Peer>().map(|peer| peer.address);
    peer.ok_or_else(|| coded(Coded::new(Code::X01, "a connection without an address")))
}

fn read_recovery(request: pb::RecoverRequest) -> Result<Recovering, Status> {
    let pb::RecoverRequest { host_id, nonce, csr_der, key_der, recoveries, signature } = request;
    let nonce = nonce[..].try_into();
    Ok(Recovering {
        host: parse("recover.host_id", &host_id).map_err(invalid)?,
        nonce: nonce.map_err(|_| coded(Coded::new(Code::V01, "a nonce has 32 bytes")))?,
        key: AskedKey::from_csr(&csr_der).map_err(coded)?,
        csr_der: csr_der.to_vec(),
        held_der: key_der.to_vec(),
        recoveries,
        signature: signature.to_vec(),
    })
}

fn read(request: Request<pb::EnrollRequest>, from: SocketAddr) -> Result<Asking, Status> {
    let pb::EnrollRequest { token, csr_der, name, labels, machine_id } = request.into_inner();
    Ok(Asking {
        token: token.parse().map_err(coded)?,
        key: AskedKey::from_csr(&csr_der).map_err(coded)?,
        name: parse("name", &name).map_err(invalid)?,
        labels,
        machine_id,
        from,
    })
}
