//! `longshore-controller init`: everything that a controller needs before its first start, and the first operator.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use longshore_common::{digest::sha256, durable, ids::OperatorName, time::Millis, tls::Identity};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};

use super::{
    Authority, IdentityError,
    authority::{check_server_name, write},
};
use crate::{
    access::{FirstKeys, Grants, LIFE, OPERATORS_DIR},
    cli::operator,
    config::Config,
};

/// Name of the file that `serve --config` reads.
pub const CONFIG_FILE: &str = "controller.toml";
/// Name of the first operator's folder.
pub const OPERATOR_DIR: &str = "operator";

/// What the operator of the machine asks for.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub dir: PathBuf,
    pub listen: SocketAddr,
    pub enrol_listen: SocketAddr,
    /// Never empty.
    pub names: Vec<String>,
    pub operator: OperatorName,
}

/// What is there now.
#[derive(Clone, Debug)]
pub struct Made {
    pub config: Config,
    pub config_path: PathBuf,
    pub operator_dir: PathBuf,
    /// SHA-256 of the CA's public key: what every join token pins.
    pub ca_hash: [u8; 32],
}

/// Makes CA, first operator and config below `dir`. The config comes last, so a run that was cut short is simply
/// begun again; a run that was not is refused.
pub fn init(wanted: Wanted, now: Millis) -> Result<Made, IdentityError> {
    let Wanted { dir, listen, enrol_listen, names, operator } = wanted;
    names.iter().try_for_each(|name| check_server_name(name))?;
    make_dir(&dir)?;
    let dir = dir.canonicalize().map_err(|source| IdentityError::Read { path: dir.clone(), source })?;
    let config_path = dir.join(CONFIG_FILE);
    if config_path.exists() {
        return Err(IdentityError::Exists { path: config_path });
    }
    let config = Config::new(dir.clone(), listen, enrol_listen, names);
    make_dir(&config.identity_dir())?;
    let authority = Authority::load_or_create(&config.identity_dir(), now)?;
    let operator_dir = dir.join(OPERATOR_DIR);
    let address = main_address(&config, listen.port());
    make_operator(&authority, &config, &operator, Grants::all(), &address, &operator_dir, now)?;
    write(&config_path, config.to_text().as_bytes(), 0o644)?;
    Ok(Made { config, config_path, operator_dir, ca_hash: authority.hash() })
}

/// Makes a folder with everything by which the controller believes this operator: `longshore context add --from`.
///
/// What makes the operator known waits in the identity folder until the daemon takes it up; `grants` are for one who
/// is new.
pub fn make_operator(
    authority: &Authority,
    config: &Config,
    name: &OperatorName,
    grants: Grants,
    address: &str,
    dir: &Path,
    now: Millis,
) -> Result<(), IdentityError> {
    make_dir(dir)?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let who = Identity::Operator(name.clone());
    let issued = authority.issue_client(&who, &key, LIFE, now)?;
    let first = FirstKeys {
        name: name.clone(),
        key: issued.bind_operator(sha256(&key.subject_public_key_info())),
        grants,
    };
    let waiting = config.identity_dir().join(OPERATORS_DIR);
    first.write(&waiting).map_err(|source| IdentityError::Write { path: waiting, source })?;
    write(&dir.join(operator::KEY), key.serialize_pem().as_bytes(), 0o600)?;
    write(&dir.join(operator::CERTIFICATE), issued.chain_pem.as_bytes(), 0o644)?;
    write(&dir.join(operator::CA), authority.pem().as_bytes(), 0o644)?;
    write(&dir.join(operator::ADDRESS), format!("{address}\n").as_bytes(), 0o644)
}

/// `host:port` of the main port, as others reach it.
pub fn main_address(config: &Config, port: u16) -> String {
    join_address(&config.names[0], port)
}

/// `host:port`, with an IPv6 address in brackets.
pub fn join_address(name: &str, port: u16) -> String {
    if name.contains(':') { format!("[{name}]:{port}") } else { format!("{name}:{port}") }
}

fn make_dir(dir: &Path) -> Result<(), IdentityError> {
    durable::create_dir_durable(dir, 0o700)
        .map_err(|source| IdentityError::Write { path: dir.into(), source })
}
