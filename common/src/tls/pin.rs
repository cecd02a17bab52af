//! The one connection without a certificate of ours: enrolment, where the token says which CA to expect.

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{TlsError, provider};
use crate::{
    code::{Code, Coded},
    digest::{hex, sha256},
};

/// SHA-256 over the SubjectPublicKeyInfo of the first certificate in the PEM: what a join token pins.
pub fn ca_hash(ca_pem: &[u8]) -> Result<[u8; 32], TlsError> {
    let cert = CertificateDer::from_pem_slice(ca_pem).map_err(|e| TlsError::new("read the CA's PEM", e))?;
    spki_hash(&cert).ok_or_else(|| TlsError::plain("the CA's certificate does not parse"))
}

fn spki_hash(cert: &CertificateDer<'_>) -> Option<[u8; 32]> {
    X509Certificate::from_der(cert).ok().map(|(_, cert)| sha256(cert.public_key().raw))
}

/// Connects without a certificate, and only to a server whose presented chain holds the CA with this hash and
/// whose leaf that CA signed. There is no fall-back to any other trust.
pub fn pinned_client_config(ca_spki_sha256: [u8; 32]) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has TLS 1.3 suites")
        .dangerous() // the verifier below is stricter than the ordinary one
        .with_custom_certificate_verifier(Arc::new(Pinned { expected: ca_spki_sha256 }))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

#[derive(Debug)]
struct Pinned {
    expected: [u8; 32],
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pinned = chain.iter().find(|cert| spki_hash(cert) == Some(self.expected));
        let Some(ca) = pinned else {
            let seen = chain.last().and_then(spki_hash).map_or("none".to_owned(), |hash| hex(&hash[..4]));
            let refusal = Coded::new(
                Code::E04,
                format!(
                    "the server's CA ({seen}) is not the one in the token ({}): wrong address or interception. Nothing was sent",
                    hex(&self.expected[..4])
                ),
            );
            return Err(Error::Other(rustls::OtherError(Arc::new(refusal))));
        };
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca.clone())?;
        WebPkiServerVerifier::builder_with_provider(roots.into(), provider())
            .build()
            .map_err(|e| Error::Other(rustls::OtherError(Arc::new(e))))?
            .verify_server_cert(leaf, chain, name, ocsp, now)
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            signed,
            &provider().signature_verification_algorithms,
        )
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            signed,
            &provider().signature_verification_algorithms,
        )
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
