//! Who may call what, for every method there is: hosts, operators, strangers.

use super::*;

use longshore_common::{code::Coded, tls::pinned_client_config};
use longshore_proto::v1::{
    access_client::AccessClient, blobs_client::BlobsClient, controller_client::ControllerClient,
    environments_client::EnvironmentsClient, hosts_client::HostsClient, releases_client::ReleasesClient,
    renewal_client::RenewalClient, rollouts_client::RolloutsClient, session_client::SessionClient,
    settings_client::SettingsClient, trust_client::TrustClient,
};
use tonic::{Status, transport::Channel};

/// The code of an answer; `None`: it was let in, whatever came of it then.
fn refusal<T>(reply: Result<T, Status>) -> Option<Coded> {
    match reply {
        Ok(_) => None,
        Err(status) => Some(from_status(&status)).filter(|coded| coded.code == Code::C02),
    }
}

macro_rules! calls {
    ($channel:expr, $($client:ident :: $method:ident ( $request:expr )),* $(,)?) => {
        vec![$((
            concat!(stringify!($client), "::", stringify!($method)),
            refusal($client::new($channel.clone()).$method($request).await),
        )),*]
    };
}

async fn operators_calls(channel: &Channel) -> Vec<(&'static str, Option<Coded>)> {
    calls!(
        channel,
        ControllerClient::status(pb::StatusRequest::default()),
        HostsClient::create_token(pb::CreateTokenRequest::default()),
        HostsClient::list_tokens(pb::ListTokensRequest::default()),
        HostsClient::revoke_token(pb::RevokeTokenRequest::default()),
        HostsClient::list(pb::ListHostsRequest::default()),
        HostsClient::show(pb::ShowHostRequest::default()),
        HostsClient::label(pb::LabelHostRequest::default()),
        HostsClient::remove(pb::RemoveHostRequest::default()),
        HostsClient::ping(pb::PingRequest::default()),
        HostsClient::logs(pb::LogsRequest::default()),
        ReleasesClient::missing(pb::MissingRequest::default()),
        ReleasesClient::upload(tokio_stream::iter(Vec::<pb::UploadPiece>::new())),
        ReleasesClient::publish(pb::PublishRequest::default()),
        ReleasesClient::list(pb::ListReleasesRequest::default()),
        ReleasesClient::show(pb::ShowReleaseRequest::default()),
        ReleasesClient::withdraw(pb::WithdrawReleaseRequest::default()),
        ReleasesClient::verify(pb::ShowReleaseRequest::default()),
        EnvironmentsClient::apply(pb::ApplyEnvironmentRequest::default()),
        EnvironmentsClient::list(pb::ListEnvironmentsRequest::default()),
        EnvironmentsClient::show(pb::ShowEnvironmentRequest::default()),
        AccessClient::who_am_i(pb::WhoAmIRequest::default()),
        AccessClient::login(pb::LoginRequest::default()),
        AccessClient::add_user(pb::AddUserRequest::default()),
        AccessClient::list_users(pb::ListUsersRequest::default()),
        AccessClient::change_user(pb::ChangeUserRequest::default()),
        AccessClient::remove_user(pb::RemoveUserRequest::default()),
        AccessClient::audit(pb::AuditRequest::default()),
        AccessClient::witnesses(pb::WitnessesRequest::default()),
        RolloutsClient::start(pb::StartRolloutRequest::default()),
        RolloutsClient::list(pb::ListRolloutsRequest::default()),
        RolloutsClient::show(pb::ShowRolloutRequest::default()),
        RolloutsClient::watch(pb::ShowRolloutRequest::default()),
        RolloutsClient::explain(pb::ShowRolloutRequest::default()),
        RolloutsClient::steer(pb::SteerRequest::default()),
        SettingsClient::show(pb::ShowSettingsRequest::default()),
        SettingsClient::recipients(pb::RecipientsRequest::default()),
        SettingsClient::seal(tokio_stream::iter(Vec::<pb::SealPiece>::new())),
        SettingsClient::check(pb::CheckSecretsRequest::default()),
        TrustClient::status(pb::TrustStatusRequest::default()),
        TrustClient::get(pb::GetTrustRequest::default()),
        TrustClient::submit(pb::SubmitTrustRequest::default()),
        TrustClient::refresh(pb::TrustStatusRequest::default()),
    )
}

async fn agents_calls(channel: &Channel) -> Vec<(&'static str, Option<Coded>)> {
    calls!(
        channel,
        SessionClient::open(tokio_stream::iter(Vec::<pb::FromAgent>::new())),
        RenewalClient::renew(pb::RenewRequest::default()),
        BlobsClient::manifest(pb::ManifestRequest { app: "shop".into(), release: vec![0; 32].into() }),
        BlobsClient::index(pb::IndexRequest { app: "shop".into(), release: vec![0; 32].into() }),
        BlobsClient::sealed(pb::SealedRequest { digest: vec![0; 32].into() }),
        BlobsClient::trust(pb::TrustRequest { app: "shop".into(), roots_after: 0 }),
        BlobsClient::fetch(pb::FetchRequest {
            app: "shop".into(),
            release: vec![0; 32].into(),
            wanted: vec![].into(),
        }),
        BlobsClient::sealed(pb::SealedRequest { digest: vec![0; 32].into() }),
    )
}

#[tokio::test]
async fn hosts_do_what_is_for_hosts_and_operators_the_rest() {
    let site = Site::start().await;
    let key = HostKey::new();
    let enrolled = site.enrol(&site.token().await, &key, "web-1").await.unwrap();
    let (host, operator) = (site.host(&enrolled, &key).await, site.operator().await);

    for (method, refused) in operators_calls(&host).await {
        let refused = refused.unwrap_or_else(|| panic!("a host was let in to {method}"));
        assert!(refused.message.contains("it is for operators"), "{method}: {refused}");
    }
    for (method, refused) in agents_calls(&operator).await {
        let refused = refused.unwrap_or_else(|| panic!("an operator was let in to {method}"));
        assert!(refused.message.contains("it is for hosts"), "{method}: {refused}");
    }
    for (method, refused) in operators_calls(&operator).await {
        assert_eq!(refused, None, "{method}");
    }
    site.stop().await;
}

/// Without a certificate there is no connection to the main port, and on the other port nothing but enrolment.
#[tokio::test]
async fn strangers_may_only_enrol() {
    let site = Site::start().await;
    let pin = site.token().await.parse::<JoinToken>().unwrap().ca;
    let main = site::dial(site.addresses().main, pinned_client_config(pin)).await;
    if let Ok(channel) = main {
        // TLS 1.3 tells a client of its missing certificate with the first answer.
        let reply = ControllerClient::new(channel).status(pb::StatusRequest {}).await;
        assert!(reply.is_err(), "a stranger was answered");
    }
    let enrol = site::dial(site.addresses().enrol, pinned_client_config(pin)).await.unwrap();
    let reply = ControllerClient::new(enrol).status(pb::StatusRequest {}).await.unwrap_err();
    assert_eq!(reply.code(), tonic::Code::Unimplemented);
    site.stop().await;
}
