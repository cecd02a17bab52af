//! Our own key and certificate chain, swappable.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::{
    SignatureScheme,
    client::ResolvesClientCert,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{TlsError, provider};

/// Used by servers and clients alike.
#[derive(Debug)]
pub struct LiveIdentity(ArcSwap<CertifiedKey>);

impl LiveIdentity {
    /// Both in PEM; the chain has the leaf first.
    pub fn new(chain_pem: &[u8], key_pem: &[u8]) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self(ArcSwap::from(Self::read(chain_pem, key_pem)?))))
    }

    /// From the next handshake on. A pair that does not match is refused and the old one stays.
    pub fn replace(&self, chain_pem: &[u8], key_pem: &[u8]) -> Result<(), TlsError> {
        self.0.store(Self::read(chain_pem, key_pem)?);
        Ok(())
    }

    fn read(chain_pem: &[u8], key_pem: &[u8]) -> Result<Arc<CertifiedKey>, TlsError> {
        let chain = CertificateDer::pem_slice_iter(chain_pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| TlsError::new("read the certificate's PEM", e))?;
        let key =
            PrivateKeyDer::from_pem_slice(key_pem).map_err(|e| TlsError::new("read the key's PEM", e))?;
        let pair = CertifiedKey::from_der(chain, key, &provider())
            .map_err(|e| TlsError::new("use the certificate with its key", e))?;
        Ok(Arc::new(pair))
    }
}

impl ResolvesServerCert for LiveIdentity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl ResolvesClientCert for LiveIdentity {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
    fn has_certs(&self) -> bool {
        true
    }
}
