//! The two ports, and what each lets through at most.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use longshore_common::{
    chain::Chain,
    tls::{Connections, LiveClientTrust, LiveIdentity, incoming, open_server_config, server_config},
};
use longshore_proto::v1::{
    access_server::AccessServer, approvals_server::ApprovalsServer, blobs_server::BlobsServer,
    calendars_server::CalendarsServer, controller_server::ControllerServer,
    enrolment_server::EnrolmentServer, environments_server::EnvironmentsServer, hosts_server::HostsServer,
    notices_server::NoticesServer, plans_server::PlansServer, renewal_server::RenewalServer,
    rollouts_server::RolloutsServer, session_server::SessionServer, settings_server::SettingsServer,
    trust_server::TrustServer,
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::Router};
use tower::layer::util::{Identity, Stack};

use super::{GRACE, ServeError, deadline::Deadlines};
use crate::rpc::{
    AccessService, ApprovalsService, CalendarsService, ControllerService, EnrolmentService,
    EnvironmentsService, HostsService, NoticesService, PlansService, RenewalService, RolloutsService,
    SessionService, SettingsService, TrustService, blobs::BlobsService, releases::ReleasesService,
};
use crate::{access::CalledLayer, audit::Audit};

/// Of one message on the main port.
const MESSAGE_BYTES: usize = 1024 * 1024;
/// Of one message of a stranger.
const ENROL_BYTES: usize = 16 * 1024;
/// Calls of one connection at a time.
const STREAMS: u32 = 64;
const HEADER_BYTES: u32 = 8 * 1024;
/// Handshakes under way; each is given five seconds.
const HANDSHAKES: usize = 256;
const ENROL_HANDSHAKES: usize = 64;
/// A connection that is silent for this long is asked whether it lives, and has as long again to say so.
const KEEPALIVE: Duration = Duration::from_secs(20);
const KEEPALIVE_DEADLINE: Duration = Duration::from_secs(10);
/// What a stranger may stay for.
const ENROL_STAY: Duration = Duration::from_secs(30);
/// Resets that a peer may cause before its connection goes (rapid reset).
const PENDING_RESETS: usize = 20;
const LOCAL_RESETS: usize = 64;
/// What a publisher or a fetching host may have under way. Fast links are long: 4 MiB at 50 ms are 80 MB a second.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// Every call has its deadline, and knows which method it is.
type Limits = Stack<Deadlines, Stack<CalledLayer, Identity>>;

/// Everything on the main port.
pub(super) struct Services {
    pub session: SessionService,
    pub renewal: RenewalService,
    pub blobs: BlobsService,
    pub controller: ControllerService,
    pub hosts: HostsService,
    pub environments: EnvironmentsService,
    pub releases: ReleasesService,
    pub rollouts: RolloutsService,
    pub settings: SettingsService,
    pub access: AccessService,
    pub plans: PlansService,
    pub trust: TrustService,
    pub calendars: CalendarsService,
    pub approvals: ApprovalsService,
    pub notices: NoticesService,
}

pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })
}

pub(super) fn address(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().expect("a bound socket has an address")
}

/// What both ports need.
pub(super) struct Port {
    pub listener: TcpListener,
    pub identity: Arc<LiveIdentity>,
    pub audit: Audit,
    pub connections: Connections,
    pub stop: CancellationToken,
}

pub(super) async fn serve_main(port: Port, clients: Arc<LiveClientTrust>, services: Services) {
    let tls = TlsAcceptor::from(server_config(port.identity.clone(), clients));
    let Services {
        access,
        session,
        renewal,
        blobs,
        controller,
        hosts,
        environments,
        releases,
        rollouts,
        settings,
        plans,
        trust,
        calendars,
        approvals,
        notices,
    } = services;
    let called = CalledLayer::new(port.audit.clone()).asking(releases.door.clone());
    let router = limited(called)
        .add_service(SessionServer::new(session).max_decoding_message_size(MESSAGE_BYTES))
        .add_service(RenewalServer::new(renewal).max_decoding_message_size(ENROL_BYTES))
        .add_service(BlobsServer::new(blobs).max_decoding_message_size(MESSAGE_BYTES))
        .add_service(ControllerServer::new(controller).max_decoding_message_size(ENROL_BYTES))
        .add_service(HostsServer::new(hosts).max_decoding_message_size(MESSAGE_BYTES))
        .add_service(EnvironmentsServer::new(environments).max_decoding_message_size(MESSAGE_BYTES))
        .add_service(releases.into_server())
        .add_service(SettingsServer::new(settings).max_decoding_message_size(ENROL_BYTES))
        .add_service(PlansServer::new(plans).max_decoding_message_size(ENROL_BYTES))
        .add_service(TrustServer::new(trust).max_decoding_message_size(MESSAGE_BYTES))
        .add_service(RolloutsServer::new(rollouts).max_decoding_message_size(MESSAGE_BYTES))
        .add_service(AccessServer::new(access).max_decoding_message_size(ENROL_BYTES))
        .add_service(CalendarsServer::new(calendars).max_decoding_message_size(ENROL_BYTES))
        .add_service(ApprovalsServer::new(approvals).max_decoding_message_size(ENROL_BYTES))
        .add_service(NoticesServer::new(notices).max_decoding_message_size(MESSAGE_BYTES));
    run(router, port, tls, HANDSHAKES).await;
}

pub(super) async fn serve_enrolment(port: Port, enrolment: EnrolmentService) {
    let tls = TlsAcceptor::from(open_server_config(port.identity.clone()));
    let router = limited(CalledLayer::new(port.audit.clone()))
        .max_concurrent_streams(4)
        .max_connection_age(ENROL_STAY)
        .add_service(EnrolmentServer::new(enrolment).max_decoding_message_size(ENROL_BYTES));
    run(router, port, tls, ENROL_HANDSHAKES).await;
}

fn limited(called: CalledLayer) -> Server<Limits> {
    Server::builder()
        .layer(called)
        .layer(Deadlines)
        .max_concurrent_streams(STREAMS)
        .http2_max_header_list_size(HEADER_BYTES)
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS))
        .http2_max_local_error_reset_streams(Some(LOCAL_RESETS))
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_DEADLINE))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
}

/// Until `stop`; then calls under way may end, for a while.
async fn run(router: Router<Limits>, port: Port, tls: TlsAcceptor, handshakes: usize) {
    let Port { listener, connections, stop, .. } = port;
    let connections = incoming(listener, tls, handshakes, connections);
    let cut = {
        let stop = stop.clone();
        async move {
            stop.cancelled().await;
            tokio::time::sleep(GRACE).await;
        }
    };
    let served = router.serve_with_incoming_shutdown(connections, stop.cancelled_owned());
    tokio::select! {
        served = served => if let Err(error) = served {
            tracing::error!(error = %Chain(&error), "a port is no longer served");
        },
        () = cut => tracing::debug!("calls that did not end were cut"),
    }
}
