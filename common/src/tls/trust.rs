//! Whom we believe: the CAs for clients and for servers, swappable.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::{TlsError, provider, roots};

/// Which clients a server accepts. Revocation is not here: the caller's identity is looked up on every call.
#[derive(Debug)]
pub struct LiveClientTrust(ArcSwap<Arc<dyn ClientCertVerifier>>);

impl LiveClientTrust {
    pub fn new(ca_pem: &[u8]) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self(ArcSwap::from_pointee(Self::build(ca_pem)?))))
    }
    /// From the next handshake on.
    pub fn replace(&self, ca_pem: &[u8]) -> Result<(), TlsError> {
        self.0.store(Arc::new(Self::build(ca_pem)?));
        Ok(())
    }
    fn build(ca_pem: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        WebPkiClientVerifier::builder_with_provider(roots(ca_pem)?.into(), provider())
            .build()
            .map(|verifier| verifier as Arc<dyn ClientCertVerifier>)
            .map_err(|e| TlsError::new("trust the CA for clients", e))
    }
}

impl ClientCertVerifier for LiveClientTrust {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[] // borrowed from self, so a swappable verifier cannot give hints; our clients have one certificate anyway
    }
    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0.load().verify_client_cert(leaf, chain, now)
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.load().verify_tls12_signature(message, cert, signed)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.load().verify_tls13_signature(message, cert, signed)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.load().supported_verify_schemes()
    }
}

/// Which servers a client accepts.
#[derive(Debug)]
pub struct LiveServerTrust(ArcSwap<Arc<dyn ServerCertVerifier>>);

impl LiveServerTrust {
    pub fn new(ca_pem: &[u8]) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self(ArcSwap::from_pointee(Self::build(ca_pem)?))))
    }
    /// From the next handshake on.
    pub fn replace(&self, ca_pem: &[u8]) -> Result<(), TlsError> {
        self.0.store(Arc::new(Self::build(ca_pem)?));
        Ok(())
    }
    fn build(ca_pem: &[u8]) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
        WebPkiServerVerifier::builder_with_provider(roots(ca_pem)?.into(), provider())
            .build()
            .map(|verifier| verifier as Arc<dyn ServerCertVerifier>)
            .map_err(|e| TlsError::new("trust the CA for servers", e))
    }
}

impl ServerCertVerifier for LiveServerTrust {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0.load().verify_server_cert(leaf, chain, name, ocsp, now)
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.load().verify_tls12_signature(message, cert, signed)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.load().verify_tls13_signature(message, cert, signed)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.load().supported_verify_schemes()
    }
}
