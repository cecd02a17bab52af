//! E-mail over SMTP: plain text, to each receiver a message of its own.

use std::{path::PathBuf, time::Duration};

use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, CertificateStore, Tls, TlsParameters},
    },
};
use longshore_common::{
    chain::Chain,
    code::{Code, Coded},
    regular::{self, Links},
};

use super::{Notice, courier::Undelivered};
use crate::http::CA_BYTES;

/// Of each exchange with the server, and of all of them together.
const EXCHANGE: Duration = Duration::from_secs(15);
const DEADLINE: Duration = Duration::from_secs(45);
/// Bytes of a file with a password.
const SECRET_BYTES: usize = 4096;

/// How the line to a mail server is kept from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailTls {
    /// It begins in the clear and goes on encrypted, or not at all.
    Starttls,
    /// Encrypted from the first byte.
    Wrapped,
    /// In the clear: for a server on the same machine.
    None,
}

/// Where mail goes out, as `controller.toml` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailServer {
    pub host: String,
    pub port: u16,
    pub tls: MailTls,
    pub from: String,
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
}

/// A way to a mail server. Cheap to clone.
#[derive(Clone)]
pub struct Mailer {
    /// For messages.
    server: String,
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Mailer {
    pub fn new(server: &MailServer) -> Result<Self, Coded> {
        let bad = |what: &str, error: &dyn std::error::Error| {
            Coded::new(Code::V01, format!("mail.{what}: {}", Chain(error)))
        };
        let from = server.from.parse::<Mailbox>().map_err(|error| bad("from", &error))?;
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&server.host)
            .port(server.port)
            .timeout(Some(EXCHANGE));
        if server.tls != MailTls::None {
            let parameters = parameters(server).map_err(|error| bad("ca_file", &*error))?;
            builder = builder.tls(match server.tls {
                MailTls::Wrapped => Tls::Wrapper(parameters),
                MailTls::Starttls | MailTls::None => Tls::Required(parameters),
            });
        }
        if let Some(user) = &server.user {
            let password = match &server.password_file {
                Some(path) => secret(path)?,
                None => String::new(),
            };
            builder = builder.credentials(Credentials::new(user.clone(), password));
        }
        let at = format!("{}:{}", server.host, server.port);
        Ok(Self { server: at, transport: builder.build(), from })
    }

    pub(super) async fn send(&self, notice: &Notice, to: &[String]) -> Result<(), Undelivered> {
        let message = self.message(notice, to)?;
        match tokio::time::timeout(DEADLINE, self.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            // 5xx: it does not take this message, and will not later.
            Ok(Err(error)) if error.is_permanent() => Err(Undelivered::never(self.said(error))),
            Ok(Err(error)) => Err(Undelivered::later(self.said(error))),
            Err(_) => Err(Undelivered::later(self.said(format_args!("no answer within {DEADLINE:?}")))),
        }
    }

    /// What the server said, or what kept it from saying anything: such an error tells its cause itself.
    fn said(&self, what: impl std::fmt::Display) -> String {
        format!("mail server {}: {what}", self.server)
    }

    pub(super) fn message(&self, notice: &Notice, to: &[String]) -> Result<Message, Undelivered> {
        let mut builder = Message::builder()
            .from(self.from.clone())
            .subject(format!("[{}] {}", notice.env, notice.subject))
            .message_id(Some(format!("<{}@longshore>", notice.id)))
            .header(ContentType::TEXT_PLAIN);
        for address in to {
            let mailbox = address.parse::<Mailbox>().map_err(|error| Undelivered::never(Chain(&error)))?;
            builder = builder.to(mailbox);
        }
        let text = format!(
            "{}\n\n{}\n\n{} ({})\n",
            notice.subject,
            notice.text,
            notice.kind.as_str(),
            notice.teller
        );
        builder.body(text).map_err(|error| Undelivered::never(Chain(&error)))
    }
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

fn parameters(server: &MailServer) -> Result<TlsParameters, Failed> {
    let mut builder = TlsParameters::builder(server.host.clone());
    if let Some(path) = &server.ca_file {
        let pem = regular::read(path, CA_BYTES, Links::Followed)
            .map_err(|error| format!("read {}: {error}", path.display()))?;
        builder = builder
            .certificate_store(CertificateStore::None)
            .add_root_certificate(Certificate::from_pem(&pem)?);
    }
    Ok(builder.build_rustls()?)
}

/// What a small file holds, without the newline at its end.
pub(super) fn secret(path: &std::path::Path) -> Result<String, Coded> {
    let unreadable =
        |why: String| Coded::new(Code::V01, format!("read the secret {}: {why}", path.display()));
    let text = regular::read_text(path, SECRET_BYTES, Links::Followed)
        .map_err(|error| unreadable(error.to_string()))?;
    let text = text.trim_end_matches(['\n', '\r']).to_owned();
    if text.is_empty() { Err(unreadable("it is empty".to_owned())) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use longshore_common::durable::write_atomic;

    use super::*;
    use crate::testing;

    /// A pipe would have the controller wait for ever.
    #[test]
    fn what_is_no_secret_and_no_ca_file_is_named_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let (pipe, large) = (dir.path().join("pipe"), dir.path().join("large"));
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).unwrap();
        write_atomic(&large, &[b'x'; SECRET_BYTES + 1], 0o600).unwrap();
        for (path, says) in [(&pipe, "it is a FIFO"), (&large, "it has 4097 bytes; at most 4096 are read")] {
            let refusal = secret(path).unwrap_err();
            let named = format!("read the secret {}: {says}", path.display());
            assert!(refusal.code == Code::V01 && refusal.message.starts_with(&named), "{refusal}");
        }
        let known = testing::tell().mail.unwrap();
        let server = MailServer { tls: MailTls::Wrapped, ca_file: Some(pipe.clone()), ..known };
        let Err(refusal) = Mailer::new(&server) else { panic!("the pipe was read") };
        let says = format!("mail.ca_file: read {}: it is a FIFO", pipe.display());
        assert!(refusal.code == Code::V01 && refusal.message.starts_with(&says), "{refusal}");
    }
}
