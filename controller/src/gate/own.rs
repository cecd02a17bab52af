//! Files of the controller's own. Whoever writes an environment's file names files of this machine, and where gates send what
//! they hold: the controller's keys are none of those, whatever the path leads over.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use longshore_common::text::visible;

use super::{Check, Declaration};
use crate::config::Config;

/// Cheap to clone. The default has none.
#[derive(Clone, Debug, Default)]
pub struct OwnFiles(Arc<Own>);

#[derive(Debug, Default)]
struct Own {
    /// No gate uses them: files, and folders with all that lies in them.
    closed: Vec<PathBuf>,
    /// Environments sign by them, under the names that `controller.toml` gives them; they are never sent.
    keys: Vec<PathBuf>,
}

impl OwnFiles {
    pub fn of(config: &Config) -> Self {
        let password = config.tell.mail.as_ref().and_then(|mail| mail.password_file.clone());
        let closed = [config.data.clone()].into_iter().chain(password).collect();
        let keys = config.tell.keys.values().cloned().collect();
        Self(Arc::new(Own { closed, keys }))
    }

    /// Why the check may not be looked at.
    pub fn refused(&self, check: &Check) -> Option<String> {
        let Own { closed, keys } = &*self.0;
        let (file, own): (&Path, Vec<&PathBuf>) = match check {
            // Sent as it is.
            Check::Metrics(metrics) => (metrics.token_file.as_deref()?, closed.iter().chain(keys).collect()),
            // What is sent is signed by it.
            Check::Webhook(webhook) => (webhook.secret_file.as_deref()?, closed.iter().collect()),
            Check::Probe(_) | Check::Test(_) | Check::App(_) | Check::Approval(_) | Check::Http(_) => {
                return None;
            }
        };
        let meant = real(file);
        own.into_iter().any(|own| meant.starts_with(real(own))).then(|| {
            let shown = visible(&file.display().to_string());
            format!(
                "the file {shown} is the controller's own, and no gate uses it: give the gate one of its own"
            )
        })
    }

    /// What gates ask for and are not given, one sentence for each.
    pub fn problems(&self, gates: &[Declaration]) -> Vec<String> {
        let refused = |declared: &Declaration| {
            let why = self.refused(&declared.check)?;
            Some(format!("gate \"{}\": {why}", visible(&declared.gate.name)))
        };
        gates.iter().filter_map(refused).collect()
    }
}

/// Without links and `..`. What is not there is not read either.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, os::unix::fs::symlink};

    use longshore_common::{durable::write_atomic, time::Span};

    use super::*;
    use crate::gate::check::{Metrics, Rule, Webhook};

    fn sends(file: &Path) -> Check {
        Check::Metrics(Metrics {
            prometheus: "http://127.0.0.1:1".into(),
            query: "up".into(),
            rule: Rule::Within { min: None, max: Some(1.0), breaches: 0 },
            window: Span::secs(60),
            step: Span::secs(15),
            samples: 1,
            ca: None,
            token_file: Some(file.into()),
        })
    }

    fn signs(file: &Path) -> Check {
        let (url, secret_file) = ("http://127.0.0.1:1".into(), Some(file.into()));
        Check::Webhook(Webhook { url, secret_file, every: Span::secs(5), ca: None })
    }

    #[test]
    fn what_is_the_controllers_is_neither_sent_nor_signed_by() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["data/trust", "data-of-others", "etc"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        for name in ["data/trust/online.key", "data-of-others/token", "etc/chat.key"] {
            write_atomic(&at(name), b"secret\n", 0o600).unwrap();
        }
        symlink(at("data/trust/online.key"), at("etc/token")).unwrap();
        symlink(at("data"), at("etc/there")).unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = Config::new(at("data"), any, any, vec!["127.0.0.1".into()]);
        config.tell.keys = [("chat".to_owned(), at("etc/chat.key"))].into();
        let own = OwnFiles::of(&config);

        for path in [
            "data/trust/online.key",
            "etc/../data/trust/online.key",
            "etc/token",
            "etc/there/trust/online.key",
        ] {
            for check in [sends(&at(path)), signs(&at(path))] {
                let why = own.refused(&check).unwrap_or_else(|| panic!("{path} is let through"));
                assert!(why.contains("is the controller's own"), "{why}");
            }
        }
        assert!(own.refused(&sends(&at("etc/chat.key"))).is_some(), "a key that signs is not sent");
        assert_eq!(own.refused(&signs(&at("etc/chat.key"))), None);
        for check in [sends(&at("data-of-others/token")), signs(&at("nowhere"))] {
            assert_eq!(own.refused(&check), None);
        }
        assert_eq!(OwnFiles::default().refused(&sends(&at("data/trust/online.key"))), None);
    }
}
