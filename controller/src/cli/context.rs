//! Contexts: the controllers that an operator works with, by name, in `~/.config/longshore/contexts.toml`. The
//! operator folder of each lies beside it, in `contexts/<name>/`.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use longshore_common::{
    chain::Chain,
    code::Code,
    durable::{DirLock, LockError, create_dir_durable, lock_dir, write_atomic},
    regular::{self, Links},
    text::{nearest, visible},
};
use serde::{Deserialize, Serialize};

use super::{
    exit::Exit,
    failure::Failure,
    operator::{self, OperatorFolder},
};

/// What a command talks to, and as whom.
#[derive(Clone, Debug)]
pub struct Context {
    /// As the operator knows it: a name, or the path of a folder.
    pub name: String,
    pub operator: OperatorFolder,
}

/// The folder of contexts and what its file says.
#[derive(Clone, Debug)]
pub struct Contexts {
    folder: PathBuf,
    file: ContextsFile,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ContextsFile {
    /// The context in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    #[serde(default, rename = "context")]
    contexts: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// `host:port` of the controller.
    address: String,
}

const FILE: &str = "contexts.toml";
/// Thousands of controllers.
const FILE_BYTES: usize = 1 << 20;

impl Contexts {
    /// An absent file is an empty one.
    pub fn load(config: Option<&Path>) -> Result<Self, Failure> {
        let folder = config
            .ok_or_else(|| Failure::usage("neither HOME nor XDG_CONFIG_HOME says where contexts are kept"))?
            .to_owned();
        let file = read_file(&folder)?;
        Ok(Self { folder, file })
    }

    /// Nobody else changes contexts until the lock is dropped. What others did since they were read counts.
    fn alone(&mut self) -> Result<DirLock, Failure> {
        let lock = lock(&self.folder)?;
        self.file = read_file(&self.folder)?;
        Ok(lock)
    }

    /// The one that is asked for, else the one in use. A name with a `/` is an operator folder itself.
    pub fn choose(config: Option<&Path>, asked: Option<&str>) -> Result<Context, Failure> {
        if let Some(path) = asked.filter(|name| name.contains('/')) {
            let operator = read_folder(Path::new(path))?;
            return Ok(Context { name: path.to_owned(), operator });
        }
        let contexts = Self::load(config)?;
        let name = asked.or(contexts.file.current.as_deref()).ok_or_else(no_context)?;
        let entry = contexts.entry(name)?;
        let mut operator = read_folder(&contexts.operator_folder(name))?;
        operator.address.clone_from(&entry.address);
        Ok(Context { name: name.to_owned(), operator })
    }

    /// Copies an operator folder in, in place of what was there for the same controller. The first context becomes the
    /// one in use. True when this is the one in use.
    pub fn add(&mut self, name: &str, from: &Path, address: Option<String>) -> Result<bool, Failure> {
        check_name(name)?;
        let mut operator = read_folder(from)?;
        if let Some(address) = address {
            operator.address = address;
        }
        check_address(&operator.address)?;
        if !self.folder.is_dir() {
            create_dir_durable(&self.folder, 0o700).map_err(|error| failed(&error))?;
        }
        let _alone = self.alone()?;
        self.check_same_controller(name, &operator)?;
        let folder = self.folder.join("contexts");
        if !folder.is_dir() {
            create_dir_durable(&folder, 0o700).map_err(|error| failed(&error))?;
        }
        operator.write(&self.operator_folder(name)).map_err(|error| failed(&error))?;
        self.file.contexts.insert(name.to_owned(), Entry { address: operator.address });
        let current = self.file.current.get_or_insert_with(|| name.to_owned()) == name;
        self.save()?;
        Ok(current)
    }

    /// A name that is taken stands for a certificate that may exist nowhere else.
    fn check_same_controller(&self, name: &str, new: &OperatorFolder) -> Result<(), Failure> {
        let Some(entry) = self.file.contexts.get(name) else { return Ok(()) };
        match OperatorFolder::read(&self.operator_folder(name)) {
            Ok(known) if known.ca != new.ca => Err(Failure::coded(
                Code::N02,
                format!(
                    "context {name} is another controller's ({}, with another CA); nothing was changed",
                    visible(&entry.address)
                ),
            )
            .next("choose another name")
            .next(format!("or forget that one, with its key: longshore context remove {name}"))),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Forgets it, and its key and certificate.
    pub fn remove(&mut self, name: &str) -> Result<(), Failure> {
        self.entry(name)?; // before a lock is left where there is no context
        let _alone = self.alone()?;
        self.entry(name)?;
        self.file.contexts.remove(name);
        if self.file.current.as_deref() == Some(name) {
            self.file.current = None;
        }
        self.save()?;
        match fs::remove_dir_all(self.operator_folder(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&error)),
            _ => Ok(()),
        }
    }

    pub fn use_from_now_on(&mut self, name: &str) -> Result<(), Failure> {
        self.entry(name)?; // before a lock is left where there is no context
        let _alone = self.alone()?;
        self.entry(name)?;
        self.file.current = Some(name.to_owned());
        self.save()
    }

    /// Another key and certificate for the context that is asked for, or else the one in use. Of two who do so at once each
    /// writes a key with its own certificate.
    pub fn renew(
        config: Option<&Path>,
        asked: Option<&str>,
        operator: OperatorFolder,
    ) -> Result<(), Failure> {
        if let Some(path) = asked.filter(|name| name.contains('/')) {
            let _alone = lock(Path::new(path))?;
            return operator.write(Path::new(path)).map_err(|error| failed(&error));
        }
        let mut contexts = Self::load(config)?;
        let _alone = contexts.alone()?;
        let name = asked.or(contexts.file.current.as_deref()).ok_or_else(no_context)?;
        operator.write(&contexts.operator_folder(name)).map_err(|error| failed(&error))
    }

    /// Name, address, and whether it is the one in use.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str, bool)> {
        self.file.contexts.iter().map(|(name, entry)| {
            (name.as_str(), entry.address.as_str(), self.file.current.as_deref() == Some(name))
        })
    }

    pub fn address(&self, name: &str) -> Option<&str> {
        self.file.contexts.get(name).map(|entry| entry.address.as_str())
    }

    fn entry(&self, name: &str) -> Result<&Entry, Failure> {
        self.file.contexts.get(name).ok_or_else(|| {
            let failure = Failure::usage(format!("there is no context \"{}\"", visible(name)));
            match nearest(name, self.file.contexts.keys().map(String::as_str)) {
                Some(near) => {
                    failure.next(format!("did you mean \"{near}\"? All of them: longshore context list"))
                }
                None => failure.next("all of them: longshore context list"),
            }
        })
    }

    fn operator_folder(&self, name: &str) -> PathBuf {
        self.folder.join("contexts").join(name)
    }

    fn save(&self) -> Result<(), Failure> {
        let text = toml::to_string(&self.file).expect("strings and maps of strings are TOML");
        write_atomic(&self.folder.join(FILE), text.as_bytes(), 0o600).map_err(|error| failed(&error))
    }
}

fn read_file(folder: &Path) -> Result<ContextsFile, Failure> {
    let path = folder.join(FILE);
    match regular::read_text(&path, FILE_BYTES, Links::Followed) {
        Ok(text) => toml::from_str(&text).map_err(|error| {
            Failure::usage(format!("{} does not parse: {}", path.display(), error.to_string().trim_end()))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(ContextsFile::default()),
        Err(error) => Err(Failure::usage(format!("read {}: {error}", path.display()))),
    }
}

/// Never waits: whoever has it is done in a moment.
fn lock(folder: &Path) -> Result<DirLock, Failure> {
    lock_dir(folder).map_err(|error| match error {
        LockError::Held { holder, .. } => {
            let message =
                format!("{holder} changes what is in {} just now; nothing was changed", folder.display());
            Failure::coded(Code::S01, message).next("give the command again")
        }
        LockError::Failed(error) => failed(&error),
    })
}

fn no_context() -> Failure {
    Failure::usage("no controller is chosen")
        .next("import the folder that longshore-controller init wrote: longshore context add NAME --from DIR")
        .next("or see it all work on this machine first: longshore demo")
}

fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::new(Exit::Failed, Chain(error).to_string())
}

fn read_folder(folder: &Path) -> Result<OperatorFolder, Failure> {
    OperatorFolder::read(folder).map_err(|error| {
        Failure::usage(Chain(&error).to_string()).next(format!(
            "an operator folder holds {}, {}, {} and {}; longshore-controller init writes one",
            operator::CERTIFICATE,
            operator::KEY,
            operator::CA,
            operator::ADDRESS
        ))
    })
}

/// A context's name is a folder's name.
fn check_name(name: &str) -> Result<(), Failure> {
    let sound = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() <= 63
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if sound {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "context name \"{}\" is invalid: use 1-63 of a-z A-Z 0-9 \"-\" \"_\" \".\", starting with a letter or digit",
        visible(name)
    )))
}

fn check_address(address: &str) -> Result<(), Failure> {
    let port = address
        .rsplit_once(':')
        .and_then(|(host, port)| (!host.is_empty()).then(|| port.parse::<u16>().ok()));
    match port.flatten() {
        Some(_) => Ok(()),
        None => Err(Failure::usage(format!("address \"{}\" is invalid: write host:port", visible(address)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator(folder: &Path) -> PathBuf {
        let path = folder.join("operator");
        let parts = OperatorFolder {
            address: "10.0.0.5:7443".into(),
            certificate: b"c".to_vec(),
            key: b"k".to_vec(),
            ca: b"a".to_vec(),
        };
        parts.write(&path).unwrap();
        path
    }

    #[test]
    fn an_operator_folder_becomes_a_context() {
        let temp = tempfile::tempdir().unwrap();
        let (config, from) = (temp.path().join("config"), operator(temp.path()));
        let mut contexts = Contexts::load(Some(&config)).unwrap();
        assert!(contexts.add("prod", &from, None).unwrap());
        assert!(!contexts.add("lab", &from, Some("[::1]:9".into())).unwrap());
        assert!(contexts.add("prod", &from, None).unwrap(), "again: the one in use stays in use");
        let chosen = |asked| Contexts::choose(Some(&config), asked).unwrap();
        assert_eq!(chosen(None).operator.address, "10.0.0.5:7443");
        assert_eq!(chosen(Some("lab")).operator.address, "[::1]:9");
        assert_eq!(chosen(from.to_str()).operator.key, b"k");
        contexts.use_from_now_on("lab").unwrap();
        assert_eq!(chosen(None).name, "lab");
        let key = config.join("contexts/prod").join(operator::KEY);
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(key).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }

    /// Each has read the file before the other wrote it.
    #[test]
    fn of_two_that_change_contexts_at_once_neither_is_lost() {
        let temp = tempfile::tempdir().unwrap();
        let (config, from) = (temp.path().join("config"), operator(temp.path()));
        let load = || Contexts::load(Some(&config)).unwrap();
        let (mut one, mut other) = (load(), load());
        one.add("prod", &from, None).unwrap();
        assert!(!other.add("lab", &from, None).unwrap(), "the first context is in use already");
        let names =
            |contexts: &Contexts| contexts.all().map(|(name, ..)| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&load()), ["lab", "prod"]);
        one.use_from_now_on("prod").unwrap();
        other.remove("lab").unwrap();
        assert_eq!(names(&load()), ["prod"]);
        assert!(one.use_from_now_on("lab").unwrap_err().message.contains("there is no context"));

        let held = lock_dir(&config).unwrap();
        let busy = one.add("lab", &from, None).unwrap_err();
        assert_eq!(
            (busy.code, &busy.next[..]),
            (Some(Code::S01), &["give the command again".to_owned()][..])
        );
        assert!(busy.message.contains("nothing was changed"), "{}", busy.message);
        assert!(Contexts::renew(Some(&config), None, chosen(&config).operator).is_err());
        drop(held);
        one.add("lab", &from, None).unwrap();
        Contexts::renew(Some(&config), None, chosen(&config).operator).unwrap();
    }

    /// Its key may be the only one there is.
    #[test]
    fn another_controllers_context_is_not_overwritten() {
        let temp = tempfile::tempdir().unwrap();
        let config = temp.path().join("config");
        let mut contexts = Contexts::load(Some(&config)).unwrap();
        contexts.add("prod", &operator(temp.path()), None).unwrap();
        let other = temp.path().join("other");
        let parts = OperatorFolder { ca: b"b".to_vec(), key: b"l".to_vec(), ..chosen(&config).operator };
        parts.write(&other).unwrap();
        let refused = contexts.add("prod", &other, None).unwrap_err();
        assert_eq!(refused.exit, Exit::Refused);
        assert!(refused.message.contains("another CA"), "{}", refused.message);
        assert_eq!(chosen(&config).operator.key, b"k");
        contexts.remove("prod").unwrap();
        assert!(!config.join("contexts/prod").exists());
        contexts.add("prod", &other, None).unwrap();
        assert_eq!(chosen(&config).operator.key, b"l");
    }

    fn chosen(config: &Path) -> Context {
        Contexts::choose(Some(config), None).unwrap()
    }

    #[test]
    fn a_pipe_in_the_place_of_the_file_is_named_at_once() {
        let temp = tempfile::tempdir().unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, temp.path().join(FILE), 0o600.into()).unwrap();
        let failure = Contexts::load(Some(temp.path())).unwrap_err();
        assert!(failure.message.contains("it is a FIFO"), "{}", failure.message);
    }

    #[test]
    fn what_is_wrong_is_said_with_the_way_out() {
        let temp = tempfile::tempdir().unwrap();
        let config = temp.path().join("config");
        let choose = |asked| Contexts::choose(Some(&config), asked).unwrap_err();
        assert!(choose(None).next[0].contains("longshore context add NAME --from DIR"));
        assert!(choose(Some("prod")).message.contains("there is no context \"prod\""));
        assert!(choose(Some("./nowhere")).next[0].contains("key.pem"));
        let from = operator(temp.path());
        let mut contexts = Contexts::load(Some(&config)).unwrap();
        for bad in ["", "..", "a/b", "a b", "\u{1b}[2J"] {
            let failure = contexts.add(bad, &from, None).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{bad}");
            assert!(!failure.message.contains('\u{1b}'));
        }
        assert!(contexts.add("ok", &from, Some("nowhere".into())).is_err());
        contexts.add("prod", &from, None).unwrap();
        assert!(choose(Some("prd")).next[0].contains("did you mean \"prod\""));
    }
}
