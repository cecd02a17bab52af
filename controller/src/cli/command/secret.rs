//! `secret encrypt | check`, and `env show --app`. A secret is read, encrypted here, and only then sent.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read},
    path::{Path, PathBuf},
};

use age::secrecy::{ExposeSecret as _, SecretSlice};
use longshore_common::{chain::Chain, code::Code, settings::check_name, text::visible};
use longshore_proto::v1 as pb;
use tokio::time::Instant;

use super::{Desk, deadline, parcel::Parcel};
use crate::{
    cli::{
        args::SecretCommand,
        client::Client,
        exit::Exit,
        failure::Failure,
        view::secret::{Checked, Encrypted},
    },
    sealed::SECRET_BYTES,
};

pub async fn run(desk: &Desk, command: SecretCommand) -> Result<Exit, Failure> {
    match command {
        SecretCommand::Encrypt { name, env, host, file, sealed, waiting } => {
            check_name("secret", &name).map_err(|e| Failure::usage(e.message))?;
            let again = sealed.is_some();
            // What is wrong with the value, or with the file, needs no controller to be found out.
            let given = match sealed {
                Some(path) => Given::Sealed(Parcel::read(&path, &name, env.as_deref(), host.as_deref())?),
                None => Given::Plain(read(file)?),
            };
            let client = desk.client().await?;
            let until = deadline(waiting.timeout);
            let parcel = match given {
                Given::Sealed(parcel) => parcel,
                Given::Plain(plain) => pack(&client, until, &plain, (name, env, host)).await?,
            };
            let pieces = tokio_stream::iter(parcel.pieces()?);
            let reply = match client.answer(until, client.settings().seal(pieces)).await {
                Err(why) if why.code == Some(Code::W02) && !again => return Err(waits(&parcel, why)),
                reply => reply?,
            };
            let hosts = parcel.host_names();
            let Parcel { name, env, host, .. } = parcel;
            desk.output.print(&Encrypted::new(name, env, host, reply.digest, hosts))?;
            Ok(Exit::Done)
        }
        SecretCommand::Check { env, waiting } => {
            let client = desk.client().await?;
            let request = pb::CheckSecretsRequest { env };
            let reply = client.answer(deadline(waiting.timeout), client.settings().check(request)).await?;
            let checked = Checked::from(reply);
            desk.output.print(&checked)?;
            Ok(if checked.sound { Exit::Done } else { Exit::Failed })
        }
    }
}

/// What the secret comes from.
enum Given {
    Plain(SecretSlice<u8>),
    /// It was encrypted before, and a second person was asked.
    Sealed(Parcel),
}

/// Encrypted for whom it is meant.
async fn pack(
    client: &Client,
    until: Instant,
    plain: &SecretSlice<u8>,
    (name, env, host): (String, Option<String>, Option<String>),
) -> Result<Parcel, Failure> {
    let request = pb::RecipientsRequest {
        env: env.clone().unwrap_or_default(),
        host: host.clone().unwrap_or_default(),
    };
    let reply = client.answer(until, client.settings().recipients(request)).await?;
    let rows = encrypt(plain, &reply.hosts, env.as_deref())?;
    Ok(Parcel::new((name, env, host), &reply.hosts, rows))
}

/// The second person agrees to what was sent, so that it has to be there to be sent again.
fn waits(parcel: &Parcel, why: Failure) -> Failure {
    match parcel.keep(Path::new(".")) {
        Ok(path) => why.next(format!(
            "what was encrypted is kept in {0}, which only the hosts can open: give the command again with \
             --sealed {0}",
            visible(&path.to_string_lossy())
        )),
        Err(lost) => why.next(format!(
            "what was encrypted could not be kept here, and to encrypt again makes another secret ({}): type \
             the command in a folder of yours",
            lost.message
        )),
    }
}

/// One ciphertext for each host, to the key that only it holds.
fn encrypt(
    plain: &SecretSlice<u8>,
    hosts: &[pb::Recipient],
    env: Option<&str>,
) -> Result<Vec<pb::SealedFor>, Failure> {
    if hosts.is_empty() {
        let env = env.unwrap_or_default();
        return Err(Failure::coded(Code::R01, format!("environment {} has no hosts yet", visible(env)))
            .next("enrol some first: longshore token create"));
    }
    let mute: Vec<&str> =
        hosts.iter().filter(|host| host.recipient.is_empty()).map(|host| &*host.name).collect();
    if !mute.is_empty() {
        let mute = visible(&mute.join(", "));
        return Err(Failure::coded(
            Code::K01,
            format!("no key to encrypt for is known of {mute}; nothing was sent"),
        )
        .next("a host tells its key when its agent connects: longshore host list"));
    }
    hosts.iter().map(|host| encrypt_for(plain, host)).collect()
}

fn encrypt_for(plain: &SecretSlice<u8>, host: &pb::Recipient) -> Result<pb::SealedFor, Failure> {
    let pb::Recipient { host, name, recipient } = host.clone();
    let wrong = || {
        let message =
            format!("what is known of {} is no key to encrypt for; nothing was sent", visible(&name));
        Failure::coded(Code::K01, message)
    };
    let key: age::x25519::Recipient = recipient.parse().map_err(|_| wrong())?;
    let text = age::encrypt(&key, plain.expose_secret()).map_err(|_| wrong())?;
    Ok(pb::SealedFor { host, recipient, text: text.into() })
}

/// From a file or standard input; one newline at the end is the editor's and goes.
fn read(file: Option<PathBuf>) -> Result<SecretSlice<u8>, Failure> {
    let from_file = file.filter(|path| path != Path::new("-"));
    let (name, bytes) = match &from_file {
        Some(path) => (path.display().to_string(), File::open(path).and_then(take)),
        None => {
            if io::stdin().is_terminal() {
                eprintln!("Type or paste the secret, then Ctrl-D:");
            }
            ("standard input".to_owned(), take(io::stdin().lock()))
        }
    };
    let name = visible(&name);
    let mut bytes = bytes.map_err(|e| Failure::usage(format!("read {name}: {}", Chain(&e))))?;
    if bytes.len() > SECRET_BYTES {
        return Err(Failure::coded(
            Code::A04,
            format!("{name} has more than {SECRET_BYTES} bytes; a secret has at most that"),
        ));
    }
    if bytes.ends_with(b"\n") {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    match std::str::from_utf8(&bytes) {
        Err(_) => {
            Err(Failure::usage(format!("{name} is no UTF-8 text, which is all that a template can hold"))
                .next("encode it first: base64 FILE | longshore secret encrypt …"))
        }
        Ok(text) if text.is_empty() || text.contains('\0') => {
            Err(Failure::usage(format!("{name} is empty, or has a zero byte in it")))
        }
        Ok(_) => Ok(bytes.into()),
    }
}

fn take(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    from.take(SECRET_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, recipient: &str) -> pb::Recipient {
        pb::Recipient { host: "6f3c5a52".into(), name: name.into(), recipient: recipient.into() }
    }

    #[test]
    fn each_host_gets_its_own_ciphertext() {
        let keys = [age::x25519::Identity::generate(), age::x25519::Identity::generate()];
        let hosts =
            [host("a", &keys[0].to_public().to_string()), host("b", &keys[1].to_public().to_string())];
        let plain: SecretSlice<u8> = b"hunter2".to_vec().into();
        let rows = encrypt(&plain, &hosts, Some("production")).unwrap();
        for (key, row) in keys.iter().zip(&rows) {
            assert_eq!(age::decrypt(key, &row.text).unwrap(), b"hunter2");
        }
        assert!(age::decrypt(&keys[0], &rows[1].text).is_err());
        assert!(rows.iter().all(|row| !row.text.windows(7).any(|part| part == b"hunter2")));
    }

    #[test]
    fn nothing_is_sent_unless_every_host_can_open_it() {
        let plain: SecretSlice<u8> = b"hunter2".to_vec().into();
        for (hosts, words) in [
            (vec![], "has no hosts yet"),
            (vec![host("web-1", "")], "no key to encrypt for is known of web-1"),
            (vec![host("web-1", "age1nonsense")], "is no key to encrypt for"),
        ] {
            let failure = encrypt(&plain, &hosts, Some("production")).unwrap_err();
            assert!(failure.message.contains(words), "{}", failure.message);
        }
    }

    #[test]
    fn a_value_is_text_of_a_fitting_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("value");
        let put = |bytes: &[u8]| longshore_common::durable::write_atomic(&path, bytes, 0o600).unwrap();
        put(b"line 1\nline 2\n");
        assert_eq!(read(Some(path.clone())).unwrap().expose_secret(), b"line 1\nline 2");
        for (bytes, words) in [
            (vec![], "is empty"),
            (b"\n".to_vec(), "is empty"),
            (b"a\0".to_vec(), "zero byte"),
            (vec![0xff], "no UTF-8"),
            (vec![b'x'; SECRET_BYTES + 1], "more than 8192 bytes"),
        ] {
            put(&bytes);
            assert!(read(Some(path.clone())).unwrap_err().message.contains(words), "{words}");
        }
    }
}
