//! Keys that an ssh-agent holds: it is asked for a signature over its socket, and the key itself never comes here.
//!
//! Of the protocol (draft-miller-ssh-agent) two questions are needed: which keys there are, and a signature. An Ed25519
//! signature of an agent is the plain one, so what it signs is what a key of ours would.

use std::{
    fmt,
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use longshore_common::{
    digest::sha256,
    regular::{self, Links},
    text::visible,
    trust::PublicKey,
};

use crate::cli::{exit::Exit, failure::Failure};

/// Where the socket is.
pub const SOCKET_VARIABLE: &str = "SSH_AUTH_SOCK";

const KIND: &[u8] = b"ssh-ed25519";
/// Bytes of one answer, and keys in it.
const ANSWER: usize = 256 * 1024;
const KEYS: usize = 1024;
/// Bytes of a public key's file.
const LINE: usize = 16 * 1024;
/// Somebody may have to say yes, or touch something.
const PATIENCE: Duration = Duration::from_secs(120);

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;

/// The agent of this session; none where the environment names none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SshAgent(pub Option<PathBuf>);

/// An Ed25519 key of the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentKey {
    pub public: PublicKey,
    pub comment: String,
}

impl AgentKey {
    /// As `ssh-add -l` shows it.
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(sha256(&blob(&self.public))))
    }
}

impl fmt::Display for AgentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.fingerprint(), visible(&self.comment))
    }
}

impl SshAgent {
    /// The Ed25519 keys that it holds.
    pub fn keys(&self) -> Result<Vec<AgentKey>, Failure> {
        let answer = self.ask(&[REQUEST_IDENTITIES])?;
        let mut fields = Fields(&answer);
        let keys = (|| {
            if fields.byte()? != IDENTITIES_ANSWER {
                return None;
            }
            let count = fields.number()? as usize;
            let mut keys = vec![];
            for _ in 0..count.min(KEYS) {
                let (blob, comment) = (fields.string()?, fields.string()?);
                let comment = String::from_utf8_lossy(comment).into_owned();
                keys.extend(public_of(blob).map(|public| AgentKey { public, comment }));
            }
            Some(keys)
        })();
        keys.ok_or_else(|| self.odd("its list of keys cannot be read"))
    }

    /// The one that is meant: by fingerprint, comment, public half or file of it; empty: the only one.
    pub fn find(&self, wanted: &str) -> Result<AgentKey, Failure> {
        let keys = self.keys()?;
        let named = wanted_key(wanted);
        let fits = |key: &&AgentKey| {
            wanted.is_empty()
                || named == Some(key.public)
                || key.fingerprint() == wanted
                || key.comment == wanted
                || key.public.to_string() == wanted
        };
        let mut found: Vec<AgentKey> = keys.iter().filter(fits).cloned().collect();
        let there: Vec<String> = keys.iter().map(ToString::to_string).collect();
        let there = if there.is_empty() { "no Ed25519 key".to_owned() } else { there.join(", ") };
        match found.len() {
            1 => Ok(found.remove(0)),
            0 => Err(Failure::new(
                Exit::Refused,
                format!("the ssh-agent holds no such key; it holds {there}"),
            )
            .next("add one: ssh-keygen -t ed25519, then ssh-add; other kinds of keys cannot sign releases")),
            _ => Err(Failure::usage(format!("say which key of the ssh-agent; it holds {there}"))
                .next("longshore key add NAME --ssh-agent SHA256:…")),
        }
    }

    /// Its signature, which is held against the key before it is believed.
    pub fn sign(&self, key: &PublicKey, message: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut request = vec![SIGN_REQUEST];
        put(&mut request, &blob(key));
        put(&mut request, message);
        request.extend(0u32.to_be_bytes()); // no flags: they are about RSA
        let answer = self.ask(&request)?;
        let mut fields = Fields(&answer);
        let kind = fields.byte();
        if kind == Some(FAILURE) {
            let message = format!("the ssh-agent does not sign with the key {}", key.short());
            return Err(Failure::new(Exit::Refused, message)
                .next("is it there (ssh-add -l), and did somebody say no to it?"));
        }
        let signature = (kind == Some(SIGN_RESPONSE)).then(|| fields.string()).flatten();
        let signature = signature.and_then(|wrapped| {
            let mut fields = Fields(wrapped);
            (fields.string()? == KIND).then_some(())?;
            fields.string()
        });
        match signature {
            Some(signature) if key.verifies(message, signature) => Ok(signature.to_vec()),
            _ => Err(self.odd("its signature does not fit the key")),
        }
    }

    fn ask(&self, request: &[u8]) -> Result<Vec<u8>, Failure> {
        let path = self.0.as_deref().ok_or_else(|| {
            Failure::new(Exit::Refused, format!("no ssh-agent: {SOCKET_VARIABLE} is not set"))
                .next("start one: eval \"$(ssh-agent)\", then ssh-add")
        })?;
        exchange(path, request).map_err(|error| {
            let path = visible(&path.display().to_string());
            Failure::new(Exit::Unreachable, format!("the ssh-agent at {path} does not answer: {error}"))
                .next("is it running? ssh-add -l")
        })
    }

    fn odd(&self, what: &str) -> Failure {
        let path = self.0.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        Failure::new(Exit::Failed, format!("the ssh-agent at {} is not sound: {what}", visible(&path)))
    }
}

fn exchange(path: &Path, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let length = u32::try_from(request.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(request)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length == 0 || length > ANSWER {
        return Err(io::Error::other(format!("an answer of {length} bytes")));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// The key as ssh says it.
fn blob(key: &PublicKey) -> Vec<u8> {
    let mut blob = vec![];
    put(&mut blob, KIND);
    put(&mut blob, &key.0);
    blob
}

/// None: a key of another kind.
fn public_of(blob: &[u8]) -> Option<PublicKey> {
    let mut fields = Fields(blob);
    (fields.string()? == KIND).then_some(())?;
    Some(PublicKey(fields.string()?.try_into().ok()?))
}

/// `ssh-ed25519 AAAA… comment`, or a file that says so.
fn wanted_key(wanted: &str) -> Option<PublicKey> {
    let line = |text: &str| {
        let mut words = text.split_whitespace();
        (words.next()? == "ssh-ed25519").then_some(())?;
        public_of(&STANDARD.decode(words.next()?).ok()?)
    };
    let file = || regular::read_text(Path::new(wanted), LINE, Links::Followed).ok();
    line(wanted).or_else(|| line(&file()?))
}

fn put(into: &mut Vec<u8>, bytes: &[u8]) {
    into.extend((bytes.len() as u32).to_be_bytes());
    into.extend(bytes);
}

/// What is left of a message.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    fn number(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(length as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, thread};

    use longshore_common::trust::SigningKey;

    use super::*;

    /// Answers each question with what is next.
    fn agent(answers: Vec<Vec<u8>>) -> (tempfile::TempDir, SshAgent) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.sock");
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut length = [0; 4];
                stream.read_exact(&mut length).unwrap();
                io::copy(&mut (&stream).take(u32::from_be_bytes(length).into()), &mut io::sink()).unwrap();
                stream.write_all(&answer).unwrap();
            }
        });
        (dir, SshAgent(Some(path)))
    }

    fn framed(body: &[u8]) -> Vec<u8> {
        let mut message = vec![];
        put(&mut message, body);
        message
    }

    fn signature(bytes: &[u8]) -> Vec<u8> {
        let (mut wrapped, mut body) = (vec![], vec![SIGN_RESPONSE]);
        put(&mut wrapped, KIND);
        put(&mut wrapped, bytes);
        put(&mut body, &wrapped);
        framed(&body)
    }

    #[test]
    fn an_agent_that_lies_or_breaks_off_is_not_believed() {
        let key = SigningKey::from_seed([7; 32]);
        let other = SigningKey::from_seed([8; 32]).sign(b"message");
        let rows: Vec<(&str, Vec<u8>)> = vec![
            ("another key's signature", signature(&other)),
            ("a short signature", signature(&[1, 2, 3])),
            ("a refusal", framed(&[FAILURE])),
            ("an endless answer", u32::MAX.to_be_bytes().to_vec()),
            ("an empty answer", 0u32.to_be_bytes().to_vec()),
            ("half an answer", [&9u32.to_be_bytes()[..], &[SIGN_RESPONSE, 0]].concat()),
            ("a length beyond the end", framed(&[SIGN_RESPONSE, 0, 0, 1, 0, 1])),
        ];
        for (what, answer) in rows {
            let (_dir, agent) = agent(vec![answer]);
            assert!(agent.sign(&key.public(), b"message").is_err(), "{what}");
        }
        let (_dir, agent) = agent(vec![signature(&key.sign(b"message"))]);
        assert_eq!(agent.sign(&key.public(), b"message").unwrap(), key.sign(b"message"));
    }

    #[test]
    fn which_key_is_meant_is_never_guessed() {
        let keys = [SigningKey::from_seed([1; 32]).public(), SigningKey::from_seed([2; 32]).public()];
        let list = |keys: &[PublicKey]| {
            let mut body = vec![IDENTITIES_ANSWER];
            body.extend((keys.len() as u32 + 1).to_be_bytes());
            for (key, name) in keys.iter().zip(["ann@a", "bob@b"]) {
                put(&mut body, &blob(key));
                put(&mut body, name.as_bytes());
            }
            let mut rsa = vec![];
            put(&mut rsa, b"ssh-rsa");
            put(&mut body, &rsa);
            put(&mut body, b"old");
            framed(&body)
        };
        let find = |keys: &[PublicKey], wanted: &str| {
            let (_dir, agent) = agent(vec![list(keys)]);
            agent.find(wanted).map(|key| key.public)
        };
        assert_eq!(find(&keys[..1], "").unwrap(), keys[0]);
        assert_eq!(find(&keys, "").unwrap_err().exit, Exit::Usage);
        assert_eq!(find(&keys, "bob@b").unwrap(), keys[1]);
        let line = format!("ssh-ed25519 {} somebody", STANDARD.encode(blob(&keys[1])));
        assert_eq!(find(&keys, &line).unwrap(), keys[1]);
        assert_eq!(find(&keys, "old").unwrap_err().exit, Exit::Refused);
        assert_eq!(SshAgent(None).keys().unwrap_err().exit, Exit::Refused);
    }
}
