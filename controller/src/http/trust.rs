//! Whose certificates are believed when the controller calls others: the system's CAs, or those of one file.

use std::{path::Path, sync::Arc};

use longshore_common::{
    code::{Code, Coded},
    regular::{self, Links},
    tls,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// Where systems keep the CAs that they believe: Debian, Fedora, Alpine.
const SYSTEM_FILES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
/// Bytes of a file with CAs; Debian's has a quarter of a megabyte.
pub const CA_BYTES: usize = 4 << 20;

/// Ready to be used for any number of calls.
#[derive(Clone)]
pub struct Trust {
    pub(super) config: Arc<ClientConfig>,
}

impl Trust {
    /// The system's CAs; none at all where there is no such file, so that every TLS call fails and says why.
    pub fn system() -> Self {
        let found = SYSTEM_FILES.iter().find_map(|file| read(Path::new(file)).ok());
        Self::of(found.unwrap_or_else(RootCertStore::empty))
    }

    /// The CAs of a PEM file and no others.
    pub fn file(path: &Path) -> Result<Self, Coded> {
        let shown = longshore_common::text::visible(&path.display().to_string());
        let roots = read(path).map_err(|why| Coded::new(Code::V01, format!("the CA file {shown}: {why}")))?;
        Ok(Self::of(roots))
    }

    fn of(roots: RootCertStore) -> Self {
        let config = ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .expect("ring has suites for both versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { config: Arc::new(config) }
    }
}

/// System files have certificates that webpki does not read: those are left out.
fn read(path: &Path) -> Result<RootCertStore, String> {
    let pem = regular::read(path, CA_BYTES, Links::Followed).map_err(|e| e.to_string())?;
    let found: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found);
    if added == 0 { Err("it holds no certificate in PEM".to_owned()) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipe would have a gate wait for ever, and a device has no end.
    #[test]
    fn what_is_no_ca_file_is_named_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let (pipe, large) = (dir.path().join("pipe"), dir.path().join("large"));
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).unwrap();
        let file = std::fs::File::create(&large).unwrap();
        file.set_len(CA_BYTES as u64 + 1).unwrap();
        for (path, says) in [
            (pipe.as_path(), "it is a FIFO"),
            (large.as_path(), "at most 4194304 are read"),
            (Path::new("/dev/zero"), "it is a device"),
        ] {
            let Err(refusal) = Trust::file(path) else { panic!("{} was read", path.display()) };
            let named = format!("the CA file {}: ", path.display());
            assert!(refusal.code == Code::V01 && refusal.message.starts_with(&named), "{refusal}");
            assert!(refusal.message.contains(says), "{refusal}");
        }
    }
}
