//! The `Enrolment` service: the one thing that strangers may ask.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use longshore_common::{
    code::{Code, Coded},
    time::Clock,
    tls::Peer,
    wire::parse,
};
use longshore_proto::v1::{self as pb, enrolment_server::Enrolment as Service};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::{coded, invalid, refuse};
use crate::identity::{
    Authority,
    enrol::{AskedKey, Asking, Enrolled, Enrolment},
};

/// Enrolments under way at once: each costs a signature and a commit.
pub const IN_FLIGHT: usize = 32;
/// Tries that may come at once, good or bad: a rack that boots together.
const BURST: f64 = 100.0;
/// Tries a second, for as long as one likes.
const RATE: f64 = 20.0;

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
    bucket: Mutex<Bucket>,
}

/// Tries that may still come.
struct Bucket {
    left: f64,
    at: Instant,
}

impl EnrolmentService {
    pub fn new(enrolment: Arc<Enrolment>, reply: Reply) -> Self {
        let bucket = Mutex::new(Bucket { left: BURST, at: Instant::now() });
        Self { enrolment, reply, in_flight: Semaphore::new(IN_FLIGHT), bucket }
    }

    fn admit(&self) -> Result<(), Status> {
        let mut bucket = self.bucket.lock().expect("nothing panics while it holds the lock");
        if bucket.take(Instant::now()) { Ok(()) } else { Err(busy()) }
    }
}

impl Bucket {
    fn take(&mut self, now: Instant) -> bool {
        let passed: Duration = now.saturating_duration_since(self.at);
        self.left = (self.left + passed.as_secs_f64() * RATE).min(BURST);
        self.at = now;
        let enough = self.left >= 1.0;
        if enough {
            self.left -= 1.0;
        }
        enough
    }
}

fn busy() -> Status {
    coded(Coded::new(Code::C01, "too many hosts enrol at once; try again in a few seconds"))
}

#[tonic::async_trait]
impl Service for EnrolmentService {
    async fn enroll(&self, request: Request<pb::EnrollRequest>) -> Result<Response<pb::Certificate>, Status> {
        self.admit()?;
        let _slot = self.in_flight.try_acquire().map_err(|_| busy())?;
        let asking = read(request)?;
        let enrolled = self.enrolment.enrol(asking).await.map_err(refuse)?;
        Ok(Response::new(self.reply.certificate(enrolled)))
    }
}

fn read(request: Request<pb::EnrollRequest>) -> Result<Asking, Status> {
    let from = request.extensions().get::<Peer>().map(|peer| peer.address);
    let pb::EnrollRequest { token, csr_der, name, labels, machine_id } = request.into_inner();
    Ok(Asking {
        token: token.parse().map_err(coded)?,
        key: AskedKey::from_csr(&csr_der).map_err(coded)?,
        name: parse("name", &name).map_err(invalid)?,
        labels,
        machine_id,
        from: from.ok_or_else(|| coded(Coded::new(Code::X01, "a connection without an address")))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_let_through_slowly() {
        let start = Instant::now();
        let mut bucket = Bucket { left: BURST, at: start };
        let taken = (0..1000).filter(|_| bucket.take(start)).count();
        assert_eq!(taken, BURST as usize);
        assert!(!bucket.take(start));
        let later = start + Duration::from_secs(2);
        assert_eq!((0..1000).filter(|_| bucket.take(later)).count(), 2 * RATE as usize);
    }
}
