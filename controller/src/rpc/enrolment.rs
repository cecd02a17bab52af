//! The `Enrolment` service: the one thing that strangers may ask.

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
use crate::identity::{
    Authority,
    enrol::{AskedKey, Asking, Enrolled, Enrolment},
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
}

impl Reply {
    pub(super) fn certificate(&self, enrolled: Enrolled) -> pb::Certificate {
        pb::Certificate {
            host_id: enrolled.host.id.to_string(),
            certificate_pem: enrolled.issued.chain_pem.into(),
            ca_pem: self.authority.pem().to_owned().into(),
            not_after_ms: enrolled.issued.expires_ms,
            server_time_ms: self.clock.now_ms(),
            name: enrolled.host.name.to_string(),
            controllers: self.controllers.clone(),
        }
    }
}

pub struct EnrolmentService {
    enrolment: Arc<Enrolment>,
    reply: Reply,
    in_flight: Semaphore,
    strangers: Mutex<Strangers>,
}

impl EnrolmentService {
    pub fn new(enrolment: Arc<Enrolment>, reply: Reply) -> Self {
        let strangers = Mutex::new(Strangers::new(Instant::now()));
        Self { enrolment, reply, in_flight: Semaphore::new(IN_FLIGHT), strangers }
    }

    fn strangers(&self) -> MutexGuard<'_, Strangers> {
        self.strangers.lock().expect("nothing panics while it holds the lock")
    }

    async fn enrol(&self, asking: Asking) -> Result<pb::Certificate, Status> {
        let _slot = self.in_flight.try_acquire().map_err(|_| busy(TooMany::All))?;
        let enrolled = self.enrolment.enrol(asking).await.map_err(refuse)?;
        Ok(self.reply.certificate(enrolled))
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
        let peer = request.extensions().get::<Peer>().map(|peer| peer.address);
        let from = peer.ok_or_else(|| coded(Coded::new(Code::X01, "a connection without an address")))?;
        self.strangers().admit(from.ip(), Instant::now()).map_err(busy)?;
        let enrolled = match read(request, from) {
            Ok(asking) => self.enrol(asking).await,
            Err(refused) => Err(refused),
        };
        let their_fault = |code| matches!(code, Code::E01 | Code::E02 | Code::E03 | Code::V01);
        if enrolled.as_ref().is_err_and(|status| their_fault(from_status(status).code)) {
            self.strangers().refused(from.ip(), Instant::now());
        }
        enrolled.map(Response::new)
    }
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
