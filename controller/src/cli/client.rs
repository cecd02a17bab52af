//! The way to a controller: TLS 1.3 with the operator's certificate, deadlines on every answer, and errors that say
//! what to check.

use std::{future::Future, io, time::Duration};

use hyper_util::rt::TokioIo;
use longshore_common::{
    chain::Chain,
    code::Code,
    text::visible,
    tls::{LiveIdentity, LiveServerTrust, client_config},
};
use longshore_proto::v1 as pb;
use rustls::{AlertDescription, pki_types::ServerName};
use tokio::{net::TcpStream, time::Instant};
use tokio_rustls::TlsConnector;
use tonic::{
    Response, Status,
    transport::{Channel, Endpoint},
};

use super::{context::Context, exit::Exit, failure::Failure};

/// TCP and TLS together.
const CONNECT: Duration = Duration::from_secs(5);
/// Lists of large fleets; the controller is trusted with more than it trusts us with.
const MESSAGE_BYTES: usize = 64 * 1024 * 1024;

#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    pub context: String,
    pub address: String,
}

macro_rules! service {
    ($name:ident, $module:ident, $client:ident) => {
        pub fn $name(&self) -> pb::$module::$client<Channel> {
            pb::$module::$client::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES)
        }
    };
}

impl Client {
    /// Connects at once, so that a wrong address is the first thing said. Later losses are mended by the next call.
    pub async fn connect(context: &Context) -> Result<Self, Failure> {
        let address = context.operator.address.clone();
        let unreachable =
            |error: &(dyn std::error::Error + 'static)| unreachable(&address, &context.name, error);
        let connector = connector(context)?;
        let host = host_of(&address).to_owned();
        let name = ServerName::try_from(host)
            .map_err(|_| Failure::usage(format!("address \"{}\" names no host", visible(&address))))?;
        let target = address.clone();
        let dial = tower::service_fn(move |_| {
            let (connector, name, target) = (connector.clone(), name.clone(), target.clone());
            async move {
                let tcp = TcpStream::connect(&target).await?;
                tcp.set_nodelay(true)?;
                Ok::<_, io::Error>(TokioIo::new(connector.connect(name, tcp).await?))
            }
        });
        let endpoint = Endpoint::from_static("http://controller.longshore")
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10));
        let connected = tokio::time::timeout(CONNECT, endpoint.connect_with_connector(dial)).await;
        let channel = match connected {
            Ok(connected) => connected.map_err(|error| unreachable(&error))?,
            Err(_) => {
                let late = io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("no answer within {} s", CONNECT.as_secs()),
                );
                return Err(unreachable(&late));
            }
        };
        Ok(Self { channel, context: context.name.clone(), address })
    }

    service!(controller, controller_client, ControllerClient);
    service!(hosts, hosts_client, HostsClient);
    service!(releases, releases_client, ReleasesClient);
    service!(environments, environments_client, EnvironmentsClient);
    service!(settings, settings_client, SettingsClient);
    service!(plans, plans_client, PlansClient);
    service!(trust, trust_client, TrustClient);
    service!(calendars, calendars_client, CalendarsClient);
    service!(approvals, approvals_client, ApprovalsClient);
    service!(notices, notices_client, NoticesClient);
    service!(rollouts, rollouts_client, RolloutsClient);
    service!(access, access_client, AccessClient);

    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The answer to one call, or why there is none by `deadline`.
    pub async fn answer<T>(
        &self,
        deadline: Instant,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout_at(deadline, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.explain(status)),
            Err(_) => Err(self.too_late()),
        }
    }

    /// A refusal with the words of the controller; a lost connection with what to check.
    pub fn explain(&self, status: Status) -> Failure {
        if let Some(tls) = find_tls(&status) {
            return refused_by_tls(&self.address, &self.context, tls);
        }
        let failure = Failure::from(status);
        if failure.exit != Exit::Unreachable || failure.code != Some(Code::C01) {
            return failure;
        }
        Failure { message: format!("controller {}: {}", visible(&self.address), failure.message), ..failure }
            .next("the connection broke; what was asked may have been done: look before asking again")
    }

    pub fn too_late(&self) -> Failure {
        Failure::coded(Code::C01, format!("controller {} did not answer in time", visible(&self.address)))
            .exit(Exit::TimedOut)
            .next("allow it longer with --timeout, or see how it stands: longshore status")
    }
}

fn connector(context: &Context) -> Result<TlsConnector, Failure> {
    let operator = &context.operator;
    let unsound = |error: &dyn std::error::Error| {
        Failure::usage(format!(
            "the operator folder of context \"{}\" is unsound: {}",
            visible(&context.name),
            Chain(error)
        ))
        .next("import it again: longshore context add NAME --from DIR")
    };
    let identity = LiveIdentity::new(&operator.certificate, &operator.key).map_err(|e| unsound(&e))?;
    let trust = LiveServerTrust::new(&operator.ca).map_err(|e| unsound(&e))?;
    Ok(TlsConnector::from(client_config(identity, trust)))
}

/// Without the port and the brackets of IPv6.
fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

fn unreachable(address: &str, context: &str, error: &(dyn std::error::Error + 'static)) -> Failure {
    if let Some(tls) = find_tls(error) {
        return refused_by_tls(address, context, tls);
    }
    let cause = last_cause(error);
    let address = visible(address);
    Failure::coded(Code::C01, format!("controller {address} cannot be reached: {}", visible(&cause)))
        .next(format!(
            "is longshore-controller running there, and its port open? The address is that of context \"{}\"",
            visible(context)
        ))
        .next("another address: longshore context add NAME --from DIR --address HOST:PORT")
}

/// Of what one side may say as it hangs up, what speaks of the other's certificate.
fn is_about_certificates(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::CertificateRequired
    )
}

/// Reached, but one side does not believe the other.
fn refused_by_tls(address: &str, context: &str, error: &rustls::Error) -> Failure {
    let (address, context) = (visible(address), visible(context));
    match error {
        rustls::Error::AlertReceived(alert) if is_about_certificates(*alert) => Failure::coded(
            Code::C02,
            format!(
                "controller {address} does not accept the certificate of context \"{context}\" ({alert:?})"
            ),
        )
        .next("it may have expired, or belong to another controller: ask for a new operator folder"),
        rustls::Error::AlertReceived(alert) => Failure::coded(
            Code::E04,
            format!("the connection to {address} was broken off before anything was said ({alert:?})"),
        )
        .next("a program of another kind there, or somebody in between who changes what passes; nothing was sent"),
        error => Failure::coded(
            Code::E04,
            format!("what answers at {address} is not the controller of context \"{context}\": {error}"),
        )
        .next("wrong address, a new CA, a wrong clock, or somebody in between; nothing was sent"),
    }
}

fn find_tls<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        // An io::Error gives its inner error only when asked for it.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(tls) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Some(tls);
        }
        next = error.source();
    }
    None
}

/// The innermost cause: "connection refused" says more than "transport error".
fn last_cause(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_addresses() {
        for (address, host) in
            [("a.example:1", "a.example"), ("[::1]:7443", "::1"), ("10.0.0.1:7", "10.0.0.1")]
        {
            assert_eq!(host_of(address), host);
        }
    }

    #[test]
    fn an_unreachable_controller_is_named_with_what_to_check() {
        let error = io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused");
        let failure = unreachable("10.0.0.5:7443", "prod", &error);
        assert_eq!(failure.exit, Exit::Unreachable);
        assert_eq!(
            failure.lines()[0],
            "longshore: LS-C01 controller 10.0.0.5:7443 cannot be reached: connection refused"
        );
        assert!(failure.lines()[1].contains("context \"prod\""));
    }

    /// Whoever is in between can turn one word into another; none of the others is our certificate's matter.
    #[test]
    fn a_connection_that_is_broken_off_says_nothing_of_certificates() {
        let alert = rustls::Error::AlertReceived(AlertDescription::InsufficientSecurity);
        let failure = unreachable("a:1", "prod", &io::Error::other(alert));
        let said = failure.lines().join(" ");
        assert!(said.contains("LS-E04") && said.contains("somebody in between"), "{said}");
        assert!(!said.contains("certificate"), "{said}");
    }

    #[test]
    fn a_certificate_that_is_not_accepted_is_no_network_problem() {
        let alert = rustls::Error::AlertReceived(AlertDescription::CertificateExpired);
        let error = io::Error::other(alert);
        assert_eq!(unreachable("a:1", "prod", &error).exit, Exit::Refused);
        let stranger =
            io::Error::other(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer));
        let failure = unreachable("a:1", "prod", &stranger);
        assert_eq!((failure.exit, failure.code), (Exit::Refused, Some(Code::E04)));
    }
}
